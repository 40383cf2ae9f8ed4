"""The trail of real calls: sealed by the keeper process from what it wrote, with every seal in the server log, whatever else seals or purges meanwhile."""

import re

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.trail import Trail
from harness.waits import wait_until

LINE = re.compile(r"supabase_mcp audit: seal (\d+) over rows (?:\d+|up) to (\d+): ([0-9a-f]{64})$", re.M)
_numbers = iter(range(1, 1000))


@pytest.fixture(scope="module")
def site():
    one = Cluster(shared_preload_libraries="supabase_mcp", supabase_mcp__audit_seal_interval="100ms").start()
    one.install()
    one.sql("create role agent login; select mcp.grant_tools('agent', write => true); grant create on schema public to agent")
    yield one
    one.remove()


@pytest.fixture
def trail(site):
    """A database of its own, with a caller."""
    one = Trail(site, f"kept_{next(_numbers)}")
    one.sql("select mcp.grant_tools('agent', write => true)")
    one.agent = token_caller(site, "agent", database=one.database)
    return one


@pytest.fixture
def slowly(trail, site):
    """Two rows are sealed; from now on the keeper seals so late that a test has done its deed before."""
    call(trail)
    sealed(trail, 2)
    site.configure(supabase_mcp__audit_seal_interval="5s")
    yield
    site.configure(supabase_mcp__audit_seal_interval="100ms")


def call(trail, times=1):
    for _ in range(times):
        assert trail.agent.sql("create temp table t (a int); insert into t values (1)").data


def sealed(trail, rows):
    """The verdict once so many rows are written and sealed."""
    return wait_until(lambda: (v := trail.verify())["rows"] >= rows and v["unsealed_rows"] == 0 and v, 30, f"{rows} rows are sealed")


def test_calls_are_sealed_and_the_log_says_so(trail, site):
    call(trail, 5)
    trail.agent.sql("select 1")
    verdict = sealed(trail, 11)
    assert verdict["ok"], verdict
    seals = [(str(n), str(last), hash) for n, last, hash in trail.sql("select number, last_id, encode(hash, 'hex') from mcp._audit_seals order by number")]
    assert seals and set(seals) <= set(LINE.findall(site.log()))
    assert (str(verdict["last_seal"]), verdict["last_hash"]) in [(n, hash) for n, _, hash in LINE.findall(site.log())]
    # What the keeper hashed is what the table gives.
    trail.sql("update mcp._audit set run_us = run_us + 1 where id = 4")
    assert (trail.verify()["ok"], trail.verify()["first_bad_row"]) == (False, 4)


def change(trail, row):
    trail.sql("update mcp._audit set arguments = '{}' where id = %s", [row])
    assert trail.value("select max(last_id) from mcp._audit_seals") < row, "it was sealed already"


def test_a_row_changed_before_it_was_sealed(trail, slowly):
    call(trail)
    change(trail, 3)
    verdict = wait_until(lambda: not (v := trail.verify())["ok"] and v, 30, "the keeper's seal")
    assert (verdict["first_bad_row"], verdict["problem"]) == (3, "row 3 was changed")


def test_a_purge_between(trail, site, slowly):
    """It seals what the keeper has in hand still, and the keeper goes on after it."""
    trail.sql("select mcp._audit_partition('2026-03-01')")
    call(trail)
    assert trail.value("select (mcp.audit_purge(now())).partitions") == ["_audit_20260301"]
    assert trail.value("select max(last_id) from mcp._audit_seals") == 5
    call(trail)
    assert sealed(trail, 7)["ok"]
    call(trail)
    assert sealed(trail, 9)["ok"]
    assert f'"{trail.database}" could not be sealed' not in site.log()


def test_a_row_changed_before_a_purge_sealed_it(trail, site, slowly):
    """The keeper knows better than the table, and says so in the log."""
    trail.sql("select mcp._audit_partition('2026-03-01')")
    call(trail)
    change(trail, 3)
    trail.sql("select mcp.audit_purge(now())")
    told = f'the trail of database "{trail.database}" could not be sealed: rows 3 to 4 of the audit trail were sealed otherwise than they were written'
    wait_until(lambda: told in site.log(), 30, "the keeper's word")
    call(trail)
    assert sealed(trail, 7)["ok"]


def test_after_a_restart(trail, site):
    call(trail, 3)
    site.restart()
    site.ready()
    call(trail, 3)
    assert sealed(trail, 12)["ok"]


def test_a_settled_outcome_is_sealed_with_nobody_calling(trail, site):
    """The keeper's own rows come first under a seal; the outcome that it settled is not left behind."""
    call(trail)
    sealed(trail, 2)
    with trail.agent.line() as client:
        client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(25) /* to be ended */"}})
        pid = wait_until(lambda: [row[0] for row in site.executors() if "to be ended" in (row[5] or "")], 10, "the call runs")[0]
        site.sql("select pg_terminate_backend(%s)", [pid])
        wait_until(lambda: trail.value("select count(*) from mcp.audit where outcome = 'terminated'"), 10, "its outcome is settled")
    assert sealed(trail, 4)["ok"]
