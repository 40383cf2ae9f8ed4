"""mcp.client_config: each client's text is what its parser takes, leads to the server with the token, and is what docs/clients.md shows."""

import json
import shlex
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.clients import HttpClient
from harness.cluster import pg_config
from harness.waits import wait_until

DOCS = Path(__file__).parents[2] / "docs" / "clients.md"
CLIENTS = ["claude-code", "claude-desktop", "cursor", "vscode", "windsurf", "codex", "gemini", "json"]
HTTP = [client for client in CLIENTS if client != "claude-desktop"]


def parse(client, text):
    """(name, URL, authorization header), read as the client reads its configuration."""
    if client == "claude-code":
        words = shlex.split(text)
        assert words[:5] == ["claude", "mcp", "add", "--transport", "http"] and words[7] == "--header" and len(words) == 9
        return words[5], words[6], words[8].removeprefix("Authorization: ")
    if client == "codex":
        [(name, server)] = tomllib.loads(text)["mcp_servers"].items()
        exported = text.splitlines()[0].split("export ", 1)[1]
        variable, token = exported.split("=", 1)
        assert server["bearer_token_env_var"] == variable and set(server) == {"url", "bearer_token_env_var"}
        return name, server["url"], f"Bearer {token}"
    [(root, servers)] = json.loads(text).items()
    assert root == ("servers" if client == "vscode" else "mcpServers")
    [(name, server)] = servers.items()
    key = {"windsurf": "serverUrl", "gemini": "httpUrl"}.get(client, "url")
    assert set(server) - {"type"} == {key, "headers"}
    assert server.get("type", "http") == "http" and ("type" in server) == (client in ("vscode", "json"))
    return name, server[key], server["headers"]["Authorization"]


def call(url, authorization, query="select current_user::text || '@' || current_database()"):
    """Calls the very address that the configuration names."""
    where = urlsplit(url)
    assert where.scheme == "http"
    with HttpClient(tcp=(where.hostname, where.port), path=where.path, headers={"Authorization": authorization}) as client:
        answer = client.call_tool("execute_sql", {"query": query})
    return answer["result"]["structuredContent"]["results"][0]["rows"][0][0]


def over_stdio(text):
    """Runs the program that the configuration names, as Claude Desktop does."""
    [(name, server)] = json.loads(text)["mcpServers"].items()
    assert set(server) == {"command", "args", "env"}
    lines = [{"jsonrpc": "2.0", "id": 1, "method": "initialize",
              "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}},
             {"jsonrpc": "2.0", "method": "notifications/initialized"},
             {"jsonrpc": "2.0", "id": 2, "method": "tools/call",
              "params": {"name": "execute_sql", "arguments": {"query": "select current_user::text || '@' || current_database()"}}}]
    process = subprocess.Popen([server["command"], *server["args"]], env=server["env"], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for line in lines:
            process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
    finally:
        process.kill()
        process.communicate()
    return name, answers[1]["result"]["structuredContent"]["results"][0]["rows"][0][0]


@pytest.fixture(scope="module")
def token(cluster):
    secret = cluster.value("select mcp.create_token('reader_direct', 'client configurations')")
    yield secret
    cluster.sql("select mcp.revoke_token('client configurations')")


@pytest.fixture(scope="module")
def odd(cluster):
    """A database whose name needs care in a URL, in JSON and in a shell."""
    name = "od d'\"%é?#&"
    quoted = '"' + name.replace('"', '""') + '"'
    cluster.sql(f"create database {quoted}")
    cluster.sql("create extension supabase_mcp; select mcp.grant_tools('reader_direct')", database=name)
    yield name
    cluster.sql("select mcp.drain(%s)", [name])
    cluster.sql(f"drop database {quoted} with (force)")


@pytest.mark.parametrize("client", HTTP)
def test_url_and_header_lead_to_the_server(cluster, token, client):
    text = cluster.value("select mcp.client_config(%s, %s, name => 'my db')", [client, token])
    name, url, authorization = parse(client, text)
    assert name == "my-db"
    assert call(url, authorization) == "reader_direct@postgres"


def test_program_leads_to_the_server(cluster, token):
    assert over_stdio(cluster.value("select mcp.client_config('claude-desktop', %s)", [token])) == ("postgres", "reader_direct@postgres")


def test_program_by_the_socket(cluster, token, odd, settings):
    settings(listen_addresses="")
    with cluster.connect(odd) as connection:
        secret = connection.execute("select mcp.create_token('reader_direct')").fetchone()[0]
        text = connection.execute("select mcp.client_config('claude-desktop', %s)", [secret]).fetchone()[0]
    assert json.loads(text)["mcpServers"].popitem()[1]["args"] == [str(cluster.mcp_socket)]
    assert over_stdio(text)[1] == f"reader_direct@{odd}"


@pytest.mark.parametrize("client", HTTP)
def test_another_database(cluster, odd, client):
    with cluster.connect(odd) as connection:
        secret = connection.execute("select mcp.create_token('reader_direct')").fetchone()[0]
        text = connection.execute("select mcp.client_config(%s, %s)", [client, secret]).fetchone()[0]
    _, url, authorization = parse(client, text)
    assert call(url, authorization) == f"reader_direct@{odd}"


@pytest.mark.parametrize("client", CLIENTS)
def test_documentation_shows_what_the_function_returns(cluster, client):
    text = cluster.value("select mcp.client_config(%s, name => 'mydb', url => 'http://127.0.0.1:5627/mcp')", [client])
    text = text.replace(pg_config("bindir"), "/usr/lib/postgresql/15/bin")
    assert f"\n{text}\n```" in DOCS.read_text()


def test_names_of_clients(cluster):
    same = {"Claude Code": "claude-code", "VS Code": "vscode", " Gemini CLI ": "gemini", "claude_desktop": "claude-desktop"}
    for spelling, client in same.items():
        assert cluster.value("select mcp.client_config(%s) = mcp.client_config(%s)", [spelling, client]) is True
    for wrong in ("", "emacs", None):
        with pytest.raises(Exception, match="there is no client") as seen:
            cluster.sql("select mcp.client_config(%s)", [wrong])
        assert all(client in str(seen.value) for client in CLIENTS)


@pytest.mark.parametrize("client", CLIENTS)
def test_nothing_breaks_out_of_the_text(cluster, client):
    for bad in ("a b", 'a"b', "a'b", "a\nb", "$(id)", "", "`id`"):
        with pytest.raises(Exception, match="no bearer token"):
            cluster.sql("select mcp.client_config(%s, %s)", [client, bad])
    for bad in ("ftp://x", "http://x/a b", 'http://x/"', "http://x/\n", "javascript:1", "http://x/`id`", "http://x/\\"):
        with pytest.raises(Exception, match="is no URL"):
            cluster.sql("select mcp.client_config(%s, url => %s)", [client, bad])
    text = cluster.value("select mcp.client_config(%s, name => %s, url => %s)", [client, "a\"; $(id)\n[x]'é", "http://127.0.0.1:1/$(id);&x"])
    if client != "claude-desktop":
        name, url, _ = parse(client, text)
        assert name == "a-id-x-" and url == "http://127.0.0.1:1/$(id);&x"


def test_public_url(cluster, settings):
    config = "select mcp.client_config('cursor') like %s"
    for value, url in {"https://db.example.org": "https://db.example.org/mcp", "https://db.example.org/x/mcp/": "https://db.example.org/x/mcp"}.items():
        settings(public_url=value)
        wait_until(lambda: cluster.value(config, [f'%"url": "{url}",%']), 10, "the public address")
    assert "https://db.example.org/x/mcp/other" in cluster.value("select mcp.client_config('cursor', database => 'other')")


def test_without_an_address_it_says_so(cluster, settings):
    settings(listen_addresses="")

    def refused():
        with pytest.raises(Exception, match="no address"):
            cluster.sql("select mcp.client_config('cursor')")
        return True

    wait_until(refused, 10, "TCP is off")
    made = cluster.sql("select url, config, warnings from mcp.create_agent('by_socket')")[0]
    cluster.sql("select mcp.drop_agent('by_socket')")
    assert made[:2] == (None, None) and "Unix socket" in made[2][-1]
