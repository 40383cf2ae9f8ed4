-- list_schemas, list_tables and list_extensions: what a role sees, names that need quoting, pages, the byte cap.
-- Runs as roles that are not superusers, but for the set-up.
\pset format unaligned
set client_min_messages = error;
create extension if not exists supabase_mcp;
create role tables_agent login;
create role tables_owner;
create role tables_member login in role tables_owner;
create schema "Ta ""bles" authorization tables_owner;
create schema tables_b authorization tables_owner;
create schema tables_closed authorization tables_owner;
grant usage on schema "Ta ""bles", tables_b to tables_agent;
comment on schema tables_b is E'Line one\nline "two"';
set role tables_owner;
create type tables_b.mood as enum ('so so', 'good');
create domain tables_b.email as text not null check (value like '%@%');
create table "Ta ""bles".plain (id bigint generated always as identity primary key, at timestamptz default now());
create table "Ta ""bles"."Order 'Items" (
    id integer primary key,
    "Parent.Id" bigint not null unique references "Ta ""bles".plain on delete cascade,
    price numeric(10, 2) check (price > 0),
    "both" integer,
    doubled numeric generated always as (price * 2) stored,
    mood tables_b.mood default 'so so',
    moods tables_b.mood[],
    mail tables_b.email,
    tags text[] default '{}',
    code varchar(3) collate "C",
    plain_row "Ta ""bles".plain,
    gone integer,
    check ("both" > price)
);
alter table "Ta ""bles"."Order 'Items" drop column gone;
alter table "Ta ""bles"."Order 'Items" enable row level security;
create unique index on "Ta ""bles"."Order 'Items" (code) where code <> '';
comment on table "Ta ""bles"."Order 'Items" is E'Items\tof "orders"\nwith \\ and \u00e9';
comment on column "Ta ""bles"."Order 'Items".price is 'In euros';
create view "Ta ""bles".a_view as select id, id + 1 as more from "Ta ""bles".plain;
create materialized view tables_b.matview as select 1 as one;
create table tables_b.parted (at date, n integer, primary key (at, n)) partition by range (at);
create table tables_b.parted_2026 partition of tables_b.parted for values from ('2026-01-01') to ('2027-01-01');
create table tables_b.one_column (a integer, b integer);
create table tables_b.invisible (a integer references "Ta ""bles"."Order 'Items");
create table tables_b.write_only (a integer);
create table tables_closed.visible_but_closed (a integer);
create sequence tables_b.not_a_table;
grant select on all tables in schema "Ta ""bles" to tables_agent;
grant select on tables_b.matview, tables_b.parted, tables_b.parted_2026, tables_closed.visible_but_closed to tables_agent;
grant select (b) on tables_b.one_column to tables_agent;
grant insert on tables_b.write_only to tables_agent;
reset role;
create foreign data wrapper tables_fdw;
create server tables_server foreign data wrapper tables_fdw;
create foreign table tables_b.foreign_one (a integer) server tables_server;
grant select on tables_b.foreign_one to tables_agent;
select mcp.grant_tools('tables_agent');
select mcp.grant_tools('tables_member');
-- Estimates depend on what the statistics know by now.
create function pg_temp.settle(answer jsonb) returns text language sql as
    $$ select regexp_replace(jsonb_pretty(answer), '"rows": [0-9]+', '"rows": 0', 'g') $$;
create function pg_temp.names(answer jsonb) returns text[] language sql as
    $$ select array(select t ->> 'name' from jsonb_array_elements(answer -> 'tables') with ordinality e (t, o) order by o) $$;

set session authorization tables_agent;
select s from jsonb_array_elements(mcp.list_schemas() -> 'schemas') s where s ->> 'name' ~ 'tables|Ta ' order by s ->> 'name' collate "C";
select s ->> 'name' from jsonb_array_elements(mcp.list_schemas() -> 'schemas') s where s ->> 'name' ~ '^pg_|^information_schema$|^tables_closed$';
select pg_temp.settle(mcp.list_tables(schemas => array['Ta "bles', 'tables_b', 'tables_closed', 'no such schema']));
select pg_temp.settle(mcp.list_tables(schemas => array['Ta "bles'], verbose => true));
select jsonb_pretty(mcp.list_tables(schemas => array['tables_b'], verbose => true) #> '{tables,3}' -> 'columns');
-- The names can be used in SQL as they are.
select bool_and(to_regclass(t ->> 'name') is not null) as all_usable from jsonb_array_elements(mcp.list_tables() -> 'tables') t;
-- Without schemas: all that can be used, none of the system's.
select array(select n from unnest(pg_temp.names(mcp.list_tables())) n where n ~ 'tables_|Ta ') as all_schemas,
       array(select n from unnest(pg_temp.names(mcp.list_tables())) n where n ~ '^(pg_|information_schema)') as of_the_system;
select pg_temp.names(mcp.list_tables(schemas => '{pg_catalog}', max_tables => 2)) as asked_for;
select mcp.list_tables(schemas => '{}') as none, mcp.list_tables(schemas => '{NULL}') as null_element;
-- An owner sees what is his.
set session authorization tables_member;
select pg_temp.names(mcp.list_tables(schemas => array['tables_b', 'tables_closed']));

-- Pages join to the whole, whatever their size.
set session authorization tables_agent;
create function pg_temp.pages(size integer) returns text[] language plpgsql as $$
declare all_names text[] := '{}'; last_name text; answer jsonb;
begin
    for i in 1 .. 100 loop
        answer := mcp.list_tables(schemas => array['Ta "bles', 'tables_b'], max_tables => size, after => last_name);
        all_names := all_names || pg_temp.names(answer);
        exit when not answer ? 'next';
        last_name := answer ->> 'next';
    end loop;
    return all_names;
end $$;
select size, pg_temp.pages(size) = pg_temp.names(mcp.list_tables(schemas => array['Ta "bles', 'tables_b'])) as complete
  from unnest(array[1, 2, 3, 8, 9, 10, 0, -5, null]) size;
select mcp.list_tables(schemas => array['tables_b'], max_tables => 1) - 'tables' as cut;
select mcp.list_tables(schemas => array['tables_b'], after => 'zzz.zzz') as after_the_end;
select mcp.list_schemas(max_schemas => 1) ? 'next' as more, mcp.list_schemas(after => 'zzzz') as none_after;
-- Fewer bytes than the tables need: pages again, and never an empty one.
reset session authorization;
set supabase_mcp.max_bytes = '1kB';
set session authorization tables_agent;
select pg_temp.pages(500) = pg_temp.pages(1) as complete, mcp.list_tables(schemas => array['Ta "bles', 'tables_b']) ? 'next' as cut,
       octet_length(mcp.list_tables(schemas => array['Ta "bles', 'tables_b'])::text) < 1024 as fits;
select jsonb_array_length(mcp.list_tables(schemas => array['Ta "bles'], verbose => true) -> 'tables') as at_least_one;
reset session authorization;
reset supabase_mcp.max_bytes;
set session authorization tables_agent;

select e from jsonb_array_elements(mcp.list_extensions() -> 'extensions') e where e ->> 'name' in ('supabase_mcp', 'plpgsql') order by e ->> 'name' collate "C";
select count(*) = count(distinct e ->> 'name') as once, bool_or(e ->> 'installed_version' is null) as others_too
  from jsonb_array_elements(mcp.list_extensions() -> 'extensions') e;

reset session authorization;
drop schema "Ta ""bles", tables_b, tables_closed cascade;
drop foreign data wrapper tables_fdw cascade;
drop owned by tables_agent, tables_owner, tables_member;
drop role tables_agent, tables_owner, tables_member;
