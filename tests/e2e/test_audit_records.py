"""What the audit trail says of a call by the way it ended: every outcome, of calls that only read and of calls that may write."""

import hashlib
import itertools
import json

import pytest

from harness.caller import Caller, ToolResult, token_caller
from harness.clients import bearer, open_socket
from harness.records import Records
from harness.waits import stays_true, wait_until

_marks = itertools.count(1)

SETUP = """
create schema rec;
create table rec.item (n int primary key, note text);
create table rec.child (n int references rec.item deferrable initially deferred);
create function rec.add_item(n int) returns int language sql volatile as $$ insert into rec.item values (n, 'by tool') returning n $$;
comment on function rec.add_item(int) is '@mcp({"kind": "tool", "features": ["database"]})
Adds an item';
create function rec.count_items() returns bigint language sql stable as $$ select count(*) from rec.item $$;
comment on function rec.count_items() is '@mcp({"kind": "tool", "features": ["database"]})
Counts items';
create function rec.stubborn(n int) returns text language plpgsql as $$
begin
    begin
        perform pg_sleep(25);
    exception when query_canceled then null;
    end;
    insert into rec.item values (n, 'in spite of all');
    return 'done';
end $$;
create function rec.hello(name text) returns text language sql stable as $$ select 'Hello ' || name $$;
comment on function rec.hello(text) is '@mcp({"kind": "prompt"})';
create function rec.motd() returns text language sql stable as $$ select 'Be kind' $$;
comment on function rec.motd() is '@mcp({"kind": "resource", "uri": "rec://motd"})';
grant usage on schema rec to public;
grant select, insert, update, delete on rec.item, rec.child to writer_direct, writer_bridge;
grant select on rec.item to reader_direct, reader_bridge;
"""


@pytest.fixture(scope="module", autouse=True)
def items(cluster):
    cluster.sql(SETUP)
    yield
    cluster.sql("drop schema rec cascade")


@pytest.fixture
def trail(cluster):
    with Records(cluster) as one:
        yield one.mark()


@pytest.fixture
def mark():
    """A text that no other call has."""
    return f"record {next(_marks)}."


@pytest.fixture
def number(cluster):
    """A number that no other call inserts."""
    return 1000 + next(_marks)


def there(cluster, number):
    return cluster.value("select count(*) from rec.item where n = %s", [number]) == 1


def slow(cluster, caller, mark, query="select pg_sleep(25)", line=None):
    """A call that runs, on a line of its own, and the pid of its executor."""
    client = line or caller.line()
    number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": f"{query} /* {mark} */"}})
    row = wait_until(lambda: [row for row in cluster.executors() if mark in (row[5] or "") and row[4] == "active"], 10, "the call runs")[0]
    return client, number, row[0]


def has(row, **expected):
    assert {name: row[name] for name in expected} == expected, f"{row}"


READ = {"mode": "read", "xid": None, "committed": None, "changed": None, "wal_bytes": None, "outcome_id": None, "times": 1}


# ---- ok and error

def test_read(cluster, reader, trail, mark):
    assert reader.value(f"select count(*) from shop.orders /* {mark} */") == 500
    row = trail.call(mark)
    has(row, **READ, outcome="ok", method="tools/call", tool="execute_sql", role=reader.role, sqlstate=None, rule=None, rows=1,
        arguments=json.dumps({"query": f"select count(*) from shop.orders /* {mark} */"}), objects={"shop.orders": ["select"]})
    assert row["queue_us"] > 0 and row["run_us"] > 0 and row["answer_us"] >= 0 and row["bytes"] > 0


def test_write(cluster, writer, trail, mark, number):
    writer.sql(f"insert into rec.item values ({number}, 'x') /* {mark} */")
    # The answer is here, so the record is.
    [row] = trail.rows("strpos(arguments, %s) > 0", [mark])
    has(row, mode="write", outcome="ok", role=writer.role, rows=0, changed={"rec.item": {"inserted": 1}}, committed=True,
        objects={"rec.item": ["insert"]})
    assert row["wal_bytes"] > 0 and row["queue_us"] > 0 and row["run_us"] > 0 and row["outcome_id"] > row["id"]
    assert row["ended"] > row["time"]
    assert trail.sql("select pg_xact_status(%s::text::xid8) as status", [row["xid"]])[0]["status"] == "committed"


def test_custom_tools(cluster, writer, trail, number):
    assert writer.tool("add_item", {"n": number}).data == {"result": number}
    assert not writer.tool("count_items").is_error
    [row] = trail.rows("tool = 'add_item'")
    has(row, mode="write", outcome="ok", arguments=json.dumps({"n": number}), changed={"rec.item": {"inserted": 1}}, committed=True)
    [row] = trail.wait("tool = 'count_items'")
    has(row, **READ, outcome="ok", arguments="{}", objects={"rec.item": ["select"]})


def test_error_of_a_read(reader, trail, mark):
    assert reader.sqlstate(f"select 1/0 /* {mark} */") == "22012"
    has(trail.call(mark), **READ, outcome="error", sqlstate="22012", rows=0)


def test_error_of_a_write(cluster, writer, trail, mark, number):
    """What the call had done before it failed is not kept, and the record says so."""
    assert writer.sqlstate(f"insert into rec.item values ({number}); insert into rec.item values ({number}) /* {mark} */") == "23505"
    row = trail.call(mark)
    has(row, mode="write", outcome="error", sqlstate="23505", committed=False, changed=None, objects={"rec.item": ["insert"]})
    assert not there(cluster, number)
    assert trail.sql("select pg_xact_status(%s::text::xid8) as status", [row["xid"]])[0]["status"] == "aborted"


def test_error_at_the_commit(cluster, writer, trail, mark, number):
    assert writer.sqlstate(f"insert into rec.child values (-{number}) /* {mark} */") == "23503"
    has(trail.call(mark), mode="write", outcome="error", sqlstate="23503", committed=False, changed=None)


@pytest.mark.parametrize("text", ["selec 1", "select 'unclosed", ";;;", "select $1", "copy rec.item to stdout"])
def test_errors_before_anything_ran(cluster, writer, trail, mark, text):
    result = writer.sql(f"{text} /* {mark} */")
    row = trail.call(mark)
    has(row, mode="write", outcome="error" if result.is_error else "ok", committed=not result.is_error, changed=None)


def test_error_in_the_arguments(reader, trail, mark):
    assert reader.tool("execute_sql", {"query": 1, "mark": mark}).is_error
    has(trail.call(mark), **READ, outcome="error", rule="bad input")


# ---- ended from outside

@pytest.mark.parametrize("query", ["select pg_sleep(25)", "insert into rec.item select {n} from pg_sleep(25)"], ids=["read", "write"])
def test_cancelled(cluster, reader, writer, trail, mark, number, query):
    caller = reader if query.startswith("select") else writer
    client, request, _ = slow(cluster, caller, mark, query.format(n=number))
    client.notify("notifications/cancelled", {"requestId": request, "reason": "enough"})
    row = trail.call(mark)
    has(row, outcome="cancelled", mode="read" if caller is reader else "write", committed=None if caller is reader else False, changed=None)
    assert not there(cluster, number)
    assert "result" in client.request("tools/list", {})
    client.close()


def test_cancelled_by_the_dba(cluster, writer, trail, mark):
    client, request, pid = slow(cluster, writer, mark)
    assert cluster.value("select pg_cancel_backend(%s)", [pid])
    assert ToolResult(client.finish(request)).error["sqlstate"] == "57014"
    has(trail.call(mark), mode="write", outcome="cancelled", committed=False, sqlstate="57014")
    client.close()


@pytest.mark.parametrize("kind", ["read", "write"])
def test_timeout(cluster, reader, writer, trail, mark, kind):
    caller = reader if kind == "read" else writer
    cluster.sql(f"alter role {caller.role} set supabase_mcp.statement_timeout = '300ms'")
    try:
        assert caller.sql(f"select pg_sleep(25) /* {mark} */").error["kind"] == "timeout"
    finally:
        cluster.sql(f"alter role {caller.role} reset supabase_mcp.statement_timeout")
    has(trail.call(mark), outcome="timeout", sqlstate="57014", mode=kind, committed=None if kind == "read" else False)


@pytest.mark.parametrize("query", ["select pg_sleep(25)", "insert into rec.item select {n} from pg_sleep(25)"], ids=["read", "write"])
def test_disconnected_line(cluster, reader, writer, trail, mark, number, query):
    caller = reader if query.startswith("select") else writer
    client, _, _ = slow(cluster, caller, mark, query.format(n=number))
    client.close()
    row = trail.call(mark) if caller is writer else trail.wait("outcome = 'disconnected'")[0]
    has(row, outcome="disconnected", mode="read" if caller is reader else "write", committed=None if caller is reader else False,
        changed=None, role=caller.role, tool="execute_sql")
    assert not there(cluster, number)


@pytest.mark.parametrize("query", ["select pg_sleep(25)", "insert into rec.item select {n} from pg_sleep(25)"], ids=["read", "write"])
def test_disconnected_http(cluster, reader, writer, trail, mark, number, query):
    caller = reader if query.startswith("select") else writer
    with caller.connect() as helper:
        params = {"name": "execute_sql", "arguments": {"query": f"{query.format(n=number)} /* {mark} */"}}
        body = json.dumps(helper.message("tools/call", params)).encode()
        headers = {"Host": "localhost", "Content-Length": len(body), **helper.rpc_headers("tools/call", params)}
    head = "POST /mcp HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    with open_socket(unix=cluster.mcp_socket) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: [row for row in cluster.executors() if mark in (row[5] or "") and row[4] == "active"], 10, "the call runs")
    row = trail.call(mark) if caller is writer else trail.wait("outcome = 'disconnected'")[0]
    has(row, outcome="disconnected", mode="read" if caller is reader else "write", committed=None if caller is reader else False,
        changed=None, role=caller.role)
    assert not there(cluster, number)


@pytest.mark.parametrize("end", ["hang up", "cancel"])
def test_what_is_committed_in_spite_of_its_end(cluster, writer, trail, mark, number, end):
    """A call may take no notice of a cancel. Whatever is said of its end, `committed` is what became of the data."""
    client, request, _ = slow(cluster, writer, mark, f"select rec.stubborn({number})")
    if end == "hang up":
        client.close()
    else:
        client.notify("notifications/cancelled", {"requestId": request})
    row = trail.call(mark, 20)
    client.close()
    assert there(cluster, number)
    has(row, mode="write", committed=True, changed={"rec.item": {"inserted": 1}})
    assert row["outcome"] in ("ok", "disconnected" if end == "hang up" else "cancelled"), row


@pytest.mark.parametrize("kind", ["read", "write"])
def test_terminated(cluster, reader, writer, trail, mark, number, kind):
    caller, query = (reader, "select pg_sleep(25)") if kind == "read" else (writer, f"insert into rec.item select {number} from pg_sleep(25)")
    client, request, pid = slow(cluster, caller, mark, query)
    assert cluster.value("select pg_terminate_backend(%s)", [pid])
    error = ToolResult(client.finish(request)).error
    # The answer says what became of it, and does not leave before that is recorded.
    [row] = trail.rows("strpos(arguments, %s) > 0", [mark]) if kind == "write" else trail.wait("outcome = 'terminated'")
    assert "nothing of the call was kept" in error["message"]
    client.close()
    has(row, outcome="terminated", mode=kind, role=caller.role, committed=None if kind == "read" else False, changed=None)
    assert not there(cluster, number)


@pytest.fixture
def no_replica(cluster):
    """Commits that ask for a replica wait for ever."""
    cluster.configure(synchronous_commit="local", synchronous_standby_names="nobody")
    wait_until(cluster.waits_for_replicas, 10, "commits wait for a replica")
    yield
    cluster.configure(synchronous_commit=None, synchronous_standby_names=None)


def test_terminated_after_its_commit(cluster, no_replica, writer, trail, mark, number):
    """Nobody is told that it failed, and the record is there with the answer."""
    client, request, pid = slow(cluster, writer, mark, f"set local synchronous_commit = on; insert into rec.item values ({number})")
    wait_until(lambda: cluster.value("select wait_event from pg_stat_activity where pid = %s", [pid]) == "SyncRep", 10, "it is committed")
    assert cluster.value("select pg_terminate_backend(%s)", [pid])
    result = ToolResult(client.finish(request))
    [row] = trail.rows("strpos(arguments, %s) > 0", [mark])
    client.close()
    assert not result.is_error or "done and committed" in result.error["message"]
    has(row, outcome="terminated" if result.is_error else "ok", mode="write", committed=True)
    assert there(cluster, number)


def test_intent_is_there_while_the_call_runs(cluster, writer, trail, mark, number):
    """Another session sees it, before any change of the call."""
    client, request, _ = slow(cluster, writer, mark, f"insert into rec.item select {number} from pg_sleep(25)")
    [row] = trail.rows("strpos(arguments, %s) > 0", [mark])
    has(row, mode="write", outcome="open", role=writer.role, committed=None, outcome_id=None)
    assert trail.sql("select pg_xact_status(%s::text::xid8) as status", [row["xid"]])[0]["status"] == "in progress"
    # However long it runs, it is not taken for an orphan.
    stays_true(lambda: trail.rows("id = %s and outcome = 'open'", [row["id"]]), 2.5, "the call is open")
    client.notify("notifications/cancelled", {"requestId": request})
    has(trail.call(mark), id=row["id"], outcome="cancelled", committed=False)
    client.close()


# ---- refused

def test_unknown_tool(cluster, reader, trail):
    """What its arguments mean nobody knows: they may be secret, so their digest is kept."""
    reader.tool("no_such_tool", {"password": "hush"})
    [row] = trail.wait("tool = 'no_such_tool'")
    has(row, **READ, outcome="refused", rule="unknown tool", role=reader.role, arguments=None, arguments_bytes=len('{"password": "hush"}'))
    # With a key: a short secret would be found by trying.
    assert len(row["arguments_digest"]) == 32 and row["arguments_digest"] != hashlib.sha256(b'{"password": "hush"}').digest()
    assert not trail.rows("arguments like '%%hush%%'")


def test_tool_that_is_not_granted(cluster, trail, mark):
    caller = token_caller(cluster, "outsider")
    assert caller.sql(f"select 1 /* {mark} */").error["kind"] == "denied"
    has(trail.call(mark), **READ, outcome="refused", rule="not granted", role="outsider")


def test_read_only(cluster, trail, mark, number):
    """By the token: the same call of the same role would do."""
    caller = token_caller(cluster, "writer_direct", read_only=True)
    assert caller.sql(f"insert into rec.item values ({number}) /* {mark} */").is_error
    has(trail.call(mark), **READ, outcome="refused", rule="read only", sqlstate="25006")
    assert caller.tool("add_item", {"n": number}).is_error
    [row] = trail.wait("tool = 'add_item'")
    has(row, **READ, outcome="refused", rule="read only")
    assert not there(cluster, number)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_rate_limit(cluster, new_role, limit, trail, kind):
    """By its name, and a caller who is refused again and again is one row with a count."""
    role = new_role()
    caller = token_caller(cluster, role, read_only=kind == "read")
    limit(role, calls_per_minute=1, burst=2)
    with caller.line() as client:
        requests = {client.start("tools/call", {"name": "execute_sql", "arguments": {"query": f"select {i}"}}) for i in range(200)}
        answers = [client.receive() for _ in requests]
    assert {answer["id"] for answer in answers} == requests
    results = [ToolResult(answer) for answer in answers]
    refused = [result for result in results if result.is_error]
    assert len(refused) >= 197
    wait_until(lambda: trail.sql("select coalesce(sum(times), 0) as n from mcp.audit where role = %s and outcome = 'refused'", [role])[0]["n"] == len(refused),
               10, "every refusal is counted")
    rows = trail.rows("role = %s and outcome = 'refused'", [role])
    assert len(rows) < 50, rows
    for row in rows:
        has(row, method="tools/call", tool="execute_sql", rule=refused[0].error["limit"], arguments=None, xid=None)
    assert len(trail.wait("role = %s and outcome = 'ok'", [role], 200 - len(refused))) == 200 - len(refused)


# ---- what else is called

def test_prompt_resource_and_completion(reader, trail):
    reader.rpc("prompts/get", {"name": "hello", "arguments": {"name": "Ada"}})
    reader.rpc("resources/read", {"uri": "rec://motd"})
    reader.rpc("completion/complete", {"ref": {"type": "ref/resource", "uri": "table:///{schema}/{name}"}, "argument": {"name": "schema", "value": "re"}})
    reader.rpc("tools/list")
    reader.rpc("prompts/get", {"name": "no_such_prompt"})
    reader.rpc("resources/read", {"uri": "rec://nothing"})
    rows = trail.wait("role = %s", [reader.role], 5)
    by = {(row["method"], row["tool"]): row for row in rows}
    has(by["prompts/get", "hello"], **READ, outcome="ok", arguments='{"name":"Ada"}')
    has(by["resources/read", "rec://motd"], **READ, outcome="ok")
    [complete] = [row for row in rows if row["method"] == "completion/complete"]
    has(complete, **READ, outcome="ok")
    assert '"uri":"table:///{schema}/{name}"' in complete["arguments"]
    has(by["prompts/get", "no_such_prompt"], outcome="refused", arguments=None)
    assert by["resources/read", "rec://nothing"]["outcome"] in ("refused", "error")


# ---- off

def test_audit_off_leaves_nothing(cluster, reader, writer, settings, trail, number):
    settings(audit="off")
    stranger = Caller(cluster, bearer("mcp_" + "D" * 43), tcp=True)
    wait_until(lambda: cluster.value("select mcp.status() -> 'audit' ->> 'on'") == "false", 10, "the audit is off")
    trail.mark()
    writer.sql(f"insert into rec.item values ({number})")
    reader.sql("select 'unseen'")
    stranger.rpc("tools/list")
    reader.tool("no_such_tool")
    settings(audit="on")
    wait_until(lambda: cluster.value("select mcp.status() -> 'audit' ->> 'on'") == "true", 10, "the audit is on")
    reader.sql("select 'seen'")
    trail.call("'seen'")
    assert there(cluster, number)
    # Failed logins of an earlier test may have been counted until now.
    assert len([row for row in trail.rows() if row["method"] != "login"]) == 1


def test_the_trail_holds(cluster, trail):
    """After all that the module did."""
    trail.settled()
    trail.check()
