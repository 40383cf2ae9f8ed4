"""Slow statements, unused and duplicate indexes: the tools of the feature `queries` that only look."""

from pathlib import Path

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster, pg_config

HAVE_STATEMENTS = (Path(pg_config("pkglibdir")) / "pg_stat_statements.so").exists()
counts = pytest.mark.skipif(not HAVE_STATEMENTS, reason="this server comes without pg_stat_statements")

WORLD = """
create extension if not exists pg_stat_statements;
create role plain login; create role plain_bridge nologin; create role analyst login; grant pg_read_all_stats to analyst;
select mcp.grant_tools(r::regrole) from unnest(array['plain', 'plain_bridge', 'analyst']) r;
create schema store; grant usage on schema store to plain, plain_bridge, analyst;
create table store."Line ""Items" (id int primary key, "Qty" int, price int, note text, unique (price));
insert into store."Line ""Items" select g, g, g, 'n' || g from generate_series(1, 3000) g;
create index by_qty on store."Line ""Items" ("Qty");
create index by_qty_price on store."Line ""Items" ("Qty", price);
create index by_qty_again on store."Line ""Items" ("Qty", price);
create index by_price on store."Line ""Items" (price);
create index "Odd "".name" on store."Line ""Items" (note);
create index by_note_part on store."Line ""Items" (note) where price > 5;
create unique index by_id_unique on store."Line ""Items" (id, note);
create table store.parted (id int, day int) partition by list (day);
create table store.parted_1 partition of store.parted for values in (1);
create table store.parted_2 partition of store.parted for values in (2);
insert into store.parted select g, 1 + g % 2 from generate_series(1, 3000) g;
create index parted_id on store.parted (id);
create table store.unseen (a int); create index unseen_a on store.unseen (a);
grant select on store."Line ""Items", store.parted to plain, plain_bridge, analyst;
analyze;
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster(shared_preload_libraries="supabase_mcp" + ",pg_stat_statements" * HAVE_STATEMENTS).start()
    one.install()
    one.sql(WORLD if HAVE_STATEMENTS else WORLD.replace("create extension if not exists pg_stat_statements;", ""))
    yield one
    one.remove()


@pytest.fixture(scope="module")
def plain(site):
    return token_caller(site, "plain")


@pytest.fixture(scope="module")
def analyst(site):
    return token_caller(site, "analyst")


def listed(result, key="indexes"):
    return {item["index"]: item for item in result.data[key]}


# ---- statements

@counts
def test_slow_statements_of_everybody_with_the_right_to_see_them(site, analyst):
    with site.connect() as connection:
        connection.execute("select pg_stat_statements_reset()")
        for n in (1, 2, 3):
            connection.execute(f'select sum(price) from store."Line ""Items" where price + 0 < {n} * 1000')
    data = analyst.tool("list_slow_queries").data
    assert "not_visible" not in data
    one = next(item for item in data["statements"] if "sum(price)" in item["query"])
    assert one["query"] == 'select sum(price) from store."Line ""Items" where price + $1 < $2 * $3'
    assert one["calls"] == 3 and one["rows"] == 3 and one["role"] == "postgres"
    assert 0 < one["min_ms"] <= one["mean_ms"] <= one["max_ms"] <= one["total_ms"] + 0.01
    assert 0 < one["share"] <= 1 and data["counted_statements"] >= 1 and data["counted_since"]
    full = analyst.tool("list_slow_queries", {"queryid": one["queryid"]}).data["statements"]
    assert [item["queryid"] for item in full] == [one["queryid"]]


@counts
def test_slow_statements_are_sorted_and_cut(site, analyst):
    with site.connect() as connection:
        connection.execute("select pg_stat_statements_reset()")
        for _ in range(5):
            connection.execute("select 1 as often")
        connection.execute("select pg_sleep(1), 1 as rarely")
        connection.execute("select " + ", ".join(f"1 as column_number_{n}" for n in range(100)))
    by_calls = analyst.tool("list_slow_queries", {"sort_by": "calls", "max_queries": 1}).data["statements"]
    assert [item["query"] for item in by_calls] == ["select $1 as often"]
    by_mean = analyst.tool("list_slow_queries", {"sort_by": "mean_time", "max_queries": 1}).data["statements"]
    assert "rarely" in by_mean[0]["query"]
    long = next(item for item in analyst.tool("list_slow_queries").data["statements"] if "column_number_1" in item["query"])
    assert "... (cut, " in long["query"] and len(long["query"]) < 600
    full = analyst.tool("list_slow_queries", {"queryid": long["queryid"]}).data["statements"][0]["query"]
    assert full.endswith("as column_number_99")


@counts
def test_statements_of_others_are_counted_but_not_shown(site, plain):
    site.sql("select 'secret of the administrator'")
    plain.sql("select 'my own statement' as mine")
    data = plain.tool("list_slow_queries").data
    texts = [item["query"] for item in data["statements"]]
    assert any("as mine" in text for text in texts) and not any("secret" in text or "insufficient" in text for text in texts)
    assert {item["role"] for item in data["statements"]} == {"plain"}
    assert "grant pg_read_all_stats to plain" in data["not_visible"]


@counts
@pytest.mark.parametrize("arguments,said", [({"sort_by": "speed"}, "total_time"), ({"queryid": "1; drop"}, "list_slow_queries")])
def test_slow_statements_with_wrong_arguments(plain, arguments, said):
    error = plain.tool("list_slow_queries", arguments).error
    assert error["sqlstate"] == "22023" and said in error["hint"], error


def test_without_the_extension_it_says_what_is_missing(cluster, simple):
    error = simple.tool("list_slow_queries").error
    assert error["sqlstate"] == "0A000" and "pg_stat_statements is not installed" in error["message"]
    assert "shared_preload_libraries" in error["hint"] and "create extension pg_stat_statements" in error["hint"]


@counts
def test_without_the_library_it_says_what_is_missing(cluster, simple):
    cluster.sql("create extension pg_stat_statements")
    try:
        error = simple.tool("list_slow_queries").error
        assert error["sqlstate"] == "55000" and "not loaded" in error["message"] and "restarts" in error["hint"]
    finally:
        cluster.sql("drop extension pg_stat_statements")


@counts
def test_extension_in_a_schema_that_the_caller_may_not_use(site, plain):
    site.sql('create schema "Stat ""s"; alter extension pg_stat_statements set schema "Stat ""s"')
    try:
        error = plain.tool("list_slow_queries").error
        assert error["sqlstate"] == "42501" and 'grant usage on schema "Stat ""s" to plain' in error["hint"]
        site.sql('grant usage on schema "Stat ""s" to plain')
        assert plain.tool("list_slow_queries").data["statements"]
    finally:
        site.sql('alter extension pg_stat_statements set schema public; drop schema "Stat ""s"')


# ---- indexes

def test_unused_indexes(site, plain):
    found = listed(plain.tool("find_unused_indexes"))
    assert set(found) == {"store.by_qty", "store.by_qty_price", "store.by_qty_again", "store.by_price", 'store."Odd "".name"', "store.by_note_part",
                          "store.parted_id"}, "neither constraints nor unique indexes, nor those of tables without privileges, nor of partitions"
    odd = found['store."Odd "".name"']
    assert odd["drop"] == 'drop index store."Odd "".name";' and odd["table"] == 'store."Line ""Items"' and odd["owner"] == "postgres"
    size = site.value("""select pg_relation_size('store."Odd "".name"')""")
    assert odd["size_bytes"] == size and odd["scans"] == 0
    parted = found["store.parted_id"]
    assert parted["partitions"] == 2
    assert parted["size_bytes"] == site.value("select pg_relation_size('store.parted_1_id_idx') + pg_relation_size('store.parted_2_id_idx')")


def test_unused_indexes_say_since_when_and_of_what(site, plain):
    data = plain.tool("find_unused_indexes").data
    assert data["count"] == 7 and data["total_bytes"] == sum(item["size_bytes"] for item in data["indexes"])
    assert "replica" in data["note"] and data["server_started"] and "counted_since" not in data
    sizes = [item["size_bytes"] for item in data["indexes"]]
    assert sizes == sorted(sizes, reverse=True)
    first = plain.tool("find_unused_indexes", {"max_indexes": 2}).data
    assert first["truncated"] is True and first["count"] == 7 and [item["size_bytes"] for item in first["indexes"]] == sizes[:2]


def test_an_index_that_was_scanned_is_not_unused(site, plain):
    site.sql("""create table store.scanned (a int); insert into store.scanned select generate_series(1, 2000); create index scanned_a on store.scanned (a);
                analyze store.scanned; grant select on store.scanned to plain""")
    try:
        assert "store.scanned_a" in listed(plain.tool("find_unused_indexes"))
        with site.connect() as connection:
            connection.execute("set enable_seqscan = off; select * from store.scanned where a = 7; select pg_stat_force_next_flush()")
        assert "store.scanned_a" not in listed(plain.tool("find_unused_indexes"))
        assert listed(plain.tool("find_unused_indexes", {"max_scans": 1}))["store.scanned_a"]["scans"] == 1
    finally:
        site.sql("drop table store.scanned")


def test_duplicate_indexes(plain):
    found = listed(plain.tool("find_duplicate_indexes"))
    assert {name: (item["kind"], item["covered_by"]) for name, item in found.items()} == {
        "store.by_qty": ("prefix", "store.by_qty_price"),
        "store.by_qty_again": ("duplicate", "store.by_qty_price"),
        "store.by_price": ("duplicate", 'store."Line ""Items_price_key"'),
    }
    assert found["store.by_qty"]["drop"] == "drop index store.by_qty;" and "covering_definition" in found["store.by_qty"]


@pytest.mark.parametrize("first,second,redundant", [
    ("create index {} on {} (a)", "create index {} on {} (a desc)", 0),
    ("create index {} on {} (a)", "create index {} on {} (a, b)", 1),
    ("create index {} on {} (b, a)", "create index {} on {} (a, b)", 0),
    ("create index {} on {} (a)", "create index {} on {} (a) include (b)", 1),
    ("create index {} on {} (a) include (c)", "create index {} on {} (a, b)", 0),
    ("create index {} on {} (c)", "create index {} on {} (c collate \"C\")", 0),
    ("create index {} on {} (c)", "create index {} on {} (c text_pattern_ops)", 0),
    ("create index {} on {} (lower(c))", "create index {} on {} (lower(c), a)", 1),
    ("create index {} on {} (lower(c))", "create index {} on {} (upper(c), a)", 0),
    ("create index {} on {} (a) where b > 1", "create index {} on {} (a) where b > 1", 1),
    ("create index {} on {} (a) where b > 1", "create index {} on {} (a)", 0),
    ("create unique index {} on {} (a)", "create index {} on {} (a)", 1),
    ("create unique index {} on {} (a)", "create index {} on {} (a, b)", 0),
    ("create index {} on {} using hash (a)", "create index {} on {} (a)", 0),
    ("create index {} on {} using hash (a)", "create index {} on {} using hash (a)", 1),
    ("create index {} on {} using brin (a)", "create index {} on {} using brin (a, b)", 0),
])
def test_what_counts_as_a_duplicate(site, plain, first, second, redundant):
    site.sql("create table store.pair (a int, b int, c text); grant select on store.pair to plain")
    try:
        with site.connect() as connection:
            for name, command in (("pair_one", first), ("pair_two", second)):
                connection.execute(command.format(name, "store.pair"))
        found = [item for item in plain.tool("find_duplicate_indexes").data["indexes"] if item["table"] == "store.pair"]
        assert len(found) == redundant, found
    finally:
        site.sql("drop table store.pair")


def test_a_role_without_tables_sees_no_index(site):
    site.sql("create role lonely login; select mcp.grant_tools('lonely')")
    caller = token_caller(site, "lonely")
    assert caller.tool("find_unused_indexes").data["indexes"] == [] and caller.tool("find_duplicate_indexes").data["count"] == 0
