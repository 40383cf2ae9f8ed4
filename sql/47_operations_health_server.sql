-- Owns: the health checks of the server as a whole: connections, locks, cache, checkpoints, settings, prepared transactions, checksums.
-- Runs: as the caller.
-- Must not: be right about one version only: the views of the background writer changed with 17.

create function mcp._health_connections() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    see_all constant boolean := mcp._sees_all_statistics();
    most constant integer := current_setting('max_connections')::integer;
    reserved constant integer := current_setting('superuser_reserved_connections')::integer + coalesce(current_setting('reserved_connections', true), '0')::integer;
    used bigint;
    idle bigint;
    oldest numeric;
    worst jsonb;
    share numeric;
begin
    -- Workers have slots of their own; who may not see what a process is counts each one that has a user and a database.
    select count(*) filter (where coalesce(a.backend_type, 'client backend') = 'client backend'),
           count(*) filter (where a.state like 'idle in transaction%'),
           max(extract(epoch from clock_timestamp() - a.state_change)) filter (where a.state like 'idle in transaction%')
      into used, idle, oldest
      from pg_stat_activity a
     where a.datid is not null and a.usesysid is not null;
    select jsonb_agg(jsonb_build_object('pid', w.pid, 'user', w.usename, 'idle_in_transaction_seconds', mcp._seconds_since(w.state_change)))
      into worst
      from (select * from pg_stat_activity a where a.state like 'idle in transaction%' order by a.state_change limit 5) w;
    share := round(100.0 * used / greatest(most - reserved, 1));
    return mcp._finding(
        mcp._worst(array[mcp._grade(share, 70, 85, 95), mcp._grade(oldest, 60, 600, 3600)]),
        format('%s of %s connections in use (%s are reserved), %s idle in a transaction%s.', used, most, reserved, idle,
               case when oldest is not null then format(', the longest for %s s', round(oldest)) end),
        jsonb_strip_nulls(jsonb_build_object('used', used, 'max', most, 'reserved', reserved, 'idle_in_transaction', worst)),
        case when oldest >= 60 then 'Sessions idle in a transaction hold locks and keep VACUUM from cleaning: mend the application, set idle_in_transaction_session_timeout, or use terminate_session.'
             else 'Use a connection pooler, or raise max_connections (restart).' end,
        case when not see_all then mcp._needs('state of other roles'' sessions', 'pg_read_all_stats') end);
end
$$;
comment on function mcp._health_connections() is '@support Health check: connections in use, and sessions idle in a transaction';

create function mcp._health_locks() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select mcp._finding(mcp._grade(extract(epoch from clock_timestamp() - min(l.waitstart)), 5, 60, 600),
                        case when count(*) = 0 then 'No session waits for a lock.'
                             else format('%s sessions wait for a lock, the longest for %s s.', count(distinct l.pid), mcp._seconds_since(min(l.waitstart))) end,
                        null, 'Call list_locks to see who holds them up.')
      from pg_locks l
     where not l.granted
$$;
comment on function mcp._health_locks() is '@support Health check: sessions that wait for locks';

create function mcp._health_cache() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- What the operating system caches counts as read here, and after a restart nothing is cached: with few reads there is nothing to say.
    select mcp._finding(
               case when d.blks_hit + d.blks_read < 100000 then 'ok' else mcp._grade(100 - s.share, 5, 10, null) end,
               format('%s %% of the blocks that this database read came from shared_buffers (%s).', s.share, current_setting('shared_buffers')),
               jsonb_strip_nulls(jsonb_build_object('hit_percent', s.share, 'blocks_hit', d.blks_hit, 'blocks_read', d.blks_read, 'temp_files', d.temp_files,
                                                    'temp_bytes', d.temp_bytes, 'deadlocks', d.deadlocks, 'since', d.stats_reset)),
               'If the data in use is bigger than shared_buffers, raise it (a quarter of the memory is usual); look for sequential scans of big tables.')
      from pg_stat_database d
     cross join lateral (select coalesce(round(100.0 * d.blks_hit / nullif(d.blks_hit + d.blks_read, 0), 1), 100) as share) s
     where d.datname = current_database()
$$;
comment on function mcp._health_cache() is '@support Health check: how much of what is read comes from shared buffers';

create function mcp._health_checkpoints() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    timed bigint;
    requested bigint;
    since timestamptz;
    share numeric;
begin
    if current_setting('server_version_num')::integer >= 170000 then
        execute 'select num_timed, num_requested, stats_reset from pg_catalog.pg_stat_checkpointer' into timed, requested, since;
    else
        execute 'select checkpoints_timed, checkpoints_req, stats_reset from pg_catalog.pg_stat_bgwriter' into timed, requested, since;
    end if;
    share := coalesce(round(100.0 * requested / nullif(timed + requested, 0)), 0);
    return mcp._finding(
        case when timed + requested < 20 then 'ok' else mcp._grade(share, 30, 50, null) end,
        format('%s checkpoints by time, %s on request (%s %%).', timed, requested, share),
        jsonb_strip_nulls(jsonb_build_object('timed', timed, 'requested', requested, 'since', since,
                                             'max_wal_size', current_setting('max_wal_size'), 'checkpoint_timeout', current_setting('checkpoint_timeout'))),
        'Requested checkpoints mostly come from WAL that fills max_wal_size: raise it, so that they come by time.');
end
$$;
comment on function mcp._health_checkpoints() is '@support Health check: checkpoints on request against those by time';

create function mcp._health_settings() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with rules (name, bad, status, why) as (
        values ('fsync', '^off$', 'critical', 'a crash of the machine can destroy all data'),
               ('full_page_writes', '^off$', 'critical', 'a crash of the machine can leave torn pages'),
               ('autovacuum', '^off$', 'critical', 'tables bloat, statistics grow old, and wraparound comes nearer'),
               ('track_counts', '^off$', 'critical', 'autovacuum does nothing without it'),
               ('zero_damaged_pages', '^on$', 'critical', 'damaged pages are thrown away'),
               ('ignore_checksum_failure', '^on$', 'critical', 'damaged pages are read'),
               ('ignore_system_indexes', '^on$', 'warning', 'catalogs are read without their indexes'),
               ('ignore_invalid_pages', '^on$', 'critical', 'recovery passes over lost pages'),
               ('allow_system_table_mods', '^on$', 'warning', 'catalogs can be damaged'),
               ('password_encryption', '^md5$', 'warning', 'passwords are stored as weak MD5 hashes'),
               ('synchronous_commit', '^off$', 'notice', 'the last commits before a crash may be lost'),
               ('jit_debugging_support', '^on$', 'notice', 'it is for developers of the server'),
               ('enable_(seqscan|indexscan|hashjoin|mergejoin|nestloop|sort|bitmapscan|indexonlyscan|hashagg)', '^off$', 'warning',
                    'the planner may not use it anywhere; meant for single sessions'),
               ('max_connections', '^([1-9]\d{3,})$', 'notice', 'so many connections cost memory and time; a pooler does better'),
               ('autovacuum_freeze_max_age', '^([12]\d{9})$', 'notice', 'little is left between that age and wraparound'),
               ('shared_buffers', '^([1-9]\d{0,3}|1[0-5]\d{3})$', 'notice', 'it is small for a machine of its own; a quarter of its memory is usual')
    ), found as (
        -- What the function's own session has set does not count.
        select s.name, case when s.source in ('session', 'client') then s.reset_val else s.setting end as value, s.unit, r.status, r.why
          from rules r
          join pg_settings s on s.name ~ ('^' || r.name || '$')
         where case when s.source in ('session', 'client') then s.reset_val else s.setting end ~ r.bad
        union all
        select s.name, s.setting, s.unit, 'notice', 'a changed value waits for a restart of the server'
          from pg_settings s where s.pending_restart
    )
    select mcp._finding(mcp._worst(array_agg(f.status)),
                        case when count(*) = 0 then 'No setting is dangerous.'
                             else format('%s settings deserve a look: %s.', count(*), mcp._shortened(string_agg(f.name, ', ' order by f.name), 300)) end,
                        (jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', f.name, 'value', f.value, 'unit', f.unit, 'status', f.status, 'why', f.why))
                                   order by array_position('{critical,warning,notice}'::text[], f.status), f.name)),
                        'Change them with alter system, or where list_settings says that they were set.')
      from found f
$$;
comment on function mcp._health_settings() is '@support Health check: settings that endanger the data or the work of the server';

create function mcp._health_prepared_transactions() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select mcp._finding(mcp._grade(extract(epoch from clock_timestamp() - min(x.prepared)), 0, 3600, 86400),
                        case when count(*) = 0 then 'No transaction is prepared.'
                             else format('%s transactions are prepared, the oldest for %s s.', count(*), round(mcp._seconds_since(min(x.prepared)))) end,
                        to_jsonb((array_agg(jsonb_build_object('gid', mcp._shortened(x.gid, 100), 'database', x.database, 'owner', x.owner,
                                                               'seconds', mcp._seconds_since(x.prepared)) order by x.prepared))[1:5]),
                        'They hold locks and keep VACUUM from cleaning until somebody says commit prepared or rollback prepared, in their database.')
      from pg_prepared_xacts x
$$;
comment on function mcp._health_prepared_transactions() is '@support Health check: prepared transactions that were forgotten';

create function mcp._health_checksums() returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case when current_setting('data_checksums') = 'off'
                then mcp._finding('notice', 'Data checksums are off: damage by the storage is not noticed.', null,
                                  'Stop the server and run pg_checksums --enable.')
                else mcp._finding(case when sum(d.checksum_failures) > 0 then 'critical' else 'ok' end,
                                  case when sum(d.checksum_failures) > 0 then format('%s pages failed their checksum.', sum(d.checksum_failures))
                                       else 'No page failed its checksum.' end,
                                  jsonb_agg(jsonb_build_object('database', d.datname, 'failures', d.checksum_failures, 'last', d.checksum_last_failure))
                                      filter (where d.checksum_failures > 0),
                                  'The storage has damaged data. Take a copy of the whole data folder before anything else, check the disks, and restore from a backup.')
           end
      from pg_stat_database d
$$;
comment on function mcp._health_checksums() is '@support Health check: pages that failed their checksum';

create function mcp._health_replication() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    see_all constant boolean := mcp._sees_all_statistics();
    slots constant jsonb[] := mcp._slots();
    recovery constant jsonb := mcp._recovery();
    found jsonb[] := '{}';
    statuses text[] := '{}';
    item jsonb;
    status text;
    lag numeric;
begin
    foreach item in array coalesce(slots, '{}') loop
        status := mcp._worst(array[
            case when item ->> 'wal_status' = 'lost' or (item ->> 'conflicting')::boolean or item ->> 'invalidation_reason' is not null then 'critical'
                 when item ->> 'wal_status' = 'unreserved' then 'critical' end,
            case when (item ->> 'active')::boolean then mcp._grade((item ->> 'retained_bytes')::numeric, 1e9, 1e10, 1e11)
                 else mcp._worst(array['notice', mcp._grade((item ->> 'retained_bytes')::numeric, 1e8, 1e9, 1e10)]) end]);
        if status <> 'ok' then
            found := found || jsonb_build_object('slot', item -> 'name', 'status', status, 'active', item -> 'active',
                                                 'retained', pg_size_pretty((item ->> 'retained_bytes')::numeric), 'wal_status', item -> 'wal_status');
            statuses := statuses || status;
        end if;
    end loop;
    foreach item in array coalesce(mcp._senders(), '{}') loop
        lag := (item ->> 'replay_lag_seconds')::numeric;
        status := mcp._worst(array[mcp._grade(lag, 10, 60, 600), mcp._grade((item ->> 'replay_lag_bytes')::numeric, 1e8, 1e9, 1e10)]);
        if status <> 'ok' then
            found := found || jsonb_build_object('standby', coalesce(item -> 'application', item -> 'pid'), 'status', status, 'lag_seconds', lag,
                                                 'lag', pg_size_pretty((item ->> 'replay_lag_bytes')::numeric));
            statuses := statuses || status;
        end if;
    end loop;
    if recovery is not null then
        status := mcp._grade((recovery ->> 'replay_lag_seconds')::numeric, 10, 60, 600);
        if (recovery ->> 'replay_paused')::boolean then
            status := mcp._worst(array[status, 'warning']);
        end if;
        if status <> 'ok' then
            found := found || (recovery || jsonb_build_object('status', status));
            statuses := statuses || status;
        end if;
    end if;
    return mcp._finding(mcp._worst(statuses),
        format('%s, %s slots, %s of them inactive, %s standbys or subscribers connected%s.',
               case when recovery is null then 'Primary' else 'Standby' end, coalesce(cardinality(slots), 0),
               (select count(*) from unnest(slots) s where not (s ->> 'active')::boolean),
               (select count(*) from pg_stat_replication),
               case when recovery is not null then format(', %s s behind', recovery ->> 'replay_lag_seconds') end),
        to_jsonb((select array_agg(jsonb_strip_nulls(f) order by f ->> 'status') from unnest(found[1:10]) f)),
        'A slot that nobody reads keeps WAL until the disk is full: start its reader or drop it with pg_drop_replication_slot(); max_slot_wal_keep_size bounds it.',
        case when not see_all then mcp._needs('lag of the standbys', 'pg_read_all_stats') end);
end
$$;
comment on function mcp._health_replication() is '@support Health check: slots that hold back WAL, and lag';
