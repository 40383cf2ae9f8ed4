-- Owns: what an administrator is told about a role that an AI will act as: everything that it can reach and perhaps should not.
-- Runs: in an administrator's session, with the administrator's own rights; reads catalogs, changes nothing.
-- Must not: leave out a readable table without row-level security: the answer of mcp.create_agent promises to name each.

create function mcp._exposed_tables(role oid) returns setof text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with relation as (
        select c.oid, c.relkind, format('%I.%I', s.name, c.relname) as name, r.rolname as agent, o.rolname as owner,
               c.relrowsecurity, c.relforcerowsecurity,
               coalesce((select x.option_value::boolean from pg_options_to_table(c.reloptions) x where x.option_name = 'security_invoker'), false) as invoker,
               exists (select from aclexplode(c.relacl) a where a.grantee = 0 and a.privilege_type = 'SELECT')
                   or exists (select from pg_attribute t, aclexplode(t.attacl) a
                               where t.attrelid = c.oid and a.grantee = 0 and a.privilege_type = 'SELECT') as by_public,
               exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e') as of_extension,
               pg_has_role(role, c.relowner, 'USAGE') as is_owner,
               exists (select from pg_policy p
                        where p.polrelid = c.oid and p.polpermissive and p.polcmd in ('*', 'r')
                          and exists (select from unnest(p.polroles) g where g = 0 or pg_has_role(role, g, 'USAGE'))) as has_policy
          from mcp._open_schemas(role) s
          join pg_class c on c.relnamespace = s.oid
          join pg_roles r on r.oid = role
          join pg_roles o on o.oid = c.relowner
         where c.relkind in ('r', 'p', 'v', 'm', 'f')
           and (has_table_privilege(role, c.oid, 'SELECT') or has_any_column_privilege(role, c.oid, 'SELECT'))
    )
    select name || case
               when relkind in ('r', 'p') and not relrowsecurity then
                   format(' has no row-level security: %I can read every row. Say: alter table %s enable row level security; and create a policy for %I', agent, name, agent)
               when relkind in ('r', 'p') and is_owner and not relforcerowsecurity then
                   format(' has row-level security, but %I is, or is a member of, its owner, and is exempt. Say: alter table %s force row level security', agent, name)
               when relkind in ('r', 'p') then
                   format(' has row-level security and no policy for %I, which reads no row of it. Say: create policy ... on %s for select to %I using (...)', agent, name, agent)
               when relkind = 'v' then
                   format(' is a view that reads with the rights of its owner %I, past row-level security. Say: alter view %s set (security_invoker = true)', owner, name)
               else format(' is a %s, which row-level security does not cover: %I can read every row', case relkind when 'm' then 'materialized view' else 'foreign table' end, agent)
           end
           || case when relkind in ('r', 'p') and relrowsecurity then ''
                   else format('; or: revoke select on %s from %s', name, case when by_public then 'public' else quote_ident(agent) end) end
           || '.'
           || case when by_public then ' PUBLIC may read it, so everybody can.' else '' end
      from relation
     where case
               when relkind in ('r', 'p') then not relrowsecurity or is_owner and not relforcerowsecurity or not (has_policy or is_owner)
               when relkind = 'v' then not invoker and not of_extension
               else true
           end
     order by relkind in ('r', 'p') desc, name
$$;
comment on function mcp._exposed_tables(oid) is
    'One warning for each table that a role can read without row-level security (or with it, and no policy), and for each view that goes past it';

create function mcp._exposures(role oid, access text) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with agent as (select r.rolname as name from pg_roles r where r.oid = role),
    found (rank, warning) as (
        select 1, t from mcp._exposed_tables(role) t
        union all
        select 2, format('%s runs with the rights of its owner %I (SECURITY DEFINER), and %I may call it. If it should not: revoke execute on function %s from %s.',
                         p.oid::regprocedure, o.rolname, a.name, p.oid::regprocedure,
                         case when p.proacl is null or exists (select from aclexplode(p.proacl) x where x.grantee = 0) then 'public' else quote_ident(a.name) end)
          from agent a
         cross join mcp._open_schemas(role) s
          join pg_proc p on p.pronamespace = s.oid
          join pg_roles o on o.oid = p.proowner
         where p.prosecdef
           and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
           and has_function_privilege(role, p.oid, 'EXECUTE')
           and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
        union all
        select 3, format('PUBLIC may create objects in schema %I, and so may %I. Say: revoke create on schema %I from public.', s.name, a.name, s.name)
          from agent a
         cross join mcp._open_schemas(role) s
          join pg_namespace n on n.oid = s.oid
         where exists (select from aclexplode(n.nspacl) x where x.grantee = 0 and x.privilege_type = 'CREATE')
        union all
        select 4, format('PUBLIC may change %s, and so may %I. Say: revoke insert, update, delete, truncate on %s from public.', c.oid::regclass, a.name, c.oid::regclass)
          from agent a
         cross join mcp._open_schemas(role) s
          join pg_class c on c.relnamespace = s.oid
         where c.relkind in ('r', 'p', 'v', 'f')
           and exists (select from aclexplode(c.relacl) x where x.grantee = 0 and x.privilege_type in ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))
        union all
        select 5, format('PUBLIC may make temporary tables in database %I, and so may %I: they take disk space. Say: revoke temporary on database %I from public.',
                         d.datname, a.name, d.datname)
          from agent a
          join pg_database d on d.datname = current_database()
         where exists (select from aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x where x.grantee = 0 and x.privilege_type = 'TEMPORARY')
           and access <> 'read'
        union all
        select 6, format('%I may create triggers and functions: whoever writes to its schemas runs its code with their own rights. Do not write there as a superuser.', a.name)
          from agent a
         where access = 'admin'
    )
    select coalesce(array_agg(warning order by rank, warning), '{}') from found
$$;
comment on function mcp._exposures(oid, text) is
    'What a role can reach that an administrator should know of: unprotected tables, SECURITY DEFINER functions, what PUBLIC gives away';
