"""OAuth: what clients are told, and the official SDKs' own flows against an authorization server, from 401 to an answer."""

import asyncio
import json
import subprocess
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from harness.authorization import AuthorizationServer
from harness.caller import Caller
from harness.clients import HttpClient, bearer
from harness.cluster import Cluster
from harness.issuer import claims, signed
from harness.programs import node_clients
from harness.refusal import answer_of, challenges, is_served, unauthorized
from harness.waits import wait_until

WELL_KNOWN = "/.well-known/oauth-protected-resource"
SCOPES = ["db:write", "db:read", "db:look"]
WORLD = """
create role authenticated nologin noinherit;
create role oauth_reader nologin;
select mcp.grant_tools(role => r::regrole, write => true, tools => array['execute_sql', 'list_schemas']) from unnest(array['authenticated', 'oauth_reader']) r;
create table public.entry (id int generated always as identity primary key, body text);
insert into public.entry (body) values ('first');
grant select, insert on public.entry to authenticated, oauth_reader;
"""


@pytest.fixture(scope="module")
def authority():
    with AuthorizationServer(SCOPES) as server:
        yield server


@pytest.fixture(scope="module")
def resource(authority):
    """A server that sends its clients to the authority."""
    one = Cluster(supabase_mcp__jwt_roles="authenticated,oauth_reader", supabase_mcp__jwt_jwks_file="jwks.json",
                  supabase_mcp__oauth_issuer=authority.issuer,
                  supabase_mcp__oauth_scopes="db:write=*, db:read=oauth_reader/read_only, db:look=oauth_reader/read_only/features:catalog+nothing")
    one.settings["supabase_mcp.oauth_resource"] = f"http://127.0.0.1:{one.port}/mcp"
    one.configure()
    (one.data / "jwks.json").write_text(authority.jwks())
    one.start().install()
    one.sql(WORLD)
    one.sql("create database shop")
    one.sql("create extension supabase_mcp", database="shop")
    yield one
    one.remove()


@pytest.fixture
def url(resource):
    return f"http://127.0.0.1:{resource.port}/mcp"


@pytest.fixture(autouse=True)
def plain_authority(authority):
    yield
    authority.granted = authority.audience = None


def get(cluster, path, verb="GET"):
    with HttpClient(tcp=("127.0.0.1", cluster.port)) as client:
        return client.request(verb, path)


def caller(cluster, authority, scopes=SCOPES, audience=None, database=None, **changes):
    token = authority.token("c1", scopes, audience or f"http://127.0.0.1:{cluster.port}/mcp", **changes)
    return Caller(cluster, bearer(token), database, tcp=True)


# ---- what is told

def test_metadata_with_and_without_path(resource, authority, url):
    for path in ("", "/mcp"):
        answer = get(resource, WELL_KNOWN + path)
        assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
        told = answer.json()
        assert told["resource"] == url and told["authorization_servers"] == [authority.issuer]
        assert told["scopes_supported"] == SCOPES and told["bearer_methods_supported"] == ["header"]
    assert get(resource, f"{WELL_KNOWN}/mcp/shop").json()["resource"] == f"{url}/shop"
    assert get(resource, f"{WELL_KNOWN}/other").status == 404
    assert get(resource, WELL_KNOWN, "POST").status == 405


def test_a_401_leads_to_the_metadata(resource, url):
    origin = url.removesuffix("/mcp")
    told = challenges(unauthorized(Caller(resource, tcp=True)))
    assert f'resource_metadata="{origin}{WELL_KNOWN}/mcp"' in told and 'scope="db:write db:read db:look"' in told
    assert "error=" not in told, "who brought nothing made no mistake"
    told = challenges(unauthorized(Caller(resource, bearer("e30.e30.x"), "shop", tcp=True)))
    assert f'resource_metadata="{origin}{WELL_KNOWN}/mcp/shop"' in told and 'error="invalid_token"' in told


def test_nothing_is_told_where_no_issuer_is_set(cluster):
    for path in ("", "/mcp"):
        assert get(cluster, WELL_KNOWN + path).status == 404
    told = challenges(unauthorized(Caller(cluster, tcp=True)))
    assert "resource_metadata" not in told and "scope" not in told


# ---- what is taken

def test_scopes_choose_the_role(resource, authority):
    who = "select current_user::text"
    assert caller(resource, authority).value(who) == "authenticated"
    reader = caller(resource, authority, ["openid", "db:read"])
    assert reader.value(who) == "oauth_reader"
    insert = "insert into public.entry (body) values ('x') returning body"
    assert caller(resource, authority, ["db:write"]).value(insert) == "x"
    assert reader.sqlstate(insert) == "25006"


def test_a_scope_keeps_a_client_to_a_toolset(resource, authority):
    reader, looker = caller(resource, authority, ["db:read"]), caller(resource, authority, ["db:look"])
    assert "execute_sql" in reader.tools() and set(looker.tools()) == {"list_schemas"}
    assert looker.tool("list_schemas").data["schemas"]
    assert "there is no tool" in looker.sql("select 1").protocol_error["message"]
    assert reader.value("select 1") == 1


def test_a_token_without_a_scope_is_403(resource, authority, url):
    status, _, response = answer_of(caller(resource, authority, ["openid"]))
    told = response.headers["WWW-Authenticate"]
    assert status == 403 and 'error="insufficient_scope"' in told and 'scope="db:write db:read db:look"' in told
    assert f'resource_metadata="{url.removesuffix("/mcp")}{WELL_KNOWN}/mcp"' in told


def test_a_token_is_for_one_resource(resource, authority, url):
    assert is_served(caller(resource, authority))
    assert is_served(caller(resource, authority, audience=[f"{url}/shop", url]))
    for audience in ("http://127.0.0.1:1/mcp", f"{url}/shop", url + "/"):
        assert "audience" in unauthorized(caller(resource, authority, audience=audience)).body.decode()
    assert is_served(caller(resource, authority, audience=f"{url}/shop", database="shop")) is False, "no tools there, and not refused"
    status, _, _ = answer_of(caller(resource, authority, audience=f"{url}/shop", database="shop"))
    assert status == 200
    unauthorized(caller(resource, authority, audience=url, database="shop"))


def test_a_token_of_another_issuer_is_401(resource, authority):
    payload = claims(iss="http://127.0.0.1:1", aud=f"http://127.0.0.1:{resource.port}/mcp", scope="db:write")
    assert "issuer" in unauthorized(Caller(resource, bearer(signed(authority.key, payload)), tcp=True)).body.decode()


# ---- the Python SDK

class Memory:
    """The SDK keeps its tokens here."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


class Browser:
    """The user's browser: follows the authorization URL and comes back with what the redirect carries."""

    async def open(self, address):
        async with httpx2.AsyncClient(timeout=20) as http:
            answer = await http.get(address)
        assert answer.status_code == 302, answer.text
        self.returned = {name: value[0] for name, value in parse_qs(urlsplit(answer.headers["location"]).query).items()}

    async def come_back(self):
        return AuthorizationCodeResult(**{name: self.returned[name] for name in ("code", "state", "iss") if name in self.returned})


async def python_flow(url, memory, mode):
    browser = Browser()
    metadata = OAuthClientMetadata(client_name="e2e", redirect_uris=["http://127.0.0.1:1/callback"],
                                   grant_types=["authorization_code", "refresh_token"], response_types=["code"],
                                   token_endpoint_auth_method="none")
    provider = OAuthClientProvider(url, metadata, memory, browser.open, browser.come_back)
    async with httpx2.AsyncClient(auth=provider, timeout=20) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            await client.list_tools()
            return await client.call_tool("execute_sql", {"query": "select current_user::text"})


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_python_sdk_flow(authority, url, mode):
    memory = Memory()
    before = len(authority.tokens)
    answer = asyncio.run(asyncio.wait_for(python_flow(url, memory, mode), 60))
    assert answer.structured_content["results"][0]["rows"] == [["authenticated"]]
    issued = authority.tokens[before:]
    assert len(issued) == 1 and issued[0]["aud"] == url, "the SDK asked for a token for this resource (RFC 8707)"
    assert issued[0]["client_id"] == memory.client.client_id and set(issued[0]["scope"].split()) == set(SCOPES)


def test_python_sdk_flow_against_another_database(authority, resource, url):
    resource.sql("select mcp.grant_tools('authenticated', tools => array['execute_sql', 'list_schemas'])", database="shop")
    answer = asyncio.run(asyncio.wait_for(python_flow(f"{url}/shop", Memory(), "auto"), 60))
    assert answer.structured_content["results"][0]["rows"] == [["authenticated"]]
    assert authority.tokens[-1]["aud"] == f"{url}/shop"


def test_python_sdk_flow_with_the_audience_of_supabase(authority, resource, url):
    """Supabase Auth takes `resource` and writes the audience `authenticated` all the same."""
    authority.audience = "authenticated"
    with pytest.raises(BaseException) as seen:
        asyncio.run(asyncio.wait_for(python_flow(url, Memory(), "auto"), 60))
    assert not isinstance(seen.value, TimeoutError) and authority.tokens[-1]["aud"] == "authenticated"
    wait_until(lambda: "its audience (aud) is not accepted here" in resource.log(), 5, "the log says why")
    before = dict(resource.settings)
    resource.configure(supabase_mcp__jwt_audiences="authenticated")
    try:
        wait_until(lambda: is_served(caller(resource, authority, audience="authenticated")), 10, "the audience counts")
        answer = asyncio.run(asyncio.wait_for(python_flow(url, Memory(), "auto"), 60))
        assert not answer.is_error
    finally:
        resource.settings = before
        resource.configure()


# ---- the TypeScript SDK

@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_typescript_sdk_flow(authority, url, mode):
    clients, binary = node_clients()
    plan = {"url": url, "mode": mode, "call": {"name": "execute_sql", "arguments": {"query": "select current_user::text"}}}
    done = subprocess.run([str(binary), str(clients / "oauth.mjs"), json.dumps(plan)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["unauthorized"] and seen["result"]["structuredContent"]["results"][0]["rows"] == [["authenticated"]], seen
    assert authority.tokens[-1]["aud"] == url and authority.tokens[-1]["client_id"] == seen["clientId"]
