"""The catalog tools through MCP: what an ordinary role is shown, and what many tables and few bytes do to the answers.

Their contents in detail are the golden test catalog_tools.
"""

import json

import pytest

from harness.caller import token_caller
from harness.cluster import server_major

TOOLS = ["describe_function", "describe_table", "foreign_key_graph", "list_policies", "list_roles_and_grants", "list_triggers", "list_types",
         "schema_document", "search_objects"]
COUNT = 300


@pytest.fixture(scope="module")
def crowd(cluster):
    """A schema of many tables, each with a key to the one before, a policy, a trigger and a type; and a role that may use them."""
    cluster.sql(f"""
        create role crowd_reader login;
        create schema "Crowd" authorization postgres;
        grant usage on schema "Crowd" to crowd_reader;
        create function "Crowd".touch() returns trigger language plpgsql as 'begin return new; end';
        do $$
        begin
            for n in 1 .. {COUNT} loop
                execute format('create table "Crowd".%1$I (id int primary key, before int references "Crowd".%2$I, note text)',
                               't"' || lpad(n::text, 3, '0'), 't"' || lpad(greatest(n - 1, 1)::text, 3, '0'));
                execute format('create policy own on "Crowd".%1$I using (note = current_user); create type "Crowd".%2$I as enum (''a'', ''b'');
                                create trigger touch before update on "Crowd".%1$I for each row execute function "Crowd".touch();
                                grant select on "Crowd".%1$I to crowd_reader',
                               't"' || lpad(n::text, 3, '0'), 'e"' || lpad(n::text, 3, '0'));
                if n % 2 = 0 then execute format('alter table "Crowd".%I enable row level security', 't"' || lpad(n::text, 3, '0')); end if;
            end loop;
        end $$;
        select mcp.grant_tools('crowd_reader')""")
    yield token_caller(cluster, "crowd_reader")
    cluster.sql("""delete from mcp._limits where role = 'crowd_reader'::regrole; delete from mcp._tokens where role = 'crowd_reader'::regrole;
                   drop schema "Crowd" cascade; drop owned by crowd_reader; drop role crowd_reader""")


def test_catalog_tools_only_read(writer):
    tools = writer.tools("catalog")
    for name in TOOLS:
        assert tools[name]["annotations"]["readOnlyHint"] is True and tools[name]["annotations"]["openWorldHint"] is False, name


def test_search_finds_what_the_reader_may_use(reader):
    found = [(item["kind"], item["name"]) for item in reader.tool("search_objects", {"pattern": "order"}).data["objects"]]
    assert ("table", "shop.orders") in found and ("view", "shop.big_orders") in found
    assert reader.tool("search_objects", {"pattern": "salary"}).data == {"objects": []}, "no privilege on it"
    assert reader.tool("search_objects", {"pattern": "secret", "kind": "column"}).data == {"objects": []}, "none on this column"
    exact = reader.tool("search_objects", {"pattern": "email", "kind": "column", "detail": "summary"}).data["objects"][0]
    assert exact == {"kind": "column", "name": "shop.customer.email", "type": "text"}


@pytest.mark.parametrize("tool,arguments,hint", [
    ("search_objects", {"pattern": "x", "kind": "tabel"}, "Kinds are"),
    ("search_objects", {"pattern": "x", "after": "nonsense"}, "Leave it out"),
    ("search_objects", {"pattern": "x", "schema": "shopp"}, "Perhaps you meant shop."),
    ("describe_function", {"name": "no_such_function"}, "search_objects"),
    ("list_policies", {"table": "shop.salary"}, "Perhaps"),
    ("list_triggers", {"after": "a.b"}, "Leave it out"),
    ("list_types", {"after": "a.b.c"}, "Leave it out"),
    ("foreign_key_graph", {"format": "svg"}, "json or mermaid"),
    ("schema_document", {"after": "\""}, "Leave it out"),
    ("list_roles_and_grants", {"role": "writer_dirct"}, "Perhaps you meant writer_direct"),
])
def test_wrong_arguments_are_told_what_to_do(reader, tool, arguments, hint):
    error = reader.tool(tool, arguments).error
    assert hint in (error.get("hint") or "") or hint == "Perhaps" and "list_tables" in error["hint"], error


def test_sample_rows_are_those_of_the_caller(reader, writer):
    for caller in (reader, writer):
        data = caller.tool("describe_table", {"name": "shop.note", "sample_rows": 5}).data
        assert [row["owner"] for row in data["sample_rows"]] == [caller.role] and "row level security" in data["sample_note"]
    data = reader.tool("describe_table", {"name": "shop.customer", "sample_rows": 2}).data
    assert [set(row) for row in data["sample_rows"]] == [{"id", "name", "email"}] * 2 and "secret" in data["sample_note"]
    assert "sample_rows" not in reader.tool("describe_table", {"name": "shop.customer"}).data


def test_sample_rows_write_nothing_and_survive_a_view_that_fails(cluster, writer):
    cluster.sql(f"""
        create function shop.bump() returns int language sql as 'update shop.counter set n = n + 1 returning n';
        create view shop.bumping as select shop.bump() as n;
        create view shop.failing as select 1 / (id - id) as n from shop.orders;
        grant select on shop.bumping, shop.failing to {writer.role}""")
    try:
        before = cluster.value("select n from shop.counter where name = 'a'")
        data = writer.tool("describe_table", {"name": "shop.bumping", "sample_rows": 1}).data
        assert data["sample_rows"] == [] and "read-only" in data["sample_note"], data["sample_note"]
        assert cluster.value("select n from shop.counter where name = 'a'") == before
        data = writer.tool("describe_table", {"name": "shop.failing", "sample_rows": 1}).data
        assert data["sample_rows"] == [] and "division by zero" in data["sample_note"] and data["columns"][0]["name"] == "n"
    finally:
        cluster.sql("drop view shop.bumping, shop.failing; drop function shop.bump()")


@pytest.mark.skipif(server_major() < 16, reason="memberships have options of their own since PostgreSQL 16")
def test_memberships_with_options(cluster, reader):
    """INHERIT and SET are apart: what is not inherited may be had after SET ROLE, and what that role inherits with it."""
    cluster.sql("""create role opt_far; create role opt_mid; create role opt_admin; create role opt_one;
                   grant opt_far to opt_mid with inherit true, set false; grant opt_mid to opt_one with inherit false, set true;
                   grant opt_admin to opt_one with admin true, inherit false, set false;
                   grant update on shop.orders to opt_far; grant delete on shop.orders to opt_admin""")
    try:
        data = reader.tool("list_roles_and_grants", {"role": "opt_one", "table": "shop.orders"}).data
        assert data["privileges"]["UPDATE"] == {"allowed": False, "after_set_role": ["granted to opt_far: opt_one -> opt_mid -> opt_far"]}
        assert data["privileges"]["DELETE"] == {"allowed": False}, "ADMIN alone gives nothing"
        assert "USAGE on schema shop" in data["missing"]
        data = reader.tool("list_roles_and_grants", {"role": "opt_one"}).data
        assert data["member_of"] == [{"role": "opt_admin", "inherit": False, "set": False, "admin": True},
                                     {"role": "opt_mid", "inherit": False, "set": True, "admin": False}]
    finally:
        cluster.sql("drop owned by opt_far, opt_mid, opt_admin, opt_one; drop role opt_far, opt_mid, opt_admin, opt_one")


# ---- many tables, few bytes

PAGED = {
    "search_objects": ("objects", {"schema": "Crowd", "kind": "table", "max_objects": 1000, "detail": "full"}, "name"),
    "list_policies": ("policies", {"schemas": ["Crowd"]}, "table"),
    "list_triggers": ("triggers", {"schemas": ["Crowd"]}, "table"),
    "foreign_key_graph": ("foreign_keys", {"schemas": ["Crowd"]}, "source_table"),
    "list_types": ("types", {"schemas": ["Crowd"]}, "name"),
}


@pytest.mark.parametrize("tool", PAGED)
def test_pages_join_to_the_whole_and_keep_to_the_bytes(crowd, limit, tool):
    key, arguments, field = PAGED[tool]
    limit("crowd_reader", max_bytes=4096)
    seen, pages, arguments = [], 0, dict(arguments)
    while True:
        result = crowd.tool(tool, arguments)
        data = result.data
        assert len(json.dumps(data).encode()) < 4096
        seen += [item[field] for item in data[key]]
        pages += 1
        if "next" not in data:
            break
        assert data["truncated"] is True and pages <= COUNT
        arguments["after"] = data["next"]
    letter = "e" if tool == "list_types" else "t"
    assert seen == [f'"Crowd"."{letter}""{n:03}"' for n in range(1, COUNT + 1)] and pages > 5


def test_policies_count_what_they_cannot_name(crowd, limit):
    limit("crowd_reader", max_bytes=4096)
    data = crowd.tool("list_policies", {"schemas": ["Crowd"]}).data
    assert data["rls_off"]["count"] == COUNT / 2 and 0 < len(data["rls_off"]["names"]) < COUNT / 2
    assert data["policies"][0]["rls_enabled"] is False and "rls_enabled" not in data["policies"][1]


def test_document_says_less_where_there_is_much(crowd, limit):
    limit("crowd_reader", max_bytes=1000000)
    document = crowd.tool("schema_document", {"schemas": ["Crowd"]}).data
    assert document["detail"] == "full" and document["tables"] == COUNT and document["document"].count("\n- note text") == COUNT
    document = crowd.tool("schema_document", {"schemas": ["Crowd"], "max_kb": 30}).data
    assert document["detail"] == "columns" and document["tables"] == COUNT and "hint" in document
    assert '"Crowd"."t""002" (id integer pk, before integer -> "Crowd"."t""001"(id), note text)' in document["document"]
    limit("crowd_reader", max_bytes=4096)
    names, arguments = [], {"schemas": ["Crowd"]}
    while True:
        document = crowd.tool("schema_document", arguments).data
        assert len(json.dumps(document).encode()) < 4096 and document["detail"] == "names" or "next" not in document
        names += [line.split(" (")[0].removeprefix("## ") for line in document["document"].split("\n") if '"Crowd"' in line.split(" ")[0] or line.startswith("## ")]
        if "next" not in document:
            break
        assert document["tables_in_all"] > document["tables"]
        arguments["after"] = document["next"]
    assert names == [f'"Crowd"."t""{n:03}"' for n in range(1, COUNT + 1)]


def test_diagram_quotes_names(crowd):
    data = crowd.tool("foreign_key_graph", {"schemas": ["Crowd"], "table": '"Crowd"."t""002"', "format": "mermaid"}).data
    assert data["mermaid"].split("\n") == [
        "erDiagram",
        '    "#34;Crowd#34;.#34;t#34;#34;001#34;" |o--o{ "#34;Crowd#34;.#34;t#34;#34;002#34;" : "before"',
        '    "#34;Crowd#34;.#34;t#34;#34;002#34;" |o--o{ "#34;Crowd#34;.#34;t#34;#34;003#34;" : "before"']
