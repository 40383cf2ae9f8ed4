"""What models are told when they connect: the same for every database, and an administrator's own words for this one and for a role."""

import psycopg
import pytest

from harness.clients import LineClient


@pytest.fixture(autouse=True)
def forget(cluster):
    yield
    cluster.sql("delete from mcp._instructions")


def told(caller):
    discovered = caller.rpc("server/discover").json()["result"]["instructions"]
    with LineClient(unix=caller.cluster.mcp_socket, upgrade="/mcp", headers=caller.headers, modern=False) as client:
        assert client.initialize()["result"]["instructions"] == discovered
    return discovered


def test_for_the_database_and_for_a_role(cluster, reader, writer):
    usual = told(reader)
    assert "row-level security" in usual and usual == told(writer)
    cluster.sql("select mcp.set_instructions('Amounts are in euro.')")
    assert told(reader) == told(writer) == f"{usual}\n\nAmounts are in euro."
    cluster.sql(f"select mcp.set_instructions('Only the \"shop\" is yours.', '{reader.role}')")
    assert told(reader) == f"{usual}\n\nAmounts are in euro.\n\nOnly the \"shop\" is yours."
    assert told(writer) == f"{usual}\n\nAmounts are in euro."
    cluster.sql("select mcp.set_instructions('Amounts are in dollars.')")
    assert "euro" not in told(reader) and "dollars" in told(reader)
    cluster.sql(f"select mcp.set_instructions(null), mcp.set_instructions(' ', '{reader.role}')")
    assert told(reader) == usual


def test_members_are_told(cluster, reader):
    cluster.sql(f"create role crew nologin; grant crew to {reader.role}; select mcp.set_instructions('Crew words.', 'crew')")
    try:
        assert told(reader).endswith("Crew words.")
        cluster.sql(f"revoke crew from {reader.role}")
        assert "Crew" not in told(reader)
    finally:
        cluster.sql("delete from mcp._instructions; drop role crew")


def test_others_words_are_not_to_be_read(cluster, reader, writer):
    cluster.sql(f"select mcp.set_instructions('Secret plan.', '{writer.role}'), mcp.set_instructions('For all.')")
    assert reader.sql("select body from mcp.instructions").rows == [["For all."]]
    assert reader.sql("select body from mcp._instructions").rows == [["For all."]]
    assert reader.sqlstate("select mcp.set_instructions('x')") == "42501"
    assert writer.sqlstate("insert into mcp._instructions (body) values ('x')") == "42501"
    assert writer.sqlstate("update mcp._instructions set body = 'x'") == "42501"


def test_an_administrator_sets_them(cluster):
    cluster.sql("create role scribe login; grant mcp_admin to scribe")
    try:
        with cluster.connect(user="scribe") as connection:
            connection.execute("select mcp.set_instructions('From the scribe.')")
            assert connection.execute("select body, changed_by from mcp.instructions").fetchall() == [("From the scribe.", "scribe")]
            with pytest.raises(psycopg.errors.StringDataRightTruncation):
                connection.execute("select mcp.set_instructions(repeat('x', 20001))")
    finally:
        cluster.sql("delete from mcp._instructions; drop role scribe")
