"""What one call may cost by limits of its role, its token and its tool: rows, bytes, time, waiting, writing."""

import time

from harness.caller import token_caller
from harness.quotas import one, token_id
from harness.waits import wait_until


def test_rows_and_bytes_by_token_below_those_of_the_role(cluster, form, new_role, limit):
    role = new_role(form)
    limited, free = token_caller(cluster, role), token_caller(cluster, role)
    limit(token=token_id(cluster, limited), max_rows=4, max_bytes=2048)
    cut = limited.sql("select generate_series(1, 9)").statements[0]
    assert len(cut["rows"]) == 4 and cut["truncated"] and cut["limit"] == "max_rows = 4"
    cut = limited.sql("select repeat('x', 900) from generate_series(1, 4)").statements[0]
    assert 1 <= len(cut["rows"]) < 4 and cut["limit"] == "max_bytes = 2048"
    assert len(free.sql("select generate_series(1, 9)").rows) == 9


def test_caller_cannot_shake_the_caps_off(cluster, new_role, limit):
    caller = token_caller(cluster, role := new_role())
    limit(role, max_rows=2)
    for text in ("reset all", "set supabase_mcp.max_rows = 100", "reset supabase_mcp.max_rows",
                 "select set_config('supabase_mcp.max_rows', '100', false)", "discard all"):
        result = caller.sql(f"{text}; select generate_series(1, 9)")
        assert result.is_error or len(result.rows) == 2, text
        assert len(caller.sql("select generate_series(1, 9)").rows) == 2


def test_rows_of_tools_that_are_functions(cluster, new_role, limit):
    """One token, two tools: the cap is of the call, not of the process that both run on."""
    caller = token_caller(cluster, role := new_role())
    cluster.sql(f"""create function public.quota_rows() returns setof int language sql stable as 'select generate_series(1, 9)';
        comment on function public.quota_rows() is e'@mcp({{"kind": "tool"}})\\nNumbers';
        alter function public.quota_rows() owner to {role}""")
    limit(role, tool="quota_rows", max_rows=3)
    answer = caller.tool("quota_rows").data
    assert answer["row_count"] == 3 and answer["truncated"] is True
    assert len(caller.sql("select generate_series(1, 9)").rows) == 9
    limit(role, tool="quota_rows", max_rows=5)
    assert caller.tool("quota_rows").data["row_count"] == 5


def test_a_limit_never_widens_what_the_role_has(cluster, new_role, limit):
    caller = token_caller(cluster, role := new_role())
    cluster.sql(f"load 'supabase_mcp'; alter role {role} set supabase_mcp.max_rows = 2; alter role {role} set supabase_mcp.statement_timeout = '300ms'")
    limit(role, max_rows=500, max_seconds=50)
    cut = caller.sql("select generate_series(1, 9)").statements[0]
    assert len(cut["rows"]) == 2 and cut["limit"] == "supabase_mcp.max_rows = 2"
    assert caller.sql("select pg_sleep(30)").error["kind"] == "timeout"


def test_seconds(cluster, form, new_role, limit):
    caller = token_caller(cluster, role := new_role(form))
    limit(role, max_seconds=0.3)
    begun = time.monotonic()
    assert caller.sql("select pg_sleep(30)").error["kind"] == "timeout"
    assert time.monotonic() - begun < 15
    assert caller.value("select 1") == 1


def test_queue_wait(cluster, new_role, limit):
    """A role that allows one connection: the second call waits in the queue, as long as its limit says."""
    role = new_role(extra="connection limit 1")
    first, second = token_caller(cluster, role), token_caller(cluster, role)
    limit(role, queue_seconds=0.2)
    with first.line() as client:
        number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(60)"}})
        active = f"select count(*) from pg_stat_activity where usename = '{role}' and state = 'active'"
        wait_until(lambda: cluster.value(active) == 1, 10, "the first call runs")
        error = one(second).error
        assert error["kind"] == "busy" and error["limit"] == f'queue_seconds = 0.2 for role "{role}"'
        assert "200 ms" in error["message"] and error["retry_after_ms"] > 0
        client.notify("notifications/cancelled", {"requestId": number})


def test_read_only_by_role_token_and_tool(cluster, form, new_role, limit):
    role = new_role(form)
    cluster.sql(f"create schema {role} authorization {role}")
    caller = token_caller(cluster, role)
    write = f"create table {role}.t (a int)"
    for scope in ({"role": role}, {"token": token_id(cluster, caller)}, {"role": role, "tool": "execute_sql"}):
        limit(**scope, read_only=True)
        error = caller.sql(write).error
        assert error["sqlstate"] == "25006" and "limit" in error["hint"], scope
        names = ", ".join(f"{name} => %({name})s" + ("::regrole" if name == "role" else "") for name in scope)
        cluster.sql(f"select mcp.drop_limit({names})", scope)
    assert not caller.sql(write).is_error
