-- Owns: the tool schema_document: what there is, in one text that a model reads at once.
-- Runs: as the caller, on the tables and columns on which the caller has a privilege.
-- Must not: grow over its size: it says less of each table instead, and if that does not help, less tables, and says so.

create function mcp._catalog_texts(tables oid[], level text) returns table (place bigint, text text)
language plpgsql stable strict rows 500
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    -- full: a heading and a line per column; columns: one line; names: the name. All tables at once: one by one takes a hundred times as long.
    if level = 'names' then
        return query select u.place, format('%I.%I', n.nspname, c.relname)
                       from unnest(tables) with ordinality as u (relation, place)
                       join pg_class c on c.oid = u.relation
                       join pg_namespace n on n.oid = c.relnamespace;
        return;
    end if;
    return query
    with wanted as materialized (
        select u.place, c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relkind, c.relrowsecurity, c.reltuples,
               -- PostgreSQL takes the square of the columns for each expression that it writes.
               c.relnatts > 400 as wide,
               has_table_privilege(c.oid, 'SELECT') or has_table_privilege(c.oid, 'INSERT, UPDATE, REFERENCES') as every_column
          from unnest(tables) with ordinality as u (relation, place)
          join pg_class c on c.oid = u.relation
          join pg_namespace n on n.oid = c.relnamespace
    ), keys as materialized (
        select k.conrelid, unnest(k.conkey) as attnum from pg_constraint k join wanted w on w.oid = k.conrelid where k.contype = 'p'
    ), links as materialized (
        select distinct on (k.conrelid, k.conkey[1]) k.conrelid, k.conkey[1] as attnum,
               format(' -> %I.%I(%s)', n.nspname, c.relname,
                      (select string_agg(quote_ident(a.attname), ', ' order by f.o)
                         from unnest(k.confkey) with ordinality as f (attnum, o) join pg_attribute a on a.attrelid = k.confrelid and a.attnum = f.attnum)) as target
          from pg_constraint k
          join wanted w on w.oid = k.conrelid
          join pg_class c on c.oid = k.confrelid
          join pg_namespace n on n.oid = c.relnamespace
         where k.contype = 'f'
         order by k.conrelid, k.conkey[1], k.conname
    ), labels as materialized (
        select e.enumtypid, string_agg(quote_literal(e.enumlabel), ', ' order by e.enumsortorder) as list
          from (select x.*, row_number() over (partition by x.enumtypid order by x.enumsortorder) as place from pg_enum x) e
         where e.place <= 20
         group by e.enumtypid
    ), columns as (
        select w.oid, string_agg(
                   case when level = 'full' then E'\n- ' else '' end || quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                   || case when k.attnum is not null then ' pk' when level = 'full' and a.attnotnull then ' not null' else '' end
                   || case when level = 'full' then coalesce(' default ' || left(case when a.attgenerated = '' then pg_get_expr(d.adbin, 0) when not w.wide then pg_get_expr(d.adbin, d.adrelid) end, 80), '') else '' end
                   || coalesce(f.target, '')
                   || case when level = 'full' then coalesce(' {' || l.list || '}', '') || coalesce(': ' || regexp_replace(mcp._catalog_cut(r.description, 200), '\s+', ' ', 'g'), '')
                           else '' end,
                   case when level = 'full' then '' else ', ' end order by a.attnum) as list
          from wanted w
          join pg_attribute a on a.attrelid = w.oid and a.attnum > 0 and not a.attisdropped
                             and (w.every_column or has_column_privilege(w.oid, a.attnum, 'SELECT, INSERT, UPDATE, REFERENCES'))
          left join keys k on k.conrelid = w.oid and k.attnum = a.attnum
          left join links f on f.conrelid = w.oid and f.attnum = a.attnum
          left join labels l on l.enumtypid = a.atttypid
          left join pg_attrdef d on d.adrelid = w.oid and d.adnum = a.attnum
          left join pg_description r on r.classoid = 'pg_class'::regclass and r.objoid = w.oid and r.objsubid = a.attnum
         group by w.oid
    )
    select w.place,
           case when level = 'full'
                then E'\n## ' || w.name
                     || coalesce(' (' || nullif(concat_ws(', ', case when w.relkind <> 'r' then mcp._table_kind(w.relkind) end,
                                                          case when w.relkind in ('r', 'm', 'f') and w.reltuples > 0 then 'about ' || w.reltuples::bigint || ' rows' end,
                                                          case when w.relrowsecurity then 'row level security' end), '') || ')', '')
                     || coalesce(E'\n' || regexp_replace(mcp._catalog_cut(r.description, 200), '\s+', ' ', 'g'), '')
                     || coalesce(c.list, '')
                else w.name || ' (' || coalesce(c.list, '') || ')' end
      from wanted w
      left join columns c on c.oid = w.oid
      left join pg_description r on r.classoid = 'pg_class'::regclass and r.objoid = w.oid and r.objsubid = 0;
end
$$;
comment on function mcp._catalog_texts(oid[], text) is '@support Tables as texts for a document: in full, in a line with their columns, or their names';

create function mcp.schema_document(schemas text[] default null, max_kb integer default null, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    -- A line end is two bytes in JSON, and so are quotes: the eighth is for those.
    budget constant bigint := least(mcp._byte_budget() * 7 / 8, greatest(coalesce(max_kb, 100), 1)::bigint * 1024);
    last_seen constant text[] := mcp._catalog_after(after, 2);
    spaces constant oid[] := mcp._catalog_schemas(schemas);
    tables oid[];
    level text;
    shown integer;
    total integer;
    document text;
begin
    tables := array(
        select c.oid
          from mcp._catalog_tables(spaces) u
          join pg_class c on c.oid = u
          join pg_namespace n on n.oid = c.relnamespace
         where not c.relispartition
           and (last_seen is null or (n.nspname, c.relname) > (last_seen[1]::name, last_seen[2]::name))
         order by n.nspname, c.relname);
    total := cardinality(tables);
    -- The most that fits all tables is taken. How long a text would be at least is known beforehand, so that none is made in vain.
    foreach level in array array['full', 'columns', 'names'] loop
        continue when level <> 'names' and total * case level when 'full' then 60 else 25 end > budget;
        select string_agg(t.text, E'\n' order by t.place), count(*)
          into document, shown
          from (select s.text, s.place, sum(octet_length(to_json(s.text)::text) + 2) over (order by s.place) as used
                  -- No name is shorter than three bytes.
                  from mcp._catalog_texts(tables[1:(budget / 3)::integer], level) s) t
         where t.used <= budget or level = 'names' and t.place = 1;
        exit when shown = total;
    end loop;
    return jsonb_build_object('document', btrim(coalesce(document, ''), E'\n'), 'detail', level, 'tables', shown)
           || case when shown < total then jsonb_build_object('truncated', true, 'tables_in_all', total, 'next', mcp._table_name(tables[shown])) else '{}' end
           || case when level = 'full' then '{}' else jsonb_build_object('hint', 'There was no room for more detail: name fewer schemas, or call describe_table.') end
           || mcp._catalog_unknown(schemas);
end
$$;
comment on function mcp.schema_document(text[], integer, text) is
'@mcp({"kind": "tool", "features": ["catalog"], "title": "Schema document",
      "args": {"schemas": "All that you may use if left out", "max_kb": "Size of the text; 100 if left out", "after": "next of the last answer"},
      "output": {"document": "string", "detail": {"enum": ["full", "columns", "names"]}, "tables": "integer", "tables_in_all?": "integer",
                 "truncated?": "boolean", "next?": "string", "hint?": "string", "unknown_schemas?": "array"}})
Writes tables with columns, types, keys and comments as one Markdown text. Use it to learn a whole schema in one call. What does not fit is told in less detail.';
