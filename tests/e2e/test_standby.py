"""A hot standby serves reads by the primary's roles and tokens, and everything once it is promoted."""

import json
import threading

import pytest

from harness.caller import Caller, token_caller
from harness.clients import basic
from harness.cluster import Cluster
from harness.refusal import is_served
from harness.standby import Standby
from harness.waits import wait_until
from harness.world import build_world


@pytest.fixture(scope="module")
def primary():
    one = Cluster(shared_preload_libraries="supabase_mcp").start()
    one.install()
    build_world(one)
    yield one
    one.remove()


@pytest.fixture
def standby(primary):
    one = Standby(primary).start()
    one.ready()
    yield one
    one.remove()


def there(standby, caller):
    """The same credential at the standby, once it has replayed it."""
    standby.caught_up()
    return Caller(standby, caller.headers, role=caller.role, form=caller.form)


@pytest.mark.parametrize("form", ["direct", "bridge"])
def test_reads_are_served_and_writes_refused(primary, standby, form):
    writer = there(standby, token_caller(primary, f"writer_{form}", form=form))
    assert writer.sql("select current_user::text, pg_is_in_recovery()").rows == [[f"writer_{form}", True]]
    assert writer.value("select count(*) from shop.orders") == 500
    for query in ("update shop.counter set n = n + 1", "create table t (n int)", "select nextval(pg_get_serial_sequence('shop.orders', 'id'))"):
        error = writer.sql(query).error
        assert error["sqlstate"] in ("25006", "42501") and error["kind"] in ("read_only", "sql"), error
    error = writer.sql("update shop.counter set n = n + 1").error
    assert error["sqlstate"] == "25006" and error["kind"] == "read_only" and "standby" in error["hint"]
    assert writer.value("select n from shop.counter") == 0


def test_every_tool_works(primary, standby):
    reader = there(standby, token_caller(primary, "reader_direct"))
    assert {"execute_sql", "list_tables", "describe_table", "explain_query"} <= set(reader.tools())
    assert "orders" in str(reader.tool("list_tables", {"schemas": ["shop"]}).data)
    assert "customer_id" in str(reader.tool("describe_table", {"name": "shop.orders"}).data)
    assert "actual" in str(reader.tool("explain_query", {"query": "select count(*) from shop.orders", "analyze": True}).data)
    assert standby.value("select mcp.status()")["executors"]["total"] >= 1


def test_password_and_change_of_a_role_arrive_from_the_primary(primary, standby):
    """The keeper of the standby reads what was replayed, and a change there counts at the next call."""
    primary.sql("create role follower login password 'long-enough'; select mcp.grant_tools('follower'::regrole)")
    caller = Caller(standby, basic("follower", "long-enough"))
    standby.caught_up()
    assert caller.value("select current_user::text") == "follower"
    primary.sql("alter role follower nologin")
    standby.caught_up()
    wait_until(lambda: not is_served(caller), 10, "the role may not log in any more")


def test_new_and_revoked_tokens_arrive_from_the_primary(primary, standby):
    reader = token_caller(primary, "reader_direct", label="to be revoked")
    here = there(standby, reader)
    assert here.value("select 1") == 1
    primary.sql("select mcp.revoke_token(label => 'to be revoked')")
    standby.caught_up()
    wait_until(lambda: not is_served(here), 10, "the token is revoked at the standby too")


@pytest.mark.parametrize("form", ["direct", "bridge"])
def test_promotion_while_serving(primary, standby, form):
    """Reads go on during the promotion, and the same gateway and the same connection write after it."""
    writer = there(standby, token_caller(primary, f"writer_{form}", form=form))
    reader = there(standby, token_caller(primary, "reader_direct"))
    assert writer.sql("update shop.counter set n = n + 1").error["sqlstate"] == "25006"
    gateway, executor = standby.gateway_pids(), writer.value("select pg_backend_pid()")
    seen, stop = [], threading.Event()

    def keep_reading():
        while not stop.is_set():
            seen.append(reader.sql("select count(*) from shop.orders"))

    reading = threading.Thread(target=keep_reading)
    reading.start()
    try:
        wait_until(lambda: len(seen) > 5, 20, "reads are going on")
        standby.promote()
        before = len(seen)
        wait_until(lambda: len(seen) > before + 5, 20, "reads go on after it")
    finally:
        stop.set()
        reading.join(30)
    assert all(result.value == 500 for result in seen)
    assert writer.sql("update shop.counter set n = n + 1 returning n").value == 1
    assert writer.value("select pg_is_in_recovery()") is False
    assert standby.gateway_pids() == gateway and writer.value("select pg_backend_pid()") == executor
    # A token made here works here.
    assert token_caller(standby, "reader_bridge").value("select current_user::text") == "reader_bridge"

def records(cluster):
    """The records of the audit trail in the server's log."""
    mark = "supabase_mcp audit: {"
    lines = [line for line in cluster.log().splitlines() if mark in line]
    return [json.loads(line[line.index(mark) + len(mark) - 1:]) for line in lines]


def test_the_trail_goes_to_the_log_until_the_promotion(primary, standby):
    caller = there(standby, token_caller(primary, "writer_direct", label="auditée"))
    assert caller.value("select 'a\nb' as standby_call") == "a\nb"
    assert caller.sqlstate("update shop.counter set n = 1 where false") == "25006"
    found = wait_until(lambda: [r for r in records(standby) if "standby_call" in r.get("arguments", "")], 10, "the call is in the log")
    record = found[0]
    assert record["outcome"] == "ok" and record["tool"] == "execute_sql" and record["database"] == "postgres" and record["writes"] is False
    assert record["caller"]["role"] == "writer_direct" and record["caller"]["label"] == "auditée" and record["caller"]["authentication"] == "token"
    assert json.loads(record["arguments"])["query"] == "select 'a\nb' as standby_call"
    refused = wait_until(lambda: [r for r in records(standby) if r.get("outcome") == "refused"], 10, "the refused write is in the log")
    assert refused[0]["sqlstate"] == "25006" and refused[0]["rule"] == "read only"
    state = standby.value("select mcp.status() #>> '{audit,databases,0,state}'")
    assert "server log" in state and "standby" in state
    assert standby.value("select count(*) from mcp.audit where arguments like '%standby_call%'") == 0

    standby.promote()
    wait_until(lambda: not caller.sql("update shop.counter set n = n where false").is_error, 20, "it takes writes")
    query = "select outcome from mcp.audit where arguments like '%set n = n where false%' and mode = 'write' order by id desc limit 1"
    assert wait_until(lambda: standby.value(query), 10, "the trail is written") == "ok"
    assert standby.value("select mcp.status() #>> '{audit,databases,0,state}'") == "written"
