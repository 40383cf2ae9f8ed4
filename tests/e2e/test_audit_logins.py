"""What the audit trail says of callers who turn out to be nobody: every refused login is counted, and few rows are written."""

import http.client
import itertools
import json
import sys

import pytest

from harness.caller import Caller, ToolResult, token_caller
from harness.clients import bearer
from harness.records import Records
from harness.waits import wait_until


@pytest.fixture
def trail(cluster):
    with Records(cluster) as one:
        yield one.mark()
        one.check()


def test_logins_elsewhere_take_no_room(cluster, trail):
    """Databases that do not exist have no trail: however many are asked for, a refused login to this one has its row."""
    address = (f"127.0.3.{n}" for n in itertools.count(1))

    def fail(path):
        client = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=20, source_address=(next(address), 0))
        client.request("POST", path, b"{}", {"Content-Type": "application/json", **bearer("mcp_" + "E" * 43)})
        status = client.getresponse().status
        client.close()
        return status

    for _ in range(3):
        for _ in range(25):
            assert fail("/mcp/nowhere") in (401, 404, 503)
        assert fail("/mcp") == 401
    rows = trail.wait("method = 'login' and peer like '127.0.3.%%'", count=3)
    assert [row["times"] for row in rows] == [1, 1, 1] and all("unknown" in row["rule"] for row in rows), rows


def test_failed_logins(cluster, trail):
    """Who is nobody has no role; what was wrong is told, the credential itself never. So many are counted, not each written."""
    stranger = Caller(cluster, bearer("mcp_" + "B" * 43), tcp=True)
    for _ in range(9):
        assert stranger.rpc("tools/list").status == 401
    wait_until(lambda: sum(row["times"] for row in trail.rows("method = 'login' and peer = '127.0.0.1'")) == 9, 10, "the refused logins")
    rows = trail.rows("method = 'login' and peer = '127.0.0.1'")
    for row in rows:
        assert (row["outcome"], row["authentication"]) == ("refused", "token")
        assert [row[column] for column in ("role", "principal", "client", "tool")] == [None] * 4
        assert "unknown, revoked or expired token" in row["rule"]
    assert Caller(cluster).rpc("tools/list").status == 401
    [row] = trail.wait("method = 'login' and authentication <> 'token'")
    assert (row["outcome"], row["role"], row["authentication"]) == ("refused", None, "peer")
    assert "map_peer" in row["rule"] and row["peer"].startswith("uid "), row
    stranger.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux all of 127/8 is this machine")
def test_a_storm_of_failed_logins_is_counted(cluster, trail):
    """From many addresses, as no address is delayed then: few rows, and none is forgotten, for the next row tells of those before it."""
    def fail(address):
        client = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=20, source_address=(address, 0))
        client.request("POST", "/mcp", b"{}", {"Content-Type": "application/json", **bearer("mcp_" + "C" * 43)})
        assert client.getresponse().status == 401
        client.close()

    for n in range(100):
        fail(f"127.0.1.{n}")
    later = itertools.count(1)

    def told():
        fail(f"127.0.2.{next(later) % 250}")
        told = trail.sql("select coalesce(sum(times), 0) as n from mcp.audit where method = 'login' and id > %s", [trail.seen])[0]["n"]
        assert told >= 100, f"{told} refused logins are recorded"
        return True

    wait_until(told, 5, "the refused logins add up to their number")
    assert len(trail.rows("method = 'login' and peer like '127.0.1.%%'")) < 90


def test_a_refused_login_leaves_all_characters(cluster):
    """It may be the first that a database's trail hears of, before anybody knows its encoding."""
    database = "first_login"
    cluster.sql(f"create database {database}")
    try:
        cluster.install(database)
        cluster.sql("select mcp.grant_tools('reader_direct')", database=database)
        stranger = Caller(cluster, bearer("mcp_" + "F" * 43), database=database)
        assert stranger.rpc("tools/list").status == 401
        stranger.close()
        caller = token_caller(cluster, "reader_direct", database=database)
        with caller.line() as client:
            client.send = lambda message: client.send_bytes(json.dumps(message, ensure_ascii=False).encode() + b"\n")
            assert ToolResult(client.call_tool("execute_sql", {"query": "select 'é 😀'"})).value == "é 😀"
        with Records(cluster, database) as records:
            records.wait("method = 'login'")
            assert "é 😀" in records.wait("method = 'tools/call'")[0]["arguments"]
    finally:
        cluster.sql("select mcp.drain(%s)", [database])
        cluster.sql(f"drop database {database} with (force)")
