"""Disk and memory run out under a call: an error that says so, and service goes on."""

import resource
import subprocess

import psycopg
import pytest

from harness.caller import token_caller
from harness.cluster import SERVER_USER, Cluster, as_server, new_folder
from harness.refusal import is_served
from harness.waits import wait_until
from harness.world import build_world

FILL = "create table {0}.filler as select g, repeat(md5(g::text), 30) as t from generate_series(1, 100000) g"


@pytest.fixture(scope="module")
def site():
    one = Cluster(shared_preload_libraries="supabase_mcp").start()
    one.install()
    build_world(one)
    yield one
    one.remove()


# ---- disk

def test_temp_file_limit(site):
    """What a DBA sets so that no role fills the disk with sorts."""
    site.sql("alter role reader_direct set temp_file_limit = '1MB'; alter role reader_direct set work_mem = '64kB'")
    reader = token_caller(site, "reader_direct")
    error = reader.sql("select count(*) from (select g from generate_series(1, 1000000) g order by md5(g::text)) s").error
    assert error["sqlstate"] == "53400" and "temp_file_limit" in error["message"]
    assert reader.value("select 1") == 1


@pytest.fixture
def small_disk():
    """A file system of 48 MB of its own, for the server's files."""
    folder = new_folder()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        folder.rmdir()
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    if SERVER_USER:
        subprocess.run(["chown", SERVER_USER, str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_full_disk_of_a_tablespace(new_cluster, small_disk):
    one = new_cluster(world=True)
    one.sql(f"create tablespace small location '{small_disk}'")
    one.sql("grant create on tablespace small to writer_direct; alter role writer_direct set default_tablespace = 'small'")
    writer = token_caller(one, "writer_direct")
    error = writer.sql(FILL.format("work_direct")).error
    assert error["sqlstate"] == "53100" and "No space left" in error["message"]
    # The table went with its transaction, and its files with it.
    assert writer.sql("create table work_direct.small as select 1 as n; select n from work_direct.small").value == 1


@pytest.mark.restarts
def test_full_disk_of_the_write_ahead_log(new_cluster, small_disk):
    """Postgres gives up when it can log no more; when there is room again, the same calls are served again."""
    ballast = small_disk / "ballast"
    one = new_cluster(start=False, shared_preload_libraries="supabase_mcp", min_wal_size="32MB", max_wal_size="1GB")
    wal = one.data / "pg_wal"
    subprocess.run(["cp", "-a", f"{wal}/.", str(small_disk)], check=True)
    subprocess.run(["rm", "-r", str(wal)], check=True)
    wal.symlink_to(small_disk)
    one.start()
    one.install()
    build_world(one)
    writer = token_caller(one, "writer_direct")
    assert writer.value("select 1") == 1
    fill(ballast)
    said = ""
    try:
        for _ in range(5):
            result = writer.sql(FILL.format("work_direct") + "; drop table work_direct.filler")
            said = str(result)
            if result.is_error or result.protocol_error:
                break
    except (OSError, psycopg.Error) as gone:
        said = str(gone)
    except Exception as gone:  # the server ended in the midst of its answer
        said = repr(gone)
    assert "No space left" in one.log(), said
    ballast.unlink()
    if one.ctl("status", capture_output=True).returncode != 0:
        one.running = False
        one.start()
    one.up()
    wait_until(lambda: is_served(writer), 30, "service again")
    assert writer.sql("create table work_direct.after as select 1 as n; select n from work_direct.after").value == 1


def fill(file):
    """Takes all the room there is."""
    with open(file, "wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(1 << 16))
        except OSError:
            pass


# ---- memory

@pytest.mark.parametrize("query", [
    "select length(repeat('x', 2000000000))",
    "select array_length(array_agg(repeat('x', 1000000)), 1) from generate_series(1, 2000) g",
    "select length(string_agg(repeat('x', 1000000), '')) from generate_series(1, 2000) g",
    "select repeat('x', 600000000) || repeat('y', 600000000)",
])
def test_values_beyond_what_postgres_can_hold(site, query):
    reader = token_caller(site, "reader_bridge")
    pid = reader.value("select pg_backend_pid()")
    limit_memory(pid, 600 << 20)
    error = reader.sql(query).error
    assert error["sqlstate"] in ("53200", "54000", "XX000") and error["message"], error
    assert reader.value("select 1") == 1


def limit_memory(pid, beyond):
    """As `ulimit -v` before the start would, for one process: `beyond` bytes more than it has now."""
    pages = int(open(f"/proc/{pid}/statm").read().split()[0])
    limit = pages * resource.getpagesize() + beyond
    # As the server's own user, who may limit a process of his.
    done = as_server(["prlimit", "--pid", str(pid), f"--as={limit}"], capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("beyond", [1, 4, 16, 64, 256])
@pytest.mark.parametrize("query", [
    "select array_length(array_agg(repeat('x', 1000)), 1) from generate_series(1, 1000000) g",
    "select repeat('x', 300) || g from generate_series(1, 3000) g",
    "with held as materialized (select array_agg(repeat(md5(g::text), 10)) as a from generate_series(1, 1500) g)"
    " select repeat('x', 900000) || cardinality(a) from held",
], ids=["held", "rendered", "both"])
def test_out_of_memory(site, beyond, query):
    """An executor that gets no more memory, by so much from nothing at all to plenty: an error at the worst, never a crash."""
    reader = token_caller(site, "reader_bridge")
    pid = reader.value("select pg_backend_pid()")
    limit_memory(pid, beyond << 18)
    result = reader.sql(query)
    if result.is_error:
        # Of an executor that ended after its call nothing more is known than that.
        assert result.error["sqlstate"] in ("53200", "57P01"), result
    site.sql("select pg_terminate_backend(%s)", [pid])
    assert reader.value("select 1") == 1
