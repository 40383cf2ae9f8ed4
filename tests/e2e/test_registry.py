"""Tools of one's own, from writing a function to calling it from a client that is connected already, and the bounds that they keep."""

import pytest

from harness.caller import token_caller
from harness.waits import wait_until


@pytest.fixture(scope="module")
def team(cluster):
    """A member of mcp_admin with a schema of its own, through SQL and through MCP, and a mate that may only call."""
    cluster.sql("""create role team_lead login; create role team_mate login; grant mcp_admin to team_lead; create schema team authorization team_lead;
                   create table team.orders (id int primary key, day date, amount numeric(8,2)); alter table team.orders owner to team_lead;
                   insert into team.orders values (1, '2026-01-01', 5), (2, '2026-01-02', 7);
                   alter role team_lead set search_path = team; grant usage on schema team to team_mate; grant select on team.orders to team_mate;
                   select mcp.grant_tools('team_lead', write => true); select mcp.grant_tools('team_mate', write => true)""")
    lead, mate = token_caller(cluster, "team_lead"), token_caller(cluster, "team_mate")
    yield lead, mate
    lead.close()
    mate.close()
    cluster.sql("""delete from mcp._tokens where role in ('team_lead'::regrole, 'team_mate'::regrole); drop schema team cascade;
                   drop owned by team_lead, team_mate; drop role team_lead, team_mate""")


def as_lead(cluster, text):
    return cluster.sql(text, user="team_lead")


def test_newcomer_makes_a_tool_and_a_connected_client_calls_it(cluster, team):
    _, mate = team
    assert "orders_on" not in mate.tools(), "the client is connected before there is anything"
    as_lead(cluster, "create function team.orders_on(on_day date) returns setof team.orders language sql stable as 'select * from team.orders where day = on_day'")
    assert "orders_on" not in mate.tools()
    as_lead(cluster, "comment on function team.orders_on is 'Orders of one day'")
    as_lead(cluster, """select mcp.expose('team.orders_on(date)', args => '{"on_day": "Day of the orders"}')""")
    tool = mate.tools()["orders_on"]
    assert tool["description"] == "Orders of one day" and tool["annotations"]["readOnlyHint"] is True
    assert tool["inputSchema"]["properties"] == {"on_day": {"type": "string", "format": "date", "description": "Day of the orders"}}
    assert mate.tool("orders_on", {"on_day": "2026-01-02"}).data["rows"] == [{"id": 2, "day": "2026-01-02", "amount": 7.00}]
    error = mate.tool("orders_on", {"on_dya": "2026-01-02"}).error
    assert "on_dya" in error["message"] and "on_day" in error["hint"]
    as_lead(cluster, "drop function team.orders_on")
    assert "orders_on" not in mate.tools()
    gone = mate.tool("orders_on", {"on_day": "2026-01-02"})
    assert gone.protocol_error or gone.error["kind"] == "unknown_tool"


def test_what_another_session_changes_shows_in_the_next_list(cluster, team):
    _, mate = team
    as_lead(cluster, """create function team.seen(n int) returns int language sql stable as 'select n';
                        comment on function team.seen is e'@mcp({})\\nFirst words'""")
    assert mate.tools()["seen"]["description"] == "First words"
    assert mate.tool("seen", {"n": 1}).data == {"result": 1}
    steps = [
        ("comment on function team.seen is e'@mcp({\"title\": \"Seen\"})\\nOther words'", lambda t: t["seen"]["description"] == "Other words" and t["seen"]["title"] == "Seen"),
        ("revoke execute on function team.seen from public", lambda t: "seen" not in t),
        ("grant execute on function team.seen to team_mate", lambda t: "seen" in t),
        ("revoke usage on schema team from team_mate", lambda t: "seen" not in t),
        ("grant usage on schema team to team_mate", lambda t: "seen" in t),
        ("alter function team.seen(int) volatile", lambda t: t["seen"]["annotations"]["readOnlyHint"] is False),
        ("create or replace function team.seen(n int default 5) returns int language sql stable as 'select n'",
         lambda t: t["seen"]["inputSchema"]["properties"]["n"]["default"] == 5),
        ("alter function team.seen(int) rename to seen_too", lambda t: "seen" not in t and "seen_too" in t),
        ("alter function team.seen_too(int) rename to seen", lambda t: "seen" in t),
        ("alter function team.seen(int) security definer", lambda t: "seen" not in t),
        ("select mcp.expose('team.seen(int)', security_definer => true)", lambda t: t["seen"]["description"].endswith("Runs with the rights of its owner team_lead.")),
        ("select mcp.hide('team.seen(int)')", lambda t: "seen" not in t),
    ]
    for statement, holds in steps:
        as_lead(cluster, statement)
        listed = mate.tools()
        assert holds(listed), (statement, listed.get("seen"))
        called = mate.tool("seen", {"n": 1})
        assert (called.protocol_error is None and not called.is_error) == ("seen" in listed), statement
    as_lead(cluster, "drop function team.seen")


def test_owner_that_is_trusted_no_more(cluster, team):
    _, mate = team
    as_lead(cluster, "create function team.trusted() returns int language sql stable as 'select 1'; comment on function team.trusted is '@mcp({})'")
    assert "trusted" in mate.tools()
    cluster.sql("revoke mcp_admin from team_lead")
    try:
        assert "trusted" not in mate.tools()
        assert mate.tool("trusted").message.get("error") or mate.tool("trusted").error["kind"] == "unknown_tool"
    finally:
        cluster.sql("grant mcp_admin to team_lead")
    assert "trusted" in mate.tools()
    as_lead(cluster, "drop function team.trusted")


def test_query_saved_by_a_client_is_shared_by_a_grant(cluster, team):
    """An agent keeps a statement that it found useful; its team gets it by GRANT."""
    lead, mate = team
    saved = lead.sql("""select mcp.save_query('orders_between', 'Orders between two days', 'select id, amount from orders where day between first and last order by id',
                        '[{"name": "first", "type": "date", "description": "First day"}, {"name": "last", "type": "date", "default": "2026-12-31"}]')""")
    assert saved.value == "orders_between(date,date)"
    tool = lead.tools()["orders_between"]
    assert tool["inputSchema"]["required"] == ["first"] and tool["inputSchema"]["properties"]["last"]["default"] == "2026-12-31"
    assert tool["outputSchema"]["properties"]["rows"]["items"]["properties"]["id"]["type"] == ["integer", "null"]
    assert lead.tool("orders_between", {"first": "2026-01-02"}).data["rows"] == [{"id": 2, "amount": 7.00}]
    assert "orders_between" not in mate.tools(), "nobody else's until it is granted"
    lead.sql("grant execute on function orders_between to team_mate").data
    assert mate.tool("orders_between", {"first": "2026-01-01", "last": "2026-01-01"}).data["rows"] == [{"id": 1, "amount": 5.00}], "whatever the caller's search_path is"
    wrong = lead.sql("select mcp.save_query('wrong', 'x', 'select nope from orders')").error
    assert wrong["sqlstate"] == "42703"
    two = lead.sql("select mcp.save_query('wrong', 'x', 'select 1; delete from orders')").error
    assert two["sqlstate"] == "42601" and "one statement" in two["hint"] and cluster.value("select count(*) from team.orders") == 2
    lead.sql("select mcp.drop_query('orders_between')").data
    assert "orders_between" not in mate.tools() and "orders_between" not in lead.tools()


def test_query_that_reads_is_run_read_only(cluster, team):
    lead, _ = team
    cluster.sql("create function team.sneak() returns int language plpgsql stable as $$begin execute 'delete from team.orders'; return 1; end$$; grant execute on function team.sneak to public")
    lead.sql("select mcp.save_query('looks_harmless', 'x', 'select sneak() as n')").data
    assert lead.tool("looks_harmless").error["sqlstate"] in ("25006", "0A000")
    assert cluster.value("select count(*) from team.orders") == 2
    lead.sql("select mcp.save_query('puts', 'x', 'insert into orders values (id, null, null) returning id', '{\"id\": \"int\"}', volatility => 'volatile')").data
    assert lead.tools()["puts"]["annotations"]["readOnlyHint"] is False
    assert lead.tool("puts", {"id": 9}).data["rows"] == [{"id": 9}] and cluster.value("select count(*) from team.orders") == 3
    cluster.sql("delete from team.orders where id = 9; drop function team.puts, team.looks_harmless, team.sneak")


def test_tools_of_ones_own_keep_the_limits(cluster, team):
    """Rows, bytes and time count for them as for execute_sql, and a saved query is no way around."""
    lead, mate = team
    as_lead(cluster, """select mcp.save_query('many', 'x', 'select i, repeat(''x'', width) as text from generate_series(1, n) i', '{"n": "int", "width": "int"}');
                        select mcp.save_query('slow', 'x', 'select 1 as one, pg_sleep(60)::text as slept');
                        grant execute on function team.many, team.slow to team_mate""")
    assert mate.tool("many", {"n": 5000, "width": 1}).data["row_count"] == 1000
    error = mate.tool("many", {"n": 900, "width": 5000}).error
    assert error["kind"] == "too_large", error
    cluster.sql("select mcp.set_limit('team_mate', max_rows => 7, max_seconds => 0.5)")
    try:
        data = mate.tool("many", {"n": 8, "width": 1}).data
        assert data["row_count"] == len(data["rows"]) == 7 and data["truncated"] is True
        assert mate.tool("slow").error["kind"] == "timeout"
    finally:
        cluster.sql("select mcp.drop_limit('team_mate')")
    cluster.sql("drop function team.many, team.slow")


def test_tool_of_ones_own_can_be_cancelled(cluster, team):
    _, mate = team
    as_lead(cluster, "select mcp.save_query('waits', 'x', 'select pg_sleep(60)::text as slept'); grant execute on function team.waits to team_mate")

    def running():
        return cluster.value("select count(*) from pg_stat_activity where usename = 'team_mate' and wait_event = 'PgSleep'")

    client = mate.line()
    number = client.start("tools/call", {"name": "waits", "arguments": {}})
    wait_until(lambda: running() == 1, 20, "the tool runs")
    client.notify("notifications/cancelled", {"requestId": number, "reason": "enough"})
    wait_until(lambda: running() == 0, 20, "the tool is cancelled")
    client.start("tools/call", {"name": "waits", "arguments": {}})
    wait_until(lambda: running() == 1, 20, "the tool runs again")
    client.close()
    wait_until(lambda: running() == 0, 20, "hanging up cancels it too")
    cluster.sql("drop function team.waits")


def test_broken_directives_do_no_harm_to_the_list(cluster, team):
    lead, mate = team
    before = set(mate.tools())
    broken = ["@mcp(", "@mcp({", "@mcp({\"a\":" + "[" * 10_000 + "]" * 10_000 + "})", "@mcp({\"title\": \"\\u0000\"})", "@mcp([])", "@mcp({\"kind\": 5})",
              "@mcp({\"args\": " + "{\"a\":" * 30 + "1" + "}" * 30 + "})", "@mcp({\"title\": \"" + "x" * 1_000_000 + "\"})"]
    odd = ["@mcp({\"args\": 5, \"title\": {}, \"features\": \"x\", \"output\": [], \"annotations\": 1})\nWords", "@mcp({})\n" + "word " * 200_000,
           "@mcp({\"args\": {\"n\": {\"schema\": {\"$ref\": \"#/nowhere\", \"type\": \"strng\"}}}})\nWords"]
    with cluster.connect(user="team_lead") as connection:
        for number, comment in enumerate(broken + odd):
            connection.execute(f"create function team.odd_{number}(n text default '') returns text language sql stable as 'select n'")
            connection.execute(f"comment on function team.odd_{number} is " + "'" + comment.replace("'", "''") + "'")
    try:
        tools = mate.tools()
        assert set(tools) == before | {f"odd_{n}" for n in range(len(broken), len(broken + odd))}
        assert len(tools["odd_9"]["description"]) <= 8000
        assert tools["odd_10"]["inputSchema"]["properties"]["n"] == {"type": "string", "default": ""}
        problems = {row[0] for row in lead.sql("select function::text from mcp.check()").rows}
        assert {f"odd_{n}(text)" for n in range(len(broken + odd))} <= problems
    finally:
        for number in range(len(broken + odd)):
            cluster.sql(f"drop function team.odd_{number}")
