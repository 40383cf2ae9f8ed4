"""Where the programs under test are: the stdio bridge, the Node of the test clients, and the client in Rust."""

import os
from pathlib import Path


def bridge_binary():
    """supabase-mcp-stdio, built beside the library; SUPABASE_MCP_STDIO names another one."""
    if os.environ.get("SUPABASE_MCP_STDIO"):
        return Path(os.environ["SUPABASE_MCP_STDIO"])
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).parents[2] / "target"))
    return target / "release" / "supabase-mcp-stdio"


def node_clients():
    """The folder that tests/run fills from tests/clients/ts, and the node binary in it."""
    clients = Path(os.environ["MCP_TEST_CLIENTS"])
    return clients, next(clients.glob("node_modules/node-linux-*/bin/node"))


def types_folder():
    """The folder that tests/run fills from tests/clients/types: Supabase's generator of types, supabase-js, the compiler."""
    return Path(os.environ["MCP_TEST_TYPES"])


def rust_client():
    """The program that tests/run builds from tests/clients/rust."""
    return Path(os.environ["MCP_TEST_RUST_CLIENT"])
