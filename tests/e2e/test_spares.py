"""Spare bridges: a process that waits for the next end user of a role that cannot log in, and what may happen while it waits."""

import itertools
import threading

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.refusal import is_served, refused_with, unauthorized
from harness.waits import stays_true, wait_until
from harness.world import build_world

PID = "select pg_backend_pid()"
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def site():
    """A cluster with room for spares: two of them, so that one is there that is older than any look-up."""
    one = Cluster(max_worker_processes=20, supabase_mcp__max_executors=8, supabase_mcp__spare_bridges=2).start()
    one.install()
    build_world(one)
    yield one
    one.remove()


@pytest.fixture(autouse=True)
def empty(request):
    """Each test begins without any process of ours in a database."""
    if "site" in request.fixturenames:
        request.getfixturevalue("site").sql("select mcp.off(); select mcp.on()")


@pytest.fixture
def late(site):
    """A role that is dropped at the end of the test, if it is still there."""
    name = f"late_{next(numbers)}"
    site.sql(f"create role {name} nologin")
    site.sql("select mcp.grant_tools(role => %s::regrole)", [name])
    yield name
    if site.value("select count(*) from pg_roles where rolname = %s", [name]):
        site.sql(f"drop owned by {name}; drop role {name}")


def end_user(one, role="reader_bridge", **more):
    """Somebody who has never called before."""
    return token_caller(one, role, label=f"end user {next(numbers)}", **more)


def spares(one):
    """Process ids, as the status tells them."""
    return {spare["pid"] for spare in one.value("select mcp.status()")["executors"]["spare"]}


def waiting(one, count):
    return wait_until(lambda: (seen := spares(one)) and len(seen) == count and seen, 10, f"{count} spares")


def lose_process(one, caller):
    """Ends the caller's own process and leaves its login remembered: the next call of it is for a spare."""
    pid = caller.value(PID)
    left = waiting(one, 2)
    assert pid not in left
    one.sql("select pg_terminate_backend(%s, 10000)", [pid])
    return left


# ---- what they are for

def test_a_new_end_user_finds_a_process_waiting(site):
    assert not spares(site)
    end_user(site).value(PID)
    there = waiting(site, 2)
    rows = site.sql("select usename::text, state, application_name, backend_type, backend_start < now() from pg_stat_activity"
                    " where pid = any(%s)", [list(there)])
    assert rows == [("mcp_bridge", "idle", "", "supabase_mcp executor", True)] * 2
    caller = end_user(site)
    assert caller.sql("select pg_backend_pid() = any($1::int[]), session_user::text, current_user::text",
                      [list(there)]).rows == [[True, "reader_bridge", "reader_bridge"]]
    pid = caller.value(PID)
    assert pid in there
    after = waiting(site, 2)
    assert pid not in after and after - there, "the place of the one that was taken is filled"


def test_end_users_never_share_a_process(site):
    """Two roles, many end users at once and again and again: each process has seen one of them."""
    seen, lock = {}, threading.Lock()

    def run(name, caller):
        for _ in range(4):
            pid = caller.value(PID)
            with lock:
                seen.setdefault(pid, set()).add(name)

    callers = {f"{role} {n}": end_user(site, role) for n in range(6) for role in ("reader_bridge", "writer_bridge")}
    threads = [threading.Thread(target=run, args=pair) for pair in callers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert set().union(*seen.values()) == set(callers)
    assert all(len(names) == 1 for names in seen.values()), seen


def test_roles_that_log_in_pay_for_no_spare(site):
    for role in ("reader_direct", "writer_direct"):
        token_caller(site, role).value(PID)
    stays_true(lambda: not spares(site), 1.5, "no spare without a bridge")
    assert {row[1] for row in site.executors()} == {"reader_direct", "writer_direct"}


def test_a_terminated_spare_is_replaced(site):
    end_user(site).value(PID)
    there = waiting(site, 2)
    site.sql("select pg_terminate_backend(pid, 10000) from unnest(%s::int[]) pid", [list(there)])
    caller = end_user(site)
    assert caller.value(PID) not in there
    wait_until(lambda: len(spares(site) - there) == 2, 10, "two others in their place")


def test_switching_them_off_counts_at_once(site):
    caller = end_user(site)
    caller.value(PID)
    waiting(site, 2)
    site.configure(supabase_mcp__spare_bridges=0)
    try:
        wait_until(lambda: not spares(site), 10, "the spares leave")
        caller.value(PID)
        end_user(site).value(PID)
        stays_true(lambda: not spares(site), 1.5, "no spare while they are switched off")
    finally:
        site.configure(supabase_mcp__spare_bridges=2)
    # A call that is earlier than the reload makes no spare.
    wait_until(lambda: caller.value(PID) and len(spares(site)) == 2, 10, "spares again")


# ---- what changes while one waits

def test_settings_of_the_role_that_changed_meanwhile(site, late):
    end_user(site).value(PID)
    there = waiting(site, 2)
    site.sql(f"alter role {late} set search_path = shop, pg_catalog; alter role {late} in database postgres set work_mem = '7MB'")
    caller = end_user(site, late)
    assert caller.sql("select current_setting('search_path'), current_setting('work_mem')").rows == [["shop, pg_catalog", "7MB"]]
    assert caller.value(PID) in there


@pytest.mark.parametrize("whose", ["database postgres", "role all", "role mcp_bridge"])
def test_settings_that_a_connection_begins_with(site, whose):
    """What a process takes on when it connects cannot be taken on later: one that waited through a change is not used."""
    end_user(site).value(PID)
    there = waiting(site, 2)
    site.sql(f"alter {whose} set work_mem = '9MB'")
    try:
        caller = end_user(site)
        assert caller.value("show work_mem") == "9MB"
        assert caller.value(PID) not in there
    finally:
        site.sql(f"alter {whose} reset work_mem")


def test_libraries_for_new_connections_by_reload(site):
    caller = end_user(site)
    caller.value(PID)
    there = waiting(site, 2)
    site.configure(session_preload_libraries="auto_explain")
    try:
        wait_until(lambda: not spares(site) & there, 10, "the spares of before leave")
        loaded = "select count(*) > 0 from pg_settings where name like 'auto_explain.%'"
        assert end_user(site).value(loaded) is True
    finally:
        site.configure(session_preload_libraries=None)


def test_dropped_role(site, late):
    """The login is remembered, and the spare is older than it: only the spare itself can tell that the role is gone."""
    end_user(site).value(PID)
    waiting(site, 2)
    caller = end_user(site, late)
    left = lose_process(site, caller)
    site.sql(f"drop owned by {late}; drop role {late}")
    unauthorized(caller)
    assert not left <= spares(site), "a spare found out"
    assert is_served(end_user(site))


def test_role_that_became_a_superuser_for_a_while(site, late):
    end_user(site).value(PID)
    waiting(site, 2)
    caller = end_user(site, late)
    left = lose_process(site, caller)
    site.sql(f"alter role {late} superuser; alter role {late} set work_mem = '11MB'")
    assert "privileged_roles" in refused_with(caller)
    assert not left <= spares(site), "a spare found out"
    site.sql(f"alter role {late} nosuperuser")
    assert caller.value("show work_mem") == "11MB", "the refused call did not leave a process without the role's settings"


def test_revoked_token(site, late):
    end_user(site).value(PID)
    waiting(site, 2)
    caller = end_user(site, late)
    left = lose_process(site, caller)
    site.sql("select mcp.revoke_token(id) from mcp.tokens where role = %s::regrole", [late])
    unauthorized(caller)
    assert not left <= spares(site), "a spare found out"


def test_revoked_connect(new_cluster):
    one = new_cluster(supabase_mcp__spare_bridges=2, supabase_mcp__max_executors=6, max_worker_processes=16)
    build_world(one)
    end_user(one).value(PID)
    waiting(one, 2)
    caller = end_user(one)
    lose_process(one, caller)
    one.sql("revoke connect on database postgres from public")
    assert "CONNECT" in refused_with(caller)
    one.sql("grant connect on database postgres to reader_bridge")
    assert caller.value("select current_user::text") == "reader_bridge"


def test_extension_made_anew(new_cluster):
    one = new_cluster(world=True)
    end_user(one).value(PID)
    waiting(one, 1)
    # The trail's first batch makes its tables: not at the same time.
    wait_until(lambda: one.value("select count(*) from mcp.audit") > 0, 10, "the call is recorded")
    one.sql("drop extension supabase_mcp; create extension supabase_mcp")
    one.ready()
    one.sql("select mcp.grant_tools(role => 'reader_bridge')")
    caller = end_user(one)
    assert caller.value("select current_user::text") == "reader_bridge"
    assert "execute_sql" in caller.tools()


# ---- places and slots

def test_the_last_place_is_for_calls(new_cluster):
    """With two places a spare would take the last one: none is started, and two end users run side by side."""
    one = new_cluster(world=True, max_worker_processes=8, supabase_mcp__max_executors=2)
    first, second, third = (end_user(one) for _ in range(3))
    pid = first.value(PID)
    stays_true(lambda: not spares(one), 1.5, "the last place stays free")
    assert second.value(PID) != pid and first.value(PID) == pid
    with first.line() as busy, second.line() as too:
        asked = [(client, client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(5)"}}))
                 for client in (busy, too)]
        wait_until(lambda: [row[4] for row in one.executors()] == ["active"] * 2, 10, "two calls at once")
        assert all("result" in client.finish(number) for client, number in asked)
    assert is_served(third) and len(one.executors()) <= 2


def test_a_spare_makes_room_before_a_process_that_serves(new_cluster):
    one = new_cluster(world=True, max_worker_processes=8, supabase_mcp__max_executors=3)
    user = end_user(one)
    pid = user.value(PID)
    waiting(one, 1)
    callers = [token_caller(one, role) for role in ("reader_direct", "writer_direct")]
    own = [caller.value(PID) for caller in callers]
    wait_until(lambda: {row[0] for row in one.executors()} == {pid, *own}, 10, "the spare has made room")
    stays_true(lambda: not spares(one), 1.5, "no spare while every place is taken")
    assert user.value(PID) == pid and [caller.value(PID) for caller in callers] == own


def test_a_spare_gives_its_slot_up(new_cluster):
    """Every slot of max_worker_processes is taken: launcher, gateway, keeper, an executor and a spare."""
    one = new_cluster(world=True, max_worker_processes=5, supabase_mcp__max_executors=4)
    user = end_user(one)
    pid = user.value(PID)
    waiting(one, 1)
    assert token_caller(one, "reader_direct").value("select current_user::text") == "reader_direct"
    assert user.value(PID) == pid and not spares(one)


def test_no_slot_for_a_spare_is_nobodys_trouble(new_cluster):
    one = new_cluster(world=True, max_worker_processes=4)
    user = end_user(one)
    pid = user.value(PID)
    stays_true(lambda: not spares(one) and user.value(PID) == pid, 1.5, "no spare without a slot, and no process ended for one")


# ---- leaving

def test_spares_leave_with_the_last_end_user(new_cluster):
    one = new_cluster(world=True, supabase_mcp__executor_idle_timeout="2s")
    user = end_user(one)
    user.value(PID)
    waiting(one, 1)
    stays_true(lambda: user.value(PID) and len(spares(one)) == 1, 3, "a spare waits as long as bridges are in use")
    wait_until(lambda: not one.executors(), 15, "executors and spares leave")
    stays_true(lambda: not one.executors(), 1.5, "and none comes back")


def test_drain_and_off_send_spares_away(site):
    ours = "select count(*) from pg_stat_activity where backend_type like 'supabase_mcp%' and datname = 'postgres'"
    for switch in ("drain('postgres')", "drain()", "off()"):
        user = end_user(site)
        user.value(PID)
        waiting(site, 2)
        site.sql(f"select mcp.{switch}")
        # Their sockets are closed when it returns; the processes need a moment to leave.
        wait_until(lambda: site.value(ours) == 0, 10, f"all have left after {switch}")
        stays_true(lambda: not site.executors(), 1.5, f"none comes back after {switch}")
        site.sql("select mcp.on()")


@pytest.mark.parametrize("how", ["drained", "drained at once", "force"])
def test_database_is_dropped(site, how):
    site.sql("create database other")
    site.sql("create extension supabase_mcp; select mcp.grant_tools(role => 'reader_bridge')", database="other")
    there, here = end_user(site, database="other"), end_user(site)
    there.value(PID)
    if how != "drained at once":
        # Otherwise one is perhaps on its way just now.
        waiting(site, 2)
    if how != "force":
        site.sql("select mcp.drain('other')")
        site.sql("drop database other")
    else:
        site.sql("drop database other with (force)")
    assert not is_served(there)
    assert here.value("select current_database()") == "postgres"
    wait_until(lambda: {row[2] for row in site.executors()} == {"postgres"}, 10, "only the other database's are left")
