-- Owns: the plan of one statement of the caller's as a JSON document, and hypothetical indexes.
-- Runs: as the caller, under the search_path that his session began with: his text means the same as in execute_sql.
-- Must not: run a statement, nor let a text of several statements run any of them.

create function mcp._callers_search_path() returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- What SET search_path of this function and of its callers hides.
    select s.reset_val from pg_settings s where s.name = 'search_path'
$$;
comment on function mcp._callers_search_path() is '@support The search_path that this session began with';

create function mcp._prepared_plan(query text) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $$
declare
    row record;
    values_given text;
begin
    -- Before PostgreSQL 16 only a prepared statement has a plan for any value of $1. EXECUTE would run all statements of a text, so
    -- it gets none that could be several: without a semicolon, wherever it stands, a text is one statement.
    if strpos(rtrim(query, E' ;\n\r\t'), ';') > 0 then
        raise exception 'a statement with parameters and a semicolon in it is not planned before PostgreSQL 16'
            using errcode = 'feature_not_supported', hint = 'Write values in place of $1, $2 and so on.';
    end if;
    perform set_config('search_path', mcp._callers_search_path(), true);
    execute pg_catalog.concat('prepare mcp_planned as ', pg_catalog.rtrim(query, E' ;\n\r\t'));
    select case when pg_catalog.cardinality(p.parameter_types) operator(pg_catalog.>) 0
                then pg_catalog.concat('(null', pg_catalog.repeat(', null', pg_catalog.cardinality(p.parameter_types) operator(pg_catalog.-) 1), ')') end
      into values_given
      from pg_catalog.pg_prepared_statements p where p.name operator(pg_catalog.=) 'mcp_planned';
    begin
        -- A dollar sign within quotes is no parameter.
        for row in execute pg_catalog.concat('explain (format json, verbose) execute mcp_planned', values_given) loop null; end loop;
    exception when others or query_canceled then
        deallocate mcp_planned;
        raise;
    end;
    deallocate mcp_planned;
    return pg_catalog.to_jsonb(row."QUERY PLAN");
end
$$;
comment on function mcp._prepared_plan(text) is '@support The generic plan of one statement with parameters, before PostgreSQL 16; prepares and forgets it';

create function mcp._plan(query text) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    generic constant boolean := query ~ '\$[0-9]';
    -- A comment that ends the text must not take anything with it: nothing stands behind it.
    command constant text := concat('explain (format json, verbose', case when generic then ', generic_plan' end, ') ', query);
    row record;
    plan jsonb;
begin
    if generic and current_setting('server_version_num')::integer < 160000 then
        plan := mcp._prepared_plan(query);
    else
        perform set_config('search_path', mcp._callers_search_path(), true);
        -- A loop opens a cursor, and that takes one statement only. EXPLAIN (...) goes on with a statement that has a plan, nothing else.
        for row in execute command loop null; end loop;
        perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        plan := to_jsonb(row."QUERY PLAN");
    end if;
    if plan #> '{0,Plan}' is null then
        raise exception 'this command has no plan' using errcode = 'invalid_parameter_value', hint = 'Give a SELECT, INSERT, UPDATE, DELETE or MERGE.';
    end if;
    return plan;
exception
    when invalid_cursor_definition then
        raise exception 'only the plan of one statement can be looked at' using errcode = 'invalid_parameter_value', hint = 'Give one statement at a time.';
end
$$;
comment on function mcp._plan(text) is
    '@support The plan of exactly one statement, without running it, as EXPLAIN (FORMAT JSON, VERBOSE) shows it; $1 and so on stand for any value';

create function mcp._hypopg() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    schema constant text := mcp._extension_schema('hypopg');
begin
    if schema is not null and not has_schema_privilege(schema::regnamespace::oid, 'USAGE') then
        raise exception 'you may not use schema %, which holds hypopg', schema
            using errcode = 'insufficient_privilege', hint = format('An administrator grants it: grant usage on schema %s to %I.', schema, current_user);
    end if;
    return schema;
end
$$;
comment on function mcp._hypopg() is '@support The schema of the extension hypopg, quoted for SQL; null if it is not installed';

create function mcp._missing_hypopg() returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case when exists (select from pg_available_extensions() a where a.name = 'hypopg')
                then 'An administrator installs it: create extension hypopg.'
                else format('An administrator puts it on the server (package postgresql-%s-hypopg of Debian and PGDG) and runs: create extension hypopg.',
                            current_setting('server_version_num')::integer / 10000) end
$$;
comment on function mcp._missing_hypopg() is '@support What to do to get hypopg';

create function mcp._hypothetical_command(said jsonb) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    relation oid;
    names text[];
    stray text;
    near text[];
    columns text;
begin
    if jsonb_typeof(said) = 'string' then
        return said #>> '{}';
    elsif jsonb_typeof(said) <> 'object' or jsonb_typeof(said -> 'columns') is distinct from 'array' or said ->> 'table' is null then
        raise exception 'a hypothetical index is CREATE INDEX as text, or an object with table and columns'
            using errcode = 'invalid_parameter_value', hint = 'For example {"table": "public.orders", "columns": ["customer_id"]}.';
    end if;
    relation := mcp._find_table(said ->> 'table', null);
    names := array(select a.attname::text from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped);
    select min(c) into stray from jsonb_array_elements_text(said -> 'columns') c where c <> all (names);
    if stray is not null then
        near := mcp._near(left(stray, 100), names);
        raise exception 'table % has no column "%"', mcp._table_name(relation), left(stray, 100)
            using errcode = 'undefined_column',
                  hint = case when cardinality(near) > 0 then format('Perhaps you meant "%s".', near[1]) else 'Call describe_table for its columns.' end;
    end if;
    select string_agg(quote_ident(c.name), ', ' order by c.place) into columns
      from jsonb_array_elements_text(said -> 'columns') with ordinality as c (name, place);
    return format('create %sindex on %s using %I (%s)', case when (said ->> 'unique')::boolean then 'unique ' end, mcp._table_name(relation),
                  coalesce(said ->> 'using', 'btree'), columns)
           || coalesce(' where ' || (said ->> 'where'), '');
end
$$;
comment on function mcp._hypothetical_command(jsonb) is '@support CREATE INDEX for one entry of mcp._hypothetical';

create function mcp._hypothetical(indexes jsonb) returns jsonb
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    schema constant text := mcp._hypopg();
    said jsonb;
    command text;
    made record;
    size bigint;
    answer jsonb := '[]';
begin
    if schema is null then
        if indexes = '[]' then
            return answer;
        end if;
        raise exception 'hypothetical indexes need the extension hypopg, which is not installed in this database'
            using errcode = 'feature_not_supported', hint = mcp._missing_hypopg();
    elsif jsonb_typeof(indexes) is distinct from 'array' or jsonb_array_length(indexes) > 100 then
        raise exception 'hypothetical indexes are given as an array, of 100 at most' using errcode = 'invalid_parameter_value';
    end if;
    -- They belong to the process, not to the transaction: an error leaves them, and so they are always begun anew.
    execute format('select %s.hypopg_reset()', schema);
    for said in select e from jsonb_array_elements(indexes) e loop
        command := mcp._hypothetical_command(said);
        perform set_config('search_path', mcp._callers_search_path(), true);
        -- hypopg reads the text, and takes nothing but CREATE INDEX from it.
        begin
            execute pg_catalog.format('select h.indexrelid, h.indexname from %s.hypopg_create_index($1) h', schema) into made using command;
        exception when internal_error then
            -- That is how it says whatever it does not like.
            raise exception '%', sqlerrm using errcode = 'invalid_parameter_value', hint = 'hypopg knows btree, hash, brin and bloom indexes on tables and materialized views.';
        end;
        perform pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        if made.indexrelid is null then
            raise exception 'this is no CREATE INDEX: %', mcp._cut(command, 200)
                using errcode = 'invalid_parameter_value', hint = 'For example "create index on public.orders (customer_id)".';
        end if;
        begin
            execute format('select %s.hypopg_relation_size($1)', schema) into size using made.indexrelid;
        exception when others then
            -- Of a partitioned table it knows none.
            size := null;
        end;
        answer := answer || jsonb_strip_nulls(jsonb_build_object('index', made.indexname, 'definition', command, 'size_bytes', size));
    end loop;
    return answer;
exception when others or query_canceled then
    if schema is not null then
        execute format('select %s.hypopg_reset()', schema);
    end if;
    raise;
end
$$;
comment on function mcp._hypothetical(jsonb) is
    '@support Makes hypothetical indexes, which EXPLAIN without ANALYZE counts on in this process, in place of those there were; an empty array only takes those away';
