"""rmcp's own client, the Rust SDK whose server the gateway is built with, driven by tests/clients/rust."""

import getpass
import json
import subprocess

import pytest

from harness.programs import bridge_binary, rust_client
from harness.waits import wait_until

LEGACY, MODERN = "2025-11-25", "2026-07-28"
MODES = {"initialize": LEGACY, "discover": MODERN, "auto": MODERN}

CALLS = [
    {"name": "list_tables", "arguments": {"schemas": ["shop"]}},
    {"name": "execute_sql", "arguments": {"query": "select name from shop.customer where id = $1", "params": [7]}},
    {"name": "execute_sql", "arguments": {"query": "select * from shop.salary"}},
    {"name": "no_such_tool", "arguments": {}},
]


@pytest.fixture(params=["newline", "http-unix", "http-tcp", "child"])
def way(request, cluster):
    """Where the client finds the server, as the plan of tests/clients/rust has it."""
    url = f"http://127.0.0.1:{cluster.port}/mcp"
    return {
        "newline": {"newline": str(cluster.mcp_socket)},
        "http-unix": {"socket": str(cluster.mcp_socket)},
        "http-tcp": {"url": url},
        "child": {"command": [str(bridge_binary()), str(cluster.mcp_socket)]},
    }[request.param]


def command(plan):
    return [str(rust_client()), json.dumps(plan)]


def talk(plan):
    done = subprocess.run(command(plan), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("mode", list(MODES))
def test_conversation(simple, way, mode):
    """Lifecycle, the list of tools, a call that succeeds, one that the database denies, one of a tool that is not there."""
    seen = talk({"way": way, "token": simple.token, "mode": mode, "calls": CALLS})
    assert "failed" not in seen, seen
    assert seen["server"]["protocolVersion"] == MODES[mode]
    assert seen["server"]["serverInfo"]["name"] == "supabase_mcp"
    tools = {tool["name"]: tool for tool in seen["tools"]}
    assert {"execute_sql", "list_tables", "describe_table", "explain_query"} <= set(tools)
    assert tools["list_tables"]["annotations"]["readOnlyHint"] is True
    listed, good, denied, unknown = seen["results"]
    assert "orders" in json.dumps(listed["structuredContent"])
    assert good["structuredContent"]["results"][0]["rows"] == [["customer 7"]]
    assert denied["isError"] and denied["structuredContent"]["error"]["sqlstate"] == "42501"
    assert unknown["code"] == -32602 and "no_such_tool" in unknown["message"]


def running(cluster, mark):
    return [row for row in cluster.executors() if mark in (row[5] or "") and row[4] == "active"]


@pytest.mark.parametrize("mode", ["initialize", "discover"])
def test_given_up_call_stops_and_the_next_one_runs(cluster, simple, way, mode, tmp_path):
    """The library's user drops the call's future: the statement ends, and the same conversation goes on."""
    flag = tmp_path / "cancel-now"
    calls = [{"name": "execute_sql", "arguments": {"query": "select pg_sleep(25) /* rmcp cancel */"}, "cancel": str(flag)},
             {"name": "execute_sql", "arguments": {"query": "select 41 + 1"}}]
    plan = {"way": way, "token": simple.token, "mode": mode, "calls": calls}
    with subprocess.Popen(command(plan), stdout=subprocess.PIPE, text=True) as client:
        wait_until(lambda: running(cluster, "rmcp cancel"), 20, "the statement runs")
        flag.touch()
        wait_until(lambda: not running(cluster, "rmcp cancel"), 5, "the statement is gone")
        output, _ = client.communicate(timeout=20)
    cancelled, after = json.loads(output)["results"]
    assert cancelled == {"cancelled": True}
    assert after["structuredContent"]["results"][0]["rows"] == [[42]]


def test_mapped_peer_needs_no_token(cluster):
    user = getpass.getuser()
    cluster.sql("select mcp.map_peer(%s, 'reader_direct'::regrole)", [user])
    try:
        calls = [{"name": "execute_sql", "arguments": {"query": "select current_user"}}]
        seen = talk({"way": {"newline": str(cluster.mcp_socket)}, "token": None, "mode": "auto", "calls": calls})
        assert seen["results"][0]["structuredContent"]["results"][0]["rows"] == [["reader_direct"]]
    finally:
        cluster.sql("select mcp.unmap_peer(%s)", [user])


@pytest.mark.parametrize("mode", ["initialize", "discover"])
def test_wrong_token_is_401(way, mode):
    seen = talk({"way": way, "token": "mcp_" + "A" * 43, "mode": mode})
    assert "401" in seen["failed"] or "Auth required" in seen["failed"], seen
