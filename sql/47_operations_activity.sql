-- Owns: the tool list_activity.
-- Runs: as the caller, who sees what sessions of other roles do with pg_read_all_stats alone.
-- Must not: list the call itself.

create function mcp.list_activity(min_duration interval default null, state text default null, max_sessions integer default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    states constant text[] := '{active,idle,idle in transaction,waiting,any}';
    see_all constant boolean := mcp._sees_all_statistics();
    moment constant timestamptz := clock_timestamp();
    wanted constant text := lower(btrim(state));
    items jsonb[];
    hidden bigint;
begin
    if wanted <> all (states) then
        raise exception 'there is no state "%"', mcp._shortened(state, 50)
            using errcode = 'invalid_parameter_value', hint = format('States: %s.', array_to_string(states, ', '));
    end if;
    -- Processes of the server itself, the gateway too, are connected to no database.
    with sessions as materialized (
        select to_jsonb(a) as a, see_all or coalesce(pg_has_role(a.usesysid, 'USAGE'), false) as visible,
               a.state, a.wait_event_type,
               moment - case when a.xact_start is not null then a.xact_start else a.state_change end as duration
          from pg_stat_activity a
         where a.pid <> pg_backend_pid()
           and (a.datid is not null or a.backend_type = 'walsender')
    )
    select array_agg(mcp._session(s.a) order by s.duration desc nulls last, (s.a ->> 'pid')::integer)
               filter (where s.visible
                         and case when wanted = 'waiting' then s.wait_event_type = 'Lock'
                                  when wanted = 'idle in transaction' then s.state like 'idle in transaction%'
                                  when wanted = 'any' then true
                                  when wanted is not null then s.state = wanted
                                  else s.state <> 'idle' or s.a ->> 'xact_start' is not null end
                         and (min_duration is null or s.duration >= min_duration)),
           count(*) filter (where not s.visible)
      into items, hidden
      from sessions s;
    return mcp._listed('sessions', items, coalesce(max_sessions, 100))
           || jsonb_build_object('total', coalesce(cardinality(items), 0))
           || case when hidden > 0
                   then jsonb_build_object('not_visible', mcp._needs(format('%s sessions of other roles', hidden), 'pg_read_all_stats'))
                   else '{}' end;
end
$$;
comment on function mcp.list_activity(interval, text, integer) is
'@mcp({"kind": "tool", "features": ["operations"], "title": "List activity",
      "args": {"state": {"description": "waiting is for a lock; all but idle if left out", "schema": {"enum": ["active", "idle", "idle in transaction", "waiting", "any"]}},
               "min_duration": "Such as PT5M: in transaction or state for so long", "max_sessions": "100 if left out"},
      "output": {"sessions": "array", "total": "integer", "truncated?": "boolean", "not_visible?": "string"}})
Lists sessions, what they run and wait for, the oldest transaction first. Use it to find what is slow, stuck or holds a transaction open.';
