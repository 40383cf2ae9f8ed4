-- mcp.grant_tools and mcp.revoke_tools: who may call them, what they give, and that taking away is complete.
-- Runs as roles that are not superusers, but for the set-up.
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role grants_admin login;
create role grants_agent login;
create role "Grants Group";
create role grants_member login in role "Grants Group";
grant mcp_admin to grants_admin;
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare r text; m text; h text;
begin
    execute statement into r;
    return 'done' || coalesce(': ' || r, '');
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;
create function pg_temp.names() returns text language sql as $$
    select coalesce(string_agg(e.value ->> 'name', ' ' order by o), '(none)') from jsonb_array_elements(mcp._tools('[["all"]]')) with ordinality e (value, o)
$$;
create function pg_temp.granted(role regrole) returns bigint language sql as $$
    select count(*) from pg_proc p, aclexplode(p.proacl) a where p.pronamespace = 'mcp'::regnamespace and a.grantee = role
$$;

-- Nobody may but mcp_admin.
set session authorization grants_agent;
select pg_temp.try($$select mcp.grant_tools('grants_agent')$$);
set session authorization grants_admin;
select pg_temp.try($$select mcp.grant_tools('grants_agent')$$);
-- Somebody who was given the tools has not been given this with them.
set session authorization grants_agent;
select pg_temp.try($$select mcp.grant_tools('grants_agent', true)$$);
select pg_temp.try($$select mcp.revoke_tools('grants_admin')$$);
select pg_temp.try($$select mcp._builtin_tools()$$);
select pg_temp.try($$select mcp._support()$$);
select pg_temp.names();

-- Some of the tools; names that do not exist; roles that do not.
set session authorization grants_admin;
select mcp.revoke_tools('grants_agent');
select pg_temp.granted('grants_agent'), has_schema_privilege('grants_agent', 'mcp', 'USAGE') as schema;
select mcp.grant_tools('grants_agent', tools => '{list_tables,describe_table}');
select pg_temp.try($$select mcp.grant_tools('grants_agent', tools => '{list_tables,drop_tables}')$$);
select pg_temp.try($$select mcp.grant_tools('grants_agent', tools => '{execute_sql_write}')$$);
select pg_temp.try($$select mcp.grant_tools('nobody_of_this_name')$$);
select pg_temp.try($$select mcp.grant_tools(null)$$);
select pg_temp.try($$select mcp.revoke_tools(null)$$);
set session authorization grants_agent;
select pg_temp.names();
-- Every tool that is listed works with what was granted.
select pg_temp.try($$select mcp.list_tables(verbose => true) ? 'tables'$$);
select pg_temp.try($$select mcp.describe_table('nothing of this name')$$);
select pg_temp.try($$select mcp.list_schemas()$$);

-- One grantor: a superuser takes away what an administrator gave, and the other way round.
reset session authorization;
select mcp.revoke_tools('grants_agent');
select pg_temp.granted('grants_agent');
select mcp.grant_tools('grants_agent', write => true);
set session authorization grants_admin;
select mcp.revoke_tools('grants_agent');
select pg_temp.granted('grants_agent');

-- A group's tools are its members' too, and revoking them from a member says that they stay.
select mcp.grant_tools('"Grants Group"');
set session authorization grants_member;
select pg_temp.names();
select pg_temp.try($$select mcp.list_schemas() ? 'schemas'$$);
set session authorization grants_admin;
select mcp.revoke_tools('grants_member');
select mcp.revoke_tools('"Grants Group"');
set session authorization grants_member;
select pg_temp.try($$select mcp._tools('[["all"]]')$$);
-- An administrator may use the tools as well, and keeps the schema when they are taken back.
set session authorization grants_admin;
select mcp.grant_tools('mcp_admin', tools => '{list_schemas}');
select pg_temp.names();
select mcp.revoke_tools('mcp_admin');
select has_schema_privilege('mcp_admin', 'mcp', 'USAGE') as schema, pg_temp.try('select count(*) from mcp.tokens');

reset session authorization;
drop owned by grants_admin, grants_agent, "Grants Group", grants_member;
drop role grants_admin, grants_agent, "Grants Group", grants_member;
