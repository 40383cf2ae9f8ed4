-- Owns: the tool list_policies: who sees which rows, and where row level security is not on.
-- Runs: as the caller, on the tables on which the caller has a privilege.
-- Must not: say "off" of a table without saying that policies on it do nothing.

create function mcp._catalog_policy_command(command "char") returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select case command when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end
$$;
comment on function mcp._catalog_policy_command("char") is '@support The command that a policy is for';

create function mcp.list_policies(schemas text[] default null, "table" text default null, max_policies integer default null, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    page_size constant integer := mcp._page_size(max_policies);
    budget constant bigint := mcp._byte_budget();
    longest constant bigint := mcp._catalog_longest(2000);
    last_seen constant text[] := mcp._catalog_after(after, 3);
    spaces constant oid[] := mcp._catalog_schemas(schemas);
    wanted constant oid := case when "table" is not null then mcp._find_table("table", null) end;
    usable constant oid[] := array(select mcp._catalog_tables(spaces, wanted));
    me record;
    items text[];
    marks text[];
    answer jsonb;
begin
    select array_agg(p.item order by p.nspname, p.relname, p.polname), array_agg(p.mark order by p.nspname, p.relname, p.polname)
      into items, marks
      from (select n.nspname, c.relname, p.polname, format('%I.%I.%I', n.nspname, c.relname, p.polname) as mark,
                   jsonb_strip_nulls(jsonb_build_object(
                       'table', format('%I.%I', n.nspname, c.relname),
                       'name', p.polname,
                       'command', mcp._catalog_policy_command(p.polcmd),
                       'permissive', p.polpermissive,
                       'roles', (select jsonb_agg(case when r = 0 then 'public' else pg_get_userbyid(r)::text end order by place)
                                   from unnest(p.polroles[1:20]) with ordinality as u (r, place)),
                       'applies_to_you', exists (select from unnest(p.polroles) r where r = 0 or pg_has_role(r, 'USAGE')),
                       'using', mcp._catalog_cut(pg_get_expr(p.polqual, p.polrelid), longest),
                       'check', mcp._catalog_cut(pg_get_expr(p.polwithcheck, p.polrelid), longest),
                       'rls_enabled', case when not c.relrowsecurity then false end,
                       'you_bypass', case when c.relrowsecurity and not row_security_active(c.oid) then true end))::text as item
              from unnest(usable) u
              join pg_policy p on p.polrelid = u
              join pg_class c on c.oid = u
              join pg_namespace n on n.oid = c.relnamespace
             where (schemas is null or c.relnamespace = any (spaces))
               and (last_seen is null or (n.nspname, c.relname, p.polname) > (last_seen[1]::name, last_seen[2]::name, last_seen[3]::name))
             order by n.nspname, c.relname, p.polname
             limit page_size + 1) p;
    answer := mcp._catalog_page('policies', items, marks, page_size, budget * 5 / 8);
    if after is not null then
        return answer;
    end if;

    -- Beside the first page: tables that policies say nothing of.
    with tables as (
        select format('%I.%I', n.nspname, c.relname) as name, c.relrowsecurity, exists (select from pg_policy p where p.polrelid = c.oid) as has_policy
          from unnest(usable) u
          join pg_class c on c.oid = u
          join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p')
           and (schemas is null or c.relnamespace = any (spaces))
    )
    select answer
           || jsonb_build_object('rls_on_without_policy', mcp._catalog_some(array_agg(t.name order by t.name collate "C") filter (where t.relrowsecurity and not t.has_policy), budget / 8),
                                 'rls_off', mcp._catalog_some(array_agg(t.name order by t.name collate "C") filter (where not t.relrowsecurity), budget / 8))
      into answer
      from tables t;
    select r.rolsuper, r.rolbypassrls into me from pg_roles r where r.rolname = current_user;
    return answer
           || jsonb_build_object('you_bypass', case when me.rolsuper then 'all policies, as a superuser' when me.rolbypassrls then 'all policies, by BYPASSRLS'
                                                    else 'only policies of tables that you own and that do not force them' end)
           || mcp._catalog_unknown(schemas);
end
$$;
comment on function mcp.list_policies(text[], text, integer, text) is
'@mcp({"kind": "tool", "features": ["catalog"], "title": "List policies",
      "args": {"schemas": "All that you may use if left out", "table": "Only this table", "max_policies": "500 if left out",
               "after": "next of the last answer"},
      "output": {"policies": "array", "rls_on_without_policy?": "object", "rls_off?": "object", "you_bypass?": "string", "truncated?": "boolean",
                 "next?": "string", "unknown_schemas?": "array"}})
Lists row level security policies with expressions, roles, and whether they apply to you; also tables without policies. Use it when rows are missing.';
