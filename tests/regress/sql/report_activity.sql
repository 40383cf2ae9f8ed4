-- mcp.report_activity and its page, of an audit trail that is written here as the keeper writes it.
-- Runs as the auditor, a member of mcp_auditor, but for the set-up. What differs from run to run is masked.
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role activity_auditor login in role mcp_auditor;
create role activity_stranger login;
-- Changes of a transaction that was rolled back, like refusals in one row, a login that stood for nobody, a purge.
do $$
declare
    agent constant uuid := '00000000-0000-4000-8000-000000000001';
    reader constant uuid := '00000000-0000-4000-8000-000000000002';
    nobody constant uuid := '00000000-0000-4000-8000-000000000003';
    id bigint;
begin
    id := mcp._audit_begin(13, jsonb_build_array(
        jsonb_build_object('id', agent, 'role', 'agent', 'principal', 'token:1', 'label', 'nightly | job', 'authentication', 'token', 'client', 'cli 1', 'peer', 'uid 1000'),
        jsonb_build_object('id', reader, 'role', 'reader', 'principal', 'password:reader', 'label', 'reader', 'authentication', 'password', 'peer', '127.0.0.1'),
        jsonb_build_object('id', nobody, 'authentication', 'password', 'peer', '127.0.0.1')), '2026-02-01 00:00Z', '2026-02-02 00:00Z');
    insert into mcp._audit (id, at, kind, caller, method, tool, writes, outcome, arguments, xid, sqlstate, rule, times)
    values (id, '2026-02-01 08:00Z', 'i', agent, 'tools/call', 'execute_sql', true, null, '{"query":"insert into shop.orders default values"}', '20', null, null, null),
           (id + 2, '2026-02-01 08:02Z', 'i', agent, 'tools/call', 'execute_sql', true, null, E'{"query":"delete from shop.orders\\n-- <b> | `x`"}', '21', null, null, null),
           (id + 4, '2026-02-01 08:04Z', 'i', agent, 'tools/call', 'apply_migration', true, null, '{"name":"killed"}', '22', null, null, null),
           (id + 6, '2026-02-01 08:06Z', 'c', reader, 'tools/call', 'list_tables', false, 'ok', '{}', null, null, null, null),
           (id + 7, '2026-02-01 08:07Z', 'c', reader, 'tools/call', 'execute_sql', false, 'error', '{"query":"select"}', null, '42601', 'sql', null),
           (id + 8, '2026-02-01 08:08Z', 'r', reader, 'tools/call', 'drop|it', null, 'refused', null, null, null, 'unknown tool', 4),
           (id + 9, '2026-02-01 08:09Z', 'r', nobody, 'login', null, null, 'refused', null, null, null, 'wrong role or password', 12),
           (id + 10, '2026-02-01 08:10Z', 'e', null, 'purge', null, null, null, '{"until":"2026-01-01"}', null, null, null, 1000),
           (id + 11, '2026-02-02 00:00Z', 'c', reader, 'tools/call', 'list_tables', false, 'ok', '{}', null, null, null, null);
    insert into mcp._audit (id, at, kind, intent, outcome, committed, changed, objects, sqlstate, rule)
    values (id + 1, '2026-02-01 08:00Z', 'o', id, 'ok', true, '{"shop.orders": {"inserted": 1}}', '{"shop.orders": ["insert"]}', null, null),
           (id + 3, '2026-02-01 08:02Z', 'o', id + 2, 'error', false, '{"shop.orders": {"deleted": 50}}', '{"shop.orders": ["delete"]}', '42501', 'privilege'),
           (id + 5, '2026-02-01 08:04Z', 'o', id + 4, 'terminated', true, null, null, null, 'settled by pg_xact_status'),
           -- What somebody may have made of it is no reason to fail.
           (id + 12, '2026-02-01 08:11Z', 'o', id + 90, 'ok', true, '[1]', '7', null, null);
end $$;

set session authorization activity_stranger;
select * from mcp.report_activity('2026-02-01Z', '2026-02-02Z');
reset session authorization;
grant usage on schema mcp to activity_stranger;
set session authorization activity_stranger;
select * from mcp.report_activity('2026-02-01Z', '2026-02-02Z');
select mcp.report_activity_page('2026-02-01Z', '2026-02-02Z');

set session authorization activity_auditor;
set timezone = 'UTC';
\x on
select * from mcp.report_activity('2026-02-01Z', '2026-02-02Z');
\x off
select principal, calls from mcp.report_activity('2026-02-02Z');
select mcp.report_activity('2026-02-02Z', '2026-02-01Z');
create function pg_temp.masked(page text) returns text language sql as $$
    select regexp_replace(regexp_replace(regexp_replace(page, 'PostgreSQL .*, port \d+', 'PostgreSQL <version>, system identifier <number>, port <port>'),
                                         '- Made: [^,]*', '- Made: <time>'),
                          'supabase_mcp \d[^\n]*', 'supabase_mcp <version>')
$$;
\pset format unaligned
\pset tuples_only
-- Whether the trail verifies is said between its head and what is known of gaps.
select regexp_replace(pg_temp.masked(mcp.report_activity_page('2026-02-01Z', '2026-02-02Z')), '(## The trail\n\n).*(\n### Gaps)', E'\\1<verdict>\n\\2');
