"""execute_sql: parameters, several statements, counts, errors a model can act on."""

import pytest


# ---- parameters

@pytest.mark.parametrize("cast,given,expected", [
    ("int", 5, 5), ("text", "a'b\"c\\", "a'b\"c\\"), ("bool", True, True), ("bool", "f", False), ("numeric", "1.50", "1.50"),
    ("numeric", 1.5, "1.5"), ("bigint", 9007199254740993, "9007199254740993"), ("int", None, None),
    ("timestamptz", "2026-01-02T03:04:05Z", None), ("jsonb", {"a": [1, None]}, {"a": [1, None]}), ("json", [1, 2], [1, 2]),
    ("jsonb", True, True), ("jsonb", 3, 3), ("text", 7, "7"), ("uuid", "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000001"),
    ("int[]", [1, 2, None], [1, 2, None]), ("text[]", ["a", "b,c", "NULL", ""], ["a", "b,c", "NULL", ""]),
    ("float8", 0.1, 0.1), ("text", "ü€😀", "ü€😀"),
])
def test_parameters(simple, cast, given, expected):
    result = simple.sql(f"select $1::{cast}", [given])
    if cast == "timestamptz":
        assert result.value.startswith("2026-01-02 03:04:05")
    else:
        assert result.value == expected


def test_parameters_take_their_type_from_the_statement(simple):
    assert simple.sql("select name from shop.customer where id = $1 and name like $2", [3, "cust%"]).rows == [["customer 3"]]


def test_parameters_are_never_text_of_the_statement(simple):
    assert simple.value("select $1::text", ["'; select 1; --"]) == "'; select 1; --"


@pytest.mark.parametrize("parameters", [[], [1], [1, 2, 3]])
def test_wrong_number_of_parameters(simple, parameters):
    error = simple.sql("select $1::int + $2::int", parameters).error
    assert error["kind"] in ("sql", "bad_input") and ("2" in error["message"] or "$" in error["message"])


def test_bad_value_of_a_parameter(simple):
    error = simple.sql("select $1::int", ["twelve"]).error
    assert error["sqlstate"] == "22P02" and "twelve" in error["message"]


# ---- several statements

def test_each_statement_has_its_result(simple):
    first, second = simple.sql("select 1 as a; select 2 as b, 'x' as c").statements
    assert first["command"] == second["command"] == "SELECT"
    assert first["columns"] == [{"name": "a", "type": "integer"}] and first["rows"] == [[1]] and first["row_count"] == 1
    assert second["columns"] == [{"name": "b", "type": "integer"}, {"name": "c", "type": "text"}]
    assert first["truncated"] is False


def test_several_statements_are_one_transaction(cluster, writer):
    before = cluster.value("select n from shop.counter where name = 'a'")
    error = writer.sql("update shop.counter set n = n + 1 where name = 'a'; select 1/0; select 1").error
    assert error["sqlstate"] == "22012" and error["statement"] == 2
    assert cluster.value("select n from shop.counter where name = 'a'") == before
    done = writer.sql("update shop.counter set n = n + 1 where name = 'a'; select txid_current() = txid_current()")
    assert done.value is True
    assert cluster.value("select n from shop.counter where name = 'a'") == before + 1


def test_affected_rows_per_statement(writer):
    results = writer.sql("""
        insert into shop.note (owner, body) select current_user, 'n' || g from generate_series(1, 4) g;
        update shop.note set body = body || '!' where body like 'n%';
        delete from shop.note where body like 'n%!'""").statements
    assert [(r["command"], r["affected"]) for r in results] == [("INSERT", 4), ("UPDATE", 4), ("DELETE", 4)]


def test_merge_and_returning(writer):
    result = writer.sql("""
        merge into shop.counter c using (values ('a')) v(name) on c.name = v.name when matched then update set n = c.n;
        update shop.counter set n = n where name = 'a' returning name""")
    merge, update = result.statements
    assert merge["command"] == "MERGE" and merge["affected"] == 1
    assert update["command"] == "UPDATE" and update["rows"] == [["a"]] and update["affected"] == 1


def test_later_statement_sees_earlier_ddl(writer):
    schema = writer.role.replace("writer", "work")
    result = writer.sql(f"create table {schema}.t (a int); insert into {schema}.t values (1), (2); "
                        f"select sum(a) from {schema}.t; drop table {schema}.t")
    assert [r["command"] for r in result.statements] == ["CREATE TABLE", "INSERT", "SELECT", "DROP TABLE"]
    assert result.statements[2]["rows"] == [["3"]] or result.statements[2]["rows"] == [[3]]


@pytest.mark.parametrize("text", ["", "   ", ";", "-- only a comment", "/* nothing */;;"])
def test_nothing_to_run(simple, text):
    result = simple.sql(text)
    assert result.is_error and result.error["kind"] == "bad_input" or result.statements == []


@pytest.mark.parametrize("text", ["commit", "rollback", "begin", "savepoint a", "update shop.counter set n = 99; commit",
                                  "prepare transaction 'x'", "start transaction read write", "abort", "end"])
def test_transaction_control_is_an_error(cluster, writer, text):
    before = cluster.value("select n from shop.counter where name = 'a'")
    error = writer.sql(text).error
    assert error["message"]
    assert cluster.value("select n from shop.counter where name = 'a'") == before, "nothing was committed on the way"
    assert writer.value("select 1") == 1


@pytest.mark.parametrize("text", ["vacuum", "create index concurrently i on shop.orders (amount)", "create database x",
                                  "alter system set work_mem = '1GB'"])
def test_statements_outside_a_transaction_say_so(writer, text):
    error = writer.sql(text).error
    assert error["sqlstate"] in ("25001", "42501", "0A000") and error["message"]


@pytest.mark.parametrize("text", ["copy shop.orders to stdout", "copy shop.orders from stdin"])
def test_copy_to_the_client_is_a_clean_error(writer, text):
    assert writer.sql(text).error["message"]
    assert writer.value("select 1") == 1


def test_explain_and_show_return_rows(simple):
    assert simple.sql("show server_version_num").rows[0][0].isdigit()
    assert "Seq Scan" in str(simple.sql("explain select * from shop.orders").rows)
    assert simple.sql("values (1), (2)").rows == [[1], [2]]
    assert simple.sql("table shop.counter").statements[0]["columns"][0]["name"] == "name"


def test_no_columns_and_no_rows(simple):
    result = simple.sql("select from shop.customer where id <= 3").statements[0]
    assert result["columns"] == [] and result["row_count"] == 3 and result["rows"] == [[], [], []]
    result = simple.sql("select 1 as a where false").statements[0]
    assert result["rows"] == [] and result["row_count"] == 0


def test_equal_column_names_are_kept(simple):
    result = simple.sql("select 1 as a, 2 as a").statements[0]
    assert [c["name"] for c in result["columns"]] == ["a", "a"] and result["rows"] == [[1, 2]]


# ---- errors

def test_syntax_error_has_a_position(simple):
    error = simple.sql("select 1;\nselct 2").error
    assert error["kind"] == "sql" and error["sqlstate"] == "42601"
    assert "selct" in error["message"] and error["position"] == 11


def test_position_counts_characters_in_the_whole_text(simple):
    error = simple.sql("select 'ü€'; select nope from shop.orders").error
    assert error["sqlstate"] == "42703" and error["position"] == 21


def test_hint_for_a_misspelt_column(simple):
    error = simple.sql("select amout from shop.orders").error
    assert error["sqlstate"] == "42703" and "amount" in error["hint"]


def test_constraint_violation_names_everything(writer):
    error = writer.sql("insert into shop.orders (customer_id, amount) values (1, -1)").error
    assert error["sqlstate"] == "23514" and error["constraint"] == "orders_amount_check"
    assert error["schema"] == "shop" and error["table"] == "orders" and "Failing row" in error["detail"]


def test_not_null_names_the_column(writer):
    error = writer.sql("insert into shop.counter (name) values ('b')").error
    assert error["sqlstate"] == "23502" and error["column"] == "n" and error["table"] == "counter"


def test_raised_error_keeps_its_fields(simple):
    error = simple.sql("do $$begin raise exception 'm' using errcode = 'ZZ001', detail = 'd', hint = 'h', "
                       "constraint = 'c', table = 't', schema = 's', column = 'l'; end$$").error
    assert error["sqlstate"] == "ZZ001" and error["message"] == "m" and error["detail"] == "d" and error["hint"] == "h"
    assert (error["constraint"], error["table"], error["schema"], error["column"]) == ("c", "t", "s", "l")


def test_denied_table_and_column(reader):
    assert reader.sql("select * from shop.salary").error["message"] == "permission denied for table salary"
    assert reader.sqlstate("select secret from shop.customer") == "42501"


def test_row_security_holds(reader, writer):
    for caller in (reader, writer):
        assert caller.sql("select body from shop.note where body like 'of %'").rows == [[f"of {caller.role}"]]
        assert caller.sqlstate("set row_security = off; select * from shop.note") == "42501"


def test_error_text_block_is_readable(simple):
    result = simple.sql("selct")
    assert "42601" in result.texts[0] and "selct" in result.texts[0]


def test_error_at_commit_is_reported(writer):
    """A deferred constraint fails when the call commits: still an error of this call, and nothing is kept."""
    schema = writer.role.replace("writer", "work")
    writer.sql(f"create table {schema}.d (a int primary key deferrable initially deferred)").data
    error = writer.sql(f"insert into {schema}.d values (1), (1)").error
    assert error["sqlstate"] == "23505" and error["constraint"] == "d_pkey"
    assert writer.value(f"select count(*) from {schema}.d") == 0
    writer.sql(f"drop table {schema}.d").data


def test_fatal_error_is_reported_and_service_goes_on(simple):
    """exit_on_error makes the next plain error fatal: the executor ends, the caller is told, the next call works."""
    result = simple.sql("set exit_on_error = on; select 1/0")
    assert result.is_error
    assert simple.value("select 1") == 1


def test_internal_error_of_a_function_is_a_plain_error(simple):
    assert simple.sqlstate("select 1/0") == "22012"
    assert simple.sqlstate("select 'x'::int") == "22P02"
    assert simple.value("select 1") == 1
