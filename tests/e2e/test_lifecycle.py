"""Installing, removing, starting and stopping: the gateway comes with the extension, serves what is there, and leaves cleanly."""

import socket
import threading
import time

import psycopg
import pytest

from harness.caller import Caller, token_caller
from harness.clients import open_socket
from harness.refusal import is_served
from harness.waits import stays_true, wait_until


def reader_in(cluster, database="postgres", role="app"):
    """A role with the tools in a database, and a caller for it."""
    if not cluster.value("select count(*) from pg_roles where rolname = %s", [role]):
        cluster.sql(f"create role {role} login")
    cluster.sql(f"select mcp.grant_tools('{role}'::regrole)", database=database)
    return token_caller(cluster, role, database=database)


def test_create_extension_without_a_restart(new_cluster):
    """From `create extension` to the first answer without touching the server."""
    one = new_cluster(install=False)
    assert one.gateway_pids() == []
    one.sql("create extension supabase_mcp")
    begun = time.monotonic()
    caller = reader_in(one)
    assert wait_until(lambda: caller.value("select 1") == 1, 10, "the first answer")
    # The target is one second; a loaded test machine gets some more.
    assert time.monotonic() - begun < 5
    assert len(one.gateway_pids()) == 1
    assert one.mcp_socket.is_socket() and one.mcp_socket.stat().st_mode & 0o777 == 0o777


def test_started_once(new_cluster):
    """Several databases create the extension at the same time: one gateway serves them all."""
    one = new_cluster(install=False, max_worker_processes=20)
    names = ["postgres", "a", "b", "c"]
    for name in names[1:]:
        one.sql(f"create database {name}")
    failures = []

    def install(name):
        try:
            one.sql("create extension supabase_mcp", database=name)
        except psycopg.Error as problem:
            # Two sessions may create the shared roles at once; the loser is told and tries again.
            failures.append((name, problem))

    threads = [threading.Thread(target=install, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, _ in failures:
        one.sql("create extension supabase_mcp", database=name)
    one.ready()
    for name in names:
        caller = reader_in(one, name)
        assert caller.value("select current_database()") == name
    stays_true(lambda: len(one.gateway_pids()) == 1, 1, "one gateway")


def test_asking_for_the_library_again_starts_no_second_gateway(new_cluster):
    one = new_cluster()
    pids = one.gateway_pids()
    for _ in range(3):
        one.sql("load 'supabase_mcp'; select mcp._start()")
    assert one.gateway_pids() == pids and len(pids) == 1


def test_preloaded_library_serves_after_a_restart(new_cluster):
    one = new_cluster(shared_preload_libraries="supabase_mcp")
    caller = reader_in(one)
    assert caller.value("select 1") == 1
    for mode in ("fast", "immediate"):
        one.restart(mode)
        one.ready()
        assert caller.fresh_rpc("tools/list").status == 200
        assert len(one.gateway_pids()) == 1


def test_preloaded_library_without_the_extension_is_idle(new_cluster):
    one = new_cluster(install=False, shared_preload_libraries="supabase_mcp")
    wait_until(lambda: len(one.gateway_pids()) == 1, 10, "the gateway starts with the server")
    response = Caller(one).fresh_rpc("tools/list")
    assert response.status in (401, 404, 503) and response.body
    one.sql("create extension supabase_mcp")
    caller = reader_in(one)
    assert wait_until(lambda: is_served(caller), 10, "service once the extension is there")


def test_not_preloaded_gateway_is_gone_after_a_restart(new_cluster):
    one = new_cluster()
    one.restart()
    assert one.gateway_pids() == []
    assert not one.mcp_socket.exists()


def test_second_database(new_cluster):
    one = new_cluster()
    one.sql("create database other")
    one.sql("create extension supabase_mcp", database="other")
    here, there = reader_in(one), reader_in(one, "other")
    assert here.value("select current_database()") == "postgres"
    assert there.value("select current_database()") == "other"
    # A token lives in its database.
    assert not is_served(Caller(one, there.headers)) and not is_served(Caller(one, here.headers, database="other"))


def test_drop_and_create_again(new_cluster):
    one = new_cluster()
    caller = reader_in(one)
    for _ in range(2):
        assert caller.value("select 1") == 1
        one.sql("drop extension supabase_mcp")
        assert not is_served(caller)
        one.sql("create extension supabase_mcp")
        one.ready()
        assert not is_served(caller), "tokens went with the extension"
        caller = reader_in(one)


def test_gateway_ends_when_no_database_has_the_extension(new_cluster):
    one = new_cluster()
    reader_in(one).value("select 1")
    one.sql("drop extension supabase_mcp")
    wait_until(lambda: one.gateway_pids() == [] and not one.executors(), 90, "the gateway leaves")
    assert not one.mcp_socket.exists()
    one.sql("create extension supabase_mcp")
    one.ready()


def test_drop_extension_while_a_call_runs(new_cluster):
    one = new_cluster()
    caller = reader_in(one)
    with caller.line() as busy:
        number = busy.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(2), 'done'"}})
        wait_until(lambda: [row for row in one.executors() if row[4] == "active"], 10, "a running call")
        one.sql("set lock_timeout = '20s'; drop extension supabase_mcp")
        answer = busy.finish(number)
        assert "result" in answer or "error" in answer
    assert not is_served(caller)


@pytest.mark.parametrize("how", ["plain after drain", "force", "plain"])
def test_drop_database_while_serving(new_cluster, how):
    one = new_cluster()
    one.sql("create database other")
    one.sql("create extension supabase_mcp", database="other")
    here, there = reader_in(one), reader_in(one, "other")
    assert there.value("select 1") == 1
    if how == "plain after drain":
        one.sql("select mcp.drain('other')")
        one.sql("drop database other")
    elif how == "force":
        one.sql("drop database other with (force)")
    else:
        # Idle processes leave by themselves when somebody wants the database: no switch needed, or Postgres' own error.
        try:
            one.sql("drop database other")
        except psycopg.errors.ObjectInUse:
            one.sql("drop database other with (force)")
    assert not is_served(there)
    assert here.value("select 1") == 1
    one.sql("create database other")
    assert not is_served(there)


def test_create_database_from_a_served_template(new_cluster):
    one = new_cluster()
    one.sql("create database other")
    one.sql("create extension supabase_mcp", database="other")
    reader_in(one, "other").value("select 1")
    one.sql("select mcp.drain('other')")
    one.sql("create database copy template other")


def test_idle_executors_leave(new_cluster):
    """So that DROP DATABASE and the like are not blocked for ever."""
    one = new_cluster(supabase_mcp__executor_idle_timeout="1s")
    reader_in(one).value("select 1")
    wait_until(lambda: not one.executors(), 15, "idle executors leave")
    children = "select count(*) from pg_stat_activity where backend_type like 'supabase_mcp%' and datname is not null"
    wait_until(lambda: one.value(children) == 0, 90, "no process of ours sits in a database")


def load(caller, stop, failures):
    """Calls in a loop until told to stop; a refused connection ends it."""
    while not stop.is_set():
        try:
            caller.fresh_rpc("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(0.05)"}})
        except OSError:
            return
        except Exception as problem:
            failures.append(problem)
            return


@pytest.mark.parametrize("mode", ["fast", "immediate", "smart"])
def test_stop_under_load(new_cluster, mode):
    """pg_ctl stop -m fast under load in less than 3 s; no socket file stays, no process stays."""
    one = new_cluster()
    callers = [reader_in(one, role=f"app{n}") for n in range(3)]
    sleeper = callers[0].line()
    sleeper.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(60)"}})
    stop, failures = threading.Event(), []
    threads = [threading.Thread(target=load, args=(caller, stop, failures)) for caller in callers]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(one.executors()) >= 2, 10, "executors at work")
    pids = one.gateway_pids() + [row[0] for row in one.executors()]
    begun = time.monotonic()
    one.stop(mode, timeout=60)
    took = time.monotonic() - begun
    stop.set()
    for thread in threads:
        thread.join()
    sleeper.close()
    assert took < 3, f"pg_ctl stop -m {mode} took {took:.1f} s"
    if mode != "immediate":
        assert not one.mcp_socket.exists()
    wait_until(lambda: not any(alive(pid) for pid in pids), 5, "all processes are gone")
    # A socket file that an immediate stop may leave is no obstacle.
    one.start()
    one.sql("select mcp._start()")
    one.ready()


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_stale_socket_is_replaced_and_a_file_is_not(new_cluster):
    one = new_cluster(install=False)
    one.mcp_socket.write_text("not a socket")
    one.sql("create extension supabase_mcp")
    wait_until(lambda: "not a socket" in one.log() or str(one.mcp_socket) in one.log(), 10, "a warning about the file")
    assert one.mcp_socket.read_text() == "not a socket", "a file that is not ours is left alone"


def test_port_taken_is_a_warning_only(new_cluster):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        one = new_cluster(install=False, supabase_mcp__port=taken.getsockname()[1])
        one.port = taken.getsockname()[1]
        one.sql("create extension supabase_mcp")
        one.ready()
        caller = reader_in(one)
        assert caller.value("select 1") == 1, "the Unix socket goes on"
        assert "WARNING" in one.log() and str(one.port) in one.log()


def test_tcp_can_be_switched_off(new_cluster):
    one = new_cluster(supabase_mcp__listen_addresses="")
    with pytest.raises(OSError):
        open_socket(tcp=("127.0.0.1", one.port)).close()
    assert reader_in(one).value("select 1") == 1


def test_socket_can_be_moved_and_closed_to_others(new_cluster):
    one = new_cluster(install=False, supabase_mcp__socket_name="mcp.sock", supabase_mcp__socket_mode="0700")
    one.sql("create extension supabase_mcp")
    path = one.folder / "mcp.sock"
    wait_until(path.is_socket, 10, "the socket at its new name")
    assert path.stat().st_mode & 0o777 == 0o700


def test_old_minor_release_is_warned_about(cluster):
    """The log tells when the server lacks the security fixes that the promises rest on; a current one is not nagged."""
    version = int(cluster.value("show server_version_num"))
    newest_known = {15: 150020, 16: 160016, 17: 170012, 18: 180007}
    warned = "has known holes" in cluster.log()
    assert warned == (version < newest_known[version // 10000]), version


def test_a_line_connection_ends_when_the_gateway_stops(new_cluster):
    one = new_cluster()
    caller = reader_in(one)
    with caller.line() as client:
        assert "result" in client.request("server/discover")
        one.stop()
        client.socket.settimeout(5)
        assert client.socket.recv(100) == b""

