"""Making tenants and looking at what keeps them apart: what the tests of all three ways share. Holds no test."""

from .caller import Caller
from .clients import bearer
from .waits import wait_until


def create(connection, name, kind, **arguments):
    cursor = connection.execute(
        "select * from mcp.create_tenant(name => %(name)s, kind => %(kind)s" + "".join(f", {key} => %({key})s" for key in arguments) + ")",
        {"name": name, "kind": kind, **arguments})
    return dict(zip([column.name for column in cursor.description], cursor.fetchone()))


def caller_of(cluster, made, database=None):
    caller = Caller(cluster, bearer(made["token"]), database=database)
    caller.made = made
    return caller


def fails(caller, query, *sqlstates):
    assert caller.sqlstate(query) in sqlstates, query


def holding(cluster, caller, statement, locked):
    """A line on which `statement` holds its locks until the line is closed; `locked` is an SQL condition that says so."""
    line = caller.line()
    line.start("tools/call", {"name": "execute_sql", "arguments": {"query": f"{statement}; select pg_sleep(25)"}})
    wait_until(lambda: cluster.value(f"select exists (select from pg_locks where {locked})"), 10, "the other tenant's lock")
    return line
