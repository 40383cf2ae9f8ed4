-- Owns: the health check of bloat: an estimate from the planner's statistics, as good as those are.
-- Runs: as the caller, who sees the statistics of columns that the caller may read.
-- Must not: read a table, nor look at more than the biggest.

create function mcp._expected_pages(relation oid, rows double precision, overhead integer, fill integer, columns name[], statistics_of oid) returns numeric
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Null where a column has no statistics, or none that the caller may see.
    select case when count(s.attname) = cardinality(columns) then
               greatest(ceil(rows / greatest(floor((current_setting('block_size')::integer - 24 - case when overhead = 8 then 16 else 0 end) * fill / 100.0
                              -- Each row has a pointer of 4 bytes, and begins at a multiple of 8.
                              / (4 + ceil((overhead + sum((1 - s.null_frac) * s.avg_width)) / 8) * 8)), 1)), 1)::numeric end
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = any (columns)
     where c.oid = statistics_of
       -- With inheritance there are two sets; the rows here are the table's own.
       and not s.inherited
$$;
comment on function mcp._expected_pages(oid, double precision, integer, integer, name[], oid) is
    '@support Pages that so many rows would fill if packed, by the widths in the statistics';

create function mcp._bloat(relation oid) returns table (pages integer, expected numeric)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    c record;
    columns name[];
    fill integer;
begin
    select r.oid, r.relkind, r.relpages, r.reltuples, r.relnatts, i.indrelid, i.indkey, i.indnatts
      into c
      from pg_class r left join pg_index i on i.indexrelid = r.oid
     where r.oid = relation;
    fill := coalesce((select o.option_value::integer from pg_class r cross join lateral pg_options_to_table(r.reloptions) o
                       where r.oid = relation and o.option_name = 'fillfactor'), case when c.relkind = 'i' then 90 else 100 end);
    if c.relkind = 'i' then
        -- Columns that are expressions have statistics of their own; an index that has one is left out.
        columns := array(select a.attname from unnest(c.indkey::smallint[]) k join pg_attribute a on a.attrelid = c.indrelid and a.attnum = k where k > 0);
        if cardinality(columns) < c.indnatts then
            return;
        end if;
    else
        columns := array(select a.attname from pg_attribute a where a.attrelid = relation and a.attnum > 0 and not a.attisdropped);
    end if;
    return query select c.relpages, mcp._expected_pages(relation, c.reltuples::double precision, case when c.relkind = 'i' then 8 else 24 end, fill, columns,
                                                        case when c.relkind = 'i' then c.indrelid else relation end);
end
$$;
comment on function mcp._bloat(oid) is '@support Pages of a table or index, and about how many it would need';

create function mcp._health_bloat() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    most constant integer := 200;
    block constant bigint := current_setting('block_size')::bigint;
    found jsonb;
    looked_at bigint;
    unknown bigint;
    worst text;
    wasted numeric;
begin
    with biggest as materialized (
        select c.oid, c.relkind
          from pg_class c
         where c.relpages > 64 and c.reltuples > 0 and c.oid >= 16384
           and (c.relkind in ('r', 'm') or c.relkind = 'i' and c.relam = (select a.oid from pg_am a where a.amname = 'btree'))
         order by c.relpages desc, c.oid
         limit most
    ), estimated as materialized (
        select b.oid, b.relkind, e.pages, e.expected, greatest(e.pages - e.expected, 0) * block as wasted,
               round(100 * greatest(e.pages - e.expected, 0) / e.pages) as share
          from biggest b
          left join lateral mcp._bloat(b.oid) e on true
    ), worst_first as (
        select * from estimated e where e.share >= 30 order by e.wasted desc, e.oid limit 10
    )
    select (select jsonb_agg(jsonb_build_object('name', mcp._table_name(w.oid), 'kind', case w.relkind when 'i' then 'index' else 'table' end,
                                                'size', pg_size_pretty(w.pages * block), 'wasted', pg_size_pretty(w.wasted), 'percent', w.share)
                             order by w.wasted desc, w.oid) from worst_first w),
           count(*), count(*) filter (where e.expected is null), coalesce(sum(e.wasted) filter (where e.share >= 30), 0),
           mcp._worst(array_agg(case when e.share >= 60 and e.wasted >= 1e9 then 'warning' when e.share >= 40 and e.wasted >= 5e7 then 'notice' end))
      into found, looked_at, unknown, wasted, worst
      from estimated e;
    if looked_at > 0 and unknown = looked_at then
        return mcp._finding('not_visible', 'No table or index of more than 64 pages has statistics that you may see.', null, null,
                            mcp._needs('statistics of columns that you may not read', 'pg_read_all_data'));
    end if;
    return mcp._finding(worst,
        format('An estimate from statistics, not measured: about %s wasted in the %s biggest tables and indexes (of more than 64 pages)%s.',
               pg_size_pretty(wasted), looked_at,
               case when unknown > 0 then format('; nothing is known of %s, which were not analyzed, or which you may not read', unknown) end),
        found,
        'Confirm with pgstattuple_approx() of extension pgstattuple. Then reindex concurrently for indexes, pg_repack or VACUUM FULL (locks the table) for tables.');
end
$$;
comment on function mcp._health_bloat() is '@support Health check: space wasted in tables and B-tree indexes, estimated from statistics';
