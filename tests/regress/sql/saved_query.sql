-- mcp.save_query and mcp.drop_query: a statement becomes a tool with typed arguments and a schema of its rows.
-- Runs as roles that are not superusers, but for the set-up.
\pset format unaligned
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role query_admin login;
create role query_mate login;
create role query_plain login;
grant mcp_admin to query_admin;
create schema "Query Shop" authorization query_admin;
create schema query_closed;
alter default privileges for role query_admin grant execute on functions to query_mate;
grant usage on schema "Query Shop" to query_mate;
select cardinality(mcp.grant_tools(r::regrole)) > 0 from unnest('{query_admin,query_mate}'::text[]) r;
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare r text; m text; h text;
begin
    execute statement into r;
    return 'done' || coalesce(': ' || r, '');
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;
create function pg_temp.call(tool text, arguments jsonb default '{}') returns text language plpgsql as $$
declare c jsonb := mcp._tool_call(tool, arguments); r jsonb;
begin
    execute c ->> 'statement' into strict r using arguments;
    return r;
exception when others then
    return sqlstate || ' ' || coalesce(sqlerrm, '');
end $$;

set session authorization query_admin;
set client_min_messages = notice;
set search_path = query_closed, "Query Shop", "$user";
create domain "Query Shop".amount as numeric(10,2) check (value >= 0);
create table "Query Shop".orders (id integer, "Day" date, amount "Query Shop".amount, note varchar(20));
insert into orders values (1, '2026-01-01', 5, 'a'), (2, '2026-01-02', 7.5, null);
select mcp.save_query('orders_of', 'Orders of a day', 'select o.id, o.amount, ''x'' as mark, array[day] as days from orders o where "Day" = day and o.amount >= least; ; ',
                      '[{"name": "least", "type": "amount", "default": 1, "description": "Least amount"}, {"name": "day", "type": "date"}]', title => 'Orders');
select pg_get_functiondef('orders_of'::regproc);
reset search_path;
-- Arguments have their types, rows theirs; names mean what they meant when it was saved.
select jsonb_pretty(jsonb_path_query(mcp._tools(), '$[*] ? (@.name == "orders_of")'));
select pg_temp.call('orders_of', '{"day": "2026-01-02"}'), pg_temp.call('orders_of', '{"day": "2026-01-02", "least": 8}'), pg_temp.call('orders_of', '{"day": "x"}');
select mcp._tool_call('orders_of', '{"day": "2026-01-02"}') ->> 'write' as write;

-- Each form: parameters as an object, $1, the function's name before a parameter, changing data, nothing returned, WITH.
set search_path = "Query Shop";
select mcp.save_query('own_name', 'A column comes before a parameter of its name', 'select id, own_name.id as given from orders -- all;', '{"id": "int"}');
select mcp.save_query('add_order', 'Adds', 'insert into orders values (id, current_date, 1, note) returning id, note', '{"id": "int", "note": {"type": "text", "default": "it''s"}}', volatility => 'volatile');
select mcp.save_query('clear', 'Clears', '/* all */ delete from orders where id > 2', volatility => 'volatile');
select mcp.save_query('moved', 'Moves', 'with gone as (delete from orders where id = 1 returning *) insert into orders select * from gone', volatility => 'volatile');
select mcp.save_query('moved_rows', 'Moves', 'with gone as (delete from orders where id = 1 returning *), come as (insert into orders select * from gone returning id) select count(*) as n from come', volatility => 'volatile');
select mcp.save_query('plain', 'No columns of a table', 'values (1, null), (2, ''b'')');
select mcp.save_query('many.ids', 'An array', 'select id from orders where id = any (ids) order by id', '[{"name": "ids", "type": "integer[]", "default": [1, 2]}]', features => '{custom,shop}');
reset search_path;
select pg_temp.call('own_name', '{"id": 9}');
select pg_temp.call('add_order', '{"id": 5}'), pg_temp.call('clear'), pg_temp.call('moved'), pg_temp.call('moved_rows');
select pg_temp.call('plain'), pg_temp.call('many.ids'), pg_temp.call('many.ids', '{"ids": [2, 3]}');
select mcp._tool_call('add_order', '{"id": 5}') ->> 'write' as write;
select id from "Query Shop".orders order by id;
select f::regprocedure from pg_temp.call('plain'), unnest(array['"Query Shop".plain'::regproc]) f;

-- What cannot be saved, and that nothing of it was run or is left.
set client_min_messages = warning;
set search_path = "Query Shop";
create function pg_temp.save(sql text, params jsonb default null, volatility text default 'stable', name text default 'bad') returns text language sql as
    $$ select pg_temp.try(format('select mcp.save_query(%L, %L, %L, %L, volatility => %L)', name, 'Bad', sql, params, volatility)) $$;
select pg_temp.save('select 1; delete from orders'), pg_temp.save('delete from orders; select 1', null, 'volatile'), pg_temp.save('drop table orders', null, 'volatile');
select pg_temp.save('select 1 as a, 2 as a'), pg_temp.save('select nope from orders'), pg_temp.save('select * from nowhere'), pg_temp.save('delete from orders');
select pg_temp.save(''), pg_temp.save(' ; '), pg_temp.save(null), pg_temp.save('select 1 as a, row(1, 2) as r');
select pg_temp.save('select 1', '{"a": "nope"}'), pg_temp.save('select 1', '{"a": "anyelement"}'), pg_temp.save('select 1', '["a"]'), pg_temp.save('select 1', '5'),
       pg_temp.save('select a', '[{"name": "a", "type": "int", "default": "x"}]'), pg_temp.save('select 1', '[{"type": "int"}]');
select pg_temp.save('select 1', null, 'sometimes'), pg_temp.save('select 1', null, 'stable', 'a b'), pg_temp.save('select 1', null, 'stable', ''), pg_temp.save('select 1', null, 'stable', null);
select pg_temp.save('select 1', null, 'stable', 'plain');
select count(*) as left_over from pg_proc where proname = 'bad';
select count(*) as left_over from pg_class where relname = 'mcp_saved_query';
select count(*) as orders from orders;

-- Saving again, and dropping.
select pg_temp.try($$select mcp.save_query('plain', 'Now with other words', 'values (3, ''c'')', replace => true)$$), obj_description('plain'::regproc);
select pg_temp.try($$select mcp.save_query('plain', 'Other parameters', 'values (3, ''c'')', '{"n": "int"}', replace => true)$$);
create function by_hand() returns integer language sql stable return 1;
select pg_temp.try($$select mcp.save_query('by_hand', 'x', 'select 1', replace => true)$$);
select pg_temp.try($$select mcp.drop_query('by_hand')$$), pg_temp.try($$select mcp.drop_query('moved')$$), pg_temp.try($$select mcp.drop_query('moved')$$);

-- Shared by a plain GRANT; the default privileges of its owner gave nothing.
set session authorization query_mate;
select mcp._tool_call('orders_of', '{"day": "2026-01-01"}') is null as not_shared, pg_temp.try($$select mcp.save_query('x', 'x', 'select 1')$$);
set session authorization query_admin;
grant execute on function orders_of to query_mate;
set session authorization query_mate;
-- With the rights of whoever calls it.
select mcp._tool_call('orders_of', '{"day": "2026-01-01"}') is null as not_shared, pg_temp.call('orders_of', '{"day": "2026-01-01"}');
select pg_temp.try($$select mcp.drop_query('orders_of')$$);

-- A role that was given the functions, but is no administrator: its query is its own until somebody trusts it.
reset session authorization;
grant usage on schema mcp to query_plain;
do $$ declare f regprocedure; begin
    for f in select p.oid from pg_proc p cross join lateral aclexplode(p.proacl) a where p.pronamespace = 'mcp'::regnamespace and a.grantee = 'mcp_admin'::regrole loop
        execute format('grant execute on function %s to query_plain', f);
    end loop;
end $$;
grant usage, create on schema "Query Shop" to query_plain;
set session authorization query_plain;
select pg_temp.try($$select mcp.save_query('of_plain', 'x', 'select 1 as one', schema => 'query_closed')$$);
select pg_temp.try($$select mcp.save_query('of_plain', 'x', 'select 1 as one', search_path => '{query_closed,mcp,pg_catalog}')$$);
set client_min_messages = notice;
select mcp.save_query('of_plain', 'Mine', 'select 1 as one', schema => 'Query Shop');
grant execute on function "Query Shop".of_plain to query_mate;
set session authorization query_mate;
select mcp._tool_call('of_plain', '{}') is null as not_trusted;

reset session authorization;
set client_min_messages = error;
drop schema "Query Shop", query_closed cascade;
alter default privileges for role query_admin revoke execute on functions from query_mate;
drop function pg_temp.save;
drop owned by query_admin, query_mate, query_plain;
drop role query_admin, query_mate, query_plain;
