"""`make demo`: a throw-away server with a shop in it, a conversation with it, and the configuration of every client for it.

Owns the order of things; the server is scripts/cluster.py, the conversation conversation.py. Stays until ^C, and then stops the
server; without a terminal, or with DEMO_DETACH=1, it returns and leaves the server running until `make demo-stop`.
"""

import asyncio
import os
import pwd
import signal
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "scripts"))

import clients  # noqa: E402
import cluster  # noqa: E402
import conversation  # noqa: E402
import demo_state  # noqa: E402
import show  # noqa: E402

MCP_PORT = 5627
DEADLINE = 20


def start(pg_config):
    show.step("A new server, as initdb leaves it")
    server = cluster.Server(pg_config, "supabase_mcp-demo")
    server.init().choose_address()
    port = cluster.free_port(MCP_PORT)
    socket = server.socket_folder / f".s.MCP.{port}"
    if port != MCP_PORT or socket.exists():
        port = port if port != MCP_PORT else cluster.free_port()
        show.note(f"Port {MCP_PORT} is taken here, so this one uses {port} (supabase_mcp.port).")
        server.set("supabase_mcp.port", port)
    demo_state.save(server)
    server.start()
    return server, port


def load(server):
    began = time.monotonic()
    server.sql((HERE / "shop.sql").read_text())
    total = server.sql("select sum(reltuples)::int from pg_class where relkind = 'r' and relnamespace = 'shop'::regnamespace")
    show.note(f"{server.version}, and a shop with {int(total):,} rows; loaded in {time.monotonic() - began:.1f} s.")


def let_in(server):
    show.step("The extension, a role, grants")
    text = (HERE / "agent.sql").read_text()
    show.code(text.split("\n\n", 1)[1].strip())
    server.sql(text)
    token = server.sql("select mcp.create_token('ai_reader', 'demo')")
    show.code("select mcp.create_token('ai_reader', 'demo');   -- shown once, stored as a hash")
    # Whoever runs the demo may use the Unix socket without a token.
    for user in {pwd.getpwuid(os.geteuid()).pw_name, os.environ.get("SUDO_USER")} - {None}:
        server.sql(f"select mcp.map_peer('{user}', 'ai_reader')")
        show.code(f"select mcp.map_peer('{user}', 'ai_reader');   -- this OS user, on the Unix socket")
    return token


def wait_until_ready(server, socket):
    end = time.monotonic() + DEADLINE
    while not socket.exists():
        if time.monotonic() > end:
            raise cluster.Failed(f"no socket {socket} after {DEADLINE} s\n{server.log(30)}")
        time.sleep(0.01)


def totals(server):
    everything, berlin = server.sql("select count(*), count(*) filter (where store_id = 1) from shop.orders").split("|")
    return {"all": int(everything), "berlin": int(berlin)}


def stay(server):
    print()
    if os.environ.get("DEMO_DETACH") == "1" or not sys.stdin.isatty() or not sys.stdout.isatty():
        print(f"The server goes on running in {server.folder}. To stop it and remove its data: make demo-stop")
        return
    print(show.bold("The server goes on running. Press ^C to stop it and remove its data."))
    try:
        while server.is_running():
            time.sleep(1)
        print("The server has been stopped.")
    except KeyboardInterrupt:
        print("\nStopping.")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    demo_state.stop_previous()


def main():
    demo_state.stop_previous()
    server = None
    try:
        server, port = start(os.environ.get("PG_CONFIG", "pg_config"))
        load(server)
        token = let_in(server)
        socket = server.socket_folder / f".s.MCP.{port}"
        wait_until_ready(server, socket)
        url = f"http://127.0.0.1:{port}/mcp"
        asyncio.run(conversation.talk(url, token, totals(server)))
        show.step("Now your own client")
        clients.print_all(server, str(socket), token)
        print()
        show.note(f"psql as the administrator: {psql(server)}")
    except KeyboardInterrupt:
        demo_state.stop_previous()
        return 130
    except BaseException as failure:
        if server is not None:
            print(f"\nThe server's log, {server.folder}/log, ends with:\n{server.log(30)}", file=sys.stderr)
            demo_state.stop_previous()
        print(f"\nThe demo failed: {causes(failure)}", file=sys.stderr)
        return 1
    stay(server)
    return 0


def psql(server):
    become = f"runuser -u {server.user} -- " if os.geteuid() == 0 else ""
    return f"{become}{server.bin}/psql -h {server.socket_folder} -p {server.port} postgres"


def causes(failure):
    """The SDK wraps what went wrong in groups of exceptions; what helps is inside."""
    if isinstance(failure, BaseExceptionGroup):
        return "; ".join(causes(inner) for inner in failure.exceptions)
    return f"{type(failure).__name__}: {failure}"


if __name__ == "__main__":
    sys.exit(main())
