-- Owns: who may read the statistics, and set them back.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: let anybody but mcp_admin change anything, or leave anything to PUBLIC.

-- To see the views. Nothing else in the schema is theirs for it but what is everybody's, which asks who they are.
grant usage on schema mcp to pg_monitor, mcp_auditor;
grant select on mcp.stat_tools, mcp.stat_callers, mcp.stat_gateway to mcp_admin, pg_monitor, mcp_auditor;
-- What the views call in the name of whoever reads them.
grant execute on function mcp._stat(text) to mcp_admin, pg_monitor, mcp_auditor;
grant execute on function mcp.stat_reset() to mcp_admin;
