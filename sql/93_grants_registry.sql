-- Owns: what mcp_admin may do with functions that are exposed as tools, prompts and resources.
-- Runs: once, after sql/90_grants.sql has taken everything from everybody.
-- Must not: leave anything to PUBLIC.
--
-- All of them run with the caller's own rights, on functions that are the caller's own. Another role that is to expose functions needs
-- EXECUTE on the same ones.

do $$
declare
    item record;
begin
    for item in
        select p.oid::pg_catalog.regprocedure as function
          from pg_catalog.pg_proc p
         where p.pronamespace operator(pg_catalog.=) 'mcp'::pg_catalog.regnamespace
           and p.proname operator(pg_catalog.=) any ('{expose,hide,check,save_query,drop_query,
                                                       _mark,_check_may_mark,_trusted,_only_owner,_faults,_directive_faults,_resource_faults,_function_faults,
                                                       _query_params,_query_columns,_type_name,_typed_text,
                                                       _directive,_directive_parts,_directive_json,_arguments,_near,_returns,_features,_in_toolset,_default_lists,
                                                       _sane_schema,_sane_output,_portable_pattern,_type_schema,_domain_schema,_enum_schema,_composite_schema,
                                                       _conjuncts,_condition_schema,_length_schema}'::pg_catalog.name[])
    loop
        execute pg_catalog.format('grant execute on function %s to mcp_admin', item.function);
    end loop;
end
$$;
