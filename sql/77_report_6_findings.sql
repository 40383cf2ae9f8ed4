-- Owns: what an auditor should look at in the report of who could: the rights that are wider than they need be, credentials that nobody watches.
-- Runs: as the reader of a report.
-- Must not: judge: each line says what there is, and names it.

create function mcp._report_findings(wanted oid) returns table (rank integer, level text, role name, finding text, objects text[])
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
    return query
    with found as materialized (
        select a.* from mcp._report_access(wanted) a
    ), callers as materialized (
        select c.* from mcp._report_callers(wanted) c
    ), credentials as materialized (
        select r.rolname as role, k.kind, k.live, k.name, k.token, k.expires_at, k.last_used_at, k.made_at,
               coalesce(k.name, 'token ' || k.token) as shown
          from mcp._report_credentials(wanted) k left join pg_roles r on r.oid = k.role
    ), relations as materialized (
        -- What it can use at once: reading, and changing.
        select f.role, f.kind, f.object, f.row_security, f.policies, f.note, c.shared,
               exists (select from unnest(f.privileges) p where p ~ '^(SELECT|ALL)') as reads,
               exists (select from unnest(f.privileges) p where p ~ '^(INSERT|UPDATE|DELETE|TRUNCATE|ALL)') as changes
          from found f join callers c on c.name = f.role
         where f.kind in ('table', 'view', 'materialized view', 'foreign table') and f.through not like 'after SET ROLE %' and coalesce(f.note, '') !~ 'cannot be used'
    ), tools as materialized (
        select f.role, f.object, f.note, c.shared, f.note ~ '^free SQL' as free, f.through
          from found f join callers c on c.name = f.role where f.kind = 'tool'
    ), granted as materialized (
        select g.kind, g.name, g.privileges, g.remark from mcp._report_grants() g where g.grantee = 0
    ), lines (rank, level, role, finding, object) as (
        select 1, 'high', f.role, 'is served although it is more than an ordinary role', regexp_replace(f.note, '^served although ', '')
          from found f where f.kind = 'role' and f.note ~ '^served although '
        union all
        select 2, 'high', t.role, 'has free SQL, and many users share it', t.object from tools t where t.free and t.shared
        union all
        select 3, 'high', r.role, 'is shared by many users and reads tables without row level security', r.object
          from relations r where r.shared and r.kind = 'table' and r.reads and r.row_security = 'off'
        union all
        select 4, 'high', r.role, 'is shared by many users and changes tables without row level security', r.object
          from relations r where r.shared and r.kind = 'table' and r.changes and r.row_security = 'off'
        union all
        select 5, 'medium', r.role, 'is shared by many users and reads what row level security does not reach', r.object
          from relations r where r.shared and r.reads and (r.kind <> 'table' and r.note is not null or r.row_security ~ '^bypassed')
        union all
        select 6, 'medium', t.role, 'has free SQL that writes', t.object from tools t where t.object = 'execute_sql_write' and t.free and not t.shared
        union all
        select 7, 'medium', f.role, 'administers the MCP server: it hands out tokens and tools', f.object
          from found f where f.kind = 'membership' and f.object = 'mcp_admin'
        union all
        select 8, 'medium', f.role, 'reads the audit trail, with what others sent', f.object from found f where f.kind = 'membership' and f.object = 'mcp_auditor'
        union all
        select 9, 'medium', t.role, 'may call tools that run with the rights of their owner (SECURITY DEFINER)', t.object
          from tools t where t.note ~ 'runs with the rights of its owner'
        union all
        select 10, 'medium', f.role, 'may call functions that run with the rights of their owner (SECURITY DEFINER)', f.object
          from found f where f.kind in ('function', 'procedure') and f.note ~ '^runs with the rights of its owner' and f.note !~ 'cannot be used'
        union all
        select 11, 'medium', f.role, 'may grant on what it was granted', f.object
          from found f where f.kind <> 'membership' and exists (select from unnest(f.privileges) p where p ~ 'with grant option$')
        union all
        select 11, 'medium', f.role, 'may grant on roles that it is a member of', f.object from found f where f.kind = 'membership' and 'ADMIN' = any (f.privileges)
        union all
        select 12, 'medium', k.role, 'has tokens without expiry', k.shown from credentials k where k.kind = 'token' and k.live and coalesce(not isfinite(k.expires_at), true)
        union all
        select 13, 'note', k.role, 'has tokens that were never used', k.shown from credentials k where k.kind = 'token' and k.live and k.last_used_at is null
        union all
        select 14, 'note', k.role, 'has tokens that were not used for 90 days', k.shown
          from credentials k where k.kind = 'token' and k.live and k.last_used_at < now() - interval '90 days'
        union all
        select 15, 'note', k.role, case when k.role is null then 'credentials are left of roles that are gone' else 'has credentials that do not count any more' end, k.shown
          from credentials k where not k.live
        union all
        select 16, 'note', c.name, 'has credentials, and every call is refused', c.refusal from callers c where c.refusal is not null
        union all
        select 17, 'note', c.name, 'has credentials, and is offered nothing', 'mcp.grant_tools' from callers c where c.refusal is null and not c.offered
        union all
        -- PUBLIC is everybody: also roles that are made tomorrow.
        select 20, 'high', null, 'PUBLIC may change tables', g.name from granted g
         where g.kind in ('table', 'view', 'foreign table') and exists (select from unnest(g.privileges) p where p ~ '^(INSERT|UPDATE|DELETE|TRUNCATE)')
        union all
        select 21, 'high', null, 'PUBLIC may create objects in schemas', g.name from granted g where g.kind = 'schema' and 'CREATE' = any (g.privileges)
        union all
        select 22, 'medium', null, 'PUBLIC may read tables and views', g.name from granted g
         where g.kind in ('table', 'view', 'materialized view', 'foreign table') and exists (select from unnest(g.privileges) p where p ~ '^SELECT')
        union all
        select 23, 'medium', null, 'PUBLIC may call functions that run with the rights of their owner (SECURITY DEFINER)', g.name from granted g
         where g.kind in ('function', 'procedure') and g.remark ~ '^runs with the rights of its owner'
        union all
        select 24, 'note', null, 'PUBLIC may make temporary tables', g.name from granted g where g.kind = 'database' and 'TEMPORARY' = any (g.privileges)
        union all
        select 25, 'medium', null, 'callers on this machine need no credential (supabase_mcp.anonymous_role)', k.role::text from credentials k where k.kind = 'anonymous'
        union all
        select 26, 'medium', null, 'an operating system user is the role of the same name (supabase_mcp.peer_equal_names)', 'on'
         where current_setting('supabase_mcp.peer_equal_names', true) = 'on'
    )
    select l.rank, l.level, l.role, l.finding, array_agg(distinct l.object)
      from lines l group by 1, 2, 3, 4 order by array_position('{high,medium,note}', l.level), 1, 3 nulls first;
end
$$;
comment on function mcp._report_findings(oid) is
    'What stands out in mcp.report_access, by its weight: whom it concerns (null: everybody), and the objects that it is about';
