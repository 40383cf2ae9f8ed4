-- Owns: mcp.report_activity: who did what through the MCP server in a time, one row for each principal, from the audit trail.
-- Runs: as the reader of a report, a member of mcp_auditor.
-- Must not: count the trail's own events as calls; count a change that was rolled back; hold texts of calls in memory, for there are millions.

create function mcp._report_period("from" timestamptz, "to" timestamptz) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if "from" is null or "to" is null or "from" >= "to" then
        raise exception 'the period must have a beginning and a later end' using errcode = 'invalid_parameter_value',
            hint = 'Give two times, the second later: calls from the first on, and before the second, are reported.';
    end if;
end
$$;
comment on function mcp._report_period(timestamptz, timestamptz) is 'Raises unless a period has a beginning and a later end';

create function mcp._report_calls("from" timestamptz, "to" timestamptz)
returns table (id bigint, "time" timestamptz, role text, principal text, token_label text, authentication text, client text, peer text, method text, tool text,
               writes boolean, outcome text, sqlstate text, rule text, times bigint, changed jsonb, objects jsonb, committed boolean)
language sql stable rows 100000
set search_path = pg_catalog, pg_temp
set jit = off
set work_mem = '64MB'
as $$
    -- Events have neither an outcome nor anybody who made them.
    select a.id, a.time, a.role, a.principal, a.token_label, a.authentication, a.client, a.peer, a.method, a.tool, a.mode = 'write', a.outcome, a.sqlstate, a.rule,
           a.times, case when jsonb_typeof(a.changed) = 'object' and a.committed is distinct from false then a.changed end,
           case when jsonb_typeof(a.objects) = 'object' then a.objects end, a.committed
      from mcp.audit a
     where a.time >= "from" and a.time < "to"
       and not (a.outcome is null and a.principal is null and a.authentication is null)
$$;
comment on function mcp._report_calls(timestamptz, timestamptz) is 'Calls, refusals and failed logins of a time, without what was sent, and without the events of the trail itself';

create function mcp._report_changes(changes jsonb) returns table (object text, inserted bigint, updated bigint, deleted bigint)
language sql immutable
set search_path = pg_catalog, pg_temp
as $$
    select c.key, coalesce(n.number ->> 'inserted', '0')::numeric::bigint, coalesce(n.number ->> 'updated', '0')::numeric::bigint,
           coalesce(n.number ->> 'deleted', '0')::numeric::bigint
      from jsonb_each(changes) c
     cross join lateral (select case when jsonb_typeof(c.value) = 'object' then jsonb_strip_nulls(jsonb_build_object(
                                         'inserted', jsonb_path_query_first(c.value, '$.inserted ? (@.type() == "number")'),
                                         'updated', jsonb_path_query_first(c.value, '$.updated ? (@.type() == "number")'),
                                         'deleted', jsonb_path_query_first(c.value, '$.deleted ? (@.type() == "number")'))) end as number) n
$$;
comment on function mcp._report_changes(jsonb) is 'The rows that a call changed, table by table';

create function mcp.report_activity("from" timestamptz, "to" timestamptz default now())
returns table (role text, principal text, token_label text, authentication text, calls bigint, writes bigint, errors bigint, refusals bigint, open bigint,
               failed_logins bigint, changed jsonb, tables text[], tools text[], clients text[], peers text[], first_time timestamptz, last_time timestamptz)
language plpgsql stable rows 100
set search_path = pg_catalog, pg_temp
set jit = off
set work_mem = '64MB'
as $$
#variable_conflict use_column
begin
    perform mcp._report_period("from", "to");
    return query
    with calls as materialized (
        -- One row for what is alike: the trail may have millions.
        select jsonb_build_array(c.role, c.principal, c.authentication) as who, c.token_label, c.client, c.peer, c.tool, c.objects, c.changed, c.outcome, c.writes,
               coalesce(c.method = 'login', false) as login, sum(c.times) as times, count(*) as rows, min(c.time) as first_time, max(c.time) as last_time
          from mcp._report_calls("from", "to") c
         group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
    ), totals as (
        select c.who, max(c.token_label) as token_label, min(c.first_time) as first_time, max(c.last_time) as last_time,
               coalesce(sum(c.times) filter (where not c.login), 0) as calls,
               coalesce(sum(c.times) filter (where c.writes and c.outcome <> 'refused'), 0) as writes,
               coalesce(sum(c.times) filter (where c.outcome not in ('ok', 'refused', 'open') and not c.login), 0) as errors,
               coalesce(sum(c.times) filter (where c.outcome = 'refused' and not c.login), 0) as refusals,
               coalesce(sum(c.times) filter (where c.outcome = 'open'), 0) as open,
               coalesce(sum(c.times) filter (where c.outcome <> 'ok' and c.login), 0) as failed_logins
          from calls c group by c.who
    ), words as (
        -- Whoever calls chooses these: the most frequent hundred of each kind.
        select w.who, w.kind, array_agg(w.word order by w.place) as list
          from (select c.who, v.kind, v.word,
                       row_number() over (partition by c.who, v.kind order by sum(c.times) desc, v.word collate "C") as place
                  from calls c
                 cross join lateral (select 'tool', c.tool where c.outcome <> 'refused'
                                     union all select 'client', c.client
                                     union all select 'peer', c.peer
                                     union all select 'table', o from jsonb_object_keys(c.objects) o) v (kind, word)
                 where v.word is not null
                 group by c.who, v.kind, v.word) w
         where w.place <= 100
         group by w.who, w.kind
    ), listed as (
        select w.who, max(w.list) filter (where w.kind = 'table') as tables, max(w.list) filter (where w.kind = 'tool') as tools,
               max(w.list) filter (where w.kind = 'client') as clients, max(w.list) filter (where w.kind = 'peer') as peers
          from words w group by w.who
    ), changes as (
        select x.who, jsonb_object_agg(x.object, jsonb_strip_nulls(jsonb_build_object('inserted', nullif(x.inserted, 0), 'updated', nullif(x.updated, 0),
                                                                                      'deleted', nullif(x.deleted, 0)))) as changed
          from (select c.who, r.object, sum(r.inserted * c.rows) as inserted, sum(r.updated * c.rows) as updated, sum(r.deleted * c.rows) as deleted
                  from calls c cross join lateral mcp._report_changes(c.changed) r
                 where c.changed is not null
                 group by c.who, r.object) x
         group by x.who
    )
    select t.who ->> 0, t.who ->> 1, t.token_label, t.who ->> 2, t.calls::bigint, t.writes::bigint, t.errors::bigint, t.refusals::bigint, t.open::bigint,
           t.failed_logins::bigint, h.changed, coalesce(l.tables, '{}'), coalesce(l.tools, '{}'), coalesce(l.clients, '{}'), coalesce(l.peers, '{}'),
           t.first_time, t.last_time
      from totals t
      left join changes h on h.who = t.who
      left join listed l on l.who = t.who
     order by (t.who ->> 0) collate "C" nulls last, (t.who ->> 1) collate "C" nulls last, (t.who ->> 2) collate "C";
end
$$;
comment on function mcp.report_activity(timestamptz, timestamptz) is
    'Who did: a row for each principal with calls from a time on and before another: calls, those that could write, errors, refusals, calls without an end; rows changed, tables touched, tools, clients and peers (of each the hundred most frequent). Failed logins are no calls; those that stood for nobody have no role';
