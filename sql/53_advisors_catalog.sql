-- Owns: which lints there are, in the words of Supabase's linter (splinter), and what they look at: schemas, roles, tables.
-- Runs: as the caller, from the catalogs that everybody may read.
-- Must not: evaluate anything of another's: a database is judged by its catalogs, and its functions and views are never run.
--
-- A lint is a function that returns its findings as (detail, metadata, key), and an entry in mcp._lint_catalog. Names, levels and metadata are
-- splinter's, so that prompts and clients made for it work. Where it is known to cry wolf, or to miss something, the lint says at its place what
-- it does instead. The key tells one finding from all others of the lint, and is the same as long as the finding is.

create function mcp._lint_catalog() returns table (number integer, name text, level text, category text, source text, title text, description text,
                                                   remediation text)
language sql immutable rows 28
set search_path = pg_catalog, pg_temp
as $$
    select l.number, l.name, l.level, case when l.number in (1, 3, 4, 5, 6, 9, 20) then 'PERFORMANCE' else 'SECURITY' end,
           'mcp.' || coalesce(l.source, '_lint_' || l.name || '()'), l.title, l.description,
           coalesce(l.remediation, format('https://supabase.com/docs/guides/database/database-linter?lint=%s_%s', to_char(l.number, 'FM0000'),
                                          case l.number when 24 then 'permissive_rls_policy' else l.name end))
      from (values
        (1, 'unindexed_foreign_keys', 'INFO', null, 'Unindexed foreign keys',
         'Identifies foreign key constraints without a covering index, which can impact database performance.', null),
        (2, 'auth_users_exposed', 'ERROR', null, 'Exposed Auth Users',
         'Detects if auth.users is exposed to anon or authenticated roles via a view or materialized view in schemas exposed to PostgREST, potentially compromising user data security.', null),
        (3, 'auth_rls_initplan', 'WARN', null, 'Auth RLS Initialization Plan',
         'Detects if calls to `current_setting()` and `auth.<function>()` in RLS policies are being unnecessarily re-evaluated for each row', null),
        (4, 'no_primary_key', 'INFO', null, 'No Primary Key',
         'Detects if a table does not have a primary key. Tables without a primary key can be inefficient to interact with at scale.', null),
        (5, 'unused_index', 'INFO', null, 'Unused Index',
         'Detects if an index has never been used and may be a candidate for removal.', null),
        (6, 'multiple_permissive_policies', 'WARN', null, 'Multiple Permissive Policies',
         'Detects if multiple permissive row level security policies are present on a table for the same `role` and `action` (e.g. insert). Multiple permissive policies are suboptimal for performance as each policy must be executed for every relevant query.', null),
        (7, 'policy_exists_rls_disabled', 'ERROR', null, 'Policy Exists RLS Disabled',
         'Detects cases where row level security (RLS) policies have been created, but RLS has not been enabled for the underlying table.', null),
        (8, 'rls_enabled_no_policy', 'INFO', null, 'RLS Enabled No Policy',
         'Detects cases where row level security (RLS) has been enabled on a table but no RLS policies have been created.', null),
        (9, 'duplicate_index', 'WARN', null, 'Duplicate Index',
         'Detects cases where two or more identical indexes exist.', null),
        (10, 'security_definer_view', 'ERROR', null, 'Security Definer View',
         'Detects views defined with the SECURITY DEFINER property. These views enforce Postgres permissions and row level security policies (RLS) of the view creator, rather than that of the querying user', null),
        (11, 'function_search_path_mutable', 'WARN', null, 'Function Search Path Mutable',
         'Detects functions where the search_path parameter is not set.', null),
        (13, 'rls_disabled_in_public', 'ERROR', null, 'RLS Disabled in Public',
         'Detects cases where row level security (RLS) has not been enabled on tables in schemas exposed to PostgREST', null),
        (14, 'extension_in_public', 'WARN', null, 'Extension in Public',
         'Detects extensions installed in the `public` schema.', null),
        (15, 'rls_references_user_metadata', 'ERROR', null, 'RLS references user metadata',
         'Detects when Supabase Auth user_metadata is referenced insecurely in a row level security (RLS) policy.', null),
        (16, 'materialized_view_in_api', 'WARN', null, 'Materialized View in API',
         'Detects materialized views that are accessible over the Data APIs.', null),
        (17, 'foreign_table_in_api', 'WARN', null, 'Foreign Table in API',
         'Detects foreign tables that are accessible over APIs. Foreign tables do not respect row level security policies.', null),
        (18, 'unsupported_reg_types', 'WARN', null, 'Unsupported reg types',
         'Identifies columns using unsupported reg* types outside pg_catalog schema, which prevents database upgrades using pg_upgrade.', null),
        (19, 'insecure_queue_exposed_in_api', 'ERROR', null, 'Insecure Queue Exposed in API',
         'Detects cases where an insecure Queue is exposed over Data APIs', null),
        (20, 'table_bloat', 'INFO', null, 'Table Bloat',
         'Detects if a table has excess bloat and may benefit from maintenance operations like vacuum full or cluster.',
         'Consider running vacuum full (WARNING: incurs downtime) and tweaking autovacuum settings to reduce bloat.'),
        (21, 'fkey_to_auth_unique', 'ERROR', null, 'Foreign Key to Auth Unique Constraint',
         'Detects user defined foreign keys to unique constraints in the auth schema.',
         'Drop the foreign key constraint that references the auth schema.'),
        (22, 'extension_versions_outdated', 'WARN', null, 'Extension Versions Outdated',
         'Detects extensions that are not using the default (recommended) version.', null),
        (23, 'sensitive_columns_exposed', 'ERROR', null, 'Sensitive Columns Exposed',
         'Detects tables exposed via API that contain columns with potentially sensitive data (PII, credentials, financial info) without RLS protection.', null),
        (24, 'rls_policy_always_true', 'WARN', null, 'RLS Policy Always True',
         'Detects RLS policies that use overly permissive expressions like `USING (true)` or `WITH CHECK (true)` for UPDATE, DELETE, or INSERT operations. SELECT policies with `USING (true)` are intentionally excluded as this pattern is often used deliberately for public read access.', null),
        (25, 'public_bucket_allows_listing', 'WARN', null, 'Public Bucket Allows Listing',
         'Detects public storage buckets with a broad SELECT policy on `storage.objects`, which allows clients to list all files in the bucket.', null),
        (26, 'pg_graphql_anon_table_exposed', 'WARN', '_lint_pg_graphql_exposed(''anon'')', 'Public Can See Object in GraphQL Schema',
         'Detects tables, views, materialized views, and foreign tables that are visible in the GraphQL schema to anyone using your public anon key. Revoke `SELECT` from `anon` for objects that should not be discoverable before sign-in, and check lint 0027 for the matching signed-in-user exposure.', null),
        (27, 'pg_graphql_authenticated_table_exposed', 'WARN', '_lint_pg_graphql_exposed(''authenticated'')', 'Signed-In Users Can See Object in GraphQL Schema',
         'Detects tables, views, materialized views, and foreign tables that are visible in the GraphQL schema to signed-in users. Revoke `SELECT` from `authenticated` for objects that signed-in users should not discover, and check lint 0026 for the matching public exposure.', null),
        (28, 'anon_security_definer_function_executable', 'WARN', '_lint_security_definer_executable(''anon'')', 'Public Can Execute SECURITY DEFINER Function',
         'Detects `SECURITY DEFINER` functions that are callable without signing in. Revoke `EXECUTE`, switch the function to `SECURITY INVOKER`, or move it out of your exposed API schema if it is not meant to be public.', null),
        (29, 'authenticated_security_definer_function_executable', 'WARN', '_lint_security_definer_executable(''authenticated'')',
         'Signed-In Users Can Execute SECURITY DEFINER Function',
         'Detects `SECURITY DEFINER` functions that are callable by signed-in users. Revoke `EXECUTE`, switch the function to `SECURITY INVOKER`, or move it out of your exposed API schema if signed-in users should not call it.', null)
      ) as l (number, name, level, source, title, description, remediation)
$$;
comment on function mcp._lint_catalog() is '@support The lints of get_advisors, by their number in Supabase''s documentation, and the call that gives each one''s findings';

create function mcp._lint_exposed_schemas() returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- PostgREST has the setting of its own session, or of the role that it signs in as. Where nobody says anything it is public.
    select array(select distinct btrim(u.name)
                   from unnest(string_to_array(coalesce(
                            nullif(btrim(current_setting('pgrst.db_schemas', true)), ''),
                            (select substring(s.setting from '^pgrst\.db_schemas=(.*)$')
                               from pg_db_role_setting d
                               join pg_roles r on r.oid = d.setrole and r.rolname = 'authenticator'
                              cross join unnest(d.setconfig) as s (setting)
                              where d.setdatabase in (0, (select b.oid from pg_database b where b.datname = current_database()))
                                and s.setting ~ '^pgrst\.db_schemas=.*\S'
                              order by d.setdatabase desc
                              limit 1),
                            'public'), ',')) as u (name)
                  where btrim(u.name) <> ''
                  order by 1)
$$;
comment on function mcp._lint_exposed_schemas() is '@support The schemas that an API serves, from pgrst.db_schemas; public if it is not set';

create function mcp._lint_schemas() returns table (schema oid, name name, exposed boolean)
language sql stable rows 100
set search_path = pg_catalog, pg_temp
as $$
    -- What Supabase and well-known extensions bring along is theirs to mend; so is what this one makes later, the audit trail's days.
    select n.oid, n.nspname, n.nspname = any (e.names)
      from pg_namespace n
     cross join (select mcp._lint_exposed_schemas() as names) e
     where n.nspname !~ '^pg_'
       and n.nspname not in ('_timescaledb_cache', '_timescaledb_catalog', '_timescaledb_config', '_timescaledb_internal', 'auth', 'cron', 'extensions',
                             'graphql', 'graphql_public', 'information_schema', 'mcp', 'net', 'pgmq', 'pgroonga', 'pgsodium', 'pgsodium_masks', 'pgtle',
                             'pgbouncer', 'realtime', 'repack', 'storage', 'supabase_functions', 'supabase_migrations', 'tiger', 'topology', 'vault')
$$;
comment on function mcp._lint_schemas() is '@support The schemas that lints look at, and whether an API serves them';

create function mcp._lint_roles() returns oid[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    -- Without the roles of Supabase those count that this server takes for end users, and without any what everybody may do: 0 is PUBLIC.
    select coalesce((select array_agg(r.oid order by r.rolname) from pg_roles r where r.rolname in ('anon', 'authenticated')),
                    (select array_agg(r.oid order by r.rolname)
                       from pg_roles r
                      where r.rolname = any (regexp_split_to_array(btrim(current_setting('supabase_mcp.jwt_roles', true)), '\s*,\s*'))
                        and not r.rolsuper and not r.rolbypassrls),
                    '{0}')
$$;
comment on function mcp._lint_roles() is '@support The roles that many end users share, whose rights lints about exposure ask for; PUBLIC (0) where there are none';

create function mcp._lint_audience() returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select case when mcp._lint_roles() = '{0}' then 'every role (PUBLIC)'
                when exists (select from pg_roles r where r.rolname in ('anon', 'authenticated')) then 'anon or authenticated roles'
                else (select string_agg(quote_ident(r.rolname), ' or ' order by r.rolname) || ' roles' from pg_roles r where r.oid = any (mcp._lint_roles())) end
$$;
comment on function mcp._lint_audience() is '@support Those roles in words';

create function mcp._lint_relations(kinds text, public_only boolean default false)
returns table (relation oid, schema name, name name, label text, kind text, rls boolean, is_partition boolean, is_member boolean)
language sql stable rows 1000
set search_path = pg_catalog, pg_temp
as $$
    with members as (
        -- By the index of pg_depend: from extensions to what they made.
        select d.objid
          from pg_extension e
          join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid
         where d.classid = 'pg_class'::regclass and d.deptype = 'e'
    )
    select c.oid, n.name, c.relname, format('%I.%I', n.name, c.relname),
           case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' else 'table' end,
           c.relrowsecurity, c.relispartition, c.oid in (select m.objid from members m)
      from mcp._lint_schemas() n
      join pg_class c on c.relnamespace = n.schema
     where strpos(kinds, c.relkind::text) > 0
       and (not public_only
            or n.exposed and exists (select from unnest((select mcp._lint_roles())) as r (role) where has_table_privilege(r.role, c.oid, 'SELECT')))
$$;
comment on function mcp._lint_relations(text, boolean) is
    '@support The tables of these kinds (letters of pg_class.relkind) that lints look at; with public_only those that end users can read through an API';
