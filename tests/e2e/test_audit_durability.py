"""When a recorded change reaches the disk: with its outcome, in one flush, unless somebody has said how commits are to wait."""

import itertools
import time

import pytest

from harness.caller import ToolResult, token_caller
from harness.cluster import Cluster, server_major
from harness.records import Records
from harness.waits import wait_until

_numbers = itertools.count(1)

SETUP = """
create table item (n int primary key);
create table seen (n int, at_commit text);
create function look() returns trigger language plpgsql as $$
begin
    insert into seen values (new.n, current_setting('synchronous_commit'));
    return null;
end $$;
create constraint trigger look after insert on item deferrable initially deferred for each row execute function look();
create role changer login;
grant select, insert on item, seen to changer;
select mcp.grant_tools('changer', write => true);
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster(fsync="on").start().install()
    one.sql(SETUP)
    yield one
    one.remove()


@pytest.fixture
def changer(site):
    caller = token_caller(site, "changer")
    yield caller
    caller.close()
    with Records(site) as records:
        records.settled()
        records.check()


def at_commit(site, caller, before=""):
    """What a call's commit waited for, as its last trigger saw it."""
    number = next(_numbers)
    result = caller.sql(f"{before} insert into item values ({number})")
    assert not result.is_error, result
    return site.value("select at_commit from seen where n = %s", [number])


def flushes(site):
    """Of the log, so far. Processes tell their numbers once a second."""
    if server_major() >= 18:
        return site.value("select sum(fsyncs)::bigint from pg_stat_io where object = 'wal'")
    return site.value("select wal_sync from pg_stat_wal")


def settled_flushes(site):
    """The same once it stands still."""
    last = [flushes(site), time.monotonic()]

    def still():
        now = flushes(site)
        if now != last[0]:
            last[:] = now, time.monotonic()
        return time.monotonic() - last[1] > 2.5
    wait_until(still, 20, "the count of flushes stands still")
    return last[0]


def test_a_change_and_its_outcome_are_one_flush(site, changer):
    """With the intent there are two; each of them is waited for. A third one would be of the change alone."""
    calls = 150
    at_commit(site, changer)
    before = settled_flushes(site)
    for _ in range(calls):
        at_commit(site, changer)
    added = settled_flushes(site) - before
    assert 2 * calls <= added < 2.6 * calls, f"{added} flushes of {calls} calls"


def test_only_recorded_calls_leave_it_to_their_outcome(site, changer):
    assert at_commit(site, changer) == "off"
    # For its own transaction, and no other.
    assert changer.value("show synchronous_commit") == "on"
    site.configure(supabase_mcp__audit="off")
    wait_until(lambda: at_commit(site, changer) == "on", 10, "nothing is recorded")
    site.configure(supabase_mcp__audit=None)
    wait_until(lambda: at_commit(site, changer) == "off", 10, "calls are recorded")


@pytest.mark.parametrize("scope", ["role changer", "database postgres", "role changer in database postgres"])
@pytest.mark.parametrize("value", ["on", "local", "remote_apply"])
def test_what_a_dba_has_set_holds(site, changer, scope, value):
    site.sql(f"alter {scope} set synchronous_commit = {value}")
    try:
        assert at_commit(site, changer) == value
    finally:
        site.sql(f"alter {scope} reset synchronous_commit")
    assert at_commit(site, changer) == "off"


@pytest.mark.parametrize("value", ["on", "local"])
def test_what_a_file_says_holds(site, changer, value):
    site.configure(synchronous_commit=value)
    wait_until(lambda: at_commit(site, changer) == value, 10, "the file is read")
    site.configure(synchronous_commit=None)
    wait_until(lambda: at_commit(site, changer) == "off", 10, "the file is read")


@pytest.mark.parametrize("value", ["on", "local"])
@pytest.mark.parametrize("how", ["set synchronous_commit = {};", "set local synchronous_commit = {};", "select set_config('synchronous_commit', '{}', true);"])
def test_what_a_call_has_set_holds(site, changer, how, value):
    assert at_commit(site, changer, how.format(value)) == value
    assert at_commit(site, changer) == "off"


def test_replicas_are_waited_for(site, changer):
    """There the commit itself waits: the trail does not wait for them as long."""
    assert at_commit(site, changer) == "off"
    site.configure(synchronous_standby_names="nobody")
    try:
        number = next(_numbers)
        line = changer.line()
        waits = "select pid from pg_stat_activity where wait_event = 'SyncRep' and backend_type = 'supabase_mcp executor'"
        # The checkpointer tells processes to wait, some time after the settings were read.
        deadline = time.monotonic() + 15
        while True:
            call = line.start("tools/call", {"name": "execute_sql", "arguments": {"query": f"insert into item values ({number})"}})
            reached = wait_until(lambda: site.sql(waits) or site.value("select true from item where n = %s", [number]), 10, "the commit")
            if reached is not True:
                break
            assert time.monotonic() < deadline, "no commit waits for a replica"
            line.finish(call)
            number = next(_numbers)
        assert not site.sql("select from item where n = %s", [number])
    finally:
        site.configure(synchronous_standby_names=None)
    assert not ToolResult(line.finish(call)).is_error
    line.close()
    assert site.value("select at_commit from seen where n = %s", [number]) == "on"
