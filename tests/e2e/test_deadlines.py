"""Deadlines: half a request and silence are cut off; silence between messages, and long calls, are not.

The whole module runs with deadlines of seconds, far below the defaults.
"""

import pytest

from harness.caller import ToolResult
from harness.clients import LineClient, open_socket
from harness.waits import stays_true, wait_until


def head(caller, length):
    return (f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nAuthorization: {caller.headers['Authorization']}\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()


def ends_within(data, seconds, **where):
    """Whether the server ends a connection that sent this and falls silent."""
    with open_socket(deadline=seconds, **where) as connection:
        connection.sendall(data)
        while connection.recv(65536):
            pass
        return True


@pytest.fixture(scope="module", autouse=True)
def short_deadlines(cluster):
    cluster.configure(supabase_mcp__header_timeout="1s", supabase_mcp__body_timeout="1s", supabase_mcp__idle_timeout="3s")
    # A reload takes effect as a whole, a moment later: this silence shows that it has. The default would be 10 s.
    wait_until(lambda: ends_within(b"", 2, tcp=("127.0.0.1", cluster.port)), 20, "the short deadlines are in force")
    yield
    cluster.configure(supabase_mcp__header_timeout=None, supabase_mcp__body_timeout=None, supabase_mcp__idle_timeout=None)


@pytest.mark.parametrize("network", ["unix", "tcp"])
@pytest.mark.parametrize("start", ["half a head", "half a body", "half a line"])
def test_silence_is_cut_off(cluster, simple, network, start):
    if (network, start) == ("tcp", "half a line"):
        start = "nothing"  # TCP speaks HTTP only; on the Unix socket a client may connect long before it speaks, as socat does
    data = {"nothing": b"", "half a head": b"POST /mcp HTTP/1.1\r\nHost: loc", "half a body": head(simple, 1000) + b'{"json',
            "half a line": b'{"jsonrpc": "2.0", "id"'}[start]
    where = {"tcp": ("127.0.0.1", cluster.port)} if network == "tcp" else {"unix": cluster.mcp_socket}
    assert ends_within(data, 6, **where)
    assert simple.value("select 1") == 1


def test_idle_connections_outlive_the_header_deadline(cluster, simple):
    """Between requests idle_timeout counts, not header_timeout: pools of clients keep their connections."""
    with simple.connect() as client:
        assert client.rpc("tools/list").status == 200
        stays_true(lambda: not client.closed_by_server(), 1.5, "an idle connection")
        assert client.rpc("tools/list").status == 200
        wait_until(client.closed_by_server, 10, "the idle connection is closed at last")


@pytest.mark.parametrize("path", ["/mcp", "/mcp/postgres"])
def test_newline_connections_outlive_the_deadlines(cluster, simple, path):
    """The deadlines are for heads and bodies: neither a long call nor silence between messages ends a newline connection."""
    with LineClient(unix=cluster.mcp_socket, upgrade=path, headers=simple.headers) as client:
        answer = client.call_tool("execute_sql", {"query": "select pg_sleep(2.5), 1"})
        assert ToolResult(answer).rows[0][1] == 1
        assert "result" in client.request("server/discover")
