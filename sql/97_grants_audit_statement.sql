-- Owns: what mcp_auditor may do with the SQL texts in the audit trail.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: give anybody the key of the hashes, nor mcp.audit_hash, which needs it.

grant usage on schema mcp to mcp_auditor;
grant execute on function mcp._audit_statement(text, text), mcp._audit_normalised(text) to mcp_auditor;
