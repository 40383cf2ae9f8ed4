"""Processes that die and slots that run out: a clear error for the calls concerned, and service again soon after."""

import http.client
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from harness.caller import ToolResult, token_caller
from harness.clients import Closed
from harness.cluster import Cluster, pg_config
from harness.refusal import is_served
from harness.waits import wait_until
from harness.world import build_world


@pytest.fixture(scope="module")
def site():
    """A cluster of its own, with the library preloaded so that it comes back after a crash restart."""
    one = Cluster(shared_preload_libraries="supabase_mcp").start()
    one.install()
    build_world(one)
    yield one
    one.remove()


def slow_call(site, caller, mark):
    """A line connection with one running call, and the executor's pid."""
    client = caller.line()
    number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": f"select pg_sleep(25) /* {mark} */"}})
    row = wait_until(lambda: [row for row in site.executors() if mark in (row[5] or "") and row[4] == "active"], 10, "the call runs")[0]
    return client, number, row[0]


def served_again(caller, since, limit):
    """Waits for service and holds the recovery against a limit in seconds."""
    wait_until(lambda: is_served(caller), 30, "service again")
    took = time.monotonic() - since
    assert took < limit, f"service was back after {took:.1f} s"


@pytest.mark.parametrize("form", ["direct", "bridge"])
def test_terminated_executor(site, form):
    """pg_terminate_backend: an error for that call within a second, service goes on at once."""
    caller = token_caller(site, f"reader_{form}")
    client, number, pid = slow_call(site, caller, "terminate me")
    begun = time.monotonic()
    assert site.value("select pg_terminate_backend(%s)", [pid]) is True
    error = ToolResult(client.finish(number)).error
    assert time.monotonic() - begun < 2
    assert "terminat" in error["message"] or error.get("sqlstate") == "57P01"
    assert ToolResult(client.call_tool("execute_sql", {"query": "select 1"})).value == 1
    client.close()


@pytest.mark.parametrize("form", ["direct", "bridge"])
def test_executor_cancelled_by_the_dba(site, form):
    caller = token_caller(site, f"reader_{form}")
    client, number, pid = slow_call(site, caller, "cancel me")
    assert site.value("select pg_cancel_backend(%s)", [pid]) is True
    assert ToolResult(client.finish(number)).error["sqlstate"] == "57014"
    assert ToolResult(client.call_tool("execute_sql", {"query": "select 1"})).value == 1
    client.close()


def test_terminated_idle_executor_is_replaced(site):
    """A call that meets an executor whose end was ordered before is run by another one: it had not begun."""
    caller = token_caller(site, "reader_direct")
    pid = caller.value("select pg_backend_pid()")
    for _ in range(5):
        site.sql("select pg_terminate_backend(%s)", [pid])
        before, pid = pid, caller.value("select pg_backend_pid()")
        assert pid != before


@pytest.mark.parametrize("first", ["the end", "the call"])
def test_call_that_meets_an_executor_about_to_end(site, first):
    """Both lie before the executor when it wakes. A call that it begins may be told of the end, one that it does not is run elsewhere."""
    caller = token_caller(site, "writer_direct")
    site.sql("update shop.counter set n = 0 where name = 'a'")
    for _ in range(10):
        pid = caller.value("select pg_backend_pid()")
        with caller.line() as client:
            os.kill(pid, signal.SIGSTOP)
            try:
                if first == "the end":
                    site.sql("select pg_terminate_backend(%s)", [pid])
                number = client.start("tools/call", {"name": "execute_sql", "arguments": {
                    "query": "update shop.counter set n = n + 1 where name = 'a' returning pg_backend_pid()"}})
                # The gateway counts an executor as busy when it writes to it.
                wait_until(lambda: site.value("select mcp.status()")["executors"]["busy"] == 1, 10, "the call lies in the executor's socket")
                if first == "the call":
                    site.sql("select pg_terminate_backend(%s)", [pid])
            finally:
                os.kill(pid, signal.SIGCONT)
            result = ToolResult(client.finish(number))
            assert result.value != pid, result
    assert site.value("select n from shop.counter where name = 'a'") == 10


def test_terminated_keeper_is_replaced(site):
    caller = token_caller(site, "reader_direct")
    assert caller.value("select 1") == 1
    for (pid,) in site.sql("select pid from pg_stat_activity where backend_type = 'supabase_mcp keeper'"):
        site.sql("select pg_terminate_backend(%s)", [pid])
    assert token_caller(site, "reader_direct").value("select 1") == 1


def test_terminated_gateway_comes_back(site):
    """pg_terminate_backend of the gateway: connections end, a new gateway serves soon, Postgres does not restart."""
    caller = token_caller(site, "reader_direct")
    client, _, _ = slow_call(site, caller, "gateway goes")
    old = site.gateway_pids()
    begun = time.monotonic()
    site.sql("select pg_terminate_backend(%s)", [old[0]])
    with pytest.raises((Closed, OSError)):
        client.receive(10)
    client.close()
    # Postgres restarts a worker after its restart time, a few seconds at the most.
    served_again(caller, begun, 10)
    wait_until(lambda: not [row for row in site.executors() if "gateway goes" in (row[5] or "")], 5, "the orphaned call is gone")
    assert site.gateway_pids() != old


def test_everything_terminated(site):
    caller = token_caller(site, "reader_direct")
    assert caller.value("select 1") == 1
    begun = time.monotonic()
    site.sql("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and backend_type <> 'checkpointer'"
             " and backend_type !~ 'writer|launcher'")
    served_again(caller, begun, 10)


@pytest.mark.restarts
@pytest.mark.parametrize("victim", ["idle executor", "busy executor", "gateway", "keeper"])
def test_kill_9(site, victim):
    """The whole server restarts, by Postgres' own rule; no false success, committed data stays, service comes back."""
    caller, writer = token_caller(site, "reader_direct"), token_caller(site, "writer_direct")
    before = writer.sql("update shop.counter set n = n + 1 where name = 'a' returning n").value
    if victim == "busy executor":
        client, number, pid = slow_call(site, caller, "kill me")
    else:
        client, pid = None, {"idle executor": lambda: caller.value("select pg_backend_pid()"), "gateway": lambda: site.gateway_pids()[0],
                             "keeper": lambda: site.value("select pid from pg_stat_activity where backend_type = 'supabase_mcp keeper' limit 1")}[victim]()
    os.kill(pid, signal.SIGKILL)
    if client is not None:
        try:
            answer = client.finish(number, 15)
            assert "error" in answer or answer["result"]["isError"], "a killed call is no success"
        except (Closed, OSError):
            pass
        client.close()
    site.up()
    begun = time.monotonic()
    served_again(caller, begun, 10)
    assert site.value("select n from shop.counter where name = 'a'") == before
    assert len(site.gateway_pids()) == 1


@pytest.mark.restarts
def test_kill_9_of_a_gateway_that_is_not_preloaded(new_cluster):
    """After a crash restart dynamic workers are forgotten unless they were made to restart: the gateway must come back."""
    one = new_cluster(world=True)
    caller = token_caller(one, "reader_direct")
    assert caller.value("select 1") == 1
    os.kill(one.gateway_pids()[0], signal.SIGKILL)
    one.up()
    wait_until(lambda: is_served(caller), 30, "service again")


@pytest.mark.restarts
def test_no_committed_write_is_called_an_error_and_no_error_is_committed_twice(site):
    """Calls in a loop while an executor is killed: the count in the table is at least the successes, at most all attempts."""
    writer = token_caller(site, "writer_bridge")
    site.sql("update shop.counter set n = 0 where name = 'a'")
    tried = done = 0
    killed = False
    end = time.monotonic() + 30
    while done < 40 and time.monotonic() < end:
        tried += 1
        try:
            response = writer.fresh_rpc("tools/call", {"name": "execute_sql", "arguments": {"query": "update shop.counter set n = n + 1 where name = 'a'"}})
            if response.status == 200 and not ToolResult(response.json()).is_error:
                done += 1
        except (OSError, http.client.HTTPException):
            pass
        if done == 20 and not killed:
            killed = True
            os.kill(site.executors()[0][0], signal.SIGKILL)
            site.up()
    assert done == 40
    assert done <= site.value("select n from shop.counter where name = 'a'") <= tried


@pytest.mark.restarts
def test_postmaster_death_leaves_no_orphans(new_cluster):
    one = new_cluster(world=True)
    caller = token_caller(one, "reader_direct")
    client, _, _ = slow_call(one, caller, "orphan")
    pids = one.gateway_pids() + [row[0] for row in one.executors()]
    postmaster = int((one.data / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGKILL)
    one.running = False
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), 10, "gateway and executors notice")
    client.close()
    begun = time.monotonic()
    one.start()
    one.sql("select mcp._start()")
    served_again(caller, begun, 15)


# ---- no slots

def test_more_roles_than_executors(new_cluster):
    """Eight roles at once with four executors: all are served, idle processes of others give way."""
    one = new_cluster(world=True)
    for n in range(1, 9):
        one.sql(f"create role r{n} login")
        one.sql(f"select mcp.grant_tools('r{n}'::regrole)")
    callers = [token_caller(one, f"r{n}") for n in range(1, 9)]
    answers = []

    def run(caller, role):
        for _ in range(5):
            answers.append((role, caller.value("select current_user::text")))

    threads = [threading.Thread(target=run, args=(caller, caller.role)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 40 and all(role == seen for role, seen in answers)
    assert len(one.executors()) <= 4


def test_queue_is_bounded_in_time_and_length(new_cluster):
    one = new_cluster(world=True, supabase_mcp__max_executors=1, supabase_mcp__queue_timeout="1s", supabase_mcp__queue_length=2)
    caller, other = token_caller(one, "reader_direct"), token_caller(one, "writer_direct")
    client, number, _ = slow_call(one, caller, "hog")
    begun = time.monotonic()
    response = other.fresh_rpc("tools/call", {"name": "execute_sql", "arguments": {"query": "select 1"}})
    assert time.monotonic() - begun < 5
    assert b"busy" in response.body and b"supabase_mcp.max_executors" in response.body, response
    numbers = [client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select 1"}}) for _ in range(6)]
    first = client.receive(5)
    assert first["id"] in numbers and "wait" in str(first) and "busy" in str(first), first
    client.notify("notifications/cancelled", {"requestId": number})
    wait_until(lambda: is_served(other), 10, "the queue moves again")
    client.close()


def test_one_role_cannot_starve_another(new_cluster):
    """A role with many waiting calls does not keep others waiting behind all of them."""
    one = new_cluster(world=True, supabase_mcp__max_executors=2)
    greedy, modest = token_caller(one, "reader_direct"), token_caller(one, "writer_direct")
    with greedy.line() as client:
        for _ in range(30):
            client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(0.3)"}})
        wait_until(lambda: one.executors(), 10, "the greedy one is at work")
        begun = time.monotonic()
        assert modest.value("select 1") == 1
        # Behind all thirty it would take 4.5 s and more.
        assert time.monotonic() - begun < 3


def test_worker_slots_exhausted(new_cluster):
    """max_worker_processes is used up by others: a clear error that names the setting, and service when a slot is free."""
    one = new_cluster(world=True, max_worker_processes=3)
    caller, other, third = (token_caller(one, role) for role in ("reader_direct", "writer_direct", "reader_bridge"))
    # Gateway, logical replication launcher and keeper take slots too, so at most one or none is left for executors.
    client = None
    try:
        response = caller.fresh_rpc("tools/call", {"name": "execute_sql", "arguments": {"query": "select 1"}})
        if response.status == 200 and b'"isError":true' not in response.body:
            client, _, _ = slow_call(one, caller, "last slot")
            begun = time.monotonic()
            response = other.fresh_rpc("tools/call", {"name": "execute_sql", "arguments": {"query": "select 1"}})
            assert time.monotonic() - begun < 15
        assert b"max_worker_processes" in response.body, response
    finally:
        if client is not None:
            client.close()
    if client is not None:
        wait_until(lambda: is_served(third), 15, "service when a slot is free")


def test_role_dropped_between_sign_in_and_start(site):
    """The executor cannot connect any more: an error with the cause, no storm of retries."""
    site.sql("create role fleeting login; select mcp.grant_tools('fleeting'::regrole)")
    caller = token_caller(site, "fleeting")
    with caller.line() as client:
        site.sql("drop owned by fleeting; drop role fleeting")
        answer = client.call_tool("execute_sql", {"query": "select 1"})
        assert "error" in answer or ToolResult(answer).is_error
    assert len(site.log().splitlines()) < 20_000


def test_bad_preload_library_of_a_role_is_an_error_of_its_calls(site):
    """session_preload_libraries that cannot load is FATAL for that role's executors, and nobody else's problem."""
    site.sql("create role preloaded login; select mcp.grant_tools('preloaded'::regrole);"
             "alter role preloaded set session_preload_libraries = 'no_such_library'")
    caller = token_caller(site, "preloaded")
    assert not is_served(caller)
    assert token_caller(site, "reader_direct").value("select 1") == 1
    site.sql("alter role preloaded reset session_preload_libraries")
    assert is_served(caller)


@pytest.mark.skipif(not (Path(pg_config("pkglibdir")) / "auto_explain.so").exists(), reason="this PostgreSQL has no auto_explain")
def test_session_preload_libraries_are_loaded(site):
    site.sql("create role explained login; select mcp.grant_tools('explained'::regrole);"
             "alter role explained set session_preload_libraries = 'auto_explain'")
    caller = token_caller(site, "explained")
    assert caller.value("select count(*) from pg_settings where name like 'auto_explain.%'") > 0
