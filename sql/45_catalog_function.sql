-- Owns: the tool describe_function: the overloads of a function, procedure, aggregate or window function.
-- Runs: as the caller.
-- Must not: show a function that the caller may not execute, nor tell it apart from one that does not exist.

create function mcp._catalog_arguments(function oid) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
                        'name', nullif(u.name, ''),
                        'type', format_type(u.type, null),
                        'mode', case u.mode when 'o' then 'out' when 'b' then 'inout' when 'v' then 'variadic' when 't' then 'table' end,
                        'default', mcp._catalog_cut(pg_get_function_arg_default(p.oid, u.place::integer), mcp._catalog_longest(200)))) order by u.place), '[]')
      from pg_proc p
     cross join unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargnames, p.proargmodes) with ordinality as u (type, name, mode, place)
     where p.oid = function and u.type is not null
$$;
comment on function mcp._catalog_arguments(oid) is '@support Arguments of a function in order, with types, modes and defaults';

create function mcp._catalog_find_functions(name text, schema text) returns oid[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- shop.total(integer, text) names one of several.
    given constant text := replace(lower(substring(name from '\(([^()]*)\)\s*$')), ' ', '');
    bare constant text := case when given is null then name else btrim(regexp_replace(name, '\([^()]*\)\s*$', '')) end;
    spaces constant oid[] := mcp._catalog_one_schema(schema);
    parts text[];
    found oid[];
    near text[];
begin
    begin
        parts := parse_ident(bare);
    exception when invalid_parameter_value then
        parts := null;
    end;
    -- The name as it stands first, then as SQL would read it.
    for attempt in 1 .. 3 loop
        found := array(
            select p.oid
              from pg_proc p
             where case attempt
                       when 1 then p.proname = _catalog_find_functions.name and p.pronamespace = any (spaces)
                       when 2 then p.proname = bare and p.pronamespace = any (spaces)
                       else p.proname = parts[cardinality(parts)]
                            and case cardinality(parts)
                                    when 1 then p.pronamespace = any (spaces)
                                    when 2 then p.pronamespace = any (mcp._catalog_schemas(parts[1:1])) and (schema is null or p.pronamespace = any (spaces))
                                    else false
                                end
                   end
               and (attempt = 1 or given is null
                    or given in (replace(lower(oidvectortypes(p.proargtypes)), ' ', ''), replace(lower(pg_get_function_identity_arguments(p.oid)), ' ', '')))
               and has_function_privilege(p.oid, 'EXECUTE')
             order by p.pronamespace::regnamespace::text collate "C", p.pronargs, p.oid);
        exit when cardinality(found) > 0;
    end loop;
    if cardinality(found) > 0 then
        return found;
    end if;

    near := mcp._near(left(coalesce(parts[cardinality(parts)], bare, ''), 100), array(
        select distinct p.proname::text
          from pg_proc p
         where p.pronamespace = any (spaces) and has_function_privilege(p.oid, 'EXECUTE')
         order by 1 limit 2000));
    near := array(select distinct format('%I.%I(%s)', p.pronamespace::regnamespace::text, p.proname, oidvectortypes(p.proargtypes))
                    from pg_proc p
                   where p.proname = any (near) and p.pronamespace = any (spaces) and has_function_privilege(p.oid, 'EXECUTE')
                   order by 1 limit 3);
    raise exception 'function "%" does not exist, or you may not execute it', left(concat_ws('.', schema, name), 200)
        using errcode = 'undefined_function',
              hint = case when cardinality(near) > 0 then format('Perhaps you meant %s.', array_to_string(near, ' or '))
                          else 'Call search_objects with kind function for those that you may execute.' end;
end
$$;
comment on function mcp._catalog_find_functions(text, text) is
    '@support The functions of a name, with or without its schema and argument types, that the current user may execute; raises if there is none';

create function mcp.describe_function(name text, schema text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    found constant oid[] := mcp._catalog_find_functions(name, schema);
    remark constant bigint := mcp._catalog_longest(1000);
    -- All overloads together may have a quarter of the bytes for their texts, and no model reads more than this of one.
    longest constant bigint := least(20000, greatest(mcp._byte_budget() / 8 / cardinality(found), 200), mcp._catalog_longest(20000));
    items text[];
    answer jsonb;
begin
    select array_agg(f.item order by f.place) into items
      from (select u.place,
                   (jsonb_build_object(
                        'name', format('%I.%I', n.nspname, p.proname),
                        'kind', case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' when 'w' then 'window function' else 'function' end,
                        'arguments', mcp._catalog_arguments(p.oid),
                        'language', l.lanname,
                        'volatility', case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
                        'security_definer', p.prosecdef,
                        'owner', pg_get_userbyid(p.proowner),
                        'privileges', jsonb_build_array('EXECUTE'))
                    || jsonb_strip_nulls(jsonb_build_object(
                        'returns', mcp._catalog_cut(pg_get_function_result(p.oid), remark),
                        'strict', case when p.proisstrict then true end,
                        'leakproof', case when p.proleakproof then true end,
                        'parallel', case p.proparallel when 's' then 'safe' when 'r' then 'restricted' end,
                        'settings', to_jsonb(p.proconfig),
                        'aggregate', (select jsonb_strip_nulls(jsonb_build_object(
                                                 'kind', case a.aggkind when 'o' then 'ordered-set' when 'h' then 'hypothetical-set' end,
                                                 'transition', a.aggtransfn::text, 'state_type', format_type(a.aggtranstype, null),
                                                 'final', nullif(a.aggfinalfn::text, '-'), 'initial', a.agginitval))
                                        from pg_aggregate a where a.aggfnoid = p.oid),
                        'executable_by', (select jsonb_agg(distinct case when a.grantee = 0 then 'public' else pg_get_userbyid(a.grantee)::text end)
                                            from (select * from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) limit 20) a),
                        'extension', (select e.extname from pg_depend d join pg_extension e on e.oid = d.refobjid
                                       where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'),
                        'triggers', (select jsonb_agg(t.name) from (
                                        select format('%s: %I', mcp._table_name(g.tgrelid), g.tgname) as name
                                          from pg_trigger g where p.prorettype = 'trigger'::regtype and g.tgfoid = p.oid and not g.tgisinternal and mcp._usable_table(g.tgrelid)
                                         order by 1 limit 20) t),
                        'comment', mcp._catalog_cut(obj_description(p.oid, 'pg_proc'), remark),
                        -- What is compiled has no source here, only the name of a symbol.
                        'source', case when p.prokind <> 'a' and l.lanname not in ('c', 'internal')
                                       then mcp._catalog_cut(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), longest) end)))::text as item
              from unnest(found) with ordinality as u (function, place)
              join pg_proc p on p.oid = u.function
              join pg_namespace n on n.oid = p.pronamespace
              join pg_language l on l.oid = p.prolang) f;
    answer := mcp._catalog_page('functions', items, array_fill(''::text, array[cardinality(items)]), 50);
    return answer - 'next'
           || case when answer ? 'next' then jsonb_build_object('overloads', cardinality(found), 'hint', 'Name one with its argument types, as in total(integer, text).')
                   else '{}' end;
end
$$;
comment on function mcp.describe_function(text, text) is
'@mcp({"kind": "tool", "features": ["catalog"], "title": "Describe function",
      "args": {"name": "Such as shop.total or shop.total(integer, text)", "schema": "If name has none"},
      "output": {"functions": "array", "truncated?": "boolean", "overloads?": "integer", "hint?": "string"}})
Describes a function or procedure with its overloads: arguments, result, security, who may execute it, source. Use it before you call or change one.';
