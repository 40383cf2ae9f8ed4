-- Owns: who may touch the documents of search_docs.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: let anybody but mcp_admin change them. SELECT for PUBLIC shows a row only to who passes the policies, and reaches the tables through
-- USAGE on the schema only.

grant select on mcp._docs, mcp._doc_sections to public;
grant insert (source, title, url, language), delete on mcp._docs to mcp_admin;
grant insert, delete on mcp._doc_sections to mcp_admin;
grant select on mcp.docs to mcp_admin;
grant execute on function mcp.load_docs(text, text, text, text, regconfig) to mcp_admin;
grant execute on function mcp.drop_docs(text) to mcp_admin;
grant execute on function mcp._doc_parts(text) to mcp_admin;
grant execute on function mcp._near(text, text[]) to mcp_admin;
