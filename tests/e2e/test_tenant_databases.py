"""Tenants with a database each, and the processes that make them: who may send one, and with what rights it runs."""

import pytest
from psycopg import errors

from harness.caller import Caller, token_caller
from harness.clients import bearer
from harness.cluster import Cluster
from harness.refusal import is_served, unauthorized
from harness.tenancy import caller_of, create, fails, holding
from harness.waits import wait_until
from harness.world import build_world


@pytest.fixture(scope="module")
def cluster():
    """A server with room for a process in each of several databases."""
    one = Cluster(max_worker_processes=32).start()
    one.install()
    build_world(one)
    yield one
    one.remove()


@pytest.fixture
def dba(cluster):
    with cluster.connect() as connection:
        yield connection


# ---- a database each

@pytest.fixture
def databases(cluster, dba):
    made = {name: create(dba, name, "database") for name in ("acme", "globex")}
    callers = [caller_of(cluster, made[name], name) for name in made]
    for caller in callers:
        assert not caller.sql("create table orders (id int, body text); insert into orders values (1, current_user)").is_error
    yield callers
    for name in made:
        if dba.execute("select 1 from mcp.tenants where name = %s", [name]).fetchone():
            dba.execute("select mcp.drop_tenant(%s, true)", [name])


def test_database_tenants_see_their_own_only(cluster, databases):
    acme, globex = databases
    assert acme.sql("select id, body, current_user::text, current_database() from orders").rows == [[1, "acme", "acme", "acme"]]
    assert acme.made["url"].endswith("/mcp/acme")
    # Names and numbers of what the other has are in the other's catalogs.
    assert globex.value("select count(*) from pg_class where relname = 'orders'") == 1
    assert acme.value("select count(*) from pg_class c join pg_roles r on r.oid = c.relowner where r.rolname = 'globex'") == 0
    fails(acme, "select * from globex.public.orders", "0A000")
    fails(acme, "select pg_database_size('globex')", "42501")
    # What is shared by the whole server cannot be hidden, and docs/tenants.md says so.
    assert acme.value("select count(*) from pg_database where datname = 'globex'") == 1


def test_token_is_good_in_its_database_only(cluster, databases):
    acme, globex = databases
    for database in ("globex", "postgres", None):
        unauthorized(Caller(cluster, acme.headers, database=database))
    for user, database in (("acme", "globex"), ("globex", "acme")):
        with pytest.raises(Exception, match="permission denied for database|does not have CONNECT"):
            cluster.connect(database, user).close()


def test_database_tenants_do_not_lock_each_other(cluster, databases):
    acme, globex = databases
    with holding(cluster, acme, "lock table orders; select pg_advisory_lock(42)", "locktype = 'advisory' and objid = 42"):
        assert globex.value("select pg_try_advisory_lock(42)") is True
        assert not globex.sql("update orders set body = 'changed'").is_error


def test_database_is_closed_to_everybody_else(cluster, databases):
    assert cluster.sql("""
        select d.datname, array(select case a.grantee when 0 then 'public' else a.grantee::regrole::text end || ' ' || a.privilege_type
                                  from aclexplode(d.datacl) a where a.grantee <> d.datdba order by 1)
          from pg_database d where datname in ('acme', 'globex') order by 1""") == [
        (name, [f"{name} CONNECT", f"{name} TEMPORARY", "mcp_bridge CONNECT"]) for name in ("acme", "globex")]
    with pytest.raises(Exception, match="permission denied for database"):
        cluster.connect("acme", "outsider").close()


def test_drop_database_tenant_keeps_its_data(cluster, databases, dba):
    acme, _ = databases
    done = dba.execute("select mcp.drop_tenant('acme')").fetchone()[0]
    try:
        assert any("orders belongs to postgres" in line for line in done) and any("stays" in line for line in done)
        assert not is_served(acme)
        assert cluster.value("select body from orders", database="acme") == "acme"
        assert cluster.value("select count(*) from pg_roles where rolname = 'acme'") == 0
    finally:
        cluster.sql("select mcp.drain('acme')")
        cluster.sql("drop database acme with (force)")


def test_drop_database_tenant_with_its_data(cluster, databases, dba):
    dba.execute("select mcp.drop_tenant('acme', true)")
    assert cluster.value("select count(*) from pg_database where datname = 'acme'") == 0
    assert cluster.value("select count(*) from pg_roles where rolname = 'acme'") == 0
    assert cluster.sql("select name from mcp.tenants") == [("globex",)]


@pytest.fixture
def landlord(cluster):
    """An administrator who is no superuser but may make roles and databases, and a template with the extension that a superuser made."""
    cluster.sql("create role landlord login createrole createdb in role mcp_admin")
    cluster.sql("create database rooms owner landlord")
    cluster.sql("create extension supabase_mcp; create table furniture (id int); insert into furniture values (1);"
                " grant select on furniture to public; select mcp.create_token('reader_direct', 'of the template')", database="rooms")
    with cluster.connect(user="landlord") as connection:
        yield connection
    cluster.sql("select mcp.drain('rooms')")
    cluster.sql("drop database rooms with (force)")
    cluster.sql("drop owned by landlord; drop role landlord")


def test_database_tenant_by_an_administrator_without_superuser(cluster, landlord):
    with pytest.raises(errors.InsufficientPrivilege, match="template"):
        create(landlord, "lodger", "database")
    made = create(landlord, "lodger", "database", template="rooms")
    lodger = caller_of(cluster, made, "lodger")
    assert lodger.sql("select count(*), current_user::text from furniture").rows == [[1, "lodger"]]
    assert any(warning.startswith("public.furniture") for warning in made["warnings"])
    assert cluster.sql("select label from mcp.tokens", database="lodger") == [("tenant lodger",)], "the template's token opens nothing here"
    assert landlord.execute("select name, kind, database, state from mcp.tenants").fetchall() == [("lodger", "database", "lodger", "active")]
    landlord.execute("select mcp.drop_tenant('lodger', true)")
    assert cluster.value("select count(*) from pg_database where datname = 'lodger'") == 0
    assert cluster.value("select count(*) from pg_roles where rolname = 'lodger'") == 0


def test_what_cannot_be_made_leaves_nothing(cluster, dba, landlord):
    databases, roles = "select count(*) from pg_database", "select count(*) from pg_roles"
    before = cluster.value(databases), cluster.value(roles)
    cluster.sql("create database bare owner landlord")
    try:
        with pytest.raises(Exception, match="extension supabase_mcp in it"):
            create(landlord, "lodger", "database", template="bare")
        # The database is there by the time that the role's settings turn out to be wrong.
        with pytest.raises(errors.UndefinedObject, match="no_such_setting"):
            dba.execute("select mcp.create_tenant('lodger', 'database', settings => '{\"no_such_setting\": 1}')")
    finally:
        cluster.sql("drop database bare")
    assert (cluster.value(databases), cluster.value(roles)) == before
    assert cluster.value("select count(*) from mcp.tenants") == 0


# ---- who may send a process of one's own

def test_errands_are_the_sessions_own(cluster, dba, landlord):
    here = "(select oid from pg_database where datname = current_database())"
    run = f"select mcp._errand({here}, array[%s])::jsonb"
    who = "select pg_catalog.to_jsonb(session_user || ' ' || current_user)"
    assert dba.execute(run, [who]).fetchone()[0] == {"value": "postgres postgres"}
    assert landlord.execute(run, [who]).fetchone()[0] == {"value": "landlord landlord"}
    assert landlord.execute(run, ["create extension pg_trgm"]).fetchone()[0]["error"]["sqlstate"] in ("42501", "58P01", "0A000")
    # Not in a database that is somebody else's, although PUBLIC may connect there.
    elsewhere = "select mcp._errand((select oid from pg_database where datname = 'template1'), array['select 1'])::jsonb"
    assert landlord.execute(elsewhere).fetchone()[0]["error"]["sqlstate"] == "42501"


def test_errands_lend_nobody_the_sessions_strength(cluster, dba, landlord):
    """A superuser who acts as somebody else, or runs somebody else's SECURITY DEFINER function, sends no superuser's process."""
    errand = "mcp._errand((select oid from pg_database where datname = current_database()), array['create role spoils superuser'])"
    landlord.execute("create function pg_temp.nothing() returns int language sql as 'select 1'")
    cluster.sql("create schema den authorization landlord")
    landlord.execute(f"create function den.trap() returns text language sql security definer as $$ select {errand} $$")
    try:
        assert '"42501"' in dba.execute("select den.trap()").fetchone()[0]
        dba.execute("set role landlord")
        assert '"42501"' in dba.execute(f"select {errand}").fetchone()[0]
        dba.execute("reset role; set session authorization landlord")
        assert '"42501"' in dba.execute(f"select {errand}").fetchone()[0]
        dba.execute("reset session authorization")
    finally:
        cluster.sql("drop schema den cascade")
    assert cluster.value("select count(*) from pg_roles where rolname = 'spoils'") == 0


def test_errands_have_their_place(cluster, dba, landlord):
    """Not in a transaction block, not read-only, not in a call of an AI; a failure inside is the caller's to read."""
    with pytest.raises(errors.ActiveSqlTransaction), dba.transaction():
        create(dba, "lodger", "database")
    dba.execute("set default_transaction_read_only = on")
    with pytest.raises(errors.ReadOnlySqlTransaction):
        create(dba, "lodger", "database")
    dba.execute("reset default_transaction_read_only")
    cluster.sql("create role ai_admin login in role mcp_admin; select mcp.grant_tools('ai_admin', write => true)")
    try:
        token = cluster.value("select mcp.create_token('ai_admin')")
        answer = Caller(cluster, bearer(token)).value(
            "select mcp._errand((select oid from pg_database where datname = current_database()), array['select 1'])")
        assert '"0A000"' in answer
    finally:
        cluster.sql("drop owned by ai_admin; drop role ai_admin")
    assert cluster.value("select count(*) from pg_database where datname = 'lodger'") == 0


def test_a_cancelled_errand_ends_its_process(cluster, dba):
    with pytest.raises(errors.QueryCanceled):
        dba.execute("set statement_timeout = '1s'")
        dba.execute("select mcp._errand((select oid from pg_database where datname = current_database()), array['select pg_sleep(60)'])")
    dba.execute("reset statement_timeout")
    wait_until(lambda: cluster.value("select count(*) from pg_stat_activity where backend_type = 'supabase_mcp errand'") == 0, 10, "its end")
    assert not list(cluster.data.glob("supabase_mcp.errand.*"))


def test_an_errand_waits_for_a_free_slot(new_cluster):
    """Idle processes of the server itself may hold every slot: they leave, and the errand takes the place."""
    one = new_cluster(world=True, max_worker_processes=4, supabase_mcp__executor_idle_timeout="3s", supabase_mcp__max_executors=2)
    # Logical replication, the gateway, a keeper and an executor: four.
    caller = token_caller(one, "reader_direct")
    assert caller.value("select 1") == 1
    with one.connect() as connection:
        notices = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        errand = "select mcp._errand((select oid from pg_database where datname = current_database()), array['select pg_catalog.to_jsonb(1)'])"
        assert connection.execute(errand).fetchone()[0] == '{"value":1}'
    assert notices == ["no background worker slot is free; waiting for one"]
