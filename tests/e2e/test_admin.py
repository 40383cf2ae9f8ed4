"""The DBA's switches: status, drain, off, on, and settings that change with a reload."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.caller import token_caller
from harness.clients import HttpClient, LineClient, open_socket
from harness.cluster import Cluster, free_port
from harness.refusal import answer_of, is_served, refused_with
from harness.waits import wait_until
from harness.world import build_world


@pytest.fixture(scope="module")
def site():
    """A cluster of its own: the switches act on the whole server."""
    one = Cluster().start()
    one.install()
    build_world(one)
    yield one
    one.remove()


@pytest.fixture(autouse=True)
def switched_on(site):
    yield
    site.sql("select mcp.on()")


@pytest.fixture(scope="module")
def caller(site):
    return token_caller(site, "reader_direct")


def test_status_tells_what_runs(site, caller):
    assert caller.value("select 1") == 1
    status = site.value("select mcp.status()")
    text = str(status)
    assert str(site.port) in text and str(site.mcp_socket) in text
    assert "postgres" in text and "reader_direct" in text
    assert caller.token not in text


def test_switches_are_the_administrators(site):
    site.sql("create role dba login in role mcp_admin; create role visitor login; grant usage on schema mcp to visitor")
    with site.connect(user="dba") as connection:
        for call in ("status()", "drain('postgres')", "off()", "on()"):
            connection.execute(f"select mcp.{call}")
    with site.connect(user="visitor") as connection:
        for call in ("status()", "drain('postgres')", "off()", "on()", "_start()"):
            with pytest.raises(Exception, match="permission denied"):
                connection.execute(f"select mcp.{call}")


def test_off_refuses_and_on_serves_at_once(site, caller):
    with caller.line() as client:
        assert "result" in client.call_tool("execute_sql", {"query": "select 1"})
        site.sql("select mcp.off()")
        status, result, response = answer_of(caller)
        assert status == 503 or result.is_error, response
        assert b"off" in response.body.lower()
        answer = client.call_tool("execute_sql", {"query": "select 1"})
        assert "error" in answer or answer["result"]["isError"]
        with caller.connect() as http:
            assert http.request("GET", "/readyz").status == 503
            assert http.request("GET", "/healthz").status == 200
    assert not site.executors(), "no executor stays while it is off"
    site.sql("select mcp.on()")
    assert is_served(caller)


def test_drain_empties_a_database_for_a_while(site, caller):
    """The time in which a drained database takes no calls is what a DROP or a copy needs; mcp.on() ends it early."""
    assert caller.value("select 1") == 1
    site.sql("select mcp.drain()")
    ours = "select count(*) from pg_stat_activity where backend_type like 'supabase_mcp%' and datname = 'postgres'"
    assert site.value(ours) == 0, "drain returns when no process of ours is left in the database"
    assert caller.sql("select 1").error["kind"] == "unavailable"
    site.sql("select mcp.on()")
    assert caller.value("select 1") == 1


def test_off_survives_a_restart(new_cluster):
    one = new_cluster(world=True, shared_preload_libraries="supabase_mcp")
    caller = token_caller(one, "reader_direct")
    one.sql("select mcp.off()")
    one.restart()
    wait_until(lambda: answer_of(caller)[0] == 503, 10, "the gateway is there, and switched off")
    one.sql("select mcp.on()")
    assert is_served(caller)


def test_switch_says_when_no_gateway_runs(new_cluster):
    one = new_cluster()
    one.restart()
    for call in ("status()", "drain()", "off()"):
        with pytest.raises(Exception) as seen:
            one.sql(f"select mcp.{call}")
        assert "gateway" in str(seen.value) or "not running" in str(seen.value)
    one.sql("select mcp._start()")
    one.ready()


# ---- reload

def test_reload_changes_limits_without_dropping_connections(site, caller):
    with caller.line() as client:
        assert "result" in client.call_tool("execute_sql", {"query": "select 1"})
        site.configure(supabase_mcp__max_rows=2)
        wait_until(lambda: len(caller.sql("select generate_series(1, 5)").rows) == 2, 10, "the new limit")
        site.configure(supabase_mcp__max_rows=None)
        wait_until(lambda: len(caller.sql("select generate_series(1, 5)").rows) == 5, 10, "the old limit")
        assert "result" in client.call_tool("execute_sql", {"query": "select 1"}), "the connection lives on"


def test_reload_moves_the_port(site, caller):
    new, old = free_port(), site.port
    site.configure(supabase_mcp__port=new)
    try:
        wait_until(lambda: open_socket(tcp=("127.0.0.1", new), deadline=2).close() is None, 10, "the new port")
        wait_until(lambda: not reachable(old), 10, "the old port is closed")
        moved = site.folder / f".s.MCP.{new}"
        wait_until(moved.is_socket, 10, "the socket moves with the port")
        wait_until(lambda: not (site.folder / f".s.MCP.{old}").exists(), 10, "the old socket file is gone")
    finally:
        site.configure(supabase_mcp__port=old)
    wait_until(lambda: is_served(caller), 10, "service on the old port again")


def reachable(port):
    try:
        open_socket(tcp=("127.0.0.1", port), deadline=2).close()
        return True
    except OSError:
        return False


def test_reload_switches_tcp_off_and_on(site):
    site.configure(supabase_mcp__listen_addresses="")
    wait_until(lambda: not reachable(site.port), 10, "TCP is off")
    site.configure(supabase_mcp__listen_addresses=None)
    wait_until(lambda: reachable(site.port), 10, "TCP is on")


def test_allowed_host_by_reload(site, caller):
    def status():
        with HttpClient(tcp=("127.0.0.1", site.port), headers={**caller.headers, "Host": "db.example"}) as client:
            return client.rpc("tools/list").status

    assert status() == 403
    site.configure(supabase_mcp__allowed_hosts="other.example, db.example")
    wait_until(lambda: status() == 200, 10, "the allowed host")
    site.configure(supabase_mcp__allowed_hosts=None)
    wait_until(lambda: status() == 403, 10, "the host is foreign again")


def test_login_that_spans_a_reload_goes_by_the_new_rules(site):
    """The keeper is held up while it looks a token up, and the setting that allowed its role is taken back meanwhile."""
    site.sql("create role overseer login bypassrls; select mcp.grant_tools('overseer')")
    caller = token_caller(site, "overseer")
    site.configure(supabase_mcp__privileged_roles="overseer")
    wait_until(lambda: is_served(caller), 10, "the role is served, and has an executor of its own")
    waiting = "select 1 from pg_locks l join pg_stat_activity a using (pid) where not l.granted and a.backend_type = 'supabase_mcp keeper'"
    try:
        # What tells that the gateway has reloaded. Each reload also makes it forget who logged in.
        site.configure(supabase_mcp__listen_addresses="")
        wait_until(lambda: not reachable(site.port), 10, "TCP is off")
        with site.connect(autocommit=False) as holder, ThreadPoolExecutor(1) as other:
            holder.execute("lock table mcp._tokens in access exclusive mode")
            first = other.submit(answer_of, caller)
            wait_until(lambda: site.sql(waiting), 10, "the keeper waits for the table")
            site.configure(supabase_mcp__privileged_roles=None, supabase_mcp__listen_addresses=None)
            wait_until(lambda: reachable(site.port), 10, "TCP is on")
            holder.rollback()
            first.result()
        refused_with(caller)
    finally:
        site.configure(supabase_mcp__privileged_roles=None, supabase_mcp__listen_addresses=None)
        wait_until(lambda: reachable(site.port), 10, "TCP is on")


def test_bad_setting_is_refused_and_service_goes_on(site, caller):
    for name, value in {"port": "99999", "max_executors": "0", "socket_mode": "rwx", "max_rows": "-1"}.items():
        site.configure(**{f"supabase_mcp__{name}": value})
        assert caller.value("select 1") == 1
        site.configure(**{f"supabase_mcp__{name}": None if name != "port" else site.port})
    wait_until(lambda: is_served(caller), 10, "service with the old settings")


def test_bad_socket_mode_closes_rather_than_opens(site, caller):
    site.configure(supabase_mcp__socket_mode="rwx")
    wait_until(lambda: site.mcp_socket.stat().st_mode & 0o777 == 0o700, 10, "a socket for the server's own user")
    site.configure(supabase_mcp__socket_mode=None)
    wait_until(lambda: site.mcp_socket.stat().st_mode & 0o777 == 0o777, 10, "the default mode")


def test_reload_storm_loses_no_call(site, caller):
    with site.connect() as connection:
        for _ in range(50):
            connection.execute("select pg_reload_conf()")
            assert caller.value("select 1") == 1


def test_all_interfaces_need_a_host_list(new_cluster):
    """'*' is for containers: still 403 for hosts not on the list, and a credential is always needed."""
    one = new_cluster(world=True, supabase_mcp__listen_addresses="*", supabase_mcp__anonymous_role="reader_bridge")
    with LineClient(tcp=("127.0.0.1", one.port), upgrade="/mcp") as client:
        assert client.upgrade_status in (401, 101)
    response = token_caller(one, "reader_direct", tcp=True).fresh_rpc("tools/list")
    assert response.status == 200
