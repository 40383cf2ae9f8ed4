-- Owns: the tool hybrid_search: full text search and vector search, joined by reciprocal rank fusion.
-- Runs: as the caller: privileges and row level security hold.
-- Must not: put a value into the text of a statement.

create function mcp._text_document(relation oid, names text[], alias text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    first record;
begin
    perform mcp._column(relation, n, 'column', array(select c.name from mcp._readable_columns(relation) c)) from unnest(names) n;
    select c.* into first from mcp._readable_columns(relation) c where c.name = names[1];
    if cardinality(names) = 1 then
        -- In the very form that an index on the column, or on to_tsvector of it, has.
        return case when first.type = 'tsvector'::regtype then format('%s.%I', alias, names[1]) else format('to_tsvector($1, %s.%I)', alias, names[1]) end;
    end if;
    return (select format('to_tsvector($1, concat_ws('' '', %s))', string_agg(format('%s.%I', alias, n), ', ' order by place))
              from unnest(names) with ordinality as u (n, place));
end
$$;
comment on function mcp._text_document(oid, text[], text) is '@support The text search vector of some columns, as SQL; $1 is the configuration';

create function mcp._matching(relation oid, names text[], query text, language regconfig, filter jsonb, most integer)
returns table (place bigint, identity text, item jsonb, rank real)
language plpgsql stable rows 20
set search_path = pg_catalog, pg_temp
as $$
begin
    return query execute format(
        'select row_number() over (order by f."mcp.rank" desc), f."mcp.identity", (select to_jsonb(r) from (select %6$s) r), f."mcp.rank"'
        '  from (select %3$s, ts_rank_cd(%1$s, websearch_to_tsquery($1, $2)) as "mcp.rank", %2$s as "mcp.identity"'
        '          from %4$s t where %1$s @@ websearch_to_tsquery($1, $2) and %5$s order by "mcp.rank" desc limit $4) f',
        mcp._text_document(relation, names, 't'), mcp._row_identity(relation, 't'), mcp._row_columns(relation, 't'), mcp._table_name(relation),
        mcp._equal_to(relation, filter, '$3', 't'), mcp._row_columns(relation, 'f'))
        using language, query, filter, most;
end
$$;
comment on function mcp._matching(oid, text[], text, regconfig, jsonb, integer) is '@support The rows of a table that match words best, with their ranks';

create function mcp.hybrid_search("table" text, query text, text_columns text[], vector jsonb, "column" text default null, language text default null,
                                  max_rows integer default null, filter jsonb default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    schema constant text := mcp._vector_schema();
    relation constant oid := mcp._find_table("table", null);
    vector_column constant text := mcp._vector_column(relation, "column");
    configuration regconfig;
    most constant integer := mcp._page_size(coalesce(max_rows, 10));
    -- Each search gives more than is asked for, so that what is middling in both is found.
    each constant integer := greatest(4 * most, 50);
    found jsonb;
begin
    if jsonb_typeof(vector) is distinct from 'array' then
        raise exception 'vector is an array of numbers' using errcode = 'invalid_parameter_value', hint = 'For example [0.1, 0.2]; of as many as the column has.';
    elsif coalesce(cardinality(text_columns), 0) = 0 then
        raise exception 'text_columns names no column' using errcode = 'invalid_parameter_value', hint = 'Name columns of text, or one of type tsvector.';
    end if;
    select c.oid into configuration from pg_ts_config c
     where case when language is null then c.oid = get_current_ts_config() else c.cfgname = language and has_schema_privilege(c.cfgnamespace, 'USAGE') end
     order by pg_ts_config_is_visible(c.oid) desc, c.oid limit 1;
    if configuration is null then
        raise exception 'there is no text search configuration "%"', left(language, 100)
            using errcode = 'undefined_object',
                  hint = format('There are: %s.', (select string_agg(c.cfgname, ', ' order by c.cfgname) from pg_ts_config c where pg_ts_config_is_visible(c.oid)));
    end if;
    with words as materialized (
        select * from mcp._matching(relation, text_columns, query, configuration, coalesce(filter, '{}'), each)
    ), near as materialized (
        select * from mcp._nearest(relation, vector_column, vector::text, 'cosine', coalesce(filter, '{}'), each)
    ), fused as (
        -- Reciprocal rank fusion with its usual constant. Rows are the same by their place in the table, else by all that is shown.
        select coalesce(w.item, n.item) as item, w.place as text_place, n.place as vector_place, n.distance,
               coalesce(1.0 / (60 + w.place), 0) + coalesce(1.0 / (60 + n.place), 0) as score
          from words w
          full join near n on coalesce(n.identity, n.item::text) = coalesce(w.identity, w.item::text)
         order by score desc, coalesce(n.place, w.place), w.place
         limit most
    )
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('score', round(f.score, 6), 'text_place', f.text_place, 'vector_place', f.vector_place,
                                                          'distance', trim_scale(round(f.distance::numeric, 6)))) || jsonb_build_object('row', f.item)
                     order by f.score desc, coalesce(f.vector_place, f.text_place), f.text_place)
      into found
      from fused f;
    return mcp._found_rows(coalesce(found, '[]'));
end
$$;
comment on function mcp.hybrid_search(text, text, text[], jsonb, text, text, integer, jsonb) is
'@mcp({"kind": "tool", "features": ["vector"], "title": "Hybrid search",
      "args": {"table": "With or without its schema", "query": "Words, as for a web search", "text_columns": "Columns to search for the words",
               "vector": "The query''s embedding, as array", "column": "Needed if several are vectors",
               "filter": "Values of columns, as {\"kind\": \"book\"}", "max_rows": "10 if left out",
               "language": "Such as english; the database''s if left out"},
      "output": {"rows": "array", "truncated?": "boolean"}})
Finds rows by words and by their vector, best first: full text and vector search (extension vector) joined.';
