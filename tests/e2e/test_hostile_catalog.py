"""What an ordinary role puts into the catalogs must not keep others from listing and reading their own tables.

Anybody who may create a table may write a comment of a hundred megabytes, or a table that no answer has room for. Tools cut such texts
without reading them whole, and list the other tables all the same.
"""

import pytest

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
