-- From a tool's name and arguments to the statement that calls it.
-- Runs as a role that is not a superuser, but for the set-up.
\pset format unaligned
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role call_agent login;
create schema "Call Tools";
grant usage on schema "Call Tools" to call_agent;
set search_path = "Call Tools", public;
create type pair as (a integer, b text);
create domain positive as integer check (value > 0);
create type mood as enum ('so so', 'good');
create table seen (n integer);
create function echo(word text, times integer default 2, m mood default 'good') returns text language sql stable return repeat(word, times) || m;
create function json_value_of(v jsonb) returns jsonb language sql stable return v;
create function json_null() returns json language sql stable return null::json;
create function nothing(flag boolean default false) returns void language sql as '';
create function one_row(a integer, out b integer, out c text) language sql stable as 'select a, ''x''::text';
create function composite(p pair) returns pair language sql stable return p;
create function table_of(upto integer) returns table (n integer, "Odd ""name" text) language sql stable as 'select i, i::text from generate_series(1, upto) i';
create function set_of(upto integer) returns setof integer language sql stable as 'select generate_series(1, upto)';
create function words(variadic list text[]) returns text language sql stable return array_to_string(list, '+');
create function domain_of(p positive, big bigint default 1) returns bigint language sql stable return p * big;
create function "Odd Name"("Odd ""Arg" integer, "select" date default null) returns text language sql stable as 'select $1 || coalesce($2::text, ''-'')';
create function volatile_one(n integer) returns integer language sql volatile as 'insert into "Call Tools".seen values (n) returning n';
do $$
declare f regprocedure;
begin
    for f in select p.oid from pg_proc p where p.pronamespace = '"Call Tools"'::regnamespace loop
        execute format('comment on function %s is ''@mcp({"name": "%s"})''', f, replace((select proname from pg_proc where oid = f), ' ', '_'));
    end loop;
end $$;
reset search_path;
select mcp.grant_tools('call_agent');
grant insert, select on "Call Tools".seen to call_agent;

create function pg_temp.call(tool text, arguments jsonb) returns text language plpgsql as $$
declare c jsonb; r jsonb; m text; h text; n integer;
begin
    c := mcp._tool_call(tool, arguments);
    if c is null then
        return 'no such tool';
    elsif c ->> 'statement' is null then
        return c::text;
    end if;
    execute c ->> 'statement' into strict r using arguments;
    return r;
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;

set session authorization call_agent;
-- The statement holds names and types, and no value.
select mcp._tool_call('echo', '{"word": "it''s $1 %I", "times": 3}');
select mcp._tool_call('Odd_Name', '{"Odd \"Arg": 3, "select": "2026-01-01"}') ->> 'statement' as statement;
select mcp._tool_call('table_of', '{"upto": 1}') ->> 'statement' as statement;
select mcp._tool_call('list_schemas', '{}') ->> 'statement' as statement;
select jsonb_pretty(mcp._tool_call('Odd_Name'));
select mcp._tool_call('execute_sql', '{"query": "select 1", "params": [1]}');

-- Each shape of result.
select pg_temp.call('echo', '{"word": "it''s $1 %I ", "times": 3, "m": "so so"}');
select pg_temp.call('echo', '{"word": "a"}');
select pg_temp.call('echo', '{"word": "a", "times": null, "m": null}');
select pg_temp.call('echo', '{"word": null}');
select pg_temp.call('json_value_of', '{"v": {"an": "object"}}');
select pg_temp.call('json_value_of', '{"v": [1, "two", null]}');
select pg_temp.call('json_value_of', '{"v": "text"}');
select pg_temp.call('json_null', '{}');
select pg_temp.call('nothing', '{}'), pg_temp.call('nothing', '{"flag": true}'), pg_temp.call('nothing', '{"flag": null}');
select pg_temp.call('one_row', '{"a": 5}');
select pg_temp.call('composite', '{"p": {"a": 1, "b": "x"}}');
select pg_temp.call('table_of', '{"upto": 2}');
select pg_temp.call('table_of', '{"upto": 0}');
select pg_temp.call('set_of', '{"upto": 2}');
select length(pg_temp.call('set_of', '{"upto": 1001}')), right(pg_temp.call('set_of', '{"upto": 1001}'), 60);
select pg_temp.call('words', '{"list": ["a", "b"]}');
select pg_temp.call('domain_of', '{"p": 2, "big": "9007199254740993"}');
select pg_temp.call('Odd_Name', '{"Odd \"Arg": 3, "select": "2026-01-01"}');
-- A volatile function is evaluated once.
select pg_temp.call('volatile_one', '{"n": 7}');
select * from "Call Tools".seen;

-- Arguments that do not fit.
select pg_temp.call('echo', '{}');
select pg_temp.call('echo', '{"times": 1}');
select pg_temp.call('echo', '{"word": "a", "tims": 1}');
select pg_temp.call('echo', '{"word": "a", "zzz": 1}');
select pg_temp.call('json_null', '{"zzz": 1}');
select pg_temp.call('echo', jsonb_build_object('word', 'a', repeat('x', 1000), 1));
select pg_temp.call('echo', '[]');
select pg_temp.call('echo', '"word"');
select pg_temp.call('echo', 'null');
select pg_temp.call('echo', null);
select pg_temp.call('echo', '{"word": 5}');
select pg_temp.call('echo', '{"word": {"a": 1}}');
select pg_temp.call('echo', '{"word": "a", "times": true}');
select pg_temp.call('echo', '{"word": "a", "times": 1.5}');
select pg_temp.call('echo', '{"word": "a", "times": "2"}');
select pg_temp.call('echo', '{"word": "a", "times": "two"}');
select pg_temp.call('echo', '{"word": "a", "times": 1e20}');
select pg_temp.call('echo', '{"word": "a", "m": "bad"}');
select pg_temp.call('words', '{"list": "a"}');
select pg_temp.call('composite', '{"p": [1]}');
select pg_temp.call('domain_of', '{"p": -1}');
select pg_temp.call('nothing', '{"flag": "yes"}');
select pg_temp.call('execute_sql', '{}');
select pg_temp.call('execute_sql', '{"query": ["select 1"]}');
select pg_temp.call('execute_sql', '{"querry": "select 1"}');
select pg_temp.call('explain_query', '{"query": "select 1", "analyze": true, "format": "json"}');
select pg_temp.call('execute_sql_write', '{"query": "select 1"}'), pg_temp.call('nobody', '{}');
-- The entries of what the server runs itself.
select pg_temp.call('explain_query', '{"query": "select 1"}');
do $$ begin perform mcp.execute_sql('select 1'); exception when feature_not_supported then null; end $$;
do $$ begin perform mcp.explain_query('select 1'); exception when feature_not_supported then null; end $$;

-- Types of the caller's own making do not stand in for the real ones.
reset session authorization;
create schema call_shadow authorization call_agent;
set session authorization call_agent;
create domain call_shadow.text as pg_catalog.text check (value <> 'a');
create domain call_shadow.int4 as pg_catalog.int4 check (false);
set search_path = call_shadow, pg_catalog;
select pg_temp.call('echo', '{"word": "a", "times": 1}');
reset search_path;

reset session authorization;
drop schema "Call Tools", call_shadow cascade;
drop owned by call_agent;
drop role call_agent;
