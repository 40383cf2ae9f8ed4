"""Parameters of the URL: `read_only` is obeyed on every transport, what is neither true nor false is refused, others are ignored."""

import pytest

from harness.caller import Caller, ToolResult
from harness.clients import LineClient
from harness.refusal import answer_of

INSERT = "insert into shop.orders (customer_id, amount) values (1, 1) returning amount::int"


def at(cluster, caller, query, tcp=False):
    one = Caller(cluster, caller.headers, tcp=tcp)
    one.path = f"/mcp?{query}"
    return one


@pytest.mark.parametrize("query", ["read_only=true", "project_ref=abc&read_only=true&features=database", "read%5Fonly=true"])
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_a_writer_only_reads(cluster, writer, query, tcp):
    one = at(cluster, writer, query, tcp)
    assert one.sqlstate(INSERT) == "25006"
    assert one.value("select count(*) > 0 from shop.orders") is True
    assert one.sqlstate(f"set transaction read write; {INSERT}") is not None
    one.close()


def test_a_line_connection_only_reads(cluster, writer):
    with LineClient(unix=cluster.mcp_socket, upgrade="/mcp?read_only=true", headers=writer.headers) as client:
        assert client.upgrade_status == 101
        assert ToolResult(client.call_tool("execute_sql", {"query": INSERT})).error["sqlstate"] == "25006"


@pytest.mark.parametrize("query", ["", "read_only=false", "project_ref=abc", "features=database,docs", "readonly=true", "x=read_only=true"])
def test_anything_else_changes_nothing(cluster, writer, query):
    assert at(cluster, writer, query).value(INSERT) == 1


def test_it_is_of_the_request_and_not_of_the_caller(cluster, writer):
    """The same token on the same process: one call may write and the next not."""
    for _ in range(3):
        assert at(cluster, writer, "read_only=true").sqlstate(INSERT) == "25006"
        assert writer.value(INSERT) == 1


@pytest.mark.parametrize("query", ["read_only", "read_only=", "read_only=1", "read_only=TRUE", "read_only=yes",
                                   "read_only=true&read_only=false", "read_only=true&read_only=true"])
def test_what_is_neither_true_nor_false_is_400(cluster, writer, query):
    status, result, response = answer_of(at(cluster, writer, query))
    assert status == 400 and "read_only" in response.body.decode(), response
