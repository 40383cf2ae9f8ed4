-- mcp.report_access and its page: what stands in them for one role, as an auditor reads it and as others do.
-- Runs as the auditor, a member of mcp_auditor, but for the set-up. What differs from run to run is masked.
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role report_auditor login in role mcp_auditor;
create role report_agent login password 'x';
create role "Report Group";
create role report_inner;
create role report_later;
create role report_stranger login;
create role report_boss login superuser;
create role report_nosetter login noinherit;
grant report_inner to "Report Group";
grant "Report Group" to report_agent;
grant report_later to report_nosetter;
create schema "My Schema";
create table "My Schema"."Order" (id int, "total|sum" int);
create table public.wall (id int);
create table public.closed (id int);
create table public.hidden (id int);
create sequence public.numbers;
create view public.seen as select * from public.closed;
alter table public.wall enable row level security;
alter table public.closed enable row level security, force row level security;
create policy mine on public.wall to report_inner using (true);
create policy "not `that`" on public.wall as restrictive for update to report_agent using (true);
create policy others on public.wall to report_stranger using (true);
grant usage on schema "My Schema" to "Report Group";
grant select on "My Schema"."Order" to report_inner;
grant update ("total|sum"), select (id) on "My Schema"."Order" to report_agent with grant option;
grant select, insert on public.wall to report_agent;
grant select on public.closed to report_inner;
grant select on public.seen to public;
grant usage on sequence public.numbers to report_agent;
grant select on public.hidden to report_later;
alter default privileges in schema "My Schema" grant select on tables to "Report Group";
create function public.owned() returns int language sql security definer as 'select 1';
comment on function public.owned() is E'@mcp({"security_definer": true, "name": "count_all"})\nCounts.';
create function public.plain(a int, b text default null) returns int language sql as 'select 1';
revoke execute on function public.plain from public;
grant execute on function public.plain to report_inner;
set client_min_messages = error;
select mcp.grant_tools('report_agent', tools => '{execute_sql,list_tables}');
select mcp.grant_tools('report_nosetter', write => true, tools => '{execute_sql,apply_migration}');
select length(mcp.create_token('report_agent', 'a|b', '2100-01-01 00:00:00+00', true, '{"app.tenant": "7"}', '{database,docs}')) as token;
select length(mcp.create_token('report_nosetter')) as token;
select mcp.map_peer('alice', 'report_agent');
select mcp.map_peer('bob', 'report_boss');
select mcp.set_limit('report_agent', calls_per_minute => 60, max_rows => 100);
select mcp.set_limit('report_agent', tool => 'execute_sql', max_concurrent => 1);

-- Who may not.
set session authorization report_stranger;
select * from mcp.report_access();
select mcp.report_access_page();
reset session authorization;
grant usage on schema mcp to report_stranger;
set session authorization report_stranger;
select * from mcp.report_access();
select mcp.report_access_page();

-- Rows.
set session authorization report_auditor;
select role, kind, object, privileges, through, grantor from mcp.report_access('report_agent') where kind not in ('prompt', 'resource');
select kind, object, row_security, policies, limits, note from mcp.report_access('report_agent')
 where coalesce(row_security, limits::text, note) is not null and kind not in ('prompt', 'resource');
select distinct regexp_replace(w, 'token \d+', 'token <id>', 'g') as way from mcp.report_access('report_agent'), unnest(ways) w order by 1;
-- Without INHERIT what the group has comes after SET ROLE alone.
select kind, object, privileges, through, note from mcp.report_access('report_nosetter') where kind in ('role', 'membership', 'tool') or object like '%hidden%';
select kind, object, note from mcp.report_access('report_boss');
select * from mcp.report_access('report_stranger');
select * from mcp.report_access('nobody_of_this_name');

-- The page, without what is of this server and this minute.
create function pg_temp.masked(page text) returns text language sql as $$
    select regexp_replace(regexp_replace(regexp_replace(regexp_replace(page, 'PostgreSQL .*, port \d+', 'PostgreSQL <version>, system identifier <number>, port <port>'),
                                                        '- Made: [^,]*', '- Made: <time>'),
                                         'supabase_mcp \d[^\n]*', 'supabase_mcp <version>'),
                          'token \d+', 'token <id>', 'g')
$$;
\pset format unaligned
\pset tuples_only
select pg_temp.masked(mcp.report_access_page('report_agent', 4));
select pg_temp.masked(mcp.report_access_page('report_boss'));
select pg_temp.masked(mcp.report_access_page('report_stranger'));
select mcp.report_access_page('report_agent', null);
-- What is written so that nothing of it is Markdown.
select mcp._report_code(t) from unnest(array['plain', '', ' ', ' both ', 'a|b', 'a`b', E'a\nb', 'a\b', '<b>', '[x](y)', null]) t;
select mcp._report_code('abcdefghij', 4), mcp._report_codes('{a,b,c}', 2), mcp._report_codes('{}', 2);
