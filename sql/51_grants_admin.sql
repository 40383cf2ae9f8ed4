-- Owns: handing the tools to a role and taking them back.
-- Runs: in an administrator's session, as the owner of the extension.
-- Must not: grant anything but USAGE on schema mcp and EXECUTE on its tools and their helpers.
--
-- Why these two are SECURITY DEFINER: a privilege belongs to whoever granted it, and only the grantor's own REVOKE takes it
-- away. If mcp_admin granted in its own name, a superuser's revoke would silently leave those grants in place, and the other
-- way round. So that "revoked" is true whoever says it, there is one grantor: the owner. Their power is only to let a role use
-- tools that run with that role's own privileges, and EXECUTE on them is mcp_admin's alone.

create function mcp._support() returns regprocedure[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- What the tools and the registry call on the way. They tell a role nothing that the catalogs do not tell everybody.
    select array['mcp._directive(text)', 'mcp._type_schema(oid)', 'mcp._default_value(text, jsonb)', 'mcp._arguments(oid)',
                 'mcp._input_schema(oid, jsonb)', 'mcp._returns(oid)', 'mcp._marked(text)', 'mcp._annotations("char", text, jsonb)',
                 'mcp._tools()', 'mcp._near(text, text[])', 'mcp._tool_call(text)', 'mcp._tool_call(text, jsonb)',
                 'mcp._tool_statement(oid, text, jsonb)', 'mcp._find_tool(text)',
                 'mcp._check_arguments(text, oid, jsonb)', 'mcp._byte_budget()', 'mcp._page_size(integer)', 'mcp._usable_table(oid)',
                 'mcp._row_estimate(oid)', 'mcp._columns(oid)', 'mcp._key_columns(oid, smallint[])', 'mcp._table_name(oid)',
                 'mcp._foreign_keys(oid)', 'mcp._primary_key(oid)', 'mcp._table_kind("char")', 'mcp._find_table(text, text)',
                 'mcp._table_privileges(oid)', 'mcp._policies(oid)']::regprocedure[]
$$;
comment on function mcp._support() is 'Private functions that a role needs besides the tools themselves';

create function mcp._builtin_tools() returns table (tool text, function regprocedure, writes boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select p.proname::text, p.oid::regprocedure, d.directive ->> 'kind' = 'variant'
      from pg_proc p
     cross join lateral (select mcp._directive(obj_description(p.oid, 'pg_proc')) as directive) d
     where p.pronamespace = 'mcp'::regnamespace
       and d.directive ->> 'kind' in ('tool', 'variant')
$$;
comment on function mcp._builtin_tools() is 'The tools of schema mcp, and which of them let a role write';

create function mcp.grant_tools(role regrole, write boolean default false, tools text[] default null) returns text[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Many end users are one of these roles, told apart by their claims. What they may ask of the API is tables through policies;
    -- free SQL opens much more (catalogs, statistics, every function that PUBLIC may call), so it is given by name only.
    shared constant boolean := exists (select from pg_roles r
                                        where r.oid = role
                                          and (r.rolname in ('anon', 'authenticated')
                                               or r.rolname = any (regexp_split_to_array(coalesce(current_setting('supabase_mcp.jwt_roles', true), ''), '\s*,\s*'))));
    granted text[] := '{}';
    unknown text;
    item record;
begin
    if role is null or not exists (select from pg_roles r where r.oid = role) then
        raise exception 'the role does not exist' using errcode = 'undefined_object';
    end if;
    select min(t) into unknown
      from unnest(tools) t where t not in (select b.tool from mcp._builtin_tools() b where not b.writes);
    if unknown is not null then
        raise exception 'there is no built-in tool "%"', unknown
            using errcode = 'undefined_object',
                  hint = (select format('There are: %s.', string_agg(b.tool, ', ' order by b.tool)) from mcp._builtin_tools() b where not b.writes);
    end if;

    execute format('grant usage on schema mcp to %s', role);
    for item in select s as function from unnest(mcp._support()) s loop
        execute format('grant execute on function %s to %s', item.function, role);
    end loop;
    for item in
        select b.tool, b.function
          from mcp._builtin_tools() b
         where case
                   when b.writes then coalesce(write, false) and (not shared or coalesce('execute_sql' = any (tools), false))
                   when tools is null then not (shared and b.tool in ('execute_sql', 'explain_query'))
                   else b.tool = any (tools)
               end
         order by b.tool
    loop
        execute format('grant execute on function %s to %s', item.function, role);
        granted := granted || item.tool;
    end loop;
    if shared and not ('execute_sql' = any (granted)) then
        raise notice 'role % has no free SQL, since many end users share it', role
            using hint = format('If you want that: select mcp.grant_tools(%L, tools => ''{execute_sql}'');', role::text);
    end if;
    return granted;
end
$$;
comment on function mcp.grant_tools(regrole, boolean, text[]) is
    'Lets a role use the built-in tools, or those named; with write also lets it change data through execute_sql. Roles of end users (anon, authenticated, supabase_mcp.jwt_roles) get execute_sql by name only. Adds, never takes away';

create function mcp.revoke_tools(role regrole) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    item record;
    left_over text;
begin
    if role is null or not exists (select from pg_roles r where r.oid = role) then
        raise exception 'the role does not exist' using errcode = 'undefined_object';
    end if;
    for item in
        select b.function from mcp._builtin_tools() b union all select s from unnest(mcp._support()) s
    loop
        execute format('revoke execute on function %s from %s', item.function, role);
    end loop;
    -- An administrator keeps the schema, in which the functions of administration are.
    if role::text <> 'mcp_admin' then
        execute format('revoke usage on schema mcp from %s', role);
    end if;

    -- Through membership a role may have what was not granted to itself. That is somebody else's to revoke, but not to be passed over.
    select string_agg(b.tool, ', ' order by b.tool) into left_over
      from mcp._builtin_tools() b
     where has_function_privilege(role::oid, b.function::oid, 'EXECUTE')
       and has_schema_privilege(role::oid, 'mcp', 'USAGE')
       and not (select r.rolsuper from pg_roles r where r.oid = role);
    if left_over is not null then
        raise warning 'role % still has these tools, as a member of another role: %', role, left_over;
    end if;
end
$$;
comment on function mcp.revoke_tools(regrole) is 'Takes all built-in tools, writing and schema mcp away from a role; counts from the next call on';
