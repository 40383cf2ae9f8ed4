-- Owns: the roles of a Supabase database: attributes, memberships, settings.
-- Runs: once, as the bootstrap superuser supabase_admin, in an empty cluster.
-- Must not: need anything that stock PostgreSQL does not have.
--
-- After the public shape of supabase/postgres (migrations/db): what its init scripts and migrations leave behind, said in one go. Left
-- out: session_preload_libraries of authenticator (supautils and safeupdate are not part of PostgreSQL), and roles without a part here.

-- The developer's role. Not a superuser since the first migration, but CREATEROLE, REPLICATION and BYPASSRLS.
create role postgres login nosuperuser createdb createrole replication bypassrls;
alter database postgres owner to postgres;
alter role postgres set search_path = "$user", public, extensions;
alter role supabase_admin set search_path = "$user", public, auth, extensions;

-- What the API turns into for a request, by the claim "role".
create role anon nologin inherit;
create role authenticated nologin inherit;
create role service_role nologin inherit bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';

-- What the services sign in as.
create role supabase_auth_admin login noinherit createrole;
alter role supabase_auth_admin set search_path = auth;
alter role supabase_auth_admin set idle_in_transaction_session_timeout = 60000;
create role supabase_storage_admin login noinherit createrole;
alter role supabase_storage_admin set search_path = storage;
create role supabase_realtime_admin nologin noinherit;
create role supabase_replication_admin login replication;
create role supabase_read_only_user login bypassrls;
create role dashboard_user nologin createdb createrole replication;
create role pgbouncer login;
grant authenticator to supabase_storage_admin;
grant pg_read_all_data to supabase_read_only_user;

-- What the developer's role is a member of. From 16 on CREATEROLE alone does not let it hand these out, so it gets ADMIN OPTION.
grant anon, authenticated, service_role to postgres;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;
do $$
begin
    if current_setting('server_version_num')::integer >= 160000 then
        execute 'grant anon, authenticated, service_role to postgres with admin option';
    end if;
end
$$;
grant execute on function pg_catalog.pg_reload_conf() to postgres;
