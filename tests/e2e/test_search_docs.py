"""search_docs: what administrators load, who may read it, and how it is found."""

import pytest

from harness.caller import token_caller
from harness.cluster import as_server, pg_config
from harness.shapes import extra_keys, recorded

DENIED = "42501"
GUIDE = """---
title: "The order guide"
draft: no
---
Orders are what customers place.

# Orders

How an order moves from the basket to the door.

## Refunds ##

A refund is given within 14 days, to the card that paid.

```sh
# this is no heading
refund --order 7
```

#### Exceptions

Perishable goods are never refunded.

Shipping
========

| zone | price |
|------|-------|
| near | 3     |

Abroad
------

Customs declarations take a week.
"""


@pytest.fixture(scope="module")
def library(cluster):
    """A role that administers, and documents that it loaded."""
    cluster.sql("create role librarian login in role mcp_admin; create role no_docs login; create role only_docs login;"
                " select mcp.grant_tools('no_docs', tools => '{list_tables}'); select mcp.grant_tools('only_docs', tools => '{docs}')")
    cluster.sql("select mcp.load_docs('orders.md', %s, url => 'https://example.com/orders')", [GUIDE], user="librarian")
    cluster.sql("select mcp.load_docs('notes', 'Plain words about warehouses.', title => 'Notes')", user="librarian")
    cluster.sql("select mcp.load_docs('handbuch', E'# B\\u00fccher\\nDie B\\u00fccher liegen im Regal.', language => 'german')", user="librarian")
    yield cluster
    cluster.sql("select mcp.drop_docs(source) from mcp.docs; drop owned by librarian, no_docs, only_docs; drop role librarian, no_docs, only_docs")


@pytest.fixture(scope="module")
def caller(library):
    return token_caller(library, "only_docs")


def hits(caller, query, **arguments):
    return caller.tool("search_docs", {"query": query, **arguments}).data["result"]


# ---- loading

def test_markdown_is_split_by_its_headings(library):
    rows = library.sql("select place, heading, body from mcp._doc_sections where source = 'orders.md' order by place", user="librarian")
    assert [(place, heading) for place, heading, _ in rows] == [
        (1, ""), (2, "Orders"), (3, "Orders > Refunds"), (4, "Orders > Refunds > Exceptions"), (5, "Shipping"), (6, "Shipping > Abroad")]
    assert rows[2][2] == "A refund is given within 14 days, to the card that paid.\n\n```sh\n# this is no heading\nrefund --order 7\n```"
    assert "|------|" in rows[4][2], "a line under a row of a table is no heading"
    assert library.sql("select title, url, language, sections, loaded_by from mcp.docs where source = 'orders.md'", user="librarian") == [
        ("The order guide", "https://example.com/orders", "english", 6, "librarian")]


def test_title_is_given_or_the_first_heading(library):
    assert dict(library.sql("select source, title from mcp.docs", user="librarian")) == {
        "orders.md": "The order guide", "notes": "Notes", "handbuch": "B\u00fccher"}


def test_loading_again_replaces(library, caller):
    library.sql("select mcp.load_docs('again', E'# One\\nabout zebras\\n# Two\\nabout lions')", user="librarian")
    assert hits(caller, "zebras")
    assert library.value("select mcp.load_docs('again', E'# Three\\nabout tigers')", user="librarian") == 1
    assert not hits(caller, "zebras") and hits(caller, "tigers")[0]["heading"] == "Three"
    assert library.value("select mcp.drop_docs('again')", user="librarian") == 1
    assert not hits(caller, "tigers")


def test_long_text_is_split_at_blank_lines(library):
    paragraph = "word " * 200 + "\n\n"
    assert library.value("select mcp.load_docs('long', %s)", [paragraph * 30], user="librarian") > 3
    assert library.value("select max(length(body)) < 8000 and sum(length(body)) > 29000 from mcp._doc_sections where source = 'long'", user="librarian")
    assert library.value("select mcp.load_docs('long', %s)", ["endless\n" * 10_000], user="librarian") == 4
    assert library.value("select mcp.load_docs('long', %s)", ["lorem\r\n\r\n# Ipsum\r\ndolor\r"], user="librarian") == 2
    library.sql("select mcp.drop_docs('long')", user="librarian")


@pytest.mark.parametrize("call, state", [
    ("mcp.load_docs('', 'x')", "22004"), ("mcp.load_docs('x', null)", "22004"), ("mcp.load_docs('x', '  ')", "22023"),
    ("mcp.load_docs('x', 'x', url => 'javascript:1')", "22023"), ("mcp.load_docs('x', 'x', language => 'klingon')", "42704"),
    ("mcp.load_docs('x', repeat('x', 20000001))", "54000"), ("mcp.drop_docs('x')", "42704")])
def test_what_cannot_be_loaded_or_dropped(library, call, state):
    with pytest.raises(Exception) as caught:
        library.sql(f"select {call}", user="librarian")
    assert caught.value.sqlstate == state
    assert library.value("select count(*) from mcp.docs where source = 'x'", user="librarian") == 0


# ---- searching

def test_a_hit(caller):
    hit, *others = hits(caller, "refunded card")
    assert hit.pop("rank") > 0
    assert hit == {"title": "The order guide", "heading": "Orders > Refunds", "url": "https://example.com/orders", "source": "orders.md",
                   "snippet": hit["snippet"]}
    assert "**refund** is given" in hit["snippet"] and "**card**" in hit["snippet"]
    assert [other["heading"] for other in others] == ["Orders > Refunds > Exceptions"], "any of the words is enough, all are better"


def test_headings_count_more_than_text(caller):
    assert [hit["heading"] for hit in hits(caller, "shipping abroad")][0] == "Shipping > Abroad"


def test_number_and_length_of_hits(caller):
    assert len(hits(caller, "orders", max_results=2)) == 2
    assert len(hits(caller, "orders", max_results=0)) == 1
    whole = hits(caller, "declarations", whole_sections=True)[0]
    assert whole["text"] == "Customs declarations take a week." and "snippet" not in whole


def test_words_as_people_write_them(caller):
    assert [hit["source"] for hit in hits(caller, "Buch")] == ["handbuch"], "in the document's own language"
    assert hits(caller, '"14 days"')[0]["heading"] == "Orders > Refunds"
    assert hits(caller, "it's \\ a | 'refund' & (<->) :*!")[0]["heading"].startswith("Orders > Refunds")
    assert hits(caller, "the of and") == [] and hits(caller, "xylophone") == []


def test_nothing_to_search_for(caller):
    for arguments in ({}, {"query": "  "}, {"graphql_query": "query { schema }"}, {"graphql_query": "{ searchDocs(query: $q) { nodes { title } } }"}):
        error = caller.tool("search_docs", arguments).error
        assert error["sqlstate"] == "22023" and "searchDocs(query:" in error["hint"], arguments


@pytest.mark.parametrize("text", [
    '{ searchDocs(query: "refund card", limit: 1) { nodes { title href content } } }',
    'query Docs {\n  searchDocs(\n    limit: 1\n    query: "refund card"\n  ) {\n    nodes {\n      content\n      title\n      href\n    }\n  }\n}',
    '{ searchDocs(query: """refund card""", limit: 1) { edges { node { title href content } } } }',
    '{ searchDocs(query: "\\u0072efund \\"card\\" (x)", limit: 1) { nodes { title, href, content } } }'])
def test_queries_written_for_supabase(caller, text):
    data = caller.tool("search_docs", {"graphql_query": text}).data
    assert extra_keys(recorded("supabase_shapes.json")["search_docs"]["result"], data) == set()
    (node,) = data["result"]["searchDocs"]["nodes"]
    assert node["title"] == "Orders > Refunds" and node["href"] == "https://example.com/orders"
    assert node["content"].startswith("A refund is given")


def test_graphql_gives_what_it_asks_for(caller):
    (node,) = caller.tool("search_docs", {"graphql_query": '{ searchDocs(query: "declarations") { nodes { title href } } }'}).data["result"]["searchDocs"]["nodes"]
    assert node == {"title": "Shipping > Abroad", "href": "https://example.com/orders"}
    words = caller.tool("search_docs", {"graphql_query": "declarations"}).data["result"]["searchDocs"]["nodes"]
    assert words[0]["content"] == "Customs declarations take a week."


# ---- who may

def test_only_who_has_the_tool_reads(library):
    outside, inside = token_caller(library, "no_docs"), token_caller(library, "only_docs")
    assert "search_docs" not in outside.tools() and set(inside.tools()) == {"search_docs"}
    for table in ("mcp._docs", "mcp._doc_sections"):
        assert library.value(f"select count(*) from {table}", user="no_docs") == 0
        assert library.value(f"select count(*) from {table}", user="only_docs") > 0
    library.sql("revoke execute on function mcp.search_docs from only_docs")
    assert library.value("select count(*) from mcp._doc_sections", user="only_docs") == 0
    library.sql("select mcp.grant_tools('only_docs', tools => '{docs}')")
    assert hits(inside, "refund")


@pytest.mark.parametrize("statement", [
    "insert into mcp._docs (source, language) values ('x', 'english')", "delete from mcp._docs", "update mcp._doc_sections set body = 'x'",
    "select mcp.load_docs('x', 'x')", "select mcp.drop_docs('notes')", "select * from mcp.docs"])
def test_readers_change_nothing(library, statement):
    with pytest.raises(Exception) as caught:
        library.sql(statement, user="only_docs")
    assert caught.value.sqlstate == DENIED


def test_nothing_loaded_says_so(cluster):
    cluster.sql("create database docs_none")
    cluster.sql("create extension supabase_mcp", database="docs_none")
    answer = cluster.value("select mcp.search_docs('x')", database="docs_none")
    assert answer == {"result": [], "note": "No documents are loaded. An administrator loads some by mcp.load_docs."}


def test_pg_dump_keeps_them(library):
    """Loaded documents are data: a restored database finds what this one finds."""
    dump = library.folder / "docs.sql"
    connection = ["-h", str(library.folder), "-U", "postgres"]
    for name in ("docs_old", "docs_new"):
        library.sql(f"create database {name}")
    library.sql("create extension supabase_mcp", database="docs_old")
    library.sql("select mcp.load_docs('orders.md', %s)", [GUIDE], database="docs_old")
    done = as_server([f"{pg_config('bindir')}/pg_dump", *connection, "-d", "docs_old", "-f", str(dump)], capture_output=True)
    assert done.returncode == 0, done.stderr
    done = as_server([f"{pg_config('bindir')}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *connection, "-d", "docs_new", "-f", str(dump)], capture_output=True)
    assert done.returncode == 0, done.stderr
    found = "select mcp.search_docs('refund declarations')"
    assert library.value(found, database="docs_new") == library.value(found, database="docs_old")
    assert len(library.value(found, database="docs_new")["result"]) == 3
