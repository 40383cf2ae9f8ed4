"""How values look in JSON: a fixed table of rules, then every built-in type of pg_type."""

import json

import pytest

RULES = [
    ("true", True), ("false", False), ("null::int", None),
    ("32767::smallint", 32767), ("(-2147483648)::int", -2147483648),
    ("9007199254740991::bigint", 9007199254740991), ("(-9007199254740991)::bigint", -9007199254740991),
    ("9007199254740992::bigint", "9007199254740992"), ("9223372036854775807::bigint", "9223372036854775807"),
    ("(-9223372036854775808)::bigint", "-9223372036854775808"),
    ("0.1::float8", 0.1), ("1e300::float8", 1e300), ("0.1::float4", 0.1),
    ("'NaN'::float8", "NaN"), ("'Infinity'::float8", "Infinity"), ("'-Infinity'::float4", "-Infinity"),
    ("5e-324::float8", 5e-324), ("1.7976931348623157e308::float8", 1.7976931348623157e308),
    ("12345678901234567890.123::numeric", "12345678901234567890.123"), ("1::numeric", "1"), ("1.50::numeric(5,2)", "1.50"),
    ("'NaN'::numeric", "NaN"), ("'Infinity'::numeric", "Infinity"),
    ("'{\"a\": [1, {\"b\": null}]}'::jsonb", {"a": [1, {"b": None}]}), ("'[1 ,\n 2]'::json", [1, 2]),
    ("'\"text\"'::json", "text"), ("'null'::jsonb", None), ("'{\"a\":1,\"a\":2}'::json", {"a": 2}),
    ("'12345678901234567890'::json", 12345678901234567890),
    ("array[1,2,null]", [1, 2, None]), ("array[[1,2],[3,4]]", [[1, 2], [3, 4]]), ("array[[[1]],[[2]]]", [[[1]], [[2]]]),
    ("'{}'::int[]", []), ("array['a','NULL',null,'b\"c\\']", ["a", "NULL", None, "b\"c\\"]),
    ("array[1.5::numeric]", ["1.5"]), ("array['{\"a\":1}'::jsonb]", [{"a": 1}]), ("array[true,false]", [True, False]),
    ("'[5:6]={1,2}'::int[]", [1, 2]), ("array['NaN'::float8, 1]", ["NaN", 1]),
    ("array[9007199254740993::bigint, 1]", ["9007199254740993", 1]),
    ("'a'::text", "a"), ("''::text", ""), ("'ü€😀'::text", "ü€😀"), ("E'a\\nb\\tc\\u0001\"\\\\/'::text", "a\nb\tc\x01\"\\/"),
    ("'ab'::char(5)", "ab   "), ("'x'::\"char\"", "x"), ("'n'::name", "n"),
    ("'\\xdeadbeef'::bytea", "\\xdeadbeef"),
    ("'2026-01-02'::date", "2026-01-02"), ("'infinity'::date", "infinity"), ("'0044-03-15 BC'::date", "0044-03-15 BC"),
    ("'03:04:05.123456'::time", "03:04:05.123456"), ("'03:04:05+02'::timetz", "03:04:05+02"),
    ("'2026-01-02 03:04:05.5'::timestamp", "2026-01-02 03:04:05.5"),
    ("'1 year 2 mons 3 days 04:05:06'::interval", "1 year 2 mons 3 days 04:05:06"), ("'-1 day'::interval", "-1 days"),
    ("12.34::money", "$12.34"), ("'(1,2)'::point", "(1,2)"), ("'10.0.0.1/8'::inet", "10.0.0.1/8"),
    ("'101'::bit(3)", "101"), ("'101'::varbit", "101"), ("'[1,5)'::int4range", "[1,5)"), ("'{[1,2),[3,4)}'::int4multirange", "{[1,2),[3,4)}"),
    ("row(1,'a b',null)", "(1,\"a b\",)"), ("42::oid", None), ("'shop.orders'::regclass", "shop.orders"),
    ("'<a>b</a>'::xml", "<a>b</a>"), ("'a & b'::tsquery", "'a' & 'b'"), ("'a b'::tsvector", "'a' 'b'"),
    ("'00000000-0000-0000-0000-000000000001'::uuid", "00000000-0000-0000-0000-000000000001"),
    ("'$.a'::jsonpath", "$.\"a\""), ("'16/B374D848'::pg_lsn", "16/B374D848"), ("'08:00:2b:01:02:03'::macaddr", "08:00:2b:01:02:03"),
]


def has_xml(cluster):
    """Whether this Postgres was built with libxml: the type is there either way, its input not."""
    return "--with-libxml" in cluster.value("select setting from pg_config where name = 'CONFIGURE'")


@pytest.mark.parametrize("expression,expected", RULES, ids=[rule[0] for rule in RULES])
def test_rule(cluster, simple, expression, expected):
    if "::xml" in expression and not has_xml(cluster):
        pytest.skip("this Postgres was built without libxml")
    value = simple.value(f"select {expression}")
    if expression == "42::oid":
        assert value in (42, "42")
    elif expression.startswith("12.34::money"):
        assert value.endswith("12.34")
    else:
        assert value == expected and type(value) is type(expected)


def test_timestamptz_is_iso_with_a_zone(simple):
    assert simple.value("select '2026-01-02 03:04:05+00'::timestamptz at time zone 'utc'") == "2026-01-02 03:04:05"
    value = simple.value("select '2026-01-02 03:04:05+00'::timestamptz")
    assert value[:4] == "2026" and value[-3] in "+-" or value.endswith("+00")


@pytest.mark.parametrize("text", ["set datestyle = 'German'", "set intervalstyle = 'sql_standard'", "set bytea_output = 'escape'",
                                  "set extra_float_digits = -15", "select set_config('datestyle', 'SQL, DMY', false)"])
def test_caller_settings_do_not_bend_the_rendering(simple, text):
    """Output styles are pinned, so that a model reads the same form whatever an earlier statement set."""
    row = simple.sql(f"{text}; select '2026-01-02'::date, '1 day 02:00'::interval, '\\x01'::bytea, 0.1::float8").rows[0]
    assert row == ["2026-01-02", "1 day 02:00:00", "\\x01", 0.1]


def test_role_settings_do_not_bend_the_rendering(cluster, reader):
    cluster.sql(f"alter role {reader.role} set datestyle = 'German'")
    try:
        assert reader.value("select '2026-01-02'::date") == "2026-01-02"
    finally:
        cluster.sql(f"alter role {reader.role} reset datestyle")


def test_domains_enums_and_composites(cluster, simple):
    cluster.sql("create domain shop.price as numeric(5,2); create type shop.mood as enum ('sad', 'glad');"
                "create type shop.pair as (a int, b text); create domain shop.flag as bool;")
    try:
        row = simple.sql("select 1.5::shop.price, 'glad'::shop.mood, (1,'x')::shop.pair, true::shop.flag,"
                         "array['sad'::shop.mood], array[(1,'x')::shop.pair]").rows[0]
        assert row[0] == "1.50" and row[1] == "glad" and row[2] == "(1,x)" and row[4] == ["sad"] and row[5] == ["(1,x)"]
        assert row[3] in (True, "t")
    finally:
        cluster.sql("drop domain shop.price, shop.flag; drop type shop.mood, shop.pair")


def test_column_types_are_named(simple):
    columns = simple.sql("select 1::int2 a, 'x'::varchar(5) b, 1::numeric(5,2) c, now() d, array[1] e, null f").statements[0]["columns"]
    assert [c["type"] for c in columns][0] == "smallint"
    assert columns[1]["type"].startswith("character varying") and columns[2]["type"].startswith("numeric")
    assert columns[3]["type"] == "timestamp with time zone" and columns[4]["type"] == "integer[]" and columns[5]["type"] == "text"


def test_every_builtin_type(cluster, simple):
    """Each base, range, multirange and array type of pg_catalog renders a value, or says why it cannot."""
    samples = dict(cluster.sql("""
        select format_type(t.oid, null), coalesce(v.value, '1')
        from pg_type t left join (values
            ('bool','t'),('char','a'),('name','n'),('bytea','\\x01'),('text','a'),('json','{"a":1}'),('jsonb','{"a":1}'),('xml','<a/>'),
            ('uuid','00000000-0000-0000-0000-000000000000'),('date','2026-01-02'),('time','01:02:03'),('timetz','01:02:03+00'),
            ('timestamp','2026-01-02 03:04:05'),('timestamptz','2026-01-02 03:04:05+00'),('interval','1 day'),
            ('point','(1,2)'),('lseg','[(0,0),(1,1)]'),('path','[(0,0),(1,1)]'),('box','(1,1),(0,0)'),('polygon','((0,0),(1,1))'),
            ('line','{1,2,3}'),('circle','<(0,0),1>'),('cidr','10.0.0.0/8'),('inet','10.0.0.1'),('macaddr','08:00:2b:01:02:03'),
            ('macaddr8','08:00:2b:01:02:03:04:05'),('bit','1'),('varbit','101'),('tsvector','a'),('tsquery','a'),('jsonpath','$.a'),
            ('pg_lsn','0/1'),('pg_snapshot','10:20:'),('txid_snapshot','10:20:'),('tid','(0,1)'),('int2vector','1 2'),('oidvector','1 2'),
            ('regproc','now'),('regprocedure','now()'),('regoper','||/'),('regoperator','+(integer,integer)'),('regclass','pg_class'),
            ('regtype','int'),('regconfig','simple'),('regdictionary','simple'),('regnamespace','pg_catalog'),('regrole','postgres'),
            ('regcollation','"C"'),('refcursor','c'),('aclitem','postgres=r/postgres'),('gtsvector',null),
            ('int4range','[1,2)'),('int8range','[1,2)'),('numrange','[1,2]'),('tsrange','[2026-01-01,2026-01-02)'),
            ('tstzrange','[2026-01-01,2026-01-02)'),('daterange','[2026-01-01,2026-01-02)'),
            ('int4multirange','{[1,2)}'),('int8multirange','{[1,2)}'),('nummultirange','{[1,2]}'),
            ('tsmultirange','{[2026-01-01,2026-01-02)}'),('tstzmultirange','{[2026-01-01,2026-01-02)}'),
            ('datemultirange','{[2026-01-01,2026-01-02)}')) v(name, value) on t.typname = v.name
        where t.typnamespace = 'pg_catalog'::regnamespace and t.typtype in ('b', 'r', 'm') and t.typelem = 0 and t.typname !~ '^_'
          and t.typname not in ('gtsvector', 'pg_node_tree', 'pg_ndistinct', 'pg_dependencies', 'pg_mcv_list',
                                'pg_brin_bloom_summary', 'pg_brin_minmax_multi_summary')"""))
    assert len(samples) > 50
    json_numbers = {"smallint", "integer", "bigint", "real", "double precision"}
    if not has_xml(cluster):
        del samples["xml"]
    for name, sample in samples.items():
        row = simple.sql(f"select $1::{name}, array[$1::{name}]", [sample]).rows[0]
        expected = cluster.value(f"select format('%%s', '{sample}'::{name})", [])
        value, inside = row[0], row[1]
        assert inside == [value], name
        if name in ("json", "jsonb"):
            assert value == json.loads(sample)
        elif name == "boolean":
            assert value is True
        elif name in json_numbers:
            assert value == 1 and not isinstance(value, str), name
        else:
            assert str(value) == expected, name


def test_statistics_types_render_as_text(cluster, simple):
    """Types without input can only be met in catalog columns; they are text by their output function."""
    value = simple.value("select adbin from pg_attrdef limit 1")
    assert value is None or isinstance(value, str)


def test_large_text_comes_whole(simple):
    text = simple.value("select repeat('ä\"\\', 100000)")
    assert text == "ä\"\\" * 100000


def test_every_character_survives(simple):
    """Each BMP character beside NUL and surrogates, and some beyond, through parameters and back."""
    letters = "".join(chr(n) for n in range(1, 0xD800)) + "\ufffe\uffff\U0001f600\U0010ffff"
    assert simple.value("select $1::text", [letters]) == letters
