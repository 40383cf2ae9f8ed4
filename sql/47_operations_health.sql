-- Owns: the tool check_health: which checks there are, and what they come to.
-- Runs: as the caller. Most of it is shown to everybody; what is not says which role would show it.
-- Must not: fail as a whole because one check does.

create function mcp._finding(status text, message text, details jsonb default null, advice text default null, not_visible text default null) returns jsonb
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select jsonb_strip_nulls(jsonb_build_object(
               'status', status, 'message', message,
               'details', case when details not in ('[]', '{}', 'null') then details end,
               'advice', case when status not in ('ok', 'not_visible') then advice end,
               'not_visible', not_visible))
$$;
comment on function mcp._finding(text, text, jsonb, text, text) is '@support The answer of one health check';

create function mcp._grade(value numeric, notice numeric, warning numeric, critical numeric) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    -- A null limit is never reached.
    select case when value >= critical then 'critical' when value >= warning then 'warning' when value >= notice then 'notice' else 'ok' end
$$;
comment on function mcp._grade(numeric, numeric, numeric, numeric) is '@support A status by three limits';

create function mcp._worst(statuses text[]) returns text
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select coalesce((select s from unnest(statuses) s
                      order by array_position('{critical,warning,notice,ok,not_visible}'::text[], s) limit 1), 'ok')
$$;
comment on function mcp._worst(text[]) is '@support The worst of several statuses';

create function mcp.check_health(checks text[] default null) returns jsonb
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    known constant text[] := '{connections,locks,cache,wraparound,vacuum,statistics,bloat,indexes,constraints,sequences,replication,checkpoints,settings,prepared_transactions,checksums}';
    wanted text[];
    stray text;
    near text[];
    name text;
    found jsonb;
    results jsonb := '[]';
begin
    select min(c) into stray from unnest(checks) c where c <> all (known);
    if stray is not null then
        near := mcp._near(left(stray, 100), known);
        raise exception 'there is no health check "%"', left(stray, 100)
            using errcode = 'invalid_parameter_value',
                  hint = case when cardinality(near) > 0 then format('Perhaps you meant "%s".', near[1])
                              else format('Checks: %s.', array_to_string(known, ', ')) end;
    end if;
    wanted := case when cardinality(checks) > 0 then checks else known end;
    foreach name in array known loop
        continue when name <> all (wanted);
        begin
            execute format('select mcp.%I()', '_health_' || name) into found;
        exception
            when insufficient_privilege then
                found := mcp._finding('not_visible', mcp._needs(sqlerrm, 'pg_monitor'));
            when others then
                found := mcp._finding('not_visible', format('The check failed: %s (%s)', sqlerrm, sqlstate));
        end;
        results := results || jsonb_build_array(jsonb_build_object('name', name) || found);
    end loop;
    return jsonb_build_object('status', mcp._worst(array(select r ->> 'status' from jsonb_array_elements(results) r)), 'checks', results);
end
$$;
comment on function mcp.check_health(text[]) is
'@mcp({"kind": "tool", "features": ["operations"], "title": "Check health",
      "args": {"checks": {"description": "All if left out", "schema": {"items": {"type": "string", "enum": ["connections", "locks", "cache", "wraparound", "vacuum", "statistics", "bloat", "indexes", "constraints", "sequences", "replication", "checkpoints", "settings", "prepared_transactions", "checksums"]}}}},
      "output": {"status": "string", "checks": "array"}})
Checks server and database: status (ok, notice, warning, critical), facts and advice. Call it first when something is wrong.';
