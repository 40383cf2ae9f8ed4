"""The exact configuration of each AI client for one server: what mcp.client_config returns, and where it goes. docs/clients.md explains them."""

import json

import show

NAME = "shop"
# Where the text of mcp.client_config goes, in the order in which they are printed.
PLACES = {
    "claude-code": ("Claude Code", "run"),
    "claude-desktop": ("Claude Desktop", "claude_desktop_config.json (it speaks stdio only; the bridge carries that to the server)"),
    "cursor": ("Cursor", ".cursor/mcp.json"),
    "vscode": ("VS Code", ".vscode/mcp.json"),
    "windsurf": ("Windsurf", "~/.codeium/windsurf/mcp_config.json"),
    "codex": ("Codex", "~/.codex/config.toml"),
    "gemini": ("Gemini CLI", "~/.gemini/settings.json"),
}


def recipes(server, socket, token):
    """(client, where it goes, text)."""
    for client, (name, where) in PLACES.items():
        yield name, where, server.sql(f"select mcp.client_config('{client}', '{token}', name => '{NAME}')")
    yield ("VS Code, by the Unix socket", ".vscode/mcp.json; the OS user is who calls, so there is no token",
           json.dumps({"servers": {NAME: {"type": "http", "url": f"unix://{socket}#/mcp"}}}, indent=2))
    yield "Anything that speaks stdio", "command", f"socat - UNIX-CONNECT:{socket}"


def print_all(server, socket, token):
    for client, where, text in recipes(server, socket, token):
        print()
        print(f"   {show.bold(client)}  {show.dim(where)}")
        show.code(text)
