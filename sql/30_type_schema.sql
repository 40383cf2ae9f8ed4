-- Owns: JSON Schema of what travels in arguments (by type, as jsonb_to_record reads it) and in results (as to_jsonb writes it).
-- Runs: as the caller, whenever tools are listed or called.
-- Must not: promise a value that a call would refuse, or a result that may come otherwise; nor evaluate anything of another's
-- (defaults are read, not run).

create function mcp._enum_schema(type oid) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    labels text[];
begin
    select array_agg(e.enumlabel::text order by e.enumsortorder) into labels
      from (select e.enumlabel, e.enumsortorder from pg_enum e where e.enumtypid = type order by e.enumsortorder limit 101) e;
    -- Nobody reads more, and every listing would carry them.
    if cardinality(labels) > 100 or length(array_to_string(labels, '')) > 2000 then
        return jsonb_build_object('type', 'string', 'description',
                                  format('%s, such as %s', format_type(type, null), left(array_to_string(labels[1:3], ', '), 200)));
    end if;
    return jsonb_build_object('type', 'string') || case when labels is null then '{}' else jsonb_build_object('enum', to_jsonb(labels)) end;
end
$$;
comment on function mcp._enum_schema(oid) is '@support JSON Schema of the values of an enum type; of very many only some are named';

create function mcp._type_schema(type oid, typmod integer default -1, brief boolean default false, depth integer default 0) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    t record;
    bound numeric;
begin
    case type
        when 'text'::regtype, 'name'::regtype then return '{"type": "string"}';
        when 'boolean'::regtype then return '{"type": "boolean"}';
        when 'integer'::regtype then
            return case when brief then '{"type": "integer"}' else '{"type": "integer", "minimum": -2147483648, "maximum": 2147483647}' end;
        when 'smallint'::regtype then return '{"type": "integer", "minimum": -32768, "maximum": 32767}';
        when 'bigint'::regtype then return '{"type": "integer"}';
        when 'oid'::regtype then return '{"type": "integer", "minimum": 0, "maximum": 4294967295}';
        when 'real'::regtype, 'double precision'::regtype then return '{"type": "number"}';
        when 'numeric'::regtype then
            if typmod < 4 then
                return '{"type": "number"}';
            end if;
            -- Precision and scale, which has 11 bits with a sign.
            bound := power(10::numeric, ((typmod - 4) >> 16) - (((typmod - 4) & 2047) # 1024) + 1024)
                     - power(10::numeric, 1024 - (((typmod - 4) & 2047) # 1024));
            return jsonb_build_object('type', 'number', 'minimum', trim_scale(-bound), 'maximum', trim_scale(bound));
        when 'varchar'::regtype, 'bpchar'::regtype then
            return case when typmod >= 4 then jsonb_build_object('type', 'string', 'maxLength', typmod - 4) else '{"type": "string"}' end;
        when 'jsonb'::regtype, 'json'::regtype then return '{}';
        when 'uuid'::regtype then return '{"type": "string", "format": "uuid"}';
        when 'date'::regtype then return '{"type": "string", "format": "date"}';
        when 'timestamptz'::regtype then return '{"type": "string", "format": "date-time"}';
        when 'timetz'::regtype then return '{"type": "string", "format": "time"}';
        when 'interval'::regtype then return '{"type": "string", "format": "duration"}';
        when 'bytea'::regtype then return '{"type": "string", "pattern": "^\\\\x([0-9A-Fa-f]{2})*$"}';
        when 'bit'::regtype, 'varbit'::regtype then
            return jsonb_build_object('type', 'string', 'pattern', format('^[01]%s$', case
                       when typmod < 0 then '*' when type = 'bit'::regtype then format('{%s}', typmod) else format('{0,%s}', typmod) end));
        else
            select p.typtype, p.typcategory, p.typelem, p.typbasetype, p.typtypmod, p.typrelid, p.typname into t from pg_type p where p.oid = type;
    end case;
    return case
               when t.typtype = 'p' then null
               -- Domains over domains are counted in hundreds of the depth: of too many the stack could not hold them all.
               when t.typtype = 'd' and depth >= 3000 then '{}'
               when t.typtype = 'd' then mcp._domain_schema(type, mcp._type_schema(t.typbasetype, t.typtypmod, brief, depth + 100))
               when t.typtype = 'e' then mcp._enum_schema(type)
               when t.typtype = 'c' then mcp._composite_schema(t.typrelid, brief, depth)
               when t.typcategory = 'A' and t.typelem <> 0
                   then jsonb_build_object('type', 'array', 'items', mcp._type_schema(t.typelem, typmod, brief, depth))
               when brief or t.typcategory = 'S' then '{"type": "string"}'
               else jsonb_build_object('type', 'string', 'description', case
                        when t.typtype = 'r' then format('%s such as [from,to)', format_type(type, null))
                        when t.typtype = 'm' then format('%s such as {[from,to),[from,to)}', format_type(type, null))
                        when type = 'timestamp'::regtype then 'Such as 2026-01-31T13:45:00, without time zone'
                        when type = 'time'::regtype then 'Such as 13:45:00'
                        when t.typname in ('vector', 'halfvec') then format('%s such as [1,2,3]', t.typname)
                        else format_type(type, null) end)
           end;
end
$$;
comment on function mcp._type_schema(oid, integer, boolean, integer) is
    '@support JSON Schema of the values of a type as they travel in a tool''s arguments; null for a type that no value can be given for';

create function mcp._composite_schema(relation oid, brief boolean, depth integer) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    if depth % 100 >= 3 or (select c.relnatts > 100 from pg_class c where c.oid = relation) then
        return '{"type": "object"}';
    end if;
    return (
        select jsonb_build_object('type', 'object', 'properties', coalesce(jsonb_object_agg(a.attname, coalesce(s.schema, '{}')), '{}'),
                                  'additionalProperties', false)
               -- A row lacks nothing but what a domain wants; NOT NULL of a table''s column does not count for its row type.
               || case when bool_or(t.typnotnull)
                       then jsonb_build_object('required', jsonb_agg(a.attname order by a.attnum) filter (where t.typnotnull)) else '{}' end
          from pg_attribute a
          join pg_type t on t.oid = a.atttypid
         cross join lateral (select mcp._type_schema(a.atttypid, a.atttypmod, brief, depth + 1) as schema) s
         where a.attrelid = relation and a.attnum > 0 and not a.attisdropped);
end
$$;
comment on function mcp._composite_schema(oid, boolean, integer) is '@support JSON Schema of the rows of a composite type, down to some depth';

create function mcp._value_schema(type oid, depth integer default 0) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    t record;
begin
    case type
        when 'text'::regtype, 'varchar'::regtype, 'uuid'::regtype, 'date'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype then
            return '{"type": ["string", "null"]}';
        when 'boolean'::regtype then return '{"type": ["boolean", "null"]}';
        when 'smallint'::regtype, 'integer'::regtype, 'bigint'::regtype then return '{"type": ["integer", "null"]}';
        -- NaN and Infinity come as strings.
        when 'real'::regtype, 'double precision'::regtype, 'numeric'::regtype then return '{"type": ["number", "string", "null"]}';
        when 'jsonb'::regtype, 'json'::regtype then return '{}';
        else
            select p.typtype, p.typcategory, p.typelem, p.typbasetype, p.typrelid into t from pg_type p where p.oid = type;
    end case;
    return case
               when t.typtype = 'd' and depth >= 3000 then '{}'
               when t.typtype = 'd' then mcp._value_schema(t.typbasetype, depth + 100)
               -- A type with a cast to json comes as that cast writes it.
               when type >= 16384 and exists (select from pg_cast c where c.castsource = type and c.casttarget = 'json'::regtype) then '{}'
               -- Of arrays nobody knows how many dimensions a value has.
               when t.typcategory = 'A' and t.typelem <> 0 then '{"type": ["array", "null"]}'
               when t.typtype = 'c' and depth % 100 < 2 then '{"type": ["object", "null"]}' || jsonb_build_object('properties', mcp._row_schema(t.typrelid, depth + 1))
               when t.typtype = 'c' then '{"type": ["object", "null"]}'
               when t.typtype = 'p' then '{}'
               else '{"type": ["string", "null"]}'
           end;
end
$$;
comment on function mcp._value_schema(oid, integer) is '@support JSON Schema of the values of a type as they come in a result, null included';

create function mcp._row_schema(relation oid, depth integer) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
begin
    return (
        select coalesce(jsonb_object_agg(a.attname, mcp._value_schema(a.atttypid, depth)), '{}')
          from pg_attribute a
         where a.attrelid = relation and a.attnum between 1 and 200 and not a.attisdropped);
end
$$;
comment on function mcp._row_schema(oid, integer) is '@support JSON Schema of each column of a composite type, as they come in a result';

create function mcp._default_value(expression text, schema jsonb) returns jsonb
language plpgsql stable strict
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A literal as pg_get_expr writes it: 'public'::text, '-1'::integer, '{}'::text[], '[]'::jsonb.
    literal constant text := coalesce(replace(substring(expression from '^''((?:[^'']|'''')*)''::[^'']+$'), '''''', ''''),
                                      substring(expression from '^\((-?[0-9.]+)\)::[^'']+$'));
begin
    return case
               when expression in ('true', 'false') then to_jsonb(expression::boolean)
               when expression ~ '^-?[0-9]+(\.[0-9]+)?$' then to_jsonb(expression::numeric)
               when literal is null or schema ->> 'format' in ('duration', 'date-time', 'time') then null
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
