-- Owns: the tool list_sizes.
-- Runs: as the caller: tables that the caller may use, all of them with pg_monitor.
-- Must not: wait for a table that somebody has locked, nor measure every file of a database with very many tables.

create function mcp._sizes_of_tables(kind text, schema text, most integer)
returns table (name text, bytes bigint, item jsonb, measured boolean, hidden bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- To measure is to ask the file system for each file; what VACUUM and ANALYZE noted says which are worth it.
    see_all constant boolean := pg_has_role(current_user, 'pg_monitor', 'USAGE');
    block constant bigint := current_setting('block_size')::bigint;
    locked constant oid[] := array(select distinct l.relation from pg_locks l
                                    where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
                                      and l.database = (select d.oid from pg_database d where d.datname = current_database()));
begin
    return query
        with indexes as materialized (
            select i.indrelid, sum(greatest(c.relpages, 1)) as pages, array_agg(i.indexrelid) as all_of
              from pg_index i join pg_class c on c.oid = i.indexrelid
             where c.relkind = 'i' and i.indrelid >= 16384
             group by i.indrelid
        ), candidates as materialized (
            select c.oid, n.nspname, c.relname, c.relkind, c.reltoastrelid, coalesce(i.all_of, '{}') as indexes,
                   -- Rows that came after the last VACUUM or ANALYZE are counted as 100 bytes each.
                   greatest(c.relpages, pg_stat_get_live_tuples(c.oid) * 100 / block) * block as own,
                   coalesce((select t.relpages from pg_class t where t.oid = c.reltoastrelid), 0)::bigint * block as toast,
                   coalesce(i.pages, 0)::bigint * block as of_indexes,
                   see_all or has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                           or has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') as visible
              from pg_class c
              join pg_namespace n on n.oid = c.relnamespace
              left join indexes i on i.indrelid = c.oid
             where c.relkind in ('r', 'm')
               and case when schema is null then n.nspname !~ '^pg_' and n.nspname <> 'information_schema' else n.nspname = schema end
               and (see_all or has_schema_privilege(n.oid, 'USAGE'))
        ), ranked as (
            select *, row_number() over (order by own + toast + of_indexes desc, oid) <= most
                      and not (array[oid, reltoastrelid] || indexes) && locked as measure,
                   (select count(*) from candidates h where not h.visible) as unseen
              from candidates
             where visible
        ), sized as (
            -- A table that is dropped meanwhile has no size.
            select r.*, case when measure then pg_table_size(r.oid) else own + toast end as with_toast,
                   case when measure then coalesce(pg_total_relation_size(nullif(r.reltoastrelid, 0)), 0) else toast end as its_toast,
                   case when measure then pg_indexes_size(r.oid) else of_indexes end as its_indexes
              from ranked r
             where kind <> 'index'
        )
        select format('%I.%I', s.nspname, s.relname), s.with_toast + s.its_indexes,
               jsonb_strip_nulls(jsonb_build_object(
                   'name', format('%I.%I', s.nspname, s.relname), 'kind', nullif(mcp._table_kind(s.relkind), 'table'),
                   'total', pg_size_pretty(s.with_toast + s.its_indexes), 'total_bytes', s.with_toast + s.its_indexes,
                   'table_bytes', s.with_toast - s.its_toast, 'index_bytes', s.its_indexes, 'toast_bytes', s.its_toast,
                   'rows', mcp._row_estimate(s.oid), 'estimated', case when not s.measure then true end, 'schema', s.nspname)),
               s.measure, s.unseen
          from sized s
         where s.with_toast is not null
        union all
        select q.name, q.bytes,
               jsonb_strip_nulls(jsonb_build_object('name', q.name, 'table', q.of, 'total', pg_size_pretty(q.bytes), 'total_bytes', q.bytes,
                   'scans', pg_stat_get_numscans(q.indexrelid), 'unique', q.indisunique, 'valid', nullif(q.indisvalid, true),
                   'estimated', case when not q.measure then true end)),
               q.measure, q.unseen
          from (select format('%I.%I', r.nspname, c.relname) as name, format('%I.%I', r.nspname, r.relname) as of, i.indexrelid, i.indisunique, i.indisvalid,
                       case when r.measure then pg_relation_size(c.oid) else c.relpages::bigint * block end as bytes, r.measure, r.unseen
                  from ranked r
                  join pg_index i on i.indrelid = r.oid
                  join pg_class c on c.oid = i.indexrelid
                 where kind = 'index') q
         where q.bytes is not null;
end
$$;
comment on function mcp._sizes_of_tables(text, text, integer) is
    '@support Sizes of the tables (or indexes) the current user may see; those that look biggest are measured, the others estimated';

create function mcp._sizes_of_databases() returns table (name text, bytes bigint, item jsonb, measured boolean, hidden bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    return query
        with visible as (
            select d.datname, d.oid, mcp._sees_all_statistics() or has_database_privilege(d.oid, 'CONNECT') as seen from pg_database d
        ), sized as (
            select v.*, case when v.seen then pg_database_size(v.oid) end as size,
                   (select count(*) from visible h where not h.seen) as unseen
              from visible v
        )
        select quote_ident(s.datname), s.size,
               jsonb_strip_nulls(jsonb_build_object('name', quote_ident(s.datname), 'total', pg_size_pretty(s.size), 'total_bytes', s.size,
                                                    'connections', pg_stat_get_db_numbackends(s.oid),
                                                    'current', case when s.datname = current_database() then true end)), true, s.unseen
          from sized s
         where s.size is not null;
end
$$;
comment on function mcp._sizes_of_databases() is '@support Sizes of the databases that the current user may connect to, or all';

create function mcp.list_sizes(kind text default 'table', schema text default null, max_entries integer default null, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    kinds constant text[] := '{table,index,schema,database}';
    most_measured constant integer := 1000;
    page_size constant integer := mcp._page_size(coalesce(max_entries, 20));
    last_bytes constant bigint := substring(after from '^([0-9]{1,18}) .');
    last_name constant text := substring(after from '^[0-9]{1,18} (.+)$');
    near text[];
    items jsonb[];
    nexts text[];
    unmeasured bigint;
    unseen bigint;
begin
    if kind is null or kind <> all (kinds) then
        raise exception 'there are no sizes of kind "%"', coalesce(mcp._cut(kind, 50), 'null')
            using errcode = 'invalid_parameter_value', hint = format('Kinds: %s.', array_to_string(kinds, ', '));
    elsif after is not null and last_name is null then
        raise exception '"after" must be the "next" of an earlier answer'
            using errcode = 'invalid_parameter_value', hint = 'Leave it out to begin with the biggest.';
    elsif schema is not null and not exists (select from pg_namespace n where n.nspname = schema and has_schema_privilege(n.oid, 'USAGE')) then
        near := mcp._near(left(schema, 100), array(select n.nspname::text from pg_namespace n where has_schema_privilege(n.oid, 'USAGE')));
        raise exception 'schema "%" does not exist, or you have no privilege on it', left(schema, 100)
            using errcode = 'invalid_schema_name',
                  hint = case when cardinality(near) > 0 then format('Perhaps you meant "%s".', near[1]) else 'Call list_schemas for those there are.' end;
    end if;
    with sizes as materialized (
        select s.* from mcp._sizes_of_tables(kind, schema, most_measured) s where kind <> 'database'
        union all
        select s.* from mcp._sizes_of_databases() s where kind = 'database'
    ), grouped as (
        select s.name, s.bytes, case when kind = 'table' then s.item - 'schema' else s.item end as item, s.measured
          from sizes s
         where kind <> 'schema'
        union all
        select quote_ident(s.item ->> 'schema'), sum(s.bytes)::bigint,
               jsonb_strip_nulls(jsonb_build_object(
                   'name', quote_ident(s.item ->> 'schema'), 'total', pg_size_pretty(sum(s.bytes)), 'total_bytes', sum(s.bytes), 'tables', count(*),
                   'table_bytes', sum((s.item ->> 'table_bytes')::bigint), 'index_bytes', sum((s.item ->> 'index_bytes')::bigint),
                   'toast_bytes', sum((s.item ->> 'toast_bytes')::bigint), 'estimated', case when not bool_and(s.measured) then true end)),
               bool_and(s.measured)
          from sizes s
         where kind = 'schema'
         group by s.item ->> 'schema'
    )
    select (array_agg(g.item order by g.bytes desc, g.name)
                filter (where last_name is null or g.bytes < last_bytes or g.bytes = last_bytes and g.name > last_name))[1:page_size + 1],
           (array_agg(g.bytes || ' ' || g.name order by g.bytes desc, g.name)
                filter (where last_name is null or g.bytes < last_bytes or g.bytes = last_bytes and g.name > last_name))[1:page_size + 1],
           (select count(*) from sizes s where not s.measured), (select max(s.hidden) from sizes s)
      into items, nexts, unmeasured, unseen
      from grouped g;
    return mcp._listed('sizes', items, page_size, nexts)
           || jsonb_strip_nulls(jsonb_build_object(
                  'note', case when unmeasured > 0
                               then format('%s %s not measured, but estimated from the last VACUUM or ANALYZE: too many, or locked now',
                                           unmeasured, case when kind = 'index' then 'indexes' else 'tables' end) end,
                  'not_visible', case when unseen > 0 and kind = 'database'
                                      then mcp._needs(format('%s databases that you may not connect to', unseen), 'pg_read_all_stats')
                                      when unseen > 0 then mcp._needs(format('%s tables on which you have no privilege', unseen), 'pg_monitor') end));
end
$$;
comment on function mcp.list_sizes(text, text, integer, text) is
'@mcp({"kind": "tool", "features": ["operations"], "title": "List sizes",
      "args": {"kind": "table, index, schema or database"}})
Lists what takes most space, biggest first, split into table, indexes and TOAST.';
