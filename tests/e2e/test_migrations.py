"""The tools list_migrations and apply_migration: Supabase's shapes, one transaction for a change and its record, and errors that say where."""

import re
import threading

import pytest

from harness.caller import token_caller
from harness.waits import wait_until

TABLE = "supabase_migrations.schema_migrations"


@pytest.fixture
def author(cluster, writer):
    """A writer with a schema first in its search_path who may create schemas, and no table of migrations to begin with."""
    cluster.sql(f"grant create on database postgres to {writer.role}; alter role {writer.role} set search_path = work_{writer.form}, public")
    yield writer
    cluster.sql(f"drop schema if exists supabase_migrations cascade; revoke create on database postgres from {writer.role};"
                f" alter role {writer.role} reset search_path; drop schema work_{writer.form} cascade;"
                f" create schema work_{writer.form} authorization {writer.role}")


def apply(caller, name, query, **more):
    return caller.tool("apply_migration", {"name": name, "query": query, **more})


def records(cluster):
    if cluster.value(f"select to_regclass('{TABLE}') is null"):
        return []
    return cluster.sql(f"select version, name, statements from {TABLE} order by version")


def test_no_table_is_no_migration(reader):
    assert reader.tool("list_migrations").data == {"migrations": []}


def test_applied_is_recorded_as_the_cli_does(cluster, author):
    text = "create table plan (id int);\n-- and one more\ncomment on table plan is 'a; b';\n"
    data = apply(author, "add_plan", text).data
    assert set(data) == {"success", "version"} and data["success"] is True and re.fullmatch(r"20\d{12}", data["version"]), data
    assert records(cluster) == [(data["version"], "add_plan", ["create table plan (id int)", "-- and one more\ncomment on table plan is 'a; b'"])]
    assert author.tool("list_migrations").data == {"migrations": [{"version": data["version"], "name": "add_plan"}]}
    columns = cluster.sql("select column_name, data_type, is_nullable from information_schema.columns"
                          " where table_schema = 'supabase_migrations' order by ordinal_position")
    assert columns == [("version", "text", "NO"), ("statements", "ARRAY", "YES"), ("name", "text", "YES")]
    assert cluster.value(f"select relnamespace::regnamespace::text from pg_class where relname = 'plan'") == f"work_{author.form}", \
        "names in the text are looked up by the role's own search_path"


def test_two_in_one_second_have_two_versions(cluster, author):
    versions = [apply(author, f"number_{n}", "select 1").data["version"] for n in range(4)]
    assert len(set(versions)) == 4 and versions == sorted(versions)
    assert [m["name"] for m in author.tool("list_migrations").data["migrations"]] == [f"number_{n}" for n in range(4)]


def test_two_at_the_same_time_have_two_versions(cluster, author):
    """The second waits for the first to be recorded, and takes the next free second."""
    apply(author, "first", "create table gate (n int)").data
    results = []
    with cluster.connect(autocommit=False) as held:
        held.execute(f"lock table {TABLE} in share mode")
        others = [token_caller(cluster, author.role) for _ in range(2)]
        threads = [threading.Thread(target=lambda one=one, n=n: results.append(apply(one, f"parallel_{n}", "select 1").data["version"]))
                   for n, one in enumerate(others)]
        for thread in threads:
            thread.start()
        wait_until(lambda: cluster.value("select count(*) from pg_locks where not granted and relation = %s::regclass", [TABLE]) == 2, 20,
                   "both calls wait for the table")
        held.rollback()
        for thread in threads:
            thread.join()
    assert len(set(results)) == 2 and len(records(cluster)) == 3


def test_version_of_ones_own(cluster, author):
    assert apply(author, "old", "select 1", version="20200101000000").data["version"] == "20200101000000"
    error = apply(author, "old", "create table twice (n int)", version="20200101000000").error
    assert error["sqlstate"] == "23505" and "20200101000000" in error["message"] and "leave" in error["hint"], error
    assert len(records(cluster)) == 1 and cluster.value(f"select to_regclass('work_{author.form}.twice')") is None
    assert "digits" in apply(author, "old", "select 1", version="2020-01-01").error["message"]


@pytest.mark.parametrize("name,hint", [("", "add_notes"), ("Add Notes!", "add_notes"), ("AddNotes", "add_notes"), ("x" * 300, "x"), ("_", "for example")])
def test_name_must_be_in_snake_case(cluster, author, name, hint):
    error = apply(author, name, "create table t (n int)").error
    assert "snake_case" in error["message"] and hint in error["hint"] and records(cluster) == [], error


@pytest.mark.parametrize("query", ["", "  ;; ", "-- only a comment\n", "/* ; */"])
def test_text_without_a_statement_is_refused(cluster, author, query):
    assert "no statement" in apply(author, "nothing", query).error["message"] and records(cluster) == []


@pytest.mark.parametrize("query,sqlstate,said,detail", [
    ("create table half (n int); commit;", "2D000", "transaction commands", "Statement 2 of 2, at line 1: commit;"),
    ("begin; create table half (n int); commit;", "2D000", "transaction commands", "Statement 1 of 3"),
    ("create table half (n int); rollback", "2D000", "transaction commands", "Statement 2 of 2"),
    ("create table half (n int); savepoint a", "2D000", "transaction commands", "Statement 2 of 2"),
    ("do $$ begin create table half (n int); commit; end $$", "2D000", "transaction commands", "Statement 1 of 1"),
    ("create table half (n int);\n\nselect nope", "42703", 'column "nope" does not exist', "Statement 2 of 2, at line 3: select nope"),
    ("create table half (n int); selec 1", "42601", 'syntax error at or near "selec"', "Statement 2 of 2"),
    ("create table half (n int); select 'open", "42601", "unterminated quoted string", "Statement 1 of 1"),
    ("create table half (n int); create index concurrently on half (n)", "25001",
     "CREATE INDEX CONCURRENTLY cannot run inside a transaction block", "Statement 2 of 2"),
    ("create table half (n int); vacuum half", "25001", "VACUUM cannot run inside a transaction block", "at line 1: vacuum half"),
    ("create database half", "42501 25001", "", "Statement 1 of 1"),
    ("create table half (n int check (n > 0)); insert into half values (0)", "23514", "half_n_check", "Statement 2 of 2"),
    ("create table half (n int primary key, m int references half deferrable initially deferred); insert into half values (1, 2)",
     "23503", "half_m_fkey", "deferred constraints"),
    ("create type half as enum ('a'); alter type half add value 'b'; select 'b'::half", "55P04", "unsafe use", "Statement 3 of 3"),
])
def test_nothing_stays_of_a_text_that_fails(cluster, author, query, sqlstate, said, detail):
    error = apply(author, "half", query).error
    assert error["sqlstate"] in sqlstate.split() and said in error["message"], error
    assert detail in error["detail"] and error["hint"], error
    assert records(cluster) == []
    assert cluster.value(f"select to_regclass('work_{author.form}.half') is null and to_regtype('work_{author.form}.half') is null")


def test_hint_for_concurrently_says_what_to_do(author):
    assert "Leave CONCURRENTLY out" in apply(author, "x", "create index concurrently on nope (n)").error["hint"]


def test_error_keeps_what_postgres_said_of_it(author):
    apply(author, "one", "create table unique_one (n int primary key); insert into unique_one values (1)").data
    error = apply(author, "two", "insert into unique_one values (1)").error
    assert error["constraint"] == "unique_one_pkey" and error["table"] == "unique_one" and "already exists" in error["detail"], error
    error = apply(author, "three", "insert into unique_one values (null)").error
    assert error["column"] == "n" and "constraint" not in error, error


def test_settings_of_the_text_do_not_reach_the_record_nor_the_next_call(cluster, author):
    apply(author, "settings", "set search_path = nowhere; set standard_conforming_strings = on; set client_min_messages = error;"
                              f" create table work_{author.form}.s (n int)").data
    assert [r[1] for r in records(cluster)] == ["settings"]
    assert author.value("show search_path") == f"work_{author.form}, public"


def test_role_that_the_text_takes_on_does_not_make_the_record(cluster, author):
    cluster.sql(f"create role heir; grant heir to {author.role}; grant create on schema work_{author.form} to heir;"
                f" grant usage on schema work_{author.form} to heir")
    try:
        result = apply(author, "as_heir", "set role heir; create table inherited (n int)")
        if author.form == "bridge":
            assert result.error["sqlstate"] == "42501" and records(cluster) == [], result
            return
        assert result.data["success"] and [r[1] for r in records(cluster)] == ["as_heir"]
        assert cluster.value(f"select tableowner from pg_tables where schemaname = 'work_{author.form}' and tablename = 'inherited'") == "heir"
        assert cluster.value(f"select tableowner from pg_tables where tablename = 'schema_migrations'") == author.role
    finally:
        cluster.sql("drop owned by heir; drop role heir")


def test_text_that_cannot_be_taken_apart_is_recorded_whole(cluster, author):
    text = "create function f() returns int language sql begin atomic; select 1; select 2; end; select f();"
    apply(author, "atomic", text).data
    assert records(cluster)[0][2] == [text] and author.value("select f()") == 2


def test_table_of_the_first_cli_and_of_the_hosted_service(cluster, author):
    cluster.sql(f"create schema supabase_migrations authorization {author.role}; set role {author.role};"
                f" create table {TABLE} (version text not null primary key); insert into {TABLE} values ('20190101000000')")
    assert author.tool("list_migrations").data == {"migrations": [{"version": "20190101000000"}]}
    apply(author, "later", "select 1").data
    assert [m.get("name") for m in author.tool("list_migrations").data["migrations"]] == [None, "later"]
    cluster.sql(f"alter table {TABLE} add created_by text, add idempotency_key text unique, add rollback text[]")
    apply(author, "latest", "select 1").data
    assert cluster.sql(f"select name, statements, created_by, idempotency_key, rollback from {TABLE} order by version desc limit 1") == \
        [("latest", ["select 1"], None, None, None)]


def test_who_may_not_read_or_record_is_told_what_to_ask_for(cluster, author, reader, simple):
    apply(author, "one", "select 1").data
    error = simple.tool("list_migrations").error
    assert error["sqlstate"] == "42501" and f"to {simple.role}" in error["hint"], error
    cluster.sql(f"grant usage on schema supabase_migrations to {simple.role}; grant select on {TABLE} to {simple.role}")
    assert [m["name"] for m in simple.tool("list_migrations").data["migrations"]] == ["one"]
    cluster.sql(f"alter table {TABLE} owner to postgres; alter schema supabase_migrations owner to postgres;"
                f" revoke all on {TABLE} from {author.role}")
    error = apply(author, "two", "create table unrecorded (n int)").error
    assert error["sqlstate"] == "42501" and "may not record" in error["message"] and "grant select, insert" in error["hint"], error
    assert cluster.value(f"select to_regclass('work_{author.form}.unrecorded')") is None, "no change without its record"


def test_without_table_and_without_the_right_to_make_it(cluster, writer):
    error = apply(writer, "one", "create table never (n int)").error
    assert error["sqlstate"] == "42501" and "create table supabase_migrations.schema_migrations" in error["hint"], error


def test_readers_have_no_such_tool_and_read_only_tokens_are_told(cluster, author, simple):
    assert "apply_migration" not in simple.tools() and "list_migrations" in simple.tools()
    error = apply(token_caller(cluster, author.role, read_only=True), "one", "create table never (n int)").error
    assert error["sqlstate"] == "25006" and error["kind"] == "read_only", error


def test_long_histories_come_in_pages(cluster, author, settings):
    apply(author, "one", "select 1", version="1").data
    cluster.sql(f"insert into {TABLE} select (10000 + n)::text, null, 'migration_' || n from generate_series(1, 200) n")
    settings(max_bytes="4kB")
    seen, after = [], None
    while True:
        data = author.tool("list_migrations", {"after": after} if after else {}).data
        seen += [m["name"] for m in data["migrations"]]
        if not data.get("truncated"):
            break
        after = data["next"]
    assert seen == ["one"] + [f"migration_{n}" for n in range(1, 201)]


def test_dry_run_keeps_nothing_and_says_that_it_would_work(cluster, author):
    data = apply(author, "add_plan", "create table plan (id int)", dry_run=True).data
    assert data["success"] is True and data["dry_run"] is True and data["version"].startswith("20")
    assert data["objects"] == [{"action": "created", "kind": "table", "name": f"work_{author.form}.plan"}]
    assert cluster.value("select to_regnamespace('supabase_migrations') is null")
    apply(author, "add_plan", "create table plan (id int)", version="7").data
    assert apply(author, "again", "select 1", version="7", dry_run=True).error["sqlstate"] == "23505"
    assert apply(author, "again", "create table plan (id int)", dry_run=True).error["sqlstate"] == "42P07"


def test_entries_in_the_list(writer):
    tools = writer.tools()
    assert tools["apply_migration"]["inputSchema"]["required"] == ["name", "query"]
    assert tools["apply_migration"]["annotations"]["readOnlyHint"] is False and tools["apply_migration"]["annotations"]["destructiveHint"] is True
