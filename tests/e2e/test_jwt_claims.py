"""What policies see of a JSON Web Token, with functions and policies as Supabase writes them; and that no caller can pretend."""

import json
from pathlib import Path

import pytest

from harness.caller import Caller, ToolResult, token_caller
from harness.clients import bearer
from harness.cluster import Cluster
from harness.issuer import claims, forged, signed
from harness.waits import wait_until

SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"
ADA, BOB = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
ROLES = """
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
select mcp.grant_tools(role => r::regrole, write => true, tools => array['execute_sql']) from unnest(array['anon', 'authenticated', 'service_role']) r;
"""
BODIES = "select array_agg(body order by id) from public.todo"


@pytest.fixture(scope="module")
def supabase():
    one = Cluster(supabase_mcp__jwt_secret=SECRET, supabase_mcp__jwt_audiences="authenticated,-",
                  supabase_mcp__jwt_roles="anon,authenticated,service_role", supabase_mcp__privileged_roles="service_role")
    one.start().install()
    one.sql(ROLES)
    one.sql((Path(__file__).parents[1] / "harness" / "supabase.sql").read_text())
    yield one
    one.remove()


def caller(cluster, headers=None, database=None, **changes):
    return Caller(cluster, {**bearer(signed(SECRET, claims(**changes))), **(headers or {})}, database, tcp=True)


def test_supabases_functions_know_the_user(supabase):
    ada = caller(supabase)
    row = ada.sql("select auth.uid()::text, auth.role(), auth.email(), auth.jwt() ->> 'sub'").rows[0]
    assert row == [ADA, "authenticated", "ada@example.org", ADA]
    assert ada.value("select auth.jwt() -> 'app_metadata' ->> 'provider'") == "email"


def test_claims_are_what_the_token_says_byte_by_byte(supabase):
    payload = json.dumps(claims(), separators=(" ,  ", ":   ")).replace("ada@", "\\u00e9da@")
    token = forged({"alg": "HS256"}, payload, SECRET.encode())
    one = Caller(supabase, bearer(token), tcp=True)
    assert one.value("select current_setting('request.jwt.claims')") == payload
    assert one.value("select auth.email()") == "éda@example.org"


def test_each_claim_is_a_setting_as_postgrest_had_it(supabase):
    one = caller(supabase, n=7, flag=True)
    query = "select current_setting('request.jwt.claim.' || c, true) from unnest(array['sub', 'role', 'n', 'flag', 'app_metadata']) c"
    assert [row[0] for row in one.sql(query).rows] == [ADA, "authenticated", "7", "true", '{"provider":"email"}']


def test_policies_hold_for_each_user(supabase):
    assert caller(supabase).value(BODIES) == ["of ada"]
    assert caller(supabase, sub=BOB).value(BODIES) == ["of bob", "of the red team", "of all"]
    assert caller(supabase, app_metadata={"team": "red"}).value(BODIES) == ["of ada", "of the red team"]
    assert caller(supabase, role="anon", aud=None, sub=None).value(BODIES) == ["of all"]
    assert len(caller(supabase, role="service_role", aud=None, sub=None).value(BODIES)) >= 4


def test_writes_are_checked_by_policies(supabase):
    ada = caller(supabase)
    assert ada.value("insert into public.todo (body) values ('new') returning user_id::text") == ADA
    assert ada.sqlstate(f"insert into public.todo (user_id, body) values ('{BOB}', 'forged')") == "42501"
    remove = "with gone as (delete from public.todo where body = 'new' returning 1) select count(*) from gone"
    assert ada.value(remove) == 0, "one factor is not enough"
    assert caller(supabase, aal="aal2").value(remove) == 1


def test_a_new_token_of_the_same_user_counts_at_once(supabase):
    """One process may serve both, so nothing of the old claims may stay."""
    before = caller(supabase, only_here="x")
    assert before.value("select current_setting('request.jwt.claim.only_here', true)") == "x"
    after = caller(supabase, aal="aal2")
    assert after.value("select auth.jwt() ->> 'aal'") == "aal2"
    assert after.value("select nullif(current_setting('request.jwt.claim.only_here', true), '')") is None
    assert before.value("select auth.jwt() ->> 'aal'") == "aal1"


PRETEND = [
    "set request.jwt.claims = '{}'",
    "set local request.jwt.claims = '{}'",
    "reset request.jwt.claims",
    "select set_config('request.jwt.claims', '{}', true)",
    "select set_config('request.jwt.claim.sub', 'x', false)",
    "select set_config('request.jwt.claim.never_there', 'x', false)",
    "select set_config('request.headers', '{}', false)",
    "create function pg_temp.f() returns text language sql set request.jwt.claims = '{}' as 'select current_user::text'; select pg_temp.f()",
    "do $$ begin perform set_config('request.jwt.claims', '{}', true); end $$",
]


@pytest.mark.parametrize("query", PRETEND)
def test_no_sql_changes_the_claims(supabase, query):
    ada = caller(supabase)
    assert ada.sqlstate(query) in ("42501", "42602"), "no right to set it, or no name that can be set"
    assert ada.value(BODIES) == ["of ada"]
    assert ada.value("select auth.uid()::text") == ADA


def test_discard_and_reset_all_leave_the_claims(supabase):
    ada = caller(supabase)
    answer = ada.sql("reset all; select auth.uid()::text")
    assert answer.is_error or answer.value == ADA
    assert ada.value("select auth.uid()::text") == ADA


def test_parallel_workers_see_the_claims(supabase):
    supabase.sql("create table public.wide as select n, repeat('x', 200) as t from generate_series(1, 20000) n;"
                 " alter table public.wide set (parallel_workers = 2); analyze public.wide; grant select on public.wide to authenticated")
    ada = caller(supabase)
    query = f"select count(*) from public.wide where current_setting('request.jwt.claims')::jsonb ->> 'sub' = '{ADA}' and length(t) = 200"
    force = "set local parallel_setup_cost = 0; set local parallel_tuple_cost = 0; set local min_parallel_table_scan_size = 0; "
    plan = json.dumps(ada.sql(force + "explain " + query).rows)
    assert "Gather" in plan, plan
    assert ada.value(force + query) == 20000


def test_requests_are_described_as_postgrest_does(supabase):
    one = caller(supabase, {"X-Tenant": "acme", "Cookie": "secret=1", "apikey": "k"})
    assert one.value("select current_setting('request.method')") == "POST"
    assert one.value("select current_setting('request.path')") == "/mcp"
    headers = json.loads(one.value("select current_setting('request.headers')"))
    assert headers["x-tenant"] == "acme" and headers["content-type"] == "application/json"
    assert not {"authorization", "cookie", "apikey", "proxy-authorization"} & set(headers)
    other = caller(supabase, {"X-Tenant": "other"})
    assert other.value("select current_setting('request.headers')::jsonb ->> 'x-tenant'") == "other"
    with one.line() as client:
        answer = ToolResult(client.call_tool("execute_sql", {"query": "select current_setting('request.headers')::jsonb ->> 'x-tenant'"}))
        assert answer.value == "acme"


def test_other_callers_have_their_role_for_claims_and_no_user(supabase):
    one = token_caller(supabase, "authenticated", label="no user")
    assert one.sql("select auth.uid(), auth.role()").rows == [[None, "authenticated"]]
    assert one.value(BODIES) is None
    assert one.sqlstate(f"select set_config('request.jwt.claims', '{{\"sub\":\"{ADA}\"}}', true)") is not None
    assert one.value("select coalesce(current_setting('request.headers', true), '')") == ""


def test_the_caller_is_known_by_subject(supabase):
    seen = caller(supabase, iss="https://auth.example").value("select mcp.current_caller()")
    seen = json.loads(seen) if isinstance(seen, str) else seen
    assert seen["principal"] == f"jwt:https://auth.example:{ADA}" and seen["subject"] == ADA


def test_claims_beyond_the_databases_encoding_are_a_clean_error(supabase):
    supabase.sql("create database latin template template0 encoding 'LATIN1' locale 'C'")
    supabase.sql("create extension supabase_mcp", database="latin")
    supabase.sql("select mcp.grant_tools('authenticated', tools => array['execute_sql'])", database="latin")
    one = caller(supabase, database="latin", name="名前")
    good = caller(supabase, database="latin", name="é")
    # PyJWT escapes what is not ASCII, so the token's own text fits; the claim by its name does not.
    assert good.value("select current_setting('request.jwt.claim.name')") == "é"
    answer = one.sql("select 1")
    assert answer.is_error and "no equivalent in encoding" in answer.error["message"], answer
    wait_until(lambda: good.value("select 1") == 1, 10, "others are served on")
