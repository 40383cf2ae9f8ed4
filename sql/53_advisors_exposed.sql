-- Owns: the lints about what end users reach through an API: views, materialized views, foreign tables, columns, functions, GraphQL.
-- Runs: as the caller. Whose rights count is said in mcp._lint_roles, which schemas in mcp._lint_exposed_schemas.
-- Must not: fail where a role, a schema or an extension of Supabase does not exist; then there is nothing to find.

create function mcp._lint_runs_as_owner(relation oid) returns boolean
language sql stable strict
set search_path = pg_catalog, pg_temp
as $$
    select c.relkind = 'v'
           and not exists (select from pg_options_to_table(c.reloptions) o where o.option_name = 'security_invoker' and o.option_value::boolean)
      from pg_class c
     where c.oid = relation
$$;
comment on function mcp._lint_runs_as_owner(oid) is '@support Whether a view reads its tables with the rights of its owner';

create function mcp._lint_auth_users_exposed() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- A view with the rights of whoever asks is harmless only while auth.users has row level security.
    select format('View/Materialized View "%s" in the %I schema may expose `auth.users` data to %s.', r.name, r.schema, mcp._lint_audience()),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'view',
                              'exposed_to', (select jsonb_agg(coalesce(g.rolname, 'public') order by g.rolname)
                                               from unnest(mcp._lint_roles()) as u (role)
                                               left join pg_roles g on g.oid = u.role
                                              where has_table_privilege(u.role, r.relation, 'SELECT'))),
           r.label
      from mcp._lint_relations('vm', true) r
     where exists (select from pg_class users
                     join pg_namespace n on n.oid = users.relnamespace and n.nspname = 'auth'
                     join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = users.oid
                                     and d.classid = 'pg_rewrite'::regclass and d.deptype = 'n'
                     join pg_rewrite w on w.oid = d.objid
                    where users.relname = 'users'
                      and w.ev_class = r.relation
                      and (r.kind = 'materialized view' or not users.relrowsecurity or mcp._lint_runs_as_owner(r.relation)))
$$;
comment on function mcp._lint_auth_users_exposed() is '@support Lint 0002: views that show auth.users';

create function mcp._lint_security_definer_view() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('View `%s` is defined with the SECURITY DEFINER property', r.label),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'view'),
           r.label
      from mcp._lint_relations('v', true) r
     where not r.is_member
       and mcp._lint_runs_as_owner(r.relation)
$$;
comment on function mcp._lint_security_definer_view() is '@support Lint 0010: views that read with the rights of their owner';

create function mcp._lint_materialized_view_in_api() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Materialized view `%s` is selectable by %s', r.label, mcp._lint_audience()),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'materialized view'),
           r.label
      from mcp._lint_relations('m', true) r
     where not r.is_member
$$;
comment on function mcp._lint_materialized_view_in_api() is '@support Lint 0016: materialized views, which know no row level security';

create function mcp._lint_foreign_table_in_api() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Foreign table `%s` is accessible over APIs', r.label),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', 'foreign table'),
           r.label
      from mcp._lint_relations('f', true) r
     where not r.is_member
$$;
comment on function mcp._lint_foreign_table_in_api() is '@support Lint 0017: foreign tables, which know no row level security';

create function mcp._lint_insecure_queue_exposed_in_api() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format('Table `%I.%I` is public, but RLS has not been enabled.', n.nspname, c.relname),
           jsonb_build_object('schema', n.nspname, 'name', c.relname, 'type', 'table'),
           format('%I.%I', n.nspname, c.relname)
      from pg_namespace n
      join pg_class c on c.relnamespace = n.oid
     where n.nspname = 'pgmq'
       and starts_with(c.relname, 'q_')
       and c.relkind in ('r', 'p')
       and not c.relrowsecurity
       and exists (select from unnest((select mcp._lint_roles())) as u (role) where has_table_privilege(u.role, c.oid, 'SELECT'))
       and 'pgmq_public' = any ((select mcp._lint_exposed_schemas())::text[])
$$;
comment on function mcp._lint_insecure_queue_exposed_in_api() is '@support Lint 0019: queues of pgmq that end users read without row level security';

create function mcp._lint_sensitive_columns_exposed() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with named as (
        select r.label, r.schema, r.name, a.attname, replace(lower(a.attname), '-', '_') as pattern
          from mcp._lint_relations('rp', true) r
          join pg_attribute a on a.attrelid = r.relation and a.attnum > 0 and not a.attisdropped
         where not r.rls
    )
    select format('Table `%s` is exposed via API without RLS and contains potentially sensitive column(s): %s. This may lead to data exposure.',
                  s.label, string_agg(distinct quote_ident(s.attname), ', ' order by quote_ident(s.attname))),
           jsonb_build_object('schema', s.schema, 'name', s.name, 'type', 'table', 'sensitive_columns', jsonb_agg(distinct s.attname order by s.attname),
                              'matched_patterns', jsonb_agg(distinct s.pattern order by s.pattern)),
           s.label
      from named s
     where s.pattern = any (array[
               'password', 'passwd', 'pwd', 'passphrase', 'secret', 'secret_key', 'private_key', 'api_key', 'apikey', 'auth_key', 'token', 'jwt',
               'access_token', 'refresh_token', 'oauth_token', 'session_token', 'bearer_token', 'auth_code', 'session_id', 'session_key',
               'session_secret', 'recovery_code', 'backup_code', 'verification_code', 'otp', 'two_factor', '2fa_secret', '2fa_code',
               'ssn', 'social_security', 'social_security_number', 'driver_license', 'drivers_license', 'license_number', 'passport_number',
               'passport_id', 'national_id', 'tax_id', 'credit_card', 'card_number', 'cvv', 'cvc', 'cvn', 'bank_account', 'account_number',
               'routing_number', 'iban', 'swift_code', 'bic', 'health_record', 'medical_record', 'patient_id', 'insurance_number',
               'health_insurance', 'medical_insurance', 'treatment', 'mac_address', 'macaddr', 'imei', 'device_uuid', 'pgp_key', 'gpg_key',
               'ssh_key', 'certificate', 'license_key', 'activation_key', 'facial_recognition'])
     group by s.label, s.schema, s.name
$$;
comment on function mcp._lint_sensitive_columns_exposed() is '@support Lint 0023: columns that sound like secrets, in tables without row level security';

create function mcp._lint_function_search_path_mutable() returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- An aggregate cannot have a setting, and a body in standard SQL (begin atomic) was resolved when it was written.
    select format('Function `%I.%I` has a role mutable search_path', n.name, p.proname),
           jsonb_build_object('schema', n.name, 'name', p.proname, 'type', 'function'),
           format('%I.%I(%s)', n.name, p.proname, pg_get_function_identity_arguments(p.oid))
      from mcp._lint_schemas() n
      join pg_proc p on p.pronamespace = n.schema
     where p.prokind <> 'a'
       and p.prosqlbody is null
       and not exists (select from unnest(p.proconfig) as u (setting) where starts_with(u.setting, 'search_path='))
       and not exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
$$;
comment on function mcp._lint_function_search_path_mutable() is '@support Lint 0011: functions that resolve names by the search_path of whoever calls them';

create function mcp._lint_security_definer_executable(role name) returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Trigger functions cannot be called. Where neither role exists, anon stands for whoever mcp._lint_roles names, and there is no REST path to tell.
    with who as (
        select array[r.oid] as oids, true as rest from pg_roles r where r.rolname = role
        union all
        select mcp._lint_roles(), false
         where role = 'anon' and not exists (select from pg_roles r where r.rolname in ('anon', 'authenticated'))
    )
    select format('Function `%I.%I(%s)` can be executed by %s as a `SECURITY DEFINER` function%s. Revoke `EXECUTE` or switch it to `SECURITY INVOKER` if that is not intentional.',
                  n.name, p.proname, a.arguments,
                  case when w.rest then format('the `%I` role', role) else mcp._lint_audience() end,
                  case when w.rest then format(' via `/rest/v1/rpc/%s`', p.proname) else '' end),
           jsonb_build_object('schema', n.name, 'name', p.proname, 'arguments', a.arguments, 'language', l.lanname, 'security_definer', true),
           format('%I.%I(%s)', n.name, p.proname, a.arguments)
      from who w
     cross join mcp._lint_schemas() n
      join pg_proc p on p.pronamespace = n.schema
      join pg_language l on l.oid = p.prolang
     cross join lateral (select pg_get_function_identity_arguments(p.oid) as arguments) a
     where n.exposed
       and p.prosecdef
       and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
       and exists (select from unnest(w.oids) as u (role) where has_function_privilege(u.role, p.oid, 'EXECUTE'))
$$;
comment on function mcp._lint_security_definer_executable(name) is '@support Lints 0028 and 0029: functions that run with the rights of their owner for whoever asks';

create function mcp._lint_pg_graphql_exposed(role name) returns table (detail text, metadata jsonb, key text)
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select format(case when role = 'anon'
                       then '%s `%s` is visible in the GraphQL schema because the `anon` role can `SELECT` it. Revoke `SELECT` from `anon` if it should not be discoverable without signing in.'
                       else '%s `%s` is visible in the GraphQL schema to signed-in users because the `authenticated` role can `SELECT` it. Revoke `SELECT` from `authenticated` if it should not be discoverable to every account.' end,
                  r.kind, r.label),
           jsonb_build_object('schema', r.schema, 'name', r.name, 'type', r.kind),
           r.label
      from pg_extension e
      join pg_roles a on a.rolname = role
     cross join mcp._lint_relations('rvmf') r
     where e.extname = 'pg_graphql'
       -- What this extension lets everybody read is behind policies of its own.
       and r.schema <> 'mcp'
       and has_any_column_privilege(a.oid, r.relation, 'SELECT')
$$;
comment on function mcp._lint_pg_graphql_exposed(name) is '@support Lints 0026 and 0027: what a role sees of the schema through pg_graphql';
