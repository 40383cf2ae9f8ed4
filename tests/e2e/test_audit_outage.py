"""What waits while the audit trail cannot be written: calls of that time, lost ones among them, and records for which there is no room."""

import itertools
import json

import pytest

from harness.caller import ToolResult, token_caller
from harness.cluster import Cluster
from harness.records import Records
from harness.sessions import Session
from harness.waits import wait_until

LOCK = "select from mcp._audit_head for update"
LONG = "x" * 8000

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def site():
    one = Cluster().start().install()
    one.sql("create table entry (n int primary key); create role agent login; grant select, insert on entry to agent;"
            " select mcp.grant_tools('agent', write => true)")
    yield one
    one.remove()


@pytest.fixture
def writer(site):
    caller = token_caller(site, "agent")
    # An outage just before may not be over.
    wait_until(lambda: not caller.sql(f"insert into entry values ({next(_numbers)})").is_error, 10, "calls may write")
    yield caller
    caller.close()


@pytest.fixture
def reader(site):
    caller = token_caller(site, "agent", read_only=True)
    assert caller.value("select 1") == 1
    yield caller
    caller.close()


@pytest.fixture
def records(site):
    with Records(site) as one:
        yield one.mark()
        one.settled()
        one.check()


@pytest.fixture
def lock(site):
    """Nothing can be written until it is closed."""
    with Session(site) as locker:
        locker.run("begin")
        locker.run(LOCK)
        yield locker


def start(client, query):
    return client.start("tools/call", {"name": "execute_sql", "arguments": {"query": query}})


def read(client, query, times):
    """So many calls at the same time."""
    for _ in range(times):
        start(client, query)
    for _ in range(times):
        assert not ToolResult(client.receive()).is_error


def is_failing(records):
    return (records.state() or {}).get("state") == "failing"


def test_a_refused_call_is_not_settled_as_lost(site, writer, records):
    """A call is refused for want of its intent, another one is lost: when the trail is back, the first has the outcome that it had, and no other."""
    with writer.line() as client:
        number = next(_numbers)
        lost = start(client, f"insert into entry select {number} from pg_sleep(25) /* lost */")
        pid = wait_until(lambda: [row[0] for row in site.executors() if "/* lost */" in (row[5] or "") and row[4] == "active"], 10, "the call runs")[0]
        with Session(site) as locker:
            locker.run("begin")
            locker.run(LOCK)
            assert writer.sql(f"insert into entry values ({number}) /* refused */").error["sqlstate"] == "58030"
            assert is_failing(records)
            assert site.value("select pg_terminate_backend(%s)", [pid])
            wait_until(lambda: pid not in [row[0] for row in site.executors()], 10, "the process is gone")
        assert ToolResult(client.finish(lost, 30)).is_error
    rows = records.wait("arguments like '%%/* refused */%%' or arguments like '%%/* lost */%%'", count=2)
    wait_until(lambda: not records.rows("outcome = 'open'"), 10, "all have their outcome")
    rows = records.rows("arguments like '%%/* refused */%%' or arguments like '%%/* lost */%%'")
    assert [row["outcome"] for row in rows] == ["terminated", "refused"], rows
    assert not site.sql("select from entry where n = %s", [number])


def test_calls_behind_many_records_are_refused_as_well(site, writer, reader, lock, records):
    """The refusal comes while nothing can be written, however much was recorded after the call had asked."""
    with writer.line() as first, writer.line() as second, reader.line() as other:
        one = start(first, f"insert into entry values ({next(_numbers)}) /* one */")
        waits = "select pid from pg_stat_activity where backend_type = 'supabase_mcp keeper' and wait_event_type = 'Lock'"
        wait_until(lambda: site.sql(waits), 10, "the keeper waits with the first")
        two = start(second, f"insert into entry values ({next(_numbers)}) /* two */")
        wait_until(lambda: (records.state() or {}).get("rows_waiting"), 10, "the second is there")
        for _ in range(20):
            read(other, f"select length('{LONG}')", 20)
        assert ToolResult(first.finish(one, 15)).error["sqlstate"] == "58030"
        assert ToolResult(second.finish(two, 15)).error["sqlstate"] == "58030"
    lock.run("rollback")


def test_what_finds_no_room_is_counted(site, writer, reader, lock, records):
    """Records of reads and of refusals beyond what is kept in memory are not written, and a row says how many. Calls that may write are refused as before."""
    sent = 0
    with reader.line() as client:
        assert writer.sql(f"insert into entry values ({next(_numbers)}) /* early */").error["sqlstate"] == "58030"
        while not records.state()["rows_dropped"]:
            for _ in range(20):
                read(client, f"select length('{LONG}') /* flood */", 25)
            sent += 500
            assert sent < 20_000, records.state()
        assert writer.sql(f"insert into entry values ({next(_numbers)}) /* late */").error["sqlstate"] == "58030"
    lock.run("rollback")
    [gap] = records.wait("method = 'gap'", deadline=60)
    told = json.loads(gap["arguments"])["rows"]
    assert gap["times"] == told > 0 and gap["outcome"] is None
    kept = "strpos(arguments, '/* flood */') > 0"
    wait_until(lambda: len(records.rows(kept)) + told >= sent, 60, "all others are written")
    # The late refusal was one more.
    assert len(records.rows(kept)) + told == sent + 1
    assert records.call("/* early */")["outcome"] == "refused" and not records.rows("strpos(arguments, '/* late */') > 0")
