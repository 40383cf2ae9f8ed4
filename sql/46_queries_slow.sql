-- Owns: the tool list_slow_queries, and how pg_stat_statements is read whatever its version and schema.
-- Runs: as the caller: without pg_read_all_stats he sees the texts of his own statements only, and is told so.
-- Must not: run any text that it finds in the statistics.

create function mcp._extension_schema(extension name) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select quote_ident(n.nspname) from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = extension
$$;
comment on function mcp._extension_schema(name) is '@support The schema of an extension in this database, quoted for SQL; null if it is not installed';

create function mcp._statements_source() returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    source constant text := mcp._extension_schema('pg_stat_statements');
begin
    if source is null then
        raise exception 'the extension pg_stat_statements is not installed in this database, so no statement was counted'
            using errcode = 'feature_not_supported',
                  hint = case when current_setting('pg_stat_statements.max', true) is not null
                              then 'An administrator installs it: create extension pg_stat_statements.'
                              else 'An administrator adds pg_stat_statements to shared_preload_libraries, restarts the server,'
                                   ' and runs: create extension pg_stat_statements.' end;
    elsif not has_schema_privilege(source::regnamespace::oid, 'USAGE') then
        raise exception 'you may not use schema %, which holds pg_stat_statements', source
            using errcode = 'insufficient_privilege',
                  hint = format('An administrator grants it: grant usage on schema %s to %I.', source, current_user);
    end if;
    begin
        execute format('select from %s.pg_stat_statements(false) limit 1', source);
    exception when object_not_in_prerequisite_state then
        raise exception 'the library pg_stat_statements is not loaded, so no statement was counted'
            using errcode = 'object_not_in_prerequisite_state',
                  hint = 'An administrator adds pg_stat_statements to shared_preload_libraries and restarts the server.';
    end;
    return source || '.pg_stat_statements';
end
$$;
comment on function mcp._statements_source() is '@support The view pg_stat_statements with its schema; raises, saying what is missing, if it cannot be read';

create function mcp._cut(value text, length integer) returns text
language sql immutable strict
set search_path = pg_catalog, pg_temp
as $$
    select case when length(value) > length then left(value, length) || format(' ... (cut, %s characters in all)', length(value)) else value end
$$;
comment on function mcp._cut(text, integer) is '@support The text, or its beginning with a word that it was cut';

create function mcp._slow_query(counted jsonb, whole_ms double precision, most_text integer) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Columns were renamed from version to version: those of I/O times in 1.11, which PostgreSQL 17 came with.
    select jsonb_strip_nulls(jsonb_build_object(
               'query', mcp._cut(counted ->> 'query', most_text),
               'queryid', counted ->> 'queryid',
               'role', (select r.rolname from pg_roles r where r.oid = (counted ->> 'userid')::oid),
               'calls', counted -> 'calls',
               'total_ms', round(n.total::numeric, 2),
               'share', case when whole_ms > 0 then round((n.total / whole_ms)::numeric, 4) end,
               'mean_ms', round((counted ->> 'mean_exec_time')::numeric, 3),
               'min_ms', round((counted ->> 'min_exec_time')::numeric, 3),
               'max_ms', round((counted ->> 'max_exec_time')::numeric, 3),
               'stddev_ms', round((counted ->> 'stddev_exec_time')::numeric, 3),
               'plan_ms', round(nullif((counted ->> 'total_plan_time')::numeric, 0), 2),
               'rows', counted -> 'rows',
               'cache_hit', case when n.hit + n.read > 0 then round(n.hit / (n.hit + n.read), 4) end,
               'blocks_read', nullif(n.read, 0),
               'temp_blocks_written', nullif((counted ->> 'temp_blks_written')::numeric, 0),
               'io_ms', round(nullif(n.io, 0), 2),
               'wal_bytes', nullif((counted ->> 'wal_bytes')::numeric, 0)))
      from (select (counted ->> 'total_exec_time')::double precision as total,
                   (counted ->> 'shared_blks_hit')::numeric as hit,
                   (counted ->> 'shared_blks_read')::numeric as read,
                   (select sum((counted ->> c)::numeric)
                      from unnest(array['blk_read_time', 'blk_write_time', 'shared_blk_read_time', 'shared_blk_write_time', 'local_blk_read_time',
                                        'local_blk_write_time', 'temp_blk_read_time', 'temp_blk_write_time']) c) as io) n
$$;
comment on function mcp._slow_query(jsonb, double precision, integer) is '@support One row of pg_stat_statements as list_slow_queries shows it';

create function mcp.list_slow_queries(sort_by text default 'total_time', max_queries integer default 20, queryid text default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    orders constant jsonb := '{"total_time": "s.total_exec_time", "mean_time": "s.mean_exec_time", "max_time": "s.max_exec_time", "calls": "s.calls",
        "rows": "s.rows", "io": "s.shared_blks_read + s.local_blks_read", "temp": "s.temp_blks_written", "wal": "s.wal_bytes"}';
    source constant text := mcp._statements_source();
    whole record;
    since record;
    answer jsonb;
begin
    if orders -> sort_by is null then
        raise exception 'statements cannot be sorted by "%"', left(sort_by, 100)
            using errcode = 'invalid_parameter_value',
                  hint = format('sort_by is one of: %s.', (select string_agg(k, ', ' order by k) from jsonb_object_keys(orders) k));
    elsif queryid !~ '^-?[0-9]{1,19}$' then
        raise exception 'a queryid is a number, not "%"', left(queryid, 100)
            using errcode = 'invalid_parameter_value', hint = 'Take it from an answer of list_slow_queries.';
    end if;
    -- Texts of others have no queryid for those who may not see them.
    execute format('select count(*) as statements, sum(s.total_exec_time) as ms, count(*) filter (where s.queryid is null) as hidden,'
                   ' sum(s.total_exec_time) filter (where s.queryid is null) as hidden_ms'
                   ' from %s(false) s where s.dbid = (select d.oid from pg_database d where d.datname = current_database())', source)
       into whole;
    execute format('with top as materialized ('
                   '  select to_jsonb(s) as counted, row_number() over (order by %1$s desc, s.queryid) as place'
                   '    from %2$s s'
                   '   where s.dbid = (select d.oid from pg_database d where d.datname = current_database())'
                   '     and s.queryid is not null and ($1 is null or s.queryid = $1::bigint)'
                   '   order by %1$s desc, s.queryid limit $2'
                   '), listed as ('
                   '  select t.place, mcp._slow_query(t.counted, $3, $4) as item from top t'
                   '), sized as ('
                   '  select l.*, l.place = 1 or sum(octet_length(l.item::text)) over (order by l.place) <= mcp._byte_budget() as fits from listed l'
                   ') select jsonb_build_object(''statements'', coalesce(jsonb_agg(z.item order by z.place) filter (where z.fits), ''[]''))'
                   '         || case when bool_and(z.fits) is false then ''{"truncated": true}''::jsonb else ''{}'' end from sized z',
                   orders ->> sort_by, source)
       into answer
      using queryid, mcp._page_size(coalesce(max_queries, 20)), whole.ms, case when queryid is null then 500 else 100000 end;
    answer := answer || jsonb_strip_nulls(jsonb_build_object('counted_statements', whole.statements, 'counted_ms', round(whole.ms::numeric, 2)));
    begin
        execute format('select i.dealloc, i.stats_reset from %s_info i', source) into since;
        answer := answer || jsonb_strip_nulls(jsonb_build_object('counted_since', since.stats_reset, 'forgotten', nullif(since.dealloc, 0)));
    exception when undefined_table then
        -- Of an extension that is older than the server: it does not say since when.
        null;
    end;
    if whole.hidden > 0 then
        answer := answer || jsonb_build_object('not_visible', format(
            '%s statements of other roles, with %s ms, whose texts you may not see. An administrator grants it: grant pg_read_all_stats to %I.',
            whole.hidden, round(whole.hidden_ms::numeric, 2), current_user));
    end if;
    if current_setting('pg_stat_statements.track', true) = 'none' then
        answer := answer || '{"note": "pg_stat_statements.track is none: statements are not counted now."}';
    end if;
    return answer;
end
$$;
comment on function mcp.list_slow_queries(text, integer, text) is
'@mcp({"kind": "tool", "features": ["queries"], "title": "Slow queries",
      "args": {"sort_by": {"description": "Largest first", "schema": {"enum": ["total_time", "mean_time", "max_time", "calls", "rows", "io", "temp", "wal"]}},
               "queryid": "Only this one, with its whole text"},
      "output": {"statements": "array", "counted_statements": "integer", "counted_ms?": "number", "counted_since?": "string", "forgotten?": "integer",
                 "truncated?": "boolean", "not_visible?": "string", "note?": "string"}})
Lists the statements that cost most, with calls, times, rows and blocks, from pg_stat_statements. Use it to find what to make faster.';
