"""check_health, list_sizes and get_replication: each finding is made to happen, and seen by ordinary roles and by ones with the rights."""

import psycopg
import pytest

from harness.caller import Caller, token_caller
from harness.cluster import Cluster, server_major
from harness.sessions import Session
from harness.standby import Standby
from harness.waits import wait_until

CHECKS = ["connections", "locks", "cache", "wraparound", "vacuum", "statistics", "bloat", "indexes", "constraints", "sequences", "replication",
          "checkpoints", "settings", "prepared_transactions", "checksums"]


@pytest.fixture(scope="module")
def site():
    """A server of its own: what is wrong with it is wrong with the whole server."""
    one = Cluster(shared_preload_libraries="supabase_mcp", max_prepared_transactions=5, wal_level="logical", autovacuum="off").start()
    one.install()
    one.sql("""
        create role plain login; create role "Mon itor" login;
        grant pg_monitor, pg_read_all_data to "Mon itor";
        select mcp.grant_tools('plain'); select mcp.grant_tools('"Mon itor"');
        create schema "Sh op";
        create table "Sh op"."Or""ders" (id int primary key, t text);
        create table "Sh op".small (id int);
        create table "Sh op".closed (id int);
        grant usage on schema "Sh op" to plain;
        grant select on "Sh op"."Or""ders", "Sh op".small to plain;
        insert into "Sh op"."Or""ders" select n, repeat(md5(n::text), 10) from generate_series(1, 20000) n;
        -- Else the session's counts arrive some time after it has ended.
        select pg_stat_force_next_flush()""")
    one.sql("analyze")
    yield one
    one.remove()


@pytest.fixture(scope="module")
def plain(site):
    return token_caller(site, "plain")


@pytest.fixture(scope="module")
def monitor(site):
    return token_caller(site, '"Mon itor"')


def check(caller, name):
    data = caller.tool("check_health", {"checks": [name]}).data
    assert [item["name"] for item in data["checks"]] == [name] and data["status"] == data["checks"][0]["status"]
    return data["checks"][0]


# ---- the checks

def test_every_check_answers(plain, monitor):
    for caller in (plain, monitor):
        data = caller.tool("check_health").data
        assert [item["name"] for item in data["checks"]] == CHECKS
        assert not [item for item in data["checks"] if "failed" in item["message"] and item["name"] != "checksums"]
        assert data["status"] == "critical", "fsync is off in these tests"
        for item in data["checks"]:
            assert item["status"] in ("ok", "notice", "warning", "critical", "not_visible") and item["message"].endswith("."), item
            assert ("advice" in item) == (item["status"] not in ("ok", "not_visible")), item


def test_what_an_ordinary_role_does_not_see_is_said(plain, monitor):
    said = {item["name"]: item["not_visible"] for item in plain.tool("check_health").data["checks"] if "not_visible" in item}
    assert {"connections", "replication"} <= set(said) and "grant pg_read_all_stats to plain" in said["connections"]
    assert not [item for item in monitor.tool("check_health").data["checks"] if "not_visible" in item]


def test_unknown_check_has_a_hint(plain):
    error = plain.tool("check_health", {"checks": ["vacum"]}).error
    assert 'there is no health check "vacum"' in error["message"] and '"vacuum"' in error["hint"]
    assert "connections" in plain.tool("check_health", {"checks": ["zzz"]}).error["hint"]


def test_connections(site, monitor, plain):
    with Session(site, "plain") as idler:
        idler.run("begin; select 1")
        found = check(monitor, "connections")
        assert found["details"]["max"] == 100 and found["details"]["used"] >= 1 and found["status"] == "ok"
        assert [item["pid"] for item in found["details"]["idle_in_transaction"]] == [idler.pid]


def test_cache_and_checkpoints(site, plain):
    assert 0 < check(plain, "cache")["details"]["hit_percent"] <= 100
    before = check(plain, "checkpoints")["details"]["requested"]
    site.sql("create table marks (n int); checkpoint")
    wait_until(lambda: check(plain, "checkpoints")["details"]["requested"] > before, 20, "the checkpoint is counted")
    site.sql("drop table marks")


def test_wraparound(site, plain):
    oldest = "select max(age(datfrozenxid)) from pg_database"
    before = site.value(oldest)
    found = check(plain, "wraparound")
    assert found["status"] == "ok" and {"xid_age", "multixact_age", "name"} == set(found["details"]["databases"][0]) == set(found["details"]["tables"][0])
    # The trail of these very calls takes transaction numbers, so the age grows between two looks at it.
    assert before <= found["details"]["databases"][0]["xid_age"] <= site.value(oldest)


def test_dead_rows_and_old_statistics(site, plain):
    site.sql("""create table "Sh op".dead (id int) with (autovacuum_enabled = off);
                insert into "Sh op".dead select generate_series(1, 30000);
                select pg_stat_force_next_flush()""")
    try:
        wait_until(lambda: check(plain, "statistics")["status"] == "notice", 20, "the counters arrive")
        old = check(plain, "statistics")
        assert old["details"] == [{"table": '"Sh op".dead', "rows": 30000, "changed": 30000}] and "ANALYZE" in old["advice"]
        site.sql('analyze "Sh op".dead')
        wait_until(lambda: check(plain, "statistics")["status"] == "ok", 20, "they are analyzed")
        site.sql('delete from "Sh op".dead where id > 10000; select pg_stat_force_next_flush()')
        wait_until(lambda: check(plain, "vacuum")["status"] == "warning", 20, "the dead rows are counted")
        found = check(plain, "vacuum")["details"]
        assert found["dead_rows"] == [{"table": '"Sh op".dead', "dead": 20000, "live": 10000}] and found["autovacuum_off"] == ['"Sh op".dead']
        assert '"Sh op".dead' in found["never_vacuumed"]
        site.sql('vacuum "Sh op".dead')
        wait_until(lambda: "dead_rows" not in check(plain, "vacuum")["details"], 20, "they are cleaned away")
        assert check(plain, "vacuum")["status"] == "notice", "autovacuum is off for it"
    finally:
        site.sql('drop table "Sh op".dead')


def test_bloat_is_an_estimate(site, plain, monitor):
    site.sql("""create table "Sh op".bloated (id int primary key, t text);
                insert into "Sh op".bloated select n, repeat('x', 100) from generate_series(1, 60000) n;
                create table "Sh op".packed as select n as id, repeat('x', 100) as t from generate_series(1, 60000) n;
                delete from "Sh op".bloated where id % 10 > 0""")
    site.sql('vacuum (analyze) "Sh op".bloated')
    site.sql('vacuum (analyze) "Sh op".packed')
    try:
        found = check(monitor, "bloat")
        worst = {item["name"]: item for item in found["details"]}
        assert "estimate" in found["message"] and '"Sh op".packed' not in worst
        assert 80 <= worst['"Sh op".bloated']["percent"] <= 95 and worst['"Sh op".bloated']["kind"] == "table"
        assert 80 <= worst['"Sh op".bloated_pkey']["percent"] <= 95 and worst['"Sh op".bloated_pkey']["kind"] == "index"
        # plain may read one table of those, and is told of the others that it sees nothing of them.
        hidden = check(plain, "bloat")
        assert "bloated" not in str(hidden.get("details")) and "nothing is known of" in hidden["message"]
        site.sql('revoke select on "Sh op"."Or""ders" from plain')
        nothing = check(plain, "bloat")
        assert nothing["status"] == "not_visible" and "grant pg_read_all_data to plain" in nothing["not_visible"]
        site.sql('grant select on "Sh op"."Or""ders" to plain')
    finally:
        site.sql('drop table "Sh op".bloated, "Sh op".packed')


def test_invalid_index(site, plain):
    assert check(plain, "indexes") == {"name": "indexes", "status": "ok", "message": "All indexes are valid."}
    site.sql('create table "Sh op".doubled as select 1 as n from generate_series(1, 2)')
    try:
        with pytest.raises(psycopg.errors.UniqueViolation):
            site.sql('create unique index concurrently "Bad one" on "Sh op".doubled (n)')
        found = check(plain, "indexes")
        assert found["status"] == "warning" and found["details"] == [{"index": '"Sh op"."Bad one"', "table": '"Sh op".doubled', "maybe_building": False}]
        assert "reindex" in found["advice"]
    finally:
        site.sql('drop table "Sh op".doubled')


def test_constraint_that_was_not_validated(site, plain):
    assert check(plain, "constraints")["status"] == "ok"
    site.sql('alter table "Sh op".small add constraint "po sitive" check (id > 0) not valid')
    try:
        found = check(plain, "constraints")
        assert found["status"] == "notice" and found["details"] == [{"constraint": '"po sitive"', "table": '"Sh op".small'}]
    finally:
        site.sql('alter table "Sh op".small drop constraint "po sitive"')


@pytest.mark.skipif(server_major() < 18, reason="constraints that are not enforced came with PostgreSQL 18")
def test_constraint_that_is_not_enforced_is_no_finding(site, plain):
    site.sql('alter table "Sh op".small add constraint loose check (id > 0) not enforced')
    try:
        assert check(plain, "constraints")["status"] == "ok"
    finally:
        site.sql('alter table "Sh op".small drop constraint loose')


def test_sequences(site, plain, monitor):
    site.sql("""create table "Sh op".narrow (id serial, big bigserial, mine int);
                create sequence "Sh op"."wi de" as bigint; alter table "Sh op".narrow alter mine set default nextval('"Sh op"."wi de"');
                create sequence "Sh op".down as smallint increment -1;
                select setval('"Sh op".narrow_big_seq', 2000000000), setval('"Sh op"."wi de"', 2000000000), setval('"Sh op".down', -20000);
                grant usage on sequence "Sh op"."wi de", "Sh op".narrow_big_seq to plain""")
    try:
        found = check(plain, "sequences")
        assert found["status"] == "critical" and found["details"] == [
            {"sequence": '"Sh op"."wi de"', "column": '"Sh op".narrow.mine', "type": "integer", "last": 2000000000, "end": 2147483647, "percent": 93.1}]
        assert "sequences on which you have neither" in found["not_visible"] and "grant pg_read_all_data to plain" in found["not_visible"]
        full = check(monitor, "sequences")
        assert [(item["sequence"], item["percent"]) for item in full["details"]] == [('"Sh op"."wi de"', 93.1), ('"Sh op".down', 61.0)]
        site.sql('revoke usage on sequence "Sh op"."wi de", "Sh op".narrow_big_seq from plain')
        assert check(plain, "sequences")["status"] == "not_visible"
    finally:
        site.sql('drop table "Sh op".narrow; drop sequence "Sh op"."wi de", "Sh op".down')


def test_settings(site, plain):
    found = check(plain, "settings")
    by_name = {item["name"]: item for item in found["details"]}
    assert found["status"] == "critical" and {"fsync", "full_page_writes", "autovacuum"} <= set(by_name)
    assert by_name["fsync"] == {"name": "fsync", "value": "off", "status": "critical", "why": "a crash of the machine can destroy all data"}
    assert "track_counts" not in by_name
    site.configure(max_locks_per_transaction=100)
    try:
        wait_until(lambda: "max_locks_per_transaction" in check(plain, "settings")["message"], 20, "the change waits for a restart")
    finally:
        site.configure(max_locks_per_transaction=None)


def test_prepared_transactions(site, plain, monitor):
    assert check(plain, "prepared_transactions")["status"] == "ok"
    site.sql("begin; lock table \"Sh op\".small; prepare transaction 'forgotten \"one\"'")
    try:
        found = check(plain, "prepared_transactions")
        assert found["status"] == "notice" and found["details"][0]["gid"] == 'forgotten "one"' and found["details"][0]["owner"] == "postgres"
        with Session(site, "plain") as behind:
            behind.start('select * from "Sh op".small').waits()
            root, waiter = monitor.tool("list_locks").data["sessions"]
            assert root["pid"] == 0 and root["prepared_transactions"] == ['forgotten "one"'] and root["holds"][0]["object"] == '"Sh op".small'
            assert waiter["pid"] == behind.pid and waiter["blocked_by"] == [0]
    finally:
        site.sql("rollback prepared 'forgotten \"one\"'")


def test_checksums(site, plain):
    found = check(plain, "checksums")
    on = site.value("show data_checksums") == "on"
    assert (found["status"], "pg_checksums" in str(found)) == (("ok", False) if on else ("notice", True))


# ---- sizes

def test_sizes_of_tables_by_pages(site, plain, monitor):
    first = monitor.tool("list_sizes", {"schema": "Sh op", "max_entries": 1}).data
    assert first["truncated"] is True and [item["name"] for item in first["sizes"]] == ['"Sh op"."Or""ders"']
    orders = first["sizes"][0]
    row = site.sql("""select pg_total_relation_size(c), pg_indexes_size(c), pg_total_relation_size(reltoastrelid), pg_relation_size(c)
                        from (select '"Sh op"."Or""ders"'::regclass as c) x join pg_class on oid = c""")[0]
    assert (orders["total_bytes"], orders["index_bytes"], orders["toast_bytes"]) == row[:3] and orders["rows"] == 20000
    assert orders["table_bytes"] == row[0] - row[1] - row[2] >= row[3] and orders["total"].endswith("MB") or orders["total"].endswith("kB")
    rest = monitor.tool("list_sizes", {"schema": "Sh op", "max_entries": 5, "after": first["next"]}).data
    assert [item["name"] for item in rest["sizes"]] == ['"Sh op".small', '"Sh op".closed'] and "truncated" not in rest
    mine = plain.tool("list_sizes", {"schema": "Sh op"}).data
    assert [item["name"] for item in mine["sizes"]] == ['"Sh op"."Or""ders"', '"Sh op".small']
    assert "1 tables on which you have no privilege: needs pg_monitor" in mine["not_visible"]


def test_sizes_of_other_kinds(site, plain, monitor):
    index = monitor.tool("list_sizes", {"kind": "index", "schema": "Sh op"}).data["sizes"]
    assert index[0]["name"] == '"Sh op"."Or""ders_pkey"' and index[0]["table"] == '"Sh op"."Or""ders"' and index[0]["unique"] is True
    schemas = {item["name"]: item for item in monitor.tool("list_sizes", {"kind": "schema"}).data["sizes"]}
    assert schemas['"Sh op"']["tables"] == 3 and schemas['"Sh op"']["total_bytes"] > schemas["mcp"]["total_bytes"]
    site.sql("create database secluded")
    site.sql("revoke connect on database secluded from public")
    try:
        seen = plain.tool("list_sizes", {"kind": "database"}).data
        assert "secluded" not in str(seen["sizes"]) and "1 databases" in seen["not_visible"]
        everything = {item["name"]: item for item in monitor.tool("list_sizes", {"kind": "database"}).data["sizes"]}
        assert "secluded" in everything and everything["postgres"]["current"] is True
    finally:
        site.sql("drop database secluded")


@pytest.mark.parametrize("kind", ["table", "index", "schema"])
def test_sizes_of_nothing_but_hidden_tables(site, plain, kind):
    site.sql("create schema shut; grant usage on schema shut to plain; create table shut.a (id int primary key); create table shut.b (id int)")
    try:
        data = plain.tool("list_sizes", {"kind": kind, "schema": "shut"}).data
        assert data["sizes"] == [] and "2 tables on which you have no privilege" in data["not_visible"] and set(data) == {"sizes", "not_visible"}
    finally:
        site.sql("drop schema shut cascade")


def test_sizes_wait_for_no_lock(site, monitor):
    """pg_total_relation_size would wait for the table until the lock is gone."""
    with Session(site) as session:
        session.run('begin; lock table "Sh op"."Or""ders"')
        data = monitor.tool("list_sizes", {"schema": "Sh op"}).data
        orders = next(item for item in data["sizes"] if item["name"] == '"Sh op"."Or""ders"')
        assert orders["estimated"] is True and orders["total_bytes"] > 1000000 and "1 tables not measured" in data["note"]


@pytest.mark.parametrize("arguments,said", [({"kind": "tables"}, "Kinds: table, index"), ({"schema": "Sh o"}, 'Perhaps you meant "Sh op"'),
                                            ({"after": "public.orders"}, "Leave it out"), ({"schema": "' or true"}, "list_schemas")])
def test_sizes_refuse_what_they_do_not_know(plain, arguments, said):
    assert said in plain.tool("list_sizes", arguments).error["hint"]


# ---- replication

def test_slots_publications_and_subscriptions(site, plain, monitor):
    # pgoutput comes with every server.
    site.sql("select pg_create_physical_replication_slot('lazy', true), pg_create_physical_replication_slot('blank')")
    site.sql("select pg_create_logical_replication_slot('decoded', 'pgoutput')")
    site.sql("""create publication "Pub one" for table "Sh op".small with (publish = 'insert, update');
                create publication everything for all tables;
                create subscription "Sub one" connection 'host=nowhere password=sesame' publication p with (connect = false, slot_name = none)""")
    try:
        data = plain.tool("get_replication").data
        slots = {item["name"]: item for item in data["slots"]}
        assert data["role"] == "primary" and slots["lazy"]["active"] is False and slots["lazy"]["type"] == "physical"
        assert "unconfirmed_bytes" not in slots["lazy"] and "retained_bytes" not in slots["blank"]
        assert slots["decoded"]["plugin"] == "pgoutput" and slots["decoded"]["database"] == "postgres" and slots["decoded"]["catalog_xmin_age"] >= 0
        assert ("conflicting" in slots["decoded"]) is (server_major() >= 16)
        assert slots["lazy"]["wal_status"] == "reserved" and slots["lazy"]["retained_bytes"] >= 0
        assert data["publications"] == [
            {"name": "Pub one", "owner": "postgres", "operations": ["insert", "update"], "tables": 1},
            {"name": "everything", "owner": "postgres", "all_tables": True, "operations": ["insert", "update", "delete", "truncate"], "tables": 0}]
        assert data["subscriptions"][0]["name"] == "Sub one" and data["subscriptions"][0]["publications"] == ["p"]
        assert data["subscriptions"][0]["enabled"] is False and "sesame" not in str(data)
        assert "grant pg_read_all_stats to plain" in data["not_visible"]
        assert "sesame" not in str(monitor.tool("get_replication").data) and "not_visible" not in monitor.tool("get_replication").data
        found = check(plain, "replication")
        assert found["status"] == "notice" and "lazy" in [item["slot"] for item in found["details"]]
    finally:
        site.sql("""drop publication "Pub one", everything; drop subscription "Sub one" """)
        site.sql("select pg_drop_replication_slot(slot_name) from pg_replication_slots")


def test_primary_and_standby(site, plain, monitor):
    standby = Standby(site, max_prepared_transactions=5).start()
    try:
        standby.ready()
        site.sql("create table marks (n int); drop table marks")
        standby.caught_up()
        sender = wait_until(lambda: [item for item in monitor.tool("get_replication").data["senders"] if item.get("state") == "streaming"],
                            20, "the standby streams")[0]
        assert sender["user"] == "postgres" and sender["sync_state"] == "async" and sender["replay_lag_bytes"] >= 0
        hidden = plain.tool("get_replication").data["senders"][0]
        assert hidden["pid"] == sender["pid"] and set(hidden) == {"pid", "user", "application"}
        there = Caller(standby, monitor.headers, role=monitor.role)
        data = there.tool("get_replication").data
        assert data["role"] == "standby" and data["receiver"]["status"] == "streaming" and data["recovery"]["replay_paused"] is False
        wait_until(lambda: there.tool("get_replication").data["recovery"]["replay_lag_seconds"] == 0, 20, "all that came is replayed")
        everything = there.tool("check_health").data["checks"]
        assert [item["name"] for item in everything] == CHECKS and not [item for item in everything if "check failed" in item["message"]]
        standby.sql("select pg_wal_replay_pause()")
        wait_until(lambda: there.tool("get_replication").data["recovery"]["replay_paused"], 20, "it is paused")
        assert check(there, "replication")["status"] == "warning"
        assert there.tool("list_sizes").data["sizes"] and there.tool("list_locks").data["waiting"] == 0
        assert not there.tool("list_activity").is_error and not there.tool("list_progress").is_error
    finally:
        standby.remove()
