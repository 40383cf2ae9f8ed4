"""Nothing of a previewed text stays, whatever the text does: the database is dumped before and after."""

import psycopg
import pytest

from harness.cluster import as_server, pg_config

STATE = """
    select 'prepared', gid from pg_prepared_xacts
    union all select 'advisory', objid::text from pg_locks where locktype = 'advisory'
    union all select 'large object', oid::text from pg_largeobject_metadata
    union all select 'temporary', relname from pg_class where relpersistence = 't'
    union all select 'role', rolname || coalesce(array_to_string(rolconfig, ','), '') from pg_roles where rolname not like 'quota%'
    union all select 'database', datname from pg_database
    order by 1, 2"""


def dump(cluster):
    done = as_server([f"{pg_config('bindir')}/pg_dump", "-h", str(cluster.folder), "-U", "postgres", "-d", "postgres", "-T", "mcp._audit*"], capture_output=True)
    assert done.returncode == 0, done.stderr
    # Newer versions bracket the dump with a word of their own, made up each time.
    return [line for line in done.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))], cluster.sql(STATE)


@pytest.fixture
def author(cluster, writer):
    cluster.sql(f"alter role {writer.role} set search_path = work_{writer.form}, public; grant create on database postgres to {writer.role};"
                f" set role {writer.role}; create table work_{writer.form}.t (n int primary key, m int references work_{writer.form}.t"
                f" deferrable initially deferred); insert into work_{writer.form}.t values (1, 1), (2, 1);"
                f" create view work_{writer.form}.v as select * from work_{writer.form}.t;"
                f" create procedure work_{writer.form}.p() language plpgsql as"
                f" $$ begin insert into work_{writer.form}.t values (3, 3); commit; end $$")
    yield writer
    cluster.sql(f"alter role {writer.role} reset search_path; drop schema work_{writer.form} cascade;"
                f" revoke create on database postgres from {writer.role}; create schema work_{writer.form} authorization {writer.role}")


TEXTS = [
    # They work, and are undone.
    ("drop table t cascade; create table t (other text); create schema s; create table s.x as select generate_series(1, 100)", None),
    ("insert into t values (9, 9); update t set m = 2; set constraints all immediate; truncate t", None),
    ("drop view v; alter table t add x int default 3, alter n type bigint; create index on t (x); comment on table t is 'c'; grant all on t to public", None),
    ("create temp table t2 (n int); create temp table t3 (n int) on commit drop", None),
    ("select lo_create(0); select lo_from_bytea(0, 'abc')", None),
    ("select pg_advisory_xact_lock(1), pg_advisory_lock(2), pg_try_advisory_lock_shared(3)", None),
    ("notify channel, 'text'; select pg_notify('other', 'text')", None),
    ("set work_mem = '1MB'; set local lock_timeout = '1s'; select set_config('search_path', 'nowhere', false), set_config('my.own', '1', false)", None),
    ("prepare stays as select 1; declare c cursor with hold for select 1", None),
    ("do $$ begin execute 'create table t4 (n int)'; end $$", None),
    ("do $$ begin begin create table t4 (n int); raise 'x'; exception when others then create table t5 (n int); end; end $$", None),
    ("do $$ begin create table t4 (n int); begin commit; exception when others then null; end; end $$", None),
    ("do $$ begin create table t4 (n int); begin call p(); exception when others then null; end; begin rollback; exception when others then null; end; end $$",
     None),
    ("do $$ begin for i in 1..300 loop begin execute 'create table x' || i || ' ()'; exception when others then null; end; end loop; end $$", None),
    # One that raises what the tool itself raises to undo.
    ("create table t4 (n int); do $$ begin raise exception 'undo' using errcode = 'MCP00'; end $$", "MCP00"),
    ("insert into t values (7, 8)", "23503"),
    ("create table t4 (n int); commit", "2D000"),
    ("create table t4 (n int); rollback; create table t5 (n int)", "2D000"),
    ("create table t4 (n int); prepare transaction 'stays'", "2D000"),
    ("create table t4 (n int); savepoint s; release s; rollback to s", "2D000"),
    ("create table t4 (n int); call p()", "2D000"),
    ("create table t4 (n int); create index concurrently on t (m)", "25001"),
    ("create table t4 (n int); vacuum", "25001"),
    ("create table t4 (n int); discard all", "25001"),
    ("create table t4 (n int); set session authorization default; reset role; reset all; select 1/0", "22012 42501"),
    ("create table t4 (n int); select * from t where n = (select 'x'::int)", "22P02"),
    ("drop table t cascade; select 'open", "42601"),
]


@pytest.mark.parametrize("tool,texts", [("preview_sql", TEXTS), ("apply_migration", TEXTS[::5])])
def test_nothing_stays(cluster, author, tool, texts):
    before = dump(cluster)
    for query, sqlstate in texts:
        result = author.tool(tool, {"query": query, **({"name": "none", "dry_run": True} if tool == "apply_migration" else {})})
        assert result.error["sqlstate"] in sqlstate.split() if sqlstate else not result.is_error, (query, result)
        assert dump(cluster) == before, query
        # The next call, in the same process, finds a clean session.
        assert author.value("show work_mem") == "4MB" and author.value("select current_setting('my.own', true)") in (None, ""), query
        assert author.value("select count(*) from pg_prepared_statements where name = 'stays'") == 0, query
        assert author.value("select current_user::text") == author.role, query


@pytest.mark.parametrize("query,sqlstate", [
    ("create role preview_made; alter role staff set work_mem = '1MB'; alter database postgres set work_mem = '1MB'; drop extension plpgsql cascade",
     "42883"),
    ("create role preview_made; alter role staff set work_mem = '1MB'; alter database postgres set work_mem = '1MB'", None),
    ("alter system set work_mem = '1MB'", "25001"),
    ("create database preview_made", "25001"),
    ("create table x (); create tablespace preview_made location '/tmp'", "25001"),
])
def test_what_only_a_superuser_can_try(cluster, query, sqlstate):
    """A superuser is not served, but may call the function in SQL; and take away what it stands on, which fails."""
    before = dump(cluster)
    try:
        answer = cluster.value("select mcp.preview_sql(%s)", [query])
        assert sqlstate is None and ("created", "role", "preview_made") in [(o["action"], o["kind"], o["name"]) for o in answer["objects"]], answer
        assert "password" not in str(answer), answer
    except psycopg.Error as error:
        assert error.sqlstate == sqlstate, error
    assert dump(cluster) == before


def test_a_lock_that_does_not_come_ends_the_preview(cluster, author):
    """Whoever waits for ACCESS EXCLUSIVE holds up all who come after: the preview gives up soon."""
    with cluster.connect(autocommit=False) as other:
        other.execute(f"select * from work_{author.form}.t")
        error = author.tool("preview_sql", {"query": "set lock_timeout = '100ms'; alter table t add x int"}).error
    assert error["sqlstate"] == "55P03" and "Another session" in error["hint"], error
    assert author.tool("preview_sql", {"query": "do $$ begin if current_setting('lock_timeout') <> '5s' then raise 'not set'; end if; end $$"}).data
    cluster.sql(f"alter role {author.role} set lock_timeout = '7s'")
    try:
        assert author.tool("preview_sql", {"query": "do $$ begin if current_setting('lock_timeout') <> '7s' then raise 'changed'; end if; end $$"}).data
    finally:
        cluster.sql(f"alter role {author.role} reset lock_timeout")
