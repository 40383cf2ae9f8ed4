-- Owns: mcp.save_query and mcp.drop_query: a statement that is kept as a tool, with typed arguments and a schema of its rows.
-- Runs: in the session of whoever keeps it, with that role's own rights. What it makes is an ordinary function of that role.
-- Must not: guess at the statement's columns: Postgres says what they are, and again when it creates the function. A text that is more than one
-- statement fails at the latest there, and takes with it what ran of it.

create function mcp._query_params(params jsonb) returns table (place bigint, name text, type text, optional boolean, value jsonb, description text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    -- A list of {"name": "day", "type": "date", "default": ..., "description": ...}, or an object {"day": "date", "n": {"type": ...}}.
    -- Those with a default come last, as Postgres wants it; they are given by name.
    return query
        select row_number() over (order by p.param ? 'default', p.n), p.param ->> 'name', p.param ->> 'type', p.param ? 'default', p.param -> 'default',
               p.param ->> 'description'
          from (select e.value as param, e.n from jsonb_array_elements(case when jsonb_typeof(params) = 'array' then params else '[]' end) with ordinality e (value, n)
                union all
                select jsonb_build_object('name', k.key) || case when jsonb_typeof(k.value) = 'object' then k.value else jsonb_build_object('type', k.value) end, k.n
                  from jsonb_each(case when jsonb_typeof(params) = 'object' then params else '{}' end) with ordinality k (key, value, n)) p;
    if jsonb_typeof(params) not in ('array', 'object', 'null') then
        raise exception 'params must be a list or an object' using errcode = 'invalid_parameter_value', hint = 'For example: [{"name": "day", "type": "date"}].';
    end if;
end
$$;
comment on function mcp._query_params(jsonb) is 'Parameters of a query that is to be saved, from either form that they are given in';

create function mcp._query_columns(name text, sql text, variables text, path text) returns text
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set check_function_bodies = on
as $$
declare
    comments constant text := '^(\s|--[^\n]*\n|/\*.*?\*/)*';
    -- In parentheses there can be but one statement. WITH that changes data can stand at the top alone, and comes second.
    form text;
    forms text[] := array[E'with mcp_saved_query as (%s\n) select * from mcp_saved_query'];
    columns text;
begin
    loop
        form := forms[1];
        begin
            -- A statement of PL/pgSQL knows the parameters by name as the function will, label included, and a table without data
            -- gets the columns. For as long as that lasts names mean what they mean to the caller.
            perform pg_catalog.set_config('search_path', path, true);
            execute pg_catalog.format('do %L', pg_catalog.format(
                E'#variable_conflict use_column\n<<%I>> declare %s begin create temporary table mcp_saved_query as %s with no data; end',
                name, variables, pg_catalog.format(form, sql || E'\n')));
            perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
            exit;
        exception
            when feature_not_supported then
                if form <> '%s' and sql ~* (comments || 'with\y') then
                    forms := '{%s}';
                elsif sql ~* (comments || '(insert|update|delete|merge)\y') and sql !~* '\yreturning\y' then
                    -- It changes data and returns nothing.
                    return null;
                else
                    raise;
                end if;
            when duplicate_column then
                raise exception '%', sqlerrm using errcode = 'duplicate_column', hint = 'Give each column of the result a name of its own: select a.id as a_id, b.id as b_id.';
            when syntax_error then
                if form = '%s' then
                    -- It was one statement in parentheses, so it is WITH before one that changes data.
                    return null;
                end if;
                raise exception '%', sqlerrm using errcode = 'syntax_error', hint = 'It must be one statement: SELECT, VALUES, INSERT, UPDATE, DELETE or MERGE.';
        end;
    end loop;
    select string_agg(format('%I %I.%I', a.attname, n.nspname, t.typname), ', ' order by a.attnum) into columns
      from pg_attribute a
      join pg_type t on t.oid = a.atttypid
      join pg_namespace n on n.oid = t.typnamespace
     where a.attrelid = 'pg_temp.mcp_saved_query'::regclass and a.attnum > 0;
    drop table pg_temp.mcp_saved_query;
    return columns;
end
$$;
comment on function mcp._query_columns(text, text, text, text) is
    'Columns that a statement returns, as a declaration, without running it; null if it returns none. Raises if Postgres does not understand it';

create function mcp.save_query(name text, description text, sql text, params jsonb default null, schema name default null, volatility text default 'stable',
                               title text default null, features text[] default null, replace boolean default false,
                               search_path name[] default pg_catalog.current_schemas(false)) returns regprocedure
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set check_function_bodies = on
as $$
declare
    -- The default is taken in the caller's session: the statement will always mean the tables that it means there and then.
    path constant text := (select concat_ws(', ', nullif(string_agg(quote_ident(s.name), ', ' order by s.n), ''), 'pg_temp')
                             from unnest(coalesce(search_path, '{}') || case when coalesce(cardinality(search_path), 0) = 0 then '{pg_catalog}' else '{}' end::name[])
                                  with ordinality s (name, n) where s.name !~ '^pg_temp');
    body constant text := regexp_replace(sql, '[;\s]+$', '');
    target name := schema;
    p record;
    kind regtype;
    declared text := '';
    variables text := '';
    docs jsonb := '{}';
    same oid;
    made regprocedure;
    columns text;
    fault record;
begin
    if coalesce(name, '') !~ '^[A-Za-z0-9_.-]{1,63}$' then
        raise exception '"%" cannot be the name of a tool', coalesce(left(name, 100), '')
            using errcode = 'invalid_name', hint = 'Letters, digits, "_", "-" and ".", at most 63.';
    elsif coalesce(body, '') = '' then
        raise exception 'the statement is missing' using errcode = 'invalid_parameter_value';
    elsif coalesce(volatility, '') not in ('stable', 'volatile', 'immutable') then
        raise exception 'unknown volatility "%"', volatility
            using errcode = 'invalid_parameter_value', hint = 'stable: it only reads, and runs read-only. volatile: it may change data.';
    elsif volatility <> 'volatile' and body ~* '^(\s|--[^\n]*\n|/\*.*?\*/)*(insert|update|delete|merge)\y' then
        raise exception 'the statement changes data' using errcode = 'invalid_parameter_value', hint = 'If that is meant, say volatility => ''volatile''.';
    end if;
    if target is null then
        select n.nspname into target
          from unnest(search_path) with ordinality s (name, place) join pg_namespace n on n.nspname = s.name
         where n.nspname !~ '^pg_' and n.nspname <> 'mcp' and has_schema_privilege(n.oid, 'CREATE')
         order by s.place limit 1;
        if target is null then
            raise exception 'there is no schema in the search_path that % may create functions in', current_user
                using errcode = 'insufficient_privilege', hint = 'Name one with schema => ..., or let an administrator say: grant create on schema ... to ...;';
        end if;
    end if;

    for p in select * from mcp._query_params(params) order by place loop
        perform pg_catalog.set_config('search_path', path, true);
        kind := pg_catalog.to_regtype(p.type);
        perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        if coalesce(p.name, '') = '' or kind is null then
            raise exception 'parameter % has no name, or no type that exists: %', p.place, concat_ws(' ', quote_ident(p.name), p.type)
                using errcode = 'invalid_parameter_value', hint = 'For example: [{"name": "day", "type": "date"}], or {"day": "date"}.';
        elsif mcp._type_schema(kind) is null then
            raise exception 'no value can be given for parameter "%" of type %', p.name, kind using errcode = 'invalid_parameter_value';
        end if;
        variables := variables || format('%I %s; ', p.name, mcp._type_name(kind));
        declared := concat_ws(', ', nullif(declared, ''), format('%I %s', p.name, mcp._type_name(kind)) || case when p.optional then
                        format(' default %L::%s', mcp._typed_text(mcp._type_name(kind), p.value), mcp._type_name(kind)) else '' end);
        docs := docs || case when p.description is null then '{}' else jsonb_build_object(p.name, p.description) end;
    end loop;

    columns := mcp._query_columns(name, body, variables, path);
    select f.oid into same from pg_proc f join pg_namespace n on n.oid = f.pronamespace where n.nspname = target and f.proname = name limit 1;
    if same is not null and (replace is not true or mcp._directive(obj_description(same, 'pg_proc')) -> 'query' is distinct from 'true') then
        raise exception 'there is a function % already', same::regprocedure
            using errcode = 'duplicate_function',
                  hint = case when replace then 'It is no saved query. Choose another name.' else 'Choose another name, or say replace => true if it is a saved query.' end;
    end if;
    execute format('create %sfunction %I.%I(%s) returns %s language sql %s set search_path = %s as %L', case when same is not null then 'or replace ' end,
                   target, name, declared,
                   case when columns is null then 'void' else format('table (%s)', columns) end, volatility, path, body);
    select f.oid::regprocedure into made
      from pg_proc f join pg_namespace n on n.oid = f.pronamespace where n.nspname = target and f.proname = name and f.oid is distinct from same limit 1;
    if same is not null and made is not null then
        raise exception 'the query "%" has other parameters now', name
            using errcode = 'duplicate_function', hint = 'Drop it with mcp.drop_query first; what was granted on it is to be granted again.';
    end if;
    made := coalesce(made, same::regprocedure);
    if same is null then
        -- Neither PUBLIC nor default privileges: who may use it is said by GRANT.
        for p in select case when a.grantee = 0 then 'public' else a.grantee::regrole::text end as grantee
                   from pg_proc f cross join lateral aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
                  where f.oid = made and a.grantee <> f.proowner loop
            execute format('revoke all on function %s from %s', made, p.grantee);
        end loop;
    end if;
    perform mcp._mark(made, jsonb_strip_nulls(jsonb_build_object('kind', 'tool', 'query', true, 'title', title, 'features', to_jsonb(features),
                                                                 'args', nullif(docs, '{}'))), description);
    for fault in select f.problem, f.hint from mcp._faults(made) f loop
        raise notice '%: %', made, fault.problem using hint = fault.hint;
    end loop;
    return made;
end
$$;
comment on function mcp.save_query(text, text, text, jsonb, name, text, text, text[], boolean, name[]) is
    'Keeps a statement as a tool: a function of one''s own with typed parameters, which the statement uses by name. Nobody else may use it until GRANT EXECUTE; notices say what else is missing';

create function mcp._type_name(type oid) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select format('%I.%I', n.nspname, t.typname) from pg_type t join pg_namespace n on n.oid = t.typnamespace where t.oid = type
$$;
comment on function mcp._type_name(oid) is 'Name of a type that means the same under every search_path';

create function mcp._typed_text(type text, value jsonb) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    result text;
begin
    -- As a call reads it, and refused as a call would refuse it.
    execute format('select r.v::text from jsonb_to_record($1) as r(v %s)', type) into result using jsonb_build_object('v', value);
    return result;
end
$$;
comment on function mcp._typed_text(text, jsonb) is 'A JSON value as the text of a type, for a default';

create function mcp.drop_query(name text, schema name default null) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    found_one oid;
begin
    select p.oid into found_one
      from pg_proc p
      join pg_namespace n on n.oid = p.pronamespace
     where p.proname = drop_query.name
       and n.nspname = coalesce(drop_query.schema, n.nspname)
       and mcp._directive(obj_description(p.oid, 'pg_proc')) -> 'query' = 'true'
     order by pg_has_role(p.proowner, 'USAGE') desc, p.oid
     limit 1;
    if found_one is null then
        raise exception 'there is no saved query "%"', name
            using errcode = 'undefined_function',
                  hint = 'What mcp.save_query made is dropped here; other functions with DROP FUNCTION, or hidden with mcp.hide.';
    end if;
    execute format('drop function %s', found_one::regprocedure);
end
$$;
comment on function mcp.drop_query(text, name) is 'Drops a tool that mcp.save_query made, of one''s own';
