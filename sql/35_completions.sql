-- Owns: values that complete an argument of a prompt or a variable of a resource's template, as its user types.
-- Runs: as the caller: only names that the caller may see are offered.
-- Must not: run the function whose argument it is.
--
-- What is offered: the labels of an enum; names of what the type refers to (regclass, regnamespace, regrole ...); what the directive says by
-- "args": {"x": {"complete": "table"}} or {"complete": ["a", "b"]}; else what the argument's name says (schema, table, column, role).

create function mcp._completion_source(type oid, argument text, said jsonb) returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce(
        case when jsonb_typeof(said -> 'complete') = 'string' then said ->> 'complete' end,
        case type when 'regclass'::regtype then 'table' when 'regnamespace'::regtype then 'schema' when 'regrole'::regtype then 'role'
                  when 'regtype'::regtype then 'type' when 'regproc'::regtype then 'function' when 'regprocedure'::regtype then 'function'
                  when 'boolean'::regtype then 'boolean' end,
        case when (select t.typtype from pg_type t where t.oid = type) = 'e' then 'enum' end,
        case when argument ~ '^(in_|p_|_)?(schema|table|column|role)(s|_name|_names)?_?$'
             then substring(argument from '(schema|table|column|role)') end)
$$;
comment on function mcp._completion_source(oid, text, jsonb) is '@support What completes an argument of that type and name; null for nothing';

create function mcp._completion_candidates(source text, type oid, known jsonb) returns setof text
language plpgsql stable rows 100
set search_path = pg_catalog, pg_temp
as $$
declare
    -- What the user has chosen for other arguments narrows this one.
    in_schema constant text := coalesce(known ->> 'schema', known ->> 'schema_name');
    in_table constant text := coalesce(known ->> 'table', known ->> 'table_name', known ->> 'name');
begin
    case source
        when 'enum' then
            return query select e.enumlabel::text from pg_enum e where e.enumtypid = type order by e.enumsortorder;
        when 'boolean' then
            return query select unnest(array['true', 'false']);
        when 'schema' then
            return query select n.nspname::text from pg_namespace n
                          where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and has_schema_privilege(n.oid, 'USAGE') order by 1;
        when 'table' then
            return query select case when in_schema is not null then c.relname::text else format('%I.%I', n.nspname, c.relname) end
                           from pg_class c join pg_namespace n on n.oid = c.relnamespace
                          where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                            and (in_schema is null or n.nspname = in_schema)
                            and has_schema_privilege(n.oid, 'USAGE') and mcp._usable_table(c.oid) order by 1;
        when 'column' then
            return query select distinct a.attname::text
                           from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
                          where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                            and a.attnum > 0 and not a.attisdropped
                            and (in_schema is null or n.nspname = in_schema)
                            and (in_table is null or in_table in (c.relname::text, format('%I.%I', n.nspname, c.relname)))
                            and has_schema_privilege(n.oid, 'USAGE') and mcp._usable_table(c.oid) order by 1;
        when 'role' then
            return query select r.rolname::text from pg_roles r where r.rolname !~ '^pg_' order by 1;
        when 'type' then
            return query select format_type(t.oid, null) from pg_type t join pg_namespace n on n.oid = t.typnamespace
                          where t.typtype in ('e', 'd', 'c', 'r') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                            and not exists (select from pg_class c where c.oid = t.typrelid and c.relkind <> 'c')
                            and has_schema_privilege(n.oid, 'USAGE') order by 1;
        when 'function' then
            return query select distinct format('%I.%I', n.nspname, p.proname) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                          where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mcp')
                            and has_schema_privilege(n.oid, 'USAGE') and has_function_privilege(p.oid, 'EXECUTE') order by 1;
        when 'extension' then
            return query select e.extname::text from pg_extension e order by 1;
        when 'database' then
            return query select d.datname::text from pg_database d where d.datallowconn order by 1;
        else
            null;
    end case;
end
$$;
comment on function mcp._completion_candidates(text, oid, jsonb) is '@support All values that could complete an argument, of those that the current user may see';

create function mcp._complete(request jsonb, "only" jsonb default '[]') returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    most constant integer := 100;
    reference constant jsonb := request -> 'ref';
    argument constant text := request #>> '{argument,name}';
    begun constant text := lower(coalesce(request #>> '{argument,value}', ''));
    o record;
    a record;
    said jsonb;
begin
    if reference ->> 'type' = 'ref/prompt' then
        select p.function, p.directive into o from mcp._offered('prompt', "only") p where p.name = reference ->> 'name';
    else
        select r.function, r.directive into o from mcp._offered('resource', "only") r where r.directive ->> 'uri' = reference ->> 'uri' limit 1;
    end if;
    if o.function is null then
        raise exception 'there is no % "%"', case when reference ->> 'type' = 'ref/prompt' then 'prompt' else 'resource' end,
                        left(coalesce(reference ->> 'name', reference ->> 'uri'), 200)
            using errcode = 'invalid_parameter_value', hint = 'Complete arguments of what is listed.';
    end if;
    select i.name, i.type into a from mcp._arguments(o.function) i where i.name = argument;
    if a.name is null then
        raise exception 'it has no argument "%"', left(argument, 200)
            using errcode = 'invalid_parameter_value',
                  hint = (select format('Its arguments are: %s.', string_agg(i.name, ', ' order by i.place)) from mcp._arguments(o.function) i);
    end if;
    said := o.directive -> 'args' -> argument;
    return (
        with candidates as (
            select v.value, v.place
              from jsonb_array_elements_text(case when jsonb_typeof(said -> 'complete') = 'array' then said -> 'complete' else '[]' end)
                   with ordinality v (value, place)
            union all
            select c.value, c.place
              from mcp._completion_candidates(mcp._completion_source(a.type, a.name, said), a.type, coalesce(request #> '{context,arguments}', '{}'))
                   with ordinality c (value, place)
        ), fitting as (
            select c.value, row_number() over (order by not starts_with(lower(c.value), begun), c.place) as place
              from candidates c
             where strpos(lower(c.value), begun) > 0
        )
        select jsonb_build_object('values', coalesce(jsonb_agg(f.value order by f.place) filter (where f.place <= most), '[]'),
                                  'total', count(*), 'hasMore', count(*) > most)
          from fitting f);
end
$$;
comment on function mcp._complete(jsonb, jsonb) is
    '@support Up to a hundred values for an argument of a prompt or resource, those that begin with what was typed first';
