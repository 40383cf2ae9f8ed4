-- The catalog tools: search_objects, describe_function, list_policies, list_triggers, list_types, foreign_key_graph, schema_document,
-- list_roles_and_grants, and sample rows of describe_table: what they show, to whom, and what a wrong argument is told.
-- Runs as roles that are not superusers, but for the set-up.
\pset format unaligned
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role cat_agent login;
create role cat_owner;
create role cat_team;
create role cat_lead in role cat_team;
create role "Cat Boss" login in role cat_lead;
create role cat_apart login noinherit in role cat_team;
create role cat_bypass bypassrls;
create schema cat_shop authorization cat_owner;
create schema "Cat ""w. eird" authorization cat_owner;
create schema cat_closed authorization cat_owner;
grant usage on schema cat_shop, "Cat ""w. eird" to cat_agent;
grant usage on schema cat_shop to cat_team;
set role cat_owner;
create type cat_shop.mood as enum ('sad', 'it''s "fine"');
create domain cat_shop.amount as integer default 1 not null check (value > 0);
create type cat_shop.pair as (a integer, "b c" text[]);
create type cat_shop.span as range (subtype = integer);
create table cat_shop.customer (id integer primary key, name text not null, email text, feeling cat_shop.mood, secret text);
comment on table cat_shop.customer is 'People who buy';
create table cat_shop.orders (id bigint generated always as identity primary key, customer_id integer not null references cat_shop.customer on delete cascade,
                              total numeric(10, 2) default 0 check (total >= 0), note text);
comment on column cat_shop.orders.total is 'In euro';
create index orders_note on cat_shop.orders (lower(note));
create table cat_shop.note (id integer, owner name, body text);
alter table cat_shop.note enable row level security;
create policy own on cat_shop.note using (owner = current_user);
create policy lead_only on cat_shop.note as restrictive for delete to cat_lead using (true);
create table cat_shop.closed_rls (id integer);
alter table cat_shop.closed_rls enable row level security;
create table cat_shop.unseen_orders (id integer references cat_shop.customer);
create table cat_closed.orders (id integer);
create table "Cat ""w. eird"."Ta.b%le\ #1" ("Co""l" integer primary key, parent integer references "Cat ""w. eird"."Ta.b%le\ #1",
                                            customer integer unique references cat_shop.customer);
create view cat_shop.big as select id, total from cat_shop.orders where total > 10;
create function cat_shop.total(c integer, out sum numeric, rate numeric default 1.5, variadic rest text[] default '{}') language sql stable as 'select 1.0';
create function cat_shop.total(c text) returns setof cat_shop.orders language sql security definer set search_path = cat_shop as 'select * from orders';
comment on function cat_shop.total(text) is 'Sums it up';
create function cat_shop.hidden_total() returns integer language sql as 'select 1';
revoke execute on function cat_shop.hidden_total() from public;
create procedure cat_shop.settle(inout x integer) language plpgsql as 'begin x := x + 1; end';
create aggregate cat_shop.my_sum(integer) (sfunc = int4pl, stype = integer, initcond = '0');
create function cat_shop.touch() returns trigger language plpgsql as 'begin return new; end';
create trigger touch before update of note or insert on cat_shop.orders for each row when (new.note is not null) execute function cat_shop.touch('a', 'b');
create trigger off after truncate on cat_shop.orders execute function cat_shop.touch();
alter table cat_shop.orders disable trigger off;
create trigger unseen before insert on cat_shop.unseen_orders for each row execute function cat_shop.touch();
insert into cat_shop.customer select n, 'c' || n, case n when 1 then repeat('x', 250) when 2 then (select string_agg(md5(i::text), '') from generate_series(1, 1000) i) end, 'sad', 's'
  from generate_series(1, 30) n;
insert into cat_shop.note values (1, 'cat_agent', 'mine'), (2, 'cat_owner', 'not mine');
grant select on cat_shop.orders, cat_shop.note, cat_shop.closed_rls, cat_shop.big, cat_closed.orders, "Cat ""w. eird"."Ta.b%le\ #1" to cat_agent;
grant select (id, name, email) on cat_shop.customer to cat_agent;
grant insert, update on cat_shop.orders to cat_team with grant option;
grant delete on cat_shop.orders to public;
reset role;
select mcp.grant_tools('cat_agent') is not null as granted;
create function pg_temp.show(answer jsonb, key text) returns setof text language sql as
    $$ select regexp_replace(e::text, '"rows": [0-9]+, |, "rows": [0-9]+', '', 'g') from jsonb_array_elements(answer -> key) with ordinality u (e, o) order by o $$;
create function pg_temp.names(answer jsonb) returns text[] language sql as
    $$ select array(select concat(e ->> 'kind', ' ', e ->> 'name') from jsonb_array_elements(answer -> 'objects') with ordinality u (e, o) order by o) $$;
create function pg_temp.try(statement text) returns text language plpgsql as $$
declare r text; m text; h text;
begin
    execute statement into r;
    return 'done' || coalesce(': ' || r, '');
exception when others then
    get stacked diagnostics m = message_text, h = pg_exception_hint;
    return concat_ws(' | ', sqlstate, m, nullif(h, ''));
end $$;

set session authorization cat_agent;
-- A word: equal names first, then names that begin with it, then those that hold it, then comments. Nothing that may not be seen.
select unnest(pg_temp.names(mcp.search_objects('orders')));
select pg_temp.names(mcp.search_objects('TOTAL', kind => 'functions')) as any_case, pg_temp.names(mcp.search_objects('who buy')) as by_comment,
       pg_temp.names(mcp.search_objects('s_id')) as no_wildcard, pg_temp.names(mcp.search_objects('%r\_i%')) as backslash,
       pg_temp.names(mcp.search_objects('customer_i%')) as pattern, pg_temp.names(mcp.search_objects('orders.customer_id')) as dotted;
select pg_temp.names(mcp.search_objects('secret')) as column_without_privilege, pg_temp.names(mcp.search_objects('unseen')) as table_without,
       pg_temp.names(mcp.search_objects('hidden_total')) as function_without, pg_temp.names(mcp.search_objects(schema => 'cat_shop', kind => 'schema')) as schemas;
-- Without a pattern: all but the parts of tables.
select unnest(pg_temp.names(mcp.search_objects(schema => 'cat_shop')));
select unnest(pg_temp.names(mcp.search_objects(schema => 'Cat "w. eird', kind => k))) from unnest(array['table', 'column', 'index', 'constraint']) k;
select pg_temp.names(mcp.search_objects('#1'));
select pg_temp.show(mcp.search_objects('o', schema => 'cat_shop', detail => 'summary'), 'objects');
select pg_temp.show(mcp.search_objects('o', schema => 'cat_shop', kind => k, detail => 'full'), 'objects')
  from unnest(array['table', 'column', 'constraint', 'index', 'policy', 'procedure', 'schema', 'sequence', 'trigger', 'type']) k;
create function pg_temp.pages(word text, size integer) returns text[] language plpgsql as $$
declare found text[] := '{}'; answer jsonb; last text;
begin
    for i in 1 .. 200 loop
        answer := mcp.search_objects(word, max_objects => size, after => last);
        found := found || pg_temp.names(answer);
        last := answer ->> 'next';
        exit when last is null;
    end loop;
    return found;
end $$;
select word, size, p.names = pg_temp.names(mcp.search_objects(word, max_objects => 1000)) as complete, cardinality(p.names) > 5 as some
  from unnest(array['o', '%', '%o%', 'cat_']) word, unnest(array[2, 7]) size, lateral (select pg_temp.pages(word, size) as names) p;
select pg_temp.try($$select mcp.search_objects('x', kind => 'tabel')$$);
select pg_temp.try($$select mcp.search_objects('x', detail => 'much')$$);
select pg_temp.try($$select mcp.search_objects('x', after => 'page 2')$$);
select pg_temp.try($$select mcp.search_objects('x', schema => 'cat_shopp')$$), pg_temp.try($$select mcp.search_objects('x', schema => 'cat_closed')$$);

select pg_temp.show(mcp.describe_function(n), 'functions') from unnest(array['cat_shop.total', 'my_sum', 'settle', 'touch', 'total(TEXT)', 'cat_shop.total(integer,numeric,text[])']) n;
select mcp.describe_function('row_number', 'pg_catalog') #>> '{functions,0,kind}' as kind, mcp.describe_function('pg_catalog.abs') #>> '{functions,0,source}' as no_source;
select pg_temp.try(format('select mcp.describe_function(%L)', n)) from unnest(array['totl', 'hidden_total', 'cat_closed.total', 'total(bytea)', '', 'a.b.c', '"']) n;

select pg_temp.show(mcp.list_policies('{cat_shop}'), 'policies');
select mcp.list_policies('{cat_shop,nope}') - 'policies';
select mcp.list_policies('{cat_shop}', max_policies => 1) ->> 'next' as next, mcp.list_policies('{cat_shop}', after => 'cat_shop.note.lead_only') as rest;
select jsonb_array_length(mcp.list_policies("table" => 'orders') -> 'policies') as none;
select pg_temp.try($$select mcp.list_policies("table" => 'unseen_orders')$$);
reset session authorization;
grant cat_agent to cat_bypass;
set session authorization cat_bypass;
select mcp.list_policies("table" => 'note') ->> 'you_bypass' as all_of_them, mcp.list_policies("table" => 'note') #> '{policies,0,you_bypass}' as this_one;
set session authorization cat_agent;

select pg_temp.show(mcp.list_triggers('{cat_shop}'), 'triggers');
select mcp.list_triggers('{cat_shop}', max_triggers => 1) ->> 'next' as next, mcp.list_triggers(after => 'cat_shop.orders.off') #>> '{triggers,0,name}' as then;
select pg_temp.show(mcp.list_types('{cat_shop}'), 'types');
select mcp.list_types('{cat_shop}', max_types => 1) ->> 'next' as next, mcp.list_types(after => 'cat_shop.mood') #>> '{types,0,name}' as then;
select pg_temp.show(mcp.foreign_key_graph(), 'foreign_keys');
select mcp.foreign_key_graph(format => 'mermaid') ->> 'mermaid' as diagram;
select jsonb_array_length(mcp.foreign_key_graph("table" => 'orders') -> 'foreign_keys') as of_one, mcp.foreign_key_graph(max_keys => 2) ->> 'next' as next;
select pg_temp.try($$select mcp.foreign_key_graph(format => 'svg')$$);

select mcp.schema_document(array['cat_shop', 'Cat "w. eird']) ->> 'document';
select mcp.schema_document('{cat_shop}') - 'document' as rest, mcp.schema_document('{cat_shop}', after => 'cat_shop.note') ->> 'document' as after;

-- Sample rows: only columns that may be read, only rows that the policies show, long values cut.
select name, t -> 'sample_rows' as rows, t ->> 'sample_note' as note
  from unnest(array['customer', 'note', 'closed_rls', 'big', 'Cat "w. eird.x']) name
 cross join lateral (select case when name like 'Cat%' then mcp.describe_table('Ta.b%le\ #1', sample_rows => 1) else mcp.describe_table(name, 'cat_shop', 2) end as t) d;
select mcp.describe_table('note') ? 'sample_rows' as unasked, jsonb_array_length(mcp.describe_table('customer', sample_rows => 1000) -> 'sample_rows') as at_most;
reset session authorization;
grant insert on cat_shop.closed_rls to cat_apart;
grant usage on schema cat_shop to cat_apart;
select mcp.grant_tools('cat_apart') is not null as granted;
set session authorization cat_apart;
select mcp.describe_table('closed_rls', sample_rows => 1) ->> 'sample_note' as note;

set session authorization cat_agent;
select role, jsonb_pretty(mcp.list_roles_and_grants(role, 'cat_shop.orders') #- '{privileges,MAINTAIN}') from unnest(array['Cat Boss', 'cat_apart']) role;
select role, mcp.list_roles_and_grants(role, 'cat_shop.note') -> 'row_level_security' as rows, mcp.list_roles_and_grants(role, 'cat_shop.note') #> '{privileges,SELECT}' as read,
       mcp.list_roles_and_grants(role, 'cat_shop.note') -> 'missing' as missing
  from unnest(array['cat_agent', 'cat_owner', 'cat_bypass', 'cat_team', 'postgres']) role;
select mcp.list_roles_and_grants('cat_agent', 'customer') #> '{privileges,SELECT}' as columns;
-- MAINTAIN is there since version 17.
select pg_temp.show(replace(mcp.list_roles_and_grants("table" => 'customer')::text, '"MAINTAIN", ', '')::jsonb, 'roles');
select pg_temp.show(replace(mcp.list_roles_and_grants("table" => 'cat_shop.orders')::text, '"MAINTAIN", ', '')::jsonb, 'roles');
select mcp.list_roles_and_grants("table" => 'customer') - 'roles' as head;
select e - 'members' from jsonb_array_elements(mcp.list_roles_and_grants() -> 'roles') e where e ->> 'name' ~* '^cat.(boss|apart|bypass)';
select s from jsonb_array_elements(mcp.list_roles_and_grants('"Cat Boss"') -> 'schemas') s where s ->> 'schema' = 'cat_shop';
select pg_temp.try($$select mcp.list_roles_and_grants('cat_agnt')$$), pg_temp.try($$select mcp.list_roles_and_grants("table" => 'unseen_orders')$$);

reset session authorization;
drop schema cat_shop, cat_closed, "Cat ""w. eird" cascade;
drop owned by cat_agent, cat_owner, cat_team, cat_lead, "Cat Boss", cat_apart, cat_bypass;
drop role cat_agent, cat_owner, cat_team, cat_lead, "Cat Boss", cat_apart, cat_bypass;
