"""mcp.create_agent and mcp.drop_agent: what each access level may do and not more, what is warned of, and that nothing stays."""

import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from harness.caller import Caller
from harness.clients import bearer
from harness.refusal import is_served
from harness.waits import wait_until

HOSTILE = ["Mixed Case", 'quo"te', "it's", "$$", "x'; drop table shop.orders; --", "back\\slash", "new\nline", "ünï", "a" * 63, "%I", "admin current_user"]


def create(connection, name, **arguments):
    """The answer of mcp.create_agent as a dict."""
    arguments = {key: Jsonb(value) if isinstance(value, dict) else value for key, value in arguments.items()}
    cursor = connection.execute(
        "select * from mcp.create_agent(name => %(name)s" + "".join(f", {key} => %({key})s" for key in arguments) + ")", {"name": name, **arguments})
    return dict(zip([column.name for column in cursor.description], cursor.fetchone()))


@pytest.fixture
def dba(cluster):
    with cluster.connect() as connection:
        yield connection


@pytest.fixture
def agent(cluster, dba):
    """Makes agents and takes them back after the test: agent(name, ...) is a caller with the answer in `made`."""
    names = []

    def make(name="agent", **arguments):
        made = create(dba, name, **arguments)
        names.append(name)
        caller = Caller(cluster, bearer(made["token"]))
        caller.made = made
        return caller

    yield make
    for name in names:
        if dba.execute("select 1 from mcp.agents where name = %s", [name]).fetchone():
            dba.execute("select mcp.drop_agent(%s)", [name])


@pytest.fixture
def scratch(cluster):
    """A schema of its own, without anything that the other tests use."""
    cluster.sql("create schema lab; create table lab.notes (id serial primary key, body text); insert into lab.notes (body) values ('one'), ('two')")
    yield
    cluster.sql("drop schema lab cascade")


def same(now, before):
    for one, other in zip(now, before, strict=True):
        assert set(one) == set(other), (set(one) - set(other), set(other) - set(one))


def state(cluster):
    """Everything that an agent could leave behind, in the words of the catalogs."""
    # A grant writes out what was the default before, and a revoke leaves that written out: the same rights.
    acl = "array_to_string(array(select x::text from aclexplode(coalesce({0}, acldefault({1}))) x order by 1), ' ')"
    return [cluster.sql(query) for query in (
        "select rolname from pg_roles order by 1",
        "select dbid, classid, objid, objsubid, refobjid, deptype from pg_shdepend order by 1, 2, 3, 4, 5, 6",
        "select defaclrole, defaclnamespace, defaclobjtype, defaclacl::text from pg_default_acl order by 1, 2, 3",
        "select roleid, member from pg_auth_members order by 1, 2",
        "select setdatabase, setrole, setconfig::text from pg_db_role_setting order by 1, 2",
        "select polrelid::regclass, polname, polroles::text from pg_policy order by 1, 2",
        "select oid::regclass::text, " + acl.format("relacl", "case relkind when 'S' then 's' else 'r' end::\"char\", relowner") + " from pg_class order by 1",
        "select oid::regprocedure::text, " + acl.format("proacl", "'f', proowner") + " from pg_proc order by 1",
        "select nspname, " + acl.format("nspacl", "'n', nspowner") + " from pg_namespace where nspname !~ '^pg_' order by 1",
        "select datname, " + acl.format("datacl", "'d', datdba") + " from pg_database order by 1",
        "select id, role, label from mcp.tokens order by 1",
        "select os_user, role from mcp.peer_map order by 1",
        "select name from mcp.agents order by 1",
    )]


# ---- what each level may do, and not more

def test_read_agent_reads_and_nothing_else(cluster, agent, scratch):
    reader = agent(schemas=["lab"])
    assert reader.value("select count(*) from lab.notes") == 2
    assert reader.sqlstate("insert into lab.notes (body) values ('x')") == "25006"
    assert reader.sqlstate("select count(*) from shop.orders") == "42501"
    assert reader.sqlstate("create table lab.mine (id int)") in ("25006", "42501")
    # Not only the calls are read-only: the role has no right to write either.
    with cluster.connect(user="agent") as session:
        for statement in ("insert into lab.notes (body) values ('x')", "update lab.notes set body = ''", "delete from lab.notes",
                          "truncate lab.notes", "create table lab.mine (id int)", "select nextval('lab.notes_id_seq')"):
            with pytest.raises(errors.InsufficientPrivilege):
                session.execute(statement)
    assert cluster.value("select read_only from mcp.tokens where role = 'agent'::regrole") is True


def test_write_agent_changes_rows_and_no_more(agent, scratch):
    writer = agent(access="write", schemas=["lab"])
    assert not writer.sql("insert into lab.notes (body) values ('three')").is_error, "a serial column too"
    assert not writer.sql("update lab.notes set body = 'third' where body = 'three'").is_error
    assert writer.value("select count(*) from lab.notes where body = 'third'") == 1
    assert not writer.sql("delete from lab.notes where body = 'third'").is_error
    for statement in ("truncate lab.notes", "create table lab.mine (id int)", "alter table lab.notes add x int", "drop table lab.notes",
                      "create trigger t before insert on lab.notes execute function suppress_redundant_updates_trigger()",
                      "insert into shop.orders (customer_id, amount) values (1, 1)"):
        assert writer.sqlstate(statement) == "42501", statement


def test_admin_agent_makes_tables_there_and_nowhere_else(agent, scratch):
    admin = agent(access="admin", schemas=["lab"])
    assert not admin.sql("create table lab.mine (id int); insert into lab.mine values (1)").is_error
    assert not admin.sql("truncate lab.notes").is_error
    for statement in ("drop table lab.notes", "create table public.mine (id int)", "create schema mine", "create role mine", "create table shop.mine (id int)",
                      "create extension pg_trgm", "select pg_read_file('postgresql.conf')", "select * from mcp._tokens",
                      "select * from mcp.create_agent('mine')"):
        assert admin.sqlstate(statement) == "42501", statement
    assert any("trigger" in warning for warning in admin.made["warnings"])


@pytest.mark.parametrize("access", ["read", "write", "admin"])
def test_future_tables(cluster, agent, scratch, access):
    caller = agent(access=access, schemas=["lab"], future=True)
    cluster.sql("create table lab.later (id serial); insert into lab.later default values")
    assert caller.value("select count(*) from lab.later") == 1
    expected = "25006" if access == "read" else None
    answer = caller.sql("insert into lab.later default values")
    assert (answer.error["sqlstate"] if answer.is_error else None) == expected
    without = agent("short_sighted", schemas=["lab"])
    cluster.sql("create table lab.latest (id int)")
    assert without.sqlstate("select * from lab.latest") == "42501"


def test_tools_settings_label_and_expiry(cluster, agent, scratch):
    caller = agent(schemas=["lab"], tools=["list_tables", "execute_sql"], label="laptop of Ada", expires_at="2099-01-01",
                   settings={"statement_timeout": "7s", "search_path": ["lab", "pg_catalog"], "my.flag": "a, b"})
    assert set(caller.tools()) == {"list_tables", "execute_sql"}
    assert caller.sql("select current_setting('statement_timeout'), current_setting('search_path'), current_setting('my.flag')").rows == [
        ["7s", "lab, pg_catalog", "a, b"]]
    assert caller.value("select count(*) from notes") == 2
    name, tokens, expires, settings, can_read, can_change, state_, by = cluster.sql(
        "select name, tokens, expires_at::date::text, settings, can_read, can_change, state, created_by from mcp.agents")[0]
    assert (name, tokens, expires, can_read, can_change, state_, by) == ("agent", 1, "2099-01-01", ["lab.notes"], [], "active", "postgres")
    assert "statement_timeout=7s" in settings
    # The view reads the catalogs: what somebody granted by hand shows, and what was revoked does not.
    cluster.sql("grant insert on lab.notes to agent; revoke select on lab.notes from agent; select mcp.revoke_tools('agent')")
    assert cluster.sql("select can_read, can_change, tools, writes from mcp.agents") == [([], ["lab.notes"], None, False)]


def test_limits(cluster, dba, site_admin):
    before = cluster.sql("select role, max_rows from mcp.limits")
    made = create(site_admin, "helper", schemas=["own"], calls_per_minute=600, max_concurrent=2, max_rows=3, max_seconds=5)
    assert cluster.sql("select calls_per_minute, max_concurrent, max_rows, max_seconds from mcp.limits where role = 'helper'::regrole") == [(600, 2, 3, 5)]
    assert len(Caller(cluster, bearer(made["token"])).sql("select generate_series(1, 9)").rows) == 3
    site_admin.execute("select mcp.drop_agent('helper')")
    assert cluster.sql("select role, max_rows from mcp.limits") == before


# ---- warnings

def warned(made):
    return {warning.split(" ")[0] for warning in made["warnings"] if "row-level security" in warning}


def test_every_readable_table_without_rls_is_named(cluster, agent):
    made = agent(schemas=["shop"]).made
    without = {row[0] for row in cluster.sql(
        "select 'shop.' || relname from pg_class where relnamespace = 'shop'::regnamespace and relkind in ('r', 'p') and not relrowsecurity")}
    assert len(without) >= 4
    # note has RLS and a policy for PUBLIC; big_orders is a view of its owner's.
    assert warned(made) == without | {"shop.big_orders"}


def test_warnings_tell_what_to_do_and_then_stop(cluster, agent, scratch):
    made = agent("first", schemas=["lab"]).made
    [warning] = [w for w in made["warnings"] if w.startswith("lab.notes")]
    assert "alter table lab.notes enable row level security" in warning and "revoke select on lab.notes from first" in warning
    cluster.sql("alter table lab.notes enable row level security")
    [warning] = [w for w in agent("second", schemas=["lab"]).made["warnings"] if w.startswith("lab.notes")]
    assert "no policy for second" in warning
    cluster.sql("create policy all_rows on lab.notes for select using (true)")
    assert agent("third", schemas=["lab"]).made["warnings"] == []


def test_what_public_gives_is_warned_of(cluster, agent, scratch):
    cluster.sql("""
        create schema open; grant usage, create on schema open to public;
        create table open.all_read (id int); grant select on open.all_read to public;
        create table open.all_write (id int); grant insert on open.all_write to public;
        create table open.column_read (id int, secret int); grant select (id) on open.column_read to public;
        create function open.strong() returns int language sql security definer as 'select 1';
        create materialized view open.kept as select 1 as id; grant select on open.kept to public""")
    try:
        warnings = agent(schemas=["lab"]).made["warnings"]
        text = "\n".join(warnings)
        assert "open.all_read has no row-level security" in text and "revoke select on open.all_read from public" in text
        assert "open.column_read has no row-level security" in text
        assert "open.kept is a materialized view" in text
        assert "PUBLIC may change open.all_write" in text
        assert "open.strong() runs with the rights of its owner postgres" in text and "from public" in text
        assert "PUBLIC may create objects in schema open" in text
    finally:
        cluster.sql("drop schema open cascade")


# ---- taking back

def test_drop_leaves_nothing(cluster, dba, scratch):
    before = state(cluster)
    for access in ("read", "write", "admin"):
        create(dba, f"x_{access}", access=access, schemas=["lab", "shop"], future=True, settings={"statement_timeout": "5s"})
        cluster.sql(f"select mcp.create_token('x_{access}', 'second of {access}'); select mcp.map_peer('os_{access}', 'x_{access}')")
        cluster.sql(f"create policy only_{access} on lab.notes to x_{access} using (true); grant reader_bridge to x_{access}")
    assert state(cluster) != before
    for access in ("read", "write", "admin"):
        dba.execute("select mcp.drop_agent(%s)", [f"x_{access}"])
    same(state(cluster), before)


def test_drop_keeps_what_the_agent_made(cluster, agent, scratch):
    caller = agent(access="admin", schemas=["lab"])
    assert not caller.sql("create table lab.made (id int); insert into lab.made values (1), (2)").is_error
    done = cluster.value("select mcp.drop_agent('agent')")
    assert any("lab.made belongs to postgres now" in line for line in done), done
    assert cluster.sql("select count(*), min(tableowner) from lab.made, pg_tables where tablename = 'made'") == [(2, "postgres")]
    assert not is_served(caller)


def test_drop_ends_a_running_call(cluster, agent, scratch):
    caller = agent(access="admin", schemas=["lab"])
    assert not caller.sql("create table lab.made (id int)").is_error
    with caller.line() as busy:
        number = busy.start("tools/call", {"name": "execute_sql", "arguments": {"query": "lock table lab.made; select pg_sleep(25)"}})
        wait_until(lambda: cluster.value("select count(*) from pg_locks where relation = 'lab.made'::regclass and mode = 'AccessExclusiveLock'"),
                   10, "the call holds its lock")
        cluster.sql("set statement_timeout = '15s'; select mcp.drop_agent('agent')")
        answer = busy.finish(number)
        assert "error" in answer or answer["result"]["isError"]


def test_drop_says_what_stands_in_its_way(cluster, agent, scratch):
    agent(schemas=["lab"])
    cluster.sql("create database elsewhere")
    try:
        cluster.sql("grant usage on schema public to agent", database="elsewhere")
        with pytest.raises(errors.DependentObjectsStillExist, match="drop owned by agent"):
            cluster.sql("select mcp.drop_agent('agent')")
        assert cluster.value("select count(*) from mcp.agents where name = 'agent'") == 1, "nothing was half done"
        assert cluster.value("select tokens from mcp.agents where name = 'agent'") == 1
    finally:
        cluster.sql("drop database elsewhere")


def test_drop_refuses_what_it_did_not_make(cluster):
    for name in ("reader_direct", "postgres", "nobody of this name"):
        with pytest.raises(errors.UndefinedObject, match="there is no agent"):
            cluster.sql("select mcp.drop_agent(%s)", [name])


def test_record_of_a_role_dropped_by_hand_goes(cluster, dba, scratch):
    create(dba, "by_hand", schemas=["lab"])
    cluster.sql("drop owned by by_hand; drop role by_hand")
    assert cluster.value("select state from mcp.agents") == "role dropped"
    create(dba, "another", schemas=["lab"])
    assert cluster.sql("select name, state from mcp.agents") == [("another", "active")]
    cluster.sql("select mcp.drop_agent('another'); delete from mcp._tokens t where not exists (select from pg_roles r where r.oid = t.role)")


# ---- bad input

BAD = [
    (dict(name=""), "22023"),
    (dict(name=None), "22023"),
    (dict(name="n" * 64), "42622"),
    (dict(name="pg_agent"), "42939"),
    (dict(name="mcp_agent"), "42939"),
    (dict(name="public"), "42939"),
    (dict(name="reader_direct"), "42710"),
    (dict(name="bad", access="root"), "22023"),
    (dict(name="bad", access=None), "22023"),
    (dict(name="bad", schemas=["no such schema"]), "3F000"),
    (dict(name="bad", schemas=["shop", "pg_catalog"]), "22023"),
    (dict(name="bad", schemas=["mcp"]), "22023"),
    (dict(name="bad", schemas=[]), "22023"),
    (dict(name="bad", schemas=None), "22023"),
    (dict(name="bad", tools=["no_such_tool"]), "42704"),
    (dict(name="bad", client="no such client"), "22023"),
    (dict(name="bad", expires_at="2001-01-01"), "22023"),
    (dict(name="bad", settings={"no_such_setting": "1"}), "42704"),
    (dict(name="bad", settings={"statement_timeout": "soon"}), "22023"),
    (dict(name="bad", settings={"statement_timeout": {"x": 1}}), "22023"),
    (dict(name="bad", settings={"statement_timeout": None}), "22023"),
    (dict(name="bad", label="taken"), "23505"),
]


@pytest.mark.parametrize("arguments, sqlstate", BAD, ids=[str(arguments)[:60] for arguments, _ in BAD])
def test_bad_input_changes_nothing(cluster, dba, arguments, sqlstate):
    if cluster.value("select count(*) from mcp.tokens where label = 'taken'") == 0:
        cluster.sql("select mcp.create_token('reader_direct', 'taken')")
    before = state(cluster)
    with pytest.raises(Exception) as seen:
        create(dba, **arguments)
    assert seen.value.sqlstate == sqlstate, seen.value
    same(state(cluster), before)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(cluster, dba, scratch, name):
    before = state(cluster)
    made = create(dba, name, access="admin", schemas=["lab"], future=True, label=f"token of {name}")
    caller = Caller(cluster, bearer(made["token"]))
    assert caller.value("select current_user") == name
    assert caller.value("select count(*) from lab.notes") == 2
    dba.execute("select mcp.drop_agent(%s)", [name])
    same(state(cluster), before)


def test_schema_with_a_hostile_name(cluster, agent):
    cluster.sql('create schema "s""p a\'c.e"; create table "s""p a\'c.e"."t""t" as select 1 as id')
    try:
        caller = agent(schemas=['s"p a\'c.e'])
        assert caller.value('select id from "s""p a\'c.e"."t""t"') == 1
        assert any('"t""t"' in warning for warning in caller.made["warnings"])
    finally:
        cluster.sql('drop schema "s""p a\'c.e" cascade')


# ---- an administrator who is no superuser

@pytest.fixture
def site_admin(cluster):
    """A member of mcp_admin with CREATEROLE, who owns a schema: what `postgres` is on Supabase."""
    cluster.sql("create role boss login createrole in role mcp_admin; create schema own authorization boss")
    with cluster.connect(user="boss") as connection:
        connection.execute("create table own.book (id int); insert into own.book values (1); create table own.pen (id int)")
        cluster.sql("create table own.foreign_table (id int)")
        yield connection
    cluster.sql("drop schema own cascade; drop owned by boss; drop role boss")


@pytest.mark.parametrize("access", ["read", "write", "admin"])
def test_administrator_without_superuser(cluster, site_admin, access):
    before = state(cluster)
    made = create(site_admin, "helper", access=access, schemas=["own"], future=True)
    assert any(warning.startswith("own.foreign_table: nothing was granted") for warning in made["warnings"])
    caller = Caller(cluster, bearer(made["token"]))
    assert caller.value("select count(*) from own.book") == 1
    assert caller.sqlstate("select * from own.foreign_table") == "42501"
    assert caller.sql("insert into own.book values (2)").is_error == (access == "read")
    if access == "admin":
        assert not caller.sql("create table own.made (id int)").is_error
    assert site_admin.execute("select name, access from mcp.agents").fetchall() == [("helper", access)]
    site_admin.execute("select mcp.drop_agent('helper')")
    if access == "admin":
        assert cluster.value("select tableowner from pg_tables where tablename = 'made'") == "boss"
        cluster.sql("drop table own.made")
    same(state(cluster), before)
    assert not is_served(caller)


def test_administrator_grants_only_what_is_his(cluster, site_admin):
    before = state(cluster)
    with pytest.raises(errors.InsufficientPrivilege, match="shop"):
        create(site_admin, "helper", schemas=["shop"])
    same(state(cluster), before)


def test_administrator_drops_only_what_he_administers(cluster, site_admin, agent, scratch):
    agent(schemas=["lab"])
    with pytest.raises(errors.InsufficientPrivilege, match="ADMIN OPTION"):
        site_admin.execute("select mcp.drop_agent('agent')")


def test_createrole_is_needed_and_mcp_admin_too(cluster):
    cluster.sql("create role mere_admin login in role mcp_admin; create role mere_creator login createrole")
    try:
        with cluster.connect(user="mere_admin") as connection, pytest.raises(errors.InsufficientPrivilege, match="CREATEROLE"):
            create(connection, "helper")
        with cluster.connect(user="mere_creator") as connection:
            for call in ("create_agent('helper')", "drop_agent('helper')", "create_tenant('helper', 'role')", "drop_tenant('helper')",
                         "client_config('json')", "_errand(1, '{}')", "_drop_role('reader_direct')"):
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(f"select mcp.{call}")
    finally:
        cluster.sql("drop role mere_admin, mere_creator")
