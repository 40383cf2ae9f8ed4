-- Owns: what an auditor reads the trail through, beside mcp.audit: sums by role, principal, client, tool, object and hour, and the calls that stand out.
-- Runs: in an auditor's session, with the auditor's own rights: SELECT on mcp.audit.
-- Must not: fail at what a caller wrote into the trail. Names, arguments and identifiers there are text that anybody may have chosen, and are only compared and shown.
--
-- The functions take a time, from the first moment up to the last and without it; each view is the function's answer for the last 24 hours.
-- JIT is off in them and in what else reads the trail: to compile took longer than to read the calls of a day.

create function mcp.audit_by(what text, "from" timestamptz default now() - interval '24 hours', "to" timestamptz default 'infinity')
returns table (name text, calls bigint, writes bigint, errors bigint, refusals bigint, rows bigint, bytes bigint, rows_changed bigint,
               total_ms numeric, p95_ms numeric, first_time timestamptz, last_time timestamptz)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
set datestyle = 'ISO, YMD'
as $$
#variable_conflict use_column
declare
    begins constant timestamptz := coalesce("from", '-infinity');
    ends constant timestamptz := coalesce("to", 'infinity');
begin
    perform mcp._audit_check(what, '{role,principal,client,tool,object,hour}', begins, ends);
    return query
        select g.name,
               sum(a.times)::bigint,
               sum(case when a.mode = 'write' then a.times else 0 end)::bigint,
               sum(case when a.outcome not in ('ok', 'refused', 'open') then a.times else 0 end)::bigint,
               sum(case when a.outcome = 'refused' then a.times else 0 end)::bigint,
               coalesce(sum(a.rows), 0)::bigint,
               coalesce(sum(a.bytes), 0)::bigint,
               coalesce(sum(case when a.changed is not null and a.committed is distinct from false
                                 then (select sum(n.value::bigint) from jsonb_each(a.changed) t, jsonb_each_text(t.value) n
                                        where what <> 'object' or t.key = g.name) end), 0)::bigint,
               round(sum(d.us) / 1000, 3),
               round(percentile_disc(0.95) within group (order by d.us) / 1000.0, 3),
               min(a.time),
               max(a.time)
          from mcp.audit a
         cross join lateral (select case when a.outcome not in ('refused', 'open') then coalesce(a.queue_us, 0) + coalesce(a.run_us, 0) + coalesce(a.answer_us, 0) end) d (us)
         -- A call that touched several objects counts for each of them; what it changed, only where.
         cross join lateral unnest(case what when 'role' then array[a.role]
                                             when 'principal' then array[a.principal]
                                             when 'client' then array[a.client]
                                             when 'tool' then array[coalesce(a.tool, a.method)]
                                             when 'hour' then array[date_trunc('hour', a.time)::text]
                                             else array(select jsonb_object_keys(a.objects) union select jsonb_object_keys(a.changed)) end) g (name)
         where a.time >= begins and a.time < ends
           -- Events of the trail itself have no outcome.
           and a.outcome is not null
         group by g.name
         order by case when what = 'hour' then min(a.time) end, 2 desc, g.name collate "C";
end
$$;
comment on function mcp.audit_by(text, timestamptz, timestamptz) is
    'The calls of a time, counted by role, principal, client, tool, object or hour (of the session''s time zone). mcp.audit_by(''role'', ''2026-11-24'', ''2026-11-25'')';

create function mcp.audit_calls(what text, "from" timestamptz default now() - interval '24 hours', "to" timestamptz default 'infinity', most bigint default 100)
returns table (id bigint, "time" timestamptz, role text, principal text, token_label text, client text, peer text, tool text, outcome text, sqlstate text, rule text,
               times bigint, rows bigint, bytes bigint, total_ms numeric, queue_ms numeric, run_ms numeric, answer_ms numeric, arguments text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set jit = off
as $$
#variable_conflict use_column
declare
    begins constant timestamptz := coalesce("from", '-infinity');
    ends constant timestamptz := coalesce("to", 'infinity');
begin
    perform mcp._audit_check(what, '{slowest,largest,errors,refusals}', begins, ends);
    if most < 0 then
        raise exception 'a list of % calls cannot be given', most
            using errcode = 'invalid_parameter_value', hint = 'Give 0 or more as "most"; null is for all.';
    end if;
    return query
        select a.id, a.time, a.role, a.principal, a.token_label, a.client, a.peer, coalesce(a.tool, a.method), a.outcome, a.sqlstate, a.rule, a.times, a.rows, a.bytes,
               round(d.us / 1000.0, 3), round(a.queue_us / 1000.0, 3), round(a.run_us / 1000.0, 3), round(a.answer_us / 1000.0, 3), a.arguments
          from mcp.audit a
         cross join lateral (select coalesce(a.queue_us, 0) + coalesce(a.run_us, 0) + coalesce(a.answer_us, 0)) d (us)
         where a.time >= begins and a.time < ends
           and case what when 'slowest' then a.outcome not in ('refused', 'open')
                         when 'largest' then a.bytes is not null and a.outcome not in ('refused', 'open')
                         when 'errors' then a.outcome not in ('ok', 'refused', 'open')
                         else a.outcome = 'refused' end
         order by case what when 'slowest' then d.us when 'largest' then a.bytes end desc, a.id desc
         limit most;
end
$$;
comment on function mcp.audit_calls(text, timestamptz, timestamptz, bigint) is
    'The calls of a time that stand out: the slowest, the largest by the bytes of the answer, errors or refusals, the latest first. mcp.audit_calls(''errors'', ''2026-11-24'', most => 20)';

create view mcp.audit_by_role as
    select name as role, calls, writes, errors, refusals, rows, bytes, rows_changed, total_ms, p95_ms, first_time, last_time from mcp.audit_by('role');
create view mcp.audit_by_principal as
    select name as principal, calls, writes, errors, refusals, rows, bytes, rows_changed, total_ms, p95_ms, first_time, last_time from mcp.audit_by('principal');
create view mcp.audit_by_client as
    select name as client, calls, writes, errors, refusals, rows, bytes, rows_changed, total_ms, p95_ms, first_time, last_time from mcp.audit_by('client');
create view mcp.audit_by_tool as
    select name as tool, calls, writes, errors, refusals, rows, bytes, rows_changed, total_ms, p95_ms, first_time, last_time from mcp.audit_by('tool');
create view mcp.audit_by_object as
    select name as object, calls, writes, errors, refusals, rows, bytes, rows_changed, total_ms, p95_ms, first_time, last_time from mcp.audit_by('object');
create view mcp.audit_by_hour as
    select name::pg_catalog.timestamptz as hour, calls, writes, errors, refusals, rows, bytes, rows_changed, total_ms, p95_ms, first_time, last_time
      from mcp.audit_by('hour');
create view mcp.audit_slowest as select * from mcp.audit_calls('slowest');
create view mcp.audit_largest as select * from mcp.audit_calls('largest');
create view mcp.audit_errors as select * from mcp.audit_calls('errors');
create view mcp.audit_refusals as select * from mcp.audit_calls('refusals');

comment on view mcp.audit_by_role is 'The calls of the last 24 hours by database role; for another time mcp.audit_by(''role'', from, to)';
comment on view mcp.audit_by_principal is 'The calls of the last 24 hours by principal (token, peer, password, JSON Web Token); for another time mcp.audit_by(''principal'', from, to)';
comment on view mcp.audit_by_client is 'The calls of the last 24 hours by client program; for another time mcp.audit_by(''client'', from, to)';
comment on view mcp.audit_by_tool is 'The calls of the last 24 hours by tool, prompt or resource; for another time mcp.audit_by(''tool'', from, to)';
comment on view mcp.audit_by_object is 'The calls of the last 24 hours by table or view that they touched; for another time mcp.audit_by(''object'', from, to)';
comment on view mcp.audit_by_hour is 'The calls of the last 24 hours by hour; for another time mcp.audit_by(''hour'', from, to)';
comment on view mcp.audit_slowest is 'The 100 slowest calls of the last 24 hours; for another time mcp.audit_calls(''slowest'', from, to, most)';
comment on view mcp.audit_largest is 'The 100 calls of the last 24 hours with the longest answers; for another time mcp.audit_calls(''largest'', from, to, most)';
comment on view mcp.audit_errors is 'The last 100 calls of the last 24 hours that did not end well; for another time mcp.audit_calls(''errors'', from, to, most)';
comment on view mcp.audit_refusals is 'The last 100 refusals of the last 24 hours, of calls and of logins; for another time mcp.audit_calls(''refusals'', from, to, most)';

-- The views share their columns, so these are said once.
do $$
declare
    words constant pg_catalog.jsonb := pg_catalog.jsonb_build_object(
        'audit_by', '{"role": "The database role; null where the credential stood for nobody",
                      "principal": "token:<id>, peer:<uid>, password:<role>, jwt:<issuer>:<subject> or anonymous; null where the credential stood for nobody",
                      "client": "What the client calls itself, and its version",
                      "tool": "Name of the tool or the prompt, URI of the resource; else the request''s method, such as login",
                      "object": "Table or view",
                      "hour": "When the hour begins, in the session''s time zone",
                      "calls": "Requests, with those that were refused",
                      "writes": "Requests that could write",
                      "errors": "Those that ended as error, timeout, cancelled, disconnected or terminated",
                      "refusals": "Those that were refused by a rule: no such tool, read only, a limit, no room, a credential that stands for nobody",
                      "rows": "Rows in the answers",
                      "bytes": "Bytes of the answers",
                      "rows_changed": "Rows inserted, updated and deleted by calls that were not rolled back",
                      "total_ms": "Milliseconds from request to answer, all together",
                      "p95_ms": "Milliseconds that 95 of 100 calls stayed within",
                      "first_time": "When the first of them came in",
                      "last_time": "When the last of them came in"}'::pg_catalog.jsonb,
        'audit_calls', '{"id": "Number of the row in mcp.audit",
                         "time": "When the call came in",
                         "role": "The database role; null where the credential stood for nobody",
                         "principal": "token:<id>, peer:<uid>, password:<role>, jwt:<issuer>:<subject> or anonymous; null where the credential stood for nobody",
                         "token_label": "The token''s label, or the operating system user''s name",
                         "client": "What the client calls itself, and its version",
                         "peer": "The network address, or the operating system user at the other end of the Unix socket",
                         "tool": "Name of the tool or the prompt, URI of the resource; else the request''s method, such as login",
                         "outcome": "ok, error, cancelled, timeout, disconnected, refused or terminated",
                         "sqlstate": "SQLSTATE of an error",
                         "rule": "What refused or ended the call",
                         "times": "How many like refusals the row stands for",
                         "rows": "Rows in the answer",
                         "bytes": "Length of the answer",
                         "total_ms": "Milliseconds from request to answer",
                         "queue_ms": "Milliseconds until its work began",
                         "run_ms": "Milliseconds of its work in the database",
                         "answer_ms": "Milliseconds from then until the gateway had the answer",
                         "arguments": "The arguments as JSON text, which ends where it was too long"}'::pg_catalog.jsonb);
    item record;
begin
    for item in
        select c.oid::pg_catalog.regclass as view, a.attname,
               words -> case when c.relname ~ '^audit_by_' then 'audit_by' else 'audit_calls' end ->> a.attname::pg_catalog.text as comment
          from pg_catalog.pg_class c
          join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) c.oid and a.attnum operator(pg_catalog.>) 0
         where c.relnamespace operator(pg_catalog.=) 'mcp'::pg_catalog.regnamespace::pg_catalog.oid
           and c.relkind operator(pg_catalog.=) 'v'
           and c.relname operator(pg_catalog.~) '^audit_(by_\w+|slowest|largest|errors|refusals)$'
    loop
        execute pg_catalog.format('comment on column %s.%I is %L', item.view, item.attname, item.comment);
    end loop;
end
$$;
