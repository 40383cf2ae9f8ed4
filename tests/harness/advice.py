"""A database of its own for get_advisors, a caller without privileges in it, and the reading of its answers.

Owns the fixtures of the tests of get_advisors on a plain server: they are imported there, and live as long as the module that does.
"""

import pytest

from .caller import token_caller


@pytest.fixture(scope="module")
def database(cluster):
    cluster.sql("create database advised")
    cluster.sql("create role adv_role; create role adv_agent login")
    cluster.install("advised")
    cluster.sql("select mcp.grant_tools('adv_agent', tools => '{get_advisors}')", database="advised")
    yield "advised"
    cluster.sql("drop owned by adv_agent", database="advised")
    cluster.sql("drop database advised with (force)")
    cluster.sql("drop role adv_agent, adv_role")


@pytest.fixture(scope="module")
def agent(cluster, database):
    caller = token_caller(cluster, "adv_agent", database=database)
    yield caller
    caller.close()


@pytest.fixture
def make(cluster, database):
    """Runs SQL in the empty schema public as the superuser; everything that it made is dropped after the test."""
    yield lambda text: cluster.sql(text, database=database)
    cluster.sql("drop schema public cascade; drop schema if exists elsewhere cascade; drop foreign data wrapper if exists adv_wrapper cascade;"
                " create schema public; grant usage on schema public to public", database=database)


def table(name, **more):
    """The metadata of a finding about a table in schema public."""
    return {"schema": "public", "name": name, "type": "table", **more}


def lints(caller, **arguments):
    return {lint["name"]: lint for lint in caller.tool("get_advisors", arguments).data["result"]["lints"]}


def findings(caller, type, lint):
    found = lints(caller, type=type, lint=lint)
    assert set(found) <= {lint}
    return sorted(((item["detail"], item["metadata"]) for item in found[lint]["findings"]), key=str) if found else []
