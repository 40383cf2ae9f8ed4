-- Owns: the schemas that every Supabase database has besides auth and storage, the default privileges, and the event triggers.
-- Runs: once, as supabase_admin, after 10_roles.sql.
-- Must not: hold anything of a project: that is made by `postgres`, as a developer makes it.
--
-- After the public shape of supabase/postgres (migrations/db). pg_graphql, pg_net, pg_cron, Vault and the tables of Realtime are left out.

-- The API serves what is in public, and whoever of these two makes something there gives it to the roles of the API.
grant usage on schema public to postgres, anon, authenticated, service_role;
alter default privileges for role postgres, supabase_admin in schema public
    grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges for role postgres, supabase_admin in schema public
    grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges for role postgres, supabase_admin in schema public
    grant all on sequences to postgres, anon, authenticated, service_role;

create schema extensions authorization postgres;
grant usage on schema extensions to anon, authenticated, service_role;
-- Supabase has both; not every build of PostgreSQL comes with them.
do $$
declare
    name text;
begin
    for name in select a.name from pg_available_extensions a where a.name in ('pgcrypto', 'uuid-ossp') loop
        execute format('create extension %I with schema extensions', name);
    end loop;
end
$$;
grant all on all routines in schema extensions to postgres with grant option;
alter default privileges for role supabase_admin in schema extensions grant all on routines to postgres with grant option;

create schema graphql_public;
grant usage on schema graphql_public to postgres, anon, authenticated, service_role;
alter default privileges for role postgres, supabase_admin in schema graphql_public
    grant all on functions to postgres, anon, authenticated, service_role;
create function graphql_public.graphql("operationName" text default null, query text default null, variables jsonb default null,
                                       extensions jsonb default null) returns jsonb
    language sql stable
    as $$select '{"data": null, "errors": ["pg_graphql is not enabled"]}'::jsonb$$;

create schema realtime;
grant usage on schema realtime to postgres, anon, authenticated, service_role;
grant all on schema realtime to supabase_realtime_admin;
create table realtime.messages (
    id uuid primary key default gen_random_uuid(), topic text not null, extension text not null, payload jsonb, event text,
    private boolean default false, updated_at timestamp not null default now(), inserted_at timestamp not null default now());
alter table realtime.messages owner to supabase_realtime_admin;
alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to postgres, anon, authenticated, service_role;
create publication supabase_realtime;

-- Passwords of all roles for the pooler: what nobody else may ever call.
create schema pgbouncer authorization pgbouncer;
create function pgbouncer.get_auth(name text) returns table (username text, password text)
    language sql security definer set search_path = ''
    as $$select usename::text, passwd::text from pg_catalog.pg_shadow where usename = name$$;
revoke all on function pgbouncer.get_auth(text) from public;
grant execute on function pgbouncer.get_auth(text) to pgbouncer;

-- Every DDL tells PostgREST to look at the schema again.
create function extensions.pgrst_ddl_watch() returns event_trigger
    language plpgsql
    as $$
begin
    if exists (select from pg_event_trigger_ddl_commands() c where c.schema_name is distinct from 'pg_temp') then
        notify pgrst, 'reload schema';
    end if;
end
$$;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
create function extensions.pgrst_drop_watch() returns event_trigger
    language plpgsql
    as $$
begin
    if exists (select from pg_event_trigger_dropped_objects() o where not o.is_temporary) then
        notify pgrst, 'reload schema';
    end if;
end
$$;
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_drop_watch();
