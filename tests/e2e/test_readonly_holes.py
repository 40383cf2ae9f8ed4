"""What READ ONLY leaves open, as docs/security.md lists it: each hole shown, so that the page is known to be true.

A hole that a PostgreSQL version closes may fail here one day; then the page loses a line.
"""

import pytest

from harness.caller import token_caller


@pytest.fixture
def bound(cluster, form):
    return token_caller(cluster, f"writer_{form}", read_only=True, form=form)


def test_transaction_ids_can_be_used_up(cluster, bound):
    before = int(cluster.value("select txid_snapshot_xmax(txid_current_snapshot())"))
    assert int(bound.value("select pg_current_xact_id()::text")) >= before


def test_messages_can_be_written_to_the_wal(cluster, bound):
    before = cluster.value("select pg_current_wal_insert_lsn()::text")
    bound.sql("select pg_logical_emit_message(false, 'mcp', repeat('x', 10000))").data
    assert cluster.value("select pg_current_wal_insert_lsn() - %s::pg_lsn >= 10000", [before]) is True


def test_a_revoked_function_closes_that(cluster, bound):
    # PostgreSQL 17 gave it one more argument.
    function = cluster.value("select oid::regprocedure::text from pg_proc where proname = 'pg_logical_emit_message'"
                             " and proargtypes[2] = 'text'::regtype")
    cluster.sql(f"revoke execute on function {function} from public")
    try:
        assert bound.sqlstate("select pg_logical_emit_message(false, 'mcp', 'x')") == "42501"
    finally:
        cluster.sql(f"grant execute on function {function} to public")


def test_row_share_locks_are_taken_and_gone_after_the_call(cluster, bound):
    bound.sql("lock table shop.counter in access share mode; select 1").data
    assert bound.sqlstate("lock table shop.counter in share mode") == "25006"
    assert cluster.value("select count(*) from pg_locks where relation = 'shop.counter'::regclass") == 0


def test_advisory_locks_are_taken_and_gone_after_the_call(cluster, bound):
    assert bound.value("select pg_try_advisory_lock(4711)") is True
    # The process clears its session when the answer is out.
    other = token_caller(cluster, "writer_direct")
    assert bound.value("select count(*) from pg_locks where locktype = 'advisory'") == 0
    assert other.value("select pg_try_advisory_lock(4711)") is True


def test_notifications_are_not_sent(cluster, bound):
    with cluster.connect(autocommit=True) as listener:
        listener.execute("listen shop")
        assert bound.sqlstate("notify shop, 'x'") == "25006"
        # The function is no statement that could be refused; the rollback takes it back.
        bound.sql("select pg_notify('shop', 'y')").data
        cluster.sql("select pg_notify('shop', 'the end')")
        payloads = [n.payload for n in listener.notifies(timeout=10, stop_after=1)]
        assert payloads == ["the end"]


def test_functions_that_act_outside_the_transaction_are_a_grant(cluster, bound):
    if not cluster.value("select count(*) from pg_available_extensions where name = 'dblink'"):
        pytest.skip("this PostgreSQL has no dblink")
    cluster.sql("create extension if not exists dblink schema public")
    try:
        connection = f"host={cluster.folder} dbname=postgres user=postgres"
        # Postgres' own rule: who is no superuser needs a password in the connection.
        assert bound.sqlstate(f"select dblink_exec('{connection}', 'create table hole (a int)')") == "2F003"
        cluster.sql(f"grant execute on function dblink_connect_u(text, text) to {bound.role}")
        written = bound.sql(f"select dblink_connect_u('hole', '{connection}'); select dblink_exec('hole', 'create table shop.hole (a int)')")
        # Given the function that needs none, the other connection writes although the call may not.
        assert not written.is_error, written
        assert cluster.value("select to_regclass('shop.hole') is not null") is True
    finally:
        cluster.sql("drop extension dblink; drop table if exists shop.hole")


def test_temporary_files_are_bounded_by_temp_file_limit(cluster, bound):
    cluster.sql(f"alter role {bound.role} set temp_file_limit = '1MB'; alter role {bound.role} set work_mem = '64kB'")
    try:
        assert bound.sqlstate("select count(*) from (select n from generate_series(1, 2000000) n order by md5(n::text)) s") == "53400"
        # The caller cannot raise it.
        assert bound.sqlstate("set temp_file_limit = -1") == "42501"
    finally:
        cluster.sql(f"alter role {bound.role} reset temp_file_limit; alter role {bound.role} reset work_mem")


def test_programs_files_and_libraries_stay_closed(bound):
    for query in ("copy shop.counter to program 'cat'", "copy (select 1) to '/tmp/mcp-hole'", "select pg_read_file('/etc/passwd')",
                  "select pg_ls_dir('/')", "load 'auto_explain'", "select lo_export(1, '/tmp/mcp-hole')", "select pg_reload_conf()",
                  "select pg_switch_wal()", "select pg_create_restore_point('x')", "alter system set work_mem = '1GB'"):
        assert bound.sqlstate(query) in ("42501", "25001", "25006"), query
