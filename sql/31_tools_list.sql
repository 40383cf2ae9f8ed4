-- Owns: how tools are listed: their entries as MCP has them, made of the catalogs and of the directive's words.
-- Runs: as the caller, with the caller's rights; a client asks for it when it connects, and again when something may have changed.
-- Must not: fail because of what somebody wrote into a comment, nor pass on what would make a client refuse the whole list.
--
-- It is one statement over all tools, with each type looked at once: a list of hundreds would take a hundred milliseconds one by one.

create function mcp._annotations(volatility "char", said jsonb) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select jsonb_build_object('readOnlyHint', volatility <> 'v',
                                  'destructiveHint', volatility = 'v',
                                  'idempotentHint', volatility <> 'v',
                                  'openWorldHint', false)
               || coalesce((select jsonb_object_agg(s.key, s.value)
                              from jsonb_each(case when jsonb_typeof(said) = 'object' then said else '{}' end) s
                             where s.key in ('readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint')
                               and jsonb_typeof(s.value) = 'boolean'), '{}'));
end
$$;
comment on function mcp._annotations("char", jsonb) is
    '@support A tool''s hints: from the volatility of its function, changed where the directive says so';

create function mcp._output_schema(said jsonb) returns jsonb
language plpgsql immutable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select jsonb_build_object('type', 'object', 'properties', coalesce(jsonb_object_agg(o.name, o.schema), '{}'))
               || case when count(*) filter (where o.required) > 0
                       then jsonb_build_object('required', jsonb_agg(o.name order by o.place) filter (where o.required)) else '{}' end
          from (select rtrim(k.key, '?') as name, k.key !~ '\?$' as required, k.place,
                       case jsonb_typeof(k.value) when 'string' then jsonb_build_object('type', k.value)
                                                  when 'object' then k.value else '{}' end as schema
                  from jsonb_each(said) with ordinality as k (key, value, place)) o);
end
$$;
comment on function mcp._output_schema(jsonb) is
    '@support JSON Schema of a result whose keys a directive lists: {"tables": "array", "next?": "string"}, where ? is for a key that may be missing';

create function mcp._sane_schema(schema jsonb, depth integer default 0) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    -- Clients compile schemas, and some drop all tools of a server for one that does not compile. Keywords beyond these are not needed here.
    return jsonb_typeof(schema) = 'object' and depth < 8 and not exists (
        select from jsonb_each(schema) k (key, value)
         where not coalesce(case
                   when k.key = 'type' then
                       k.value <@ '["string", "number", "integer", "boolean", "array", "object", "null"]' and k.value <> '[]'
                   when k.key in ('title', 'description', 'format') then jsonb_typeof(k.value) = 'string'
                   when k.key in ('default', 'const') then true
                   when k.key = 'examples' then jsonb_typeof(k.value) = 'array'
                   when k.key = 'enum' then jsonb_typeof(k.value) = 'array' and k.value <> '[]'
                   when k.key in ('minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum') then jsonb_typeof(k.value) = 'number'
                   when k.key = 'multipleOf' then jsonb_typeof(k.value) = 'number' and k.value > '0'
                   when k.key in ('minLength', 'maxLength', 'minItems', 'maxItems', 'minProperties', 'maxProperties') then
                       jsonb_typeof(k.value) = 'number' and k.value #>> '{}' ~ '^[0-9]{1,10}$'
                   when k.key = 'uniqueItems' then jsonb_typeof(k.value) = 'boolean'
                   when k.key = 'pattern' then jsonb_typeof(k.value) = 'string' and mcp._portable_pattern(k.value #>> '{}') and ('' ~ (k.value #>> '{}')) is not null
                   when k.key = 'required' then
                       jsonb_typeof(k.value) = 'array' and not jsonb_path_exists(k.value, '$[*] ? (@.type() != "string")')
                   when k.key = 'additionalProperties' and jsonb_typeof(k.value) = 'boolean' then true
                   when k.key in ('items', 'additionalProperties', 'not') then mcp._sane_schema(k.value, depth + 1)
                   when k.key = 'properties' then jsonb_typeof(k.value) = 'object'
                       and (select coalesce(bool_and(mcp._sane_schema(p.value, depth + 1)), true) from jsonb_each(k.value) p)
                   when k.key in ('anyOf', 'oneOf', 'allOf') then jsonb_typeof(k.value) = 'array' and k.value <> '[]'
                       and (select bool_and(mcp._sane_schema(p.value, depth + 1)) from jsonb_array_elements(k.value) p)
               end, false));
exception when invalid_regular_expression then
    return false;
end
$$;
comment on function mcp._sane_schema(jsonb, integer) is
    '@support Whether what stands for a schema in a directive is JSON Schema that every client can read; other than that is left out of the list';

create function mcp._sane_output(said jsonb) returns boolean
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_typeof(said) = 'object'
           and coalesce((select bool_and(case jsonb_typeof(k.value) when 'string' then mcp._sane_schema(jsonb_build_object('type', k.value))
                                                                    else mcp._sane_schema(k.value) end)
                           from jsonb_each(case when jsonb_typeof(said) = 'object' then said else '{}' end) k), true)
$$;
comment on function mcp._sane_output(jsonb) is '@support Whether the keys of a result are described as mcp._output_schema reads them';

create function mcp._said_schema(said jsonb, trusted boolean) returns jsonb
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return case when jsonb_typeof(said -> 'schema') = 'object' and (trusted or mcp._sane_schema(said -> 'schema')) then said -> 'schema' else '{}' end
           || case when jsonb_typeof(said -> 'description') = 'string' then jsonb_build_object('description', said -> 'description') else '{}' end
           || case when coalesce(said -> 'secret', 'false') not in ('false', 'null') then '{"writeOnly": true}'::jsonb else '{}' end;
end
$$;
comment on function mcp._said_schema(jsonb, boolean) is '@support What a directive says of an argument with an object: {"description": ..., "schema": {...}, "secret": true}';

create function mcp._input_schemas(functions oid[], directives jsonb[], brief boolean[]) returns table (function oid, schema text)
language plpgsql stable rows 200
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    -- Put together as text, and read once at the end: jsonb would be copied with every key that is added. Of a key that comes twice the
    -- later counts.
    return query
        with asked as materialized (
            select f.oid, f.directive, f.brief, p.pronargs - p.pronargdefaults as needed, p.proargnames, p.proargmodes,
                   coalesce(p.proallargtypes, p.proargtypes::oid[]) as types, d.expressions,
                   cardinality(d.expressions) = p.pronargdefaults as split
              from unnest(functions, directives, brief) f (oid, directive, brief)
             -- A look-up for each, where Postgres would read the whole of pg_proc.
             cross join lateral (select * from pg_proc p where p.oid = f.oid offset 0) p
             -- All defaults in one text; what a comma within one divides wrongly shows by their number.
             cross join lateral (select string_to_array(pg_get_expr(p.proargdefaults, 1255), ', ') as expressions offset 0) d
             where p.pronargs > 0
        ), arguments as materialized (
            select a.oid, u.name, u.type, u.n, a.brief, a.directive -> 'args' -> u.name as said, a.needed,
                   case when 'o' = any (a.proargmodes) then (select count(*) from unnest(a.proargmodes[1:u.n]) m where m in ('i', 'b', 'v')) else u.n end as place,
                   a.expressions, a.split
              from asked a
             cross join lateral unnest(a.proargnames, a.types, a.proargmodes) with ordinality u (name, type, mode, n)
             where coalesce(u.mode, 'i') in ('i', 'b', 'v')
        ), schemas as materialized (
            select t.type, t.brief, s.schema, nullif(substr(s.schema::text, 2, length(s.schema::text) - 2), '') as members
              from (select distinct a.type, a.brief from arguments a) t
             cross join lateral (select mcp._type_schema(t.type, brief => t.brief) as schema offset 0) s
        ), defaults as (
            select a.oid, a.name, a.place, a.place <= a.needed as required, a.said, a.brief, s.schema, s.members,
                   case when a.place <= a.needed then null
                        when a.split then a.expressions[a.place - a.needed]
                        else pg_get_function_arg_default(a.oid, a.n::integer) end as expression
              from arguments a
              join schemas s on s.type = a.type and s.brief = a.brief
        )
        select d.oid, concat('{"type": "object", "additionalProperties": false, "properties": {',
                             string_agg(concat(to_json(d.name), ': {', concat_ws(', ', d.members,
                                 case when d.expression is null or starts_with(d.expression, 'NULL::') then null
                                      when d.expression in ('true', 'false') or d.expression ~ '^-?(0|[1-9][0-9]*)(\.[0-9]+)?$' then '"default": ' || d.expression
                                      else '"default": ' || mcp._default_value(d.expression, d.schema)::text end,
                                 case jsonb_typeof(d.said)
                                      when 'string' then '"description": ' || d.said::text
                                      when 'object' then nullif(regexp_replace(mcp._said_schema(d.said, d.brief)::text, '^.|.$', '', 'g'), '') end), '}'), ', '),
                             '}', ', "required": [' || string_agg(to_json(d.name)::text, ', ' order by d.place) filter (where d.required) || ']', '}')
          from defaults d
         group by d.oid;
end
$$;
comment on function mcp._input_schemas(oid[], jsonb[], boolean[]) is
    '@support JSON Schema, as text, of the arguments of functions: names, types and defaults from the catalog, words from their directives; none for one without arguments';

create function mcp._result_schemas(functions oid[], shapes text[]) returns table (function oid, schema text)
language plpgsql stable rows 200
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        with asked as materialized (
            select f.oid, f.returns, p.prorettype as type, p.proargnames, p.proallargtypes, p.proargmodes, p.prorettype = 2249 as listed,
                   -- The rows of a function with one nameless column are that column's values.
                   f.returns in ('row', 'set') and coalesce(p.proargmodes::text[] && '{o,b,t}', false) and (f.returns = 'set' or p.prorettype = 2249) as named
              from unnest(functions, shapes) f (oid, returns)
             cross join lateral (select * from pg_proc p where p.oid = f.oid offset 0) p
        ), columns as materialized (
            select a.oid, u.type,
                   coalesce(nullif(u.name, ''), 'column' || (select count(*) from unnest(a.proargmodes[1:u.n]) m where m in ('o', 'b', 't'))) as name
              from asked a
             cross join lateral unnest(a.proargnames, a.proallargtypes, a.proargmodes) with ordinality u (name, type, mode, n)
             where a.named and u.mode in ('o', 'b', 't')
        ), schemas as materialized (
            select t.type, mcp._value_schema(t.type) as schema
              from (select c.type from columns c union select a.type from asked a where a.returns in ('row', 'set', 'scalar') and not a.listed) t
        ), rows as (
            select c.oid, concat('{"type": "object", "properties": {', string_agg(concat(to_json(c.name), ': ', s.schema), ', '), '}}') as schema
              from columns c join schemas s on s.type = c.type
             group by c.oid
        ), items as (
            select a.oid, a.returns,
                   case when r.oid is not null then r.schema
                        -- A row of nulls is a row still.
                        when a.returns in ('row', 'set') and s.schema -> 'type' @> '"object"' then (jsonb_build_object('type', 'object') || (s.schema - 'type'))::text
                        else s.schema::text end as schema
              from asked a
              left join rows r on r.oid = a.oid
              left join schemas s on s.type = a.type
        )
        select i.oid, case i.returns
                   when 'set' then concat('{"type": "object", "required": ["rows", "row_count", "truncated"], "properties": {"rows": {"type": "array", "items": ', i.schema,
                                          '}, "row_count": {"type": "integer"}, "truncated": {"type": "boolean"}}}')
                   when 'row' then i.schema
                   when 'void' then '{"type": "object", "properties": {"result": {"type": "null"}}}'
                   when 'scalar' then concat('{"type": "object", "properties": {"result": ', i.schema, '}, "required": ["result"]}')
                   else '{"type": "object"}' end
          from items i;
end
$$;
comment on function mcp._result_schemas(oid[], text[]) is
    '@support JSON Schema, as text, of the results of functions, as mcp._tool_statement makes them, from what they are declared to return';

create function mcp._default_lists() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_build_array(to_jsonb(regexp_split_to_array(
               btrim(coalesce(nullif(btrim(current_setting('supabase_mcp.features', true)), ''), 'database,debugging,development,docs,custom')),
               '\s*,\s*')))
$$;
comment on function mcp._default_lists() is '@support The features of a client that asks for none, from the setting supabase_mcp.features';

create function mcp._tools("only" jsonb default '[]', read_only boolean default false) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    lists constant jsonb := case when "only" <> '[]' then "only" else mcp._default_lists() end;
    -- One list is the rule.
    words constant text[] := array(select case w.value when 'debug' then 'debugging' else w.value end from jsonb_array_elements_text(lists -> 0) w)
                             || array(select w.value from jsonb_array_elements_text(lists -> 0) w where w.value = 'debug');
begin
    -- Of several functions of one name schema mcp's is the tool, else the oldest. A variant (execute_sql_write) is no tool of
    -- its own: whoever may execute both it and the tool sees the tool in the variant's words. mcp._find_tool chooses alike.
    return (
        with marked as materialized (
            select * from mcp._marked()
        ), variants as materialized (
            select left(m.tool, -6) as tool, m.volatility, m.directive from marked m where m.kind = 'variant' and m.tool like '%\_write'
        ), tools as materialized (
            select distinct on (m.tool) m.tool, m.function, m.features, m.ours, m.returns, m.definer, coalesce(v.volatility, m.volatility) as volatility,
                   coalesce(v.directive, m.directive) as directive
              from marked m
              left join variants v on m.ours and v.tool = m.tool and read_only is not true
             where m.kind = 'tool'
             order by m.tool, m.ours desc, m.function
        ), titled as materialized (
            select t.*, case when jsonb_typeof(t.directive -> 'title') = 'string' then left(t.directive ->> 'title', 200)
                             else upper(left(t.tool, 1)) || replace(substr(t.tool, 2), '_', ' ') end as title
              from tools t
             where (t.tool = any (words) or t.features && words or 'all' = any (words))
               and (jsonb_array_length(lists) = 1 or mcp._in_toolset(t.tool, t.features, lists))
               and (read_only is not true or t.volatility <> 'v')
        ), chosen as (
            select array_agg(t.function) as functions, array_agg(t.directive) as directives, array_agg(t.ours) as ours,
                   array_agg(t.function) filter (where not t.ours) as others, array_agg(t.returns) filter (where not t.ours) as shapes
              from titled t
        ), inputs as materialized (
            select i.* from chosen c cross join lateral mcp._input_schemas(c.functions, c.directives, c.ours) i
        ), results as materialized (
            select r.* from chosen c cross join lateral mcp._result_schemas(c.others, c.shapes) r
        )
        select coalesce('[' || string_agg(concat(
                   '{"name": ', to_json(t.tool), ', "title": ', to_json(t.title),
                   ', "inputSchema": ', coalesce(i.schema, '{"type": "object", "properties": {}, "additionalProperties": false}'),
                   ', "annotations": ', case when t.directive ? 'annotations' then mcp._annotations(t.volatility, t.directive -> 'annotations')::text
                       when t.volatility = 'v' then '{"readOnlyHint": false, "destructiveHint": true, "idempotentHint": false, "openWorldHint": false}'
                       else '{"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}' end,
                   ', "outputSchema": ' || case
                       when t.directive ? 'output' and (t.ours or t.returns = 'jsonb') and (t.ours or mcp._sane_output(t.directive -> 'output'))
                           then mcp._output_schema(t.directive -> 'output')::text
                       else r.schema end,
                   ', "description": ' || case
                       when t.definer and not t.ours
                           then to_json(ltrim((t.directive ->> 'description') || E'\n', E'\n') || (
                                select format('Runs with the rights of its owner %I.', o.rolname)
                                  from pg_proc p join pg_roles o on o.oid = p.proowner where p.oid = t.function))::text
                       when t.directive ->> 'description' <> '' then (t.directive -> 'description')::text end,
                   '}'), ', ' order by t.tool collate "C") || ']', '[]')::jsonb
          from titled t
          left join inputs i on i.function = t.function
          left join results r on r.function = t.function);
end
$$;
comment on function mcp._tools(jsonb, boolean) is
    '@support The tools of the current user, as MCP lists them, ordered by name: those that some lists of words allow (see mcp._in_toolset), or those of the features in the setting supabase_mcp.features';
