"""One authenticated MCP caller and the tool results it gets: what most tests speak through.

Owns the reading of tool results (structured content, error objects). A caller uses HTTP over the Unix socket in revision
2026-07-28 and connects anew when the server closed the idle connection; a call that was sent is never sent again.
"""

import http.client
import json

from .clients import DEADLINE, HttpClient, LineClient, bearer


class ToolResult:
    """A tools/call answer: the structured content, and the error object when it is an error."""

    def __init__(self, message):
        self.message = message
        self.protocol_error = message.get("error")
        result = message.get("result") or {}
        self.result = result
        self.is_error = bool(result.get("isError"))
        self.structured = result.get("structuredContent")
        self.texts = [part["text"] for part in result.get("content", []) if part.get("type") == "text"]

    @property
    def error(self):
        assert self.is_error, f"expected an error, got {self.message}"
        if self.structured is not None:
            return self.structured["error"]
        return json.loads(self.texts[0])["error"]

    @property
    def data(self):
        assert self.protocol_error is None and not self.is_error, f"expected success, got {self.message}"
        return self.structured

    @property
    def statements(self):
        return self.data["results"]

    @property
    def rows(self):
        return self.statements[-1]["rows"]

    @property
    def value(self):
        return self.rows[0][0]

    def __repr__(self):
        return f"ToolResult({self.message})"


class Caller:
    def __init__(self, cluster, headers=None, database=None, tcp=False, role=None, form=None):
        self.cluster, self.role, self.form = cluster, role, form
        self.headers = dict(headers or {})
        self.path = "/mcp" if database is None else f"/mcp/{database}"
        self.tcp = tcp
        self.client = None

    def connect(self, deadline=DEADLINE):
        """A client of its own for this caller, for tests that need the connection in hand."""
        where = {"tcp": ("127.0.0.1", self.cluster.port)} if self.tcp else {"unix": self.cluster.mcp_socket}
        return HttpClient(path=self.path, headers=self.headers, deadline=deadline, **where)

    def line(self, modern=True):
        client = LineClient(unix=self.cluster.mcp_socket, upgrade=self.path, headers=self.headers, modern=modern)
        assert client.upgrade_status == 101, client.upgrade_head
        return client

    def rpc(self, method, params=None):
        if self.client is not None and self.client.closed_by_server():
            self.close()
        if self.client is None:
            self.client = self.connect()
        try:
            return self.client.rpc(method, params)
        except (http.client.HTTPException, OSError):
            self.client.close()
            self.client = None
            raise

    def fresh_rpc(self, method, params=None):
        with self.connect() as client:
            return client.rpc(method, params)

    def tool(self, name, arguments=None):
        answer = self.rpc("tools/call", {"name": name, "arguments": arguments or {}})
        assert answer.status in (200, 400, 404), answer
        return ToolResult(answer.json())

    def sql(self, query, parameters=None):
        arguments = {"query": query}
        if parameters is not None:
            arguments["params"] = parameters
        return self.tool("execute_sql", arguments)

    def value(self, query, parameters=None):
        return self.sql(query, parameters).value

    def sqlstate(self, query, parameters=None):
        """The SQLSTATE that the text ends with."""
        return self.sql(query, parameters).error.get("sqlstate")

    def tools(self, features=None):
        """The first page of the list by name; of other features than the usual ones with `features`."""
        if features is not None:
            other = Caller(self.cluster, self.headers, tcp=self.tcp)
            other.path = f"{self.path}/features={features}"
            try:
                return other.tools()
            finally:
                other.close()
        answer = self.rpc("tools/list")
        assert answer.status == 200, answer
        return {tool["name"]: tool for tool in answer.json()["result"]["tools"]}

    def close(self):
        if self.client is not None:
            self.client.close()
            self.client = None


def token_caller(cluster, role, database=None, form=None, tcp=False, **token):
    """A caller with a new token for the role; keyword arguments go to mcp.create_token."""
    names = "".join(f", {name} => %({name})s" for name in token)
    secret = cluster.value(
        f"select mcp.create_token(role => %(role)s::regrole{names})", {"role": role, **token},
        database=database or "postgres",
    )
    caller = Caller(cluster, bearer(secret), database, tcp, role, form)
    caller.token = secret
    return caller
