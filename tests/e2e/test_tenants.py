"""Tenants with a role or a claim each: what one can see, name, count, lock and change of another, and taking one back."""

import pytest
from psycopg import errors

from harness.caller import Caller
from harness.clients import bearer
from harness.refusal import is_served, unauthorized
from harness.tenancy import caller_of, create, fails, holding
from harness.waits import wait_until


@pytest.fixture
def dba(cluster):
    with cluster.connect() as connection:
        yield connection


def one_process(cluster):
    """Waits until the reload to one process counts, and sends away those that were there before."""
    wait_until(lambda: cluster.value("select (mcp.status() #>> '{executors,max}')::int") == 1, 10, "one process at the most")
    cluster.sql("select mcp.off(); select mcp.on()")


# ---- a role each

@pytest.fixture
def roles(cluster, dba):
    made = {name: create(dba, name, "role") for name in ("north", 'so"uth')}
    callers = [caller_of(cluster, answer) for answer in made.values()]
    for caller in callers:
        assert not caller.sql("create table orders (id int, body text); insert into orders values (1, current_user)").is_error
    yield callers
    for name in made:
        if dba.execute("select 1 from mcp.tenants where name = %s", [name]).fetchone():
            dba.execute("select mcp.drop_tenant(%s, true)", [name])


def test_role_tenants_use_their_own_schema_only(cluster, roles):
    north, south = roles
    assert north.sql("select id, body from orders").rows == [[1, "north"]]
    assert south.sql("select id, body from orders").rows == [[1, 'so"uth']]
    for statement in ("select * from north.orders", "select count(*) from north.orders", "insert into north.orders values (2)",
                      "lock table north.orders", "create table north.mine (id int)", "drop table north.orders", "set role north",
                      "select 'north.orders'::regclass", "select * from public.orders, north.orders"):
        fails(south, statement, "42501", "42P01")
    fails(south, "create table public.mine (id int)", "42501")
    # Statistics of the other's columns are hidden, names in the catalogs are not: docs/tenants.md says so.
    assert south.value("select count(*) from pg_stats where schemaname = 'north'") == 0


def test_role_tenants_do_not_lock_each_other(cluster, roles):
    north, south = roles
    with holding(cluster, north, "lock table orders", "relation = 'north.orders'::regclass and mode = 'AccessExclusiveLock'"):
        assert not south.sql("update orders set body = 'changed'; alter table orders add x int").is_error


def test_role_tenant_cannot_end_the_others_call(cluster, roles):
    north, south = roles
    with holding(cluster, north, "lock table orders", "relation = 'north.orders'::regclass and mode = 'AccessExclusiveLock'"):
        pid = cluster.value("select pid from pg_stat_activity where usename = 'north' and state = 'active'")
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            fails(south, f"select {function}({pid})", "42501")
        assert south.value(f"select query from pg_stat_activity where pid = {pid}") == "<insufficient privilege>"


def test_flood_of_one_tenant_leaves_the_other_its_turn(cluster, roles, settings):
    """Fair queueing: with one process for all, the other's call waits for one running call and not for the queue."""
    north, south = roles
    settings(max_executors=1)
    one_process(cluster)
    lines = [north.line() for _ in range(6)]
    try:
        for line in lines:
            line.start("tools/call", {"name": "execute_sql", "arguments": {"query": "insert into orders select 2, 'x' from pg_sleep(0.5)"}})
        wait_until(lambda: cluster.value("select (mcp.status() #>> '{executors,waiting_calls}')::int") > 0, 10, "a call that waits")
        assert not south.sql("select count(*) from orders").is_error
        assert cluster.value("select count(*) from north.orders where id = 2") < 6, "it did not wait for all of them"
    finally:
        for line in lines:
            line.close()


def test_drop_role_tenant(cluster, roles, dba):
    north, _ = roles
    done = dba.execute("select mcp.drop_tenant('north')").fetchone()[0]
    assert any("north.orders belongs to postgres" in line for line in done) and not is_served(north)
    assert cluster.value("select body from north.orders") == "north"
    assert cluster.sql("select name, kind, schema, tokens, state from mcp.tenants") == [('so"uth', "role", 'so"uth', 1, "active")]
    assert cluster.sql("select name from mcp.agents") == [('so"uth',)]
    cluster.sql("drop schema north cascade")


# ---- a claim each

@pytest.fixture
def claims(cluster, dba):
    cluster.sql("""
        create schema desk;
        create table desk.orders (id int primary key, tenant_id text not null default current_setting('app.tenant_id', true), body text);
        create table desk.by_number (id int, customer int);
        insert into desk.orders values (1, 'red', 'of red'), (2, 'blue', 'of blue'), (3, 'blue', 'more of blue');
        insert into desk.by_number values (1, 7), (2, 8);
        -- A policy that somebody wrote before, and that is too wide.
        create policy everything on desk.orders using (true)""")
    dba.execute("select mcp.create_agent('office', access => 'write', schemas => '{desk}')")
    cluster.sql("alter role office nologin; select mcp.revoke_token('agent office')")
    made = {name: create(dba, name, "claim", role="office", tables=["desk.orders"]) for name in ("red", "blue")}
    yield [caller_of(cluster, answer) for answer in made.values()]
    dba.execute("select mcp.drop_tenant(name) from mcp.tenants")
    dba.execute("select mcp.drop_agent('office'); drop schema desk cascade")


def test_claim_tenants_see_their_rows_only(cluster, claims):
    red, blue = claims
    assert red.sql("select id, tenant_id from desk.orders order by id").rows == [[1, "red"]]
    assert blue.sql("select id, tenant_id from desk.orders order by id").rows == [[2, "blue"], [3, "blue"]]
    assert red.value("select count(*) from desk.orders") == 1
    assert red.sql("update desk.orders set body = 'taken' where tenant_id = 'blue' or true returning id").rows == [[1]]
    assert red.sql("delete from desk.orders where id in (2, 3) returning id").rows == []
    for statement in ("insert into desk.orders values (9, 'blue', 'forged')", "update desk.orders set tenant_id = 'blue'"):
        fails(red, statement, "42501")
    assert not red.sql("insert into desk.orders (id, body) values (10, 'mine')").is_error
    fails(red, "truncate desk.orders", "42501")
    fails(red, "create policy mine on desk.orders using (true)", "42501")
    fails(red, "alter table desk.orders disable row level security", "42501")
    assert cluster.value("select count(*) from desk.orders where tenant_id = 'blue' and body like '%%of blue'") == 2


def test_row_security_off_is_an_error_and_no_way_out(claims):
    fails(claims[0], "set local row_security = off; select * from desk.orders", "42501")


FORGERIES = ["set app.tenant_id = 'blue'", "set local app.tenant_id = 'blue'", "set session app.tenant_id = 'blue'", "reset app.tenant_id",
             "select set_config('app.tenant_id', 'blue', true)", "select set_config('app.tenant_id', 'blue', false)",
             "select set_config('App.Tenant_ID', 'blue', true)", "set \"APP.tenant_id\" = 'blue'",
             "do $$ begin perform set_config('app.tenant_id', 'blue', false); end $$",
             "do $$ begin execute 'set app.tenant_id = ''blue'''; end $$",
             "create function pg_temp.f() returns int language sql set app.tenant_id = 'blue' as 'select 1'; select pg_temp.f()",
             "update pg_settings set setting = 'blue' where name = 'app.tenant_id'",
             "discard all", "reset all", "alter role office set app.tenant_id = 'blue'", "set role none", "reset session authorization"]


@pytest.mark.parametrize("forgery", FORGERIES)
def test_claim_cannot_be_changed(claims, forgery):
    red, _ = claims
    read = "select string_agg(distinct tenant_id, ',') from desk.orders"
    answer = red.sql(f"{forgery}; {read}")
    if answer.is_error:
        assert answer.error["sqlstate"], answer
    else:
        assert answer.rows == [["red"]]
    trapped = red.sql(f"do $$ begin execute $f${forgery}$f$; exception when others then null; end $$; {read}")
    assert trapped.is_error or trapped.rows == [["red"]]
    assert red.value("select current_setting('app.tenant_id')") == "red", "and the next call has it still"


def test_caller_of_the_shared_role_without_the_claim_sees_nothing(cluster, claims):
    plain = Caller(cluster, bearer(cluster.value("select mcp.create_token('office', 'no claim')")))
    assert plain.value("select count(*) from desk.orders") == 0
    fails(plain, "set app.tenant_id = 'blue'", "42501")
    fails(plain, "insert into desk.orders values (20, 'blue', 'x')", "42501")


def test_claim_tenants_lock_their_rows_only(cluster, claims):
    red, blue = claims
    with holding(cluster, red, "update desk.orders set body = 'held'", "relation = 'desk.orders'::regclass and mode = 'RowExclusiveLock'"):
        assert blue.sql("update desk.orders set body = 'free' returning id").rows == [[2], [3]]
        assert blue.value("select count(*) from desk.orders") == 2


def test_claim_tenant_cannot_see_or_end_the_others_call(cluster, claims):
    red, blue = claims
    with holding(cluster, red, "update desk.orders set body = 'held'", "relation = 'desk.orders'::regclass and mode = 'RowExclusiveLock'"):
        pid = cluster.value("select pid from pg_stat_activity where query like '%%pg_sleep(25)%%' and backend_type like 'supabase_mcp%%'")
        for function in ("pg_cancel_backend", "pg_terminate_backend"):
            fails(blue, f"select {function}({pid})", "42501")
        assert blue.value(f"select query from pg_stat_activity where pid = {pid}") == "<insufficient privilege>"
        assert blue.value("select count(*) from pg_stat_activity where query like '%held%' and pid <> pg_backend_pid()") == 0


def test_flood_of_one_claim_leaves_the_other_its_turn(cluster, claims, settings):
    """They share a role, and its queue: turns are by token, and a queue that one has filled is full for that one alone."""
    red, blue = claims
    settings(max_executors=1, queue_length=8)
    one_process(cluster)
    lines = [red.line() for _ in range(9)]
    try:
        with cluster.connect(autocommit=False) as gate, blue.line() as other:
            gate.execute("lock table desk.by_number")
            for number, line in enumerate(lines):
                line.start("tools/call", {"name": "execute_sql", "arguments": {
                    "query": f"select 1 from desk.by_number; insert into desk.orders (id, body) values ({100 + number}, 'at ' || clock_timestamp())"}})
            wait_until(lambda: cluster.value("select (mcp.status() #>> '{executors,waiting_calls}')::int") == 8, 10, "eight calls wait")
            assert red.sql("select 1").error["kind"] == "busy"
            mine = other.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select clock_timestamp()"}})
            wait_until(lambda: cluster.value("select (mcp.status() #>> '{executors,waiting_calls}')::int") == 9, 10, "and the other's")
            gate.commit()
            moment = other.finish(mine)["result"]["structuredContent"]["results"][0]["rows"][0][0]
        for line in lines:
            line.finish(1)
        # The one that ran, the one whose turn it was, and then the other's.
        before = "select count(*) from desk.orders where body like 'at %%' and substr(body, 4)::timestamptz < %s::timestamptz"
        assert cluster.value(before, [moment]) == 2
        assert cluster.value("select count(*) from desk.orders where body like 'at %'") == 9
    finally:
        for line in lines:
            line.close()


def test_gaps_of_a_claim_are_named(cluster, claims):
    warnings = claims[0].made["warnings"]
    assert any(warning.startswith("desk.by_number is open to role office") for warning in warnings)
    assert not any(warning.startswith("desk.orders is open") for warning in warnings)


def test_claim_in_a_column_of_another_type(cluster, claims, dba):
    seven = caller_of(cluster, create(dba, "7", "claim", role="office", tables=["desk.by_number"], tenant_column="customer", setting="app.customer"))
    assert seven.sql("select id, customer from desk.by_number").rows == [[1, 7]]
    assert seven.value("select count(*) from desk.orders") == 0, "it has no claim there"


def test_drop_claim_tenant(cluster, claims, dba):
    red, blue = claims
    dba.execute("select mcp.drop_tenant('red')")
    unauthorized(red)
    assert blue.value("select count(*) from desk.orders") == 2
    assert cluster.value("select count(*) from desk.orders where tenant_id = 'red'") == 1
    assert cluster.sql("select name, kind, setting, tokens from mcp.tenants") == [("blue", "claim", "app.tenant_id", 1)]


def test_policy_that_was_changed_is_not_relied_on(cluster, claims, dba):
    cluster.sql("alter policy mcp_tenant_office on desk.orders using (true)")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="mcp_tenant_office"):
        create(dba, "green", "claim", role="office", tables=["desk.orders"])
    assert cluster.value("select count(*) from mcp.tokens where label = 'tenant green'") == 0


BAD = [
    (dict(name="x", kind="planet"), "22023"),
    (dict(name="x", kind=None), "22023"),
    (dict(name="", kind="role"), "22023"),
    (dict(name=None, kind="claim"), "22023"),
    (dict(name="x", kind="role", access="admin"), "22023"),
    (dict(name="x", kind="role", template="template1"), "22023"),
    (dict(name="x", kind="role", tables=["desk.orders"]), "22023"),
    (dict(name="shop", kind="role"), "42P06"),
    (dict(name="office", kind="role"), "42710"),
    (dict(name="red", kind="role"), "42710"),
    (dict(name="pg_x", kind="role"), "42939"),
    (dict(name="x", kind="claim"), "22023"),
    (dict(name="x", kind="claim", role="postgres"), "55000"),
    (dict(name="x", kind="claim", role="outsider"), "55000"),
    (dict(name="x", kind="claim", role="office", tables=["desk.orders"], tenant_column="nope"), "42703"),
    (dict(name="x", kind="claim", role="office", tables=["shop.big_orders"]), "42809"),
    (dict(name="x", kind="claim", role="office", setting="work_mem"), "22023"),
    (dict(name="x", kind="claim", role="office", calls_per_minute=3), "22023"),
    (dict(name="x", kind="database", template="no such database"), "3D000"),
    (dict(name="x", kind="database", template="postgres"), "55006"),
    (dict(name="postgres", kind="database"), "42710"),
    (dict(name="template1", kind="database"), "42P04"),
    (dict(name="x", kind="database", client="emacs"), "22023"),
]


@pytest.mark.parametrize("arguments, sqlstate", BAD, ids=[str(arguments)[:60] for arguments, _ in BAD])
def test_bad_input_changes_nothing(cluster, claims, dba, arguments, sqlstate):
    look = "select (select count(*) from pg_roles), (select count(*) from pg_database), (select count(*) from mcp.tokens), (select count(*) from pg_policy)"
    before = cluster.sql(look)
    with pytest.raises(Exception) as seen:
        create(dba, **arguments)
    assert seen.value.sqlstate == sqlstate, seen.value
    assert cluster.sql(look) == before
