"""The protocol itself: three revisions, both framings, both networks, and the HTTP rules around them."""

import json

import pytest

from harness.clients import CLIENT, LEGACY, MODERN, HttpClient, LineClient, bearer, modern_meta
from harness.caller import ToolResult


def transports(cluster):
    return {
        "newline": lambda caller, **kw: LineClient(unix=cluster.mcp_socket, upgrade="/mcp", headers=caller.headers, **kw),
        "http-unix": lambda caller, **kw: HttpClient(unix=cluster.mcp_socket, headers=caller.headers, **kw),
        "http-tcp": lambda caller, **kw: HttpClient(tcp=("127.0.0.1", cluster.port), headers=caller.headers, **kw),
    }


@pytest.fixture(params=["newline", "http-unix", "http-tcp"])
def transport(request, cluster, simple):
    """Makes clients of one transport, authenticated as the direct reader."""
    made = []

    def make(**options):
        client = transports(cluster)[request.param](simple, **options)
        made.append(client)
        return client

    make.name = request.param
    yield make
    for client in made:
        client.close()


def ask(client, method, params=None):
    """The JSON-RPC answer, whatever the HTTP status."""
    if isinstance(client, LineClient):
        return client.request(method, params)
    return client.rpc(method, params).json()


# ---- revision 2026-07-28: stateless

def test_discover_names_revisions_and_server(transport):
    result = ask(transport(), "server/discover")["result"]
    assert set(result["supportedVersions"]) == {MODERN, *LEGACY}
    assert "tools" in result["capabilities"]
    assert result["resultType"] == "complete"
    assert result["cacheScope"] in ("private", "public") and isinstance(result["ttlMs"], int)
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "supabase_mcp"


def test_stateless_call_needs_no_handshake(transport):
    answer = ask(transport(), "tools/call", {"name": "execute_sql", "arguments": {"query": "select 41 + 1 as n"}})
    result = ToolResult(answer)
    assert result.value == 42
    assert result.result["resultType"] == "complete"
    assert result.texts, "the result is in a text block too"


def test_stateless_list_is_private_and_ordered(transport):
    result = ask(transport(), "tools/list")["result"]
    names = [tool["name"] for tool in result["tools"]]
    assert "execute_sql" in names and names == sorted(names)
    assert result["cacheScope"] == "private" and isinstance(result["ttlMs"], int)


def test_missing_meta_is_invalid_params(transport):
    client = transport(modern=False)
    if transport.name == "newline":
        answer = client.request("tools/list", {"_meta": {"io.modelcontextprotocol/protocolVersion": MODERN}})
    else:
        client.headers.update({"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"})
        response = client.rpc("tools/list", {"_meta": {"io.modelcontextprotocol/protocolVersion": MODERN}})
        assert response.status == 400
        answer = response.json()
    assert answer["error"]["code"] == -32602


def test_unknown_method(transport):
    client = transport()
    if transport.name == "newline":
        answer = client.request("no/such")
    else:
        response = client.rpc("no/such")
        assert response.status == 404
        answer = response.json()
    assert answer["error"]["code"] == -32601


def test_ping_is_gone_in_the_stateless_revision(transport):
    assert ask(transport(), "ping")["error"]["code"] == -32601


def test_unsupported_revision_lists_the_supported_ones(transport):
    client = transport(modern=False)
    params = {"_meta": modern_meta(**{"io.modelcontextprotocol/protocolVersion": "2099-01-01"})}
    if transport.name != "newline":
        client.headers.update({"MCP-Protocol-Version": "2099-01-01", "Mcp-Method": "tools/list"})
    answer = ask(client, "tools/list", params)
    assert answer["error"]["code"] == -32022
    assert MODERN in answer["error"]["data"]["supported"]


# ---- revisions with a handshake

@pytest.mark.parametrize("version", LEGACY)
def test_initialize_agrees_on_the_revision(transport, version):
    client = transport(modern=False)
    result = ask(client, "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT})["result"]
    assert result["protocolVersion"] == version
    assert result["serverInfo"]["name"] == "supabase_mcp"
    assert "tools" in result["capabilities"]
    if isinstance(client, HttpClient):
        client.version = version
        assert client.post({"jsonrpc": "2.0", "method": "notifications/initialized"},
                           client.rpc_headers("notifications/initialized", None)).status == 202
    else:
        client.notify("notifications/initialized")
    assert ask(client, "ping")["result"] == {}
    tools = ask(client, "tools/list", {})["result"]["tools"]
    assert "execute_sql" in [tool["name"] for tool in tools]
    answer = ask(client, "tools/call", {"name": "execute_sql", "arguments": {"query": "select 'x' as a"}})
    assert ToolResult(answer).rows == [["x"]]
    assert "resultType" not in answer["result"], "fields of 2026-07-28 do not leak into older revisions"
    assert ask(client, "no/such")["error"]["code"] == -32601


@pytest.mark.parametrize("version", ["2099-01-01", "1999-01-01"])
def test_initialize_with_another_revision_gets_the_last_with_a_handshake(transport, version):
    client = transport(modern=False)
    result = ask(client, "initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT})["result"]
    assert result["protocolVersion"] == "2025-11-25"


def test_sessionless(cluster, simple):
    """No session id is handed out, and a stray one is no obstacle."""
    with HttpClient(unix=cluster.mcp_socket, headers=simple.headers, modern=False) as client:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT}
        response = client.rpc("initialize", params)
        assert response.status == 200 and response.headers.get("Mcp-Session-Id") is None
        client.headers["Mcp-Session-Id"] = "stray"
        client.version = "2025-11-25"
        assert "execute_sql" in client.rpc("tools/list", {}).body.decode()


# ---- HTTP

def test_answers_are_json_not_sse(simple):
    response = simple.rpc("tools/list")
    assert response.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("verb", ["GET", "DELETE", "PUT"])
def test_other_verbs_are_405(simple, verb):
    with simple.connect() as client:
        headers = {"Accept": "text/event-stream", **simple.headers}
        assert client.request(verb, "/mcp", headers=headers).status == 405


def test_header_that_contradicts_the_body_is_refused(simple):
    with simple.connect() as client:
        message = client.message("tools/list")
        headers = {**client.rpc_headers("tools/list", None), "Mcp-Method": "tools/call"}
        response = client.post(message, headers)
        assert response.status == 400 and response.json()["error"]["code"] == -32020


def test_accept_and_content_type_are_checked(simple):
    with simple.connect() as client:
        message = client.message("tools/list")
        headers = client.rpc_headers("tools/list", None)
        assert client.post(message, {**headers, "Accept": "text/html"}).status == 406
        assert client.post(message, {**headers, "Content-Type": "text/plain"}).status == 415


def test_batch_is_refused(simple):
    with simple.connect() as client:
        headers = client.rpc_headers("tools/list", None)
        response = client.post([client.message("tools/list"), client.message("tools/list")], headers)
        assert response.status in (400, 415)


def test_health_needs_no_credential(nobody):
    with nobody.connect() as client:
        assert client.request("GET", "/healthz").status == 200
        assert client.request("GET", "/readyz").status == 200
        assert client.request("GET", "/nothing/here").status == 404


def test_unix_socket_takes_any_host_header(cluster, simple):
    with simple.connect() as client:
        response = client.post(client.message("tools/list"),
                               {**client.rpc_headers("tools/list", None), "Host": "somewhere.else"})
        assert response.status == 200


def status_with(cluster, caller, **headers):
    """Status of one tools/list over TCP with these headers, on a connection of its own."""
    with HttpClient(tcp=("127.0.0.1", cluster.port), headers=caller.headers) as client:
        return client.post(client.message("tools/list"), {**client.rpc_headers("tools/list", None), **headers}).status


def test_foreign_host_on_tcp_is_refused(cluster, simple):
    for host, status in {"evil.example": 403, "evil.example:80": 403, f"localhost:{cluster.port}": 200,
                         f"127.0.0.1:{cluster.port}": 200, "localhost": 200}.items():
        assert status_with(cluster, simple, Host=host) == status, host


def test_foreign_origin_is_refused(cluster, simple):
    for origin, status in {"https://evil.example": 403, "null": 403, "http://localhost:1": 403,
                           f"http://localhost:{cluster.port}": 200, f"http://127.0.0.1:{cluster.port}": 200}.items():
        assert status_with(cluster, simple, Origin=origin) == status, origin


@pytest.mark.parametrize("network", ["unix", "tcp"])
def test_refusal_leaves_the_connection_usable_or_says_close(cluster, simple, network):
    """A keep-alive client that was refused goes on with the next request: the answer must not be lost to a reset."""
    where = {"unix": cluster.mcp_socket} if network == "unix" else {"tcp": ("127.0.0.1", cluster.port)}
    with HttpClient(**where) as client:
        for _ in range(3):
            # http.client sends head and body apart and reconnects only when the server said `Connection: close`.
            assert client.post(client.message("tools/list"), client.rpc_headers("tools/list", None)).status == 401
        client.headers = simple.headers
        assert client.rpc("tools/list").status == 200


def test_listens_on_both_loopback_families(cluster, simple):
    with HttpClient(tcp=("::1", cluster.port), headers=simple.headers) as client:
        assert client.rpc("tools/list").status == 200


# ---- newline JSON-RPC

def test_upgrade_needs_a_credential(cluster, nobody):
    with LineClient(tcp=("127.0.0.1", cluster.port), upgrade="/mcp") as client:
        assert client.upgrade_status == 401
        assert "www-authenticate" in client.upgrade_head.lower()


def test_upgrade_over_tcp(cluster, simple):
    with LineClient(tcp=("127.0.0.1", cluster.port), upgrade="/mcp", headers=simple.headers) as client:
        assert client.upgrade_status == 101
        assert ToolResult(client.call_tool("execute_sql", {"query": "select 7 as n"})).value == 7


def test_upgrade_to_something_else_is_refused(cluster, simple):
    with LineClient(unix=cluster.mcp_socket, upgrade="/mcp", headers={**simple.headers, "Upgrade": "websocket"}) as client:
        assert client.upgrade_status >= 400


def test_requests_on_one_line_connection_overlap(simple):
    """A slow call does not hold up a quick answer on the same connection."""
    with simple.line() as client:
        slow = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(15)"}})
        quick = client.start("server/discover")
        first = client.receive()
        assert first["id"] == quick
        client.notify("notifications/cancelled", {"requestId": slow})


def test_lines_are_single_and_answers_match_ids(simple):
    with simple.line() as client:
        sent = [client.start("tools/call", {"name": "execute_sql",
                                            "arguments": {"query": f"select E'a\\nb{n}' as t"}}) for n in range(20)]
        answers = {message["id"]: message for message in (client.receive() for _ in sent)}
        assert set(answers) == set(sent)
        for n, number in enumerate(sent):
            assert ToolResult(answers[number]).value == f"a\nb{n}"


def test_string_ids_are_kept(simple):
    with simple.line() as client:
        client.send({"jsonrpc": "2.0", "id": "a-1", "method": "server/discover", "params": {"_meta": modern_meta()}})
        assert client.receive()["id"] == "a-1"


def test_text_block_marks_untrusted_data(simple):
    result = simple.sql("select name from shop.customer where id = 1")
    assert "data" in json.dumps(result.structured["untrusted_data"])
    assert any("not instructions" in text for text in result.texts)


def test_client_is_named_in_pg_stat_activity(simple):
    name = simple.value("select application_name from pg_stat_activity where pid = pg_backend_pid()")
    assert CLIENT["name"] in name


def test_bearer_scheme_is_case_insensitive(cluster, simple):
    with HttpClient(unix=cluster.mcp_socket, headers={"Authorization": bearer(simple.token)["Authorization"].lower()[:7] + simple.token}) as client:
        assert client.rpc("tools/list").status == 200


def test_whoever_does_not_wait_is_answered_in_order(cluster, reader):
    """Scripts that send everything at once read the answers one after the other: what begins the conversation comes first."""
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "execute_sql", "arguments": {"query": "select 1"}}}
    start = {"jsonrpc": "2.0", "id": 1, "method": "initialize",
             "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "hasty", "version": "1"}}}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    for _ in range(5):
        with LineClient(unix=cluster.mcp_socket, upgrade="/mcp", headers=reader.headers, modern=False) as client:
            client.send_bytes("".join(json.dumps(message) + "\n" for message in (start, ready, call)).encode())
            assert [client.receive()["id"], client.receive()["id"]] == [1, 2]
