"""Cancelling: by notification on newline, by hanging up on both framings; the statement is gone from the server."""

import json

import pytest

from harness.caller import ToolResult
from harness.clients import LineClient, open_socket
from harness.waits import wait_until


def running(cluster, mark):
    return [row for row in cluster.executors() if mark in (row[5] or "") and row[4] == "active"]


def start_slow(cluster, client, mark, text="select pg_sleep(25)"):
    number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": f"{text} /* {mark} */"}})
    wait_until(lambda: running(cluster, mark), 10, f"{mark} runs")
    return number


def gone(cluster, mark, deadline=3):
    wait_until(lambda: not running(cluster, mark), deadline, f"{mark} is gone")


@pytest.mark.parametrize("modern", [True, False], ids=["2026-07-28", "2025-11-25"])
def test_notification_cancels_on_newline(cluster, reader, modern):
    with reader.line(modern=modern) as client:
        if not modern:
            client.initialize()
        number = start_slow(cluster, client, "by notification")
        client.notify("notifications/cancelled", {"requestId": number, "reason": "enough"})
        gone(cluster, "by notification")
        assert "result" in client.request("tools/list", {}), "the connection lives on"
    assert reader.value("select 1") == 1


def test_hanging_up_cancels_on_newline(cluster, reader):
    client = reader.line()
    start_slow(cluster, client, "newline hang-up")
    client.close()
    gone(cluster, "newline hang-up")


@pytest.mark.parametrize("network", ["unix", "tcp"])
@pytest.mark.parametrize("modern", [True, False], ids=["2026-07-28", "2025-11-25"])
def test_hanging_up_cancels_on_http(cluster, reader, network, modern):
    with reader.connect() as helper:
        helper.modern, helper.version = modern, "2025-11-25"
        params = {"name": "execute_sql", "arguments": {"query": "select pg_sleep(25) /* http hang-up */"}}
        body = json.dumps(helper.message("tools/call", params)).encode()
        headers = {"Host": "localhost", "Content-Length": len(body), **helper.rpc_headers("tools/call", params)}
    head = "POST /mcp HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    where = {"unix": cluster.mcp_socket} if network == "unix" else {"tcp": ("127.0.0.1", cluster.port)}
    with open_socket(**where) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: running(cluster, "http hang-up"), 10, "the call runs")
    gone(cluster, "http hang-up")
    assert reader.value("select 1") == 1


def test_cancel_frees_locks(cluster, writer):
    client = writer.line()
    start_slow(cluster, client, "holding", "lock table shop.counter in exclusive mode; select pg_sleep(25)")
    client.close()
    gone(cluster, "holding")
    locks = "select count(*) from pg_locks where relation = 'shop.counter'::regclass and mode = 'ExclusiveLock'"
    wait_until(lambda: cluster.value(locks) == 0, 3, "the lock is free")


def test_cancel_while_waiting_for_a_lock(cluster, writer):
    with cluster.connect(autocommit=False) as blocker, writer.line() as client:
        blocker.execute("lock table shop.counter in access exclusive mode")
        number = start_slow(cluster, client, "waiting", "update shop.counter set n = n")
        client.notify("notifications/cancelled", {"requestId": number})
        gone(cluster, "waiting")


def test_cancelled_write_is_rolled_back(cluster, writer):
    before = cluster.value("select n from shop.counter where name = 'a'")
    client = writer.line()
    start_slow(cluster, client, "half done", "update shop.counter set n = n + 1 where name = 'a'; select pg_sleep(25)")
    client.close()
    gone(cluster, "half done")
    assert cluster.value("select n from shop.counter where name = 'a'") == before


def test_stubborn_loop_is_terminated_after_hang_up(cluster, reader):
    """A loop that traps the cancel does not outlive its client."""
    client = reader.line()
    start_slow(cluster, client, "stubborn", "do $$begin loop begin perform pg_sleep(60); exception when query_canceled then null; end; end loop; end$$")
    client.close()
    gone(cluster, "stubborn", 15)
    assert reader.value("select 1") == 1


def test_cancel_of_a_queued_call(cluster, simple):
    """A call that waits for an executor can be cancelled as well, and never starts."""
    with simple.line() as client:
        numbers = [client.start("tools/call", {"name": "execute_sql", "arguments": {"query": f"select pg_sleep(3) /* queued {n} */"}})
                   for n in range(10)]
        wait_until(lambda: running(cluster, "queued"), 10, "the first call runs")
        for number in numbers:
            client.notify("notifications/cancelled", {"requestId": number})
        gone(cluster, "queued", 5)
        assert ToolResult(client.call_tool("execute_sql", {"query": "select 1"})).value == 1


def test_late_and_foreign_cancels_are_harmless(cluster, simple, writer):
    with simple.line() as mine, LineClient(unix=cluster.mcp_socket, upgrade="/mcp", headers=writer.headers) as theirs:
        number = start_slow(cluster, theirs, "of another", "select pg_sleep(1), 'done'")
        # The same number on another connection is another request.
        mine.notify("notifications/cancelled", {"requestId": number})
        assert "done" in str(theirs.finish(number))
        theirs.notify("notifications/cancelled", {"requestId": number})
        theirs.notify("notifications/cancelled", {"requestId": 987654})
        theirs.notify("notifications/cancelled", {})
        assert "result" in theirs.request("server/discover")


def test_cancel_races_lose_nothing(cluster, simple):
    """Cancels that arrive at any moment of a short call never hit the next call."""
    with simple.line() as client:
        for n in range(300):
            number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select 1"}})
            client.notify("notifications/cancelled", {"requestId": number})
            answer = client.call_tool("execute_sql", {"query": f"select {n}"})
            assert ToolResult(answer).value == n
