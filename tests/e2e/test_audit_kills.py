"""The promise of the audit trail under kill -9: no committed change without an intent, no outcome ok without its change.

A killer ends executors, keepers, gateways and the postmaster in turn while clients write; Postgres restarts each time by its own rule. In the end data and
trail are compared. AUDIT_KILLS says how many times: 200 if it is not set.
"""

import os
import signal
import time

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.records import Records
from harness.waits import wait_until
from harness.writers import SETUP, Writers, compare

KILLS = int(os.environ.get("AUDIT_KILLS", "200"))
CLIENTS = 6
# Calls that are answered between two kills.
BETWEEN = 12
ROLES = "".join(f"create role {name} {attributes}; select mcp.grant_tools('{name}', write => true);"
                for name, attributes in (("load_direct", "login"), ("load_bridge", "nologin"), ("load_other", "login")))


@pytest.fixture
def site(request):
    """As a server is in production, but for small buffers: restarts are what takes the time here."""
    one = Cluster(shared_preload_libraries="supabase_mcp", fsync="on", full_page_writes="on", shared_buffers="4MB", max_connections=30,
                  recovery_init_sync_method="syncfs", log_min_messages="warning", restart_after_crash="on", **getattr(request, "param", {})).start()
    one.install()
    one.sql(SETUP + ROLES)
    yield one
    one.remove()


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def pids(site, kind):
    return [row[0] for row in site.sql("select pid from pg_stat_activity where backend_type = %s", [f"supabase_mcp {kind}"])]


def kill(site, kind):
    if kind == "postmaster":
        postmaster = int((site.data / "postmaster.pid").read_text().split()[0])
        children = [row[0] for row in site.sql("select pid from pg_stat_activity where pid <> pg_backend_pid()")]
        os.kill(postmaster, signal.SIGKILL)
        # Postgres refuses to start while one of the old processes is attached to the shared memory.
        wait_until(lambda: not any(alive(pid) for pid in [postmaster, *children]), 30, "all processes of the server notice")
        site.running = False
        site.start()
        return
    def struck():
        # It may have left by itself since it was looked for.
        try:
            victim = pids(site, kind)[-1]
            os.kill(victim, signal.SIGKILL)
            return victim
        except (IndexError, ProcessLookupError):
            return None

    victim = wait_until(struck, 20, f"a process of kind {kind}")
    wait_until(lambda: not alive(victim), 10, "the victim is dead")


def callers_of(site):
    roles = ["load_direct", "load_bridge", "load_other"]
    return [token_caller(site, roles[n % 3]) for n in range(CLIENTS)]


def settled(site, writers):
    """Data and trail agree once the server has had a moment of peace."""
    site.up()
    wait_until(lambda: not token_caller(site, "load_direct").sql("select 1").is_error, 30, "service")
    with Records(site) as records:
        records.settled(60)
        figures = compare(records, writers)
        records.check()
    return figures


@pytest.mark.restarts
@pytest.mark.parametrize("site,kills", [({}, KILLS - 2 * (KILLS // 5)), ({"synchronous_commit": "on"}, KILLS // 5), ({"synchronous_commit": "off"}, KILLS // 5)],
                         indirect=["site"], ids=["as it is", "synchronous_commit on", "synchronous_commit off"])
def test_kill_9_in_a_loop(site, kills, capsys):
    """Where changes do not wait for the disk, records do all the same, and with them what they are about."""
    begun = time.monotonic()
    with Writers(callers_of(site)) as writers:
        writers.wait_answered(BETWEEN, 30, "the first calls")
        for turn in range(kills):
            kind = ("executor", "keeper", "gateway", "postmaster")[turn % 4]
            kill(site, kind)
            writers.wait_answered(BETWEEN, 60, f"service after kill {turn + 1}, of the {kind}")
        writers.stop()
    figures = settled(site, writers)
    with capsys.disabled():
        print(f"\n{kills} kills in {time.monotonic() - begun:.0f} s: {figures}")
    assert figures["rows"] >= kills * BETWEEN


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_stopped_and_started_under_load(site, mode):
    with Writers(callers_of(site)) as writers:
        for turn in range(5):
            writers.wait_answered(BETWEEN, 60, f"service after {turn} stops")
            site.restart(mode)
        writers.wait_answered(BETWEEN, 60, "service after the last stop")
        writers.stop()
    settled(site, writers)


def test_last_reads_before_a_stop_are_recorded(site):
    """Those whose batch was not due yet."""
    caller = token_caller(site, "load_direct", read_only=True)
    for turn in range(5):
        # The first is of a new process, the second comes at once after it.
        for n in range(2):
            assert caller.value(f"select 'last {turn}.{n}'") == f"last {turn}.{n}"
        caller.close()
        site.restart("fast")
        wait_until(lambda: not caller.sql("select 1").is_error, 30, "service")
        with Records(site) as records:
            assert len(records.rows("strpos(arguments, %s) > 0", [f"'last {turn}."])) == 2
    with Records(site) as records:
        records.settled()
        records.check()
