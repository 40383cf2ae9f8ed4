-- Owns: the administrator's functions for tokens and for the peer map.
-- Runs: in an administrator's session, with the administrator's own rights; row-level security of sql/20_identity.sql decides.
-- Must not: be SECURITY DEFINER, or write a token's text anywhere but into the answer.

create function mcp._privileged(role oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- MEMBER and not USAGE: a role that may only SET ROLE to a superuser is as good as one. Attributes come before
    -- memberships, since a superuser is a member of everything.
    select case
               when r.rolsuper then 'it is a superuser'
               when r.rolbypassrls then 'it has BYPASSRLS'
               when r.rolreplication then 'it has REPLICATION'
               when r.rolname = 'mcp_bridge' then 'it is the role that the server itself connects as'
               else (select case
                                when p.rolsuper then format('it is a member of %I, a superuser', p.rolname)
                                when p.rolbypassrls then format('it is a member of %I, which has BYPASSRLS', p.rolname)
                                when p.rolreplication then format('it is a member of %I, which has REPLICATION', p.rolname)
                                when p.rolcreaterole
                                    then format('%I has CREATEROLE, which before PostgreSQL 16 can grant itself pg_execute_server_program', p.rolname)
                                when p.oid = r.oid then 'it reaches the files or programs of the server'
                                else format('it is a member of %I', p.rolname)
                            end
                       from pg_roles p
                      where (p.rolsuper or p.rolbypassrls or p.rolreplication
                             or p.rolname in ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
                             -- Until version 15 CREATEROLE may grant every role but superusers, to itself as well.
                             or p.rolcreaterole and current_setting('server_version_num')::integer < 160000)
                        and pg_has_role(r.oid, p.oid, 'MEMBER')
                      order by p.oid = r.oid desc, p.rolsuper desc, p.rolbypassrls desc, p.rolreplication desc, p.rolname
                      limit 1)
           end
      from pg_roles r
     where r.oid = role
$$;
comment on function mcp._privileged(oid) is
    'Why a role is more than an ordinary one, by itself or through any membership; null for an ordinary role';

create function mcp._check_may_give(role regrole) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if role is null or not exists (select from pg_roles r where r.oid = role) then
        raise exception 'the role does not exist' using errcode = 'undefined_object';
    end if;
    -- The policies say the same. This says it in words that tell what to do.
    if not (select r.rolsuper from pg_roles r where r.rolname = current_user)
       and (role::oid = current_user::regrole::oid or not pg_has_role(current_user, role::oid, 'MEMBER WITH ADMIN OPTION')) then
        raise exception 'permission denied to give access as role %', role
            using errcode = 'insufficient_privilege',
                  hint = case when role::oid = current_user::regrole::oid then 'Nobody but a superuser gives access as oneself.'
                              else format('A superuser, or a role with ADMIN OPTION on %s, may do this: grant %s to %I with admin option;',
                                          role, role, current_user) end;
    end if;
    if mcp._privileged(role) is not null then
        raise warning 'calls as role % will be refused: %', role, mcp._privileged(role)
            using hint = 'A superuser can allow it with the setting supabase_mcp.privileged_roles. A role of its own for the client is safer.';
    end if;
    if not has_function_privilege(role::oid, 'mcp._tools(jsonb, boolean)', 'EXECUTE') then
        raise notice 'role % has no tools yet', role using hint = format('Say: select mcp.grant_tools(%L);', role::text);
    end if;
end
$$;
comment on function mcp._check_may_give(regrole) is
    'Raises unless the current user may hand out access as the role; warns when such access would be refused';

create function mcp._settings_taken(settings jsonb) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- What SET alone has made up is not listed in pg_settings; what an executor has locked is, in calls.
    select format('"%s" is a setting of PostgreSQL or of an extension; give it to the role with ALTER ROLE ... SET', min(s.name))
      from pg_settings s
     where settings ? lower(s.name)
       and s.short_desc not like '%set by the MCP server for each caller%'
    having count(*) > 0
$$;
comment on function mcp._settings_taken(jsonb) is 'Which of a token''s settings has a meaning of its own; null if none has';

create function mcp.create_token(role regrole, label text default null, expires_at timestamptz default null,
                                 read_only boolean default false, settings jsonb default null,
                                 features text[] default null) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    -- base64url without padding, which travels unchanged in a header, a URL and a shell.
    fault constant text := coalesce(mcp._settings_fault(settings), mcp._settings_taken(settings));
    token constant text := 'mcp_' || translate(rtrim(encode(mcp._random_bytes(32), 'base64'), '='), '+/', '-_');
begin
    perform mcp._check_may_give(role);
    if expires_at <= now() then
        raise exception 'expires_at lies in the past' using errcode = 'invalid_parameter_value';
    end if;
    if label is not null and exists (select from mcp._tokens t where t.label = create_token.label) then
        raise exception 'there is a token with the label "%" already', label
            using errcode = 'unique_violation', hint = 'Choose another label, or call mcp.revoke_token with this one first.';
    end if;
    if fault is not null then
        raise exception '%', fault using errcode = 'invalid_parameter_value';
    end if;
    if not mcp._are_names(features) then
        raise exception 'features must be names of features or tools, such as {database,docs}' using errcode = 'invalid_parameter_value';
    end if;
    insert into mcp._tokens (hash, role, label, expires_at, read_only, settings, features)
    values (sha256(convert_to(token, 'UTF8')), role, nullif(label, ''), expires_at, coalesce(read_only, false), coalesce(settings, '{}'), features);
    return token;
end
$$;
comment on function mcp.create_token(regrole, text, timestamptz, boolean, jsonb, text[]) is
    'Makes a bearer token that stands for a role, and returns it. It is shown this once and cannot be read again. Its calls can read the settings, and not change them, and use no tools but those of the features';

create function mcp.revoke_token(id bigint) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from mcp._tokens t where t.id = revoke_token.id;
    if not found then
        raise exception 'there is no token with the id %', id using errcode = 'undefined_object';
    end if;
end
$$;
comment on function mcp.revoke_token(bigint) is 'Takes back the token with this number, from the next call on';

create function mcp.revoke_token(label text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from mcp._tokens t where t.label = revoke_token.label;
    if not found then
        raise exception 'there is no token with the label "%"', label using errcode = 'undefined_object';
    end if;
end
$$;
comment on function mcp.revoke_token(text) is 'Takes back the token with this label, from the next call on';

create function mcp.map_peer(os_user text, role regrole) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if coalesce(os_user, '') = '' then
        raise exception 'the operating system user is missing' using errcode = 'invalid_parameter_value';
    end if;
    perform mcp._check_may_give(role);
    -- Not an upsert: that would need a right to update, and with it a second way to hand out a role.
    delete from mcp._peer_map p where p.os_user = map_peer.os_user;
    insert into mcp._peer_map (os_user, role) values (os_user, role);
end
$$;
comment on function mcp.map_peer(text, regrole) is
    'Lets an operating system user (its name, or its number) call through the Unix socket as a role; replaces an earlier entry';

create function mcp.unmap_peer(os_user text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from mcp._peer_map p where p.os_user = unmap_peer.os_user;
    if not found then
        raise exception 'there is no entry for the operating system user "%"', os_user using errcode = 'undefined_object';
    end if;
end
$$;
comment on function mcp.unmap_peer(text) is 'Takes an operating system user out of the peer map, from the next call on';
