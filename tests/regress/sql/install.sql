-- CREATE EXTENSION takes over nothing that somebody else prepared, and comes back after DROP EXTENSION.
-- Runs as a superuser, in a database of its own.
set client_min_messages = error;
select current_database() as home \gset
create role install_planter login;
create role install_agent login;
create database regress_install;
grant create on database regress_install to install_planter;
-- Whoever installs may have default privileges; none of them reaches what is installed.
\connect regress_install
set client_min_messages = error;
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare m text; h text;
begin
    execute statement;
    return 'done';
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;
set session authorization install_planter;
select pg_temp.try('create extension supabase_mcp');
create schema mcp;
create function mcp.list_tables() returns jsonb language sql return '{}'::jsonb;
reset session authorization;
select pg_temp.try('create extension supabase_mcp');
select pg_temp.try('create extension supabase_mcp schema public');
-- A schema of the right owner that is not empty.
alter schema mcp owner to current_user;
select pg_temp.try('create extension supabase_mcp');
drop function mcp.list_tables;
create type mcp.planted as enum ('x');
select pg_temp.try('create extension supabase_mcp');
drop type mcp.planted;
alter default privileges for role install_planter in schema mcp grant execute on functions to public;
select pg_temp.try('create extension supabase_mcp');
alter default privileges for role install_planter in schema mcp revoke execute on functions from public;
-- An empty one in which somebody else may create.
grant create on schema mcp to public;
select pg_temp.try('create extension supabase_mcp');
revoke create on schema mcp from public;
grant create on schema mcp to install_planter;
select pg_temp.try('create extension supabase_mcp');
revoke create on schema mcp from install_planter;
select count(*) as objects from pg_proc where pronamespace = 'mcp'::regnamespace;

-- Empty and ours: it is taken, and default privileges of the installer do not reach what it makes.
alter default privileges grant execute on functions to install_planter;
alter default privileges grant all on tables to install_planter;
alter default privileges grant all on sequences to install_planter;
select pg_temp.try('create extension supabase_mcp');
select count(*) as granted_by_default from pg_proc p, aclexplode(p.proacl) a where p.pronamespace = 'mcp'::regnamespace and a.grantee = 'install_planter'::regrole;
select count(*) as granted_by_default from pg_class c, aclexplode(c.relacl) a where c.relnamespace = 'mcp'::regnamespace and a.grantee = 'install_planter'::regrole;
alter default privileges revoke execute on functions from install_planter;
alter default privileges revoke all on tables from install_planter;
alter default privileges revoke all on sequences from install_planter;
select pg_temp.try('create extension supabase_mcp');

-- Away and back again, with grants that were made on the schema.
select mcp.grant_tools('install_agent') is not null as granted;
select pg_temp.try('drop extension supabase_mcp');
select count(*) as objects from pg_depend where refclassid = 'pg_namespace'::regclass and refobjid = 'mcp'::regnamespace;
select pg_temp.try('create extension supabase_mcp');
select count(*) as tools_of_before from pg_proc p, aclexplode(p.proacl) a where p.pronamespace = 'mcp'::regnamespace and a.grantee = 'install_agent'::regrole;
select pg_temp.try('drop extension supabase_mcp');

-- A bridge that somebody made stronger is refused.
alter role mcp_bridge createdb;
select pg_temp.try('create extension supabase_mcp');
alter role mcp_bridge nocreatedb;
grant install_agent to mcp_bridge;
select pg_temp.try('create extension supabase_mcp');
revoke install_agent from mcp_bridge;
alter role mcp_bridge inherit;
select pg_temp.try('create extension supabase_mcp');
alter role mcp_bridge noinherit;
select pg_temp.try('create extension supabase_mcp');
select pg_temp.try('drop extension supabase_mcp');

drop schema mcp;
\connect :home
set client_min_messages = error;
drop database regress_install with (force);
drop role install_planter, install_agent;
