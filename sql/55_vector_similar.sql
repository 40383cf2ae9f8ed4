-- Owns: the tool find_similar.
-- Runs: as the caller: privileges and row level security hold for the rows and for the example.
-- Must not: put a value into the text of a statement.

create function mcp._vector_index(relation oid, vector_column text, operator text) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select mcp._table_name(i.indexrelid)
      from pg_index i
      join pg_class x on x.oid = i.indexrelid
      join pg_am m on m.oid = x.relam and m.amname in ('hnsw', 'ivfflat')
      join pg_attribute a on a.attrelid = i.indrelid and a.attname = vector_column
      join pg_opclass c on c.oid = i.indclass[0]
      join pg_amop o on o.amopfamily = c.opcfamily and o.amoppurpose = 'o'
      join pg_operator p on p.oid = o.amopopr and p.oprname = substring(operator from '\.([^.]+)\)$')
     where i.indrelid = relation and i.indisvalid and i.indkey[0] = a.attnum
     order by i.indpred is not null, m.amname limit 1
$$;
comment on function mcp._vector_index(oid, text, text) is '@support An index that can give rows by this distance; null if there is none';

create function mcp._nearest(relation oid, vector_column text, value text, metric text, filter jsonb, most integer)
returns table (place bigint, identity text, item jsonb, distance double precision)
language plpgsql stable rows 20
set search_path = pg_catalog, pg_temp
as $$
declare
    schema constant text := mcp._vector_schema();
    kind oid;
    input text;
    operator text;
begin
    -- A list of numbers is a vector first: the other types read another text.
    select c.type, case when value ~ '^\[' then format('$1::%s.vector::%s', schema, format_type(c.type, c.typmod))
                        else format('$1::%s', format_type(c.type, c.typmod)) end
      into kind, input
      from mcp._readable_columns(relation) c where c.name = vector_column;
    operator := mcp._distance_operator(schema, metric, kind);
    perform mcp._search_widely(most);
    -- ORDER BY distance LIMIT is what an index answers; what may come a little out of order is sorted again.
    -- Rows become JSON after LIMIT has chosen them.
    return query execute format(
        'select row_number() over (order by f."mcp.distance"), f."mcp.identity", (select to_jsonb(r) from (select %8$s) r), f."mcp.distance"'
        '  from (select %5$s, t.%1$I %2$s %3$s as "mcp.distance", %4$s as "mcp.identity"'
        '          from %6$s t where t.%1$I is not null and %7$s order by t.%1$I %2$s %3$s limit $3) f',
        vector_column, operator, input,
        mcp._row_identity(relation, 't'), mcp._row_columns(relation, 't'), mcp._table_name(relation), mcp._equal_to(relation, filter, '$2', 't'),
        mcp._row_columns(relation, 'f'))
        using value, filter, most;
end
$$;
comment on function mcp._nearest(oid, text, text, text, jsonb, integer) is '@support The rows of a table that are nearest to a vector, given as text, with their distances';

create function mcp._found_rows(found jsonb) returns jsonb
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    with sized as (
        select f.item, f.place, f.place = 1 or sum(octet_length(f.item::text)) over (order by f.place) <= mcp._byte_budget() as fits
          from jsonb_array_elements(found) with ordinality as f (item, place)
    )
    select jsonb_build_object('rows', coalesce(jsonb_agg(s.item order by s.place) filter (where s.fits), '[]'))
           || case when bool_and(s.fits) is false then '{"truncated": true}'::jsonb else '{}' end
      from sized s
$$;
comment on function mcp._found_rows(jsonb) is '@support As many of the rows, from the first, as one answer may have';

create function mcp.find_similar("table" text, example jsonb, "column" text default null, metric text default 'cosine', max_rows integer default null,
                                 filter jsonb default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    schema constant text := mcp._vector_schema();
    relation constant oid := mcp._find_table("table", null);
    vector_column constant text := mcp._vector_column(relation, "column");
    value text;
    index text;
    found jsonb;
begin
    value := case when jsonb_typeof(example) = 'array' then example::text else mcp._example_vector(relation, vector_column, coalesce(example, '{}')) end;
    select jsonb_agg(jsonb_build_object('distance', trim_scale(round(n.distance::numeric, 6)), 'row', n.item) order by n.place) into found
      from mcp._nearest(relation, vector_column, value, coalesce(metric, 'cosine'), coalesce(filter, '{}'), mcp._page_size(coalesce(max_rows, 10))) n;
    index := mcp._vector_index(relation, vector_column, mcp._distance_operator(
        schema, coalesce(metric, 'cosine'), (select c.type from mcp._readable_columns(relation) c where c.name = vector_column)));
    return mcp._found_rows(coalesce(found, '[]')) || jsonb_strip_nulls(jsonb_build_object('approximate_by', index));
end
$$;
comment on function mcp.find_similar(text, jsonb, text, text, integer, jsonb) is
'@mcp({"kind": "tool", "features": ["vector"], "title": "Similar rows",
      "args": {"table": "With or without its schema", "example": "Key of a row, as {\"id\": 5}, or a vector as array",
               "column": "Needed if several are vectors", "filter": "Values of columns, as {\"kind\": \"book\"}", "max_rows": "10 if left out",
               "metric": "cosine, l2, inner_product or l1; hamming or jaccard for bits"},
      "output": {"rows": "array", "truncated?": "boolean", "approximate_by?": "string"}})
Finds the rows nearest to an example by their vectors, with distances (extension vector).';
