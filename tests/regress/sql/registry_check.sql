-- mcp.expose, mcp.hide and mcp.check, and that no mistake in a comment keeps the rest from being listed.
-- Runs as roles that are not superusers, but for the set-up.
\pset format unaligned
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role check_admin login;
create role check_other login;
create role check_mate login;
grant mcp_admin to check_admin;
create schema checked authorization check_admin;
grant usage on schema checked to check_mate, check_other;
grant create on schema checked to check_other;
select cardinality(mcp.grant_tools(r::regrole)) > 0 from unnest('{check_admin,check_mate,check_other}'::text[]) r;
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare r text; m text; h text;
begin
    execute statement into r;
    return 'done' || coalesce(': ' || r, '');
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;
create function pg_temp.own() returns text language sql as $$
    select coalesce(string_agg(e ->> 'name', ' ' order by o), '(none)') from jsonb_array_elements(mcp._tools('[["all"]]')) with ordinality e (e, o)
     where not exists (select from pg_proc p where p.proname = e ->> 'name' and p.pronamespace = 'mcp'::regnamespace)
$$;

-- From a function to a tool and back; words that were there stay.
set session authorization check_admin;
set client_min_messages = warning;
set search_path = checked;
create function add_up(a integer, b integer default 1) returns integer language sql immutable return a + b;
comment on function add_up is E'Adds two numbers\nand no more.';
select mcp.expose('add_up(int,int)');
select obj_description('add_up'::regproc), pg_temp.own();
select mcp.expose('add_up(int,int)', title => 'Sum (of two)', args => '{"a": "First )\n number", "b": {"schema": {"maximum": 10}}}', features => '{custom,sums}', name => 'sum.up', annotations => '{"idempotentHint": false}');
select obj_description('add_up'::regproc), pg_temp.own();
select mcp.expose('add_up(int,int)', description => 'Adds.', more => '{"name": "add"}');
select obj_description('add_up'::regproc), pg_temp.own();
select jsonb_path_query(mcp._tools(), '$[*] ? (@.name == "add")');
select mcp.hide('add_up(int,int)');
select obj_description('add_up'::regproc), pg_temp.own();
set client_min_messages = notice;
select mcp.hide('add_up(int,int)');
set client_min_messages = warning;
comment on function add_up is null;
select mcp.expose('add_up(int,int)'), mcp.hide('add_up(int,int)'), obj_description('add_up'::regproc) is null as nothing_left;
comment on function add_up is E'@mcp({"title": )\nBroken';
select pg_temp.try($$select mcp.expose('add_up(int,int)')$$), pg_temp.try($$select mcp.hide('add_up(int,int)')$$), pg_temp.try($$select mcp.expose('add_up(int,int)', description => 'Mended')$$);
create procedure proc() language sql as '';
select pg_temp.try($$select mcp.expose('proc()')$$), pg_temp.try($$select mcp.expose('nothing_of_the_name()')$$), pg_temp.try($$select mcp.expose('mcp.status()')$$),
       pg_temp.try($$select mcp.expose(0::regprocedure)$$);
select pg_temp.try($$select mcp.expose('add_up(int,int)', 'toool')$$), pg_temp.try($$select mcp.expose('add_up(int,int)', null)$$), pg_temp.try($$select mcp.expose('add_up(int,int)', more => '[]')$$),
       pg_temp.try($$select mcp.expose('add_up(int,int)', more => jsonb_build_object('title', repeat('x', 20000)))$$);
-- Not without owning it.
set session authorization check_mate;
select pg_temp.try($$select mcp.expose('checked.add_up(int,int)')$$), pg_temp.try($$select mcp.check()$$);
reset session authorization;
grant mcp_admin to check_mate;
set session authorization check_mate;
select pg_temp.try($$select mcp.expose('checked.add_up(int,int)')$$), pg_temp.try($$select mcp.hide('checked.add_up(int,int)')$$);
reset session authorization;
revoke mcp_admin from check_mate;

-- Mistakes of every kind.
set session authorization check_admin;
set client_min_messages = error;
set search_path = checked;
select mcp.expose('add_up(int,int)', description => 'Adds.');
create function pg_temp.make(name text, comment text, arguments text default '', returns text default 'integer', body text default 'select 1', options text default 'stable')
returns void language plpgsql as $$
begin
    execute format('create function checked.%I(%s) returns %s language sql %s as %L', name, arguments, returns, options, body);
    execute format('comment on function checked.%I is %L', name, comment);
end $$;
select pg_temp.make(m.name, m.comment) from (values
    ('json_open', '@mcp({"kind": "tool"'), ('json_text', '@mcp(kind: tool)'), ('json_list', '@mcp([1])'), ('json_nul', '@mcp({"title": "\u0000"})'),
    ('json_deep', '@mcp({"a":' || repeat('[', 10000) || repeat(']', 10000) || '})'), ('json_deep_open', '@mcp({"a":' || repeat('[', 100000) || '})'),
    ('json_deep_enough', '@mcp({"args":' || repeat('{"a":', 20) || '1' || repeat('}', 20) || '})'),
    ('json_twenty', '@mcp({"a":' || repeat('{"a":', 8) || repeat('[', 8) || '1' || repeat(']', 8) || repeat('}', 8) || '})'),
    ('long_directive', '@mcp({"title": "' || repeat('x', 1000000) || '"})'), ('twice_keys', '@mcp({"title": "a", "title": "b", "args": {"x": "1", "x": "2"}})' || E'\nx'),
    ('before', E' @mcp({})\nSpace'), ('upper', E'@MCP({})\nUpper'), ('no_end', '@mcp({}) and more on the line'), ('empty', '@mcp('),
    ('keys', '@mcp({"titel": "x", "zzzz": 1})' || E'\nKeys'), ('kinds', '@mcp({"kind": "tol"})' || E'\nKind'), ('kinds_null', '@mcp({"kind": null})' || E'\nKind'),
    ('kinds_variant', '@mcp({"kind": "variant"})' || E'\nVariant'),
    ('types_wrong', '@mcp({"title": [], "args": "a", "features": "x", "annotations": [1], "output": 5, "security_definer": "yes"})' || E'\nTypes'),
    ('features_wrong', '@mcp({"features": [1, "", null]})' || E'\nFeatures'), ('features_none', '@mcp({"features": []})' || E'\nFeatures'),
    ('features_own', '@mcp({"features": ["billing"]})' || E'\nFeatures'),
    ('named_badly', '@mcp({"name": "not a name"})' || E'\nName'), ('named_object', '@mcp({"name": {"a": 1}})' || E'\nName'), ('name too', E'@mcp({})\nName'),
    ('named_taken', '@mcp({"name": "add_up"})' || E'\nTaken'), ('list_tables', E'@mcp({})\nTaken'),
    ('args_unknown', '@mcp({"args": {"nobody": "x"}})' || E'\nArgs'), ('annotated', '@mcp({"annotations": {"readOnly": true, "idempotentHint": "yes"}})' || E'\nAnnotations'),
    ('output_scalar', '@mcp({"output": {"a": "string"}})' || E'\nOutput'), ('no_words', '@mcp({})')) m (name, comment);
select pg_temp.make('long_words', E'@mcp({})\n' || repeat('word ', 200000)), pg_temp.make('no_name', E'@mcp({})\nx', 'integer'), pg_temp.make('pseudo', E'@mcp({})\nx', 'a anyelement'),
       pg_temp.make('many_pseudo', E'@mcp({})\nx', 'variadic a anyarray'),
       pg_temp.make('record_out', E'@mcp({})\nx', '', 'record', 'select 1, 2'), pg_temp.make('same_names', E'@mcp({})\nx', 'a integer, out a integer'),
       pg_temp.make('definer', E'@mcp({})\nx', '', 'integer', 'select 1', 'security definer'), pg_temp.make('definer_said', E'@mcp({"security_definer": true})\nSays so.', '', 'integer', 'select 1', 'security definer'),
       pg_temp.make('definer_fine', '@mcp({"security_definer": true})', '', 'integer', 'select 1', 'stable security definer set search_path = pg_catalog, pg_temp'),
       pg_temp.make('output_odd', E'@mcp({"output": {"a": "strng", "b": {"type": 5}}})\nx', '', 'jsonb', 'select null::jsonb'),
       pg_temp.make('output_fine', E'@mcp({"output": {"a": "string", "b?": {"type": ["integer", "null"]}}})\nx', '', 'jsonb', 'select null::jsonb'),
       pg_temp.make('schema_odd', E'@mcp({"args": {"a": {"schema": {"$ref": "https://example.org/x"}}, "b": {"schema": {"type": "strng"}}, "c": {"schema": {"pattern": "("}}, "d": 5, "e": {"words": "x"}}})\nx',
                    'a text, b text, c text, d text, e text'),
       pg_temp.make('secret_odd', E'@mcp({"args": {"a": {"secret": "yes"}, "b": {"secret": true, "description": "x"}, "c": {"secret": null}, "d": {"secret": false}}})\nx',
                    'a text, b text, c text, d text'),
       pg_temp.make('secret_in_uri', E'@mcp({"kind": "resource", "uri": "x://y/{a}/{b}", "args": {"a": {"secret": true}, "b": {"secret": false}}})\nx', 'a text, b text'),
       pg_temp.make('secret_prompt', E'@mcp({"kind": "prompt", "args": {"a": {"secret": true}}})\nx', 'a text', 'text', 'select a'),
       pg_temp.make('args_near', E'@mcp({"args": {"custmer": "x"}})\nx', 'customer text'), pg_temp.make('not_granted', E'@mcp({})\nx');
revoke execute on function not_granted from public;
do $$ begin execute 'create type checked.many as enum (' || (select string_agg(quote_literal('label ' || n), ', ') from generate_series(1, 10000) n) || ')'; end $$;
select pg_temp.make('with_many', E'@mcp({})\nx', 'm checked.many', 'checked.many', 'select m');
create function trigger_function() returns trigger language plpgsql as 'begin return null; end';
comment on function trigger_function is E'@mcp({})\nx';
comment on procedure proc is E'@mcp({})\nx';
create aggregate total(integer) (sfunc = int4pl, stype = integer);
comment on aggregate total(integer) is E'@mcp({})\nx';
reset session authorization; create schema check_shut authorization check_admin; set session authorization check_admin;
create function check_shut.shut() returns integer language sql stable return 1;
comment on function check_shut.shut is E'@mcp({})\nx';
set session authorization check_other;
create function checked.of_other() returns integer language sql stable return 1;
comment on function checked.of_other is E'@mcp({})\nx';

-- What can be listed is; all of it is JSON of a sane size and depth, and every tool that is listed is found.
set session authorization check_mate;
select pg_temp.own();
select length(mcp._tools('[["all"]]')::text) < 60000 as short, jsonb_path_exists(mcp._tools('[["all"]]'), '$.**{12}') as deep;
select bool_and(mcp._tool_call(e ->> 'name') is not null) as all_found, bool_and(length(e ->> 'description') <= 8000) as short
  from jsonb_array_elements(mcp._tools('[["all"]]')) e;
-- What is secret, for a call that fits and for one that does not; in doubt it is.
select mcp._tool_call('secret_odd', '{"a": "", "b": "", "c": "", "d": ""}') -> 'secret' as of_call, mcp._secret_arguments('tool', 'secret_odd') as of_misfit,
       mcp._prompt_call('secret_prompt', '{"a": "x"}') -> 'secret' as of_prompt, mcp._secret_arguments('prompt', 'secret_prompt') as of_misfit_prompt,
       mcp._tool_call('types_wrong', '{}') ? 'secret' as of_others, mcp._secret_arguments('tool', 'types_wrong') as none, mcp._secret_arguments('tool', 'list_tables') as ours,
       mcp._secret_arguments('tool', 'no such tool') is null as unknown, mcp._secret_arguments('prompt', 'secret_odd') is null as no_prompt;
select e ->> 'name' as name, e ->> 'title' as title, e ->> 'description' as description, e -> 'inputSchema' -> 'properties' as arguments, e -> 'outputSchema' as results
  from jsonb_array_elements(mcp._tools('[["all"]]')) e where e ->> 'name' in ('definer_said', 'definer_fine', 'schema_odd', 'secret_odd', 'output_odd', 'output_fine', 'types_wrong', 'twice_keys', 'with_many');
set session authorization check_other;
select mcp._tool_call('of_other', '{}') is not null as own_is_found;
set session authorization check_admin;
reset search_path;
select replace(function::text, 'checked.', '') as function, left(problem, 150) as problem, left(hint, 120) as hint from mcp.check() where function <> 'checked.list_tables()'::regprocedure;
select * from mcp.check() where function = 'checked.list_tables()'::regprocedure;

reset session authorization;
set client_min_messages = error;
drop schema checked, check_shut cascade;
drop function pg_temp.make;
drop owned by check_admin, check_other, check_mate;
drop role check_admin, check_other, check_mate;
