-- Owns: the administrator's switches: status, drain, off and on.
-- Runs: in an administrator's session; the gateway does the work, these only carry the word to it.
-- Must not: know more than the name of a command.

create function mcp.status() returns jsonb
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select mcp._admin('status', null)::jsonb $$;
comment on function mcp.status() is 'What the MCP server is doing: listeners, executors, queue, databases';

create function mcp.drain(database name default null) returns jsonb
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select mcp._admin('drain', coalesce(database, current_database())::text)::jsonb $$;
comment on function mcp.drain(name) is
    'Ends the MCP server''s idle processes in a database (this one by default), so that it can be dropped, renamed or copied';

create function mcp.off() returns jsonb
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select mcp._admin('off', null)::jsonb $$;
comment on function mcp.off() is 'Stops serving: new calls are refused until mcp.on()';

create function mcp.on() returns jsonb
language sql volatile
set search_path = pg_catalog, pg_temp
as $$
    -- The gateway may not run at all, if there was no worker slot for it when the extension was created.
    select mcp._start();
    select mcp._admin('on', null)::jsonb
$$;
comment on function mcp.on() is 'Serves again after mcp.off(); starts the gateway if it does not run';
