"""When the audit trail cannot be written: calls that may write are refused and change nothing, reads follow the setting, service resumes by itself."""

import itertools
import os
import pwd
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.caller import token_caller
from harness.cluster import SERVER_USER, Cluster
from harness.records import Records
from harness.sessions import Session
from harness.waits import stays_true, wait_until
from harness.writers import SETUP, Writers, compare, mark

ROLES = "".join(f"create role {name} {attributes}; select mcp.grant_tools('{name}', write => true);"
                for name, attributes in (("load_direct", "login"), ("load_bridge", "nologin")))
LOCKS = {
    "trail": "lock table mcp._audit in access exclusive mode",
    "trail for reading": "lock table mcp._audit in share mode",
    "head": "select from mcp._audit_head for update",
    "head, the table": "lock table mcp._audit_head in access exclusive mode",
    "callers": "lock table mcp._audit_callers in access exclusive mode",
}

_numbers = itertools.count(1_000_000)


@pytest.fixture(scope="module")
def site():
    one = Cluster().start().install()
    one.sql(SETUP + ROLES)
    yield one
    one.remove()


@pytest.fixture
def writer(site):
    """May write, and has written: its login and its process are there."""
    caller = token_caller(site, "load_direct")
    assert not write(caller, next(_numbers)).is_error
    return caller


@pytest.fixture
def reader(site):
    """The same role with a token that only reads."""
    caller = token_caller(site, "load_direct", read_only=True)
    assert caller.value("select 1") == 1
    return caller


@pytest.fixture
def records(site):
    with Records(site) as one:
        yield one.mark()


def write(caller, number, text=""):
    return caller.sql(f"insert into load.entry values ({number}, 'sql') /* {mark(number)} {text} */")


def there(site, number):
    return site.value("select count(*) from load.entry where n = %s", [number]) == 1


def is_clear(error):
    """The refusal says what is the matter, that nothing was done, and where to look."""
    assert error["kind"] == "unavailable" and error["sqlstate"] == "58030", error
    assert "audit trail cannot be written" in error["message"], error
    assert "Nothing of this call was done" in error["hint"] and "mcp.status()" in error["hint"], error
    return True


def state(site):
    [trail] = [d for d in site.value("select mcp.status()")["audit"]["databases"] if d["database"] == "postgres"]
    return trail


def resumes(site, caller):
    """Service comes back without anybody's help. Gives the number that was written."""
    tried = []

    def written():
        tried.append(next(_numbers))
        return not write(caller, tried[-1]).is_error

    wait_until(written, 20, "calls may write again")
    assert [n for n in tried if there(site, n)] == tried[-1:]
    assert state(site)["state"] == "written" and state(site)["cause"] is None
    return tried[-1]


def refused(row):
    assert row["outcome"] == "refused" and not row["committed"] and row["changed"] is None, f"{row}"
    assert "audit trail cannot be written" in row["rule"] and row["sqlstate"] == "58030", f"{row}"


@pytest.mark.parametrize("what", LOCKS)
def test_locked(site, writer, reader, records, what):
    numbers = [next(_numbers) for _ in range(4)]
    if what == "callers":
        # Somebody whom the trail has not seen yet.
        writer = token_caller(site, "load_bridge")
        assert writer.rpc("tools/list").status == 200
    with Session(site) as locker:
        locker.run("begin")
        locker.run(LOCKS[what])
        for number in numbers:
            assert is_clear(write(writer, number).error)
        assert state(site)["state"] == "failing" and "timeout" in state(site)["cause"], state(site)
        # Reads go on.
        for number in numbers:
            assert reader.value(f"select 'read {number}'") == f"read {number}"
        assert state(site)["state"] == "failing"
        assert not site.sql("select from load.entry where n = any(%s)", [numbers])
    number = resumes(site, writer)
    for refusal in numbers:
        assert not there(site, refusal)
        refused(records.call(mark(refusal)))
        assert records.call(f"'read {refusal}'")["outcome"] == "ok"
    assert records.call(mark(number))["outcome"] == "ok"
    log = site.log()
    assert 'the trail of database "postgres" cannot be written, calls that may write are refused' in log
    assert 'the trail of database "postgres" is written again' in log
    records.settled()
    records.check()


def test_reads_that_wait_are_refused_as_well(site, writer, reader, records):
    """supabase_mcp.audit_reads = 'sync'."""
    site.configure(supabase_mcp__audit_reads="sync")
    try:
        wait_until(lambda: site.value("select mcp.status()")["audit"]["reads"] == "sync", 10, "the setting counts")
        number = next(_numbers)
        # An answer does not come before its record.
        assert reader.value(f"select 'sync {number}'") == f"sync {number}"
        assert len(records.rows("strpos(arguments, %s) > 0", [f"sync {number}"])) == 1
        with Session(site) as locker:
            locker.run("begin")
            locker.run(LOCKS["trail"])
            assert is_clear(write(writer, number).error)
            for _ in range(3):
                error = reader.sql("select 'hidden'").error
                assert error["kind"] == "unavailable" and error["sqlstate"] == "58030" and "audit trail cannot be written" in error["message"], error
            assert not there(site, number)
        resumes(site, writer)
        assert reader.value("select 1") == 1
        # The first of them ran before the fault was known to it, or none did.
        rows = wait_until(lambda: records.rows("role = 'load_direct' and outcome = 'refused'"), 10, "the refusals are in the trail")
        assert all("audit trail cannot be written" in row["rule"] for row in rows), rows
        records.settled()
        records.check()
    finally:
        site.configure(supabase_mcp__audit_reads=None)
        wait_until(lambda: site.value("select mcp.status()")["audit"]["reads"] == "batch", 10, "the setting is back")


def test_first_read_that_meets_the_fault_does_not_answer_unrecorded(site, writer, reader, records):
    """With 'sync' the fault may come while the read runs: it is not answered as if it were on record."""
    site.configure(supabase_mcp__audit_reads="sync")
    try:
        wait_until(lambda: site.value("select mcp.status()")["audit"]["reads"] == "sync", 10, "the setting counts")
        with Session(site) as locker:
            locker.run("begin")
            locker.run(LOCKS["trail"])
            error = reader.sql("select 'meets the fault'").error
            assert error["kind"] == "unavailable" and error["sqlstate"] == "58030", error
        resumes(site, writer)
        records.call("'meets the fault'")
    finally:
        site.configure(supabase_mcp__audit_reads=None)
        wait_until(lambda: site.value("select mcp.status()")["audit"]["reads"] == "batch", 10, "the setting is back")


def test_lock_that_comes_while_a_call_runs(site, writer, records):
    """The call is done, and its answer says that nobody could write down how it ended; the trail is right in the end."""
    number = next(_numbers)
    with writer.line() as client, Session(site) as locker:
        query = f"insert into load.entry select {number}, 'sql' from (select pg_advisory_xact_lock(4711)) l /* {mark(number)} */"
        locker.run("begin")
        locker.run("select pg_advisory_xact_lock(4711)")
        request = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": query}})
        wait_until(lambda: site.value("select count(*) from pg_locks where locktype = 'advisory' and not granted"), 10, "the call runs")
        with Session(site) as other:
            other.run("begin")
            other.run(LOCKS["trail"])
            locker.run("commit")
            answer = client.finish(request)
            assert answer["result"]["isError"], answer
            error = answer["result"]["structuredContent"]["error"]
            assert error["kind"] == "unavailable" and error["sqlstate"] == "58030", error
            assert "could not be recorded" in error["message"] and "changes are there" in error["hint"], error
            assert there(site, number)
    row = records.call(mark(number), 20)
    assert row["committed"] and row["changed"] == {"load.entry": {"inserted": 1}} and row["outcome"] == "ok", f"{row}"
    resumes(site, writer)


def test_keeper_ended_again_and_again(site, records):
    """Under load: nothing is lost or recorded twice, and no call is told anything but the truth."""
    site.sql("truncate load.entry")
    callers = [token_caller(site, role) for role in ("load_direct", "load_bridge") * 2]
    with Writers(callers) as writers:
        writers.wait_answered(10, 20, "the first calls")
        for turn in range(25):
            keepers = wait_until(lambda: site.sql("select pid from pg_stat_activity where backend_type = 'supabase_mcp keeper'"), 20, "a keeper")
            for (pid,) in keepers:
                site.sql("select pg_terminate_backend(%s)", [pid])
            writers.wait_answered(10, 20, f"service after the keeper's end number {turn + 1}")
    records.settled()
    # Calls of other tests have larger numbers.
    figures = compare(records, writers, below=1_000_000)
    assert figures["told ok"] >= 250, figures
    records.check()


def test_no_slot_for_the_keeper(new_cluster):
    """Parallel queries hold every worker slot that is left: no call writes unrecorded, and service resumes when they end."""
    # Postgres' launcher and the gateway keep one each.
    one = new_cluster(max_worker_processes=4, max_parallel_workers=4)
    one.sql(SETUP + ROLES)
    writer = token_caller(one, "load_direct")
    assert not write(writer, 1).is_error
    with Records(one) as records:
        force = "debug_parallel_query" if one.value("select current_setting('server_version_num')::int") >= 160000 else "force_parallel_mode"
        with Session(one) as first, Session(one) as second:
            for session in (first, second):
                session.run(f"set {force} = on")
                session.start("select pg_sleep(60)")

            def held():
                led = {row[0] for row in one.sql("select leader_pid from pg_stat_activity where backend_type = 'parallel worker'")}
                for session in (first, second):
                    if session.pid not in led:
                        # There was no slot when it began.
                        one.sql("select pg_terminate_backend(pid) from pg_stat_activity where backend_type ~ 'supabase_mcp (keeper|executor)'")
                        one.sql("select pg_cancel_backend(%s)", [session.pid])
                        session.finish()
                        session.start("select pg_sleep(60)")
                return len(led) == 2

            wait_until(held, 10, "the slots are taken")
            for number in (2, 3, 4):
                error = write(writer, number).error
                assert "max_worker_processes" in f"{error}", error
            assert one.sql("select n from load.entry") == [(1,)]
        wait_until(lambda: not write(writer, 5).is_error, 20, "service resumes")
        assert one.sql("select n from load.entry order by n") == [(1,), (5,)]
        records.settled()
        records.check()


@pytest.mark.parametrize("drained", [True, False], ids=["drained", "not drained"])
def test_database_that_is_dropped_is_forgotten(site, drained):
    """Nobody tries for ever to write or to seal what is gone: its log lines and processes would be as many as seconds."""
    database = f"gone_{drained}".lower()
    site.sql(f"create database {database}")
    site.install(database)
    site.sql(SETUP + "select mcp.grant_tools('load_direct', write => true)", database=database)
    caller = token_caller(site, "load_direct", database=database)
    assert not write(caller, next(_numbers)).is_error
    if drained:
        site.sql("select mcp.drain(%s)", [database])
    site.sql(f"drop database {database} with (force)")

    def complaints():
        return [line for line in site.log().splitlines() if database in line and ("WARNING" in line or "FATAL" in line)]

    def quiet():
        before = len(complaints())
        stays_true(lambda: len(complaints()) == before, 3, "the log is quiet")
        return True

    wait_until(quiet, 15, "the gateway has forgotten the database")
    assert len(complaints()) < 8, complaints()
    caller.close()


@pytest.fixture
def small_disk():
    """A file system of 2 MB that the server may write to."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = Path(tempfile.mkdtemp(prefix="mcp-disk-", dir="/tmp"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    account = pwd.getpwnam(SERVER_USER)
    os.chown(folder, account.pw_uid, account.pw_gid)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_disk_full(small_disk, new_cluster):
    """Of the partition of the day, which lies on a disk of its own; and then there is space again."""
    one = new_cluster()
    one.sql(SETUP + ROLES)
    writer, reader = token_caller(one, "load_direct"), token_caller(one, "load_direct", read_only=True)
    assert not write(writer, next(_numbers)).is_error
    with Records(one) as records:
        wait_until(lambda: records.verdict()["unsealed_rows"] == 0, 10, "the keeper has nothing to do")
        one.sql(f"create tablespace small location '{small_disk}'")
        for (partition,) in one.sql("select inhrelid::regclass::text from pg_inherits where inhparent = 'mcp._audit'::regclass"):
            one.sql(f"alter table {partition} set tablespace small")
        assert not write(writer, next(_numbers)).is_error
        ballast = small_disk / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 4096):
                    pass
            except OSError:
                pass
        numbers = [next(_numbers) for _ in range(300)]
        text = "x y z " * 1000
        results = {}
        for number in numbers:
            results[number] = write(writer, number, text)
            if results[number].is_error:
                break
        assert results[number].is_error, "the disk is full by now"
        assert is_clear(results[number].error) and "No space left on device" in one.value("select mcp.status()")["audit"]["databases"][0]["cause"]
        assert is_clear(write(writer, next(_numbers)).error)
        assert reader.value("select 'goes on'") == "goes on"
        written = {n for n, result in results.items() if not result.is_error}
        assert {row[0] for row in one.sql("select n from load.entry where n = any(%s)", [numbers])} == written
        ballast.unlink()
        wait_until(lambda: not write(writer, next(_numbers)).is_error, 20, "calls may write again")
        refused(records.call(mark(number)))
        assert records.call("'goes on'")["outcome"] == "ok"
        records.settled()
        records.check()


def test_extension_made_anew(site):
    """The new trail begins at 1 and knows who called; nothing of the old one is mixed into it."""
    database = "anew"
    site.sql(f"create database {database}")
    site.install(database)
    site.sql(SETUP, database=database)
    for turn in range(3):
        site.sql("select mcp.grant_tools('load_direct', write => true)", database=database)
        caller = token_caller(site, "load_direct", database=database)
        for _ in range(3):
            assert not write(caller, next(_numbers)).is_error
        with Records(site, database) as records:
            if turn == 1:
                wait_until(lambda: records.verdict()["unsealed_rows"] == 0, 10, "all is sealed")
            records.settled()
            assert records.sql("select min(id) as first, count(*) filter (where role = 'load_direct') as known from mcp.audit where method = 'tools/call'") \
                == [{"first": 1, "known": 3}]
            records.check()
            wait_until(lambda: records.verdict()["unsealed_rows"] == 0, 10, "all is sealed")
        caller.close()
        site.sql("drop extension supabase_mcp cascade; drop schema if exists mcp cascade; create extension supabase_mcp", database=database)
