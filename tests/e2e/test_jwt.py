"""Callers with a JSON Web Token: which tokens are believed, which role they are, and what an administrator's settings change."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from harness.caller import Caller, ToolResult, token_caller
from harness.clients import bearer
from harness.cluster import Cluster
from harness.issuer import Key, claims, encode, forged, jwks, signed
from harness.refusal import answer_of, challenges, is_served, unauthorized
from harness.waits import wait_until

SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"
WHO = "select session_user::text, current_user::text"
KEYS = {algorithm: Key(algorithm, f"key-{algorithm}") for algorithm in ("ES256", "RS256", "EdDSA")}
WORLD = """
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role app_login login;
create role unlisted nologin;
select mcp.grant_tools(role => r::regrole, write => true, tools => array['execute_sql'])
  from unnest(array['anon', 'authenticated', 'service_role', 'app_login', 'unlisted']) r;
create table public.entry (id int generated always as identity primary key, body text);
grant select, insert on public.entry to authenticated;
"""


@pytest.fixture(scope="module")
def supabase():
    """A cluster that takes the tokens of one issuer, set up as for Supabase Auth."""
    one = Cluster(supabase_mcp__jwt_secret=SECRET, supabase_mcp__jwt_jwks_file="jwks.json",
                  supabase_mcp__jwt_audiences="authenticated", supabase_mcp__jwt_roles="anon,authenticated,service_role,app_login,ghost")
    publish(one, *KEYS.values())
    one.start().install()
    one.sql(WORLD)
    yield one
    one.remove()


@pytest.fixture
def change(supabase):
    """Changes settings for one test: change(jwt_leeway='0')."""
    before = dict(supabase.settings)

    def make(**values):
        supabase.configure(**{f"supabase_mcp__{name}": value for name, value in values.items()})

    yield make
    supabase.settings = before
    supabase.configure()


def publish(cluster, *keys):
    (cluster.data / "jwks.json").write_text(jwks(*keys))


def with_token(cluster, token, **options):
    return Caller(cluster, bearer(token), tcp=True, **options)


def caller(cluster, key=SECRET, header=None, **changes):
    return with_token(cluster, signed(key, claims(**changes), **(header or {})))


def refusal(cluster, token, status=401):
    """The text of the refusal; neither it nor the log repeats the token."""
    answered, _, response = answer_of(with_token(cluster, token))
    assert answered == status, response
    text = response.body.decode()
    for part in token.split("."):
        assert len(part) < 8 or part not in text
    return text


# ---- who it is

@pytest.mark.parametrize("key", [SECRET, *KEYS.values()], ids=["HS256", *KEYS])
def test_each_algorithm_is_the_role_in_the_token(supabase, key):
    assert caller(supabase, key).sql(WHO).rows == [["authenticated", "authenticated"]]
    assert caller(supabase, key, role="anon").sql(WHO).rows == [["anon", "anon"]]


def test_a_key_without_kid_in_the_token_is_found(supabase):
    token = jwt.encode(claims(), KEYS["ES256"].private, algorithm="ES256")
    assert with_token(supabase, token).sql(WHO).rows == [["authenticated", "authenticated"]]


def test_a_role_that_can_log_in_is_shared_too(supabase):
    one = caller(supabase, role="app_login")
    assert one.sql(WHO).rows == [["app_login", "app_login"]]
    pid = one.value("select pg_backend_pid()")
    assert supabase.value("select usename from pg_stat_activity where pid = %s", [pid]) == "mcp_bridge"


def test_two_subjects_never_share_a_process(supabase):
    pids = {sub: caller(supabase, sub=sub).value("select pg_backend_pid()") for sub in ("ada", "bob")}
    assert pids["ada"] != pids["bob"]


def test_tokens_work_on_every_transport(supabase):
    token = signed(SECRET, claims())
    on_socket = Caller(supabase, bearer(token))
    assert on_socket.sql(WHO).rows == [["authenticated", "authenticated"]]
    with on_socket.line() as client:
        assert ToolResult(client.call_tool("execute_sql", {"query": WHO})).rows == [["authenticated", "authenticated"]]


# ---- what is not believed

def now(shift=0):
    return int(time.time()) + shift


BAD = {
    "expired": (lambda: signed(SECRET, claims(exp=now(-60))), "expired"),
    "not yet": (lambda: signed(SECRET, claims(nbf=now(120))), "not valid yet"),
    "from the future": (lambda: signed(SECRET, claims(iat=now(120))), "in the future"),
    "without exp": (lambda: signed(SECRET, claims(exp=None)), "no time of expiry"),
    "exp as text": (lambda: forged({"alg": "HS256"}, claims(exp="9999999999"), SECRET.encode()), "exp is no number"),
    "other audience": (lambda: signed(SECRET, claims(aud="https://elsewhere.example")), "audience"),
    "without audience": (lambda: signed(SECRET, claims(aud=None)), "audience"),
    "without role": (lambda: signed(SECRET, claims(role=None)), "no role"),
    "other secret": (lambda: signed(SECRET.upper(), claims()), "signature is wrong"),
    "unknown key": (lambda: signed(Key("ES256", "key-new"), claims()), "key that is not known"),
    "known kid, other key": (lambda: signed(Key("ES256", "key-ES256"), claims()), "signature is wrong"),
    "kid of a key of another kind": (lambda: signed(KEYS["ES256"], claims(), kid="key-RS256"), "key that is not known"),
    "alg none": (lambda: forged({"alg": "none"}, claims(), b"").rpartition(".")[0] + ".", "algorithm"),
    "alg none, signed": (lambda: forged({"alg": "none"}, claims(), SECRET.encode()), "algorithm"),
    "alg HS512": (lambda: jwt.encode(claims(), SECRET * 2, algorithm="HS512"), "algorithm"),
    "public key as secret (PEM)": (lambda: forged({"alg": "HS256", "kid": "key-RS256"}, claims(), KEYS["RS256"].public_pem()),
                                   "signature is wrong"),
    "public key as secret (JWKS)": (lambda: forged({"alg": "HS256"}, claims(), jwks(*KEYS.values()).encode()), "signature is wrong"),
    "secret for ES256": (lambda: forged({"alg": "ES256", "kid": "key-ES256"}, claims(), SECRET.encode()), "signature is wrong"),
    "key inside the token": (lambda: signed(Key("ES256", "mine"), claims(), jwk=Key("ES256", "mine").jwk(), jku="http://127.0.0.1/x"),
                             "key that is not known"),
    "crit": (lambda: forged({"alg": "HS256", "crit": ["exp"]}, claims(), SECRET.encode()), "crit"),
    "another type": (lambda: forged({"alg": "HS256", "typ": "dpop+jwt"}, claims(), SECRET.encode()), "type"),
    "role twice": (lambda: forged({"alg": "HS256"}, json.dumps(claims(role="anon"))[:-1] + ',"role":"authenticated"}', SECRET.encode()),
                   "twice"),
    "alg twice": (lambda: forged('{"alg":"none","alg":"HS256"}', claims(), SECRET.encode()), "twice"),
    "deep": (lambda: forged({"alg": "HS256"}, json.dumps(claims())[:-1] + ',"x":' + "[" * 50 + "]" * 50 + "}", SECRET.encode()), "deeper"),
    "code 0": (lambda: forged({"alg": "HS256"}, claims(sub="a\0b"), SECRET.encode()), "code 0"),
    "no claims": (lambda: forged({"alg": "HS256"}, "[]", SECRET.encode()), "not a JSON object"),
    "no JSON": (lambda: f"{encode('x')}.{encode('y')}.{encode('z')}", "header"),
    "huge": (lambda: signed(SECRET, claims(x="x" * 9000)), "longer than"),
}


def test_what_is_not_believed_is_401_with_its_reason(supabase):
    """All at once: who keeps failing is answered more and more slowly."""
    tokens = {what: make() for what, (make, _) in BAD.items()}
    with ThreadPoolExecutor(len(BAD)) as threads:
        answers = {what: threads.submit(refusal, supabase, token) for what, token in tokens.items()}
    wrong = {what: answers[what].exception() or answers[what].result()
             for what, (_, reason) in BAD.items() if answers[what].exception() or reason not in answers[what].result()}
    assert not wrong
    assert not [what for what, token in tokens.items() if token in supabase.log()]


def test_a_changed_payload_is_not_believed(supabase):
    header, _, signature = signed(KEYS["EdDSA"], claims(role="anon")).split(".")
    forgery = f"{header}.{encode(json.dumps(claims()))}.{signature}"
    assert "signature is wrong" in refusal(supabase, forgery)


def test_a_refusal_is_one_line_in_the_log(supabase):
    refusal(supabase, signed(SECRET, claims(exp=now(-3600))))
    wait_until(lambda: "the token has expired" in supabase.log(), 5, "the refusal is logged")


def test_a_token_ends_in_the_middle_of_a_connection(supabase, change):
    change(jwt_leeway="0")
    wait_until(lambda: "expired" in refusal(supabase, signed(SECRET, claims(exp=now(-1)))), 10, "no leeway")
    one = with_token(supabase, signed(SECRET, claims(exp=now(4))))
    with one.line() as client:
        assert ToolResult(client.call_tool("execute_sql", {"query": WHO})).rows
        wait_until(lambda: not is_served(one), 10, "the token expires")
        answer = client.call_tool("execute_sql", {"query": WHO})
        assert "the token has expired" in json.dumps(answer)
    assert "Bearer" in challenges(unauthorized(one))


def test_leeway_is_a_setting(supabase, change):
    late = signed(SECRET, claims(exp=now(-15)))
    assert is_served(with_token(supabase, late)), "30 s by default"
    change(jwt_leeway="5s")
    wait_until(lambda: not is_served(with_token(supabase, late)), 10, "less leeway counts after the reload")


# ---- what is believed, and not served

def test_a_role_that_is_not_listed_is_403(supabase):
    assert "jwt_roles" in refusal(supabase, signed(SECRET, claims(role="unlisted")), 403)
    assert "jwt_roles" in refusal(supabase, signed(SECRET, claims(role="postgres")), 403)


def test_service_role_needs_a_second_setting(supabase, change):
    text = refusal(supabase, signed(SECRET, claims(role="service_role")), 403)
    assert "BYPASSRLS" in text and "supabase_mcp.privileged_roles" in text
    change(privileged_roles="service_role")
    one = caller(supabase, role="service_role")
    wait_until(lambda: is_served(one), 10, "the setting counts")
    assert one.sql(WHO).rows == [["service_role", "service_role"]]


def test_a_role_that_does_not_exist_is_401(supabase):
    assert "does not exist" in refusal(supabase, signed(SECRET, claims(role="ghost")))


def test_attributes_of_the_role_count_at_the_next_call(supabase):
    one = caller(supabase, role="app_login")
    assert is_served(one)
    supabase.sql("alter role app_login valid until '2020-01-01'")
    wait_until(lambda: not is_served(one), 10, "VALID UNTIL counts")
    supabase.sql("alter role app_login valid until 'infinity' connection limit 0")
    wait_until(lambda: "no connections" in refusal(supabase, one.headers["Authorization"].split()[1], 403), 10, "CONNECTION LIMIT counts")
    supabase.sql("alter role app_login connection limit -1")
    wait_until(lambda: is_served(one), 10, "served again")


def test_issuers_and_clients_are_lists(supabase, change):
    good = {"iss": "https://auth.example/auth/v1", "client_id": "c1"}
    change(jwt_issuers="https://auth.example/auth/v1", jwt_client_ids="c1")
    wait_until(lambda: "issuer" in refusal(supabase, signed(SECRET, claims(client_id="c1"))), 10, "the settings count")
    assert is_served(caller(supabase, **good))
    assert "issuer" in refusal(supabase, signed(SECRET, claims(**{**good, "iss": "https://auth.example/auth/v1/"})))
    for client in ("c2", None):
        assert "jwt_client_ids" in refusal(supabase, signed(SECRET, claims(**{**good, "client_id": client})), 403)


def test_tokens_without_audience_need_a_dash(supabase, change):
    """Supabase's own API keys have none."""
    key = signed(SECRET, claims(aud=None, role="anon", sub=None, iss="supabase"))
    assert "audience" in refusal(supabase, key)
    change(jwt_audiences="authenticated,-")
    wait_until(lambda: is_served(with_token(supabase, key)), 10, "the dash counts")
    assert is_served(caller(supabase))


# ---- keys

def test_keys_rotate_without_a_reload(supabase):
    old, new = KEYS["ES256"], Key("ES256", "key-next")
    before, after = caller(supabase, old), caller(supabase, new)
    assert is_served(before) and not is_served(after)
    try:
        publish(supabase, old, new)
        wait_until(lambda: is_served(after), 10, "a key that was added counts")
        assert is_served(before), "and the other is still good"
        publish(supabase, new)
        wait_until(lambda: not is_served(before), 10, "a key that was taken away no longer counts, not even from memory")
        (supabase.data / "jwks.json").write_text('{"keys": [')
        wait_until(lambda: is_served(after) and "not a JWKS" in supabase.log(), 10, "a file half written is complained of, and its keys stay")
        assert is_served(after)
        (supabase.data / "jwks.json").unlink()
        wait_until(lambda: not is_served(after), 10, "a file that is gone takes its keys along")
        assert is_served(caller(supabase)), "the secret is another source"
    finally:
        publish(supabase, *KEYS.values())
    wait_until(lambda: is_served(before), 10, "the keys are back")


def test_a_secret_in_a_file_counts_besides_the_other(supabase, change):
    file = supabase.data / "jwt.secret"
    file.write_text("another secret of at least thirty-two bytes\n")
    change(jwt_secret_file="jwt.secret")
    wait_until(lambda: is_served(caller(supabase, "another secret of at least thirty-two bytes")), 10, "the file's secret counts")
    assert is_served(caller(supabase)), "so that a secret can be changed without a gap"
    file.write_text("short\n")
    wait_until(lambda: not is_served(caller(supabase, "another secret of at least thirty-two bytes")), 10, "the old one is gone")
    wait_until(lambda: "shorter than 32 bytes" in supabase.log(), 5, "a short secret is complained of")


def test_keys_can_be_seen_by_nobody(supabase):
    for name in ("jwt_secret", "jwt_jwks"):
        assert supabase.sql(f"load 'supabase_mcp'; show supabase_mcp.{name}") == [("********",)]
        rows = supabase.sql(f"load 'supabase_mcp'; select * from pg_settings where name = 'supabase_mcp.{name}'")
        assert rows == []
    seen = caller(supabase).sql("select current_setting('supabase_mcp.jwt_secret', true)")
    assert SECRET not in json.dumps(seen.message) and (seen.is_error or seen.value in (None, "********"))
    supabase.sql("create role watcher login; grant pg_monitor to watcher; select mcp.grant_tools('watcher')")
    seen = token_caller(supabase, "watcher").sql("select current_setting('supabase_mcp.jwt_secret', true)")
    assert SECRET not in json.dumps(seen.message) and (seen.is_error or seen.value in (None, "********"))
    assert SECRET not in supabase.log()


# ---- where none is taken

def test_without_roles_no_token_is_taken(supabase, change):
    one = caller(supabase)
    assert is_served(one)
    change(jwt_roles="")
    wait_until(lambda: not is_served(one), 10, "an empty list takes nobody")
    assert "unknown, revoked or expired token" in refusal(supabase, signed(SECRET, claims()))
    wait_until(lambda: "both set" in supabase.log(), 5, "the log says that half is set")


def test_a_server_without_the_settings_knows_no_jwt(cluster):
    response = unauthorized(with_token(cluster, signed(SECRET, claims())))
    assert "unknown, revoked or expired token" in response.body.decode()
