"""Limits on calls per minute and at the same time: by server, role, token and tool, and how changes of them count.

Each test limits roles of its own, so that nothing is left of it for others. The clock is never slept on: a test waits for the
call that the refusal announced.
"""

import json
import re
import shutil
import time

import pytest

from harness.caller import Caller, ToolResult, token_caller
from harness.clients import DEADLINE
from harness.cluster import as_server, pg_config
from harness.quotas import one, refused, through, token_id
from harness.waits import wait_until

# ---- calls per minute

def test_burst_refusal_and_refill(cluster, form, new_role, limit):
    """What a refusal says is true: the limit, its value, and when to come again."""
    role = new_role(form)
    caller = token_caller(cluster, role)
    # A process is there: while one is started, another call is earned.
    assert not refused(one(caller))
    limit(role, calls_per_minute=60, burst=3)
    counted = cluster.value("select limited_calls from mcp.stat_gateway")
    assert through(caller, 3) == 3
    result = one(caller)
    assert cluster.value("select limited_calls from mcp.stat_gateway") == counted + 1
    error = result.error
    assert error["kind"] == "limited" and error["sqlstate"] == "53400"
    assert error["limit"] == f'calls_per_minute = 60 (burst 3) for role "{role}"' and error["limit"] in error["message"]
    assert 0 < error["retry_after_ms"] <= 1001 and re.search(r"Try again in \d+ m?s", error["hint"])
    assert error["limit"] in result.texts[0] and "Try again in" in result.texts[0]
    begun = time.monotonic()
    wait_until(lambda: not refused(one(caller)), 10, "the call that was announced")
    assert time.monotonic() - begun < 5


def test_role_shares_its_account_over_tokens(cluster, new_role, limit):
    role, other = new_role(), new_role()
    first, second = token_caller(cluster, role), token_caller(cluster, role)
    limit(role, calls_per_minute=2, burst=5)
    assert through(first, 3) + through(second, 10) == 5
    assert through(token_caller(cluster, other), 8) == 8


def test_token_has_an_account_of_its_own(cluster, new_role, limit):
    role = new_role()
    limited, free = token_caller(cluster, role), token_caller(cluster, role)
    limit(token=token_id(cluster, limited), calls_per_minute=1, burst=2)
    assert through(limited, 5) == 2
    assert "for this token" in one(limited).error["limit"]
    assert through(free, 5) == 5


def test_tool_limit_counts_that_tool_alone(cluster, new_role, limit):
    role = new_role()
    caller = token_caller(cluster, role)
    limit(role, tool="execute_sql", calls_per_minute=1, burst=2)
    assert through(caller, 4, "list_schemas") == 4
    assert through(caller, 4, "execute_sql") == 2
    assert 'tool "execute_sql"' in one(caller).error["limit"]
    assert through(caller, 4, "list_schemas") == 4


def test_limit_of_everybody_is_one_account(cluster, new_role, limit):
    callers = [token_caller(cluster, new_role()) for _ in range(2)]
    limit(None, tool="list_tables", calls_per_minute=1, burst=3)
    assert sum(through(caller, 3, "list_tables") for caller in callers) == 3
    assert "for all callers together" in one(callers[0], "list_tables").error["limit"]


def test_strictest_of_several_limits_counts(cluster, new_role, limit):
    role = new_role()
    caller = token_caller(cluster, role)
    limit(role, calls_per_minute=60, burst=10)
    limit(role, tool="execute_sql", calls_per_minute=1, burst=4)
    limit(token=token_id(cluster, caller), calls_per_minute=1, burst=6)
    assert through(caller, 8) == 4
    assert "burst 4" in one(caller).error["limit"]
    assert through(caller, 4, "list_schemas") == 2, "of the token's six four are gone; refused calls took nothing"
    assert "for this token" in one(caller, "list_schemas").error["limit"]


def test_server_wide_settings_go_for_each_role(cluster, settings, new_role):
    callers = [token_caller(cluster, new_role()) for _ in range(2)]
    # One a minute: none comes back while the test runs.
    settings(calls_per_minute=1)
    for caller in callers:
        wait_until(lambda caller=caller: refused(one(caller)), 10, "the setting counts")
        assert one(caller).error["limit"].startswith("supabase_mcp.calls_per_minute = 1 for role")
    settings(calls_per_minute=None)
    wait_until(lambda: not refused(one(callers[0])), 10, "no limit any more")


def test_list_of_tools_counts_and_is_refused_as_a_protocol_error(cluster, new_role, limit):
    role = new_role()
    caller = token_caller(cluster, role)
    limit(role, calls_per_minute=1, burst=1)
    assert caller.tools()
    answer = caller.rpc("tools/list").json()
    assert answer["error"]["data"]["error"]["kind"] == "limited" and "calls_per_minute = 1" in answer["error"]["message"]
    with caller.line() as client:
        assert client.request("tools/list")["error"]["data"]["error"]["retry_after_ms"] > 1000
        assert "result" in client.request("ping") or "error" in client.request("ping"), "what is no call is not counted"


def test_newline_and_both_ways_of_a_call_are_counted_alike(cluster, new_role, limit):
    """A progress token takes a call past the short way."""
    role = new_role()
    limit(role, calls_per_minute=1, burst=2)
    with token_caller(cluster, role).line() as client:
        arguments = {"name": "execute_sql", "arguments": {"query": "select 1"}}
        assert not ToolResult(client.request("tools/call", arguments)).is_error
        assert not ToolResult(client.request("tools/call", {**arguments, "_meta": {"progressToken": 1}})).is_error
        for meta in ({}, {"progressToken": 2}):
            assert refused(ToolResult(client.request("tools/call", {**arguments, "_meta": meta})))


# ---- at the same time

def test_concurrent_calls(cluster, form, new_role, limit):
    role = new_role(form)
    first, second = token_caller(cluster, role), token_caller(cluster, role)
    limit(role, max_concurrent=1)
    with first.line() as client:
        number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(60)"}})
        running = "select count(*) from pg_stat_activity where query like '%%pg_sleep(60)%%' and backend_type = 'supabase_mcp executor' and state = 'active'"
        wait_until(lambda: cluster.value(running) == 1, 10, "the first call runs")
        error = one(second).error
        assert error["kind"] == "limited" and error["limit"] == f'max_concurrent = 1 for role "{role}"'
        assert error["retry_after_ms"] == 1000 and "ended" in error["hint"]
        client.notify("notifications/cancelled", {"requestId": number})
        wait_until(lambda: not refused(one(second)), 10, "the place is free again")
    assert through(second, 5) == 5


def test_a_call_that_was_hung_up_on_counts_until_its_process_is_free(cluster, new_role, limit):
    """Hanging up must not be a way to more processes than the limit allows."""
    role = new_role()
    caller = token_caller(cluster, role)
    limit(role, max_concurrent=1)
    # Cancelled, it takes its time to end. The lock is there for as long as its transaction.
    trap = ("do $$begin perform pg_advisory_xact_lock(4711); begin perform pg_sleep(60);"
            " exception when query_canceled then perform pg_sleep(2); end; end$$")
    at_work = "select count(*) from pg_locks where locktype = 'advisory' and objid = 4711"
    with caller.connect() as client:
        arguments = {"name": "execute_sql", "arguments": {"query": trap}}
        client.connection.request("POST", client.path, json.dumps(client.message("tools/call", arguments)),
                                  client.rpc_headers("tools/call", arguments))
        wait_until(lambda: cluster.value(at_work) == 1, 10, "the call runs")
    wait_until(lambda: not refused(one(caller)), DEADLINE, "its place is free")
    assert cluster.value(at_work) == 0, "and was not before it had ended"


def test_server_wide_concurrency(cluster, settings, new_role):
    role = new_role()
    first, second = token_caller(cluster, role), token_caller(cluster, role)
    settings(max_concurrent_calls=1)
    with first.line() as client:
        number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(60) /* first */"}})
        # Else it may be the one that is refused.
        wait_until(lambda: [row for row in cluster.executors() if "/* first */" in (row[5] or "") and row[4] == "active"], 10, "it runs")
        wait_until(lambda: refused(one(second)), 10, "the setting counts")
        assert one(second).error["limit"] == f'supabase_mcp.max_concurrent_calls = 1 for role "{role}"'
        client.notify("notifications/cancelled", {"requestId": number})


# ---- changes

def test_change_and_drop_count_at_the_next_call(cluster, form, new_role, limit):
    role = new_role(form)
    caller = token_caller(cluster, role)
    for _ in range(3):
        assert through(caller, 3) == 3
        limit(role, calls_per_minute=1, burst=1)
        assert through(caller, 4) <= 1
        cluster.sql(f"select mcp.drop_limit('{role}')")
        assert through(caller, 1) == 1, "a dropped limit counts at the next call, though the last one was refused"


def test_looser_limit_counts_at_the_next_call(cluster, new_role, limit):
    role = new_role()
    first, second = token_caller(cluster, role), token_caller(cluster, role)
    limit(role, max_concurrent=1)
    with first.line() as client:
        number = client.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(60)"}})
        wait_until(lambda: refused(one(second)), 10, "the first call runs")
        limit(role, max_concurrent=2)
        assert not refused(one(second))
        limit(role, max_concurrent=1)
        assert refused(one(second))
        client.notify("notifications/cancelled", {"requestId": number})


def test_setting_a_limit_anew_does_not_refill_it(cluster, new_role, limit):
    caller = token_caller(cluster, role := new_role())
    for _ in range(3):
        limit(role, calls_per_minute=1, burst=3)
        through(caller, 5)
    assert through(caller, 3) == 0


def test_revoked_token_takes_its_limits_along(cluster, new_role, limit):
    role = new_role()
    caller = token_caller(cluster, role)
    number = token_id(cluster, caller)
    limit(token=number, calls_per_minute=5)
    cluster.sql("select mcp.revoke_token(%s::bigint)", [number])
    assert cluster.value("select count(*) from mcp.limits where token = %s", [number]) == 0


def test_role_with_limits_can_be_dropped(cluster, limit):
    cluster.sql("create role quota_gone login; select mcp.grant_tools('quota_gone')")
    caller = token_caller(cluster, "quota_gone")
    limit("quota_gone", calls_per_minute=1, burst=1)
    through(caller, 2)
    cluster.sql("drop owned by quota_gone; drop role quota_gone")
    assert caller.fresh_rpc("tools/list").status == 401
    cluster.sql("delete from mcp._limits l where not exists (select from pg_roles r where r.oid = l.role)")


def test_limits_survive_dump_and_restore(new_cluster):
    site = new_cluster(world=True)
    token_caller(site, "reader_direct", label="kept")
    site.sql("""select mcp.set_limit('reader_direct', calls_per_minute => 5, max_seconds => 0.25);
        select mcp.set_limit(token => id, max_rows => 3) from mcp.tokens where label = 'kept';
        select mcp.set_limit(tool => 'list_tables', max_rows => 7);
        create role quota_gone; select mcp.set_limit('quota_gone', max_rows => 1); drop role quota_gone""")
    site.sql("create database copy")
    everything = "select role::text, token_label, tool, calls_per_minute, max_rows, max_seconds from mcp.limits order by 1, 2, 3"
    where = ["-h", str(site.folder), "-U", "postgres"]
    dump = as_server([f"{pg_config('bindir')}/pg_dump", *where, "postgres"], capture_output=True, check=True).stdout
    as_server([f"{pg_config('bindir')}/psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where, "copy"], input=dump, capture_output=True, check=True)
    kept = [row for row in site.sql(everything) if not (row[0] or "").isdigit()]
    assert len(kept) == 3 and site.sql(everything, database="copy") == kept, "all but the limit of the role that is gone"


def test_agent_sees_and_changes_no_limit(cluster, new_role, limit):
    role = new_role()
    caller = token_caller(cluster, role)
    limit(role, max_rows=100)
    for text in ("select * from mcp.limits", "select * from mcp._limits", "delete from mcp._limits", f"select mcp.drop_limit('{role}')",
                 f"select mcp.set_limit('{role}', max_rows => 10000)", "select * from mcp._token_use", "select mcp._limits_of(0, null)"):
        assert caller.sqlstate(text) == "42501", text


# ---- a standby

@pytest.fixture
def standby(new_cluster):
    """A primary and a hot standby of it."""
    primary = new_cluster(world=True)
    one = new_cluster(start=False, shared_preload_libraries="supabase_mcp", supabase_mcp__executor_idle_timeout="1s")
    shutil.rmtree(one.data)
    as_server([f"{pg_config('bindir')}/pg_basebackup", "-h", str(primary.folder), "-U", "postgres", "-D", str(one.data), "-R", "-c", "fast"],
              check=True)
    one._write_settings()
    one.start()
    one.ready()
    return primary, one


def test_limits_hold_on_a_standby_and_follow_the_primary(standby):
    primary, one_standby = standby
    caller = Caller(one_standby, token_caller(primary, "reader_direct", label="at the standby").headers)
    primary.sql("select mcp.set_limit('reader_direct', calls_per_minute => 1, burst => 2, max_rows => 3)")
    seen = "select count(*) from mcp.limits join mcp.tokens on true where mcp.tokens.label = 'at the standby'"
    wait_until(lambda: one_standby.value(seen) == 1, 20, "token and limit have arrived")
    assert len(caller.sql("select generate_series(1, 9)").rows) == 3
    assert through(caller, 4) == 1
    primary.sql("select mcp.drop_limit('reader_direct')")
    wait_until(lambda: len(caller.sql("select generate_series(1, 9)").rows) == 9, 20, "the limit is gone here too")
    # A keeper leaves after a second and would write down the uses before.
    wait_until(lambda: not one_standby.sql("select from pg_stat_activity where backend_type = 'supabase_mcp keeper'"), 20, "no keeper")
    assert one_standby.value("select last_used_at from mcp.tokens where label = 'at the standby'") is None
    assert "ERROR" not in one_standby.log()
