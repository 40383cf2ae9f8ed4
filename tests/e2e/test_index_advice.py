"""advise_indexes and what it stands on: plans of the caller's text that never run, hypothetical indexes that leave nothing behind."""

import json
from pathlib import Path

import psycopg
import pytest

from harness.caller import token_caller
from harness.cluster import Cluster, pg_config, server_major

HAVE_HYPOPG = (Path(pg_config("sharedir")) / "extension" / "hypopg.control").exists()
HAVE_STATEMENTS = (Path(pg_config("pkglibdir")) / "pg_stat_statements.so").exists()
checks = pytest.mark.skipif(not HAVE_HYPOPG, reason="this server comes without hypopg")
counts = pytest.mark.skipif(not HAVE_STATEMENTS, reason="this server comes without pg_stat_statements")

WORLD = """
create role plain_direct login; create role plain_bridge nologin; create role writer login; create role analyst login;
grant pg_read_all_stats to analyst;
select mcp.grant_tools(r::regrole, write => r = 'writer') from unnest(array['plain_direct', 'plain_bridge', 'writer', 'analyst']) r;
create schema "Big Shop"; grant usage on schema "Big Shop" to plain_direct, plain_bridge, writer, analyst;
set search_path = "Big Shop";
create table customer (id int primary key, "Full Name" text, city text);
insert into customer select g, 'n' || g, 'c' || g % 100 from generate_series(1, 5000) g;
create table orders (id bigint primary key, customer_id int, status text, placed timestamptz, amount numeric, tags text[], filler text);
insert into orders select g, g % 5000, (array['new', 'done', 'gone'])[1 + g % 3], '2026-01-01'::timestamptz + g * interval '1 minute', g % 77, '{}', repeat('x', 60)
  from generate_series(1, 30000) g;
create table parted (a int, b int) partition by list (b);
create table parted_1 partition of parted for values in (1);
create table parted_2 partition of parted for values in (2);
insert into parted select g, 1 + g % 2 from generate_series(1, 20000) g;
create table unseen (a int);
create sequence ticks;
create function tick() returns bigint language sql volatile as 'select nextval(''"Big Shop".ticks'')';
grant select on customer, orders, parted to plain_direct, plain_bridge, writer, analyst;
grant insert, update, delete on customer, orders to writer; grant usage on sequence ticks to writer, plain_direct, plain_bridge;
alter role plain_direct set search_path = "Big Shop"; alter role plain_bridge set search_path = "Big Shop";
alter role writer set search_path = "Big Shop"; alter role analyst set search_path = "Big Shop";
vacuum analyze;
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster(shared_preload_libraries="supabase_mcp" + ",pg_stat_statements" * HAVE_STATEMENTS, jit="off").start()
    one.install()
    with one.connect() as connection:
        for statement in WORLD.strip().split(";\n"):
            connection.execute(statement)
        if HAVE_HYPOPG:
            connection.execute('create schema "Hypo ""thetical"; create extension hypopg schema "Hypo ""thetical"; grant usage on schema "Hypo ""thetical" to public')
        if HAVE_STATEMENTS:
            connection.execute("create extension pg_stat_statements schema public")
    yield one
    one.remove()


_made = {}


@pytest.fixture
def plain(site, form):
    """A role whose search_path finds the tables: the same text must mean the same as in execute_sql."""
    if form not in _made:
        _made[form] = token_caller(site, f"plain_{form}", form=form)
    return _made[form]


@pytest.fixture(scope="module")
def writer(site):
    return token_caller(site, "writer")


@pytest.fixture(scope="module")
def analyst(site):
    return token_caller(site, "analyst")


def advised(caller, query):
    return caller.tool("advise_indexes", {"query": query}).data


def created(data):
    return [item["create"] for item in data["indexes"]]


# ---- advice

@checks
@pytest.mark.parametrize("query,wanted", [
    ("select * from orders where customer_id = 5", ['create index on "Big Shop".orders (customer_id);']),
    ("select * from orders where customer_id = $1", ['create index on "Big Shop".orders (customer_id);']),
    ("select * from orders where customer_id = 5 -- the end", ['create index on "Big Shop".orders (customer_id);']),
    ("delete from orders where false", []),
    ("select * from orders where id = 5", []),
    ("select * from parted where a = 5", ['create index on "Big Shop".parted (a);']),
    ("select * from customer where \"Full Name\" = 'n7; drop table customer'", ['create index on "Big Shop".customer ("Full Name");']),
    ("select * from customer where \"Full Name\" like 'n77%'", ['create index on "Big Shop".customer ("Full Name" text_pattern_ops);']),
    ("select * from orders where placed > '2026-01-01' and placed < '2026-01-01 01:00'", ['create index on "Big Shop".orders (placed);']),
    ("select * from orders order by placed desc limit 3", ['create index on "Big Shop".orders (placed);']),
])
def test_advice_for_one_statement(site, plain, query, wanted):
    if query.startswith("delete"):
        site.sql('grant delete on "Big Shop".orders to plain_direct, plain_bridge')
    data = advised(plain, query)
    assert data["checked"] is True and created(data) == wanted, data
    for item in data["indexes"]:
        assert item["cost_after"] < item["cost_before"] and item["size_bytes"] > 0
    assert data["cost_after"] <= data["cost_before"]


@checks
def test_advice_for_a_join_takes_an_index_of_each_table(plain):
    data = advised(plain, "select * from orders o join customer c on c.id = o.customer_id where c.\"Full Name\" = 'n7'")
    assert sorted(created(data)) == ['create index on "Big Shop".customer ("Full Name");', 'create index on "Big Shop".orders (customer_id);']
    costs = [(item["cost_before"], item["cost_after"]) for item in data["indexes"]]
    assert costs[0][0] == data["cost_before"] and costs[0][1] == costs[1][0] and costs[1][1] == data["cost_after"]


@checks
def test_the_advised_index_is_used_once_it_is_made(site, plain):
    query = "select * from orders where customer_id = 5 and status = 'new'"
    create = created(advised(plain, query))[0]
    site.sql(create)
    try:
        plan = plain.tool("explain_query", {"query": query, "format": "json"}).data["plan"]
        assert "Index Name" in json.dumps(plan)
        assert created(advised(plain, query)) == [], "there is nothing better to advise"
    finally:
        names = [row[0] for row in site.sql("select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = relnamespace"
                                            " where relname like 'orders_customer_id%'")]
        site.sql("drop index " + ", ".join(names))


@checks
def test_what_hypopg_cannot_check_is_told_apart(plain):
    data = advised(plain, "select * from orders where tags @> '{a}'")
    assert data["indexes"] == [] and data["unchecked"] == ['create index on "Big Shop".orders using gin (tags);']


def test_without_hypopg_candidates_are_marked_unchecked(site, plain):
    if HAVE_HYPOPG:
        site.sql("drop extension hypopg")
    try:
        data = advised(plain, "select * from orders where customer_id = 5")
        assert data["checked"] is False and data["indexes"] == []
        assert data["unchecked"] == ['create index on "Big Shop".orders (customer_id);']
        assert "create extension hypopg" in data["missing"] and (HAVE_HYPOPG or f"postgresql-{server_major()}-hypopg" in data["missing"])
    finally:
        if HAVE_HYPOPG:
            site.sql('create extension hypopg schema "Hypo ""thetical"')


@checks
def test_hypopg_in_a_schema_that_the_caller_may_not_use(site, plain):
    site.sql('revoke usage on schema "Hypo ""thetical" from public')
    try:
        error = plain.tool("advise_indexes", {"query": "select 1"}).error
        assert error["sqlstate"] == "42501" and 'grant usage on schema "Hypo ""thetical"' in error["hint"]
    finally:
        site.sql('grant usage on schema "Hypo ""thetical" to public')


@checks
def test_nothing_hypothetical_is_left_in_the_process(plain):
    for query in ("select * from orders where customer_id = 5", "select nope from orders"):
        plain.tool("advise_indexes", {"query": query})
        assert plain.value('select count(*) from "Hypo ""thetical".hypopg()') == 0


def test_advice_on_what_one_may_not_read(plain):
    assert plain.tool("advise_indexes", {"query": "select * from unseen where a = 1"}).error["sqlstate"] == "42501"


# ---- a text that is looked at never runs

ATTACKS = [
    "select 1; delete from orders",
    "select 1; drop table orders",
    "delete from orders; select 1",
    "delete from orders where id = 1;;",
    "select $1::int; delete from orders",
    "select '$1'; delete from orders",
    "analyze delete from orders",
    "(analyze) delete from orders",
    "verbose analyze delete from orders",
    ") delete from orders",
    "select 1) ; delete from orders; --",
    "select 1 /* ; */; delete from orders",
    "select 1 /*",
    "select 1 -- \n; delete from orders",
    "with gone as (delete from orders returning *) select * from gone",
    "with gone as (delete from orders where id = $1 returning *) select * from gone",
    "do $$begin delete from orders; end$$",
    "call something()",
    "execute mcp_planned",
    "prepare p as delete from orders",
    "truncate orders",
    "create table copied as delete from orders returning *",
    "create table copied as select * from orders",
    "select * into copied from orders",
    "declare c cursor for select * from orders",
    "copy orders to program 'true'",
    "commit", "rollback; delete from orders", "vacuum", "set role postgres", "explain analyze delete from orders",
    "select tick()", "select * from tick()", "select tick(), $1::int",
    "", ";", "--", "$1", "select 1 \\; delete from orders", "select E'\\'; delete from orders; --'", "select '\\'; delete from orders; --'",
]


@pytest.mark.parametrize("query", ATTACKS)
@pytest.mark.parametrize("through", ["tool", "psql"])
def test_a_text_is_planned_and_never_run(site, writer, query, through):
    """Called as SQL the function is in a transaction that may write, by a role that may delete: nothing runs all the same."""
    before = site.sql('select (select count(*) from "Big Shop".orders), (select last_value from "Big Shop".ticks), (select is_called from "Big Shop".ticks)')
    if through == "tool":
        writer.tool("advise_indexes", {"query": query})
    else:
        with site.connect(user="writer") as connection:
            try:
                connection.execute("select mcp.advise_indexes(%s)", [query])
            except psycopg.Error as error:
                assert error.sqlstate not in ("XX000", None), error
    assert site.sql('select (select count(*) from "Big Shop".orders), (select last_value from "Big Shop".ticks), (select is_called from "Big Shop".ticks)') == before
    assert site.value("select to_regclass('\"Big Shop\".copied')") is None


@pytest.mark.parametrize("query,said", [("select 1; select 2", "one statement"), ("refresh materialized view x", "no plan"), ("select $1::int; select 2", "")])
def test_several_statements_and_commands_are_refused(plain, query, said):
    error = plain.tool("advise_indexes", {"query": query}).error
    assert said in error["message"] and error["sqlstate"] in ("22023", "0A000") and error["hint"], error


# ---- the workload

@counts
def test_advice_for_the_workload(site, analyst):
    with site.connect(user="writer") as connection:
        site.sql("select public.pg_stat_statements_reset()")
        for n in range(5):
            connection.execute(f"select count(*) from orders where customer_id = {n}")
        connection.execute("select count(*) from orders where customer_id = 3 and amount > 5")
        connection.execute("select count(*) from customer where id = 3")
    site.sql('select count(*) from "Big Shop".unseen where a = 1')
    data = analyst.tool("advise_indexes").data
    assert data["looked_at"] >= 3
    assert any("permission denied for table unseen" in item["why"] for item in data["skipped"])
    if not HAVE_HYPOPG:
        assert data["checked"] is False and 'create index on "Big Shop".orders (customer_id);' in data["unchecked"]
        return
    # Both statements are served by one index: where another needs the longer one, the shorter is part of it.
    [one] = data["indexes"]
    assert one["create"] in ('create index on "Big Shop".orders (customer_id);', 'create index on "Big Shop".orders (customer_id, amount);')
    assert one["saves_ms"] > 0 and len(one["statements"]) == 2 and one["size_bytes"] > 0


@counts
def test_the_workload_runs_nobody_elses_functions(site, analyst):
    """Planning evaluates functions: whoever gets a statement counted must not have his own run as the role that asks for advice."""
    site.sql('create role mallory login; create schema mallory authorization mallory; grant usage on schema mallory to public;'
             ' create table "Big Shop".salary (amount int); insert into "Big Shop".salary values (100);'
             ' grant select on "Big Shop".salary to analyst; grant usage on schema "Big Shop" to mallory')
    try:
        with site.connect(user="mallory") as connection:
            connection.execute("""create function mallory.peek() returns int stable language plpgsql as $f$ begin
                if current_user = 'analyst' then raise exception 'as % I read %', current_user, (select amount from "Big Shop".salary); end if;
                return 1; end $f$""")
            site.sql("select public.pg_stat_statements_reset()")
            connection.execute("select count(*) from pg_class where relpages = mallory.peek()")
        with site.connect(user="writer") as connection:
            connection.execute("select count(*) from mallory.peek()")
        data = analyst.tool("advise_indexes").data
        assert "I read 100" not in json.dumps(data)
        why = {item["query"][:40]: item["why"] for item in data["skipped"]}
        assert "role mallory, who ran it, may create functions" in why["select count(*) from pg_class where relp"]
        assert "function mallory.peek() of role mallory may be in it" in why["select count(*) from mallory.peek()"]
        # By its text it is the caller's own choice, as in execute_sql.
        error = analyst.tool("advise_indexes", {"query": "select count(*) from pg_class where relpages = mallory.peek()"}).error
        assert "as analyst I read 100" in error["message"]
    finally:
        site.sql('drop schema mallory cascade; drop owned by mallory; drop role mallory; drop table "Big Shop".salary')


def test_workload_without_statistics_says_what_is_missing(simple):
    error = simple.tool("advise_indexes").error
    assert error["sqlstate"] == "0A000" and "create extension pg_stat_statements" in error["hint"]


# ---- what explain_query stands on

@checks
def test_hypothetical_indexes_are_made_from_objects_and_texts(site):
    with site.connect(user="writer") as connection:
        made = connection.execute("select mcp._hypothetical(%s)", [json.dumps([
            {"table": "orders", "columns": ["status", "amount"], "where": "amount > 3", "unique": True},
            {"table": "customer", "columns": ["Full Name"], "using": "hash"}, "create index on orders (placed desc)"])]).fetchone()[0]
        assert [item["definition"] for item in made] == [
            'create unique index on "Big Shop".orders using btree (status, amount) where amount > 3',
            'create index on "Big Shop".customer using hash ("Full Name")', "create index on orders (placed desc)"]
        assert connection.execute('select count(*) from "Hypo ""thetical".hypopg()').fetchone()[0] == 3
        assert connection.execute("select mcp._hypothetical('[]')").fetchone()[0] == []
        assert connection.execute('select count(*) from "Hypo ""thetical".hypopg()').fetchone()[0] == 0


@checks
@pytest.mark.parametrize("given,sqlstate,hint", [
    ([{"table": "orders", "columns": ["custmer_id"]}], "42703", "customer_id"),
    ([{"table": "ordrs", "columns": ["id"]}], "42P01", "orders"),
    ([{"table": "orders"}], "22023", "columns"),
    ([5], "22023", "columns"),
    (["drop table orders"], "22023", "create index"),
    (["create index on orders (amount)", "select 1"], "22023", "create index"),
    ({"table": "orders"}, "22023", None),
    ([{"table": "orders", "columns": ["tags"], "using": "gin"}], "22023", "btree"),
    ([{"table": "orders", "columns": ["id"], "using": "btree (id); drop table orders; --"}], "42704", None),
    (["create index on orders (nope)"], "22023", "btree"),
    (["create index on orders (id"], "42601", None),
    ([{"table": "orders", "columns": ["id"], "where": "amount > 1); drop table orders; --"}], "42601", None),
])
def test_wrong_hypothetical_indexes(site, given, sqlstate, hint):
    with site.connect(user="writer") as connection:
        with pytest.raises(psycopg.Error) as raised:
            connection.execute("select mcp._hypothetical(%s)", [json.dumps(given)])
        assert raised.value.sqlstate == sqlstate and (hint is None or hint in raised.value.diag.message_hint)
        assert connection.execute('select count(*) from "Hypo ""thetical".hypopg()').fetchone()[0] == 0


@checks
def test_other_statements_in_a_hypothetical_index_are_not_run(site):
    with site.connect(user="postgres") as connection:
        connection.execute("select mcp._hypothetical(%s)", [json.dumps([
            {"table": "orders", "columns": ["id"], "where": "amount > 1; drop table \"Big Shop\".orders"},
            'create index on "Big Shop".orders (amount); drop table "Big Shop".orders'])])
    assert site.value("select count(*) from \"Big Shop\".orders") == 30000


def test_hypothetical_indexes_without_hypopg(cluster):
    with cluster.connect(user="reader_direct") as connection:
        assert connection.execute("select mcp._hypothetical('[]')").fetchone()[0] == []
        with pytest.raises(psycopg.errors.FeatureNotSupported) as raised:
            connection.execute("select mcp._hypothetical('[\"create index on shop.orders (amount)\"]')")
        assert "create extension hypopg" in raised.value.diag.message_hint
