-- Owns: the statistics as views in the style of pg_stat_*, and their reset.
-- Runs: in the session of whoever reads them; the gateway answers, which keeps the numbers for the whole server.
-- Must not: show another database's tools and callers, nor send the gateway any command but its three questions in a reader's name.
--
-- Numbers are cumulative since the last reset and survive restarts; a crash may cost the last ten seconds.

create function mcp._stat(part text) returns jsonb
language sql volatile
-- SECURITY DEFINER, because a function that a view calls is called with the right of whoever reads the view, and mcp._admin, which this one asks,
-- can also switch the server off. It asks nothing but the three questions below.
security definer
set search_path = pg_catalog, pg_temp
as $$
    select mcp._admin('stat_' || part, current_database()::text)::jsonb
     where part in ('tools', 'callers', 'gateway')
$$;
comment on function mcp._stat(text) is 'Asks the gateway for the rows of mcp.stat_tools (tools), mcp.stat_callers (callers) or mcp.stat_gateway (gateway); null for anything else';

create function mcp.stat_reset() returns void
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select mcp._admin('stat_reset', null) $$;
comment on function mcp.stat_reset() is 'Sets the statistics of the MCP server back to zero, those of all databases: mcp.stat_tools, mcp.stat_callers, mcp.stat_gateway and /metrics';

create view mcp.stat_tools as
    select pg_catalog.current_database() as database, s.method, s.tool, s.calls, s.errors, s.timeouts, s.terminations, s.refusals, s.cancellations, s.rows,
           s.bytes, s.cold_starts, s.queue_ms, s.run_ms, s.total_ms, s.mean_ms, s.p50_ms, s.p95_ms, s.p99_ms,
           s.max_ms
      from pg_catalog.jsonb_to_recordset(mcp._stat('tools')) as s (
               method pg_catalog.text, tool pg_catalog.text, calls pg_catalog.int8, errors pg_catalog.int8,
               timeouts pg_catalog.int8, terminations pg_catalog.int8, refusals pg_catalog.int8, cancellations pg_catalog.int8,
               rows pg_catalog.int8, bytes pg_catalog.int8, cold_starts pg_catalog.int8, queue_ms pg_catalog.float8,
               run_ms pg_catalog.float8, total_ms pg_catalog.float8, mean_ms pg_catalog.float8, p50_ms pg_catalog.float8,
               p95_ms pg_catalog.float8, p99_ms pg_catalog.float8, max_ms pg_catalog.float8);
comment on view mcp.stat_tools is 'Calls of this database by tool, since the last reset';
comment on column mcp.stat_tools.database is 'This database';
comment on column mcp.stat_tools.method is 'The protocol''s name of the request: tools/call, prompts/get, resources/read, tools/list, ...';
comment on column mcp.stat_tools.tool is 'Name of the tool or the prompt; null for requests that are counted by method alone. (unknown): names that no call has succeeded with; (other): beyond the 500 that are counted by themselves';
comment on column mcp.stat_tools.calls is 'Calls that are over, however they ended';
comment on column mcp.stat_tools.errors is 'Calls that ended in an error: of SQL, of their arguments, of the size of the answer';
comment on column mcp.stat_tools.timeouts is 'Calls that were ended by their limit of time';
comment on column mcp.stat_tools.terminations is 'Calls whose process was ended from outside';
comment on column mcp.stat_tools.refusals is 'Calls that were refused by a rule: no such tool, read only, a limit, no room';
comment on column mcp.stat_tools.cancellations is 'Calls that the client cancelled, or hung up on';
comment on column mcp.stat_tools.rows is 'Rows in the answers';
comment on column mcp.stat_tools.bytes is 'Length of the answers'' results, in bytes';
comment on column mcp.stat_tools.cold_starts is 'Calls that a process was started for';
comment on column mcp.stat_tools.queue_ms is 'Milliseconds from requests to the start of their work in the database: login, waiting for a process';
comment on column mcp.stat_tools.run_ms is 'Milliseconds of work in the database';
comment on column mcp.stat_tools.total_ms is 'Milliseconds from requests to their answers';
comment on column mcp.stat_tools.mean_ms is 'Milliseconds from request to answer, on average';
comment on column mcp.stat_tools.p50_ms is 'Milliseconds that half of the calls were answered in, to two digits';
comment on column mcp.stat_tools.p95_ms is 'Milliseconds that 95 of 100 calls were answered in, to two digits';
comment on column mcp.stat_tools.p99_ms is 'Milliseconds that 99 of 100 calls were answered in, to two digits';
comment on column mcp.stat_tools.max_ms is 'Milliseconds of the slowest call';

create view mcp.stat_callers as
    select pg_catalog.current_database() as database, s.role, s.principal, s.client, s.calls, s.errors, s.timeouts, s.terminations, s.refusals, s.cancellations,
           s.rows, s.bytes, s.cold_starts, s.queue_ms, s.run_ms, s.total_ms, s.mean_ms, s.p50_ms, s.p95_ms,
           s.p99_ms, s.max_ms
      from pg_catalog.jsonb_to_recordset(mcp._stat('callers')) as s (
               role pg_catalog.text, principal pg_catalog.text, client pg_catalog.text, calls pg_catalog.int8,
               errors pg_catalog.int8, timeouts pg_catalog.int8, terminations pg_catalog.int8, refusals pg_catalog.int8,
               cancellations pg_catalog.int8, rows pg_catalog.int8, bytes pg_catalog.int8, cold_starts pg_catalog.int8,
               queue_ms pg_catalog.float8, run_ms pg_catalog.float8, total_ms pg_catalog.float8, mean_ms pg_catalog.float8,
               p50_ms pg_catalog.float8, p95_ms pg_catalog.float8, p99_ms pg_catalog.float8, max_ms pg_catalog.float8);
comment on view mcp.stat_callers is 'Calls of this database by caller, since the last reset. Credentials that stood for nobody are in mcp.stat_gateway alone';
comment on column mcp.stat_callers.database is 'This database';
comment on column mcp.stat_callers.role is 'The database role. (other): callers beyond the 2000 that are counted by themselves';
comment on column mcp.stat_callers.principal is 'token:<id>, peer:<uid>, password:<role>, jwt:<issuer>:<subject> or anonymous';
comment on column mcp.stat_callers.client is 'What the client calls itself, and its version. (other): beyond the eight of a caller that are told apart';
comment on column mcp.stat_callers.calls is 'Calls that are over, however they ended';
comment on column mcp.stat_callers.errors is 'Calls that ended in an error: of SQL, of their arguments, of the size of the answer';
comment on column mcp.stat_callers.timeouts is 'Calls that were ended by their limit of time';
comment on column mcp.stat_callers.terminations is 'Calls whose process was ended from outside';
comment on column mcp.stat_callers.refusals is 'Calls that were refused by a rule: no such tool, read only, a limit, no room';
comment on column mcp.stat_callers.cancellations is 'Calls that the client cancelled, or hung up on';
comment on column mcp.stat_callers.rows is 'Rows in the answers';
comment on column mcp.stat_callers.bytes is 'Length of the answers'' results, in bytes';
comment on column mcp.stat_callers.cold_starts is 'Calls that a process was started for';
comment on column mcp.stat_callers.queue_ms is 'Milliseconds from requests to the start of their work in the database: login, waiting for a process';
comment on column mcp.stat_callers.run_ms is 'Milliseconds of work in the database';
comment on column mcp.stat_callers.total_ms is 'Milliseconds from requests to their answers';
comment on column mcp.stat_callers.mean_ms is 'Milliseconds from request to answer, on average';
comment on column mcp.stat_callers.p50_ms is 'Milliseconds that half of the calls were answered in, to two digits';
comment on column mcp.stat_callers.p95_ms is 'Milliseconds that 95 of 100 calls were answered in, to two digits';
comment on column mcp.stat_callers.p99_ms is 'Milliseconds that 99 of 100 calls were answered in, to two digits';
comment on column mcp.stat_callers.max_ms is 'Milliseconds of the slowest call';

create view mcp.stat_gateway as
    select pg_catalog.to_timestamp(s.stats_since) as stats_since,
           s.refused_logins, s.limited_calls, s.connections, s.refused_connections, s.queue_waits, s.queue_full, s.queue_timeouts, s.no_worker_slot, s.evictions,
           s.calls, s.errors, s.timeouts, s.terminations, s.refusals, s.cancellations, s.rows, s.bytes, s.cold_starts,
           s.queue_ms, s.run_ms, s.total_ms, s.mean_ms, s.p50_ms, s.p95_ms, s.p99_ms, s.max_ms
      from pg_catalog.jsonb_to_record(mcp._stat('gateway')) as s (
               stats_since pg_catalog.float8,
               refused_logins pg_catalog.int8, limited_calls pg_catalog.int8, connections pg_catalog.int8, refused_connections pg_catalog.int8,
               queue_waits pg_catalog.int8, queue_full pg_catalog.int8, queue_timeouts pg_catalog.int8, no_worker_slot pg_catalog.int8,
               evictions pg_catalog.int8, calls pg_catalog.int8, errors pg_catalog.int8, timeouts pg_catalog.int8,
               terminations pg_catalog.int8, refusals pg_catalog.int8, cancellations pg_catalog.int8, rows pg_catalog.int8,
               bytes pg_catalog.int8, cold_starts pg_catalog.int8, queue_ms pg_catalog.float8, run_ms pg_catalog.float8,
               total_ms pg_catalog.float8, mean_ms pg_catalog.float8, p50_ms pg_catalog.float8, p95_ms pg_catalog.float8,
               p99_ms pg_catalog.float8, max_ms pg_catalog.float8);
comment on view mcp.stat_gateway is 'One row: the calls of all databases, and what happened to the server itself, since the last reset';
comment on column mcp.stat_gateway.stats_since is 'When counting began: the last reset';
comment on column mcp.stat_gateway.refused_logins is 'Credentials that were missing, wrong or not served';
comment on column mcp.stat_gateway.limited_calls is 'Calls refused by a limit on calls per minute or at the same time';
comment on column mcp.stat_gateway.connections is 'Connections that clients made';
comment on column mcp.stat_gateway.refused_connections is 'Connections beyond supabase_mcp.max_connections';
comment on column mcp.stat_gateway.queue_waits is 'Calls that had to wait for a process';
comment on column mcp.stat_gateway.queue_full is 'Calls refused because too many waited (supabase_mcp.queue_length)';
comment on column mcp.stat_gateway.queue_timeouts is 'Calls that waited for a process in vain (supabase_mcp.queue_timeout)';
comment on column mcp.stat_gateway.no_worker_slot is 'Processes that could not be started for want of a worker slot (max_worker_processes)';
comment on column mcp.stat_gateway.evictions is 'Idle processes that were ended to make room for another caller''s';
comment on column mcp.stat_gateway.calls is 'Calls that are over, however they ended';
comment on column mcp.stat_gateway.errors is 'Calls that ended in an error: of SQL, of their arguments, of the size of the answer';
comment on column mcp.stat_gateway.timeouts is 'Calls that were ended by their limit of time';
comment on column mcp.stat_gateway.terminations is 'Calls whose process was ended from outside';
comment on column mcp.stat_gateway.refusals is 'Calls that were refused by a rule: no such tool, read only, a limit, no room';
comment on column mcp.stat_gateway.cancellations is 'Calls that the client cancelled, or hung up on';
comment on column mcp.stat_gateway.rows is 'Rows in the answers';
comment on column mcp.stat_gateway.bytes is 'Length of the answers'' results, in bytes';
comment on column mcp.stat_gateway.cold_starts is 'Calls that a process was started for';
comment on column mcp.stat_gateway.queue_ms is 'Milliseconds from requests to the start of their work in the database: login, waiting for a process';
comment on column mcp.stat_gateway.run_ms is 'Milliseconds of work in the database';
comment on column mcp.stat_gateway.total_ms is 'Milliseconds from requests to their answers';
comment on column mcp.stat_gateway.mean_ms is 'Milliseconds from request to answer, on average';
comment on column mcp.stat_gateway.p50_ms is 'Milliseconds that half of the calls were answered in, to two digits';
comment on column mcp.stat_gateway.p95_ms is 'Milliseconds that 95 of 100 calls were answered in, to two digits';
comment on column mcp.stat_gateway.p99_ms is 'Milliseconds that 99 of 100 calls were answered in, to two digits';
comment on column mcp.stat_gateway.max_ms is 'Milliseconds of the slowest call';
