"""Schemas of tools of one's own: an argument's schema takes what the call takes, and every answer keeps to the schema of results."""

import json

import jsonschema
import pytest

TYPES = """
create schema typed;
create type typed.mood as enum ('so so', 'good', 'it''s');
create domain typed.percent as integer check (value >= 0 and value <= 100);
create domain typed.above as numeric check (value > 1.5) check (2.5 > value);
create domain typed.step as smallint check (value between 10 and 20 and value % 5 = 0);
create domain typed.inner_d as integer not null check (value >= 5);
create domain typed.outer_d as typed.inner_d check (value < 8);
create domain typed.money_like as numeric(5,2);
create domain typed.short as varchar(3);
create domain typed.sized as text check (char_length(value) between 2 and 4);
create domain typed.filled as text check (value <> '');
create domain typed.zip as text check (value ~ '^[0-9]{5}(-[0-9]{4})?$');
create domain typed.odd_regex as text check (value ~ '^[[:alpha:]]+$');
create domain typed.choice as text check (value in ('a', 'b''c', 'd,e'));
create domain typed.choice_v as varchar(9) check (value = any (array['x', 'yy']));
create domain typed.level as integer check (value in (1, -2, 3));
create domain typed.either as integer check (value < 0 or value > 10);
create domain typed.few as integer[] check (cardinality(value) <= 2);
create domain typed.good_mood as typed.mood check (value in ('good', 'it''s'));
create domain typed.no_schema as text check (upper(value) = value);
create domain typed.tight as text check (value ~ '^a' and length(value) < 4) check (value ~ 'z$');
create domain typed.start_day as date check (value >= '2020-01-01');
create type typed.point as (x integer, label typed.short, at timestamptz);
create type typed.line as (name text, a typed.point, "b c" typed.percent, must typed.inner_d);
create type typed.spans as range (subtype = integer, multirange_type_name = typed.many_spans);
grant usage on schema typed to public;
"""

# A type, values that a call takes, values that it refuses and the schema too, and values that the schema does not say enough about.
CASES = [
    ("integer", [0, 2147483647, -2147483648, 5.0], [2147483648, -2147483649, 1.5, True, "x", [1]], []),
    ("smallint", [32767, -32768], [32768, -32769], []),
    ("bigint", [9007199254740993, -5, 3.0], [0.5, {}], [10**30]),
    ("oid", [0, 4294967295], [4294967296], []),
    ("real", [1.5, -3, 0], [True, [1]], []),
    ("numeric", [1e20, 0.1, 3], [None and 0, {}][1:], []),
    ("boolean", [True, False], [1, "true"], []),
    ("text", ["", "ä\n", "it's"], [1, True, ["a"]], []),
    ("character", ["a", "abc"], [1], []),
    ("bit", ["101", ""], ["12"], []),
    ("uuid", ["6f1d2c3a-0000-4000-8000-000000000001"], [5], ["6f1d"]),
    ("date", ["2026-02-28"], [5], ["2026-02-30"]),
    ("timestamptz", ["2026-02-28T13:45:00Z", "2026-02-28T13:45:00+05:30"], [5], ["noon"]),
    ("timestamp", ["2026-02-28T13:45:00"], [5], ["noon"]),
    ("time", ["13:45:00"], [5], ["noon"]),
    ("timetz", ["13:45:00+01:00"], [5], ["noon"]),
    ("interval", ["P3DT4H", "P1Y2M", "PT0.5S"], [5], ["long"]),
    ("bytea", ["\\x", "\\xDEADbeef"], ["\\xD", "\\xzz", 5], []),
    ("inet", ["::1", "10.0.0.0/8"], [5], ["x"]),
    ("jsonb", [1, "a", None, [1, {"a": None}], {"b": True}], [], []),
    ("json", [1, {"b": True}], [], []),
    ("int4range", ["[1,5)", "empty", "(,3]"], [[1, 5]], ["[5,1]"]),
    ("datemultirange", ["{[2026-01-01,2026-02-01)}", "{}"], [5], ["[2026-01-01,2026-02-01)"]),
    ("typed.spans", ["[1,5)"], [5], ["x"]),
    ("integer[]", [[], [1, 2], [-2147483648]], ["{1}", [1.5], [2147483648], ["x"], 5], []),
    ("text[]", [["a", "b,c", ""]], ["a", {"a": 1}], []),
    ("typed.mood", ["so so", "it's"], ["bad", "", 5], []),
    ("typed.mood[]", [["good"], []], [["bad"]], []),
    ("typed.percent", [0, 100], [-1, 101], []),
    ("typed.percent[]", [[0, 100]], [[101]], []),
    ("typed.above", [1.51, 2.49], [1.5, 2.5], []),
    ("typed.step", [10, 15, 20], [9, 21, 12, 25], []),
    ("typed.outer_d", [5, 7], [4, 8], []),
    ("typed.money_like", [999.99, -999.99, 0.01], [1000, -1000], []),
    ("typed.short", ["", "abc", "äöü"], ["abcd"], []),
    ("typed.sized", ["ab", "abcd", "äöüß"], ["a", "abcde"], []),
    ("typed.filled", ["a"], [""], []),
    ("typed.zip", ["12345", "12345-6789"], ["1234", "12345-", "a12345"], []),
    ("typed.odd_regex", ["abc"], [5], ["a1"]),
    ("typed.choice", ["a", "b'c", "d,e"], ["b", "", "A"], []),
    ("typed.choice_v", ["x", "yy"], ["xx"], []),
    ("typed.level", [1, -2, 3], [0, 2], []),
    ("typed.either", [-1, 11], ["x"], [5]),
    ("typed.few", [[], [1, 2]], [[1, 2, 3]], []),
    ("typed.good_mood", ["good", "it's"], ["so so"], []),
    ("typed.no_schema", ["ABC"], [5], ["abc"]),
    ("typed.tight", ["az", "abz"], ["abbz", "bz", "ab"], []),
    ("typed.start_day", ["2020-01-01"], [5], ["2019-12-31"]),
    ("typed.point", [{"x": 1, "label": "abc"}, {}], [{"label": "abcd"}, {"x": "y"}, [1], {"lable": "a"}], []),
    ("typed.line", [{"must": 5, "a": {"x": 2}, "b c": 100}], [{"must": 4}, {"name": "x"}, {"must": 5, "b c": 101}, {"must": 5, "a": {"label": "long"}}, {"must": 5, "a": {"y": 2}}, {"x": 1, "must": 5}], []),
    ("typed.point[]", [[{"x": 1}], []], [[{"x": 1.5}], {"x": 1}, [{"x": 1}, {"z": 1}]], []),
]


@pytest.fixture(scope="module")
def tools(cluster):
    """One function for each type, which gives back what it got, as a value and as rows."""
    cluster.sql(TYPES)
    for number, (name, *_) in enumerate(CASES):
        cluster.sql(f"""
            create function typed.echo_{number}(v {name}) returns {name} language sql stable as 'select v';
            comment on function typed.echo_{number} is '@mcp({{}})';
            create function typed.rows_{number}(v {name}) returns table (v {name}, nothing {name}) language sql stable as
                'select $1, null::{name} where $1 is not null';
            comment on function typed.rows_{number} is '@mcp({{}})'""".replace(f"null::{name}", "null::" + ("integer" if "outer_d" in name else name))
            .replace(f"nothing {name}", "nothing " + ("integer" if "outer_d" in name else name)))
    yield
    cluster.sql("drop schema typed cascade")


def fits(schema, value):
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case[0] for case in CASES])
def test_schema_says_what_the_call_takes(tools, simple, number):
    _, taken, refused, unsaid = CASES[number]
    listed = simple.tools()
    echo, rows = listed[f"echo_{number}"], listed[f"rows_{number}"]
    schema = echo["inputSchema"]
    for value in taken:
        assert fits(schema, {"v": value}), (value, schema)
        for tool in (echo, rows):
            result = simple.tool(tool["name"], {"v": value})
            assert not result.is_error, (value, result)
            jsonschema.validate(result.data, tool["outputSchema"], jsonschema.Draft202012Validator)
    for value in refused:
        assert not fits(schema, {"v": value}), (value, schema)
    for value in unsaid:
        assert fits(schema, {"v": value}), (value, schema)
        assert simple.tool(echo["name"], {"v": value}).error["message"]


@pytest.mark.parametrize("number", [n for n, case in enumerate(CASES) if case[0].startswith("typed.") or case[0] in ("integer", "smallint", "oid", "bytea")],
                         ids=[case[0] for case in CASES if case[0].startswith("typed.") or case[0] in ("integer", "smallint", "oid", "bytea")])
def test_call_refuses_what_lies_beyond_the_bounds(tools, simple, number):
    for value in CASES[number][2]:
        assert simple.tool(f"echo_{number}", {"v": value}).error["message"], value


RESULTS = [
    ("float8", "'NaN'::float8"), ("float8", "'-Infinity'::float8"), ("numeric", "'NaN'::numeric"), ("numeric", "1e300"),
    ("date", "'infinity'::date"), ("date", "'0044-03-15 BC'::date"), ("timestamptz", "'-infinity'::timestamptz"), ("interval", "'3 days'::interval"),
    ("int[]", "array[[1,2],[3,null]]"), ("int[]", "null::int[]"), ("jsonb", "null::jsonb"), ("jsonb", "'null'::jsonb"), ("jsonb", "'[1]'::jsonb"), ("jsonb", "'{\"a\": 1}'::jsonb"),
    ("json", "null::json"), ("text", "null::text"), ("void", "null::int where false"), ("typed_out.pair", "null::typed_out.pair"), ("typed_out.pair", "row(1, null)::typed_out.pair"),
    ("setof typed_out.pair", "row(1, null)::typed_out.pair"), ("setof typed_out.pair", "null::typed_out.pair"), ("setof int", "null::int"), ("setof int", "5"), ("setof jsonb", "'[1]'::jsonb"),
    ("table (n int)", "5"), ("table (n int, n2 typed_out.pair)", "null::int, row(null, null)::typed_out.pair"), ("typed_out.whole", "row(1, 'x')::typed_out.whole"),
    ("table (p typed_out.pair)", "row(1, null)::typed_out.pair"), ("table (j jsonb)", "null::jsonb"),
    ("typed_out.own", "'a'::text::typed_out.own"), ("setof typed_out.whole", "row(1, 'x')::typed_out.whole"), ("record", "1, 2.5::float8"),
    ("setof record", "null::int, null::float8"), ("money", "5::money"), ("bytea", "'\\x00'::bytea"), ("oid", "5::oid"), ("point", "'(1,2)'::point"), ("int8", "9223372036854775807"),
]


@pytest.fixture(scope="module")
def results(cluster):
    cluster.sql("""
        create schema typed_out; grant usage on schema typed_out to public;
        create type typed_out.pair as (a int, b text);
        create domain typed_out.whole as typed_out.pair;
        create type typed_out.own as enum ('a');
        create function typed_out.to_json(typed_out.own) returns json language sql immutable as $$select json_build_object('own', 1)$$;
        create cast (typed_out.own as json) with function typed_out.to_json(typed_out.own);""")
    for number, (returns, value) in enumerate(RESULTS):
        outs = "out x int, out y float8" if "record" in returns else ""
        with cluster.connect() as connection:
            connection.execute(f"create function typed_out.r{number}({outs}) returns {returns} language sql stable as $body$select {value}$body$")
            connection.execute(f"comment on function typed_out.r{number} is '@mcp({{}})'")
    yield
    cluster.sql("drop schema typed_out cascade")


@pytest.mark.parametrize("number", range(len(RESULTS)), ids=[f"{returns} {value}" for returns, value in RESULTS])
def test_answers_keep_to_their_schema(results, simple, number):
    schema = simple.tools()[f"r{number}"]["outputSchema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    data = simple.tool(f"r{number}").data
    assert schema["type"] == "object" and isinstance(data, dict)
    jsonschema.validate(data, schema, jsonschema.Draft202012Validator)


def test_answers_of_no_rows_and_of_too_many(cluster, results, simple):
    cluster.sql("""create function typed_out.upto(n int) returns table (i int) language sql stable as 'select generate_series(1, n)';
                   comment on function typed_out.upto is '@mcp({})'""")
    schema = simple.tools()["upto"]["outputSchema"]
    for n, count in ((0, 0), (3, 3), (1001, 1000)):
        data = simple.tool("upto", {"n": n}).data
        jsonschema.validate(data, schema, jsonschema.Draft202012Validator)
        assert data["row_count"] == len(data["rows"]) == count and data["truncated"] is (n > count)


def test_misspelt_field_is_named(tools, simple):
    number = [case[0] for case in CASES].index("typed.line")
    error = simple.tool(f"echo_{number}", {"v": {"must": 5, "a": {"lable": "x"}}}).error
    assert 'no field "v.a.lable"' in error["message"] and '"label"' in error["hint"], error


def test_types_within_types_end_somewhere(cluster, simple):
    types = "create type deep.t0 as (x int);" + "".join(f"create type deep.t{n} as (a deep.t{n - 1}, b deep.t{n - 1}[]);" for n in range(1, 9))
    cluster.sql(f"""create schema deep; grant usage on schema deep to public; {types}
                    create function deep.nested(v deep.t8) returns deep.t8 language sql stable as 'select v';
                    comment on function deep.nested is '@mcp({{}})'""")
    try:
        tool = simple.tools()["nested"]
        assert len(json.dumps(tool)) < 6000
        value = {"a": {"a": {"a": {"a": {"b": []}}}}}
        assert fits(tool["inputSchema"], {"v": value})
        data = simple.tool("nested", {"v": value}).data
        jsonschema.validate(data, tool["outputSchema"], jsonschema.Draft202012Validator)
        assert data["a"]["a"]["a"]["a"]["b"] == []
    finally:
        cluster.sql("drop schema deep cascade")


def test_large_enum_and_wide_type_stay_small(cluster, simple):
    labels = ", ".join(f"'label {n}'" for n in range(10_000))
    columns = ", ".join(f"c{n} int" for n in range(500))
    cluster.sql(f"""create schema wide; grant usage on schema wide to public; create type wide.many as enum ({labels}); create type wide.row as ({columns});
                    create function wide.both(e wide.many, r wide.row default null) returns wide.many language sql stable as 'select e';
                    comment on function wide.both is '@mcp({{}})'""")
    try:
        tool = simple.tools()["both"]
        assert len(json.dumps(tool)) < 1000 and "label 0" in tool["inputSchema"]["properties"]["e"]["description"]
        assert simple.tool("both", {"e": "label 9999", "r": {"c499": 1}}).data == {"result": "label 9999"}
        assert simple.tool("both", {"e": "label 10000"}).error["kind"] == "bad_input"
    finally:
        cluster.sql("drop schema wide cascade")
