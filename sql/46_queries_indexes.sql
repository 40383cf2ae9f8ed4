-- Owns: the tools find_unused_indexes and find_duplicate_indexes.
-- Runs: as the caller, from the catalogs and the counters, which everybody may read. Only indexes of tables on which he has a privilege.
-- Must not: name an index that a constraint needs, or run the DROP that it gives as text.

create function mcp._index_size(index oid) returns bigint
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- The index of a partitioned table is only those of its partitions. An ordinary one has no tree.
    select coalesce(sum(pg_relation_size(t.relid)), pg_relation_size(index))::bigint from pg_partition_tree(index) t where t.isleaf
$$;
comment on function mcp._index_size(oid) is '@support Bytes of an index; of a partitioned one, those of its partitions';

create function mcp._counted_since() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_strip_nulls(jsonb_build_object('counted_since', s.stats_reset, 'server_started', pg_postmaster_start_time()))
      from pg_stat_database s where s.datname = current_database()
$$;
comment on function mcp._counted_since() is '@support Since when the counters of this database count: their last reset, if there was one, and the start of the server';

create function mcp._index_page(found text[], every bigint, bytes numeric) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with sized as (
        select u.item, u.place, u.place = 1 or sum(octet_length(u.item)) over (order by u.place) <= mcp._byte_budget() as fits
          from unnest(found) with ordinality as u (item, place)
    )
    select jsonb_build_object('indexes', coalesce(jsonb_agg(s.item::jsonb order by s.place) filter (where s.fits), '[]'),
                              'count', coalesce(every, 0), 'total_bytes', coalesce(bytes, 0))
           || case when count(*) filter (where s.fits) < every then '{"truncated": true}'::jsonb else '{}' end
      from sized s
$$;
comment on function mcp._index_page(text[], bigint, numeric) is '@support The largest of the indexes found, as many as an answer may have, with the number and size of all';

create function mcp.find_unused_indexes(max_scans bigint default 0, max_indexes integer default 50) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    answer jsonb;
begin
    -- Not those of constraints, nor unique ones (they are a rule, whether or not they are read), nor a replica identity. The index of a
    -- partition goes with its parent's, and cannot be dropped by itself; counters are of each partition's, and all must be unused.
    with idle as materialized (
        select i.indexrelid, i.indrelid, c.relkind, i.indisvalid, i.indexprs is not null as expressions, c.relnamespace, s.scans, s.partitions
          from pg_index i
          join pg_class c on c.oid = i.indexrelid
         cross join lateral (
               select pg_stat_get_numscans(c.oid) as scans, null::bigint as partitions where c.relkind <> 'I'
               union all
               select coalesce(sum(pg_stat_get_numscans(t.relid)), 0)::bigint, count(*) from pg_partition_tree(c.oid) t where t.isleaf and c.relkind = 'I'
               having c.relkind = 'I') s
         where not i.indisunique and not i.indisexclusion and not i.indisreplident and not c.relispartition and i.indexrelid >= 16384
           and s.scans <= coalesce(max_scans, 0)
    ), mine as (
        select d.*, case when d.relkind = 'I' then mcp._index_size(d.indexrelid) else pg_relation_size(d.indexrelid) end as size
          from idle d
          join pg_namespace n on n.oid = d.relnamespace
         where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mcp')
           and not exists (select from pg_constraint k where k.conindid = d.indexrelid)
           and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = d.indrelid and e.deptype = 'e')
           and has_schema_privilege(n.oid, 'USAGE')
           and (has_table_privilege(d.indrelid, 'SELECT') or mcp._usable_table(d.indrelid))
    ), page as (
        select m.*, count(*) over () as every, sum(m.size) over () as bytes from mine m order by m.size desc, m.indexrelid limit mcp._page_size(coalesce(max_indexes, 50))
    )
    select mcp._index_page(array_agg(jsonb_strip_nulls(jsonb_build_object(
               'index', mcp._table_name(p.indexrelid),
               'table', mcp._table_name(p.indrelid),
               'size_bytes', p.size,
               'scans', p.scans,
               'partitions', p.partitions,
               'invalid', nullif(not p.indisvalid, false),
               'note', case when p.expressions then 'ANALYZE keeps statistics of its expressions, which plans may use without a scan of it.' end,
               'owner', case when not pg_has_role(t.relowner, 'USAGE') then pg_get_userbyid(t.relowner) end,
               'drop', format('drop index %s;', mcp._table_name(p.indexrelid))))::text order by p.size desc, p.indexrelid), max(p.every), max(p.bytes))
      into answer
      from page p
      join pg_class t on t.oid = p.indrelid;
    return answer || mcp._counted_since() || jsonb_build_object('note',
        'Counters are of this server alone: an index may be read on a replica. Be sure that they cover rare jobs (month ends) before you drop one.');
end
$$;
comment on function mcp.find_unused_indexes(bigint, integer) is
'@mcp({"kind": "tool", "features": ["queries"], "title": "Unused indexes",
      "args": {"max_scans": "Scans that still count as none"},
      "output": {"indexes": "array", "count": "integer", "total_bytes": "integer", "truncated?": "boolean", "counted_since?": "string",
                 "server_started?": "string", "note": "string"}})
Finds indexes never scanned since the counters were reset, biggest first, with DROP INDEX as text; none that is unique or of a constraint.';

create function mcp.find_duplicate_indexes(max_indexes integer default 50) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    answer jsonb;
begin
    with several as materialized (
        select i.indrelid from pg_index i
         where i.indisvalid and i.indislive and i.indrelid >= 16384
         group by i.indrelid having count(*) > 1
    ), candidates as materialized (
        -- Partitions have copies of their parent's.
        select i.indexrelid, i.indrelid, c.relam, c.relkind = 'I' as partitioned, a.amname, i.indisunique, i.indnkeyatts, k.keys,
               i.indkey::int2[] as columns, coalesce(pg_get_expr(i.indpred, i.indrelid), '') as predicate,
               coalesce(to_jsonb(i) ->> 'indnullsnotdistinct', 'false') as nulls_not_distinct
          from several s
          join pg_index i on i.indrelid = s.indrelid
          join pg_class c on c.oid = i.indexrelid
          join pg_am a on a.oid = c.relam
         -- Each key column with all that makes it differ: column or expression, operator class, collation, direction.
         cross join lateral (
               select array_agg(concat_ws(' ', case when i.indkey[n] <> 0 then i.indkey[n]::text else pg_get_indexdef(i.indexrelid, n + 1, false) end,
                                          i.indclass[n], i.indcollation[n], i.indoption[n]) order by n) as keys
                 from generate_series(0, i.indnkeyatts - 1) n) k
         where i.indisvalid and i.indislive and not c.relispartition
    ), pairs as materialized (
        select distinct on (a.indexrelid) a.indexrelid as index, a.indrelid as relation, b.indexrelid as covering,
               a.keys = b.keys and a.columns = b.columns as same, a.partitioned
          from candidates a
          join candidates b on b.indrelid = a.indrelid and b.indexrelid <> a.indexrelid and b.relam = a.relam and b.predicate = a.predicate
                           -- What is in the index beyond its keys must be in the other as well.
                           and a.columns <@ b.columns
                           and case when a.amname = 'btree' then b.keys[1:cardinality(a.keys)] = a.keys else b.keys = a.keys end
         where (not a.indisunique or b.indisunique and b.keys = a.keys and b.nulls_not_distinct = a.nulls_not_distinct)
           and not exists (select from pg_constraint k where k.conindid = a.indexrelid)
           and not exists (select from pg_index r where r.indexrelid = a.indexrelid and r.indisreplident)
           -- Of two that are alike the one that must stay, stays; else the older one.
           and (b.keys <> a.keys or b.columns <> a.columns or b.indisunique and not a.indisunique
                or exists (select from pg_constraint k where k.conindid = b.indexrelid)
                or exists (select from pg_index r where r.indexrelid = b.indexrelid and r.indisreplident)
                or b.indexrelid < a.indexrelid)
         order by a.indexrelid, cardinality(b.keys), b.indisunique desc, b.indexrelid
    ), page as (
        select p.*, count(*) over () as every, sum(p.size) over () as bytes, c.relowner
          from (select pairs.*, case when pairs.partitioned then mcp._index_size(pairs.index) else pg_relation_size(pairs.index) end as size from pairs) p
          join pg_class c on c.oid = p.relation
          join pg_namespace n on n.oid = c.relnamespace
         where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mcp')
           and has_schema_privilege(n.oid, 'USAGE')
           and (has_table_privilege(p.relation, 'SELECT') or mcp._usable_table(p.relation))
         order by p.size desc, p.index
         limit mcp._page_size(coalesce(max_indexes, 50))
    )
    select mcp._index_page(array_agg(jsonb_strip_nulls(jsonb_build_object(
               'index', mcp._table_name(p.index),
               'definition', pg_get_indexdef(p.index),
               'table', mcp._table_name(p.relation),
               'size_bytes', p.size,
               'kind', case when p.same then 'duplicate' else 'prefix' end,
               'covered_by', mcp._table_name(p.covering),
               'covering_definition', pg_get_indexdef(p.covering),
               'owner', case when not pg_has_role(p.relowner, 'USAGE') then pg_get_userbyid(p.relowner) end,
               'drop', format('drop index %s;', mcp._table_name(p.index))))::text order by p.size desc, p.index), max(p.every), max(p.bytes))
      into answer
      from page p;
    return answer;
end
$$;
comment on function mcp.find_duplicate_indexes(integer) is
'@mcp({"kind": "tool", "features": ["queries"], "title": "Duplicate indexes",
      "output": {"indexes": "array", "count": "integer", "total_bytes": "integer", "truncated?": "boolean"}})
Finds indexes that another makes needless (same columns, or its first ones), biggest first, with DROP INDEX as text.';
