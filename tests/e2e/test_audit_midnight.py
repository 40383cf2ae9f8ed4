"""The trail over midnight, UTC: a server whose clock is ahead writes the records of one batch into the partitions of two days."""

import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.waits import wait_until

DAY = 24 * 60 * 60
# Seconds between the server's start and midnight.
BEFORE = 6
DATE = "(now() at time zone 'utc')::date"
SOURCE = Path(__file__).parent / "data" / "clock.c"
ROLES = """
create role night_reader login; create role night_writer login;
create table public.entry (n int); grant insert on public.entry to night_writer;
select mcp.grant_tools('night_reader'), mcp.grant_tools('night_writer', write => true);
"""


@pytest.fixture
def site(monkeypatch):
    one = Cluster(shared_preload_libraries="supabase_mcp").start().install()
    one.sql(ROLES)
    library = one.folder / "clock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    library.chmod(0o755)
    one.stop()
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("MCP_CLOCK_AHEAD", str(DAY - int(time.time()) % DAY - BEFORE))
    one.start().ready()
    monkeypatch.delenv("LD_PRELOAD")
    yield one
    assert one.checkpointer_start() == one.checkpointer, "the server restarted after a crash"
    one.remove()


def test_a_batch_of_two_days(site):
    """The outcome of a call belongs to the day of its intent, and is written together with records of the next day."""
    today = site.value(f"select {DATE}")
    left = site.value(f"select extract(epoch from {DATE} + 1 - now() at time zone 'utc')::float8")
    assert left < BEFORE, "the clock is not ahead, or midnight is over"
    reader, writer = (token_caller(site, f"night_{name}") for name in ("reader", "writer"))
    answers = []
    late = threading.Thread(target=lambda: answers.append(writer.sql(f"insert into entry values (1); select pg_sleep({left + 1})")))
    late.start()
    sleeps = "select count(*) from pg_stat_activity where usename = 'night_writer' and wait_event = 'PgSleep'"
    wait_until(lambda: site.value(sleeps) == 1, 5, "a call is on its way")
    wait_until(lambda: site.value(f"select {DATE}") > today, BEFORE + 5, "the day is over")
    with site.connect(autocommit=False) as lock:
        # One batch waits for the keeper's row, so that the next one fills.
        lock.execute("select from mcp._audit_head for update")
        assert reader.value("select 'waits'") == "waits"
        waits = "select count(*) from pg_stat_activity where backend_type = 'supabase_mcp keeper' and wait_event_type = 'Lock'"
        wait_until(lambda: site.value(waits) == 1, 5, "the keeper waits")
        assert reader.value("select 'the next day'") == "the next day"
        wait_until(lambda: site.value(sleeps) == 0, 5, "the late call is done")
    late.join(20)
    assert not answers[0].is_error, answers[0].error
    wait_until(lambda: site.sql("select ok, unsealed_rows from mcp.audit_verify()")[0] == (True, 0), 20, "all is sealed and fits")
    found = site.sql("""
        select o.tableoid = i.tableoid, (o.ended at time zone 'utc')::date - (o.at at time zone 'utc')::date, o.outcome, o.committed
          from mcp._audit i join mcp._audit o on o.intent = i.id and o.kind = 'o' where i.arguments like '%insert into entry%'""")
    assert found == [(True, 1, "ok", True)]
    one_batch = """select o.xmin = n.xmin, o.tableoid <> n.tableoid, abs(o.id - n.id)
                     from mcp._audit o, mcp._audit n where o.kind = 'o' and n.arguments like '%the next day%'"""
    assert site.sql(one_batch) == [(True, True, 1)]
    days = site.sql("select (time at time zone 'utc')::date, count(*) from mcp.audit where method = 'tools/call' group by 1 order by 1")
    assert [((day - today).days, count) for day, count in days] == [(0, 1), (1, 2)]
    for caller in (reader, writer):
        caller.close()
