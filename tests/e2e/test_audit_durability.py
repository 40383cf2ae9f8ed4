"""When a recorded change reaches the disk: with its outcome, in one flush, unless somebody has said how commits are to wait."""

import itertools

import pytest

from harness.caller import ToolResult, token_caller
from harness.cluster import Cluster, server_major
from harness.records import Records
from harness.sessions import Session
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

# They begin anew when they are needed.
END_PROCESSES = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where backend_type in ('supabase_mcp executor', 'supabase_mcp keeper')"


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
    """Of the log, so far. A process tells its numbers now and then, and when it ends."""
    site.sql(END_PROCESSES)
    if server_major() >= 18:
        return site.value("select sum(fsyncs)::bigint from pg_stat_io where object = 'wal'")
    return site.value("select wal_sync from pg_stat_wal")


@pytest.mark.parametrize("setting,each", [(None, 2), ("on", 3)], ids=["its outcome's", "its own"])
def test_a_change_is_in_one_flush_with_its_outcome(site, changer, setting, each):
    """With the intent there are two; each of them is waited for. A commit that waits by itself is a third one."""
    calls = 100
    # The server's own flushes: some while all of this lasts, however slow it is.
    site.configure(wal_writer_delay="10s", supabase_mcp__audit_seal_interval="60s", synchronous_commit=setting)
    wait_until(lambda: at_commit(site, changer) == (setting or "off"), 10, "the settings are read")
    before = flushes(site)
    for _ in range(calls):
        at_commit(site, changer)
    added = flushes(site) - before
    site.configure(wal_writer_delay=None, supabase_mcp__audit_seal_interval=None, synchronous_commit=None)
    assert each * calls <= added < (each + 0.6) * calls, f"{added} flushes of {calls} calls"


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


@pytest.fixture
def replicas(site):
    """Commits wait for one that there is not, once this is called; those of the trail do not, so that it is the call's own that is seen to wait."""
    site.sql("alter role postgres set synchronous_commit = local")
    site.sql(END_PROCESSES)

    def wanted():
        site.configure(synchronous_standby_names="nobody")
        wait_until(site.waits_for_replicas, 15, "commits wait for a replica")
    yield wanted
    site.configure(synchronous_standby_names=None)
    site.sql("alter role postgres reset synchronous_commit")
    site.sql(END_PROCESSES)


def commit_waits(site, number):
    """The call is committed but for a replica."""
    waits = "select pid from pg_stat_activity where wait_event = 'SyncRep' and backend_type = 'supabase_mcp executor'"
    wait_until(lambda: site.sql(waits), 10, "the commit waits for a replica")
    assert not site.sql("select n from item where n = %s", [number])


def start(line, query):
    return line.start("tools/call", {"name": "execute_sql", "arguments": {"query": query}})


def test_replicas_are_waited_for(site, changer, replicas):
    """There the commit itself waits: the trail does not wait for them as long."""
    assert at_commit(site, changer) == "off"
    replicas()
    line, number = changer.line(), next(_numbers)
    call = start(line, f"insert into item values ({number})")
    commit_waits(site, number)
    site.configure(synchronous_standby_names=None)
    assert not ToolResult(line.finish(call)).is_error
    line.close()
    assert site.value("select at_commit from seen where n = %s", [number]) == "on"


def test_replicas_are_waited_for_by_calls_that_began_before(site, changer, replicas):
    """They have not read the settings that ask for it."""
    line, number = changer.line(), next(_numbers)
    with Session(site) as holder:
        holder.run("select pg_advisory_lock(42)")
        call = start(line, f"insert into item values ({number}); select pg_advisory_xact_lock(42)")
        wait_until(lambda: site.sql("select pid from pg_locks where locktype = 'advisory' and not granted"), 10, "the call runs")
        replicas()
    commit_waits(site, number)
    site.configure(synchronous_standby_names=None)
    assert not ToolResult(line.finish(call)).is_error
    line.close()
