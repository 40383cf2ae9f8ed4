-- A small shop with three stores, about 100,000 rows, the same at every run. Row-level security keeps the stores apart.

create schema shop;
set search_path = shop;
select setseed(0.42);

create table stores (
    id   integer primary key,
    city text not null unique
);
insert into stores values (1, 'Berlin'), (2, 'Lisbon'), (3, 'Oslo');

create table customers (
    id     integer primary key generated always as identity,
    name   text not null,
    email  text not null unique,
    joined date not null
);
comment on column customers.email is 'Personal data: not for assistants';
insert into customers (name, email, joined)
select format('%s %s', (array['Ada', 'Bela', 'Chen', 'Dara', 'Emil', 'Fatou', 'Goran', 'Hana'])[1 + n % 8],
                       (array['Adler', 'Bosch', 'Costa', 'Dahl', 'Ekberg', 'Farkas', 'Gomes'])[1 + n % 7]),
       format('customer%s@example.org', n),
       date '2022-01-01' + (random() * 1400)::int
from generate_series(1, 6000) n;

create table payment_cards (
    customer_id integer primary key references customers,
    number      text not null
);
insert into payment_cards select id, lpad((random() * 1e15)::bigint::text, 16, '4') from customers where id % 2 = 0;

create table products (
    id       integer primary key generated always as identity,
    name     text not null unique,
    category text not null,
    price    numeric(8, 2) not null check (price > 0)
);
insert into products (name, category, price)
select format('%s %s', adjective, noun), category, round((5 + random() * 195)::numeric, 2)
from unnest(array['Red', 'Blue', 'Oak', 'Steel', 'Wool', 'Tiny', 'Grand', 'Quiet', 'Swift', 'Plain']) adjective,
     (values ('Lamp', 'home'), ('Chair', 'home'), ('Kettle', 'kitchen'), ('Pan', 'kitchen'), ('Jacket', 'clothes'),
             ('Scarf', 'clothes'), ('Novel', 'books'), ('Atlas', 'books'), ('Kite', 'toys'), ('Puzzle', 'toys')) n (noun, category);

create table orders (
    id          integer primary key generated always as identity,
    store_id    integer not null references stores,
    customer_id integer not null references customers,
    ordered_at  timestamptz not null,
    status      text not null check (status in ('open', 'paid', 'shipped', 'returned'))
);
comment on table orders is 'One row per order; a store sees its own only';
insert into orders (store_id, customer_id, ordered_at, status)
select 1 + (random() * 2)::int, 1 + (random() * 5999)::int, timestamptz '2025-01-01' + random() * interval '365 days',
       (array['open', 'paid', 'shipped', 'shipped', 'shipped', 'returned'])[1 + (random() * 5)::int]
from generate_series(1, 28000);

create table order_items (
    order_id   integer not null references orders,
    product_id integer not null references products,
    quantity   integer not null check (quantity > 0),
    primary key (order_id, product_id)
);
insert into order_items
select o.id, 1 + (random() * 99)::int, 1 + (random() * 3)::int from orders o, generate_series(1, 2 + o.id % 2)
on conflict do nothing;

create index on orders (customer_id);
create index on orders (store_id, ordered_at);

alter table orders enable row level security;
alter table order_items enable row level security;

analyze;
