-- Owns: who can call through the MCP server: the credentials that stand for each role, and why a role would be refused all the same.
-- Runs: as the reader of a report, a member of mcp_auditor.
-- Must not: show a token's hash or a password's verifier; call a role served that the server refuses.
--
-- SECURITY DEFINER is one function here. Whether a role has a password stands beside the password's verifier, where superusers alone may read.

create function mcp._report_password(role oid) returns boolean
language sql stable strict security definer
set search_path = pg_catalog, pg_temp
as $$
    -- As the keeper takes it: only SCRAM, and the gateway only with LOGIN.
    select a.rolcanlogin and coalesce(a.rolpassword like 'SCRAM-SHA-256$%', false) from pg_authid a where a.oid = role
$$;
comment on function mcp._report_password(oid) is 'Whether a role can sign in to the MCP server with a password, and nothing about the password';

create function mcp._report_list(setting text) returns text[]
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select array(select btrim(w) from string_to_table(coalesce(current_setting(setting, true), ''), ',') w where btrim(w) <> '')
$$;
comment on function mcp._report_list(text) is 'The words of a setting that is a list with commas';

create function mcp._report_credentials(wanted oid default null)
returns table (role oid, kind text, name text, token bigint, live boolean, expires_at timestamptz, last_used_at timestamptz, made_at timestamptz, note text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    scopes text[];
begin
    -- The server's settings are known only where its library is loaded, which this does.
    perform mcp.current_caller();
    scopes := mcp._report_list('supabase_mcp.oauth_scopes');
    return query
        select t.role::oid, 'token', t.label, t.id, t.state = 'active', t.expires_at, t.last_used_at, t.created_at,
               concat_ws(', ', 'token ' || t.id || coalesce(' ' || quote_ident(t.label), ' without a label'),
                         case t.state when 'active' then coalesce('until ' || mcp._report_time(t.expires_at), 'without expiry')
                                      when 'expired' then 'expired ' || mcp._report_time(t.expires_at) else t.state end,
                         case when t.read_only then 'read-only' end,
                         'kept to ' || array_to_string(t.features, '+'),
                         'carries ' || nullif((select string_agg(k, '+' order by k) from jsonb_object_keys(t.settings) k), ''))
          from mcp.tokens t
         where wanted is null or t.role = wanted
        union all
        select p.role::oid, 'peer', p.os_user, null, exists (select from pg_roles r where r.oid = p.role), null, null, p.created_at,
               'peer ' || quote_ident(p.os_user)
          from mcp.peer_map p
         where wanted is null or p.role = wanted
        union all
        select r.oid, w.kind, w.name, null, true, null, null, null, w.note
          from pg_roles r
         cross join lateral (
               select 'peer', r.rolname::text, 'peer of the same name as the role (supabase_mcp.peer_equal_names)'
                where current_setting('supabase_mcp.peer_equal_names', true) = 'on' and r.rolname !~ '^pg_' and r.rolname <> 'mcp_bridge'
               union all
               select 'password', r.rolname, 'password, on the Unix socket and loopback' where mcp._report_password(r.oid)
               union all
               -- Whether there is a key is not to be seen: the settings of keys are masked.
               select 'jwt', r.rolname,
                      'JSON Web Token (supabase_mcp.jwt_roles)'
                      || coalesce(', scopes ' || (select string_agg(s, ' ') from unnest(scopes) s
                                                   where split_part(split_part(s, '=', 2), '/', 1) in (r.rolname, '*')), '')
                where r.rolname = any (mcp._report_list('supabase_mcp.jwt_roles'))
               union all
               select 'anonymous', r.rolname, 'no credential, on this machine (supabase_mcp.anonymous_role)'
                where r.rolname = btrim(current_setting('supabase_mcp.anonymous_role', true))) w (kind, name, note)
         where wanted is null or r.oid = wanted;
end
$$;
comment on function mcp._report_credentials(oid) is
    'The credentials that stand for a role, or for all roles: tokens, entries of the peer map, passwords, JSON Web Tokens, none; those that do not count any more are not live';

create function mcp._report_refusal(role oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- As the gateway decides, in its order.
    select case
               when mcp._privileged(r.oid) is not null and r.rolname <> all (mcp._report_list('supabase_mcp.privileged_roles')) then mcp._privileged(r.oid)
               when not has_database_privilege(r.oid, d.oid, 'CONNECT') then 'it has no CONNECT privilege on this database'
               when r.rolconnlimit = 0 then 'its connection limit is 0'
               when r.rolvaliduntil <= now() then 'it was valid until ' || mcp._report_time(r.rolvaliduntil)
           end
      from pg_roles r
     cross join pg_database d
     where r.oid = role and d.datname = current_database()
$$;
comment on function mcp._report_refusal(oid) is 'Why the server refuses every call of a role, whatever its credential; null if it does not';

create function mcp._report_callers(wanted oid default null)
returns table (role oid, name name, ways text[], shared boolean, direct boolean, refusal text, privileged text, offered boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select r.oid, r.rolname, c.ways, c.shared, r.rolcanlogin and c.personal, mcp._report_refusal(r.oid), mcp._privileged(r.oid),
           -- Without the registry the server can show nothing, and call nothing.
           has_schema_privilege(r.oid, 'mcp', 'USAGE') and has_function_privilege(r.oid, 'mcp._tools(jsonb, boolean)', 'EXECUTE')
      from (select k.role, array_agg(k.note order by array_position('{token,peer,password,jwt,anonymous}', k.kind), k.token, k.note) as ways,
                   bool_or(k.kind in ('jwt', 'anonymous')) as shared, bool_or(k.kind <> 'jwt') as personal
              from mcp._report_credentials(wanted) k where k.live group by k.role) c
      join pg_roles r on r.oid = c.role
$$;
comment on function mcp._report_callers(oid) is
    'The roles that a credential stands for, or the one: its ways in, whether many users share it, whether its calls have a session of its own, why it is refused or privileged, and whether it is offered anything';

create function mcp._report_reach(role oid, setting boolean) returns table (grantee oid, acting oid, through text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- What is found, by the same place in each array: the role; 0 its privileges are had at once, 1 it is set, 2 it is inherited by what was set;
    -- as whom one then acts; the way there.
    found oid[] := array[role];
    stages integer[] := array[0];
    acts oid[] := array[role];
    before integer[] := array[null::integer];
    old constant boolean := current_setting('server_version_num')::integer < 160000;
    dba constant oid := (select d.datdba from pg_database d where d.datname = current_database());
    edge record;
    stage integer;
    place integer := 1;
begin
    -- A superuser needs no grant, and would be found a member of everything.
    if (select r.rolsuper from pg_roles r where r.oid = role) then
        return;
    end if;
    -- Breadth first, so that the shortest way is told.
    while place <= cardinality(found) loop
        for edge in
            -- Since version 16 each membership says for itself whether it is inherited and may be set; before, the member's INHERIT decides,
            -- and every membership may be set.
            select m.roleid as role, bool_or(coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit)) as inherits,
                   bool_or(old or (to_jsonb(m) ->> 'set_option')::boolean) as sets
              from pg_auth_members m join pg_roles r on r.oid = m.member
             where m.member = found[place]
             group by m.roleid
            union all
            -- The owner of the database is a member of this role without being written down.
            select p.oid, not old or r.rolinherit, true from pg_roles p join pg_roles r on r.oid = found[place]
             where p.rolname = 'pg_database_owner' and found[place] = dba
        loop
            for stage in
                select s from unnest(array[case when edge.inherits then case stages[place] when 0 then 0 else 2 end end,
                                           case when edge.sets and setting and (place = 1 or stages[place] = 1) then 1 end]) s
                 where s is not null
                   and not exists (select from unnest(found, stages) f (role, stage) where f.role = edge.role and (f.stage = s or s = 2 and f.stage = 0))
            loop
                found := found || edge.role;
                stages := stages || stage;
                acts := acts || case stage when 0 then role when 1 then edge.role else acts[place] end;
                before := before || place;
            end loop;
        end loop;
        place := place + 1;
    end loop;
    return query
        with recursive steps as (
            select n as place, n as at, quote_ident(pg_get_userbyid(found[n])) as path, 0 as hops from generate_series(1, cardinality(found)) n
            union all
            select s.place, before[s.at], quote_ident(pg_get_userbyid(found[before[s.at]])) || ' -> ' || s.path, s.hops + 1
              from steps s where before[s.at] is not null
        )
        select 0::oid, _report_reach.role, 'PUBLIC'
        union all
        (select distinct on (found[s.place]) found[s.place], acts[s.place],
               case stages[s.place] when 0 then case when s.place = 1 then 'granted' else 'role ' || quote_ident(pg_get_userbyid(found[s.place])) end
                                    when 1 then format('after SET ROLE %I', pg_get_userbyid(found[s.place]))
                                    else format('after SET ROLE %I, role %I', pg_get_userbyid(acts[s.place]), pg_get_userbyid(found[s.place])) end
               || case when s.hops > 1 then ': ' || s.path else '' end
          from steps s
         where s.at = 1
         -- What is had at once need not be told of SET ROLE.
         order by found[s.place], stages[s.place]);
end
$$;
comment on function mcp._report_reach(oid, boolean) is
    'The roles whose privileges a role has, itself and PUBLIC among them, and by which memberships; with setting also those that it has after SET ROLE, and as whom it then acts';
