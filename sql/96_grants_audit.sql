-- Owns: what mcp_auditor may read and call.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: give anything of the trail to another role, mcp_admin included: who administers agents is not who audits them.

grant usage on schema mcp to mcp_auditor;
grant select on mcp.audit, mcp.audit_callers,
                mcp.audit_by_role, mcp.audit_by_principal, mcp.audit_by_client, mcp.audit_by_tool, mcp.audit_by_object, mcp.audit_by_hour,
                mcp.audit_slowest, mcp.audit_largest, mcp.audit_errors, mcp.audit_refusals
    to mcp_auditor;
grant execute on function mcp.audit_by(text, timestamptz, timestamptz) to mcp_auditor;
grant execute on function mcp.audit_calls(text, timestamptz, timestamptz, bigint) to mcp_auditor;
grant execute on function mcp.audit_changes(text, text, text, date, timestamptz, timestamptz) to mcp_auditor;
grant execute on function mcp.audit_export(text, timestamptz, timestamptz) to mcp_auditor;

-- What those call in the name of the auditor.
grant execute on function mcp._near(text, text[]) to mcp_auditor;
grant execute on function mcp._audit_check(text, text[], timestamptz, timestamptz) to mcp_auditor;
grant execute on function mcp._audit_known(text, text, text[]) to mcp_auditor;
