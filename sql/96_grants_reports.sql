-- Owns: what mcp_auditor may read and call for the reports.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: show an auditor a token's hash, or let one change anything.

grant usage on schema mcp to mcp_auditor;
grant select on mcp.audit, mcp.tokens, mcp.peer_map, mcp.limits to mcp_auditor;

-- Those views read with the rights of their reader.
grant select (id, role, label, expires_at, read_only, settings, features, created_at, created_by) on mcp._tokens to mcp_auditor;
grant select on mcp._token_use, mcp._peer_map, mcp._limits to mcp_auditor;
create policy audit on mcp._tokens for select to mcp_auditor using (true);
comment on policy audit on mcp._tokens is 'Auditors see every token (its hash is kept from them by column privileges)';
create policy audit on mcp._peer_map for select to mcp_auditor using (true);
comment on policy audit on mcp._peer_map is 'Auditors see every entry';
create policy audit on mcp._limits for select to mcp_auditor using (true);
comment on policy audit on mcp._limits is 'Auditors see every limit';

do $$
declare
    item record;
begin
    for item in
        select p.oid::pg_catalog.regprocedure as function
          from pg_catalog.pg_proc p
         where p.pronamespace operator(pg_catalog.=) 'mcp'::pg_catalog.regnamespace
           and (p.proname operator(pg_catalog.~) '^_?report_'
                or p.proname operator(pg_catalog.=) any ('{_privileged,_read_directives,_directive,_directive_parts,_directive_json,_returns,_arguments}'::pg_catalog.name[]))
    loop
        execute pg_catalog.format('grant execute on function %s to mcp_auditor', item.function);
    end loop;
end
$$;
