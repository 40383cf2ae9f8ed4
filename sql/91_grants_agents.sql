-- Owns: what mcp_admin may do with agents, tenants and client configurations.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: leave anything to PUBLIC.

grant select, insert (role, access, schemas), delete on mcp._agents to mcp_admin;
grant select on mcp.agents to mcp_admin;

grant execute on function mcp.client_config(text, text, text, name, text) to mcp_admin;
grant execute on function mcp.create_agent(text, text, text[], text[], boolean, text, timestamptz, jsonb, integer, integer, integer, numeric, text)
    to mcp_admin;
grant execute on function mcp.drop_agent(text) to mcp_admin;

-- What those call in the name of the administrator.
grant execute on function mcp._address() to mcp_admin;
grant execute on function mcp._percent_encoded(text) to mcp_admin;
grant execute on function mcp._shell_word(text) to mcp_admin;
grant execute on function mcp._client_name(text) to mcp_admin;
grant execute on function mcp._url(name) to mcp_admin;
grant execute on function mcp._directive(text) to mcp_admin;
grant execute on function mcp._builtin_tools() to mcp_admin;
grant execute on function mcp._open_schemas(oid) to mcp_admin;
grant execute on function mcp._may_touch(oid, text) to mcp_admin;
grant execute on function mcp._exposed_tables(oid) to mcp_admin;
grant execute on function mcp._exposures(oid, text) to mcp_admin;
grant execute on function mcp._check_new_role(text) to mcp_admin;
grant execute on function mcp._check_schemas(text[]) to mcp_admin;
grant execute on function mcp._create_role(text, jsonb) to mcp_admin;
grant execute on function mcp._grant_access(regrole, text, text[], boolean) to mcp_admin;
grant execute on function mcp._drop_role(regrole) to mcp_admin;

grant select, insert (name, kind, role, database, setting), delete on mcp._tenants to mcp_admin;
grant select on mcp.tenants to mcp_admin;
grant execute on function mcp.create_tenant(text, text, text, text[], regrole, regclass[], text, text, name, text, timestamptz, jsonb, integer,
                                            integer, integer, numeric, text) to mcp_admin;
grant execute on function mcp.drop_tenant(text, boolean) to mcp_admin;
grant execute on function mcp._errand(oid, text[]) to mcp_admin;
grant execute on function mcp._send(oid, text[]) to mcp_admin;
grant execute on function mcp._guard_table(regclass, regrole, text, text) to mcp_admin;
grant execute on function mcp._policy_mark(text, text) to mcp_admin;
grant execute on function mcp._settle_tenant(text, text, text[], text, timestamptz, jsonb, integer, integer, integer, numeric, text) to mcp_admin;
grant execute on function mcp._create_tenant_database(text, name, text) to mcp_admin;
grant execute on function mcp._drop_tenant_database(oid, regrole, boolean) to mcp_admin;
grant execute on function mcp._claim_gaps(regrole, text) to mcp_admin;
