"""The exact configuration of each AI client for one server, as text. The same forms are explained in docs/clients.md."""

import json
import shlex

import show

NAME = "shop"


def indented(value):
    return json.dumps(value, indent=2)


def recipes(url, socket, token, bridge):
    """(client, where it goes, text), in the order in which they are printed."""
    bearer = {"Authorization": f"Bearer {token}"}
    return [
        ("Claude Code", "run",
         f"claude mcp add --transport http {NAME} {url} \\\n  --header {shlex.quote('Authorization: Bearer ' + token)}"),
        ("Claude Desktop", "claude_desktop_config.json (it speaks stdio only; the bridge carries that to the socket)",
         indented({"mcpServers": {NAME: {"command": bridge, "args": [socket], "env": {"SUPABASE_MCP_TOKEN": token}}}})),
        ("Cursor", ".cursor/mcp.json", indented({"mcpServers": {NAME: {"url": url, "headers": bearer}}})),
        ("VS Code", ".vscode/mcp.json", indented({"servers": {NAME: {"type": "http", "url": url, "headers": bearer}}})),
        ("VS Code, by the Unix socket", ".vscode/mcp.json; the OS user is who calls, so there is no token",
         indented({"servers": {NAME: {"type": "http", "url": f"unix://{socket}#/mcp"}}})),
        ("Codex", f"~/.codex/config.toml, after: export SHOP_TOKEN={token}",
         f'[mcp_servers.{NAME}]\nurl = "{url}"\nbearer_token_env_var = "SHOP_TOKEN"'),
        ("Gemini CLI", "~/.gemini/settings.json", indented({"mcpServers": {NAME: {"httpUrl": url, "headers": bearer}}})),
        ("Anything that speaks stdio", "command", f"socat - UNIX-CONNECT:{socket}"),
    ]


def print_all(url, socket, token, bridge):
    for client, where, text in recipes(url, socket, token, bridge):
        print()
        print(f"   {show.bold(client)}  {show.dim(where)}")
        show.code(text)
