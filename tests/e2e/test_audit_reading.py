"""Reading the audit trail: exports that programs can parse whatever a caller wrote, who may read, and how much of the trail is read for it.

The trail is filled as the keeper process fills it, by a superuser, with calls of days long past.
"""

import csv
import io
import json
import subprocess

import psycopg
import pytest
from psycopg.types.json import Jsonb

from harness.caller import token_caller
from harness.cluster import Cluster, pg_config
from harness.world import build_world

TEXTS = ["role", "principal", "token_label", "authentication", "issuer", "subject", "client", "peer", "request_id", "trace", "method", "tool",
         "arguments", "outcome", "sqlstate", "rule"]
HOSTILE = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "=cmd|' /C calc'!A0", "'quoted", "''", "'=1",
    '"', '","', 'a"b', "a,b", "(x)", ")", "\\", "a\\", "\\\\n", "\\.", "line\nbreak\r\nmore\n", '\n2,"2025-01-01",forged,row',
    "\x01\x1b[2J\x7f\u009b", "\u2028\u202e", " lead", "trail ", "", "null", "\\N", "é😀", "x" * 8192, "%s %n", "'; drop table shop.orders; --",
    # Arguments that were cut, and JSON that Postgres does not take.
    "{", '{"query": "cut', "[" * 8000, '{"a":' * 1500, '{"query": "\\u0000"}', '{"query": "\\ud800"}', '{"query": 5}', '{"query": null}', '["query"]', '"query"',
]
DAY = "2025-03-04"

PUT = """
create function pg_temp.put(kind "char", who jsonb, what jsonb) returns bigint language plpgsql as $$
declare
    at constant timestamptz := what ->> 'at';
    caller constant uuid := md5(who::text)::uuid;
    id constant bigint := mcp._audit_begin(1, jsonb_build_array(who || jsonb_build_object('id', caller)), at, at);
begin
    insert into mcp._audit
    select r.* from jsonb_populate_record(null::mcp._audit, jsonb_build_object('id', id, 'kind', kind) || what || jsonb_build_object('caller', case when kind <> 'o' then caller end)) r;
    return id;
end $$
"""


class Trail:
    """Writes rows into the trail of a database as the keeper does."""

    def __init__(self, connection):
        self.connection = connection
        connection.execute(PUT)

    def put(self, kind, who, **what):
        query = "select pg_temp.put(%s::\"char\", %s, %s)"
        return self.connection.execute(query, [kind, Jsonb(who), Jsonb({"method": "tools/call", **what})]).fetchone()[0]

    def change(self, who, at, **what):
        intent = self.put("i", who, at=at, writes=True, xid="700", **{k: what.pop(k) for k in ("tool", "arguments") if k in what})
        self.put("o", who, at=at, intent=intent, **{"outcome": "ok", "committed": True, **what})
        return intent


def caller(**what):
    return {"role": "agent", "principal": "token:70", "label": "past-bot", "authentication": "token", "client": "Robot 1", "peer": "127.0.0.1", **what}


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    one.install()
    build_world(one)
    one.sql("create role auditor login in role mcp_auditor")
    one.sql("create database trails")
    one.sql("create extension supabase_mcp", database="trails")
    yield one
    one.remove()


@pytest.fixture(scope="module")
def hostile(site):
    """A database whose trail has every hostile text in every column of text, twice: as a read and as a write."""
    with site.connect("trails") as connection:
        trail = Trail(connection)
        for n, text in enumerate(HOSTILE):
            who = {name: text for name in ("role", "label", "authentication", "issuer", "subject", "client", "peer")}
            who["principal"] = text
            what = {"method": text, "tool": text, "request": text, "trace": text, "arguments": text, "queryid": -n}
            end = {"outcome": text, "sqlstate": text, "rule": text, "run_us": n, "bytes": n}
            names = json.dumps({f'shop."{text[:50]}"': {"inserted": 1}})
            trail.put("c", who, at=f"{DAY} 10:00", writes=False, objects=json.dumps({text[:50]: ["select"]}), **what, **end)
            intent = trail.put("i", who, at=f"{DAY} 11:00", writes=True, xid="700", **what)
            trail.put("o", who, at=f"{DAY} 11:00", intent=intent, committed=True, changed=names, **end)
        # execute_sql with arguments that are no JSON, or none that Postgres takes.
        for text in HOSTILE:
            trail.change(caller(), f"{DAY} 12:00", tool="execute_sql", arguments=text)
        trail.change(caller(), f"{DAY} 12:00", tool="execute_sql", arguments=json.dumps({"query": "update shop.orders\n set x = '\t'"}))
    return site


def exported(site, form):
    """The bytes that the documented command writes."""
    query = f"select mcp.audit_export('{form}', '{DAY}', '2025-03-05')"
    done = subprocess.run([f"{pg_config('bindir')}/psql", "-X", "-At", "-v", "FETCH_COUNT=10", "-h", str(site.folder), "-U", "auditor", "-d", "trails", "-c", query],
                          capture_output=True, env={"PGCLIENTENCODING": "UTF8", "PATH": "/usr/bin:/bin"})
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def recorded(site):
    with site.connect("trails", user="auditor") as connection:
        columns = ", ".join(TEXTS)
        return connection.execute(f"select id, {columns} from mcp.audit where time >= '{DAY}' and time < '2025-03-05' order by id").fetchall()


def test_jsonl_is_one_object_a_line(hostile):
    rows = recorded(hostile)
    text = exported(hostile, "jsonl")
    objects = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    assert len(rows) == 3 * len(HOSTILE) + 1
    assert [tuple([one["id"], *(one.get(name) for name in TEXTS)]) for one in objects] == rows
    assert not any(value is None for one in objects for value in one.values())
    written = [one for one in objects if "changed" in one]
    assert len(written) == len(HOSTILE) and written[0]["changed"] == {'shop."=1+1"': {"inserted": 1}}


def test_csv_is_read_back_and_holds_no_formula(hostile):
    rows = recorded(hostile)
    header, *records = csv.reader(io.StringIO(exported(hostile, "csv"), newline=""), strict=True)
    assert all(len(record) == len(header) for record in records)
    named = [dict(zip(header, record)) for record in records]
    back = [tuple([int(one["id"]), *(one[name].removeprefix("'") for name in TEXTS)]) for one in named]
    assert back == [tuple([row[0], *(value or "" for value in row[1:])]) for row in rows]
    for one in named:
        for name, value in one.items():
            # A number is no formula, even a negative one.
            assert not value.startswith(tuple("=+-@\t\r\n")) or name == "queryid", (name, value)
    assert {one["queryid"] for one in named} >= {"0", "-1"}


def test_nothing_fails_on_what_callers_wrote(hostile):
    with hostile.connect("trails", user="auditor") as connection:
        def count(call):
            return connection.execute(f"select count(*) from {call}").fetchone()[0]

        day = f"'{DAY}', '2025-03-05'"
        rows = 3 * len(HOSTILE) + 1
        for what in ("role", "principal", "client", "tool"):
            names = dict(connection.execute(f"select name, calls from mcp.audit_by('{what}', {day})").fetchall())
            assert sum(names.values()) == rows
            assert all(names[text] >= 2 for text in HOSTILE), what
        assert count(f"mcp.audit_by('object', {day})") == 2 * len({text[:50] for text in HOSTILE})
        assert count(f"mcp.audit_by('hour', {day})") == 3
        assert count(f"mcp.audit_calls('slowest', {day}, null)") == rows
        assert count(f"mcp.audit_calls('largest', {day}, null)") == 2 * len(HOSTILE)
        # Every outcome that is not one of the known is an error.
        assert count(f"mcp.audit_calls('errors', {day}, null)") == 2 * len(HOSTILE)
        assert count(f"mcp.audit_calls('refusals', {day}, null)") == 0
        statements = [row[0] for row in connection.execute(
            f"select statement from mcp.audit_changes(token => 'past-bot', day => '{DAY}') order by id")]
        # What can be read of the SQL is; where there is none, the arguments are shown as they are.
        understood = {'{"query": "cut': "cut", '{"query": "\\u0000"}': "\\u0000", '{"query": "\\ud800"}': "\\ud800"}
        assert statements == [understood.get(text, text) for text in HOSTILE] + ["update shop.orders\n set x = '\t'"]
        for text in HOSTILE:
            found = connection.execute("select caller, \"table\" from mcp.audit_changes(principal => %s, day => %s)", [text, DAY]).fetchall()
            assert found == [(text, f'shop."{text[:50]}"')]
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute("select mcp.audit_by(%s)", [text])
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute("select mcp.audit_export(%s)", [text])
            with pytest.raises(psycopg.errors.UndefinedObject):
                connection.execute("select mcp.audit_changes(token => %s)", [text])


@pytest.mark.parametrize("call", [
    "select * from mcp.audit_by('role', {})",
    "select * from mcp.audit_by('object', {})",
    "select * from mcp.audit_calls('slowest', {})",
    "select * from mcp.audit_changes(\"from\" => {}, \"to\" => {})",
    "select mcp.audit_export('csv', {})",
    "select mcp.audit_export('jsonl', {})",
])
def test_other_days_are_not_read(site, call):
    """A day of the trail is a partition. Those of other days, which hold reads alone, are not touched."""
    if site.value("select to_regclass('mcp._audit_20250210') is null", database="trails"):
        with site.connect("trails") as connection, connection.transaction():
            for day in ("2025-02-10", "2025-02-11", "2025-02-12"):
                first = connection.execute("select mcp._audit_begin(2000, null, %s, %s)", [day, day]).fetchone()[0]
                connection.execute("""insert into mcp._audit (id, at, kind, method, tool, arguments, writes, outcome, objects)
                                      select %s + n, %s::timestamptz + n * interval '1 s', 'c', 'tools/call', 'x', '{}', false, 'ok', '{"shop.orders": ["select"]}'
                                        from generate_series(0, 1999) n""", [first, day])
        site.sql("analyze mcp._audit", database="trails")
    fill = ["'2025-02-11'", "'2025-02-12'"]
    query = call.format(*fill) if call.count("{}") == 2 else call.format(", ".join(fill))
    with site.connect("trails", user="auditor", autocommit=False) as connection:
        rows = connection.execute(query).fetchall()
        read = dict(connection.execute("""select relname, seq_tup_read + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables
                                           where relname like '\\_audit\\_2025021_'""").fetchall())
    assert rows or "changes" in call
    assert read["_audit_20250211"] >= 2000
    assert read["_audit_20250210"] == read["_audit_20250212"] == 0


def test_agents_read_nothing_and_auditors_may_through_mcp(site):
    with site.connect() as connection:
        Trail(connection).change(caller(), f"{DAY} 10:00", tool="execute_sql", arguments='{"query": "delete"}', changed='{"shop.orders": {"deleted": 2}}')
    site.sql("create role watcher login in role mcp_auditor; select mcp.grant_tools('watcher')")
    question = f"select token_label, \"table\", deleted from mcp.audit_changes(token => 'past-bot', day => '{DAY}')"
    watcher = token_caller(site, "watcher")
    assert watcher.sql(question).rows == [["past-bot", "shop.orders", 2]]
    assert watcher.sql(f"select role, rows_changed from (select name as role, rows_changed from mcp.audit_by('role', '{DAY}', '2025-03-05')) x").rows == [["agent", 2]]
    assert watcher.sql("select count(*) from mcp.audit_by_role").rows is not None
    assert watcher.sql("delete from mcp._audit").error["sqlstate"] in ("42501", "25006")
    assert watcher.sql("select key from mcp._audit_key").error["sqlstate"] == "42501"

    relations = [row[0] for row in site.sql("select c.oid::regclass::text from pg_class c where c.relnamespace = 'mcp'::regnamespace"
                                            " and c.relkind in ('r', 'p', 'v') and c.relname ~ '^_?audit'")]
    functions = [row[0] for row in site.sql("select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'mcp'::regnamespace and p.proname ~ '^_?audit'")]
    assert {"mcp.audit", "mcp._audit", "mcp._audit_callers", "mcp.audit_by_role"} <= set(relations) and len(functions) > 6
    for role in ("writer_direct", "writer_bridge"):
        agent = token_caller(site, role, form=role.removeprefix("writer_"))
        for relation in relations:
            assert agent.sql(f"select * from {relation}").error["sqlstate"] == "42501", relation
        assert agent.sql(question).error["sqlstate"] == "42501"
        for role_in_question in (role, "mcp_admin", "public"):
            granted = site.sql("select f from unnest(%s::text[]) f where has_function_privilege(%s, f, 'execute')", [functions, role_in_question])
            assert not granted, role_in_question
