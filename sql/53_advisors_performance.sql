-- Owns: the lints about performance, but for those about policies: keys, indexes, bloat.
-- Runs: as the caller. The bloat of a table is estimated from its columns' statistics, which only those see who may read it.
-- Must not: read a table, or ask for its size on disk: what is known from the catalogs has to do, for ten thousand tables in a moment.

create function mcp._lint_unindexed_foreign_keys() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- The first columns of an index serve in any order. Columns of INCLUDE do not count, nor does a key that partitioning copied.
    select format('Table `%s` has a foreign key `%I` without a covering index. This can lead to suboptimal query performance.', r.label, k.conname),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'table', 'fkey_name', k.conname, 'fkey_columns', k.conkey),
           format('%s.%I', r.label, k.conname)
      from pg_constraint k
      join mcp._lint_relations('rp') r on r.relation = k.conrelid
     where k.contype = 'f'
       and k.conparentid = 0
       and not r.is_member
       and not exists (select from pg_index i
                        where i.indrelid = k.conrelid
                          and i.indisvalid
                          and i.indnkeyatts >= cardinality(k.conkey)
                          and (i.indkey::smallint[])[0:cardinality(k.conkey) - 1] @> k.conkey)
$$;
comment on function mcp._lint_unindexed_foreign_keys() is '@support Lint 0001: foreign keys without an index on their columns';

create function mcp._lint_no_primary_key() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- A partition has its parent's key or lacks it for the same reason: the parent alone is named.
    select format('Table `%s` does not have a primary key', r.label),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'table'),
           r.label
      from mcp._lint_relations('rp') r
     where not r.is_member
       and not r.is_partition
       and not exists (select from pg_index i where i.indrelid = r.relation and i.indisprimary)
$$;
comment on function mcp._lint_no_primary_key() is '@support Lint 0004: tables without a primary key';

create function mcp._lint_unused_index() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- An index that keeps a constraint (unique, exclude) is in use without ever being scanned.
    select format('Index `%I` on table `%s` has not been used', x.relname, r.label),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'table'),
           format('%s.%I', r.label, x.relname)
      from pg_index i
      join mcp._lint_relations('rm') r on r.relation = i.indrelid
      join pg_class x on x.oid = i.indexrelid
     where not i.indisunique
       and not i.indisexclusion
       and not r.is_member
       and pg_stat_get_numscans(i.indexrelid) = 0
       and current_setting('track_counts')::boolean
$$;
comment on function mcp._lint_unused_index() is '@support Lint 0005: indexes that no query has used since statistics are kept';

create function mcp._lint_duplicate_index() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Definitions are written out and compared only for indexes that the catalog says are alike. One that is being built or failed to be (invalid)
    -- is no duplicate: who drops "all except one" might keep it. Indexes of partitions are named at their parent.
    with alike as (
        select i.indrelid, array_agg(i.indexrelid) as indexes
          from pg_index i
          join pg_class x on x.oid = i.indexrelid
         where i.indisvalid and not x.relispartition
         group by i.indrelid, x.relam, i.indisunique, i.indnkeyatts, i.indkey::text, i.indclass::text, i.indoption::text
        having count(*) > 1
    ), same as (
        select a.indrelid, array_agg(x.relname::text order by x.relname) as names
          from alike a
         cross join unnest(a.indexes) as u (index)
          join pg_class x on x.oid = u.index
         group by a.indrelid, regexp_replace(pg_get_indexdef(u.index), '^(CREATE (?:UNIQUE )?INDEX )(?:"(?:[^"]|"")*"|[^" ]+)', '\1')
        having count(*) > 1
    )
    select format('Table `%s` has identical indexes %s. Drop all except one of them', r.label, s.names),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', r.kind, 'indexes', s.names),
           format('%s.%s', r.label, s.names)
      from same s
      join mcp._lint_relations('rpm') r on r.relation = s.indrelid
     where not r.is_member
$$;
comment on function mcp._lint_duplicate_index() is '@support Lint 0009: indexes of one table that do the same';

create function mcp._lint_large_tables() returns table (relation oid, schema name, name name, label text, pages integer, rows double precision, readable boolean)
language sql stable rows 100
set search_path = pg_catalog, pg_temp
as $$
    -- Less than 20 MB is never reported, and hence not looked at either.
    select c.oid, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), c.relpages, greatest(c.reltuples, 0)::double precision,
           has_any_column_privilege(c.oid, 'SELECT') and not row_security_active(c.oid)
      from pg_class c
      join pg_namespace n on n.oid = c.relnamespace
      join pg_am a on a.oid = c.relam and a.amname = 'heap'
     where c.relkind = 'r'
       and c.relpages > 20 * 1024 * 1024 / current_setting('block_size')::integer
       and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
$$;
comment on function mcp._lint_large_tables() is '@support Tables that are large enough to be bloated, and whether the current user sees their statistics';

create function mcp._lint_table_bloat() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- How many pages the rows would fill, from the average widths of the columns, as check_postgres has estimated it for long. Only what is
    -- beyond all error of that estimate is reported: more than 70 times as many pages.
    with wide as (
        select t.label, t.schema, t.name, t.pages, t.rows, s.width, s.nulls,
               case when s.nulls > 0 then 23 + 1 + s.nullable / 8 else 0 end as null_header
          from mcp._lint_large_tables() t
         cross join lateral (
               select sum((1 - p.null_frac) * p.avg_width) as width, max(p.null_frac) as nulls, count(*) filter (where p.null_frac <> 0) as nullable
                 from pg_stats p
                where p.schemaname = t.schema and p.tablename = t.name and not p.inherited) s
         where t.readable
           and s.width is not null
    ), filled as (
        select w.*,
               -- Header and data are padded to a multiple of the alignment.
               ceil(w.rows * (ceil((w.width + 24) / 4) * 4 + w.nulls * ceil(w.null_header / 4.0) * 4 + 4)
                    / (current_setting('block_size')::integer - 20)) as needed
          from wide w
    )
    select format('Table `%s` has excessive bloat', f.label),
           jsonb_build_object('schema', f.schema, 'name', f.name, 'type', 'table'),
           f.label
      from filled f
     where f.needed > 0
       and f.pages / f.needed > 70
       and (f.pages - f.needed) * current_setting('block_size')::integer > 20 * 1024 * 1024
$$;
comment on function mcp._lint_table_bloat() is '@support Lint 0020: large tables that are almost empty';
