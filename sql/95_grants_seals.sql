-- Owns: what mcp_auditor may do to prove the audit trail. mcp.audit_purge is granted to nobody: a superuser grants it to whom retention is entrusted.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: give anything that writes.
--
-- Auditors read the tables themselves, as they may see all that is in them: so mcp.audit_verify runs with their rights, and what they find they can find
-- without it.

grant usage on schema mcp to mcp_auditor;
grant select on mcp._audit, mcp._audit_callers, mcp._audit_head, mcp._audit_seals, mcp._audit_sealed, mcp.audit_partitions to mcp_auditor;

do $$
declare
    item record;
begin
    for item in
        select p.oid::pg_catalog.regprocedure as function
          from pg_catalog.pg_proc p
         where p.pronamespace operator(pg_catalog.=) 'mcp'::pg_catalog.regnamespace
           and p.proname operator(pg_catalog.=) any ('{audit_verify,audit_verify_ids,
                                                       _audit_check,_audit_check_chain,_audit_check_rows,_audit_check_end,_audit_misfit,_audit_caller_problem,
                                                       _audit_verify_time,_audit_verify_ids,_audit_purged,_audit_seal_of,_audit_seal_hash,_audit_caller_id,
                                                       _audit_digest,_audit_line,_audit_field,_audit_partitions}'::pg_catalog.name[])
    loop
        execute pg_catalog.format('grant execute on function %s to mcp_auditor', item.function);
    end loop;
end
$$;
