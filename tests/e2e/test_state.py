"""Nothing of a call outlives it: state between calls on one warm executor, and server crashes that a weak role could cause."""

import pytest

from harness.caller import token_caller

LEAKS = {
    # what the first call leaves behind, and how the next call would see it (value when it is clean)
    "custom setting": ("set my.secret = 'x'", "select coalesce(current_setting('my.secret', true), '')", ""),
    "search_path": ("set search_path = shop", "show search_path", '"$user", public'),
    "datestyle": ("set datestyle = 'German'", "show datestyle", None),
    "application_name": ("set application_name = 'poison'", "select current_setting('application_name') <> 'poison'", True),
    "client_encoding": ("set client_encoding = 'LATIN1'", "show client_encoding", None),
    "standard_conforming_strings": ("set standard_conforming_strings = off", "show standard_conforming_strings", "on"),
    "default_transaction_read_only": ("set default_transaction_read_only = on", "show default_transaction_read_only", "off"),
    "default isolation": ("set default_transaction_isolation = serializable", "show default_transaction_isolation", "read committed"),
    "exit_on_error": ("set exit_on_error = on", "show exit_on_error", "off"),
    "work_mem": ("set work_mem = '64kB'", "select current_setting('work_mem') <> '64kB'", True),
    "row_security": ("set row_security = off", "show row_security", "on"),
    "statement_timeout": ("set statement_timeout = '1ms'", "select current_setting('statement_timeout') <> '1ms'", True),
    "lock_timeout": ("set lock_timeout = '1ms'", "show lock_timeout", "0"),
    "timezone": ("set timezone = 'Asia/Tokyo'", "select current_setting('timezone') <> 'Asia/Tokyo'", True),
    "check_function_bodies": ("set check_function_bodies = off", "show check_function_bodies", "on"),
    "prepared statement": ("prepare leak as select 1", "select count(*) from pg_prepared_statements", 0),
    "held cursor": ("declare leak cursor with hold for select 1", "select count(*) from pg_cursors where name = 'leak'", 0),
    "session advisory lock": ("select pg_advisory_lock(77)", "select count(*) from pg_locks where locktype = 'advisory'", 0),
    "shared advisory lock": ("select pg_advisory_lock_shared(77)", "select count(*) from pg_locks where locktype = 'advisory'", 0),
    "temp table": ("create temp table leak (a int)", "select to_regclass('pg_temp.leak') is null", True),
    "temp view": ("create temp view leak as select 1 as a", "select to_regclass('pg_temp.leak') is null", True),
    "temp function": ("create function pg_temp.leak() returns int language sql as 'select 1'", "select to_regproc('pg_temp.leak') is null", True),
    "shadow table": ("create temp table counter (name text, n int); set search_path = pg_temp, shop", "select count(*) from shop.counter where name = 'a'", 1),
    "sequence state": ("create temp sequence s; select nextval('pg_temp.s')", "do $$begin perform lastval(); raise 'leaked'; exception when object_not_in_prerequisite_state then null; end$$; select true", True),
    "session role": ("set session characteristics as transaction isolation level serializable", "show transaction_isolation", "read committed"),
    "plan cache": ("set plan_cache_mode = force_generic_plan", "show plan_cache_mode", "auto"),
    "listen": ("listen leak", "select count(*) from pg_listening_channels()", 0),
}


@pytest.mark.parametrize("leak", list(LEAKS))
def test_state_does_not_leak(cluster, writer, leak):
    dirty, look, clean = LEAKS[leak]
    if clean is None:
        clean = writer.value(look)
    pid = writer.value("select pg_backend_pid()")
    writer.sql(dirty)
    result = writer.sql(look)
    assert result.value == clean
    assert writer.value("select pg_backend_pid()") == pid or "exit" in leak, "seen by the same warm executor"


@pytest.mark.parametrize("leak", ["custom setting", "prepared statement", "session advisory lock"])
def test_state_does_not_leak_after_an_error(writer, leak):
    dirty, look, clean = LEAKS[leak]
    assert writer.sql(f"{dirty}; select 1/0").is_error
    assert writer.value(look) == clean


def test_executor_belongs_to_one_principal(cluster):
    """Two tokens of one role never share a process: interpreter state and random seeds survive DISCARD ALL."""
    first, second = (token_caller(cluster, "reader_direct") for _ in range(2))
    pids = {first.value("select pg_backend_pid()"), second.value("select pg_backend_pid()")}
    assert len(pids) == 2


def test_direct_and_bridge_never_share_a_process(cluster):
    direct, bridge = token_caller(cluster, "reader_direct"), token_caller(cluster, "reader_bridge")
    assert direct.value("select pg_backend_pid()") != bridge.value("select pg_backend_pid()")


def test_two_bridge_targets_never_share_a_process(cluster):
    one, two = token_caller(cluster, "reader_bridge"), token_caller(cluster, "writer_bridge")
    first, second = (caller.value("select pg_backend_pid()") for caller in (one, two))
    assert first != second


# ---- what a weak role could do to the whole server

CRASHERS = {
    "sslinfo": "select ssl_is_used(), ssl_version(), ssl_cipher(), ssl_client_cert_present(), ssl_client_serial(), ssl_client_dn(), ssl_issuer_dn()",
    "sslinfo extensions": "select * from ssl_extension_info()",
    "inet functions": "select inet_client_addr(), inet_client_port(), inet_server_addr(), inet_server_port()",
    "backend pid": "select pg_backend_pid(), pg_my_temp_schema(), pg_blocking_pids(pg_backend_pid())",
    "activity": "select count(*) from pg_stat_activity; select count(*) from pg_stat_ssl; select count(*) from pg_stat_gssapi",
    "declare and fetch": "declare c cursor for select 1; fetch c; close c; declare c cursor for select 2; fetch c",
    "move and close": "declare c scroll cursor for select generate_series(1,10); move 5 in c; fetch backward 2 from c; close all",
    "cursor in do": "do $$declare c refcursor; begin open c for select 1; end$$",
    "deep nesting": "select " + "(" * 5000 + "1" + ")" * 5000,
    "deep function": "do $$begin execute 'create function pg_temp.r(i int) returns int language plpgsql as ''begin return pg_temp.r(i+1); end'''; end$$; select pg_temp.r(1)",
    "many columns": "select " + ",".join("1" for _ in range(1664)),
    "too many columns": "select " + ",".join("1" for _ in range(1700)),
    "huge allocation": "select length(repeat('x', 2000000000))",
    "regular expression": "select 'a' ~ repeat('(a*)*', 200)",
    "json depth": "select repeat('[', 100000)::json",
    "xml entities": "select xmlparse(document '<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>')::text",
    "notice flood": "do $$begin for i in 1..20000 loop raise notice 'n %', i; end loop; end$$",
    "warning flood": "do $$begin for i in 1..2000 loop raise warning 'w %', i; end loop; end$$",
    "fatal by exit": "set exit_on_error = on; select 1/0",
    "panic by raise": "do $$begin raise 'x' using errcode = 'XX000'; end$$",
    "self terminate": "select pg_terminate_backend(pg_backend_pid()), pg_sleep(1)",
    "self cancel": "select pg_cancel_backend(pg_backend_pid()), pg_sleep(1)",
    "temp tables": "do $$begin for i in 1..200 loop execute format('create temp table t%s (a int) on commit drop', i); end loop; end$$",
    "subtransactions": "do $$begin for i in 1..2000 loop begin perform 1/0; exception when others then null; end; end loop; end$$",
    "parallel": "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0; select count(*) from shop.orders",
    "forced parallel": "set force_parallel_mode = on; select count(*), current_user from shop.orders",
    "unlisten": "unlisten *",
    "checkpoint": "checkpoint",
    "set client encoding": "set client_encoding = 'SJIS'; select 'ü'",
    "discard": "discard all; discard temp; discard plans",
    "two phase": "prepare transaction 'x'",
    "values and planner": "explain (analyze, buffers, format json) select * from shop.orders o join shop.customer c on o.customer_id = c.id",
}


@pytest.fixture(scope="module")
def sslinfo(cluster):
    """contrib/sslinfo installed by the superuser, executable by all: the case of a project that has it enabled."""
    available = cluster.value("select exists (select from pg_available_extensions where name = 'sslinfo')")
    if available:
        cluster.sql("create extension sslinfo")
    yield available
    if available:
        cluster.sql("drop extension sslinfo")


@pytest.mark.parametrize("name", list(CRASHERS))
def test_server_survives(cluster, sslinfo, writer, name):
    """Whatever the text does, it is answered, the server runs on, and the caller is served again."""
    if name.startswith("sslinfo") and not sslinfo:
        pytest.skip("this Postgres has no contrib/sslinfo")
    result = writer.sql(CRASHERS[name])
    assert result.protocol_error is None
    if name == "sslinfo":
        assert result.rows[0][0] is False
    assert writer.value("select current_user::text") == writer.role


def test_notices_do_not_flood_the_server_log(cluster, writer):
    before = len(cluster.log())
    writer.sql("do $$begin for i in 1..500 loop raise warning 'flood % %', i, repeat('x', 200); end loop; end$$")
    assert len(cluster.log()) - before < 50_000


def test_caller_errors_do_not_show_secrets_in_the_log(cluster, simple):
    simple.sql("select * from shop.salary where 'hunter2' = 'x'")
    assert "hunter2" not in cluster.log()
