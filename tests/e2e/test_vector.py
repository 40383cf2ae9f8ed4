"""find_similar and hybrid_search: rows by vectors, under the caller's privileges and row level security."""

from pathlib import Path

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster, pg_config
from harness.waits import wait_until

HAVE_VECTOR = (Path(pg_config("sharedir")) / "extension" / "vector.control").exists()
searches = pytest.mark.skipif(not HAVE_VECTOR, reason="this server comes without the extension vector")

# Of item n the vector points the nearer to (1, 0) the higher n is; (n, 20 - n) makes all directions differ.
WORLD = """
create schema "Ext ""v"; create extension vector schema "Ext ""v";
create role seeker_direct login; create role seeker_bridge nologin; create role outside login;
select mcp.grant_tools(r::regrole) from unnest(array['seeker_direct', 'seeker_bridge', 'outside']) r;
create schema library; grant usage on schema library, "Ext ""v" to seeker_direct, seeker_bridge; grant usage on schema library to outside;
create table library."Book ""List" (id int primary key, "Ti.tle" text, body text, kind text, embedding "Ext ""v".vector(2), price int, secret text,
    words tsvector generated always as (to_tsvector('english', coalesce(body, ''))) stored);
insert into library."Book ""List"
    select g, 'title ' || g, case when g % 5 = 0 then 'green apples and pears' else 'fast cars' end, case when g % 2 = 0 then 'even' else 'odd' end,
           format('[%s,%s]', g, 20 - g)::"Ext ""v".vector, g, 'hidden'
      from generate_series(1, 20) g;
insert into library."Book ""List" (id, "Ti.tle", kind) values (99, 'without a vector', 'odd');
alter table library."Book ""List" enable row level security;
create policy most on library."Book ""List" using (id not in (7, 15));
grant select (id, "Ti.tle", body, kind, embedding, words) on library."Book ""List" to seeker_direct, seeker_bridge;
create table library.two (id int, a "Ext ""v".vector(2), "B b" "Ext ""v".vector(3), note text);
insert into library.two select g, format('[%s,1]', g)::"Ext ""v".vector, format('[%s,1,1]', g)::"Ext ""v".vector, 'note ' || g from generate_series(1, 5) g;
create table library.plain (id int); grant select on library.two, library.plain to seeker_direct, seeker_bridge, outside;
create table library.many (id int primary key, v "Ext ""v".vector(3), body text, grp int);
insert into library.many select g, format('[%s,%s,%s]', g % 97, g % 89, g)::"Ext ""v".vector, repeat('x', 300), g % 100 from generate_series(1, 20000) g;
grant select on library.many to seeker_direct, seeker_bridge;
create index many_v on library.many using ivfflat (v "Ext ""v".vector_l2_ops) with (lists = 10);
analyze library.many;
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    one.install()
    if HAVE_VECTOR:
        one.sql("set client_min_messages = error;" + WORLD)
    yield one
    one.remove()


_made = {}


@pytest.fixture
def seeker(site, form):
    if form not in _made:
        _made[form] = token_caller(site, f"seeker_{form}", form=form)
    return _made[form]


def ids(result):
    return [item["row"]["id"] for item in result.data["rows"]]


BOOKS = 'library."Book ""List"'


# ---- nearest rows

@searches
def test_rows_nearest_to_a_vector(seeker):
    result = seeker.tool("find_similar", {"table": BOOKS, "example": [20, 0], "max_rows": 3})
    assert ids(result) == [20, 19, 18]
    first = result.data["rows"][0]
    assert first["distance"] == 0
    assert first["row"] == {"id": 20, "Ti.tle": "title 20", "body": "green apples and pears", "kind": "even"}, \
        "neither vectors nor what the caller may not read"
    assert "approximate_by" not in result.data


@searches
def test_rows_nearest_to_an_example(seeker):
    result = seeker.tool("find_similar", {"table": "Book \"List", "example": {"id": 10}, "max_rows": 3})
    assert ids(result)[0] == 10 and set(ids(result)) == {9, 10, 11}


@searches
def test_rows_that_policies_hide_are_not_found(seeker):
    found = ids(seeker.tool("find_similar", {"table": BOOKS, "example": [7, 13], "max_rows": 100}))
    assert len(found) == 18 and not {7, 15, 99} & set(found)
    error = seeker.tool("find_similar", {"table": BOOKS, "example": {"id": 7}}).error
    assert "no such example row" in error["message"] and error["sqlstate"] == "P0002"


@searches
def test_filter(seeker):
    result = seeker.tool("find_similar", {"table": BOOKS, "example": [20, 0], "max_rows": 2, "filter": {"kind": "odd"}})
    assert ids(result) == [19, 17]
    assert ids(seeker.tool("find_similar", {"table": BOOKS, "example": [20, 0], "filter": {"kind": "odd", "id": "3"}})) == [3]
    assert ids(seeker.tool("find_similar", {"table": BOOKS, "example": [20, 0], "filter": {"body": None}})) == []


@searches
@pytest.mark.parametrize("metric,example,first", [("l2", [3.2, 1], 3), ("cosine", [1, 9], 1), ("inner_product", [1, 0], 5)])
def test_metrics(seeker, metric, example, first):
    result = seeker.tool("find_similar", {"table": "library.two", "column": "a", "metric": metric, "example": example, "max_rows": 2})
    assert ids(result)[0] == first
    assert result.data["rows"][0]["distance"] <= result.data["rows"][1]["distance"]


@searches
@pytest.mark.parametrize("arguments,sqlstate,said", [
    ({"table": "library.two", "example": [1, 1]}, "42703", "a, B b"),
    ({"table": "library.two", "column": "B c", "example": [1, 1, 1]}, "42703", "B b"),
    ({"table": "library.two", "column": "note", "example": [1, 1]}, "42703", "a, B b"),
    ({"table": "library.plain", "example": [1, 1]}, "42703", "describe_table"),
    ({"table": "library.plane", "example": [1, 1]}, "42P01", "library.plain"),
    ({"table": BOOKS, "example": [1, 1], "metric": "hamming"}, "22023", "cosine"),
    ({"table": BOOKS, "example": [1, 1], "metric": "; drop table x"}, "22023", "cosine"),
    ({"table": BOOKS, "example": {"id": 99}}, "22023", "example"),
    ({"table": BOOKS, "example": {"kind": "odd"}}, "22023", "example"),
    ({"table": BOOKS, "example": {}}, "22023", "id"),
    ({"table": BOOKS, "example": None}, "22023", "id"),
    ({"table": BOOKS, "example": "id = 5"}, "22023", "id"),
    ({"table": BOOKS, "example": {"secret": "hidden"}}, "42703", "id"),
    ({"table": BOOKS, "example": [1, 1], "filter": {"secret": "hidden"}}, "42703", "id"),
    ({"table": BOOKS, "example": [1, 1], "filter": {"id) or (1": "1"}}, "42703", "id"),
    ({"table": BOOKS, "example": [1, 1], "filter": ["id"]}, "22023", "id"),
])
def test_wrong_arguments_say_what_is_right(seeker, arguments, sqlstate, said):
    error = seeker.tool("find_similar", arguments).error
    assert error["sqlstate"] == sqlstate and said in error["hint"], error


@searches
def test_views_and_partitioned_tables_are_searched_too(site, seeker):
    site.sql("""create view library.seen as select id, a, note from library.two where id <> 5;
        create table library.parts (id int, v "Ext ""v".vector(2), body text) partition by list (id);
        create table library.parts_1 partition of library.parts for values in (1, 2); create table library.parts_2 partition of library.parts default;
        insert into library.parts select id, a, note from library.two; grant select on library.seen, library.parts to seeker_direct, seeker_bridge""")
    try:
        assert ids(seeker.tool("find_similar", {"table": "library.seen", "example": [5, 1], "max_rows": 2})) == [4, 3]
        assert ids(seeker.tool("find_similar", {"table": "library.parts", "example": {"id": 3}, "metric": "l2", "max_rows": 1})) == [3]
        for name in ("library.seen", "library.parts"):
            rows = seeker.tool("hybrid_search", {"table": name, "query": "note 2", "text_columns": ["note" if name == "library.seen" else "body"],
                                                 "vector": [5, 1], "language": "simple", "max_rows": 9}).data["rows"]
            found = [item["row"]["id"] for item in rows]
            assert sorted(found) == sorted(set(found)) and 2 in found, "each row once"
            assert next(item for item in rows if item["row"]["id"] == 2)["text_place"] == 1
    finally:
        site.sql("drop view library.seen; drop table library.parts")


@searches
def test_a_vector_of_other_dimensions(seeker):
    assert "dimensions" in seeker.tool("find_similar", {"table": BOOKS, "example": [1, 2, 3]}).error["message"]
    assert seeker.tool("find_similar", {"table": BOOKS, "example": [1, "x"]}).is_error


@searches
def test_an_index_is_used_and_named(site, seeker):
    scans = "select idx_scan from pg_stat_all_indexes where indexrelname = 'many_v'"
    before = site.value(scans)
    with site.connect(user="seeker_direct") as connection:
        found = connection.execute("select mcp.find_similar('library.many', '[5, 5, 5]', metric => 'l2', max_rows => 4)").fetchone()[0]
        connection.execute("select pg_stat_force_next_flush()")
    assert found["approximate_by"] == "library.many_v" and len(found["rows"]) == 4
    assert site.value(scans) == before + 1, "the plan went through the index"
    assert "approximate_by" not in seeker.tool("find_similar", {"table": "library.many", "example": [5, 5, 5]}).data, "it has another metric"


@searches
def test_a_long_answer_is_cut(site, seeker):
    site.configure(supabase_mcp__max_bytes="20kB")
    try:
        # The new limit reaches the processes in their own time.
        data = wait_until(lambda: (found := seeker.tool("find_similar", {"table": "library.many", "example": [5, 5, 5], "max_rows": 500}).data)
                          .get("truncated") and found, 10, "the answer is cut")
        assert 10 < len(data["rows"]) < 100
    finally:
        site.configure(supabase_mcp__max_bytes=None)


@searches
def test_halves_and_bits_where_the_extension_has_them(site, seeker):
    if not site.value("select to_regtype('\"Ext \"\"v\".halfvec') is not null"):
        pytest.skip("halfvec came with pgvector 0.7")
    site.sql("""create table library.small (id int, h "Ext ""v".halfvec(2), b bit(4)); insert into library.small values (1, '[1,0]', '0001'), (2, '[0,1]', '1111');
                grant select on library.small to seeker_direct, seeker_bridge""")
    try:
        assert ids(seeker.tool("find_similar", {"table": "library.small", "example": [0, 2]})) == [2, 1]
        bits = seeker.tool("find_similar", {"table": "library.small", "column": "b", "example": {"id": 1}, "metric": "hamming"}).data["rows"]
        assert [item["distance"] for item in bits] == [0, 3]
    finally:
        site.sql("drop table library.small")


# ---- words and vectors

@searches
def test_hybrid_search_prefers_what_both_find(seeker):
    result = seeker.tool("hybrid_search", {"table": BOOKS, "query": "apples", "text_columns": ["body"], "vector": [11, 9], "language": "english", "max_rows": 4})
    rows = result.data["rows"]
    first = rows[0]
    assert first["row"]["id"] == 10 and first["vector_place"] == 3 and "text_place" in first
    assert first["score"] == pytest.approx(1 / (60 + first["text_place"]) + 1 / 63, abs=1e-6)
    assert [item["score"] for item in rows] == sorted((item["score"] for item in rows), reverse=True)
    assert not {7, 15, 99} & set(ids(result)), "policies hold for both halves"


@searches
def test_hybrid_search_finds_what_only_one_half_finds(seeker):
    rows = {item["row"]["id"]: item for item in seeker.tool("hybrid_search", {
        "table": "Book \"List", "query": "without vector", "text_columns": ["Ti.tle", "kind"], "vector": [20, 0], "language": "simple", "max_rows": 100}).data["rows"]}
    assert "vector_place" not in rows[99] and rows[99]["text_place"] == 1 and "distance" not in rows[99]
    assert "text_place" not in rows[20] and rows[20]["vector_place"] == 1


@searches
def test_hybrid_search_by_a_text_search_vector_with_a_filter(seeker):
    found = ids(seeker.tool("hybrid_search", {"table": BOOKS, "query": "pear", "text_columns": ["words"], "vector": [20, 0], "language": "english",
                                              "max_rows": 2, "filter": {"kind": "odd"}}))
    assert found[0] == 5, "the only odd one with pears that may be seen"


@searches
def test_hybrid_search_with_the_whole_table_readable(seeker):
    """Rows are then the same by their place, so that equal rows stay apart."""
    rows = seeker.tool("hybrid_search", {"table": "library.two", "column": "a", "query": "note", "text_columns": ["note"], "vector": [5, 1], "max_rows": 9}).data["rows"]
    assert sorted(item["row"]["id"] for item in rows) == [1, 2, 3, 4, 5] and all("text_place" in item and "vector_place" in item for item in rows)


@searches
@pytest.mark.parametrize("change,sqlstate,said", [
    ({"text_columns": []}, "22023", "text"), ({"text_columns": ["bdy"]}, "42703", "body"), ({"text_columns": ["secret"]}, "42703", "id"),
    ({"language": "klingon"}, "42704", "english"), ({"vector": {"id": 1}}, "22023", "0.1"), ({"vector": None}, "22023", "0.1"), ({"column": "nope"}, "42703", "embedding"),
])
def test_wrong_arguments_of_hybrid_search(seeker, change, sqlstate, said):
    arguments = {"table": BOOKS, "query": "apples", "text_columns": ["body"], "vector": [1, 1], **change}
    error = seeker.tool("hybrid_search", arguments).error
    assert error["sqlstate"] == sqlstate and said in error["hint"], error


# ---- what is missing

@searches
def test_a_role_that_may_not_use_the_schema_of_the_extension(site):
    error = token_caller(site, "outside").tool("find_similar", {"table": "library.two", "column": "a", "example": [1, 1]}).error
    assert error["sqlstate"] == "42501" and 'grant usage on schema "Ext ""v" to outside' in error["hint"]


@pytest.mark.parametrize("tool,arguments", [
    ("find_similar", {"table": "shop.orders", "example": [1]}),
    ("hybrid_search", {"table": "shop.orders", "query": "x", "text_columns": ["x"], "vector": [1]})])
def test_without_the_extension_it_says_what_is_missing(simple, tool, arguments):
    error = simple.tool(tool, arguments).error
    assert error["sqlstate"] == "0A000" and "not installed in this database" in error["message"] and "create extension vector" in error["hint"]
