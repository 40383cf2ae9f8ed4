-- Owns: the tool list_roles_and_grants: who may do what, and why.
-- Runs: as the caller. Tables are those on which the caller has a privilege; roles and grants everybody can read in the catalogs.
-- Must not: count what has to be asked of ten thousand tables for each of many roles: the overview is of one role, with a limit.

create function mcp._catalog_role_overview(role oid, spaces oid[]) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- Of each schema: how many tables the role may read and change. Of the tables only those that the caller may use.
    with tables as (
        select c.relnamespace, c.oid, c.relowner
          from mcp._catalog_tables(spaces) u
          join pg_class c on c.oid = u
         limit 20000
    ), counted as (
        select t.relnamespace, count(*) as tables,
               count(*) filter (where t.relowner = role) as owned,
               count(*) filter (where has_table_privilege(role, t.oid, 'SELECT')) as may_select,
               count(*) filter (where has_table_privilege(role, t.oid, 'INSERT')) as may_insert,
               count(*) filter (where has_table_privilege(role, t.oid, 'UPDATE')) as may_update,
               count(*) filter (where has_table_privilege(role, t.oid, 'DELETE')) as may_delete
          from tables t group by 1
    )
    select coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'usage', has_schema_privilege(role, n.oid, 'USAGE'),
                                                 'create', has_schema_privilege(role, n.oid, 'CREATE'))
                              || jsonb_strip_nulls(jsonb_build_object('tables', c.tables, 'owned', nullif(c.owned, 0), 'select', nullif(c.may_select, 0), 'insert', nullif(c.may_insert, 0),
                                                                      'update', nullif(c.may_update, 0), 'delete', nullif(c.may_delete, 0))) order by n.nspname), '[]')
      from (select * from pg_namespace where oid = any (spaces) order by nspname limit least(100, mcp._byte_budget() / 300)) n
      left join counted c on c.relnamespace = n.oid
$$;
comment on function mcp._catalog_role_overview(oid, oid[]) is '@support Per schema, how many of the tables a role may read and change';

create function mcp.list_roles_and_grants(role text default null, "table" text default null, schema text default null, max_roles integer default null,
                                          after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    page_size constant integer := mcp._page_size(coalesce(max_roles, 200));
    last_seen constant text[] := mcp._catalog_after(after, 1);
    who constant oid := case when role is not null then mcp._catalog_find_role(role) end;
    relation constant oid := case when "table" is not null then mcp._find_table("table", schema) end;
    space constant oid := (select c.relnamespace from pg_class c where c.oid = relation);
    items text[];
    marks text[];
    head jsonb := '{}';
begin
    if who is not null and relation is not null then
        return jsonb_build_object(
            'role', pg_get_userbyid(who), 'table', mcp._table_name(relation),
            'owner', (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = relation),
            'privileges', mcp._catalog_why(who, relation),
            'row_level_security', mcp._catalog_rows_of(who, relation))
            || case when has_schema_privilege(who, space, 'USAGE') then '{}'
                    else jsonb_build_object('missing', format('USAGE on schema %s: without it none of the privileges on the table can be used. Its owner grants it: grant usage on schema %s to %I',
                                                              space::regnamespace, space::regnamespace, pg_get_userbyid(who))) end;
    elsif who is not null then
        return mcp._catalog_role(who)
               || jsonb_build_object('schemas', mcp._catalog_role_overview(who, mcp._catalog_one_schema(schema)))
               || coalesce((select jsonb_build_object('member_names', jsonb_agg(m.rolname order by m.rolname))
                              from (select distinct g.rolname from pg_auth_members a join pg_roles g on g.oid = a.member where a.roleid = who
                                     order by 1 limit least(100, mcp._byte_budget() / 800)) m having count(*) > 0), '{}');
    end if;

    if relation is null then
        perform mcp._catalog_one_schema(schema);
        select array_agg(mcp._catalog_role(r.oid)::text order by r.rolname), array_agg(quote_ident(r.rolname) order by r.rolname)
          into items, marks
          from (select r.oid, r.rolname from pg_roles r
                 where (last_seen is null or r.rolname > last_seen[1]::name)
                   -- PostgreSQL's own roles are shown where something is made of them.
                   and (r.rolname !~ '^pg_' or exists (select from pg_auth_members m where m.roleid = r.oid and m.member >= 16384))
                 order by r.rolname limit page_size + 1) r;
    else
        -- Who was granted something on this table, and through whom others have it.
        head := jsonb_build_object('table', mcp._table_name(relation), 'owner', (select pg_get_userbyid(c.relowner) from pg_class c where c.oid = relation),
                                   'rls_enabled', (select c.relrowsecurity from pg_class c where c.oid = relation),
                                   'superusers', (select coalesce(jsonb_agg(s.rolname order by s.rolname), '[]')
                                                    from (select r.rolname from pg_roles r where r.rolsuper order by 1 limit 10) s));
        select array_agg(g.item::text order by g.name), array_agg(quote_ident(g.name) order by g.name)
          into items, marks
          from (select f.name,
                       jsonb_strip_nulls(jsonb_build_object(
                           'role', f.name,
                           'why', case when f.why = 'granted' then null else f.why end,
                           'privileges', (select jsonb_agg(distinct x.privilege) from mcp._catalog_grants(relation) x where x.grantee = f.grantee and x.columns is null and f.why in ('granted', 'owner')),
                           'may_grant', (select jsonb_agg(distinct x.privilege) from mcp._catalog_grants(relation) x where x.grantee = f.grantee and x.grantable and f.why = 'granted'),
                           'columns', (select jsonb_object_agg(x.privilege, to_jsonb(x.columns[1:50])) from mcp._catalog_grants(relation) x where x.grantee = f.grantee and x.columns is not null and f.why in ('granted', 'owner')),
                           'members', (select jsonb_agg(m.rolname order by m.rolname) from (
                                          select r.rolname from pg_roles r
                                           where f.grantee <> 0 and r.oid <> f.grantee and not r.rolsuper and mcp._catalog_reach(r.oid, f.grantee) = 'has' order by 1 limit 20) m),
                           'no_usage_on_schema', case when f.grantee <> 0 and not has_schema_privilege(f.grantee, space, 'USAGE') then true end)) as item
                  from (select x.grantee, case when x.grantee = 0 then 'public' else pg_get_userbyid(x.grantee)::text end as name,
                               case when x.grantee = (select c.relowner from pg_class c where c.oid = relation) then 'owner' else 'granted' end as why
                          from (select distinct y.grantee from mcp._catalog_grants(relation) y) x
                        union all
                        select p.oid, p.rolname, case p.rolname when 'pg_read_all_data' then 'reads all tables' when 'pg_write_all_data' then 'writes all tables' else 'maintains all tables' end
                          from pg_roles p
                         where p.rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_maintain') and exists (select from pg_auth_members m where m.roleid = p.oid)) f
                 where last_seen is null or f.name > last_seen[1]
                 order by f.name limit page_size + 1) g;
    end if;
    return head || mcp._catalog_page('roles', items, marks, page_size, case when relation is null then null else mcp._byte_budget() * 3 / 4 end);
end
$$;
comment on function mcp.list_roles_and_grants(text, text, text, integer, text) is
'@mcp({"kind": "tool", "features": ["catalog", "operations"], "title": "Roles and grants",
      "args": {"role": "Name of a role", "table": "With or without its schema", "schema": "Of the table, or the one to look at",
               "max_roles": "200 if left out", "after": "next of the last answer"},
      "output": {"roles?": "array", "truncated?": "boolean", "next?": "string", "role?": "string", "table?": "string", "owner?": "string",
                 "privileges?": "object", "row_level_security?": "object", "missing?": "string", "name?": "string", "schemas?": "array"}})
Lists roles and memberships; with role, what it may do in each schema; with table, who was granted what; with both, what the role may do with the table, and why. Use it when permission is denied.';
