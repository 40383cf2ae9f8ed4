"""What the audit trail says of a call besides its end: who called and how, what was asked, what was changed. And texts that are made to spoil it."""

import getpass
import hashlib
import itertools
import hashlib
import json

import pytest

from harness.caller import Caller, token_caller
from harness.clients import HttpClient, LineClient, basic, bearer
from harness.issuer import claims, signed
from harness.records import Records
from harness.waits import wait_until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"

_marks = itertools.count(1)

SETUP = """
create schema col;
create table col.parent (n int primary key, note text);
create table col.child (n int references col.parent on delete cascade, note text);
create table col.log (what text);
create table col.day (d date, n int) partition by range (d);
create table col.day_1 partition of col.day for values from ('2026-01-01') to ('2026-02-01');
create table col.day_2 partition of col.day for values from ('2026-02-01') to ('2026-03-01');
create table col."Odd ""table"" é" ("a b" int);
create function col.note() returns trigger language plpgsql as $$ begin insert into col.log values (tg_op); return null; end $$;
create trigger note after insert on col.parent for each row execute function col.note();
create table col.later (n int);
create table col.noted (n int);
create function col.note_late() returns trigger language plpgsql as $$ begin insert into col.noted values (1); return null; end $$;
create constraint trigger late after insert on col.later deferrable initially deferred for each row execute function col.note_late();
create view col.seen as select n from col.parent;
grant usage on schema col to public;
grant all on all tables in schema col to writer_direct, writer_bridge;
"""


@pytest.fixture(scope="module", autouse=True)
def tables(cluster):
    cluster.sql(SETUP)
    yield
    cluster.sql("drop schema col cascade")


@pytest.fixture
def records(cluster):
    with Records(cluster) as one:
        yield one.mark()


@pytest.fixture
def mark():
    return f"column {next(_marks)}."


# ---- who

def test_token(cluster, records, mark):
    caller = token_caller(cluster, "reader_direct", label="the label, ü\t\\ 'x'")
    number = cluster.value("select id from mcp._tokens where hash = sha256(convert_to(%s, 'UTF8'))", [caller.token])
    caller.sql(f"select '{mark}'")
    row = records.call(mark)
    assert (row["role"], row["principal"], row["token_label"], row["authentication"], row["issuer"], row["subject"]) == \
        ("reader_direct", f"token:{number}", "the label, ü\t\\ 'x'", "token", None, None)
    assert (row["client"], row["peer"], row["database"]) == ("e2e 1.0", "uid 0" if getpass.getuser() == "root" else row["peer"], "postgres")
    assert caller.token not in f"{records.sql('select * from mcp._audit_callers')}"
    tcp = Caller(cluster, caller.headers, tcp=True)
    tcp.sql(f"select 'tcp {mark}'")
    assert records.call(f"tcp {mark}")["peer"] == "127.0.0.1"
    tcp.close()


def test_peer(cluster, records, mark):
    user = getpass.getuser()
    cluster.sql("select mcp.map_peer(%s, 'reader_bridge'::regrole)", [user])
    try:
        with LineClient(unix=cluster.mcp_socket) as client:
            client.call_tool("execute_sql", {"query": f"select '{mark}'"})
    finally:
        cluster.sql("select mcp.unmap_peer(%s)", [user])
    row = records.call(mark)
    assert (row["role"], row["authentication"], row["token_label"]) == ("reader_bridge", "peer", user), f"{row}"
    assert row["principal"].startswith("peer:") and row["peer"].startswith("uid ")


def test_password(cluster, records, mark):
    cluster.sql("create role col_password login password 'open sesame'; select mcp.grant_tools('col_password')")
    try:
        caller = Caller(cluster, basic("col_password", "open sesame"))
        caller.sql(f"select '{mark}'")
        row = records.call(mark)
        assert (row["role"], row["authentication"], row["principal"]) == ("col_password", "password", "password:col_password")
        assert Caller(cluster, basic("col_password", "wrong word")).rpc("tools/list").status == 401
        [row] = records.wait("method = 'login' and authentication = 'password'")
        assert row["role"] is None and "wrong word" not in f"{row}"
        caller.close()
    finally:
        cluster.sql("drop owned by col_password; drop role col_password")


def test_anonymous(cluster, nobody, settings, records, mark):
    settings(anonymous_role="reader_bridge")
    wait_until(lambda: not nobody.sql(f"select '{mark}'").is_error, 10, "the role for anonymous callers")
    row = records.call(mark)
    assert (row["role"], row["authentication"], row["principal"], row["peer"]) == ("reader_bridge", "anonymous", "anonymous", "127.0.0.1")


def test_web_token(cluster, settings, records, mark):
    settings(jwt_secret=SECRET, jwt_audiences="authenticated", jwt_roles="reader_direct")
    token = signed(SECRET, claims(role="reader_direct", iss="https://id.example.org/auth:v1", sub="ada:1"))
    caller = Caller(cluster, bearer(token))
    wait_until(lambda: caller.rpc("tools/list").status == 200, 10, "tokens of the issuer count")
    caller.sql(f"select '{mark}'")
    row = records.call(mark)
    assert (row["role"], row["authentication"], row["issuer"], row["subject"]) == ("reader_direct", "jwt", "https://id.example.org/auth:v1", "ada:1")
    assert row["principal"] == "jwt:https://id.example.org/auth:v1:ada:1"
    assert token not in f"{records.sql('select * from mcp.audit')}"
    caller.close()


# ---- what was asked

@pytest.mark.parametrize("request_id", [7, "a \"string\"", "x" * 5000])
def test_request_id_and_client(simple, records, mark, request_id):
    with simple.connect() as client:
        message = client.message("tools/call", {"name": "execute_sql", "arguments": {"query": f"select '{mark}'"}})
        message["id"] = request_id
        message["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = {"name": "Ünïcode 😀 \t\n client", "version": "9.9\\N"}
        assert client.post(message, client.rpc_headers("tools/call", message["params"])).status == 200
    row = records.call(mark)
    assert json.dumps(request_id).startswith(row["request_id"]) and len(row["request_id"]) >= min(512, len(json.dumps(request_id)))
    assert row["client"].startswith("Ünïcode 😀") and row["client"].endswith("client 9.9\\N")


def test_trace_in_meta_and_as_a_header(simple, records, mark):
    with simple.connect() as client:
        for where, expected in (("meta", TRACE), ("header", TRACE.replace("b7", "c8")), ("both", TRACE)):
            message = client.message("tools/call", {"name": "execute_sql", "arguments": {"query": f"select '{where} {mark}'"}})
            headers = client.rpc_headers("tools/call", message["params"])
            if where != "header":
                message["params"]["_meta"]["traceparent"] = TRACE
            if where != "meta":
                headers["traceparent"] = TRACE.replace("b7", "c8")
            assert client.post(message, headers).status == 200
            assert records.call(f"{where} {mark}")["trace"] == expected


def test_trace_of_a_prompt(simple, records):
    simple.rpc("prompts/get", {"name": "explore_database", "_meta": {"traceparent": TRACE}})
    [row] = records.wait("method = 'prompts/get'")
    assert row["trace"] == TRACE and row["tool"] == "explore_database"


def test_long_arguments_are_cut(cluster, reader, writer, settings, records, mark):
    """The beginning, the length and the digest of the whole are kept; a character is never cut in two."""
    settings(audit_text_bytes=200)
    for caller in (reader, writer):
        for padding in range(4):
            query = f"select '{mark} {caller.role} {padding}', {'x' * padding}".removesuffix(", ") + f" /* {'é' * 200} */"
            arguments = json.dumps({"query": query}).encode()

            def cut():
                caller.sql(query)
                row = records.sql("select * from mcp.audit where strpos(arguments, %s) > 0 and outcome <> 'open' order by id desc limit 1",
                                  [f"{mark} {caller.role} {padding}"])[0]
                assert len(row["arguments"].encode()) <= 200, "the setting counts"
                return row

            row = wait_until(cut, 10, "the arguments are cut")
            assert arguments.decode().startswith(row["arguments"]) and len(row["arguments"].encode()) > 190
            assert row["arguments_bytes"] == len(arguments) and row["arguments_digest"] == hashlib.sha256(arguments).digest()


def test_short_arguments_are_whole(reader, records, mark):
    query = f"select '{mark}' /* {'é' * 1000} */"
    reader.sql(query)
    row = records.call(mark)
    assert json.loads(row["arguments"]) == {"query": query} and row["arguments_bytes"] == len(row["arguments"].encode())
    assert row["arguments_digest"] == hashlib.sha256(row["arguments"].encode()).digest()


# ---- what was done

CHANGES = [
    ("insert into col.parent select n, 'x' from generate_series(1, 5) n", {"col.parent": {"inserted": 5}, "col.log": {"inserted": 5}}),
    ("insert into col.child select n, 'y' from generate_series(1, 5) n", {"col.child": {"inserted": 5}}),
    ("update col.parent set note = 'z' where n < 4; update col.child set note = 'z' where n = 1",
     {"col.parent": {"updated": 3}, "col.child": {"updated": 1}}),
    ("delete from col.parent where n in (1, 2)", {"col.parent": {"deleted": 2}, "col.child": {"deleted": 2}}),
    ("insert into col.day values ('2026-01-05', 1), ('2026-02-05', 2), ('2026-02-06', 3)", {"col.day": {"inserted": 3}}),
    # To another partition: out of one and into the other.
    ("update col.day set d = '2026-02-07' where n = 1", {"col.day": {"inserted": 1, "deleted": 1}}),
    ("delete from col.day", {"col.day": {"deleted": 3}}),
    ("insert into col.day_1 values ('2026-01-05', 1)", {"col.day_1": {"inserted": 1}}),
    ("with w as (delete from col.child returning n) insert into col.log select n::text from w", {"col.child": {"deleted": 3}, "col.log": {"inserted": 3}}),
    ("""insert into col."Odd ""table"" é" values (1)""", {'col."Odd ""table"" é"': {"inserted": 1}}),
    ("merge into col.parent p using (values (3), (99)) v (n) on p.n = v.n when matched then update set note = 'm' when not matched then insert values (v.n, 'm')",
     {"col.parent": {"inserted": 1, "updated": 1}, "col.log": {"inserted": 1}}),
    ("select count(*) from col.parent", None),
    ("update col.parent set note = 'never' where false", None),
]


def test_changes_by_table(cluster, writer, records, mark):
    cluster.sql("truncate col.parent, col.child, col.log, col.day")
    for n, (query, expected) in enumerate(CHANGES):
        writer.sql(f"{query} /* {mark} {n}. */").data
        row = records.call(f"{mark} {n}.")
        assert row["changed"] == expected, (query, row["changed"])
        assert row["committed"] and row["outcome"] == "ok"
        assert (row["wal_bytes"] or 0) > 0 or expected is None


def test_objects(writer, records, mark):
    writer.sql(f"select * from col.seen; delete from col.day where false; select count(*) from pg_class /* {mark} */").data
    row = records.call(mark)
    assert set(row["objects"]) >= {"col.seen", "col.day"} and row["objects"]["col.seen"] == ["select"], row["objects"]
    assert "delete" in row["objects"]["col.day"] and not any(name.startswith("pg_catalog") for name in row["objects"])


def test_rows_and_bytes(reader, records, mark):
    result = reader.sql(f"select n from generate_series(1, 37) n; select 1 /* {mark} */")
    row = records.call(mark)
    assert row["rows"] == 38
    assert row["bytes"] == len(json.dumps(result.structured, separators=(",", ":"), ensure_ascii=False).encode())


def test_answer_that_is_too_large(writer, records, mark):
    """What the call had changed is undone with it, or it is told in full: the record agrees either way."""
    result = writer.sql(f"insert into col.log values ('large') returning repeat('x', 3000000) /* {mark} */")
    row = records.call(mark)
    assert row["committed"] != result.is_error and row["outcome"] == ("error" if result.is_error else "ok"), f"{row}"
    assert row["changed"] == (None if result.is_error else {"col.log": {"inserted": 1}})
    kept = records.sql("select pg_xact_status(%s::text::xid8) as status", [row["xid"]])[0]["status"]
    assert kept == ("aborted" if result.is_error else "committed")


def test_reads_are_written_soon(new_cluster):
    """By Postgres' own clock of commits: half of them at the most 200 ms after their end, with others at work on the machine."""
    one = new_cluster(world=True, track_commit_timestamp="on")
    caller = token_caller(one, "reader_direct")
    for n in range(100):
        assert caller.value(f"select {n}") == n
    with Records(one) as records:
        wait_until(lambda: len(records.rows("mode = 'read' and outcome = 'ok'")) == 100, 10, "all are written")
        [late] = records.sql("select percentile_disc(0.5) within group (order by late) as median, count(distinct xmin) as batches from"
                             " (select xmin::text, extract(epoch from pg_xact_commit_timestamp(xmin) - at) - (queue_us + run_us + answer_us) / 1e6 as late from mcp._audit where kind = 'c') r")
    assert 0 < late["median"] <= 0.2 and late["batches"] < 50, late
    caller.close()


# ---- texts that are made to spoil it

HOSTILE = ["\t\n\r\v\f\b\x01\x7f", "\\N", "\\.", "\\", "a\u0000b", "' \" $$ ; drop table mcp._audit --", "\u202e\u2066 😀 \ufeff", "é" * 300,
           "{\"a\": 1}", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts(cluster, reader, writer, records, text):
    """In the arguments, the name of a tool, the name of the client, the trace and the id: one row each, and the trail still fits its seals."""
    for caller in (reader, writer):
        with caller.line() as client:
            meta = {"io.modelcontextprotocol/clientInfo": {"name": text, "version": text}, "traceparent": text}
            for name, arguments in (("execute_sql", {"query": "select 1", "params": [text]}), (text, {text: text}), ("execute_sql", {"query": text})):
                answer = client.request("tools/call", {"name": name, "arguments": arguments, "_meta": meta})
                assert "error" in answer or "result" in answer
    rows = records.wait("method = 'tools/call' and outcome <> 'open'", count=6)
    stored = text.replace("\u0000", "\\u0000")
    by_tool = [row for row in rows if row["tool"] != "execute_sql"]
    assert len(by_tool) == 2 and all(row["tool"] == stored.encode()[:512].decode(errors="ignore") for row in by_tool), by_tool
    assert all(row["trace"] == stored.encode()[:512].decode(errors="ignore") for row in rows), rows
    whole = [json.loads(row["arguments"]) for row in rows if row["arguments"]]
    assert whole.count({"query": text}) == 2, rows
    records.check()


def test_huge_names(cluster, simple, records):
    """100 kB as the name of a tool: a row that says so, not one as large."""
    with simple.line() as client:
        client.call_tool("n" * 100_000, {})
        client.request("prompts/get", {"name": "p" * 100_000})
        client.request("resources/read", {"uri": "u://" + "u" * 100_000})
    rows = records.wait("outcome in ('refused', 'error')", count=3)
    assert {row["tool"][:1] for row in rows} == {"n", "p", "u"}
    assert all(len(row["tool"]) <= 512 and len(f"{row}") < 4000 for row in rows)


@pytest.mark.parametrize("encoding", ["latin1", "euc_jp", "sql_ascii"])
def test_other_encodings(cluster, encoding):
    """Characters that the database does not have become escapes: in arguments, names of clients and of tools."""
    database = f"col_{encoding}"
    cluster.sql(f"create database {database} template template0 encoding '{encoding}' locale 'C'")
    # Else psycopg takes texts of sql_ascii for bytes.
    cluster.sql(f"alter database {database} set client_encoding = 'utf8'")
    try:
        cluster.install(database)
        cluster.sql("create table t (x text); grant all on t to writer_direct; select mcp.grant_tools('writer_direct', write => true)", database=database)
        caller = token_caller(cluster, "writer_direct", database=database, label="plain")
        with Records(cluster, database) as records, caller.line() as client:
            meta = {"io.modelcontextprotocol/clientInfo": {"name": "кошка 😀", "version": "é"}, "traceparent": "日本 ю"}
            # As most clients write JSON: without escapes of their own.
            client.send = lambda message: client.send_bytes(json.dumps(message, ensure_ascii=False).encode() + b"\n")
            queries = ("insert into t values ('x') /* €uro 日本 😀 é one */", "select 1 /* two € 😀 ю */", "selec € three")
            for query in queries:
                client.request("tools/call", {"name": "execute_sql", "arguments": {"query": query}, "_meta": meta})
            client.request("tools/call", {"name": "кот 😀", "arguments": {}, "_meta": meta})
            rows = records.wait("method = 'tools/call' and outcome <> 'open'", count=4)
            assert json.loads(rows[0]["arguments"])["query"].endswith("one */"), rows[0]
            assert {row["outcome"] for row in rows} <= {"ok", "error", "refused"} and rows[3]["outcome"] != "ok"
            # JSON's escapes say what it was.
            for row, text in zip(rows, ("€uro 日本 😀 é one", "two € 😀 ю", "selec € three")):
                assert text in json.loads(row["arguments"])["query"], row
                # And the digest is of what came.
                sent = json.dumps({"query": next(query for query in queries if text in query)}, ensure_ascii=False).encode()
                assert bytes(row["arguments_digest"]) == hashlib.sha256(sent).digest(), row
            if encoding != "sql_ascii":
                assert all(row["client"].isascii() and row["trace"].isascii() for row in rows)
                assert rows[3]["tool"].isascii() and json.loads(f'"{rows[3]["tool"]}"') == "кот 😀"
            stranger = Caller(cluster, bearer("mcp_" + "Z" * 43), database=database)
            stranger.rpc("tools/list")
            records.wait("method = 'login'")
            stranger.close()
            records.settled()
            records.check()
            assert records.state()["state"] == "written"
        caller.close()
    finally:
        cluster.sql("select mcp.drain(%s)", [database])
        cluster.sql(f"drop database {database} with (force)")


def test_the_trail_holds(records):
    """After all that the module did."""
    records.settled()
    records.check()


def test_what_a_deferred_trigger_does_at_the_commit(cluster, writer, records, mark):
    """A table that nothing touched before is no less changed."""
    writer.sql(f"insert into col.later values (1), (2) /* {mark} */").data
    row = records.call(mark)
    assert row["changed"] == {"col.later": {"inserted": 2}, "col.noted": {"inserted": 2}}
    assert row["objects"] == {"col.later": ["insert"], "col.noted": ["insert"]}
