-- Owns: who may read and write instructions.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: leave anything else to PUBLIC.

-- Through policies; and whoever is not granted the use of schema mcp reaches neither.
grant select on mcp._instructions, mcp.instructions to public;
grant insert (role, body), delete on mcp._instructions to mcp_admin;
grant execute on function mcp.set_instructions(text, regrole) to mcp_admin;
