-- Owns: the tool get_replication.
-- Runs: as the caller. Slots, publications and subscriptions are shown to everybody, senders and the receiver with pg_read_all_stats.
-- Must not: show a connection string, which may hold a password.
--
-- Each version has more columns than the last: rows are read as JSON, and a column that is not there is null.

create function mcp._wal_position() returns pg_lsn
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return case when pg_is_in_recovery() then coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) else pg_current_wal_lsn() end;
end
$$;
comment on function mcp._wal_position() is '@support The end of the WAL that this server has, primary or standby';

create function mcp._wal_since(place pg_lsn) returns numeric
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    -- A standby's report may be newer than what was asked for first.
    select greatest(pg_wal_lsn_diff(mcp._wal_position(), place), 0)
$$;
comment on function mcp._wal_since(pg_lsn) is '@support Bytes of WAL from a place to the end; null where there is no place';

create function mcp._slots() returns jsonb[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select array_agg(jsonb_strip_nulls(jsonb_build_object(
               'name', s.r -> 'slot_name',
               'type', s.r -> 'slot_type',
               'database', s.r -> 'database',
               'plugin', s.r -> 'plugin',
               'temporary', nullif((s.r ->> 'temporary')::boolean, false),
               'active', s.r -> 'active',
               'active_pid', s.r -> 'active_pid',
               'wal_status', s.r -> 'wal_status',
               'retained_bytes', case when s.r ->> 'wal_status' is distinct from 'lost'
                                      then mcp._wal_since((s.r ->> 'restart_lsn')::pg_lsn) end,
               'unconfirmed_bytes', mcp._wal_since((s.r ->> 'confirmed_flush_lsn')::pg_lsn),
               'safe_bytes', s.r -> 'safe_wal_size',
               'xmin_age', age((s.r ->> 'xmin')::xid),
               'catalog_xmin_age', age((s.r ->> 'catalog_xmin')::xid),
               'conflicting', s.r -> 'conflicting',
               'invalidation_reason', s.r -> 'invalidation_reason',
               'inactive_since', s.r -> 'inactive_since',
               'failover', nullif((s.r ->> 'failover')::boolean, false),
               'synced', nullif((s.r ->> 'synced')::boolean, false)))
               order by mcp._wal_since((s.r ->> 'restart_lsn')::pg_lsn) desc nulls last, s.r ->> 'slot_name')
      from (select to_jsonb(p) as r from pg_replication_slots p limit 200) s
$$;
comment on function mcp._slots() is '@support The replication slots with the WAL they hold back, those that hold most first';

create function mcp._senders() returns jsonb[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Without the rights there is a row all the same, but no state.
    select array_agg(jsonb_strip_nulls(jsonb_build_object(
               'pid', s.pid,
               'user', s.usename,
               'application', nullif(s.application_name, ''),
               'client', host(s.client_addr),
               'state', s.state,
               'sync_state', s.sync_state,
               'send_lag_bytes', mcp._wal_since(s.sent_lsn),
               'replay_lag_bytes', mcp._wal_since(s.replay_lsn),
               'write_lag_seconds', round(extract(epoch from s.write_lag), 3),
               'flush_lag_seconds', round(extract(epoch from s.flush_lag), 3),
               'replay_lag_seconds', round(extract(epoch from s.replay_lag), 3)))
               order by mcp._wal_since(s.replay_lsn) desc nulls last, s.pid)
      from (select * from pg_stat_replication limit 200) s
$$;
comment on function mcp._senders() is '@support The WAL senders of this server with their lag, the one farthest behind first';

create function mcp._recovery() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if not pg_is_in_recovery() then
        return null;
    end if;
    return jsonb_strip_nulls(jsonb_build_object(
               'received_lsn', pg_last_wal_receive_lsn(),
               'replayed_lsn', pg_last_wal_replay_lsn(),
               'replay_lag_bytes', case when pg_last_wal_receive_lsn() is not null then greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0) end,
               -- On an idle primary the last transaction is old, which is no lag.
               'replay_lag_seconds', case when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() then 0
                                          else mcp._seconds_since(pg_last_xact_replay_timestamp()) end,
               'last_transaction', pg_last_xact_replay_timestamp(),
               'replay_paused', pg_is_wal_replay_paused()));
end
$$;
comment on function mcp._recovery() is '@support How far a standby has come; null on a primary';

create function mcp.get_replication() returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    see_all constant boolean := mcp._sees_all_statistics();
    here constant oid := (select d.oid from pg_database d where d.datname = current_database());
    receiver jsonb;
    publications jsonb;
    subscriptions jsonb;
begin
    select jsonb_strip_nulls(jsonb_build_object(
               'pid', r.pid, 'status', r.status, 'slot', r.slot_name, 'sender_host', r.sender_host, 'sender_port', r.sender_port,
               'timeline', r.received_tli, 'written_lsn', r.written_lsn, 'flushed_lsn', r.flushed_lsn,
               'last_message_seconds', mcp._seconds_since(r.last_msg_receipt_time)))
      into receiver
      from pg_stat_wal_receiver r
     where r.status is not null;

    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'name', p.pubname, 'owner', pg_get_userbyid(p.pubowner), 'all_tables', nullif(p.puballtables, false),
               'operations', to_jsonb(array_remove(array[case when p.pubinsert then 'insert' end, case when p.pubupdate then 'update' end,
                                                         case when p.pubdelete then 'delete' end, case when p.pubtruncate then 'truncate' end], null)),
               'tables', (select count(*) from pg_publication_rel t where t.prpubid = p.oid),
               'schemas', (select jsonb_agg(n.pnnspid::regnamespace::text order by 1) from pg_publication_namespace n where n.pnpubid = p.oid)))
               order by p.pubname)
      into publications
      from (select * from pg_publication order by pubname limit 200) p;

    -- Column by column: the connection string is nobody's to read but superusers'.
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'name', s.subname, 'owner', pg_get_userbyid(s.subowner), 'enabled', s.subenabled, 'slot', s.subslotname,
               'publications', s.subpublications,
               'tables', (select jsonb_object_agg(c.state, c.n) from (
                             select case t.srsubstate when 'i' then 'initializing' when 'd' then 'copying' when 'f' then 'copied'
                                                      when 's' then 'synchronized' else 'ready' end as state, count(*) as n
                               from pg_subscription_rel t where t.srsubid = s.oid group by 1) c),
               'pid', w.pid,
               'last_message_seconds', mcp._seconds_since(w.last_msg_receipt_time),
               'lag_bytes', pg_wal_lsn_diff(w.latest_end_lsn, w.received_lsn),
               'apply_errors', e.apply_error_count, 'sync_errors', e.sync_error_count))
               order by s.subname)
      into subscriptions
      from (select oid, subname, subowner, subenabled, subslotname, subpublications
              from pg_subscription where subdbid = here order by subname limit 200) s
      left join pg_stat_subscription w on w.subid = s.oid and w.relid is null
                                      and (to_jsonb(w) ->> 'worker_type' is null or to_jsonb(w) ->> 'worker_type' = 'apply')
      left join pg_stat_subscription_stats e on e.subid = s.oid;

    return jsonb_build_object('role', case when pg_is_in_recovery() then 'standby' else 'primary' end,
                              'senders', coalesce(to_jsonb(mcp._senders()), '[]'),
                              'slots', coalesce(to_jsonb(mcp._slots()), '[]'),
                              'publications', coalesce(publications, '[]'),
                              'subscriptions', coalesce(subscriptions, '[]'))
           || jsonb_strip_nulls(jsonb_build_object(
                  'recovery', mcp._recovery(),
                  'receiver', receiver,
                  'truncated', case when (select count(*) from pg_publication) > 200 or (select count(*) from pg_replication_slots) > 200
                                         or (select count(*) from pg_stat_replication) > 200 then true end,
                  'synchronous_standbys', nullif(current_setting('synchronous_standby_names'), ''),
                  'not_visible', case when not see_all then mcp._needs('state and lag of senders and receiver', 'pg_read_all_stats') end));
end
$$;
comment on function mcp.get_replication() is
'@mcp({"kind": "tool", "features": ["operations"], "title": "Get replication",
      "output": {"role": {"enum": ["primary", "standby"]}, "senders": "array", "slots": "array", "publications": "array", "subscriptions": "array",
                 "recovery?": "object", "receiver?": "object", "synchronous_standbys?": "string", "truncated?": "boolean", "not_visible?": "string"}})
Shows whether this server is primary or standby, lag, slots with the WAL they hold back, publications, subscriptions.';
