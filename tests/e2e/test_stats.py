"""The statistics: mcp.stat_tools, mcp.stat_callers, mcp.stat_gateway and their reset, across restarts, and who may read them."""

import os
import signal
import threading

import pytest

from harness.caller import token_caller
from harness.clients import HttpClient, bearer, open_socket
from harness.cluster import Cluster
from harness.waits import stays_true, wait_until
from harness.world import build_world


@pytest.fixture(scope="module")
def site():
    """A cluster of its own, preloaded: the numbers are those of the whole server, and have to outlive it."""
    one = Cluster(shared_preload_libraries="supabase_mcp", supabase_mcp__max_executors=2, max_worker_processes=16).start()
    one.install()
    build_world(one)
    yield one
    one.remove()


@pytest.fixture(autouse=True)
def from_zero(site):
    site.sql("select mcp.stat_reset()")


@pytest.fixture(scope="module")
def direct(site):
    return token_caller(site, "reader_direct")


@pytest.fixture(scope="module")
def bridge(site):
    return token_caller(site, "writer_bridge")


def columns(one, view, wanted, where="true", **options):
    rows = one.sql(f"select {wanted} from mcp.{view} where {where}", **options)
    assert len(rows) == 1, rows
    return rows[0]


def tool(one, name, wanted="calls", **options):
    return columns(one, "stat_tools", wanted, f"tool = '{name}'", **options)


def test_calls_are_counted_by_tool(site, direct):
    for _ in range(5):
        assert direct.value("select 1") == 1
    assert direct.sqlstate("select 1/0") == "22012"
    direct.tool("list_tables", {"schemas": ["shop"]}).data
    assert tool(site, "execute_sql", "database, method, calls, errors, refusals, timeouts, cancellations, terminations") == (
        "postgres", "tools/call", 6, 1, 0, 0, 0, 0)
    assert tool(site, "execute_sql", "rows") == (5,)
    assert tool(site, "list_tables", "calls, errors") == (1, 0)
    sane = "p50_ms > 0 and p50_ms <= p95_ms and p95_ms <= p99_ms and p99_ms <= max_ms and max_ms <= total_ms and run_ms > 0 and queue_ms >= 0"
    # The rest is the way of the answer.
    sane += " and run_ms + queue_ms <= total_ms + 0.02 and mean_ms between 0 and max_ms and bytes > 6 * 10"
    assert tool(site, "execute_sql", sane) == (True,)


def test_calls_are_counted_by_caller(site, direct, bridge):
    direct.value("select 1")
    bridge.value("select 1")
    bridge.value("select 1")
    number = site.value("select id from mcp.tokens where role = 'reader_direct'::regrole")
    assert columns(site, "stat_callers", "principal, client, calls", "role = 'reader_direct'") == (f"token:{number}", "e2e 1.0", 1)
    assert columns(site, "stat_callers", "calls, errors", "role = 'writer_bridge'") == (2, 0)
    assert columns(site, "stat_gateway", "calls, errors") == (3, 0)


def test_times_tell_a_slow_call(site, direct):
    direct.value("select pg_sleep(0.5)")
    for _ in range(20):
        direct.value("select 1")
    # Slow is what sleeps; how fast the others are is not this test's business, but half of them cannot have slept.
    assert tool(site, "execute_sql", "p99_ms >= 495 and max_ms >= 500 and total_ms >= 500 and run_ms >= 500") == (True,)
    assert tool(site, "execute_sql", "p99_ms > p50_ms") == (True,)


def test_time_waits_and_cold_starts_are_told_apart(site, direct, bridge):
    """Two processes at most: the third caller's makes room, and while both work the next call waits."""
    other = token_caller(site, "writer_direct")
    for caller in (direct, bridge, other, direct, bridge, other):
        assert caller.value("select 1") == 1
    cold, evictions = columns(site, "stat_gateway", "cold_starts, evictions")
    assert cold >= 2 and evictions >= 2, "three callers cannot have kept a process each"
    with site.connect(autocommit=False) as holder:
        holder.execute("lock table shop.counter in access exclusive mode")
        waiting = [threading.Thread(target=caller.fresh_rpc, args=("tools/call", {"name": "execute_sql", "arguments": {"query": query}}))
                   for caller, query in [(direct, "select * from shop.counter"), (bridge, "select * from shop.counter"), (other, "select 1")]]
        for thread in waiting[:2]:
            thread.start()
        wait_until(lambda: site.value("select mcp.status()")["executors"]["busy"] == 2, 20, "both processes work")
        waiting[2].start()
        wait_until(lambda: columns(site, "stat_gateway", "queue_waits")[0] >= 1, 20, "the third waits")
        holder.rollback()
    for thread in waiting:
        thread.join()
    assert columns(site, "stat_callers", "queue_ms > 0 and cold_starts > 0", "role = 'writer_direct'") == (True,)


def test_cancels_timeouts_and_hang_ups(site, direct):
    site.configure(supabase_mcp__statement_timeout=300)
    try:
        wait_until(lambda: direct.sql("select pg_sleep(2)").is_error, 30, "the limit of time counts")
    finally:
        site.configure(supabase_mcp__statement_timeout=None)
    assert columns(site, "stat_gateway", "timeouts >= 1 and cancellations = 0") == (True,)
    wait_until(lambda: not direct.sql("select pg_sleep(0.5)").is_error, 20, "it counts no more")
    running = "select 1 from pg_stat_activity where query like '%sleep well%' and backend_type = 'supabase_mcp executor' and state = 'active'"
    with direct.line() as client:
        number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(20) /* sleep well */"}})
        wait_until(lambda: site.sql(running), 20, "the call runs")
        client.notify("notifications/cancelled", {"requestId": number})
        wait_until(lambda: columns(site, "stat_gateway", "cancellations") == (1,), 20, "the cancel is counted")
    client = direct.line()
    client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(20) /* sleep well */"}})
    wait_until(lambda: site.sql(running), 20, "the call runs")
    client.close()
    wait_until(lambda: columns(site, "stat_gateway", "cancellations") == (2,), 20, "the hang-up is counted")


def test_ended_process_is_counted(site, direct):
    running = "select pid from pg_stat_activity where query like '%end me%' and backend_type = 'supabase_mcp executor' and state = 'active'"
    with direct.line() as client:
        number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(20) /* end me */"}})
        pid = wait_until(lambda: site.sql(running), 20, "the call runs")[0][0]
        site.sql("select pg_terminate_backend(%s)", [pid])
        client.finish(number)
    assert columns(site, "stat_gateway", "calls, terminations, errors") == (1, 1, 0)


# ---- what nobody has

NAMES = ["no_such_tool", 'quote"s', "line\nfeed", "back\\slash", "{}", "x" * 5000, "日本語", "tab\tand\rreturn", "# EOF", 'a",tool="b']


def test_made_up_names_share_a_row(site, direct):
    direct.value("select 1")
    for name in NAMES:
        assert direct.tool(name).message.get("error") or direct.tool(name).is_error
    with direct.line() as client:
        for number in range(300):
            client.call_tool(f"made up {number}", {"a": 1})
    names = [row[0] for row in site.sql("select tool from mcp.stat_tools where method = 'tools/call' order by 1")]
    assert names == ["(unknown)", "execute_sql"]
    assert tool(site, "(unknown)", "calls >= 310 and refusals = calls") == (True,)


def test_made_up_clients_share_a_row(site, direct):
    with HttpClient(unix=site.mcp_socket, headers=direct.headers, modern=False, version="2025-11-25") as client:
        for number in range(30):
            client.headers["User-Agent"] = f"made up {number}"
            client.call_tool("execute_sql", {"query": "select 1"})
    clients = site.sql("select client, calls from mcp.stat_callers where role = 'reader_direct'")
    assert len(clients) <= 10 and dict(clients)["(other)"] >= 20, clients


def test_refused_logins_have_no_row(site):
    for number in range(3):
        with HttpClient(tcp=("127.0.0.1", site.port), path=f"/mcp/made_up_{number}", headers=bearer(f"mcp_wrong{number}")) as client:
            assert client.rpc("tools/list").status in (401, 404)
    assert columns(site, "stat_gateway", "refused_logins >= 1") == (True,)
    assert site.sql("select * from mcp.stat_callers") == [] and site.sql("select * from mcp.stat_tools") == []


# ---- who may read and reset

VIEWS = ("stat_tools", "stat_callers", "stat_gateway")


def test_views_are_for_those_who_watch_the_server(site, direct):
    direct.value("select 1")
    site.sql("create role watcher login in role pg_monitor; create role auditor login in role mcp_auditor;"
             " create role chief login in role mcp_admin; create role passer_by login; grant usage on schema mcp to passer_by")
    for role in ("watcher", "auditor", "chief"):
        with site.connect(user=role) as connection:
            for view in VIEWS:
                assert len(connection.execute(f"select * from mcp.{view}").fetchall()) == 1, (role, view)
    for role in ("passer_by", "reader_direct", "outsider"):
        with site.connect(user=role) as connection:
            for view in VIEWS:
                with pytest.raises(Exception, match="permission denied"):
                    connection.execute(f"select * from mcp.{view}")
            with pytest.raises(Exception, match="permission denied"):
                connection.execute("select mcp._stat('tools')")
    assert direct.sqlstate("select * from mcp.stat_tools") == "42501"


def test_who_reads_cannot_command(site, direct):
    direct.value("select 1")
    site.sql("create role reading login in role pg_monitor, mcp_auditor")
    with site.connect(user="reading") as connection:
        for call in ("stat_reset()", "_admin('off', null)", "_admin('stat_reset', null)", "off()"):
            with pytest.raises(Exception, match="permission denied"):
                connection.execute(f"select mcp.{call}")
        for part in ("reset", "gateway'", "", "tools\x01", "Tools"):
            assert connection.execute("select mcp._stat(%s)", [part]).fetchone() == (None,)
    assert tool(site, "execute_sql") == (1,)


def test_administrator_resets_all(site, direct):
    direct.value("select 1")
    before = columns(site, "stat_gateway", "stats_since")
    with site.connect(user="postgres") as connection:
        connection.execute("create role resetting login in role mcp_admin")
    with site.connect(user="resetting") as connection:
        connection.execute("select mcp.stat_reset()")
    assert site.sql("select * from mcp.stat_tools") == [] and site.sql("select * from mcp.stat_callers") == []
    after = columns(site, "stat_gateway", "calls, connections, p99_ms, max_ms, stats_since")
    assert after[:4] == (0, 0, 0, 0) and after[4] > before[0]


def test_each_database_sees_its_own(site, direct):
    site.sql("create database second")
    site.sql("create extension supabase_mcp; select mcp.grant_tools('reader_direct')", database="second")
    there = token_caller(site, "reader_direct", database="second")
    there.value("select 1")
    there.value("select 1")
    direct.value("select 1")
    assert tool(site, "execute_sql", "database, calls") == ("postgres", 1)
    assert tool(site, "execute_sql", "database, calls", database="second") == ("second", 2)
    assert columns(site, "stat_callers", "calls", database="second") == (2,)
    assert columns(site, "stat_gateway", "calls", database="second") == (3,)


def test_every_view_and_column_is_described(site):
    lacking = site.sql("select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
                       " where c.relnamespace = 'mcp'::regnamespace and c.relname like 'stat\\_%'"
                       " and (col_description(c.oid, a.attnum) is null or obj_description(c.oid, 'pg_class') is null)")
    assert lacking == []


# ---- from one life to the next

def kept(one):
    return (tool(one, "execute_sql", "calls, bytes, total_ms, p50_ms, max_ms, queue_ms"),
            columns(one, "stat_callers", "principal, calls", "role = 'reader_direct'"),
            columns(one, "stat_gateway", "calls, stats_since, cold_starts"))


def test_numbers_outlive_the_gateway(site, direct):
    for _ in range(3):
        direct.value("select 1")
    before, gateway = kept(site), site.gateway_pids()
    connections = columns(site, "stat_gateway", "connections")[0]
    site.sql("select pg_terminate_backend(%s)", gateway)
    wait_until(lambda: site.gateway_pids() not in ([], gateway), 20, "another gateway")
    site.ready()
    assert kept(site) == before
    assert columns(site, "stat_gateway", "connections")[0] > connections, "counters of events go on as well"
    direct.value("select 1")
    assert tool(site, "execute_sql") == (4,)


@pytest.mark.parametrize("mode", ["fast", "smart"])
def test_numbers_outlive_the_server(site, direct, mode):
    direct.value("select 1")
    before = kept(site)
    site.restart(mode)
    site.ready()
    assert kept(site) == before


def test_file_is_kept_current(site, direct):
    """What a crash would leave: the file has the calls some seconds later, without any stop."""
    direct.value("select 1")
    file = site.data / "supabase_mcp.stat"
    wait_until(lambda: '"execute_sql"' in file.read_text(), 30, "the call is in the file")
    assert file.stat().st_mode & 0o077 == 0
    assert not (site.data / "supabase_mcp.stat.new").exists()


@pytest.mark.restarts
def test_crash_costs_seconds_at_the_most(site, direct):
    direct.value("select 1")
    file = site.data / "supabase_mcp.stat"
    wait_until(lambda: '"execute_sql"' in file.read_text(), 30, "the call is in the file")
    os.kill(site.gateway_pids()[0], signal.SIGKILL)
    site.up()
    site.ready(30)
    assert tool(site, "execute_sql") == (1,)


@pytest.mark.parametrize("content", [b"", b"something else", b"\x00" * 4096, "half", "flipped"], ids=["empty", "foreign", "zeros", "half", "flipped"])
def test_bad_file_is_left_behind(site, direct, content):
    direct.value("select 1")
    site.stop()
    file = site.data / "supabase_mcp.stat"
    good = file.read_bytes()
    if content == "half":
        content = good[:len(good) // 2]
    elif content == "flipped":
        content = good.replace(b'"execute_sql"', b'"execute_sqk"')
        assert content != good
    file.write_bytes(content)
    lines = site.log().count('the statistics in "supabase_mcp.stat" are not used')
    site.start()
    site.ready()
    assert site.log().count('the statistics in "supabase_mcp.stat" are not used') == lines + 1
    assert site.sql("select * from mcp.stat_tools") == []
    direct.value("select 1")
    assert tool(site, "execute_sql") == (1,)


# ---- what the log says

def test_full_queue_is_one_line(site, direct):
    site.configure(supabase_mcp__queue_length=0)
    other = token_caller(site, "writer_direct")
    seen = site.log().count('"event":"queue_full"')
    try:
        with site.connect(autocommit=False) as holder:
            holder.execute("lock table shop.counter in access exclusive mode")
            held = [threading.Thread(target=direct.fresh_rpc, args=("tools/call", {"name": "execute_sql", "arguments": {"query": "select * from shop.counter"}}))
                    for _ in range(2)]
            for thread in held:
                thread.start()
            wait_until(lambda: site.value("select mcp.status()")["executors"]["busy"] == 2, 20, "both processes work")
            for _ in range(10):
                assert other.sql("select 1").error["kind"] == "busy"
            holder.rollback()
        for thread in held:
            thread.join()
    finally:
        site.configure(supabase_mcp__queue_length=None)
    assert columns(site, "stat_gateway", "queue_full, refusals") == (10, 10)
    wait_until(lambda: site.log().count('"event":"queue_full"') == seen + 1, 10, "the line is in the log")
    stays_true(lambda: site.log().count('"event":"queue_full"') == seen + 1, 0.5, "one line for all")
    line = [line for line in site.log().splitlines() if '"event":"queue_full"' in line][-1]
    assert '"role":"writer_direct"' in line and '"count":1' in line and "supabase_mcp.queue_length" in line


def test_refused_connections_are_told(site, direct):
    def refused():
        with open_socket(unix=site.mcp_socket) as late:
            late.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return b"503" in late.recv(100)

    with direct.connect() as client:
        assert client.request("GET", "/healthz").status == 200
        site.configure(supabase_mcp__max_connections=1)
        try:
            wait_until(refused, 10, "a connection is refused")
        finally:
            site.configure(supabase_mcp__max_connections=None)
    wait_until(lambda: '"event":"refused_connection"' in site.log(), 10, "the line is in the log")
    assert columns(site, "stat_gateway", "refused_connections >= 1") == (True,)


def test_calls_that_waited_in_vain_are_told(site, direct):
    site.configure(supabase_mcp__queue_timeout=100)
    other = token_caller(site, "writer_direct")
    try:
        with site.connect(autocommit=False) as holder:
            holder.execute("lock table shop.counter in access exclusive mode")
            held = [threading.Thread(target=direct.fresh_rpc, args=("tools/call", {"name": "execute_sql", "arguments": {"query": "select * from shop.counter"}}))
                    for _ in range(2)]
            for thread in held:
                thread.start()
            wait_until(lambda: site.value("select mcp.status()")["executors"]["busy"] == 2, 20, "both processes work")
            assert "no executor came free" in other.sql("select 1").error["message"]
            holder.rollback()
        for thread in held:
            thread.join()
    finally:
        site.configure(supabase_mcp__queue_timeout=None)
    assert columns(site, "stat_gateway", "queue_timeouts, queue_waits >= 1") == (1, True)
    wait_until(lambda: '"event":"queue_timeout"' in site.log(), 10, "the line is in the log")
