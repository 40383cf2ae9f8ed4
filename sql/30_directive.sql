-- Owns: what is written about a tool: the directive in a function's comment, and the JSON Schema of its arguments.
-- Runs: as the caller, whenever tools are listed or called.
-- Must not: fail because of a comment that somebody else wrote, nor evaluate anything of another's (defaults are read, not run).
--
-- A function is a tool when its comment begins with a directive, which ends with ")" at the end of a line:
--     @mcp({"kind": "tool", "title": "List orders", "args": {"day": "Day to look at"}})
--     Text that tells a model what the tool does and when to use it.
-- Keys: kind (tool is the default), name (outside schema mcp), title, annotations (hints that differ from what the volatility
-- says), args (per argument a description, or {"description": ..., "schema": {...}} to say more than the type does), features (the
-- groups that a client asks for), output (keys of the result with their types, see mcp._output_schema), and in schema mcp sql (true: it runs
-- SQL text of the caller's).

create function mcp._directive(comment text) returns jsonb
language plpgsql immutable strict parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    lines constant text[] := string_to_array(replace(comment, E'\r', ''), E'\n');
    head text := '';
    found jsonb;
begin
    if not starts_with(comment, '@mcp(') then
        return null;
    end if;
    -- The JSON may hold any number of ")" and line ends: the directive is over at the first ")" that ends a line and leaves
    -- a valid object before it. The limit keeps a long comment from costing more than it is worth.
    for i in 1 .. least(cardinality(lines), 40) loop
        head := head || lines[i] || E'\n';
        if rtrim(lines[i]) ~ '\)$' then
            begin
                found := coalesce(nullif(btrim(substring(head from '^@mcp\((.*)\)\s*$')), ''), '{}')::jsonb;
            exception when others then
                -- Whatever is wrong with it (syntax, a NUL escape, depth), it is not a directive, and no reason to fail.
                found := null;
            end;
            if jsonb_typeof(found) = 'object' then
                return found || jsonb_build_object('description', btrim(array_to_string(lines[i + 1:], E'\n'), E' \n\t'));
            end if;
        end if;
    end loop;
    return null;
end
$$;
comment on function mcp._directive(text) is
    '@support Reads the @mcp(...) directive of a comment, with the rest of the comment as description; null if there is none that can be read';

create function mcp._type_schema(type oid) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    t record;
begin
    case type
        when 'text'::regtype, 'varchar'::regtype, 'name'::regtype then return '{"type": "string"}';
        when 'boolean'::regtype then return '{"type": "boolean"}';
        when 'smallint'::regtype, 'integer'::regtype, 'bigint'::regtype then return '{"type": "integer"}';
        when 'real'::regtype, 'double precision'::regtype, 'numeric'::regtype then return '{"type": "number"}';
        when 'jsonb'::regtype, 'json'::regtype then return '{}';
        when 'uuid'::regtype then return '{"type": "string", "format": "uuid"}';
        when 'date'::regtype then return '{"type": "string", "format": "date"}';
        when 'timestamptz'::regtype then return '{"type": "string", "format": "date-time"}';
        else
            select p.typtype, p.typcategory, p.typelem, p.typbasetype into t from pg_type p where p.oid = type;
            return case
                       when t.typtype = 'd' then mcp._type_schema(t.typbasetype)
                       when t.typtype = 'e' then jsonb_build_object('type', 'string', 'enum',
                           (select jsonb_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = type))
                       when t.typtype = 'c' then '{"type": "object"}'::jsonb
                       when t.typtype = 'p' then null
                       when t.typcategory = 'A' and t.typelem <> 0
                           then jsonb_build_object('type', 'array', 'items', mcp._type_schema(t.typelem))
                       else '{"type": "string"}'::jsonb
                   end;
    end case;
end
$$;
comment on function mcp._type_schema(oid) is
    '@support JSON Schema of the values of a type as they travel in a tool''s arguments; null for a type that no value can be given for';

create function mcp._default_value(expression text, schema jsonb) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A literal as pg_get_expr writes it: 'public'::text, '-1'::integer, '{}'::text[], '[]'::jsonb.
    literal constant text := replace(substring(expression from '^''((?:[^'']|'''')*)''::[^'']+$'), '''''', '''');
begin
    return case
               when expression in ('true', 'false') then to_jsonb(expression::boolean)
               when expression ~ '^-?[0-9]+(\.[0-9]+)?$' then to_jsonb(expression::numeric)
               when literal is null then null
               when not schema ? 'type' then literal::jsonb
               when schema ->> 'type' = 'string' then to_jsonb(literal)
               when schema ->> 'type' = 'boolean' then to_jsonb(literal::boolean)
               when schema ->> 'type' in ('integer', 'number') then to_jsonb(literal::numeric)
               when schema #>> '{items,type}' = 'string' then to_jsonb(literal::text[])
               when schema #>> '{items,type}' = 'boolean' then to_jsonb(literal::boolean[])
               when schema #>> '{items,type}' in ('integer', 'number') then to_jsonb(literal::numeric[])
           end;
exception when others then
    -- A literal of a type with a syntax of its own ('infinity', say) has no JSON form: the schema does without a default.
    return null;
end
$$;
comment on function mcp._default_value(text, jsonb) is
    '@support The JSON value of a default, if it is a constant that can be read without running it; null otherwise';

create function mcp._arguments(function oid) returns table (place integer, name text, type oid, required boolean, is_variadic boolean, number integer)
language plpgsql stable strict rows 4
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
    select a.place::integer, a.name, a.type, a.place <= p.pronargs - p.pronargdefaults, a.mode = 'v', a.number::integer
      from pg_proc p
     cross join lateral (
           select row_number() over (order by u.n) as place, coalesce(u.name, '') as name, u.type, coalesce(u.mode, 'i') as mode,
                  u.n as number
             from unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[]), p.proargmodes)
                  with ordinality as u (name, type, mode, n)
            where u.type is not null and coalesce(u.mode, 'i') in ('i', 'b', 'v')) a
     where p.oid = function;
end
$$;
comment on function mcp._arguments(oid) is '@support Input arguments of a function in order, from the catalog';

create function mcp._input_schema(function oid, directive jsonb) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select jsonb_build_object('type', 'object', 'properties', coalesce(jsonb_object_agg(a.name, a.schema), '{}'),
                                  'additionalProperties', false)
               || case when count(*) filter (where a.required) > 0
                      then jsonb_build_object('required', jsonb_agg(a.name order by a.place) filter (where a.required))
                      else '{}' end
          from (select i.place, i.name, i.required,
                       t.schema
                       || case when d.value is null then '{}' else jsonb_build_object('default', d.value) end
                       || case jsonb_typeof(said.value)
                              when 'string' then jsonb_build_object('description', said.value)
                              when 'object' then
                                  case when jsonb_typeof(said.value -> 'schema') = 'object' then said.value -> 'schema' else '{}' end
                                  || case when said.value ? 'description'
                                         then jsonb_build_object('description', said.value ->> 'description') else '{}' end
                              else '{}'
                          end as schema
                  from mcp._arguments(function) i
                 cross join lateral (select mcp._type_schema(i.type) as schema) t
                 cross join lateral (select directive -> 'args' -> i.name as value) said
                 cross join lateral (select mcp._default_value(pg_get_function_arg_default(function, i.number), t.schema) as value) d) a);
end
$$;
comment on function mcp._input_schema(oid, jsonb) is
    '@support JSON Schema of a tool''s arguments: names, types and defaults from the catalog, words from the directive';
