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
    select coalesce(array_agg(p.oid::regprocedure order by p.oid), '{}')
      from pg_proc p
     where p.pronamespace = 'mcp'::regnamespace
       and obj_description(p.oid, 'pg_proc') ~ '^@support |^@mcp\({"kind": "(prompt|resource)"'
$$;
comment on function mcp._support() is 'What a role needs besides the tools themselves: functions whose comment begins with @support, prompts and resources';

create function mcp._builtin_tools() returns table (tool text, function regprocedure, writes boolean, features text[], shared boolean)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select p.proname::text, p.oid::regprocedure, p.provolatile = 'v', f.features,
           -- What looks into the whole server, or runs a caller's own SQL, is nothing for the end users of an application.
           not coalesce((d.directive ->> 'sql')::boolean, false) and not f.features && '{operations,queries,debugging,changes}'
      from pg_proc p
     cross join lateral (select mcp._directive(obj_description(p.oid, 'pg_proc')) as directive) d
     cross join lateral (select array(select jsonb_array_elements_text(d.directive -> 'features')) as features) f
     where p.pronamespace = 'mcp'::regnamespace
       and d.directive ->> 'kind' in ('tool', 'variant')
$$;
comment on function mcp._builtin_tools() is
    'The tools of schema mcp: which of them let a role change something, their features, and which may go to roles that end users share';

create function mcp.grant_tools(role regrole, write boolean default false, tools text[] default null) returns text[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Many end users are one of these roles, told apart by their claims. What they may ask of the API is tables through policies;
    -- free SQL opens much more (catalogs, statistics, every function that PUBLIC may call), and so does a look into the server: they
    -- are given by name only.
    of_end_users constant boolean := exists (select from pg_roles r
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
      from unnest(tools) t
     where not exists (select from mcp._builtin_tools() b where (b.tool = t and b.tool <> 'execute_sql_write') or t = any (b.features));
    if unknown is not null then
        raise exception 'there is no built-in tool or feature "%"', unknown
            using errcode = 'undefined_object',
                  hint = (select format('Tools: %s. Features: %s.',
                                        string_agg(distinct b.tool, ', ' order by b.tool) filter (where b.tool <> 'execute_sql_write'),
                                        string_agg(distinct f, ', ' order by f))
                            from mcp._builtin_tools() b left join lateral unnest(b.features) f on true);
    end if;

    execute format('grant usage on schema mcp to %s', role);
    for item in select s as function from unnest(mcp._support()) s loop
        execute format('grant execute on function %s to %s', item.function, role);
    end loop;
    for item in
        select b.tool, b.function
          from mcp._builtin_tools() b
         where case
                   when b.writes and not coalesce(write, false) then false
                   when b.tool = 'execute_sql_write' then not of_end_users or coalesce('execute_sql' = any (tools), false)
                   when tools is null then b.shared or not of_end_users
                   else b.tool = any (tools) or (b.features && tools and (b.shared or not of_end_users))
               end
         order by b.tool
    loop
        execute format('grant execute on function %s to %s', item.function, role);
        granted := granted || item.tool;
    end loop;
    if of_end_users and not ('execute_sql' = any (granted)) then
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
