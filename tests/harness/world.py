"""The sample database and roles that the tests share.

Owns the roles reader_* and writer_* in both executor forms and the schema `shop`. Everything is made by the superuser, as a
DBA would; the tests only change rows inside transactions or in tables of their own.
"""

WORLD = """
create role staff nologin;
create role reader_direct login;
create role reader_bridge nologin;
create role writer_direct login;
create role writer_bridge nologin;
create role outsider login;

create schema shop;
create table shop.customer (id int primary key, name text not null, email text unique, secret text);
insert into shop.customer select n, 'customer ' || n, 'c' || n || '@example.org', 'hidden' from generate_series(1, 50) n;
create table shop.orders (
    id bigint generated always as identity primary key,
    customer_id int not null references shop.customer,
    amount numeric(10,2) not null check (amount >= 0),
    placed timestamptz not null default '2026-01-02 03:04:05+00');
insert into shop.orders (customer_id, amount) select 1 + n % 50, n from generate_series(1, 500) n;
comment on table shop.orders is 'Orders of customers';
comment on column shop.orders.amount is 'In euro';
create view shop.big_orders as select * from shop.orders where amount > 400;
create table shop.salary (id int, amount int);
insert into shop.salary values (1, 100);

create table shop.note (id int generated always as identity, owner name not null default current_user, body text);
insert into shop.note (owner, body) values
    ('reader_direct', 'of reader_direct'), ('reader_bridge', 'of reader_bridge'),
    ('writer_direct', 'of writer_direct'), ('writer_bridge', 'of writer_bridge'), ('staff', 'of staff');
alter table shop.note enable row level security;
create policy own_notes on shop.note using (owner = current_user);

create table shop.counter (name text primary key, n int not null);
insert into shop.counter values ('a', 0);

grant usage on schema shop to reader_direct, reader_bridge, writer_direct, writer_bridge;
grant select (id, name, email) on shop.customer to reader_direct, reader_bridge, writer_direct, writer_bridge;
grant select on shop.orders, shop.big_orders, shop.note, shop.counter
    to reader_direct, reader_bridge, writer_direct, writer_bridge;
grant insert, update, delete on shop.orders, shop.note, shop.counter to writer_direct, writer_bridge;
create schema work_direct authorization writer_direct;
create schema work_bridge authorization writer_bridge;

-- Roles that may sign in but were given no tool: outsider.
select mcp.grant_tools(role => r::regrole) from unnest(array['reader_direct', 'reader_bridge']) r;
select mcp.grant_tools(role => r::regrole, write => true) from unnest(array['writer_direct', 'writer_bridge']) r;
"""


def build_world(cluster):
    cluster.sql(WORLD)
