"""In a database in the shape of Supabase's: installed by supabase_admin, administered by `postgres`, which is no superuser.

The roles of the API keep what their policies say, claims come with the token, and what Supabase keeps to itself stays closed to agents.
"""

import json
import re

import pytest

from harness.caller import Caller
from harness.clients import basic, bearer
from harness.refusal import is_served, refused_with
from harness.supabase import ADA, BOB, call_as, supabase_cluster
from harness.waits import wait_until

DENIED = "42501"
# What a setting under request. answers that no executor has defined: its prefix is reserved.
NO_SUCH_NAME = "42602"


@pytest.fixture(scope="module")
def site():
    one = supabase_cluster()
    one.install()
    one.sql("grant mcp_admin to postgres; grant anon, authenticated, service_role to postgres with admin option")
    yield one
    one.remove()


@pytest.fixture(scope="module")
def before_16(site):
    return site.value("select current_setting('server_version_num')::integer < 160000")


@pytest.fixture
def agent(site, before_16):
    """Makes an agent's role as `postgres`, and drops it after the test. Until 15 who makes a role administers it only by saying so."""
    made = []

    def make(name, grants=""):
        made.append(name)
        site.sql(f"create role {name} login{' admin postgres' if before_16 else ''}; {grants}", user="postgres")
        return name

    yield make
    for name in made:
        site.sql(f"drop owned by {name}; drop role {name}")


def claims(sub=None, role="authenticated", **more):
    """Settings of a token that carry what GoTrue writes into the token of a user."""
    return json.dumps({"request.jwt.claims": {"role": role, "aud": role, "aal": "aal1", **({"sub": sub} if sub else {}), **more}})


@pytest.fixture(scope="module")
def ada(site):
    site.sql("select mcp.grant_tools('authenticated', tools => '{execute_sql,list_tables,describe_table}')", user="postgres")
    site.sql("select mcp.grant_tools('authenticated', write => true, tools => '{execute_sql}')", user="postgres")
    return call_as(site, "authenticated", settings=claims(ADA, email="ada@example.org"))


@pytest.fixture(scope="module")
def anon(site):
    site.sql("select mcp.grant_tools('anon', tools => '{execute_sql,list_tables}')", user="postgres")
    return call_as(site, "anon", settings=claims(role="anon"))


# ---- the fixture is what it says

def test_the_developers_role_is_not_a_superuser(site):
    assert site.sql("select rolname from pg_roles where rolsuper") == [("supabase_admin",)]
    assert site.sql("select rolcreaterole, rolreplication, rolbypassrls from pg_roles where rolname = 'postgres'") == [(True, True, True)]


# ---- installing

def test_only_a_superuser_installs(site):
    site.sql("create database bare", user="postgres")
    with pytest.raises(Exception, match="permission denied to create extension"):
        site.sql("create extension supabase_mcp", database="bare", user="postgres")
    site.sql("drop database bare", user="postgres")


def test_default_privileges_give_nothing_of_mcp(site):
    """Those of Supabase are per schema. Those of a whole database are tried too, in one of their own."""
    given = """
        select a.grantee::regrole::text from pg_proc p, aclexplode(p.proacl) a
         where p.pronamespace = 'mcp'::regnamespace and a.grantee in ('anon'::regrole, 'service_role'::regrole)
        union all
        select a.grantee::regrole::text from pg_class c, aclexplode(c.relacl) a
         where c.relnamespace = 'mcp'::regnamespace and a.grantee in ('anon'::regrole, 'service_role'::regrole)"""
    site.sql("create database wide")
    try:
        for what in ("all on tables", "all on sequences", "all on functions", "usage on schemas"):
            site.sql(f"alter default privileges for role supabase_admin grant {what} to anon, service_role", database="wide")
        site.sql("create extension supabase_mcp", database="wide")
        assert site.sql(given, database="wide") == []
        assert not site.value("select has_function_privilege('service_role', 'mcp.execute_sql(text, jsonb)', 'execute')", database="wide")
    finally:
        site.sql("select mcp.drain('wide')")
        site.sql("drop database wide")
    assert [g for g in site.sql(given) if g == ("service_role",)] == []


# ---- `postgres` administers

def test_postgres_uses_the_administrators_functions(site):
    assert site.value("select mcp.status()", user="postgres")
    site.sql("select mcp.off(); select mcp.on()", user="postgres")
    assert site.sql("select label from mcp.tokens where false", user="postgres") == []


def test_without_mcp_admin_postgres_is_nobody(site):
    site.sql("revoke mcp_admin from postgres")
    try:
        for call in ("mcp.status()", "mcp.create_token('anon')", "mcp.grant_tools('anon')"):
            with pytest.raises(Exception, match="permission denied"):
                site.sql(f"select {call}", user="postgres")
    finally:
        site.sql("grant mcp_admin to postgres")


NOT_ITS_TO_GIVE = ["supabase_admin", "postgres", "supabase_auth_admin", "pg_read_all_data"]


@pytest.mark.parametrize("role", NOT_ITS_TO_GIVE)
def test_postgres_gives_only_what_is_its_to_give(site, role):
    """CREATEROLE and BYPASSRLS are no ADMIN OPTION, and nobody mints a token for itself."""
    with pytest.raises(Exception, match="permission denied to give access"):
        site.sql("select mcp.create_token(%s::regrole)", [role], user="postgres")
    with pytest.raises(Exception, match="permission denied to give access"):
        site.sql("select mcp.map_peer('somebody', %s::regrole)", [role], user="postgres")


@pytest.mark.parametrize("role", NOT_ITS_TO_GIVE)
@pytest.mark.parametrize("prepare", ["", "set session_replication_role = replica"], ids=["plainly", "without ordinary triggers"])
def test_bypassing_policies_does_not_widen_what_postgres_gives(site, role, prepare):
    """Supabase's `postgres` has BYPASSRLS, and supautils lets it set session_replication_role: the walls are neither."""
    site.sql("grant set on parameter session_replication_role to postgres")
    try:
        with site.connect(user="postgres") as connection:
            connection.execute(prepare)
            with pytest.raises(Exception, match="permission denied to give access"):
                connection.execute("insert into mcp._tokens (hash, role) values (sha256('mcp_forged'), %s::regrole)", [role])
            with pytest.raises(Exception, match="permission denied to give access"):
                connection.execute("insert into mcp._peer_map (os_user, role) values ('somebody', %s::regrole)", [role])
            with pytest.raises(Exception, match="permission denied"):
                connection.execute("update mcp._tokens set role = %s::regrole", [role])
    finally:
        site.sql("revoke set on parameter session_replication_role from postgres")


@pytest.mark.parametrize("prepare", ["", "set session_replication_role = replica"], ids=["plainly", "without ordinary triggers"])
def test_bypassing_policies_does_not_loosen_limits(site, prepare):
    site.sql("grant set on parameter session_replication_role to postgres")
    site.sql("select mcp.set_limit(calls_per_minute => 100000); select mcp.set_limit('service_role', calls_per_minute => 100000)")
    try:
        with site.connect(user="postgres") as connection:
            connection.execute(prepare)
            for statement in ("insert into mcp._limits (role, max_rows) values ('supabase_admin', 1)", "delete from mcp._limits",
                              "insert into mcp._limits (tool, max_rows) values ('any', 1)", "delete from mcp._limits where role is null"):
                with pytest.raises(Exception, match="permission denied to"):
                    connection.execute(statement)
    finally:
        site.sql("revoke set on parameter session_replication_role from postgres; select mcp.drop_limit();"
                 "select mcp.drop_limit('service_role')")


def test_as_shipped_15_lacks_the_admin_option_and_says_so(site, before_16):
    if not before_16:
        pytest.skip("from 16 on Supabase grants it")
    site.sql("revoke admin option for authenticated from postgres")
    try:
        with pytest.raises(Exception, match="permission denied to give access as role authenticated") as refusal:
            site.sql("select mcp.create_token('authenticated')", user="postgres")
        # The hint is the remedy.
        remedy = refusal.value.diag.message_hint.rsplit(": ", 1)[1]
        assert remedy == "grant authenticated to postgres with admin option;"
        site.sql(remedy)
        assert site.value("select mcp.create_token('authenticated', 'with admin option')", user="postgres").startswith("mcp_")
    finally:
        site.sql("grant authenticated to postgres with admin option")
    site.sql("select mcp.revoke_token('with admin option')", user="postgres")


def test_agent_made_by_postgres(site, agent):
    name = agent("clerk", "grant usage on schema public to clerk; grant select on public.profile to clerk")
    site.sql(f"select mcp.grant_tools('{name}')", user="postgres")
    caller = call_as(site, name, label="clerk's")
    assert set(caller.tools()) > {"execute_sql", "explain_query", "list_tables", "describe_table", "list_extensions"}
    assert caller.sql("select name from public.profile order by name").rows == [["Ada"], ["Bob"]]
    assert caller.sqlstate("insert into public.profile values (gen_random_uuid(), 'x')") in ("42501", "25006")
    assert [row[:2] for row in site.sql("select label, role::text from mcp.tokens where label = 'clerk''s'", user="postgres")] == [("clerk's", name)]
    site.sql("select mcp.revoke_token('clerk''s')", user="postgres")
    refused_with(caller)


def test_agent_that_writes_and_makes_tables(site, agent):
    """Supabase's event triggers fire in calls as they do elsewhere."""
    name = agent("builder", "create schema lab authorization postgres; grant usage, create on schema lab to builder")
    try:
        site.sql(f"select mcp.grant_tools('{name}', write => true)", user="postgres")
        caller = call_as(site, name)
        with site.connect(user="authenticator") as listener:
            listener.execute("listen pgrst")
            caller.sql("create table lab.trial as select 1 as n").data
            assert next(listener.notifies(timeout=20, stop_after=1)).payload == "reload schema"
        assert caller.value("select n from lab.trial") == 1
        caller.sql("drop table lab.trial").data
    finally:
        site.sql("drop schema lab cascade")


def test_limits_of_an_agent_set_by_postgres(site, agent):
    """SET on the parameters is granted once by supabase_admin."""
    name = agent("slow")
    site.sql(f"select mcp.grant_tools('{name}')", user="postgres")
    with pytest.raises(Exception, match="permission denied to set parameter"):
        site.sql(f"alter role {name} set supabase_mcp.max_rows = 2", user="postgres")
    site.sql("grant set on parameter supabase_mcp.max_rows, supabase_mcp.statement_timeout to postgres")
    site.sql(f"alter role {name} set supabase_mcp.max_rows = 2", user="postgres")
    answer = call_as(site, name).sql("select generate_series(1, 9)")
    assert len(answer.rows) == 2 and answer.statements[-1]["truncated"]


# ---- what an agent sees of Supabase

CLOSED = {
    "users": "select * from auth.users",
    "sessions": "select * from auth.sessions",
    "refresh tokens": "select token from auth.refresh_tokens",
    "objects": "select * from storage.objects",
    "buckets": "select * from storage.buckets",
    "messages": "select * from realtime.messages",
    "passwords": "select * from pgbouncer.get_auth('postgres')",
    "pg_authid": "select rolpassword from pg_authid",
    "migrations": "select * from supabase_migrations.schema_migrations",
    "tokens": "select * from mcp._tokens",
    "table without policies": "select * from public.forgotten",
    "role of the API": "set role authenticated",
    "service role": "set role service_role",
    "its maker": "set role postgres",
}


@pytest.mark.parametrize("query", CLOSED.values(), ids=CLOSED)
def test_agent_reads_nothing_it_was_not_granted(site, agent, query):
    name = agent("curious", "grant usage on schema public to curious; grant select on public.profile to curious")
    site.sql(f"select mcp.grant_tools('{name}')", user="postgres")
    assert call_as(site, name).sqlstate(query) == DENIED


def test_agent_lists_only_what_it_may_read(site, agent):
    name = agent("lister", "grant usage on schema public to lister; grant select on public.profile to lister")
    site.sql(f"select mcp.grant_tools('{name}')", user="postgres")
    caller = call_as(site, name)
    text = json.dumps(caller.tool("list_tables").data)
    assert "profile" in text
    for hidden in ("forgotten", "auth.users", "refresh_tokens", "buckets"):
        assert hidden not in text, hidden
    assert call_as(site, name).tool("describe_table", {"table": "auth.users"}).is_error
    assert "users" not in json.dumps(caller.tool("list_tables", {"schemas": ["auth", "storage"]}).message["result"].get("structuredContent"))


# ---- the roles of the API, with claims that the token carries

def test_claims_reach_the_helper_functions(ada):
    assert ada.sql("select auth.uid(), auth.role(), auth.email(), auth.jwt() ->> 'aal', current_user, session_user").rows == [
        [ADA, "authenticated", "ada@example.org", "aal1", "authenticated", "authenticated"]]


def test_policies_tell_users_apart(site, ada):
    bob = call_as(site, "authenticated", settings=claims(BOB))
    for _ in range(2):
        assert ada.sql("select task from public.todo order by id").rows == [["of ada"], ["also of ada"]]
        assert bob.sql("select task from public.todo order by id").rows == [["of bob"]]


def test_writing_keeps_to_the_policies(site, ada):
    assert ada.sql("insert into public.todo (task) values ('new') returning user_id::text").rows == [[ADA]]
    assert ada.sqlstate(f"insert into public.todo (user_id, task) values ('{BOB}', 'forged')") == DENIED
    assert ada.sql("update public.profile set name = 'Ada L.' returning id::text").rows == [[ADA]]
    # A session of one factor deletes nothing; one of two factors does.
    assert ada.sql("delete from public.todo where task = 'new' returning task").rows == []
    strong = call_as(site, "authenticated", settings=claims(ADA, aal="aal2"))
    assert strong.sql("delete from public.todo where task = 'new' returning task").rows == [["new"]]


FORGERIES = {
    "claims": f"""set request.jwt.claims = '{{"sub":"{BOB}","role":"authenticated"}}'""",
    "claims of the transaction": f"""select set_config('request.jwt.claims', '{{"sub":"{BOB}"}}', true)""",
    "one claim": f"select set_config('request.jwt.claim.sub', '{BOB}', true)",
    "claim that auth.jwt() reads": f"""select set_config('request.jwt.claim', '{{"sub":"{BOB}","aal":"aal2"}}', true)""",
    "role of the API": "set role service_role",
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_nobody_becomes_somebody_else(ada, forgery):
    assert ada.sqlstate(forgery) in (DENIED, NO_SUCH_NAME)
    assert ada.sqlstate(f"{forgery}; select task from public.todo") in (DENIED, NO_SUCH_NAME)
    assert ada.sql("select auth.uid()::text, auth.jwt() ->> 'aal'").rows == [[ADA, "aal1"]]


@pytest.mark.parametrize("table", ["auth.users", "auth.refresh_tokens", "supabase_migrations.schema_migrations", "mcp._tokens"])
def test_users_of_the_api_do_not_read(ada, anon, table):
    assert ada.sqlstate(f"select * from {table}") == DENIED
    assert anon.sqlstate(f"select * from {table}") == DENIED


def test_storage_without_policies_shows_no_row(ada, anon):
    assert ada.sql("select name from storage.objects").rows == []
    assert anon.sql("select name from storage.buckets").rows == []


def test_anon_sees_what_is_public(anon):
    assert anon.sql("select auth.uid(), auth.role()").rows == [[None, "anon"]]
    assert anon.value("select count(*) from public.profile") == 2
    assert anon.sql("select * from public.todo").rows == []
    # As over the API: where policies were forgotten the default privileges have opened the table.
    assert anon.value("select note from public.forgotten") == "no row-level security here"


def test_roles_of_the_api_get_free_sql_by_name_only(site):
    site.sql("revoke execute on function mcp.execute_sql(text, jsonb) from anon")
    assert "execute_sql" not in site.value("select mcp.revoke_tools('anon'); select mcp.grant_tools('anon', write => true)", user="postgres")
    caller = call_as(site, "anon")
    assert "execute_sql" not in caller.tools()
    site.sql("select mcp.grant_tools('anon', tools => '{execute_sql}')", user="postgres")


def test_timeouts_of_the_roles_of_the_api_count(ada, anon):
    assert anon.value("select current_setting('statement_timeout')") == "3s"
    assert ada.value("select current_setting('statement_timeout')") == "8s"
    assert anon.sqlstate("select pg_sleep(30)") == "57014"


# ---- roles that pass the policies by

@pytest.mark.parametrize("role,reason", [
    ("service_role", "BYPASSRLS"),
    ("postgres", "BYPASSRLS"),
    ("authenticator", "service_role"),
    ("supabase_storage_admin", "CREATEROLE|service_role"),
    ("supabase_read_only_user", "BYPASSRLS"),
    ("supabase_replication_admin", "REPLICATION"),
    ("supabase_admin", "superuser"),
])
def test_privileged_roles_are_refused(site, role, reason):
    site.sql("select mcp.grant_tools(%s::regrole)", [role], user="postgres")
    try:
        # supabase_admin may make the token, is warned, and the call is refused all the same.
        with site.connect() as connection:
            notices = []
            connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
            secret = connection.execute("select mcp.create_token(%s::regrole)", [role]).fetchone()[0]
        assert any("will be refused" in notice and re.search(reason, notice) for notice in notices), notices
        assert re.search(reason, refused_with(Caller(site, bearer(secret))))
    finally:
        site.sql("select mcp.revoke_tools(%s::regrole)", [role], user="postgres")


def test_passwords_of_privileged_roles_do_not_help(site):
    site.sql("set password_encryption = 'scram-sha-256'; alter role postgres password 'a developer''s'; alter role authenticator password 'a service''s'")
    refused_with(Caller(site, basic("postgres", "a developer's")))
    refused_with(Caller(site, basic("authenticator", "a service's")))


def test_service_role_by_a_superusers_setting(site):
    site.sql("select mcp.grant_tools('service_role')", user="postgres")
    caller = call_as(site, "service_role", settings=claims(role="service_role"))
    refused_with(caller)
    site.configure(supabase_mcp__privileged_roles="service_role")
    try:
        wait_until(lambda: is_served(caller), 20, "the setting is read")
        assert caller.sql("select count(*), auth.role() from public.todo").rows == [[3, "service_role"]]
        refused_with(call_as(site, "postgres", by="supabase_admin"))
    finally:
        site.configure(supabase_mcp__privileged_roles=None)
    wait_until(lambda: not is_served(caller), 20, "the setting is taken back")
    site.sql("select mcp.revoke_tools('service_role')", user="postgres")
