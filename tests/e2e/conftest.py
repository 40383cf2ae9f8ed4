"""Roles and limits of one test, gone after it."""

import itertools

import pytest

_numbers = itertools.count(1)


@pytest.fixture
def new_role(cluster):
    """Makes roles that may use all tools, writing too, and takes them away with what was given to them."""
    made = []

    def make(form="direct", **options):
        role = f"quota_{next(_numbers)}"
        cluster.sql(f"create role {role} {'login' if form == 'direct' else 'nologin'} {options.get('extra', '')};"
                    f" select mcp.grant_tools('{role}', write => true)")
        made.append(role)
        return role

    yield make
    for role in made:
        cluster.sql(f"delete from mcp._limits where role = '{role}'::regrole; delete from mcp._tokens where role = '{role}'::regrole;"
                    f" drop owned by {role}; drop role {role}")


@pytest.fixture
def limit(cluster):
    """mcp.set_limit as a DBA calls it: limit(role, calls_per_minute=5); role None is everybody."""
    everybody = []

    def set_limit(role=None, **values):
        if role is not None:
            values["role"] = role
        elif "token" not in values:
            everybody.append(values.get("tool"))
        named = ", ".join(f"{name} => %({name})s" + ("::regrole" if name == "role" else "") for name in values)
        cluster.sql(f"select mcp.set_limit({named})", values)

    yield set_limit
    for tool in everybody:
        cluster.sql("delete from mcp._limits where role is null and token is null and tool is not distinct from %s", [tool])
