-- Owns: the tool list_sizes.
-- Runs: as the caller: tables that the caller may use, all of them with pg_monitor.
-- Must not: wait for a table that somebody has locked, nor measure every file of a database with very many tables.

create function mcp._sizes_of_tables(schema text)
returns table (relation oid, namespace oid, own bigint, toast bigint, indexes bigint, measured boolean, hidden bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    -- To measure is to ask the file system for each file; what VACUUM and ANALYZE noted says for which tables it is worth it.
    most_measured constant integer := 500;
    see_all constant boolean := pg_has_role(current_user, 'pg_monitor', 'USAGE');
    block constant bigint := current_setting('block_size')::bigint;
    wanted constant oid[] := array(select n.oid from pg_namespace n
                                    where case when schema is null then n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                                               else n.nspname = schema end
                                      and (see_all or has_schema_privilege(n.oid, 'USAGE')));
    -- A lock on an index or a TOAST table is in the way as well.
    locked constant oid[] := array(select coalesce(i.indrelid, t.oid, l.relation)
                                     from pg_locks l
                                     left join pg_index i on i.indexrelid = l.relation
                                     left join pg_class t on t.reltoastrelid = l.relation
                                    where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
                                      and l.database = (select d.oid from pg_database d where d.datname = current_database()));
begin
    return query
        with candidates as materialized (
            select c.oid, c.relnamespace, c.reltoastrelid,
                   -- Rows that came after the last VACUUM or ANALYZE are counted as 100 bytes each.
                   greatest(c.relpages, pg_stat_get_live_tuples(c.oid) * 100 / block) * block as own,
                   coalesce(t.relpages, 0)::bigint * block as toast, coalesce(i.pages, 0)::bigint * block as indexes
              from pg_class c
              left join pg_class t on t.oid = c.reltoastrelid
              left join (select x.indrelid, sum(k.relpages) as pages from pg_index x join pg_class k on k.oid = x.indexrelid group by 1) i on i.indrelid = c.oid
             where c.relkind in ('r', 'm') and c.relnamespace = any (wanted)
        ), visible as materialized (
            select * from candidates c
             where see_all or has_table_privilege(c.oid, 'SELECT')
                or has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                or has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
        ), measured as materialized (
            -- A table that is dropped meanwhile has no size.
            select b.oid, pg_table_size(b.oid) as with_toast, coalesce(pg_total_relation_size(nullif(b.reltoastrelid, 0)), 0) as toast, pg_indexes_size(b.oid) as indexes
              from (select * from visible v where v.oid <> all (locked)
                     order by v.own + v.toast + v.indexes desc, v.oid limit most_measured) b
        )
        select v.oid, v.relnamespace, coalesce(m.with_toast - m.toast, v.own), coalesce(m.toast, v.toast), coalesce(m.indexes, v.indexes),
               m.with_toast is not null, 0::bigint
          from visible v
          left join measured m on m.oid = v.oid
         union all
        -- Also who sees no table at all is to know that there are some.
        select null, null, null, null, null, true, (select count(*) from candidates) - (select count(*) from visible);
end
$$;
comment on function mcp._sizes_of_tables(text) is
    '@support Sizes of the tables that the current user may see; those that look biggest are measured, the others estimated. One more row counts the hidden';

create function mcp._size_of(kind text, entry oid, bytes bigint, parts bigint[], measured boolean) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_strip_nulls(
               jsonb_build_object('total', pg_size_pretty(bytes), 'total_bytes', bytes, 'table_bytes', parts[1], 'toast_bytes', parts[2], 'index_bytes', parts[3],
                                  'estimated', case when not measured then true end)
               || case kind
                      when 'table' then (select jsonb_build_object('name', mcp._table_name(c.oid), 'kind', nullif(mcp._table_kind(c.relkind), 'table'),
                                                                   'rows', mcp._row_estimate(c.oid)) from pg_class c where c.oid = entry)
                      when 'index' then (select jsonb_build_object('name', mcp._table_name(i.indexrelid), 'table', mcp._table_name(i.indrelid),
                                                                   'scans', pg_stat_get_numscans(i.indexrelid), 'unique', i.indisunique,
                                                                   'valid', nullif(i.indisvalid, true)) from pg_index i where i.indexrelid = entry)
                      when 'schema' then (select jsonb_build_object('name', quote_ident(n.nspname), 'tables', parts[4]) from pg_namespace n where n.oid = entry)
                      else (select jsonb_build_object('name', quote_ident(d.datname), 'connections', pg_stat_get_db_numbackends(d.oid),
                                                      'current', case when d.datname = current_database() then true end)
                              from pg_database d where d.oid = entry)
                  end)
$$;
comment on function mcp._size_of(text, oid, bigint, bigint[], boolean) is '@support One entry of list_sizes';

create function mcp._sizes(kind text, schema text)
returns table (entry oid, bytes bigint, parts bigint[], measured boolean, hidden bigint)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    block constant bigint := current_setting('block_size')::bigint;
begin
    if kind = 'database' then
        return query
            with seen as (
                select d.oid, mcp._sees_all_statistics() or has_database_privilege(d.oid, 'CONNECT') as visible from pg_database d
            )
            select s.oid, pg_database_size(s.oid), null::bigint[], true, (select count(*) from seen h where not h.visible)
              from seen s
             where s.visible;
    elsif kind = 'schema' then
        return query
            select t.namespace, sum(t.own + t.toast + t.indexes)::bigint,
                   array[sum(t.own), sum(t.toast), sum(t.indexes), count(*)]::bigint[], bool_and(t.measured), max(t.hidden)
              from mcp._sizes_of_tables(schema) t
             group by t.namespace;
    elsif kind = 'table' then
        return query
            select t.relation, t.own + t.toast + t.indexes, array[t.own, t.toast, t.indexes], t.measured, t.hidden from mcp._sizes_of_tables(schema) t;
    else
        return query
            select c.oid, case when t.measured then pg_relation_size(c.oid) else c.relpages * block end, null::bigint[], t.measured, t.hidden
              from mcp._sizes_of_tables(schema) t
              left join pg_index i on i.indrelid = t.relation
              left join pg_class c on c.oid = i.indexrelid
             where c.oid is not null or t.relation is null;
    end if;
end
$$;
comment on function mcp._sizes(text, text) is '@support Sizes of everything of one kind, without names; a row without an entry counts what is hidden';

create function mcp.list_sizes(kind text default 'table', schema text default null, max_entries integer default null, after text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    kinds constant text[] := '{table,index,schema,database}';
    page_size constant integer := mcp._page_size(coalesce(max_entries, 20));
    -- Where the last page ended: its last size, and whose it was.
    last constant text[] := regexp_match(after, '^([0-9]{1,18}) ([0-9]{1,9})$');
    near text[];
    items jsonb[];
    nexts text[];
    unmeasured bigint;
    unseen bigint;
begin
    if kind is null or kind <> all (kinds) then
        raise exception 'there are no sizes of kind "%"', coalesce(mcp._shortened(kind, 50), 'null')
            using errcode = 'invalid_parameter_value', hint = format('Kinds: %s.', array_to_string(kinds, ', '));
    elsif after is not null and last is null then
        raise exception '"after" must be the "next" of an earlier answer'
            using errcode = 'invalid_parameter_value', hint = 'Leave it out to begin with the biggest.';
    elsif schema is not null and not exists (select from pg_namespace n where n.nspname = schema and has_schema_privilege(n.oid, 'USAGE')) then
        near := mcp._near(left(schema, 100), array(select n.nspname::text from pg_namespace n where has_schema_privilege(n.oid, 'USAGE')));
        raise exception 'schema "%" does not exist, or you have no privilege on it', left(schema, 100)
            using errcode = 'invalid_schema_name',
                  hint = case when cardinality(near) > 0 then format('Perhaps you meant "%s".', near[1]) else 'Call list_schemas for those there are.' end;
    end if;
    with sizes as materialized (
        select s.* from mcp._sizes(kind, schema) s
    ), page as (
        select s.* from sizes s
         where s.entry is not null and s.bytes is not null
           and (last is null or s.bytes < last[1]::bigint or s.bytes = last[1]::bigint and s.entry > last[2]::oid)
         order by s.bytes desc, s.entry
         limit page_size + 1
    )
    select (select array_agg(mcp._size_of(kind, p.entry, p.bytes, p.parts, p.measured) order by p.bytes desc, p.entry) from page p),
           (select array_agg(p.bytes || ' ' || p.entry order by p.bytes desc, p.entry) from page p),
           count(*) filter (where not s.measured), max(s.hidden)
      into items, nexts, unmeasured, unseen
      from sizes s;
    return mcp._listed('sizes', items, page_size, nexts)
           || jsonb_strip_nulls(jsonb_build_object(
                  'note', case when unmeasured > 0
                               then format('%s %s not measured, but estimated from the last VACUUM or ANALYZE: too many, or locked now',
                                           unmeasured, case kind when 'index' then 'indexes' when 'schema' then 'schemas' else 'tables' end) end,
                  'not_visible', case when unseen > 0 and kind = 'database'
                                      then mcp._needs(format('%s databases that you may not connect to', unseen), 'pg_read_all_stats')
                                      when unseen > 0 then mcp._needs(format('%s tables on which you have no privilege', unseen), 'pg_monitor') end));
end
$$;
comment on function mcp.list_sizes(text, text, integer, text) is
'@mcp({"kind": "tool", "features": ["operations"], "title": "List sizes",
      "args": {"kind": {"description": "What to measure", "schema": {"enum": ["table", "index", "schema", "database"]}},
               "schema": "Only of this schema", "max_entries": "20 if left out", "after": "next of the last answer"},
      "output": {"sizes": "array", "truncated?": "boolean", "next?": "string", "note?": "string", "not_visible?": "string"}})
Lists what takes most space, biggest first: bytes of table, indexes and TOAST. Use it when the disk fills up.';
