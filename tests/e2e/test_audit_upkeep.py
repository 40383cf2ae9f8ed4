"""What the audit trail does besides recording: seals that do not wait for a lull, batches that come twice, and keepers that do not come back for nothing."""

import json

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.waits import stays_true, wait_until
from harness.writers import SETUP, Writers

ROLE = "create role load_direct login; select mcp.grant_tools('load_direct', write => true);"


@pytest.fixture(scope="module")
def site():
    one = Cluster(supabase_mcp__audit_seal_interval="200ms").start().install()
    one.sql(SETUP + ROLE)
    one.note_checkpointer()
    yield one
    assert one.checkpointer_start() == one.checkpointer, "the server restarted after a crash"
    one.remove()


def test_a_load_without_end_is_sealed(site):
    """Eight clients that write one call after the other: there is always a record that somebody waits for."""
    callers = [token_caller(site, "load_direct") for _ in range(8)]
    with Writers(callers) as writers:
        writers.wait_answered(50, 20, "calls are answered")
        seals = site.value("select count(*) from mcp._audit_seals")
        # Under load all the while: each look finds calls on their way.
        writers.wait_answered(400, 40, "more calls are answered")
        wait_until(lambda: site.value("select count(*) from mcp._audit_seals") >= seals + 5, 20, "seals are made meanwhile")
        last, sealed = site.sql("select h.last_id, s.last_id from mcp._audit_head h, mcp._audit_sealed s")[0]
        assert writers.flying and last - sealed < 2000
    for caller in callers:
        caller.close()
    verdict = wait_until(lambda: site.sql("select ok, unsealed_rows from mcp.audit_verify()")[0] == (True, 0), 20, "all is sealed and fits")
    assert verdict


def test_a_batch_that_comes_again_is_known(site):
    """The gateway has two on their way at the most, in whatever order they come again."""
    time = "2026-11-20 12:00:00+00"

    def begin(name, rows):
        head = json.dumps({"batch": name, "rows": rows, "first": time, "last": time, "callers": []})
        return connection.execute("select mcp._audit_begin(%s::jsonb)", [head]).fetchone()[0]

    with site.connect() as connection:
        last = connection.execute("select last_id from mcp._audit_head").fetchone()[0]
        assert begin("life-1", 3) == [last + 1, True]
        assert begin("life-1", 3) == [last + 1, False]
        assert begin("life-2", 2) == [last + 4, True]
        for _ in range(2):
            assert begin("life-1", 3) == [last + 1, False] and begin("life-2", 2) == [last + 4, False]
        assert begin("life-3", 1) == [last + 6, True]
        assert begin("life-2", 2) == [last + 4, False] and begin("life-3", 1) == [last + 6, False]
        assert connection.execute("select last_id from mcp._audit_head").fetchone()[0] == last + 6
        # Rows with these ids were never added.
        connection.rollback()


def test_a_drained_database_is_left_alone(site):
    """The last rows are written and sealed before the processes leave, and none comes back for them."""
    site.sql("create database drained")
    site.install("drained")
    site.sql(SETUP + "select mcp.grant_tools('load_direct', write => true)", database="drained")
    caller = token_caller(site, "load_direct", database="drained")
    assert not caller.sql("insert into load.entry values (1, 'x')").is_error
    assert caller.value("select 'a read'") == "a read"
    assert site.value("select mcp.drain('drained') -> 'drained'") is True

    def left_alone():
        there = site.sql("select backend_type, state, query from pg_stat_activity where datname = 'drained' and backend_type ~ 'mcp'")
        print(there)
        return not there

    wait_until(left_alone, 5, "the processes are gone")
    stays_true(left_alone, 3, "nobody comes back")
    assert site.sql("select ok, unsealed_rows from mcp.audit_verify()", database="drained")[0] == (True, 0)
    assert site.value("select count(*) from mcp.audit where arguments like '%a read%'", database="drained") == 1
    caller.close()
    site.sql("drop database drained")
