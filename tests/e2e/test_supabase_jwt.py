"""Tokens of Supabase Auth in a database in the shape of Supabase's: users, the API keys, and clients of its OAuth server.

Set up as docs/supabase.md says: by default the role `authenticated` and the audience `authenticated` alone.
"""

import json
import secrets
import time

import pytest

from harness.caller import Caller
from harness.clients import HttpClient, bearer
from harness.issuer import Key, encode, jwks, signed
from harness.refusal import challenges, is_served, refused_with, unauthorized
from harness.supabase import ADA, BOB, supabase_cluster
from harness.waits import wait_until

SECRET = "your-super-secret-jwt-token-with-at-least-32-characters-long"
ISSUER = "https://project.example/auth/v1"
KEY = Key("ES256", "b81269f1-21d8-4f2e-b719-c2240a840d90")
DENIED = "42501"
TASKS = "select task from public.todo order by id"


@pytest.fixture(scope="module")
def site():
    one = supabase_cluster(files={"jwt.secret": SECRET + "\n", "jwks.json": jwks(KEY)},
                           supabase_mcp__jwt_secret_file="jwt.secret", supabase_mcp__jwt_jwks_file="jwks.json",
                           supabase_mcp__jwt_audiences="authenticated", supabase_mcp__jwt_roles="authenticated")
    one.install()
    one.sql("grant mcp_admin to postgres; grant anon, authenticated, service_role to postgres with admin option")
    for role in ("anon", "authenticated", "service_role"):
        one.sql(f"select mcp.grant_tools('{role}', write => true, tools => '{{execute_sql}}')", user="postgres")
    yield one
    one.remove()


@pytest.fixture
def change(site):
    """Changes settings for one test: change(jwt_roles='anon'), and waits until they count."""
    before = dict(site.settings)

    def make(until, **values):
        site.configure(**{f"supabase_mcp__{name}": value for name, value in values.items()})
        wait_until(until, 10, "the settings are read")

    yield make
    site.settings = before
    site.configure()


def user(sub=ADA, **more):
    """The claims of a session's access token."""
    now = int(time.time())
    return {"iss": ISSUER, "sub": sub, "aud": "authenticated", "exp": now + 3600, "iat": now, "email": "ada@example.org", "phone": "",
            "app_metadata": {"provider": "email", "providers": ["email"]}, "user_metadata": {"email_verified": True},
            "role": "authenticated", "aal": "aal1", "amr": [{"method": "password", "timestamp": now}],
            "session_id": "9c1f3c0e-6d6e-4c4c-9d0c-2f5f0f3a1b11", "is_anonymous": False, **more}


def api_key(role):
    """What `anon` and `service_role` keys are: a role, no audience, no subject, ten years."""
    now = int(time.time())
    return {"role": role, "iss": "supabase", "iat": now, "exp": now + 10 * 365 * 86400}


def with_token(site, payload, key=SECRET):
    return Caller(site, bearer(signed(key, payload)))


@pytest.fixture(params=["HS256", "ES256"])
def signer(request):
    return SECRET if request.param == "HS256" else KEY


# ---- users

def test_user_is_who_the_token_says(site, signer):
    ada = with_token(site, user(), signer)
    assert ada.sql("select auth.uid()::text, auth.role(), auth.email(), auth.jwt() ->> 'session_id', session_user, current_user").rows == [
        [ADA, "authenticated", "ada@example.org", "9c1f3c0e-6d6e-4c4c-9d0c-2f5f0f3a1b11", "authenticated", "authenticated"]]
    assert ada.value("select auth.jwt() -> 'amr' -> 0 ->> 'method'") == "password"


def test_policies_tell_users_apart(site, signer):
    ada, bob = with_token(site, user(), signer), with_token(site, user(BOB, email="bob@example.org"), signer)
    for _ in range(2):
        assert ada.sql(TASKS).rows == [["of ada"], ["also of ada"]]
        assert bob.sql(TASKS).rows == [["of bob"]]


def test_writing_keeps_to_the_policies(site, signer):
    ada = with_token(site, user(), signer)
    assert ada.sql("insert into public.todo (task) values ('new') returning user_id::text").rows == [[ADA]]
    assert ada.sqlstate(f"insert into public.todo (user_id, task) values ('{BOB}', 'forged')") == DENIED
    assert ada.sql("delete from public.todo where task = 'new' returning task").rows == []
    assert with_token(site, user(aal="aal2"), signer).sql("delete from public.todo where task = 'new' returning task").rows == [["new"]]


def test_user_stays_who_the_token_says(site, signer):
    ada = with_token(site, user(), signer)
    for forgery in (f"""set request.jwt.claims = '{{"sub":"{BOB}"}}'""", f"select set_config('request.jwt.claims', '{{\"sub\":\"{BOB}\"}}', true)",
                    "set role service_role", "set session authorization postgres"):
        assert ada.sqlstate(f"{forgery}; {TASKS}") == DENIED
    assert ada.value("select auth.uid()::text") == ADA


@pytest.mark.parametrize("table", ["auth.users", "auth.refresh_tokens", "mcp._tokens"])
def test_user_does_not_read(site, table):
    assert with_token(site, user()).sqlstate(f"select * from {table}") == DENIED


# ---- tokens that are not taken

@pytest.mark.parametrize("payload", [
    user(role="postgres"), user(role="service_role"), user(role="supabase_admin"), user(role="anon"), user(aud="another"),
    user(exp=int(time.time()) - 600), {**user(), "role": None},
], ids=["postgres", "service_role", "supabase_admin", "a role that is not listed", "another audience", "expired", "no role"])
def test_refused(site, signer, payload):
    refused_with(with_token(site, {k: v for k, v in payload.items() if v is not None}, signer))


def test_another_secret_and_another_key(site):
    unauthorized(with_token(site, user(), secrets.token_hex(32)))
    unauthorized(with_token(site, user(), Key("ES256", KEY.kid)))


# ---- the API keys

@pytest.mark.parametrize("role", ["anon", "service_role"])
def test_api_keys_are_not_taken_by_default(site, signer, role):
    unauthorized(with_token(site, api_key(role), signer))


def test_anon_key_by_setting(site, change):
    anon = with_token(site, api_key("anon"))
    change(lambda: is_served(anon), jwt_roles="authenticated, anon", jwt_audiences="authenticated, -")
    assert anon.sql("select auth.uid(), auth.role(), current_user").rows == [[None, "anon", "anon"]]
    assert anon.sql(TASKS).rows == []
    assert anon.value("select count(*) from public.profile") == 2
    refused_with(with_token(site, api_key("service_role")))


def test_service_role_key_needs_a_second_setting(site, change):
    service = with_token(site, api_key("service_role"))
    wider = {"jwt_roles": "authenticated, service_role", "jwt_audiences": "authenticated, -"}
    change(lambda: "BYPASSRLS" in refused_with(service), **wider)
    change(lambda: is_served(service), **wider, privileged_roles="service_role")
    assert service.sql("select count(*), auth.role() from public.todo").rows == [[3, "service_role"]]


# ---- keys as Supabase has them

def test_jwks_with_the_secret_in_it(site):
    """JWT_JWKS of a self-hosted stack holds the public key and, as a symmetric one, JWT_SECRET."""
    other = "another-secret-jwt-token-with-at-least-32-characters-long"
    symmetric = {"kty": "oct", "k": encode(other), "alg": "HS256", "kid": "symmetric"}
    (site.data / "jwks.json").write_text(json.dumps({"keys": [KEY.jwk(), symmetric]}))
    try:
        # It is looked at again when a token comes in, and says in the log what it leaves out.
        wait_until(lambda: is_served(with_token(site, user(), KEY)) and "it is a secret" in site.log(), 10, "the file is read")
        unauthorized(with_token(site, user(), other))
    finally:
        (site.data / "jwks.json").write_text(jwks(KEY))


def test_token_of_an_oauth_client(site, change):
    """Supabase's OAuth server writes the audience of every session, and the client besides."""
    ours, theirs = with_token(site, user(client_id="ours", scope="email"), KEY), with_token(site, user(client_id="theirs", scope="email"), KEY)
    assert is_served(ours) and is_served(theirs)
    change(lambda: not is_served(theirs), jwt_client_ids="ours")
    assert ours.value("select auth.jwt() ->> 'client_id'") == "ours"
    refused_with(with_token(site, user(), KEY))


# ---- behind the API gateway

def test_oauth_client_finds_its_way_behind_kong(site, change):
    """Kong takes /mcp/v1 for /mcp, passes the metadata's path on, and sends its own name for the host."""
    through_kong = {"Host": f"db:{site.port}"}

    def ask(path):
        with HttpClient(tcp=("127.0.0.1", site.port)) as client:
            return client.request("GET", path, headers=through_kong)

    metadata = "/.well-known/oauth-protected-resource/mcp/v1"
    assert ask(metadata).status == 403
    change(lambda: ask(metadata).status == 200, allowed_hosts="db", oauth_issuer=ISSUER, oauth_resource="https://project.example/mcp/v1")
    document = ask(metadata).json()
    assert document["resource"] == "https://project.example/mcp/v1" and document["authorization_servers"] == [ISSUER]
    nobody = Caller(site, through_kong, tcp=True)
    assert f'resource_metadata="https://project.example{metadata}"' in challenges(unauthorized(nobody))
    signed_in = Caller(site, {**through_kong, **bearer(signed(KEY, user(client_id="assistant")))}, tcp=True)
    assert signed_in.value("select auth.uid()::text") == ADA
