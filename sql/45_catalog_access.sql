-- Owns: why a role may do something to a table: through which grants, memberships and policies.
-- Runs: as the caller. Roles, memberships and grants are in catalogs that everybody can read.
-- Must not: take a membership for a right without asking whether it is inherited: since PostgreSQL 16 each grant of a role says so itself.

create function mcp._catalog_find_role(name text) returns oid
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found oid;
    near text[];
begin
    -- As it stands, then as SQL would read it.
    select r.oid into found from pg_roles r where r.rolname = name;
    if found is null then
        begin
            select r.oid into found from pg_roles r where array[r.rolname::text] = parse_ident(name);
        exception when invalid_parameter_value then
            null;
        end;
    end if;
    if found is null then
        near := mcp._near(left(name, 100), array(select r.rolname::text from pg_roles r order by r.rolname limit 2000));
        raise exception 'role "%" does not exist', left(name, 100)
            using errcode = 'undefined_object',
                  hint = case when cardinality(near) > 0 then format('Perhaps you meant %s.', array_to_string(near, ' or '))
                              else 'Call list_roles_and_grants without arguments for the roles.' end;
    end if;
    return found;
end
$$;
comment on function mcp._catalog_find_role(text) is '@support The role of a name; raises if there is none';

create function mcp._catalog_role_path(start oid, target oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Memberships of version 15 have no options: there the member's INHERIT decides. The shortest way that is inherited comes first.
    with recursive edges as (
        select m.member, m.roleid, coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit) as inherits
          from pg_auth_members m join pg_roles r on r.oid = m.member
    ), ways as (
        select start as role, array[start] as path, true as inherits
        union all
        select e.roleid, w.path || e.roleid, w.inherits and e.inherits
          from ways w join edges e on e.member = w.role
         where e.roleid <> all (w.path) and w.role <> target and cardinality(w.path) < 12
    )
    select (select string_agg(quote_ident(pg_get_userbyid(u.oid)), ' -> ' order by u.place) from unnest(w.path) with ordinality as u (oid, place))
      from ways w
     where w.role = target
     order by not w.inherits, cardinality(w.path)
     limit 1
$$;
comment on function mcp._catalog_role_path(oid, oid) is '@support The memberships that lead from a role to another: a -> b -> c; null if none do';

create function mcp._catalog_reach(role oid, other oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- How a role comes by what another was granted: has (at once), may set (after SET ROLE), or null. Superusers are asked about elsewhere.
    select case
               when role = other or other = 0 then 'has'
               when pg_has_role(role, other, 'USAGE') then 'has'
               -- Until version 15 any membership will do; since then SET and INHERIT are apart: one sets to a role, and inherits from there on.
               when case when current_setting('server_version_num')::integer < 160000 then pg_has_role(role, other, 'MEMBER')
                         else pg_has_role(role, other, 'MEMBER')
                              and exists (select from (select distinct m.roleid from pg_auth_members m) z
                                           where pg_has_role(role, z.roleid, 'SET') and pg_has_role(z.roleid, other, 'USAGE')) end
                   then 'may set'
           end
$$;
comment on function mcp._catalog_reach(oid, oid) is '@support Whether a role has another''s privileges at once, or after SET ROLE, or not';

create function mcp._catalog_grants(relation oid) returns table (privilege text, grantee oid, grantable boolean, columns text[])
language sql stable strict rows 10
set search_path = pg_catalog, pg_temp
as $$
    select a.privilege_type, a.grantee, bool_or(a.is_grantable), null::text[]
      from pg_class c cross join lateral aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
     where c.oid = relation
     group by 1, 2
    union all
    select x.privilege_type, x.grantee, bool_or(x.is_grantable), array_agg(distinct a.attname::text)
      from pg_attribute a cross join lateral aclexplode(a.attacl) x
     where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
     group by 1, 2
$$;
comment on function mcp._catalog_grants(oid) is '@support The grants on a table, those on single columns with the columns; an owner''s that were never written down too';

create function mcp._catalog_why(role oid, relation oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Per privilege: whether the role has it, and each reason.
    with whole as (
        select c.relowner, r.rolsuper from pg_class c, pg_roles r where c.oid = relation and r.oid = role
    ), asked as (
        select p.name, p.place
          from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER', 'MAINTAIN']) with ordinality as p (name, place)
         where p.name <> 'MAINTAIN' or current_setting('server_version_num')::integer >= 170000
    ), reasons as (
        select g.privilege, g.columns, mcp._catalog_reach(role, g.grantee) as reach,
               case when g.grantee = 0 then 'granted to PUBLIC'
                    when g.grantee = w.relowner and g.columns is null then case when g.grantee = role then 'owner' else 'member of the owner: ' || mcp._catalog_role_path(role, g.grantee) end
                    when g.grantee = role then 'granted'
                    else 'granted to ' || quote_ident(pg_get_userbyid(g.grantee)) || ': ' || mcp._catalog_role_path(role, g.grantee) end
               || case when g.grantable and g.grantee <> w.relowner then ' (may grant it on)' else '' end as why
          from mcp._catalog_grants(relation) g cross join whole w
         where not w.rolsuper and mcp._catalog_reach(role, g.grantee) is not null
        union all
        select a.name, null, mcp._catalog_reach(role, b.oid), 'through ' || b.rolname || coalesce(': ' || mcp._catalog_role_path(role, b.oid), '')
          from asked a
          join pg_roles b on b.rolname = case when a.name = 'SELECT' then 'pg_read_all_data' when a.name in ('INSERT', 'UPDATE', 'DELETE') then 'pg_write_all_data'
                                              when a.name = 'MAINTAIN' then 'pg_maintain' end
         cross join whole w
         where not w.rolsuper and mcp._catalog_reach(role, b.oid) is not null
        union all
        select a.name, null, 'has', 'superuser' from asked a cross join whole w where w.rolsuper
    )
    select jsonb_object_agg(a.name,
               case
                   when has_table_privilege(role, relation, a.name)
                       then jsonb_build_object('allowed', true, 'why', (select coalesce(jsonb_agg(distinct r.why), '[]') from reasons r
                                                                                         where r.privilege = a.name and r.reach = 'has' and r.columns is null))
                   when a.name in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') and has_any_column_privilege(role, relation, a.name)
                       then jsonb_build_object('allowed', 'some columns', 'why', (
                                select jsonb_agg(distinct jsonb_build_object('columns', to_jsonb(r.columns[1:100]), 'why', r.why)) from reasons r
                                 where r.privilege = a.name and r.reach = 'has' and r.columns is not null))
                   else jsonb_build_object('allowed', false)
               end
               || coalesce((select jsonb_build_object('after_set_role', jsonb_agg(distinct r.why)) from reasons r
                             where r.privilege = a.name and r.reach = 'may set' and not has_table_privilege(role, relation, a.name) having count(*) > 0), '{}')
               order by a.place)
      from asked a
$$;
comment on function mcp._catalog_why(oid, oid) is '@support What a role may do with a table, and why: grants, memberships, ownership';

create function mcp._catalog_rows_of(role oid, relation oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    with whole as (
        select c.oid, c.relrowsecurity,
               case when r.rolsuper then 'superuser' when r.rolbypassrls then 'BYPASSRLS'
                    when not c.relforcerowsecurity and pg_has_role(role, c.relowner, 'USAGE') then 'it owns the table, which does not force row level security on its owner'
               end as bypass
          from pg_class c, pg_roles r where c.oid = relation and r.oid = role
    ), applied as (
        select p.*, mcp._catalog_policy_command(p.polcmd) as command from pg_policy p
         where p.polrelid = relation and exists (select from unnest(p.polroles) x where x = 0 or pg_has_role(role, x, 'USAGE'))
    )
    select case
               when not w.relrowsecurity then '{"enabled": false}'::jsonb
               when w.bypass is not null then jsonb_build_object('enabled', true, 'bypassed', w.bypass)
               else jsonb_build_object('enabled', true,
                        'policies', (select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                                                'name', a.polname, 'command', a.command, 'permissive', a.polpermissive,
                                                'using', mcp._catalog_cut(pg_get_expr(a.polqual, a.polrelid), mcp._catalog_longest(500)),
                                                'check', mcp._catalog_cut(pg_get_expr(a.polwithcheck, a.polrelid), mcp._catalog_longest(500)))) order by a.polname), '[]')
                                       from (select * from applied order by polname limit 50) a),
                        'no_rows_for', (select coalesce(jsonb_agg(c.name order by c.place), '[]')
                                          from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) with ordinality as c (name, place)
                                         where not exists (select from applied a where a.polpermissive and a.command in (c.name, 'ALL'))))
           end
      from whole w
$$;
comment on function mcp._catalog_rows_of(oid, oid) is
    '@support The policies that apply to a role on a table, the commands that no permissive one allows, or why none applies';

create function mcp._catalog_role(role oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- What is on each grant of a role since version 16, and before it for the whole member.
    select jsonb_build_object('name', r.rolname,
               'attributes', to_jsonb(array_remove(array[case when r.rolsuper then 'superuser' end, case when r.rolcanlogin then 'login' end, case when not r.rolinherit then 'noinherit' end,
                                                         case when r.rolcreaterole then 'createrole' end, case when r.rolcreatedb then 'createdb' end,
                                                         case when r.rolreplication then 'replication' end, case when r.rolbypassrls then 'bypassrls' end], null)))
           || jsonb_strip_nulls(jsonb_build_object(
               'connection_limit', nullif(r.rolconnlimit, -1),
               'valid_until', r.rolvaliduntil,
               'comment', mcp._catalog_cut(shobj_description(r.oid, 'pg_authid'), mcp._catalog_longest(300)),
               'member_of', (select jsonb_agg(m.item order by m.name) from (
                                select g.rolname as name, jsonb_build_object('role', g.rolname,
                                           'inherit', bool_or(coalesce((to_jsonb(a) ->> 'inherit_option')::boolean, r.rolinherit)),
                                           'set', bool_or(coalesce((to_jsonb(a) ->> 'set_option')::boolean, true)), 'admin', bool_or(a.admin_option)) as item
                                  from pg_auth_members a join pg_roles g on g.oid = a.roleid where a.member = r.oid group by g.rolname order by g.rolname limit 20) m),
               'members', (select nullif(count(distinct a.member), 0) from pg_auth_members a where a.roleid = r.oid)))
      from pg_roles r
     where r.oid = role
$$;
comment on function mcp._catalog_role(oid) is '@support A role with its attributes, and the roles that it is a member of with the options of each membership';
