"""What an ordinary role puts into the catalogs must not keep others from listing and reading their own tables.

Anybody who may create a table may write a comment of a hundred megabytes, or a table that no answer has room for. Tools cut such texts
without reading them whole, and list the other tables all the same.
"""

import pytest

from harness.caller import token_caller

HUGE = 30_000_000


@pytest.fixture
def mallory(cluster):
    """A role of no rights but a schema of its own, which everybody may look into."""
    cluster.sql("create role mallory login; create schema aa_mallory authorization mallory; grant usage on schema aa_mallory to public")
    with cluster.connect(user="mallory") as connection:
        yield connection
    cluster.sql("drop schema aa_mallory cascade; drop role mallory")


def test_a_huge_comment_is_cut_and_the_others_are_listed(cluster, mallory, reader):
    mallory.execute("create table aa_mallory.t (a int); grant select on aa_mallory.t to public; create function aa_mallory.f() returns int language sql as 'select 1'")
    for kind, what in [("table", "aa_mallory.t"), ("column", "aa_mallory.t.a"), ("schema", "aa_mallory"), ("function", "aa_mallory.f()")]:
        mallory.execute(f"do $$ begin execute format('comment on {kind} {what} is %L', 'begins ' || repeat('x', {HUGE})); end $$")
    said = f"... (cut, {HUGE + 7} bytes)"
    tables = {table["name"]: table for table in reader.tool("list_tables", {"verbose": True}).data["tables"]}
    assert {"aa_mallory.t", "shop.orders"} <= set(tables) and tables["shop.orders"]["comment"] == "Orders of customers"
    for text in (tables["aa_mallory.t"]["comment"], tables["aa_mallory.t"]["columns"][0]["comment"]):
        assert text.startswith("begins xxx") and text.endswith(said) and len(text) < 2100
    table = reader.tool("describe_table", {"name": "aa_mallory.t"}).data
    assert table["comment"].endswith(said) and table["columns"][0]["comment"].endswith(said)
    schemas = {schema["name"]: schema for schema in reader.tool("list_schemas").data["schemas"]}
    assert schemas["aa_mallory"]["comment"].endswith(said) and "shop" in schemas
    [function] = reader.tool("describe_function", {"name": "aa_mallory.f"}).data["functions"]
    assert function["comment"].endswith(said)
    # Its beginning is searched, and no more.
    found = reader.tool("search_objects", {"pattern": "begins"}).data
    assert any("aa_mallory" in str(item) for items in found.values() if isinstance(items, list) for item in items), found


def test_a_table_that_no_answer_has_room_for_is_named(cluster, mallory, reader):
    mallory.execute(f"do $$ begin execute format('create table aa_mallory.big (a text default %L)', repeat('x', {2_000_000})); end $$;"
                    " grant select on aa_mallory.big to public; create table aa_mallory.small (a int); grant select on aa_mallory.small to public")
    tables = {table["name"]: table for table in reader.tool("list_tables", {"schemas": ["aa_mallory"], "verbose": True}).data["tables"]}
    assert tables["aa_mallory.big"] == {"name": "aa_mallory.big", "note": "Too long to be listed in full."}
    assert [column["name"] for column in tables["aa_mallory.small"]["columns"]] == ["a"]


def test_a_wide_table_of_long_enums_does_not_take_the_time_of_the_others(cluster, mallory, reader):
    """For each default PostgreSQL takes the square of the columns, and every column has the labels of its type."""
    mallory.execute("""do $$ begin
        execute (select format('create type aa_mallory.e as enum (%s)', string_agg(quote_literal(g), ',')) from generate_series(1, 1000) g);
        execute (select format('create table aa_mallory.wide (%s)', string_agg(format('%I aa_mallory.e default %L', repeat('c', 55) || g, 1), ','))
                   from generate_series(1, 1590) g);
        end $$; grant select on aa_mallory.wide to public""")
    table = reader.tool("describe_table", {"name": "aa_mallory.wide"})
    assert table.error["kind"] == "too_large", "there is no room for it, but it has been made in time"
    tables = {table["name"] for table in reader.tool("list_tables", {"verbose": True}).data["tables"]}
    assert {"aa_mallory.wide", "shop.orders"} <= tables
    mallory.execute("create table aa_mallory.one (a aa_mallory.e default '7', b text generated always as ('x') stored); grant select on aa_mallory.one to public")
    [a, b] = reader.tool("describe_table", {"name": "aa_mallory.one"}).data["columns"]
    assert (a["enums"][:3], len(a["enums"]), a["more_enums"]) == (["1", "2", "3"], 200, True)
    assert (a["default_value"], b["default_value"]) == ("'7'::aa_mallory.e", "'x'::text") and "more_enums" not in b


def test_domains_over_domains_do_not_end_the_list_of_tools(cluster, mallory):
    mallory.execute("""do $$ begin create domain aa_mallory.d0 as int;
        for i in 1..500 loop execute format('create domain aa_mallory.d%s as aa_mallory.d%s', i, i - 1); end loop; end $$;
        create function aa_mallory.deep(a aa_mallory.d500, b aa_mallory.d3) returns aa_mallory.d500 language sql as 'select $1';
        comment on function aa_mallory.deep(aa_mallory.d500, aa_mallory.d3) is '@mcp({})'""")
    cluster.sql("select mcp.grant_tools('mallory'::regrole)")
    try:
        tool = token_caller(cluster, "mallory").tools()["deep"]
        assert tool["inputSchema"]["properties"]["a"] == {} and tool["inputSchema"]["properties"]["b"]["type"] == "integer"
    finally:
        cluster.sql("delete from mcp._tokens where role = 'mallory'::regrole; drop owned by mallory cascade; create schema aa_mallory")
