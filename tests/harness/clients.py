"""Raw MCP clients that send exactly the bytes a test asks for: newline JSON-RPC and HTTP, over Unix socket and TCP.

Owns framing, deadlines and the `_meta` and headers that revision 2026-07-28 wants. Single-threaded and blocking; each wait
has a deadline. Must not hide anything: no retries, no error translation.
"""

import base64
import http.client
import itertools
import json
import select
import socket
import time

MODERN = "2026-07-28"
LEGACY = ("2025-06-18", "2025-11-25")
DEADLINE = 20
CLIENT = {"name": "e2e", "version": "1.0"}


def modern_meta(**extra):
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": CLIENT,
        **extra,
    }


def with_meta(params):
    params = dict(params or {})
    params["_meta"] = {**modern_meta(), **params.get("_meta", {})}
    return params


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def basic(user, password):
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


class Closed(Exception):
    """The server closed the connection."""


def open_socket(unix=None, tcp=None, deadline=DEADLINE):
    if unix is not None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(deadline)
        connection.connect(str(unix))
    else:
        connection = socket.create_connection(tcp, timeout=deadline)
    return connection


class LineClient:
    """Newline JSON-RPC on a Unix socket, or on any connection upgraded with `upgrade`."""

    def __init__(self, unix=None, tcp=None, modern=True, upgrade=None, headers=None):
        self.modern = modern
        self.socket = open_socket(unix, tcp)
        self.pending = b""
        self.ids = itertools.count(1)
        self.notifications = []
        self.upgrade_status = None
        if upgrade is not None:
            self._upgrade(upgrade, headers or {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def _upgrade(self, path, headers):
        head = {"Host": "localhost", "Upgrade": "mcp", "Connection": "upgrade", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        while b"\r\n\r\n" not in self.pending:
            self._fill(time.monotonic() + DEADLINE)
        answer, self.pending = self.pending.split(b"\r\n\r\n", 1)
        self.upgrade_head = answer.decode("latin-1")
        self.upgrade_status = int(self.upgrade_head.split()[1])

    def _fill(self, end):
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer before the deadline")
        self.socket.settimeout(left)
        data = self.socket.recv(65536)
        if not data:
            raise Closed("connection closed")
        self.pending += data

    def send_bytes(self, data):
        self.socket.settimeout(DEADLINE)
        self.socket.sendall(data)

    def send(self, message):
        self.send_bytes(json.dumps(message).encode() + b"\n")

    def receive(self, deadline=DEADLINE):
        """The next line as JSON."""
        end = time.monotonic() + deadline
        while b"\n" not in self.pending:
            self._fill(end)
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def start(self, method, params=None):
        """Sends a request and returns its id."""
        number = next(self.ids)
        message = {"jsonrpc": "2.0", "id": number, "method": method}
        if self.modern:
            message["params"] = with_meta(params)
        elif params is not None:
            message["params"] = params
        self.send(message)
        return number

    def finish(self, number, deadline=DEADLINE):
        end = time.monotonic() + deadline
        while True:
            message = self.receive(max(0.001, end - time.monotonic()))
            if message.get("id") == number and "method" not in message:
                return message
            self.notifications.append(message)

    def request(self, method, params=None, deadline=DEADLINE):
        return self.finish(self.start(method, params), deadline)

    def notify(self, method, params=None):
        self.send({"jsonrpc": "2.0", "method": method, "params": params or {}})

    def initialize(self, version="2025-11-25"):
        self.modern = False
        answer = self.request("initialize", {"protocolVersion": version, "capabilities": {}, "clientInfo": CLIENT})
        self.notify("notifications/initialized")
        return answer

    def call_tool(self, name, arguments=None, deadline=DEADLINE):
        return self.request("tools/call", {"name": name, "arguments": arguments or {}}, deadline)


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"HTTP {self.status} {self.body[:300]!r}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = open_socket(unix=self.path, deadline=self.timeout)


class HttpClient:
    """Streamable HTTP with one keep-alive connection, over the Unix socket or TCP."""

    def __init__(self, unix=None, tcp=None, path="/mcp", headers=None, modern=True, version=None, deadline=DEADLINE):
        if unix is not None:
            self.connection = _UnixConnection(unix, deadline)
        else:
            self.connection = http.client.HTTPConnection(tcp[0], tcp[1], timeout=deadline)
        self.path, self.headers = path, dict(headers or {})
        self.modern, self.version = modern, version
        self.ids = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def closed_by_server(self):
        """Whether an idle connection was closed: between answers there is nothing else to read."""
        connected = self.connection.sock
        return connected is not None and bool(select.select([connected], [], [], 0)[0])

    def request(self, verb, path, body=None, headers=None):
        self.connection.request(verb, path, body=body, headers=headers or {})
        answer = self.connection.getresponse()
        return Response(answer.status, answer.headers, answer.read())

    def rpc_headers(self, method, params):
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        if self.modern:
            headers["MCP-Protocol-Version"] = MODERN
            headers["Mcp-Method"] = method
            name = (params or {}).get("uri" if method == "resources/read" else "name")
            if name is not None:
                # Names beyond plain ASCII travel in the base64 form of the specification.
                plain = name.isascii() and name.isprintable()
                headers["Mcp-Name"] = name if plain else f"=?base64?{base64.b64encode(name.encode()).decode()}?="
        elif self.version:
            headers["MCP-Protocol-Version"] = self.version
        return {**headers, **self.headers}

    def message(self, method, params=None):
        message = {"jsonrpc": "2.0", "id": next(self.ids), "method": method}
        if self.modern:
            message["params"] = with_meta(params)
        elif params is not None:
            message["params"] = params
        return message

    def post(self, message, headers=None, path=None):
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        return self.request("POST", path or self.path, body, headers)

    def rpc(self, method, params=None):
        """One request; the HTTP response as it came."""
        return self.post(self.message(method, params), self.rpc_headers(method, params))

    def call(self, method, params=None):
        """One request that must be answered with 200 and JSON; the JSON-RPC message."""
        answer = self.rpc(method, params)
        assert answer.status == 200, answer
        return answer.json()

    def call_tool(self, name, arguments=None):
        return self.call("tools/call", {"name": name, "arguments": arguments or {}})
