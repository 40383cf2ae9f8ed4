"""Input that is wrong, broken or hostile: each gets a clear answer, nothing is lost, and others are served meanwhile."""

import contextlib
import json
import resource
import socket

import pytest

from harness.caller import Caller, ToolResult
from harness.clients import Closed, LineClient, bearer, modern_meta, open_socket
from harness.waits import wait_until

DEEP = b"[" * 200_000


def raw_http(cluster, data, deadline=20, unix=False, half_close=False):
    """Sends bytes, returns all that comes back until the server closes."""
    where = {"unix": cluster.mcp_socket} if unix else {"tcp": ("127.0.0.1", cluster.port)}
    with open_socket(deadline=deadline, **where) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65536):
                received += data
        return received


def head(caller, length, extra=""):
    return (f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nConnection: close\r\n"
            f"Authorization: {caller.headers['Authorization']}\r\nContent-Length: {length}\r\n{extra}\r\n").encode()


def still_served(caller):
    assert caller.value("select 1") == 1


# ---- what is not a message

NOT_MESSAGES = {
    "text": b"hello", "half json": b'{"jsonrpc": "2.0", "id": 1, "method"', "deep array": DEEP, "deep object": b'{"a":' * 100_000,
    "deep params": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + DEEP + b"]" * 200_000 + b"}",
    "empty object": b"{}", "number": b"42", "null": b"null", "invalid utf-8": b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}',
    "nul byte": b'{"jsonrpc":"2.0","id":1,"method":"a\x00b"}', "batch": b"[]", "no version": b'{"id":1,"method":"ping"}',
    "huge number": b'{"jsonrpc":"2.0","id":1e999999,"method":"ping"}', "lone surrogate": b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
    "long number": b'{"jsonrpc":"2.0","id":1,"method":' + b"9" * 100_000 + b"}", "trailing": b'{"jsonrpc":"2.0","id":1,"method":"ping"} x',
    "bad id": b'{"jsonrpc":"2.0","id":{"a":1},"method":"ping"}', "method number": b'{"jsonrpc":"2.0","id":1,"method":7}',
}


@pytest.mark.parametrize("name", list(NOT_MESSAGES))
def test_http_answers_what_is_no_message(simple, name):
    with simple.connect() as client:
        response = client.post(NOT_MESSAGES[name], client.rpc_headers("tools/list", None))
        assert 400 <= response.status < 500, response
        assert response.json()["error"]["message"]
    still_served(simple)


@pytest.mark.parametrize("name", list(NOT_MESSAGES))
def test_newline_answers_what_is_no_message(simple, name):
    """The line gets an error, and the connection lives on."""
    with simple.line() as client:
        client.send_bytes(NOT_MESSAGES[name].replace(b"\n", b" ") + b"\n")
        answer = client.receive()
        assert answer["error"]["code"] in (-32700, -32600, -32601, -32602), answer
        assert "result" in client.request("server/discover")


def test_blank_lines_are_nothing(simple):
    with simple.line() as client:
        client.send_bytes(b"\n \r\n\n")
        assert "result" in client.request("server/discover")


def test_crlf_line_ends(simple):
    with simple.line() as client:
        message = {"jsonrpc": "2.0", "id": 5, "method": "server/discover", "params": {"_meta": modern_meta()}}
        client.send_bytes(json.dumps(message).encode() + b"\r\n")
        assert client.receive()["id"] == 5


def test_first_byte_decides_the_framing(cluster):
    """An unmapped peer's bytes of any kind get an answer or a closed connection, never silence or a crash."""
    for first in (b"\x00\x00\x00\x00", b"\x16\x03\x01\x02\x00", b"SSH-2.0-x\r\n\r\n", b"\xff\n", b"9\r\n\r\n", b"GET\r\n\r\n"):
        raw_http(cluster, first + b"\r\n\r\n", unix=True, half_close=True)
        raw_http(cluster, first + b"\r\n\r\n", half_close=True)
    assert cluster.value("select true")


# ---- size

def test_announced_gigabyte_is_refused_at_once(cluster, simple):
    answer = raw_http(cluster, head(simple, 1 << 30) + b"{")
    assert answer.split()[1] == b"413" and b"max_body_bytes" in answer
    still_served(simple)


def test_streamed_body_is_refused_at_the_cap(cluster, simple):
    """A chunked body without a length: refused when it passes the cap; the gateway's memory does not grow by it."""
    pid = cluster.gateway_pids()[0]
    start = head(simple, 0).replace(b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n")
    piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with open_socket(tcp=("127.0.0.1", cluster.port)) as connection:
        connection.sendall(start)
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            connection.settimeout(5)
            for _ in range(64):
                connection.sendall(piece)
                sent += 1
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            answer = connection.recv(65536)
    assert sent < 64 or b"413" in answer, "64 MB were taken without an objection"
    with open(f"/proc/{pid}/status") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident < 200 * 1024
    still_served(simple)


def test_line_beyond_the_cap_is_refused_and_skipped(simple):
    with simple.line() as client:
        client.send_bytes(b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * (5 * 1024 * 1024) + b'"}\n')
        answer = client.receive()
        assert "max_body_bytes" in answer["error"]["message"]
        assert "result" in client.request("server/discover")


def test_body_of_nearly_the_cap_is_served(simple):
    text = "x" * (3 * 1024 * 1024)
    assert simple.value("select length($1::text)", [text]) == len(text)


def test_long_statement_is_served(simple):
    assert simple.value(f"select length('{'y' * 1_000_000}')") == 1_000_000


def test_huge_header_is_refused(cluster, simple):
    answer = raw_http(cluster, b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n")
    assert answer.split()[1:2] in ([b"431"], [b"400"], [])
    answer = raw_http(cluster, b"GET /mcp HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000 + b"\r\n")
    assert answer.split()[1:2] in ([b"431"], [b"400"], [])
    still_served(simple)


# ---- floods

def test_slow_clients_do_not_delay_others(cluster, simple):
    """Many connections with half a request are open while others are served."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            connection = stack.enter_context(open_socket(tcp=("127.0.0.1", cluster.port)))
            connection.sendall(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\n")
        for _ in range(20):
            still_served(simple)


def test_connections_beyond_the_limit_are_refused_with_an_answer(cluster, simple, settings):
    settings(max_connections=20)

    def refused():
        with contextlib.ExitStack() as stack:
            held = [stack.enter_context(open_socket(tcp=("127.0.0.1", cluster.port))) for _ in range(30)]
            last = held[-1]
            last.settimeout(3)
            with contextlib.suppress(ConnectionResetError):
                last.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            try:
                answer = last.recv(4096)
            except ConnectionResetError:
                return True
            return answer == b"" or b"503" in answer

    wait_until(refused, 20, "connections beyond the limit are refused")
    settings(max_connections=None)
    wait_until(lambda: simple.fresh_rpc("tools/list").status == 200, 20, "service after the flood")


def test_thousands_of_connections(cluster, simple):
    """10,000 connections: those beyond the limit are refused, Postgres and a caller in the middle are unaffected."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    room = wanted + 500 if hard == resource.RLIM_INFINITY else min(wanted + 500, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, room), hard))
    held = []
    early = simple.connect()
    try:
        assert early.rpc("tools/list").status == 200
        for _ in range(room - 500):
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", cluster.port))
            held.append(connection)
            if len(held) % 1000 == 0:
                assert early.rpc("tools/list").status == 200, "a connection from before the flood is served"
        assert cluster.value("select 1") == 1
        assert early.call_tool("execute_sql", {"query": "select 1"})
    finally:
        for connection in held:
            connection.close()
        early.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: simple.fresh_rpc("tools/list").status == 200, 20, "service after the flood")


# ---- arguments

WRONG_ARGUMENTS = {
    "missing": ("execute_sql", {}, "query"),
    "surplus": ("execute_sql", {"query": "select 1", "limit": 3}, "limit"),
    "misspelt": ("execute_sql", {"sql": "select 1"}, "sql"),
    "wrong type": ("execute_sql", {"query": 5}, "query"),
    "null": ("execute_sql", {"query": None}, "query"),
    "params no array": ("execute_sql", {"query": "select 1", "params": "x"}, "params"),
    "array for text": ("describe_table", {"name": ["orders"]}, "name"),
    "text for array": ("list_tables", {"schemas": "shop"}, "schemas"),
    "number for bool": ("list_tables", {"verbose": 3}, "verbose"),
    "text for integer": ("list_tables", {"max_tables": "many"}, "max_tables"),
    "missing of a catalog tool": ("describe_table", {}, "name"),
    "surplus of a catalog tool": ("list_extensions", {"verbose": True}, "verbose"),
}


@pytest.mark.parametrize("name", list(WRONG_ARGUMENTS))
def test_wrong_arguments_say_which(reader, name):
    tool, arguments, names = WRONG_ARGUMENTS[name]
    error = reader.tool(tool, arguments).error
    said = error["message"] + error.get("hint", "")
    # A value that its type does not take is Postgres' own error, which shows the value.
    assert error["kind"] in ("bad_input", "sql") and (names in said or str(arguments.get(names)) in said), error


def test_arguments_that_are_no_object(simple):
    for arguments in ([1], "x", 7):
        response = simple.rpc("tools/call", {"name": "execute_sql", "arguments": arguments})
        assert response.status in (200, 400), response
        message = response.json()
        assert "error" in message or message["result"]["isError"]
    still_served(simple)


@pytest.mark.parametrize("name", ["no_such_tool", "", "x" * 500, "mcp.execute_sql", "execute_sql_write", "EXECUTE_SQL", "list tables",
                                  "pg_sleep", "_tools", "a'b", "a\nb", "ü"])
def test_unknown_tool(simple, name):
    result = simple.tool(name, {"query": "select 1"})
    if result.protocol_error:
        assert result.protocol_error["code"] in (-32602, -32020)
    else:
        assert result.error["kind"] == "unknown_tool"


def test_tool_without_permission_is_unknown(cluster, reader):
    """A tool that the caller may not execute cannot be told from one that does not exist."""
    cluster.sql(f"revoke execute on function mcp.list_extensions() from {reader.role}")
    try:
        denied, unknown = (reader.tool(name, {}).message for name in ("list_extensions", "no_such_tool"))
        assert denied["error"]["code"] == unknown["error"]["code"]
        assert denied["error"]["message"].replace("list_extensions", "X") == unknown["error"]["message"].replace("no_such_tool", "X")
        assert "list_extensions" not in reader.tools()
    finally:
        cluster.sql(f"select mcp.grant_tools('{reader.role}'::regrole)")
    assert "list_extensions" in reader.tools()


@pytest.mark.parametrize("database", ["nope", "postgres/x", "..", "%00", "%ff", "template0", "Postgres", "a" * 300, "%2e%2e%2fpostgres"])
def test_unknown_database(cluster, simple, database):
    response = Caller(cluster, simple.headers, database=database).fresh_rpc("tools/list")
    assert response.status in (400, 401, 403, 404, 503), response
    assert response.body
    still_served(simple)


def test_database_without_the_extension_says_so(cluster, simple):
    cluster.sql("create database bare")
    try:
        response = Caller(cluster, simple.headers, database="bare").fresh_rpc("tools/list")
        assert response.status in (401, 404, 503) and b"extension" in response.body, response
    finally:
        cluster.sql("select mcp.drain('bare')")
        cluster.sql("drop database bare")


def test_nul_in_sql_and_parameters(reader):
    """NUL cannot be in a Postgres text: a clean error, not a cut text."""
    for query, parameters in (("select 1 \x00 drop", None), ("select $1::text", ["a\x00b"]), ("select $1::jsonb", [{"a": "\x00"}])):
        result = reader.sql(query, parameters)
        assert result.is_error and result.error["message"], result
    still_served(reader)


def test_lone_surrogate_in_sql(simple):
    with simple.connect() as client:
        message = json.dumps(client.message("tools/call", {"name": "execute_sql", "arguments": {"query": "select 'QQ'"}}))
        response = client.post(message.replace("QQ", "\\ud800").encode(),
                               client.rpc_headers("tools/call", {"name": "execute_sql"}))
        assert response.status in (200, 400)
        if response.status == 200:
            assert ToolResult(response.json()).is_error
    still_served(simple)


def test_duplicate_keys_do_not_confuse(simple):
    """The same member twice: whichever counts, it is one call or one error, never a mixture."""
    with simple.connect() as client:
        message = json.dumps(client.message("tools/call", {"name": "execute_sql", "arguments": {"query": "select 1"}}))
        response = client.post(message.replace('"query": "select 1"', '"query": "select 1", "query": "select 2"').encode(),
                               client.rpc_headers("tools/call", {"name": "execute_sql"}))
        assert response.status in (200, 400)
    still_served(simple)


def test_hanging_up_in_the_middle_is_harmless(cluster, simple):
    for part in (b"", b"P", b"POST /mcp HTTP/1.1\r\n", head(simple, 500), head(simple, 500) + b'{"jsonrpc"', b"{", b'{"jsonrpc":"2.0"'):
        for where in ({"unix": cluster.mcp_socket}, {"tcp": ("127.0.0.1", cluster.port)}):
            with open_socket(**where) as connection:
                connection.sendall(part)
    still_served(simple)


def test_client_that_does_not_read(cluster, simple):
    """Answers pile up at one client that never reads: others are served, and memory of the gateway is bounded."""
    with LineClient(unix=cluster.mcp_socket, upgrade="/mcp", headers=bearer(simple.token)) as client:
        for _ in range(30):
            client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select repeat('x', 900000)"}})
        for _ in range(10):
            still_served(simple)
    with contextlib.suppress(Closed):
        still_served(simple)
