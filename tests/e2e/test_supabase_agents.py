"""Agents and limits in a database in the shape of Supabase's, made by `postgres`, which is not a superuser and has BYPASSRLS."""

import pytest

from harness.caller import Caller
from harness.clients import bearer
from harness.refusal import unauthorized
from harness.supabase import supabase_cluster

DENIED = "42501"


@pytest.fixture(scope="module")
def site():
    one = supabase_cluster()
    one.install()
    one.sql("grant mcp_admin to postgres; grant anon, authenticated to postgres with admin option")
    yield one
    one.remove()


@pytest.fixture
def create(site):
    """Makes an agent as `postgres`: its caller, what was granted and what is warned of. Dropped after the test."""
    made = []

    def make(name, **arguments):
        names = "".join(f", {argument} => %({argument})s" for argument in arguments)
        token, granted, warnings = site.sql(f"select token, granted, warnings from mcp.create_agent(%(name)s{names})",
                                            {"name": name, **arguments}, user="postgres")[0]
        made.append(name)
        return Caller(site, bearer(token)), granted, "\n".join(warnings)

    yield make
    for name in made:
        site.sql("select mcp.drop_agent(%s)", [name], user="postgres")
    assert site.sql("select 1 from pg_roles where rolname = any(%s)", [made]) == []


def test_reader_of_public(create):
    reader, granted, warnings = create("reader")
    assert reader.sql("select name from public.profile order by name").rows == [["Ada"], ["Bob"]]
    # No policy of the project is for this role, and it is told so; where there are none everything shows, and it is told that.
    assert reader.sql("select * from public.todo").rows == []
    assert reader.value("select note from public.forgotten") == "no row-level security here"
    assert "public.todo" in warnings and "public.forgotten" in warnings
    assert reader.sqlstate("insert into public.forgotten values ('x')") in (DENIED, "25006")
    for closed in ("auth.users", "storage.objects", "supabase_migrations.schema_migrations", "mcp._tokens"):
        assert reader.sqlstate(f"select * from {closed}") == DENIED
    assert any("public" in line for line in granted)


def test_writer_and_tables_that_come_later(site, create):
    writer, _, _ = create("writer", access="write", future=True)
    site.sql("create table public.later (n int)", user="postgres")
    try:
        assert writer.sql("insert into public.later values (7) returning n").rows == [[7]]
    finally:
        site.sql("drop table public.later", user="postgres")


def test_what_is_not_postgres_to_give_is_left_out_and_said(site, create):
    """A table of supabase_admin in public: `postgres` may do everything with it, but for handing it on."""
    site.sql("create table public.internal (n int)")
    try:
        reader, _, warnings = create("outsider")
        assert reader.sqlstate("select * from public.internal") == DENIED
        assert "internal" in warnings
    finally:
        site.sql("drop table public.internal")


@pytest.mark.parametrize("schema", ["auth", "storage", "pgbouncer"])
def test_schemas_of_supabase_are_not_postgres_to_give(site, schema):
    with pytest.raises(Exception, match="permission denied"):
        site.sql("select mcp.create_agent('prying', schemas => array[%s])", [schema], user="postgres")
    assert site.sql("select 1 from pg_roles where rolname = 'prying'") == []


def test_limits_of_an_agent(create):
    slow, _, _ = create("slow", max_rows=2)
    answer = slow.sql("select generate_series(1, 9)")
    assert len(answer.rows) == 2 and answer.statements[-1]["truncated"]


def test_dropped_agent_is_gone(site, create):
    site.sql("select mcp.create_agent('passing')", user="postgres")
    token = site.value("select mcp.create_token('passing')", user="postgres")
    site.sql("select mcp.drop_agent('passing')", user="postgres")
    unauthorized(Caller(site, bearer(token)))
    assert site.sql("select 1 from mcp.agents where name = 'passing'", user="postgres") == []


def test_limits_of_a_token_go_with_it_whoever_revokes(site):
    """They are rows that `postgres` may drop, and that the foreign key deletes for it."""
    site.sql("select mcp.create_token('authenticated', 'limited')", user="postgres")
    number = site.value("select id from mcp.tokens where label = 'limited'", user="postgres")
    site.sql("select mcp.set_limit(token => %s, max_rows => 3)", [number], user="postgres")
    assert site.value("select max_rows from mcp.limits where token = %s", [number], user="postgres") == 3
    site.sql("select mcp.revoke_token('limited')", user="postgres")
    assert site.value("select count(*) from mcp.limits", user="postgres") == 0
