-- Owns: the declarations of the functions that live in the library. The symbol of each is said here and nowhere else.
-- Runs: _invalidate within the statement of whoever changes a token or the peer map; current_caller in a call of the MCP server; the others in an
-- administrator's session.
-- Must not: be executable by anybody but the owner and, as sql/90_grants.sql says, mcp_admin; current_caller is everybody's.

create function mcp._random_bytes(length integer) returns bytea
    language c volatile strict parallel restricted
    as 'MODULE_PATHNAME', 'supabase_mcp_random_bytes_wrapper';
comment on function mcp._random_bytes(integer) is
    'Bytes from the server''s strong random source; core offers none of this length without pgcrypto';

create function mcp._invalidate() returns trigger
    language c volatile
    as 'MODULE_PATHNAME', 'supabase_mcp_invalidate';
comment on function mcp._invalidate() is
    'Tells every process of the MCP server, through relation cache invalidation, that tokens, the peer map or limits changed';

create function mcp._admin(command text, database text) returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'supabase_mcp_admin_wrapper';
comment on function mcp._admin(text, text) is
    'Sends a command (status, drain, on, off) to the gateway and returns its answer as JSON';

create function mcp._start() returns void
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'supabase_mcp_start_wrapper';
comment on function mcp._start() is
    'Starts the gateway unless it runs already; it is one process for the whole server';

create function mcp.current_caller() returns jsonb
    language c stable parallel restricted
    as 'MODULE_PATHNAME', 'supabase_mcp_current_caller_wrapper';
comment on function mcp.current_caller() is
    'Who makes this call: principal, token_label, subject, client, tool, request_id; null outside of a call. For policies, triggers and defaults';
