"""The official TypeScript SDK as a client, driven by tests/clients/ts/talk.mjs under a Node of its own."""

import json
import subprocess

import pytest

from harness.programs import bridge_binary, node_clients
from harness.waits import wait_until

CALLS = [
    {"name": "list_tables", "arguments": {"schemas": ["shop"]}},
    {"name": "execute_sql", "arguments": {"query": "select name from shop.customer where id = $1", "params": [7]}},
    {"name": "execute_sql", "arguments": {"query": "select * from shop.salary"}},
    {"name": "no_such_tool", "arguments": {}},
]


def command(plan):
    clients, binary = node_clients()
    return [str(binary), str(clients / "talk.mjs"), json.dumps(plan)]


def talk(plan):
    done = subprocess.run(command(plan), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def judge(seen, version):
    assert "failed" not in seen, seen
    assert seen["protocolVersion"] == version
    assert seen["server"]["name"] == "supabase_mcp"
    assert "execute_sql" in [tool["name"] for tool in seen["tools"]]
    listed, good, denied, unknown = seen["results"]
    assert "orders" in json.dumps(listed["structuredContent"])
    assert good["structuredContent"]["results"][0]["rows"] == [["customer 7"]]
    assert denied["isError"] and denied["structuredContent"]["error"]["sqlstate"] == "42501"
    assert unknown["code"] == -32602 or unknown.get("isError")


@pytest.mark.parametrize("mode,version", [("legacy", "2025-11-25"), ("auto", "2026-07-28"),
                                          ({"pin": "2026-07-28"}, "2026-07-28")], ids=["legacy", "auto", "pinned"])
def test_http(cluster, simple, mode, version):
    url = f"http://127.0.0.1:{cluster.port}/mcp"
    judge(talk({"url": url, "token": simple.token, "mode": mode, "calls": CALLS}), version)


@pytest.mark.parametrize("mode,version", [("legacy", "2025-11-25"), ("auto", "2026-07-28")])
def test_stdio_bridge(cluster, simple, mode, version):
    plan = {"command": str(bridge_binary()), "args": [str(cluster.mcp_socket)],
            "env": {"SUPABASE_MCP_TOKEN": simple.token}, "mode": mode, "calls": CALLS}
    judge(talk(plan), version)


def running(cluster, mark):
    return [row for row in cluster.executors() if mark in (row[5] or "") and row[4] == "active"]


def test_cancel_stops_the_statement(cluster, simple, tmp_path):
    """AbortSignal of the SDK, era 2026-07-28: the SDK drops the HTTP request, the statement is gone."""
    flag = tmp_path / "cancel-now"
    plan = {"url": f"http://127.0.0.1:{cluster.port}/mcp", "token": simple.token, "mode": "auto",
            "calls": [{"name": "execute_sql", "arguments": {"query": "select pg_sleep(25) /* ts cancel */"}, "cancel": str(flag)}]}
    with subprocess.Popen(command(plan), stdout=subprocess.PIPE, text=True) as client:
        wait_until(lambda: running(cluster, "ts cancel"), 20, "the statement runs")
        flag.touch()
        wait_until(lambda: not running(cluster, "ts cancel"), 5, "the statement is gone")
        output, _ = client.communicate(timeout=20)
    assert "error" in json.loads(output)["results"][0]


def test_wrong_token_is_401(cluster):
    seen = talk({"url": f"http://127.0.0.1:{cluster.port}/mcp", "token": "mcp_" + "A" * 43, "mode": "legacy"})
    assert "401" in json.dumps(seen["failed"]) or "nauthorized" in json.dumps(seen["failed"])
