"""explain_query beyond the plan: warnings in words, and indexes that are not there."""

import pytest

from harness.caller import token_caller

SLOW = "select * from queries_big where mod(b, 1000) = 7"


@pytest.fixture
def big(cluster):
    """Big enough for a sequential scan to be worth a word."""
    cluster.sql("create table queries_big as select n as a, n as b from generate_series(1, 200000) n; analyze queries_big;"
                " grant select on queries_big to public")
    yield
    cluster.sql("drop table queries_big")


@pytest.fixture
def limit_bytes(cluster):
    """Makes a caller whose answers may have that many bytes."""
    callers = []
    cluster.sql("create role explain_short login; select mcp.grant_tools('explain_short'); grant usage on schema shop to explain_short;"
                " grant select on shop.orders to explain_short")

    def make(most):
        cluster.sql(f"load 'supabase_mcp'; alter role explain_short set supabase_mcp.max_bytes = {most}")
        callers.append(token_caller(cluster, "explain_short"))
        return callers[-1]

    yield make
    for caller in callers:
        caller.close()
    cluster.sql("delete from mcp._tokens where role = 'explain_short'::regrole; drop owned by explain_short; drop role explain_short")


@pytest.fixture
def hypopg(cluster):
    if not cluster.value("select exists (select from pg_available_extensions where name = 'hypopg')"):
        pytest.skip("this PostgreSQL has no hypopg")
    cluster.sql("create extension hypopg")
    yield
    cluster.sql("drop extension hypopg")


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize("analyze", [False, True])
def test_explain_warns_in_words(big, reader, format, analyze):
    data = reader.tool("explain_query", {"query": SLOW, "format": format, "analyze": analyze}).data
    assert any("queries_big" in warning and "index" in warning for warning in data["warnings"]), data
    assert "warnings" not in reader.tool("explain_query", {"query": "select 1", "format": format, "analyze": analyze}).data


def test_explain_with_an_index_that_is_not_there(big, hypopg, reader):
    query = "select * from queries_big where a = 7"
    plain = reader.tool("explain_query", {"query": query}).data
    assert "Seq Scan" in plain["plan"] and "hypothetical_indexes" not in plain
    data = reader.tool("explain_query", {"query": query, "hypothetical_indexes": [{"table": "queries_big", "columns": ["a"]}]}).data
    assert "Index" in data["plan"] and "Seq Scan" not in data["plan"]
    [made] = data["hypothetical_indexes"]
    assert made["definition"] == "create index on public.queries_big using btree (a)"
    # They are gone with the call, after an error too.
    assert reader.tool("explain_query", {"query": query}).data["plan"] == plain["plan"]
    failed = reader.tool("explain_query", {"query": "select nothing from queries_big", "hypothetical_indexes": ["create index on queries_big (a)"]})
    assert failed.error["sqlstate"] == "42703"
    assert reader.tool("explain_query", {"query": query}).data["plan"] == plain["plan"]
    assert "Seq Scan" in str(reader.sql(f"explain {query}").rows)


@pytest.mark.parametrize("arguments, words", [
    ({"hypothetical_indexes": [{"table": "queries_big", "columns": ["a"]}], "analyze": True}, "cannot be measured"),
    ({"hypothetical_indexes": [{"table": "queries_big", "columns": ["aa"]}]}, "has no column"),
    ({"hypothetical_indexes": ["drop table queries_big"]}, "no CREATE INDEX"),
    ({"hypothetical_indexes": {"table": "queries_big"}}, "must be of type array"),
])
def test_explain_with_indexes_that_cannot_be(big, hypopg, cluster, reader, arguments, words):
    error = reader.tool("explain_query", {"query": "select 1 from queries_big", **arguments}).error
    assert words in error["message"], error
    assert cluster.value("select count(*) from queries_big") == 200000


def test_only_indexes_are_read_out_of_a_text(big, hypopg, cluster, reader):
    reader.tool("explain_query", {"query": "select 1", "hypothetical_indexes": ["drop table queries_big; create index on queries_big (a)"]})
    assert cluster.value("select count(*) from queries_big") == 200000


def test_explain_says_what_is_missing(cluster, reader):
    if cluster.value("select count(*) from pg_extension where extname = 'hypopg'"):
        pytest.skip("hypopg is there")
    error = reader.tool("explain_query", {"query": "select 1", "hypothetical_indexes": ["create index on shop.orders (amount)"]}).error
    assert "hypopg" in error["message"] and "create extension hypopg" in error["hint"]


def test_explain_without_the_functions_that_warn(cluster, big):
    """Whoever was granted the tool alone has it all the same."""
    cluster.sql("create role explainer login; grant usage on schema mcp to explainer;"
                " grant execute on function mcp.explain_query(text, jsonb, boolean, text, jsonb) to explainer")
    caller = token_caller(cluster, "explainer")
    try:
        data = caller.tool("explain_query", {"query": SLOW}).data
        assert "Seq Scan" in data["plan"] and "warnings" not in data
        assert caller.tool("explain_query", {"query": SLOW}).data == data
    finally:
        caller.close()
        cluster.sql("delete from mcp._tokens where role = 'explainer'::regrole; drop owned by explainer; drop role explainer")


def test_a_plan_that_is_too_long_for_warnings_comes_all_the_same(cluster, limit_bytes):
    """As a document a plan is several times as long as its lines."""
    query = "select " + ", ".join(f"(select count(*) from shop.orders where id = {n})" for n in range(20))
    data = limit_bytes(8000).tool("explain_query", {"query": query}).data
    assert "SubPlan" in data["plan"] or "InitPlan" in data["plan"]
    assert limit_bytes(8000).tool("explain_query", {"query": query, "format": "json"}).error["kind"] == "too_large"
