-- Owns: the tool list_locks: who waits for whom.
-- Runs: as the caller. Locks, pids and users are shown to everybody, queries and ages only with pg_read_all_stats.
-- Must not: follow every path: of a queue of a hundred sessions each one waits for all that came before it.

create function mcp._lock_object(l jsonb) returns text
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select case
               when l ->> 'locktype' = 'transactionid' then format('transaction %s', l ->> 'transactionid')
               when l ->> 'locktype' = 'virtualxid' then format('virtual transaction %s', l ->> 'virtualxid')
               when l ->> 'locktype' = 'advisory' then case l ->> 'objsubid'
                    when '1' then format('advisory lock %s', ((l ->> 'classid')::bigint << 32) | (l ->> 'objid')::bigint)
                    else format('advisory lock (%s, %s)', l ->> 'classid', l ->> 'objid') end
               when l ->> 'relation' is not null then
                    case l ->> 'locktype' when 'relation' then '' when 'tuple' then format('row (%s,%s) of ', l ->> 'page', l ->> 'tuple')
                                          else format('%s of ', l ->> 'locktype') end
                    || case when here.ours then coalesce(mcp._table_name((l ->> 'relation')::oid), format('relation %s', l ->> 'relation'))
                            else format('relation %s of database %s', l ->> 'relation',
                                        coalesce((select quote_ident(d.datname) from pg_database d where d.oid = (l ->> 'database')::oid), l ->> 'database')) end
               when l ->> 'locktype' = 'object' and here.ours
                    then coalesce(pg_describe_object((l ->> 'classid')::oid, (l ->> 'objid')::oid, (l ->> 'objsubid')::integer),
                                  format('object %s', l ->> 'objid'))
               else l ->> 'locktype'
           end
      from (select (l ->> 'database')::oid in (0, (select d.oid from pg_database d where d.datname = current_database())) as ours) here
$$;
comment on function mcp._lock_object(jsonb) is '@support What a row of pg_locks locks, in words; names are those of this database';

create function mcp._lock_node(node integer, level integer, blockers integer[], waiters integer[], locks jsonb) returns jsonb
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with held as (
        -- Of what this session holds, that which others wait for.
        select distinct mcp._lock_object(h.l) as object, h.l ->> 'mode' as mode, h.l ->> 'virtualtransaction' as holder
          from jsonb_array_elements(locks) w (l)
          join jsonb_array_elements(locks) h (l)
            on (h.l ->> 'granted')::boolean and coalesce((h.l ->> 'pid')::integer, 0) = node
           and h.l -> 'same' = w.l -> 'same'
         where not (w.l ->> 'granted')::boolean and (w.l ->> 'pid')::integer = any (waiters)
    ), wait as (
        select w.l, (select mcp._lock_object(t.l) from jsonb_array_elements(locks) t (l)
                      where (t.l ->> 'pid')::integer = node and t.l ->> 'locktype' = 'tuple' and (t.l ->> 'granted')::boolean
                        and w.l ->> 'locktype' = 'transactionid' limit 1) as on_row
          from jsonb_array_elements(locks) w (l)
         where (w.l ->> 'pid')::integer = node and not (w.l ->> 'granted')::boolean
         limit 1
    )
    select jsonb_build_object('pid', node, 'depth', level)
           || coalesce((select mcp._session(to_jsonb(a)) from pg_stat_activity a where a.pid = node and node > 0), '{}')
           || case when node = 0 then jsonb_build_object('prepared_transactions', (
                       select coalesce(jsonb_agg(distinct x.gid), '[]') from pg_prepared_xacts x
                        where exists (select from held h join jsonb_array_elements(locks) t (l) on t.l ->> 'virtualtransaction' = h.holder
                                       where t.l ->> 'pid' is null and t.l ->> 'transactionid' = x.transaction::text))) else '{}' end
           || jsonb_strip_nulls(jsonb_build_object(
                  'blocked_by', nullif(to_jsonb(blockers[1:10]), '[]'),
                  'blocked_by_count', nullif(greatest(cardinality(blockers), 10), 10),
                  'blocks', nullif(cardinality(waiters), 0),
                  'waits_for', (select jsonb_strip_nulls(jsonb_build_object('object', mcp._lock_object(w.l), 'row', w.on_row, 'mode', w.l ->> 'mode',
                                           'seconds', mcp._seconds_since((w.l ->> 'waitstart')::timestamptz))) from wait w),
                  'holds', (select jsonb_agg(jsonb_build_object('object', h.object, 'mode', h.mode))
                              from (select distinct object, mode from held order by 1, 2 limit 5) h)))
$$;
comment on function mcp._lock_node(integer, integer, integer[], integer[], jsonb) is
    '@support One session of the blocking tree: who it is, what it waits for, and what it holds that others wait for';

create function mcp.list_locks(max_sessions integer default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    most_waiters constant integer := 200;
    page_size constant integer := mcp._page_size(coalesce(max_sessions, 100));
    see_all constant boolean := mcp._sees_all_statistics();
    locks jsonb;
    waiting integer[];
    all_waiting bigint;
    edge_waiter integer[];
    edge_blocker integer[];
    seen integer[] := '{}';
    paths text[] := '{}';
    depths integer[] := '{}';
    frontier integer[];
    frontier_paths text[];
    level integer;
    cycle integer;
    in_cycle integer[] := '{}';
    items jsonb[];
begin
    select count(distinct l.pid), (array_agg(l.pid order by l.waitstart))[1:most_waiters]
      into all_waiting, waiting
      from pg_locks l
     where not l.granted and l.pid is not null;
    select array_agg(distinct_edges.waiter), array_agg(distinct_edges.blocker)
      into edge_waiter, edge_blocker
      from (select distinct w as waiter, b as blocker from unnest(waiting) w cross join lateral unnest(pg_blocking_pids(w)) b) distinct_edges;

    -- By levels, each session once, at its shortest distance from a session that waits for nobody. What is left after
    -- that waits in a circle, which PostgreSQL will break up in a moment.
    select array_agg(r.blocker), array_agg(lpad((99999999 - r.blocks)::text, 8, '0') || lpad(r.blocker::text, 10, '0'))
      into frontier, frontier_paths
      from (select b as blocker, count(*) as blocks from unnest(edge_blocker) b where b <> all (edge_waiter) group by b) r;
    loop
        level := 0;
        while cardinality(frontier) > 0 loop
            seen := seen || frontier;
            paths := paths || frontier_paths;
            depths := depths || array_fill(level, array[cardinality(frontier)]);
            level := level + 1;
            select array_agg(n.waiter), array_agg(n.path)
              into frontier, frontier_paths
              from (select e.waiter, min(f.path || lpad(e.waiter::text, 10, '0')) as path
                      from unnest(edge_waiter, edge_blocker) e (waiter, blocker)
                      join unnest(frontier, frontier_paths) f (pid, path) on f.pid = e.blocker
                     where e.waiter <> all (seen)
                     group by e.waiter) n;
        end loop;
        select min(w) into cycle from unnest(edge_waiter) w where w <> all (seen);
        exit when cycle is null;
        in_cycle := in_cycle || cycle;
        frontier := array[cycle];
        frontier_paths := array['99999999' || lpad(cycle::text, 10, '0')];
    end loop;

    with every as materialized (
        select * from pg_locks
    ), awaited as materialized (
        select distinct e.locktype, e.relation, e.transactionid from every e where not e.granted and e.pid = any (edge_waiter)
    )
    select coalesce(jsonb_agg(to_jsonb(l) || jsonb_build_object('same',
                        jsonb_build_array(l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid, l.classid, l.objid, l.objsubid))), '[]')
      into locks
      from every l
     where l.pid = any (seen) and (not l.granted or l.locktype = 'tuple')
        -- Whose lock it is that a prepared transaction holds shows in the one on its own id.
        or l.pid is null and l.locktype = 'transactionid' and 0 = any (edge_blocker)
        or l.granted
           and (l.pid = any (edge_blocker) or l.pid is null and 0 = any (edge_blocker))
           and exists (select from awaited w
                        where w.locktype = l.locktype and w.transactionid is not distinct from l.transactionid
                          and w.relation is not distinct from l.relation);
    select array_agg(mcp._lock_node(u.pid, u.depth,
                                    (select array_agg(e.b order by e.b) from unnest(edge_waiter, edge_blocker) e (w, b) where e.w = u.pid),
                                    (select array_agg(e.w order by e.w) from unnest(edge_waiter, edge_blocker) e (w, b) where e.b = u.pid),
                                    locks)
                     || case when u.pid = any (in_cycle) then '{"deadlock": true}' else '{}'::jsonb end
                     order by u.path)
      into items
      from (select s.pid, s.depth, s.path from unnest(seen, depths, paths) s (pid, depth, path)
             order by s.path limit page_size + 1) u;
    return mcp._listed('sessions', items, page_size)
           || jsonb_build_object('waiting', all_waiting)
           || case when all_waiting > most_waiters then jsonb_build_object('truncated', true) else '{}' end
           || case when cardinality(items) > 0 and not see_all
                   then jsonb_build_object('not_visible', mcp._needs('queries and ages of other roles'' sessions', 'pg_read_all_stats'))
                   else '{}' end;
end
$$;
comment on function mcp.list_locks(integer) is
'@mcp({"kind": "tool", "features": ["operations"], "title": "List locks",
      "args": {"max_sessions": "100 if left out"},
      "output": {"sessions": "array", "waiting": "integer", "truncated?": "boolean", "not_visible?": "string"}})
Shows who blocks whom: sessions that hold others up (depth 0), each followed by those behind it, with locks and queries. Use it when statements hang.';
