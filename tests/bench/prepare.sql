-- What the benchmark reads, besides pgbench's own accounts (1,000,000 rows): rows of five columns, and a schema with 205 tables.

create schema bench;

create table bench.wide (
    id     integer primary key,
    name   text not null,
    amount numeric(10, 2) not null,
    at     timestamptz not null,
    active boolean not null
);
insert into bench.wide
select n, 'customer number ' || n, n * 1.37, timestamptz '2026-01-01' + n * interval '1 minute', n % 3 = 0
from generate_series(1, 100000) n;

create schema many;
do $$
begin
    for n in 1..205 loop
        execute format('create table many.t%s (id integer primary key, name text not null, at timestamptz default now())', n);
        execute format('comment on table many.t%s is %L', n, 'Table number ' || n);
    end loop;
end
$$;

create table bench.counters (
    id integer primary key,
    n  bigint not null default 0
);
insert into bench.counters select generate_series(1, 1000);

-- The ten are for cold starts: an executor is never shared between roles.
do $$
begin
    execute 'create role bench_reader login';
    execute 'create role bench_shared nologin in role bench_reader';
    execute 'create role bench_noisy login';
    execute 'create role bench_writer login in role bench_reader';
    for n in 1..10 loop
        execute format('create role bench_cold_%s login', n);
        execute format('grant bench_reader to bench_cold_%s', n);
    end loop;
end
$$;
grant usage on schema bench, many to bench_reader;
grant select on all tables in schema bench, many, public to bench_reader;
grant update on bench.counters to bench_writer;

vacuum analyze;
