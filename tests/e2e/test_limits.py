"""Caps on rows, bytes and time: exact, settable per server and role, and harmless to others."""

import time

import pytest

from harness.caller import ToolResult
from harness.waits import wait_until

TRAP = """do $$begin
  loop
    begin perform pg_sleep(60); exception when query_canceled then null; end;
  end loop;
end$$"""


@pytest.fixture
def role_setting(cluster):
    """ALTER ROLE ... SET of a limit for one test, as a DBA sets it."""
    changed = []

    def change(role, name, value):
        cluster.sql(f"load 'supabase_mcp'; alter role {role} set supabase_mcp.{name} = '{value}'")
        changed.append((role, name))

    yield change
    for role, name in changed:
        cluster.sql(f"load 'supabase_mcp'; alter role {role} reset supabase_mcp.{name}")


def test_thousand_rows_by_default(reader):
    full = reader.sql("select g from generate_series(1, 1000) g").statements[0]
    assert full["row_count"] == 1000 and len(full["rows"]) == 1000 and full["truncated"] is False
    assert "next" not in full and "limit" not in full
    cut = reader.sql("select g from generate_series(1, 1001) g").statements[0]
    assert len(cut["rows"]) == 1000 and cut["rows"][-1] == [1000] and cut["truncated"] is True
    assert "supabase_mcp.max_rows" in cut["limit"] and "1000" in cut["limit"]
    assert "OFFSET" in cut["next"].upper() and "ORDER BY" in cut["next"].upper()


def test_rows_are_capped_per_role(cluster, form, reader, role_setting):
    # The limit of a bridge target is its own, although the process is connected as another role.
    role_setting(reader.role, "max_rows", 7)
    cut = reader.sql("select g from generate_series(1, 8) g").statements[0]
    assert len(cut["rows"]) == 7 and cut["truncated"] is True
    full = reader.sql("select g from generate_series(1, 7) g").statements[0]
    assert len(full["rows"]) == 7 and full["truncated"] is False


def test_rows_are_capped_per_server(simple, settings):
    settings(max_rows=3)
    wait_until(lambda: len(simple.sql("select generate_series(1, 10)").rows) == 3, 10, "the new limit")


def test_bytes_are_capped_exactly(reader, role_setting):
    """A row that would pass the cap is left out; the answer never carries more than max_bytes of rows."""
    role_setting(reader.role, "max_bytes", "10kB")
    # Each row is ["xxx...x"]: 996 letters and 4 characters of JSON.
    row = "select repeat('x', 996) from generate_series(1, %d)"
    for asked in (5, 20):
        result = reader.sql(row % asked).statements[0]
        assert result["truncated"] is (asked == 20)
        assert len(result["rows"]) == 5 if asked == 5 else 8 <= len(result["rows"]) <= 10
    assert "supabase_mcp.max_bytes" in result["limit"]


def test_one_row_beyond_the_byte_cap_is_said(reader):
    result = reader.sql("select repeat('x', 2000000)")
    if result.is_error:
        assert result.error["kind"] == "too_large" and "max_bytes" in str(result.error)
    else:
        only = result.statements[0]
        assert only["rows"] == [] and only["truncated"] is True and "max_bytes" in only["limit"]


def test_default_byte_cap_is_one_megabyte(reader):
    response = reader.rpc("tools/call", {"name": "execute_sql", "arguments": {
        "query": "select repeat('y', 10000) from generate_series(1, 500)"}})
    assert b'"truncated":true' in response.body.replace(b'"truncated": true', b'"truncated":true')
    # The text block may repeat the rows beside the structured content.
    assert len(response.body) < 2.2 * 1024 * 1024


def test_caps_hold_over_several_statements(simple):
    response = simple.rpc("tools/call", {"name": "execute_sql", "arguments": {
        "query": ";".join(["select repeat('z', 1000) from generate_series(1, 1000)"] * 5)}})
    assert response.status == 200 and len(response.body) < 2.5 * 1024 * 1024


def test_returning_beyond_the_cap_changes_all_rows(cluster, writer):
    schema = writer.role.replace("writer", "work")
    writer.sql(f"create table {schema}.many (a int)").data
    cut = writer.sql(f"insert into {schema}.many select generate_series(1, 1500) returning a").statements[0]
    assert cut["truncated"] is True and len(cut["rows"]) == 1000 and cut["affected"] == 1500
    assert cluster.value(f"select count(*) from {schema}.many") == 1500
    with_returning = writer.sql(f"with gone as (delete from {schema}.many returning a) select a from gone").statements[0]
    assert with_returning["truncated"] is True
    assert cluster.value(f"select count(*) from {schema}.many") == 0
    writer.sql(f"drop table {schema}.many").data


def test_caller_cannot_raise_the_limits(writer):
    for name in ("max_rows", "max_bytes", "statement_timeout"):
        for text in (f"set supabase_mcp.{name} = 1000000", f"select set_config('supabase_mcp.{name}', '1000000', false)",
                     f"set local supabase_mcp.{name} = 1000000"):
            assert writer.sqlstate(text) == "42501", text
    writer.sql("select set_config('supabase_mcp.max_rows', '5000', true); select generate_series(1, 2000)")
    assert len(writer.sql("select generate_series(1, 2000)").rows) == 1000


def private_memory(pid):
    """Bytes that a process alone holds. Anonymous pages only: shared buffers that nobody else touched yet are not its own."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Anonymous:"))


def test_ten_million_rows_keep_the_executor_small(cluster, reader):
    """The portal stops at the cap: neither time nor memory grows with what was asked for."""
    pid = reader.value("select pg_backend_pid()")
    reader.sql("select generate_series(1, 1000) a, repeat('x', 50) b").data
    before = private_memory(pid)
    begun = time.monotonic()
    result = reader.sql("select g, repeat('x', 50) from generate_series(1, 10000000) g limit 10000000").statements[0]
    assert result["truncated"] is True and len(result["rows"]) == 1000
    assert time.monotonic() - begun < 20
    assert reader.value("select pg_backend_pid()") == pid, "the same executor answered all of it"
    assert private_memory(pid) - before < 16 * 1024 * 1024


def test_a_large_answer_does_not_delay_others(cluster, simple, writer):
    with simple.line() as busy:
        number = busy.start("tools/call", {"name": "execute_sql", "arguments": {
            "query": "select count(*) from generate_series(1, 20000000)"}})
        begun = time.monotonic()
        for _ in range(5):
            assert writer.value("select 1") == 1
        assert time.monotonic() - begun < 5
        busy.notify("notifications/cancelled", {"requestId": number})


# ---- time

def test_timeout_cancels(reader, role_setting):
    role_setting(reader.role, "statement_timeout", "500ms")
    begun = time.monotonic()
    error = reader.sql("select pg_sleep(20)").error
    assert error["kind"] == "timeout" and "timeout" in error["message"] and "500 ms by supabase_mcp.statement_timeout" in error["hint"]
    assert time.monotonic() - begun < 5
    assert reader.value("select 1") == 1


def test_timeout_counts_for_the_whole_call(simple, role_setting):
    role_setting(simple.role, "statement_timeout", "1s")
    error = simple.sql(";".join(["select pg_sleep(0.4)"] * 5)).error
    assert error["kind"] == "timeout" and error.get("statement") in (None, 2, 3, 4)


def test_loop_that_traps_the_cancel_is_terminated(cluster, reader, role_setting):
    role_setting(reader.role, "statement_timeout", "500ms")
    pid = reader.value("select pg_backend_pid()")
    begun = time.monotonic()
    result = reader.sql(TRAP)
    assert result.error["kind"] == "timeout" and "supabase_mcp.statement_timeout" in result.error["hint"]
    assert time.monotonic() - begun < 10
    wait_until(lambda: pid not in [row[0] for row in cluster.executors()], 10, "the stubborn executor is gone")
    assert reader.value("select 1") == 1


@pytest.mark.parametrize("text", ["set statement_timeout = 0", "set local statement_timeout = 0",
                                  "select set_config('statement_timeout', '0', false)", "reset statement_timeout"])
def test_caller_cannot_disarm_the_timeout(simple, role_setting, text):
    role_setting(simple.role, "statement_timeout", "700ms")
    assert simple.sql(f"{text}; select pg_sleep(20)").error["kind"] == "timeout"


def test_caller_may_shorten_the_timeout_but_not_poison_the_next_call(simple):
    simple.sql("set statement_timeout = '1ms'")
    assert simple.sql("select pg_sleep(0.2), 1 as a").rows[0][1] == 1


def test_postgres_own_statement_timeout_of_the_role_holds(cluster, form, reader):
    """ALTER ROLE x SET statement_timeout is what DBAs write already; the shorter of the two limits counts."""
    cluster.sql(f"alter role {reader.role} set statement_timeout = '500ms'")
    try:
        begun = time.monotonic()
        error = reader.sql("select pg_sleep(20)").error
        assert error["kind"] == "timeout" and "500 ms by statement_timeout of the role" in error["hint"]
        assert time.monotonic() - begun < 5
    finally:
        cluster.sql(f"alter role {reader.role} reset statement_timeout")


def test_lock_timeout_is_an_error_of_its_own(cluster, writer):
    with cluster.connect(autocommit=False) as blocker:
        blocker.execute("lock table shop.counter in access exclusive mode")
        assert writer.sqlstate("set lock_timeout = '200ms'; select * from shop.counter") == "55P03"


def test_deadlock_victim_is_told(cluster, writer):
    circle = """select pg_advisory_xact_lock(2);
        do $$begin
          while not exists (select from pg_locks where locktype = 'advisory' and objid = 2 and not granted) loop
            perform pg_sleep(0.02);
          end loop;
        end$$;
        select pg_advisory_xact_lock(1)"""
    with cluster.connect(autocommit=False) as other, writer.line() as client:
        # The other side never looks for a deadlock itself, so the caller is the victim.
        other.execute("set deadlock_timeout = '60s'; select pg_advisory_xact_lock(1)")
        number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": circle}})
        held = "select count(*) from pg_locks where locktype = 'advisory' and objid = 2 and granted"
        wait_until(lambda: cluster.value(held) == 1, 10, "the call holds its first lock")
        other.execute("select pg_advisory_xact_lock(2)")
        error = ToolResult(client.finish(number)).error
        assert error["sqlstate"] == "40P01" and "deadlock" in error["message"]
