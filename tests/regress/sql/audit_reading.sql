-- What an auditor reads: sums, the calls that stand out, what was changed, and that nobody else reads any of it.
-- Runs as a superuser who writes the trail as the keeper does, then as the auditor and as others.
\pset format unaligned
\pset null '(null)'
set client_min_messages = error;
set timezone = 'UTC';
create extension if not exists supabase_mcp;
create role reading_auditor login in role mcp_auditor;
create role reading_admin login in role mcp_admin;
create role reading_agent login;
select mcp.grant_tools('reading_agent', true) is not null as granted;
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare r text; m text; h text;
begin
    execute statement into r;
    return 'done' || coalesce(': ' || r, '');
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;
create function pg_temp.put(at timestamptz, kind "char", who jsonb, what jsonb) returns bigint language plpgsql as $$
declare
    caller constant uuid := case when who <> '{}' then md5(who::text)::uuid end;
    id constant bigint := mcp._audit_begin(1, case when who <> '{}' then jsonb_build_array(who || jsonb_build_object('id', caller)) end, at, at);
begin
    insert into mcp._audit
    select r.* from jsonb_populate_record(null::mcp._audit, jsonb_build_object('id', id, 'at', at, 'kind', kind, 'caller', caller) || what) r;
    return id;
end $$;
-- A call that may write: when it comes in, how long it takes, what it is called with, and its outcome.
create function pg_temp.change(at timestamptz, who jsonb, tool text, arguments text, outcome jsonb, took interval default '0.1 s') returns bigint language plpgsql as $$
declare
    id constant bigint := pg_temp.put(at, 'i', who, jsonb_build_object('method', 'tools/call', 'tool', tool, 'arguments', arguments, 'writes', true, 'xid', 700 + extract(minute from at)));
begin
    if outcome is not null then
        perform pg_temp.put(at, 'o', '{}', jsonb_build_object('intent', id, 'ended', at + took, 'queue_us', 1000, 'run_us', (extract(epoch from took) * 1000000)::bigint, 'answer_us', 500) || outcome);
    end if;
    return id;
end $$;

\set ci '{"role": "agent_ci", "principal": "token:7", "label": "ci-bot", "authentication": "token", "client": "Robot 2.1", "peer": "127.0.0.1"}'
\set twin '{"role": "agent_ci", "principal": "token:8", "label": "night-job", "authentication": "token", "client": "Robot 2.0", "peer": "127.0.0.1"}'
\set alice '{"role": "agent_dba", "principal": "peer:1000", "label": "alice", "authentication": "peer", "client": "Desk 1", "peer": "alice"}'
\set nobody '{"authentication": "token", "peer": "10.9.8.7"}'
-- A Tuesday, and what is just outside of it.
select pg_temp.change('2025-03-03 23:59:59.9', :'ci', 'execute_sql', '{"query": "delete from monday"}', '{"outcome": "ok", "committed": true, "changed": "{\"shop.monday\": {\"deleted\": 1}}"}');
select pg_temp.put('2025-03-04 08:00', 'c', :'ci', '{"method": "tools/call", "tool": "list_tables", "arguments": "{}", "writes": false, "outcome": "ok", "rows": 20, "bytes": 5000,
                   "queue_us": 100, "run_us": 2000, "answer_us": 50, "objects": "{\"shop.orders\": [\"select\"]}"}');
select pg_temp.change('2025-03-04 08:01', :'ci', 'execute_sql', '{"query": "update shop.orders\nset x = 1"}',
                      '{"outcome": "ok", "committed": true, "rows": 2, "bytes": 80, "wal_bytes": 500, "changed": "{\"shop.orders\": {\"updated\": 3}, \"shop.\\\"Log book\\\"\": {\"inserted\": 2, \"deleted\": 1}}",
                        "objects": "{\"shop.orders\": [\"select\", \"update\"], \"shop.\\\"Log book\\\"\": [\"insert\", \"delete\"]}"}');
select pg_temp.change('2025-03-04 08:02', :'ci', 'execute_sql', '{"query": "create table shop.new ()"}', '{"outcome": "ok", "committed": true, "wal_bytes": 4000}');
select pg_temp.change('2025-03-04 08:03', :'ci', 'execute_sql', '{"query": "select 1"}', '{"outcome": "ok", "committed": true, "rows": 1, "bytes": 20, "wal_bytes": 34}', '2 s');
select pg_temp.change('2025-03-04 09:04', :'ci', 'execute_sql', '{"query": "delete from shop.orders"}', '{"outcome": "error", "sqlstate": "23503", "rule": "sql", "committed": false, "wal_bytes": 900,
                      "changed": "{\"shop.orders\": {\"deleted\": 40}}"}');
select pg_temp.change('2025-03-04 09:05', :'ci', 'execute_sql', '{"query": "selec"}', '{"outcome": "error", "sqlstate": "42601", "rule": "sql", "committed": false}');
select pg_temp.change('2025-03-04 09:06', :'twin', 'add_order', '{"amount": 5}', '{"outcome": "ok", "committed": true, "rows": 1, "bytes": 9, "changed": "{\"shop.orders\": {\"inserted\": 1}}"}');
select pg_temp.change('2025-03-04 09:07', :'alice', 'execute_sql', '{"query": "vacuumish"}', '{"outcome": "terminated", "rule": "settled by pg_xact_status", "committed": true}');
select pg_temp.change('2025-03-04 09:08', :'alice', 'execute_sql', '{"query": "select pg_sleep(1000)"}', null);
select pg_temp.put('2025-03-04 09:09', 'r', :'ci', '{"method": "tools/call", "tool": "drop_everything", "writes": true, "outcome": "refused", "rule": "unknown_tool", "times": 5}');
select pg_temp.put('2025-03-04 09:10', 'r', :'nobody', '{"method": "login", "outcome": "refused", "rule": "unknown token", "times": 12}');
select pg_temp.put('2025-03-04 09:11', 'c', :'alice', '{"method": "resources/read", "tool": "db://table/x", "writes": false, "outcome": "timeout", "rule": "max_seconds", "queue_us": 5, "run_us": 30000000}');
select pg_temp.put('2025-03-04 09:12', 'e', '{}', '{"method": "gap", "arguments": "{\"lost\": 3}"}');
-- It ends on the next day.
select pg_temp.change('2025-03-04 23:59:59', :'ci', 'execute_sql', '{"query": "insert into late"}', '{"outcome": "ok", "committed": true, "changed": "{\"shop.late\": {\"inserted\": 7}}"}', '3 s');
select pg_temp.change('2025-03-05 00:00', :'ci', 'execute_sql', '{"query": "delete from wednesday"}', '{"outcome": "ok", "committed": true, "changed": "{\"shop.wednesday\": {\"deleted\": 1}}"}');

set session authorization reading_auditor;
select * from mcp.audit_by('role', '2025-03-04', '2025-03-05');
select name, calls, writes, errors, refusals, rows, bytes, rows_changed from mcp.audit_by('principal', '2025-03-04', '2025-03-05');
select name, calls, writes, errors, refusals, rows, bytes, rows_changed from mcp.audit_by('client', '2025-03-04', '2025-03-05');
select name, calls, writes, errors, refusals, rows_changed, total_ms, p95_ms from mcp.audit_by('tool', '2025-03-04', '2025-03-05');
select name, calls, writes, errors, refusals, rows_changed from mcp.audit_by('object', '2025-03-04', '2025-03-05');
select name, calls, writes, errors, refusals, rows_changed from mcp.audit_by('hour', '2025-03-03', '2025-03-06');
set timezone = 'Asia/Kolkata';
set datestyle = 'German';
select name, calls from mcp.audit_by('hour', '2025-03-04 08:00 UTC', '2025-03-04 10:00 UTC');
reset datestyle;
set timezone = 'UTC';
select count(*) from mcp.audit_by('role', '2025-03-06', '2025-03-07');
-- Null is no end.
select sum(calls) from mcp.audit_by('role', null, null);

select id, time, principal, tool, total_ms, queue_ms, run_ms, answer_ms from mcp.audit_calls('slowest', '2025-03-04', '2025-03-05', most => 3);
select id, token_label, tool, rows, bytes, arguments from mcp.audit_calls('largest', '2025-03-04', '2025-03-05', 2);
select id, time, token_label, client, tool, outcome, sqlstate, rule from mcp.audit_calls('errors', '2025-03-04', '2025-03-05');
select id, role, principal, peer, tool, rule, times from mcp.audit_calls('refusals', '2025-03-04', '2025-03-05');
select count(*) from mcp.audit_calls('slowest', '2025-03-04', '2025-03-05', null);

-- What did this token change on Tuesday?
select id, time, caller, as_role, tool, statement, "table", inserted, updated, deleted, outcome, xid, committed from mcp.audit_changes(token => 'ci-bot', day => '2025-03-04');
select id, token_label, "table", inserted from mcp.audit_changes(token => '8', day => '2025-03-04');
select id, caller, statement, "table", outcome, committed from mcp.audit_changes(principal => 'peer:1000', day => '2025-03-04');
select id, caller, "table" from mcp.audit_changes(role => 'agent_ci', "from" => '2025-03-04 09:00', "to" => '2025-03-04 23:00');
select count(*), count(distinct caller) from mcp.audit_changes("from" => '2025-03-04', "to" => '2025-03-05');
-- An end alone is that of 24 hours.
select id, "table" from mcp.audit_changes(role => 'agent_ci', "to" => '2025-03-04');
-- A label of a peer is not a token's; both must fit.
select count(*) from mcp.audit_changes(token => 'ci-bot', role => 'agent_dba', day => '2025-03-04');
-- Tuesday is over earlier in the east.
set timezone = 'Asia/Tokyo';
select id, "table" from mcp.audit_changes(token => 'ci-bot', day => '2025-03-05');
set timezone = 'UTC';

select token_label, principal, authentication, client, peer from mcp.audit_callers order by principal collate "C", client collate "C";

-- Wrong arguments.
select pg_temp.try($$select mcp.audit_by('roles')$$);
select pg_temp.try($$select mcp.audit_by(null)$$);
select pg_temp.try($$select mcp.audit_by('role', '2025-03-05', '2025-03-04')$$);
select pg_temp.try($$select mcp.audit_calls('slow')$$);
select pg_temp.try($$select mcp.audit_calls('errors', most => -1)$$);
select pg_temp.try($$select mcp.audit_changes(token => 'cibot')$$);
select pg_temp.try($$select mcp.audit_changes(token => 'alice')$$);
select pg_temp.try($$select mcp.audit_changes(principal => 'peer:100')$$);
select pg_temp.try($$select mcp.audit_changes(role => 'agent_cj')$$);
select pg_temp.try($$select mcp.audit_changes(role => 'reading_agent')$$);
select pg_temp.try($$select mcp.audit_changes(day => '2025-03-04', "from" => '2025-03-04')$$);
select pg_temp.try($$select mcp.audit_changes("from" => '2025-03-05', "to" => '2025-03-04')$$);
select pg_temp.try($$select mcp.audit_export('json')$$);
select pg_temp.try($$select mcp.audit_export('xml')$$);
select pg_temp.try($$select mcp.audit_export('csv', '2025-03-05', '2025-03-04')$$);

-- Lines, in the order of ids, also with the event.
select mcp.audit_export('jsonl', '2025-03-04 09:06', '2025-03-04 09:13');
set timezone = 'Asia/Tokyo';
set datestyle = 'German';
set bytea_output = 'escape';
select mcp.audit_export('csv', '2025-03-04 08:01 UTC', '2025-03-04 08:02 UTC');
reset bytea_output;
reset datestyle;
set timezone = 'UTC';
-- The header has the view's columns.
select l = (select string_agg(attname, ',' order by attnum) from pg_attribute where attrelid = 'mcp.audit'::regclass and attnum > 0) as all_columns
  from mcp.audit_export('csv', '2025-03-06', '2025-03-06') l;
select count(*) from mcp.audit_export('jsonl', '2025-03-06', '2025-03-06');

-- The views show the last 24 hours.
reset session authorization;
select pg_temp.change(date_trunc('hour', now()) - interval '30 minutes', :'ci', 'execute_sql', '{"query": "update a"}', '{"outcome": "ok", "committed": true, "rows": 1, "bytes": 10, "changed": "{\"shop.a\": {\"updated\": 4}}"}') > 0 as written;
select pg_temp.put(now() - interval '1 hour', 'r', :'ci', '{"method": "tools/call", "tool": "x", "writes": true, "outcome": "refused", "rule": "limit", "times": 2}') > 0 as written;
select pg_temp.put(now() - interval '1 hour', 'c', :'alice', '{"method": "tools/call", "tool": "y", "writes": false, "outcome": "error", "sqlstate": "22012", "run_us": 2}') > 0 as written;
select pg_temp.put(now() - interval '25 hours', 'c', :'twin', '{"method": "tools/call", "tool": "y", "writes": false, "outcome": "error", "run_us": 2}') > 0 as written;
set session authorization reading_auditor;
select role, calls, writes, errors, refusals, rows_changed from mcp.audit_by_role;
select principal, calls from mcp.audit_by_principal;
select client, calls from mcp.audit_by_client;
select tool, calls from mcp.audit_by_tool;
select object, calls, rows_changed from mcp.audit_by_object;
select sum(calls), bool_and(hour = date_trunc('hour', first_time) and first_time <= last_time and last_time < hour + interval '1 hour') as right_hours from mcp.audit_by_hour;
select tool, total_ms from mcp.audit_slowest;
select tool, bytes from mcp.audit_largest;
select tool, outcome, sqlstate from mcp.audit_errors;
select tool, rule, times from mcp.audit_refusals;
select token_label, statement, "table", updated from mcp.audit_changes();
select count(*) from mcp.audit_export('jsonl');

-- Nobody else: not an administrator, not an agent.
select pg_temp.try('update mcp._audit set tool = null'), pg_temp.try('select from mcp._audit'), pg_temp.try('select from mcp._audit_callers');
select pg_temp.try('delete from mcp.audit_callers');
create temp view everything as
    select format('select count(*) from %s', c.oid::regclass) as statement from pg_class c
     where c.relnamespace = 'mcp'::regnamespace and c.relkind = 'v' and c.relname ~ '^audit' and c.relname <> 'audit_seals'
    union all values ('select count(*) from mcp.audit_by(''role'')'), ('select count(*) from mcp.audit_calls(''errors'')'), ('select count(*) from mcp.audit_changes()'),
                     ('select count(*) from mcp.audit_export(''csv'')');
grant select on everything to public;
select nspname as temp_schema from pg_namespace where oid = pg_my_temp_schema() \gset
select statement, pg_temp.try(statement) ~ '^done' as read from everything order by statement collate "C";
set session authorization reading_admin;
select statement, pg_temp.try(statement) from :"temp_schema".everything order by statement collate "C";
set session authorization reading_agent;
select count(*) filter (where pg_temp.try(statement) ~ '^42501 \| permission denied for (view|function) audit') as refused, count(*) as of from :"temp_schema".everything;

reset session authorization;
select p.oid::regprocedure as not_stable from pg_proc p where p.pronamespace = 'mcp'::regnamespace and p.proname ~ '^_?audit_(by|calls|changes|export|check|known)$' and p.provolatile <> 's';
drop owned by reading_auditor, reading_admin, reading_agent;
drop role reading_auditor, reading_admin, reading_agent;
