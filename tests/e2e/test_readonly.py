"""Read-only is a property of the transaction that the caller's own SQL cannot take off, and nothing survives the call.

Each attempt is raw SQL by a role whose grants would allow the write: a writer with a read-only token, in both executor forms.
After each the superuser looks whether anything changed.
"""

import pytest

from harness.caller import token_caller

WRITE = "update shop.counter set n = n + 1000"


@pytest.fixture(scope="module")
def read_only_callers(cluster):
    return {form: token_caller(cluster, f"writer_{form}", read_only=True, form=form) for form in ("direct", "bridge")}


@pytest.fixture
def bound(cluster, read_only_callers, form):
    """A read-only caller, and the check that the shop is as it was."""
    state = ("select (select jsonb_agg(to_jsonb(c)) from shop.counter c), (select count(*) from shop.orders),"
             "(select count(*) from pg_largeobject_metadata), (select count(*) from pg_class where relpersistence <> 't'),"
             "(select count(*) from pg_proc), (select count(*) from pg_prepared_xacts),"
             "(select last_value from pg_sequences where schemaname = 'shop' and sequencename like 'orders%'),"
             "(select jsonb_agg(to_jsonb(s)) from pg_db_role_setting s), (select count(*) from pg_replication_slots)")
    before = cluster.sql(state)
    yield read_only_callers[form]
    assert cluster.sql(state) == before, "the read-only call changed something"


LIFT = {
    "set transaction": "set transaction read write",
    "set transaction in do": "do $$begin set transaction read write; end$$",
    "execute in do": "do $$begin execute 'set transaction read write'; end$$",
    "set": "set transaction_read_only = off",
    "set local": "set local transaction_read_only = off",
    "reset": "reset transaction_read_only",
    "to default": "set transaction_read_only to default",
    "local to default": "set local transaction_read_only to default",
    "reset all": "reset all",
    "set_config off": "select set_config('transaction_read_only', 'off', true)",
    "set_config off session": "select set_config('transaction_read_only', 'off', false)",
    "set_config null": "select set_config('transaction_read_only', null, true)",
    "set_config null session": "select set_config('transaction_read_only', null, false)",
    "update pg_settings": "update pg_settings set setting = 'off' where name = 'transaction_read_only'",
    "default_transaction_read_only": "set default_transaction_read_only = off",
    "session characteristics": "set session characteristics as transaction read write",
    "begin": "begin read write",
    "commit": "commit",
    "commit and chain": "commit and chain",
    "rollback": "rollback",
    "rollback and chain": "rollback and chain",
    "rollback then begin": "rollback; begin read write",
    "end": "end",
    "savepoint": "savepoint a; set transaction read write",
    "discard all": "discard all",
    "commit in do": "do $$begin commit; end$$",
    "rollback in do": "do $$begin rollback; set transaction read write; end$$",
    "trap in do": "do $$begin begin set transaction read write; exception when others then null; end; end$$",
    "prepared": "prepare p as set transaction read write",
    "comment before": "/* x */ -- y\n set transaction read write",
    "snapshot import": "set transaction snapshot '00000003-0000001B-1'",
    "isolation": "set transaction isolation level serializable, read write",
    "function set clause": ("create function pg_temp.f() returns int language sql set transaction_read_only = off as 'select 1'"),
}


@pytest.mark.parametrize("attempt", list(LIFT))
def test_the_flag_stays(bound, attempt):
    """Whatever the attempt does, the write behind it is refused, in the same text and in a later call."""
    result = bound.sql(f"{LIFT[attempt]}; {WRITE} returning n")
    assert result.is_error, f"the write ran: {result}"
    bound.sql(LIFT[attempt])
    assert bound.sql(WRITE).error["sqlstate"] == "25006"


@pytest.mark.parametrize("attempt", ["set_config null", "set_config off", "set_config null session"])
def test_one_statement_that_lifts_and_writes(bound, attempt):
    """One SELECT that lifts the flag and moves a sequence in the same target list: it must not even half work."""
    expression = LIFT[attempt].removeprefix("select ")
    bound.sql(f"select {expression}, setval('shop.orders_id_seq', 999999)")
    bound.sql(f"select {expression}, nextval('shop.orders_id_seq')")


WRITES = {
    "insert": "insert into shop.counter values ('x', 1)",
    "update": WRITE,
    "delete": "delete from shop.orders",
    "truncate": "truncate shop.counter",
    "merge": "merge into shop.counter c using (values ('a')) v(name) on c.name = v.name when matched then update set n = 5",
    "cte": "with w as (update shop.counter set n = 77 returning n) select * from w",
    "select into": "select 1 as a into shop.made",
    "create table": "create table {work}.made (a int)",
    "create table as": "create table {work}.made as select 1 as a",
    "create function": "create function {work}.made() returns int language sql as 'select 1'",
    "create temp function": "create function pg_temp.made() returns int language sql as 'select 1'",
    "comment": "comment on schema {work} is 'x'",
    "grant": "grant usage on schema {work} to public",
    "do": "do $$begin update shop.counter set n = 5; end$$",
    "do execute": "do $$begin execute 'update shop.counter set n = 5'; end$$",
    "explain analyze": "explain analyze update shop.counter set n = 5",
    "for update": "select * from shop.counter for update",
    "for share": "select * from shop.counter for share",
    "prepare execute": "prepare p as update shop.counter set n = 5; execute p",
    "cursor": "declare c cursor with hold for select * from shop.counter; update shop.counter set n = 5 where current of c",
    "nextval": "select nextval('shop.orders_id_seq')",
    "setval": "select setval('shop.orders_id_seq', 4711)",
    "notify": "notify shop, 'x'; update shop.counter set n = 5",
    "copy from program": "copy shop.counter from program 'echo x'",
    "alter role setting": "alter role current_user set work_mem = '5MB'",
    "alter role setting in database": "alter role current_user in database postgres set work_mem = '5MB'",
    "alter role password": "alter role current_user password 'x'",
    "drop": "drop table shop.counter",
    "refresh": "refresh materialized view shop.nope",
    "import": "select lo_import('/etc/passwd')",
    "security label": "security label on table shop.counter is 'x'",
    "reassign": "reassign owned by current_user to current_user; drop owned by current_user",
    "two phase": "prepare transaction 'left'",
    "xml to table": "select query_to_xml('update shop.counter set n = 5 returning n', true, true, '')",
    "dynamic through table function": "select * from xpath_table('a','b','shop.counter','/','true') as t(a int)",
    "cursor to xml": "select cursor_to_xml('c', 1, true, true, '')",
    "ts_stat": "select * from ts_stat('update shop.counter set n = 5 returning to_tsvector(''a'')')",
    "ts_rewrite": "select ts_rewrite('a'::tsquery, 'update shop.counter set n = 5 returning ''a''::tsquery, ''b''::tsquery')",
}


@pytest.mark.parametrize("attempt", list(WRITES))
def test_writes_are_refused(bound, attempt):
    result = bound.sql(WRITES[attempt].format(work=bound.role.replace("writer", "work")))
    assert result.is_error, result


LARGE_OBJECTS = ["select lo_create(4711)", "select lo_creat(-1)", "select lo_from_bytea(4712, '\\x01')", "select lo_unlink(4700)",
                 "select lo_put(4700, 0, '\\x02')", "select lowrite(lo_open(4700, 131072), '\\x03')",
                 "select lo_truncate(lo_open(4700, 131072), 0)", "do $$begin perform lo_create(4713); end$$"]


@pytest.fixture(scope="module")
def large_object(cluster):
    cluster.sql("select lo_from_bytea(4700, '\\x2a'); grant all on large object 4700 to writer_direct, writer_bridge")
    yield
    cluster.sql("select lo_unlink(4700)")


@pytest.mark.parametrize("text", LARGE_OBJECTS)
def test_large_objects_are_rolled_back(cluster, large_object, bound, text):
    """PostgreSQL 15 allows these in a read-only transaction; the rollback at the end is what undoes them."""
    bound.sql(text)
    assert bytes(cluster.value("select lo_get(4700)")) == b"\x2a"


def test_temp_tables_are_refused(bound):
    assert bound.sqlstate("create temp table t (a int)") == "25006"


def test_reading_role_without_write_permission_is_read_only(cluster, reader):
    """EXECUTE on execute_sql_write is the permission: table grants alone do not make a caller a writer."""
    cluster.sql(f"grant update on shop.counter to {reader.role}")
    try:
        assert reader.sqlstate(WRITE) == "25006"
    finally:
        cluster.sql(f"revoke update on shop.counter from {reader.role}")


def test_revoking_the_write_function_counts_at_the_next_call(cluster, writer):
    assert writer.sql("update shop.counter set n = n").statements[0]["affected"] == 1
    cluster.sql(f"select mcp.revoke_tools('{writer.role}'::regrole); select mcp.grant_tools('{writer.role}'::regrole)")
    try:
        assert writer.sqlstate("update shop.counter set n = n") == "25006"
    finally:
        cluster.sql(f"select mcp.grant_tools(role => '{writer.role}'::regrole, write => true)")
    assert writer.sql("update shop.counter set n = n").statements[0]["affected"] == 1


def test_default_transaction_read_only_is_honoured(cluster, writer):
    cluster.sql(f"alter role {writer.role} set default_transaction_read_only = on")
    try:
        assert writer.sqlstate("update shop.counter set n = n") == "25006"
    finally:
        cluster.sql(f"alter role {writer.role} reset default_transaction_read_only")
    assert writer.sql("update shop.counter set n = n").statements[0]["affected"] == 1


def test_reads_burn_no_transaction_id(cluster, reader):
    """Reads leave nothing behind, not even a transaction id: the same holds on a standby."""
    assert reader.value("select pg_current_xact_id_if_assigned() is null") is True


def test_read_only_writer_reads_and_a_writing_writer_writes(cluster, bound, writer):
    assert bound.value("select count(*) from shop.orders") > 0
    assert writer.sql("update shop.counter set n = n").statements[0]["affected"] == 1


def test_tool_declared_stable_runs_read_only(cluster, writer):
    """A read-only tool stays read-only whoever calls it: the plan is made without writing, even for a writer."""
    before = cluster.value("select n from shop.counter where name = 'a'")
    writer.tool("explain_query", {"query": "update shop.counter set n = n + 1"})
    writer.tool("explain_query", {"query": "update shop.counter set n = n + 1", "analyze": True})
    assert cluster.value("select n from shop.counter where name = 'a'") == before
