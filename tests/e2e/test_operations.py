"""Sessions, locks, signals and progress: with real sessions that really hold locks, as ordinary roles and as ones with the rights."""


import pytest

from harness.caller import token_caller
from harness.sessions import Session
from harness.waits import wait_until

TOOLS = ["check_health", "list_activity", "list_locks", "cancel_query", "terminate_session", "get_replication", "list_sizes", "list_progress",
         "list_settings"]


@pytest.fixture(scope="module")
def ops(cluster):
    cluster.sql("""
        create role ops_plain login; create role ops_other login;
        create role ops_monitor_direct login; create role ops_monitor_bridge nologin;
        create role ops_signaller login;
        grant pg_monitor to ops_monitor_direct, ops_monitor_bridge, ops_signaller;
        grant pg_signal_backend to ops_signaller;
        select mcp.grant_tools(r::regrole, write => true)
          from unnest('{ops_plain,ops_other,ops_monitor_direct,ops_monitor_bridge,ops_signaller}'::text[]) r;
        create schema ops;
        create table ops."My ""Table" (id int primary key, n int default 0);
        insert into ops."My ""Table" select generate_series(1, 9);
        create table ops.big (t text);
        insert into ops.big select repeat('x', 1000) from generate_series(1, 4000);
        grant usage on schema ops to ops_plain, ops_other, ops_monitor_direct;
        grant all on all tables in schema ops to ops_plain, ops_other""")
    yield cluster
    cluster.sql("""
        drop schema ops cascade;
        delete from mcp._tokens where role::text like 'ops\\_%';
        do $$ declare r text; begin
            foreach r in array '{ops_plain,ops_other,ops_monitor_direct,ops_monitor_bridge,ops_signaller}'::text[] loop
                execute format('drop owned by %I', r);
                execute format('drop role %I', r);
            end loop;
        end $$""")


@pytest.fixture
def plain(ops):
    return token_caller(ops, "ops_plain")


@pytest.fixture
def signaller(ops):
    return token_caller(ops, "ops_signaller")


@pytest.fixture
def monitor(ops, form):
    return token_caller(ops, f"ops_monitor_{form}", form=form)


def by_pid(items):
    return {item["pid"]: item for item in items}


# ---- how they are listed

def test_entries_say_what_they_change(ops, plain):
    tools = plain.tools(features="operations")
    assert set(tools) >= set(TOOLS)
    for name in TOOLS:
        changes = name in ("cancel_query", "terminate_session")
        assert tools[name]["annotations"]["readOnlyHint"] is not changes
        assert tools[name]["annotations"]["destructiveHint"] is changes


def test_who_may_only_read_signals_nobody(reader):
    listed = set(reader.tools(features="operations"))
    assert listed >= set(TOOLS) - {"cancel_query", "terminate_session"} and not listed & {"cancel_query", "terminate_session"}
    assert "there is no tool" in reader.tool("cancel_query", {"pid": 1}).protocol_error["message"]


# ---- list_activity

def test_activity_shows_long_transactions_first(ops, monitor):
    with Session(ops, "ops_plain", name="ops idler") as idler, Session(ops, "ops_other", name="ops worker") as worker, Session(ops) as quiet:
        idler.run("begin; select 'of the idler'")
        worker.start("select pg_sleep(600), 'of the worker'").runs()
        data = monitor.tool("list_activity").data
        seen = by_pid(data["sessions"])
        assert quiet.pid not in seen and "not_visible" not in data and data["total"] == len(data["sessions"])
        assert seen[idler.pid]["state"] == "idle in transaction" and seen[idler.pid]["idle_seconds"] >= 0
        assert seen[idler.pid]["user"] == "ops_plain" and seen[idler.pid]["application"] == "ops idler"
        assert seen[idler.pid]["client"] == "local socket" and seen[idler.pid]["database"] == "postgres"
        assert seen[worker.pid]["query"] == "select pg_sleep(600), 'of the worker'" and seen[worker.pid]["wait"] == "Timeout: PgSleep"
        assert seen[worker.pid]["query_seconds"] >= 0 and "idle_seconds" not in seen[worker.pid]
        order = [item["pid"] for item in data["sessions"]]
        assert order.index(idler.pid) < order.index(worker.pid)

        assert {idler.pid, worker.pid, quiet.pid} <= set(by_pid(monitor.tool("list_activity", {"state": "any"}).data["sessions"]))
        only = by_pid(monitor.tool("list_activity", {"state": "idle in transaction"}).data["sessions"])
        assert idler.pid in only and worker.pid not in only
        assert quiet.pid in by_pid(monitor.tool("list_activity", {"state": "idle"}).data["sessions"])
        assert monitor.tool("list_activity", {"min_duration": "PT1H"}).data["sessions"] == []
        one = monitor.tool("list_activity", {"max_sessions": 1}).data
        assert len(one["sessions"]) == 1 and one["truncated"] is True and one["total"] >= 2
        assert not [item for item in monitor.tool("list_activity", {"state": "any"}).data["sessions"] if item.get("kind") == "supabase_mcp gateway"]


def test_activity_of_an_ordinary_role_is_its_own(ops, plain):
    with Session(ops, "ops_plain") as own, Session(ops, "ops_other") as other:
        own.start("select pg_sleep(600)").runs()
        other.start("select pg_sleep(600)").runs()
        data = plain.tool("list_activity").data
        assert [item["pid"] for item in data["sessions"] if item["pid"] in (own.pid, other.pid)] == [own.pid]
        assert "grant pg_read_all_stats to ops_plain" in data["not_visible"]


def test_activity_cuts_what_is_long(ops, monitor):
    with Session(ops) as session:
        session.start(f"select pg_sleep(600) -- {'y' * 900}").runs()
        query = by_pid(monitor.tool("list_activity").data["sessions"])[session.pid]["query"]
        assert "(cut, " in query and len(query) < 600


@pytest.mark.parametrize("arguments,said", [({"state": "sleepy"}, "States: active, idle"), ({"min_duration": "long"}, "min_duration")])
def test_activity_refuses_what_it_does_not_know(plain, arguments, said):
    assert said in str(plain.tool("list_activity", arguments).error)


# ---- list_locks

def test_no_lock_is_waited_for(plain):
    data = plain.tool("list_locks").data
    assert data == {"sessions": [], "waiting": 0}


def test_blocking_tree(ops, monitor):
    """root holds row 1; middle holds row 2 and wants 1; leaf wants 2; table wants the whole table, behind all of them."""
    with Session(ops, "ops_plain", name="root") as root, Session(ops, "ops_other") as middle, Session(ops) as leaf, Session(ops) as table:
        root.run('begin; update ops."My ""Table" set n = 1 where id = 1')
        middle.run('begin; update ops."My ""Table" set n = 1 where id = 2')
        middle.start('update ops."My ""Table" set n = 2 where id = 1').waits()
        leaf.start('update ops."My ""Table" set n = 2 where id = 2').waits()
        table.run("begin")
        table.start('lock table ops."My ""Table"').waits()
        data = monitor.tool("list_locks").data
        assert data["waiting"] == 3 and "not_visible" not in data
        nodes = by_pid(data["sessions"])
        assert [nodes[session.pid]["depth"] for session in (root, middle, leaf, table)] == [0, 1, 2, 1]
        order = [item["pid"] for item in data["sessions"]]
        assert order[0] == root.pid and order.index(middle.pid) + 1 == order.index(leaf.pid) and len(order) == 4
        assert "blocked_by" not in nodes[root.pid] and nodes[root.pid]["blocks"] == 2
        assert nodes[root.pid]["state"] == "idle in transaction" and nodes[root.pid]["user"] == "ops_plain" and nodes[root.pid]["transaction_seconds"] >= 0
        held = {(item["object"].split()[0], item["mode"]) for item in nodes[root.pid]["holds"]}
        assert ("transaction", "ExclusiveLock") in held and ('ops."My', "RowExclusiveLock") in held
        assert nodes[middle.pid]["blocked_by"] == [root.pid] and nodes[leaf.pid]["blocked_by"] == [middle.pid]
        waits = nodes[middle.pid]["waits_for"]
        assert waits["object"].startswith("transaction ") and waits["mode"] == "ShareLock" and waits["seconds"] >= 0
        assert waits["row"] == 'row (0,1) of ops."My ""Table"'
        assert nodes[table.pid]["waits_for"]["object"] == 'ops."My ""Table"' and nodes[table.pid]["waits_for"]["mode"] == "AccessExclusiveLock"
        assert set(nodes[table.pid]["blocked_by"]) == {root.pid, middle.pid, leaf.pid}
        assert nodes[leaf.pid]["query"].startswith("update ops.")

        waiting = {item["pid"] for item in monitor.tool("list_activity", {"state": "waiting"}).data["sessions"]}
        assert waiting == {middle.pid, leaf.pid, table.pid}
        check = monitor.tool("check_health", {"checks": ["locks"]}).data["checks"][0]
        assert "3 sessions wait for a lock" in check["message"]


def test_blocking_tree_of_an_ordinary_role(ops, plain):
    with Session(ops) as root, Session(ops, "ops_plain") as behind:
        root.run("select pg_advisory_lock(77)")
        behind.start("select pg_advisory_lock(77)").waits()
        data = plain.tool("list_locks").data
        nodes = by_pid(data["sessions"])
        assert nodes[root.pid]["user"] == "postgres" and "query" not in nodes[root.pid] and nodes[root.pid]["holds"][0]["object"] == "advisory lock 77"
        assert nodes[behind.pid]["query"] == "select pg_advisory_lock(77)" and nodes[behind.pid]["waits_for"]["object"] == "advisory lock 77"
        assert "grant pg_read_all_stats to ops_plain" in data["not_visible"]


def test_long_queue_shows_each_session_once(ops, monitor):
    queue = [Session(ops) for _ in range(25)]
    try:
        queue[0].run("select pg_advisory_lock(1, 2)")
        for session in queue[1:]:
            session.start("select pg_advisory_lock(1, 2)").waits()
        data = monitor.tool("list_locks").data
        assert sorted(item["pid"] for item in data["sessions"]) == sorted(session.pid for session in queue) and data["waiting"] == 24
        last = by_pid(data["sessions"])[queue[-1].pid]
        assert len(last["blocked_by"]) == 10 and last["blocked_by_count"] == 24 and last["waits_for"]["object"] == "advisory lock (1, 2)"
        few = monitor.tool("list_locks", {"max_sessions": 3}).data
        assert len(few["sessions"]) == 3 and few["truncated"] is True and few["sessions"][0]["pid"] == queue[0].pid
    finally:
        for session in queue:
            session.__exit__()


def test_circle_is_shown_as_deadlock(ops, monitor):
    with Session(ops) as one, Session(ops) as two, Session(ops) as third:
        for session, key in ((one, 1), (two, 2)):
            session.run(f"set deadlock_timeout = '1h'; select pg_advisory_lock({key})")
        one.start("select pg_advisory_lock(2)").waits()
        two.start("select pg_advisory_lock(1)").waits()
        third.start("select pg_advisory_lock(1)").waits()
        nodes = by_pid(monitor.tool("list_locks").data["sessions"])
        assert set(nodes) == {one.pid, two.pid, third.pid}
        assert [pid for pid in nodes if nodes[pid].get("deadlock")] == [min(one.pid, two.pid)]


def test_locks_of_another_database_have_no_wrong_names(ops, monitor):
    ops.sql('create database "ops other"')
    try:
        with Session(ops, database="ops other") as root, Session(ops, database="ops other") as behind:
            root.run("create table t (n int)")
            root.run("begin; lock table t")
            behind.start("select * from t").waits()
            nodes = by_pid(monitor.tool("list_locks").data["sessions"])
            assert nodes[behind.pid]["waits_for"]["object"].endswith(' of database "ops other"')
    finally:
        ops.sql('drop database "ops other" with (force)')


# ---- cancel_query and terminate_session

def test_cancel_of_ones_own_query(ops, plain):
    with Session(ops, "ops_plain") as session:
        session.start("select pg_sleep(600)").runs()
        data = plain.tool("cancel_query", {"pid": session.pid}).data
        assert data["signalled"] is True and data["ended"] is True and data["session"]["query"] == "select pg_sleep(600)"
        assert session.finish() == "57014" and session.run("select 1").fetchone() == (1,)
        idle = plain.tool("cancel_query", {"pid": session.pid}).data
        assert idle["signalled"] is False and "nothing to cancel" in idle["note"]


def test_terminate_frees_who_waits(ops, plain, signaller):
    with Session(ops, "ops_plain") as root, Session(ops, "ops_other") as behind:
        root.run('begin; lock table ops."My ""Table"')
        behind.start('select count(*) from ops."My ""Table"').waits()
        data = signaller.tool("terminate_session", {"pid": root.pid}).data
        assert data["signalled"] is True and data["ended"] is True
        assert data["session"]["user"] == "ops_plain" and data["session"]["state"] == "idle in transaction"
        assert behind.finish() is None
        assert ops.value("select count(*) from pg_stat_activity where pid = %s", [root.pid]) == 0


@pytest.mark.parametrize("tool", ["cancel_query", "terminate_session"])
def test_signals_that_are_refused(ops, plain, signaller, tool):
    with Session(ops, "ops_other") as other, Session(ops) as superuser:
        other.start("select pg_sleep(600)").runs()
        superuser.start("select pg_sleep(600)").runs()
        foreign = plain.tool(tool, {"pid": other.pid}).error
        assert foreign["sqlstate"] == "42501" and "role ops_other" in foreign["message"] and "grant pg_signal_backend to ops_plain" in foreign["hint"]
        for caller in (plain, signaller):
            mighty = caller.tool(tool, {"pid": superuser.pid}).error
            assert mighty["sqlstate"] == "42501" and "superuser postgres" in mighty["message"]
        assert other.runs() and superuser.runs()
    gateway = ops.gateway_pids()[0]
    for caller in (plain, signaller):
        error = caller.tool(tool, {"pid": gateway}).error
        assert error["sqlstate"] == "22023" and str(gateway) in error["message"], error
    assert "this MCP server" in signaller.tool(tool, {"pid": gateway}).error["message"]
    assert ops.gateway_pids() == [gateway]
    checkpointer = ops.value("select pid from pg_stat_activity where backend_type = 'checkpointer'")
    assert "part of the server" in signaller.tool(tool, {"pid": checkpointer}).error["message"]
    for nobody in (1, 0, -1, 2**31 - 1):
        assert signaller.tool(tool, {"pid": nobody}).error["sqlstate"] == "42704"


@pytest.mark.parametrize("tool", ["cancel_query", "terminate_session"])
def test_call_does_not_signal_itself(ops, plain, tool):
    def own_process():
        """Where the role has several executors, another one may take the second call."""
        result = plain.tool(tool, {"pid": plain.value("select pg_backend_pid()")})
        return result.is_error and result.error

    error = wait_until(own_process, 20, "the executor that is named takes the call")
    assert error["sqlstate"] == "22023" and "this very call" in error["message"]
    assert plain.value("select 1") == 1


# ---- list_progress

def test_progress_of_what_runs(ops, monitor, plain):
    with Session(ops) as writer, Session(ops) as indexer, Session(ops) as vacuum:
        writer.run("begin; insert into ops.\"My \"\"Table\" values (100)")
        indexer.start('create index concurrently "idx 1" on ops."My ""Table" (n)').waits()
        vacuum.run("set vacuum_cost_delay = 100; set vacuum_cost_limit = 1")
        vacuum.start("vacuum (disable_page_skipping) ops.big")
        wait_until(lambda: ops.value("select heap_blks_scanned from pg_stat_progress_vacuum where pid = %s", [vacuum.pid]), 30, "the vacuum scans")
        data = monitor.tool("list_progress").data
        assert "not_visible" not in data
        seen = by_pid(data["commands"])
        assert seen[indexer.pid]["command"] == "CREATE INDEX CONCURRENTLY" and seen[indexer.pid]["phase"] == "waiting for writers before build"
        assert seen[indexer.pid]["table"] == 'ops."My ""Table"' and seen[indexer.pid]["index"] == 'ops."idx 1"'
        assert seen[indexer.pid]["counters"]["current_locker_pid"] == writer.pid
        assert seen[vacuum.pid]["command"] == "VACUUM" and seen[vacuum.pid]["table"] == "ops.big" and seen[vacuum.pid]["phase"] == "scanning heap"
        assert 0 < seen[vacuum.pid]["percent_of_phase"] <= 100 and seen[vacuum.pid]["counters"]["heap_blks_total"] > 100

        def hidden():
            found = plain.tool("list_progress").data
            assert found["commands"] == []
            # Autovacuum's are among them while it works.
            return "2 commands of other roles" in found["not_visible"]
        wait_until(hidden, 20, "both are counted and not shown")
        # An index in the making is no broken one.
        check = monitor.tool("check_health", {"checks": ["indexes"]}).data["checks"][0]
        assert check["status"] == "ok" and check["details"][0]["index"] == 'ops."idx 1"'
    ops.sql('drop index if exists ops."idx 1"')


def test_progress_of_ones_own_copy(ops, plain):
    with ops.connect(user="ops_plain") as connection, connection.cursor() as cursor, cursor.copy("copy ops.big from stdin") as copy:
        copy.write("x" * 100 + "\n")
        for _ in range(2000):
            copy.write("z" * 1000 + "\n")
        pid = connection.info.backend_pid
        seen = wait_until(lambda: by_pid(plain.tool("list_progress").data["commands"]).get(pid), 20, "the copy is listed")
        assert seen["command"] == "COPY FROM" and seen["table"] == "ops.big" and seen["query"].startswith("copy ops.big")


# ---- list_settings

def test_settings(ops, plain):
    found = {item["name"]: item for item in plain.tool("list_settings", {"pattern": "work_mem"}).data["settings"]}
    assert found["work_mem"]["value"] == "4MB" and found["work_mem"]["unit"] == "kB" and found["work_mem"]["change"] == "session"
    assert "maintenance_work_mem" in found and "default" not in found["work_mem"]
    changed = {item["name"]: item for item in plain.tool("list_settings").data["settings"]}
    assert changed["shared_buffers"]["value"] == "32MB" and changed["fsync"]["value"] == "off" and changed["fsync"]["default"] == "on"
    assert changed["fsync"]["source"] == "configuration file" and "work_mem" not in changed and "search_path" not in changed
    both = plain.tool("list_settings", {"pattern": "fsync", "changed_only": True}).data["settings"]
    assert [item["name"] for item in both] == ["fsync"]


def test_settings_by_pages(ops, plain):
    seen, arguments = [], {"changed_only": False, "max_settings": 60}
    while True:
        data = plain.tool("list_settings", arguments).data
        seen += [item["name"] for item in data["settings"]]
        if not data.get("truncated"):
            break
        arguments["after"] = data["next"]
    # The executor has loaded libraries that bring settings of their own.
    everywhere = {row[0] for row in ops.sql("select name from pg_settings", user="ops_plain")}
    assert len(seen) == len(set(seen)) and everywhere <= set(seen) and len(everywhere) > 300


def test_settings_that_only_some_may_see(ops, plain, monitor):
    hidden = plain.tool("list_settings", {"pattern": "unix_socket_directories"}).data
    assert hidden["settings"] == [] and "grant pg_read_all_settings to ops_plain" in hidden["not_visible"]
    shown = monitor.tool("list_settings", {"pattern": "unix_socket_directories"}).data
    assert shown["settings"][0]["value"] == str(ops.folder) and "test.conf:" in shown["settings"][0]["file"] and "not_visible" not in shown


def test_settings_keep_secrets_and_help_with_spelling(ops, monitor):
    ops.configure(primary_conninfo="host=nowhere password=sesame")
    try:
        wait_until(lambda: ops.value("show primary_conninfo") != "", 20, "the setting is read")
        data = monitor.tool("list_settings", {"pattern": "primary_conninfo"}).data
        assert data["settings"][0]["value"].startswith("(not shown") and "sesame" not in str(data)
    finally:
        ops.configure(primary_conninfo=None)
    assert "work_mem" in monitor.tool("list_settings", {"pattern": "wrk_mem"}).data["perhaps_you_meant"]
    assert monitor.tool("list_settings", {"pattern": "work_me_"}).data["settings"] == []
    assert monitor.tool("list_settings", {"pattern": "work\\' or true --"}).data["settings"] == []
