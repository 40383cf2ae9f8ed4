"""Who is calling: peers, tokens, passwords, nobody; and what a role's own attributes change at the next call."""

import getpass
import json
import os
import subprocess
import time

import pytest

from harness.caller import Caller, ToolResult, token_caller
from harness.cluster import server_major
from harness.clients import HttpClient, LineClient, basic, bearer
from harness.refusal import challenges, is_served, refused_with, unauthorized
from harness.waits import wait_until

WHO = "select session_user::text, current_user::text"


@pytest.fixture
def role(cluster):
    """Makes roles for one test: role('name', 'login') has the tools; all are dropped at the end."""
    made = []

    def make(name, attributes="login", tools=True):
        cluster.sql(f"create role {name} {attributes}")
        made.append(name)
        if tools:
            cluster.sql("select mcp.grant_tools(role => %s::regrole)", [name])
        return name

    yield make
    for name in made:
        if cluster.value("select count(*) from pg_roles where rolname = %s", [name]):
            cluster.sql(f"drop owned by {name}; drop role {name}")


@pytest.fixture
def me_as(cluster):
    """Maps the OS user of the tests to a role for one test."""
    user = getpass.getuser()

    def make(role):
        cluster.sql("select mcp.map_peer(%s, %s::regrole)", [user, role])

    yield make
    if cluster.value("select count(*) from mcp.peer_map where os_user = %s", [user]):
        cluster.sql("select mcp.unmap_peer(%s)", [user])


# ---- peers

def test_peer_is_the_mapped_role(cluster, me_as):
    me_as("reader_direct")
    with LineClient(unix=cluster.mcp_socket) as client:
        assert ToolResult(client.call_tool("execute_sql", {"query": WHO})).rows == [["reader_direct", "reader_direct"]]
    assert Caller(cluster).sql(WHO).rows == [["reader_direct", "reader_direct"]]


def test_unmapped_peer_is_refused(cluster):
    unauthorized(Caller(cluster))
    response = unauthorized(Caller(cluster))
    assert "map_peer" in response.body.decode(), "the answer says what an administrator can do"
    with LineClient(unix=cluster.mcp_socket) as client:
        answer = client.request("tools/list")
        assert "error" in answer and "result" not in answer


def test_unmapping_counts_at_the_next_call(cluster, me_as):
    me_as("reader_direct")
    with LineClient(unix=cluster.mcp_socket) as client:
        query = {"query": "select 1"}
        assert ToolResult(client.call_tool("execute_sql", query)).value == 1
        cluster.sql("select mcp.unmap_peer(%s)", [getpass.getuser()])
        answer = client.call_tool("execute_sql", query)
        assert "error" in answer or ToolResult(answer).error["kind"] == "denied"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another OS user")
def test_other_os_user_is_not_me(cluster, me_as):
    """The uid counts, not the file's owner: another OS user on the same socket stays unmapped."""
    me_as("reader_direct")
    program = ("import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'GET /mcp HTTP/1.1\\r\\n"
               "Host: localhost\\r\\nContent-Length: 0\\r\\n\\r\\n'); print(s.recv(4096).split()[1].decode())")
    as_other = subprocess.run(["/usr/bin/python3", "-c", program, str(cluster.mcp_socket)], capture_output=True, text=True,
                              user=65534, group=65534, extra_groups=[], cwd="/")
    assert as_other.stdout.strip() == "401", as_other


def test_equal_names_only_when_switched_on(cluster, role, settings):
    if cluster.value("select count(*) from pg_roles where rolname = %s", [getpass.getuser()]):
        pytest.skip("the tests run as an OS user whose name is a role that exists already")
    user = role(getpass.getuser())
    with HttpClient(unix=cluster.mcp_socket) as client:
        assert client.rpc("tools/list").status == 401
    settings(peer_equal_names="on")
    wait_until(lambda: Caller(cluster).sql(WHO).rows == [[user, user]], 10, "a peer is the role of the same name")


def test_credential_in_a_header_wins_over_the_peer(cluster, me_as, simple):
    me_as("writer_direct")
    assert simple.sql(WHO).rows == [["reader_direct", "reader_direct"]]
    assert unauthorized(Caller(cluster, bearer("mcp_" + "B" * 43)))


# ---- tokens

def test_token_works_on_both_networks(cluster, simple):
    tcp = Caller(cluster, simple.headers, tcp=True)
    assert tcp.sql(WHO).rows == simple.sql(WHO).rows == [["reader_direct", "reader_direct"]]
    tcp.close()


def test_token_of_a_nologin_role_uses_the_bridge(cluster):
    caller = token_caller(cluster, "reader_bridge")
    assert caller.sql(WHO).rows == [["reader_bridge", "reader_bridge"]]
    pid = caller.value("select pg_backend_pid()")
    assert cluster.value("select usename from pg_stat_activity where pid = %s", [pid]) == "mcp_bridge"


def test_token_is_stored_as_a_hash_only(cluster, simple):
    shown = cluster.sql("select to_json(t)::text from mcp.tokens t") + cluster.sql("select t::text from mcp._tokens t")
    assert shown and simple.token not in json.dumps(shown)
    digest = cluster.value("select encode(sha256(convert_to(%s, 'UTF8')), 'hex')", [simple.token])
    assert digest not in json.dumps(cluster.sql("select to_json(t)::text from mcp.tokens t"))
    assert simple.token not in cluster.log()


@pytest.mark.parametrize("text", ["mcp_" + "A" * 43, "mcp_", "", "x" * 5000, "mcp_" + "é" * 10, "eyJhbGciOiJub25lIn0.e30."])
def test_wrong_token_is_401(cluster, text):
    response = unauthorized(Caller(cluster, {"Authorization": f"Bearer {text}".encode()}, tcp=True))
    assert "Bearer" in challenges(response)


def test_revoked_token_ends_at_the_next_call(cluster, form):
    caller = token_caller(cluster, f"reader_{form}", label=f"revoke {form}")
    assert caller.value("select 1") == 1
    number = cluster.value("select id from mcp.tokens where label = %s", [f"revoke {form}"])
    cluster.sql("select mcp.revoke_token(%s)", [number])
    unauthorized(caller)


def test_revoked_token_ends_on_an_open_line_connection(cluster):
    caller = token_caller(cluster, "reader_direct", label="revoke line")
    with caller.line() as client:
        query = {"query": "select 1"}
        assert ToolResult(client.call_tool("execute_sql", query)).value == 1
        cluster.sql("select mcp.revoke_token(%s)", ["revoke line"])
        answer = client.call_tool("execute_sql", query)
        assert "error" in answer or ToolResult(answer).error["kind"] == "denied"


def test_expired_token_is_401(cluster):
    soon = cluster.value("select clock_timestamp() + interval '2 seconds'")
    caller = token_caller(cluster, "reader_direct", expires_at=soon)
    assert caller.value("select 1") == 1
    wait_until(lambda: not is_served(caller), 6, "the token expires")
    unauthorized(caller)


def test_read_only_token_of_a_writer(cluster, form):
    caller = token_caller(cluster, f"writer_{form}", read_only=True)
    assert caller.sqlstate("update shop.counter set n = n + 1") == "25006"


def test_token_counts_in_its_database_only(cluster, simple):
    other = Caller(cluster, simple.headers, database="template1")
    response = other.fresh_rpc("tools/list")
    assert response.status in (401, 403, 404, 503), response


def test_only_administrators_mint_tokens(cluster, role):
    role("clerk", "login", tools=False)
    role("boss", "login", tools=False)
    cluster.sql("grant mcp_admin to boss; grant reader_direct to boss with admin option; grant usage on schema mcp to clerk")
    mint = "select mcp.create_token('{}'::regrole)"
    with cluster.connect(user="clerk") as connection, pytest.raises(Exception, match="permission denied|mcp_admin"):
        connection.execute(mint.format("reader_direct"))
    with cluster.connect(user="boss") as connection:
        assert connection.execute(mint.format("reader_direct")).fetchone()[0].startswith("mcp_")
        with pytest.raises(Exception, match="ADMIN|admin"):
            connection.execute(mint.format("writer_direct"))
        with pytest.raises(Exception):
            connection.execute("select * from mcp._tokens")


# ---- passwords

def test_password(cluster, role):
    name = role("basic_user", "login password 'opèn sesame'")
    assert Caller(cluster, basic(name, "opèn sesame")).sql(WHO).rows == [[name, name]]
    assert Caller(cluster, basic(name, "opèn sesame"), tcp=True).sql(WHO).rows == [[name, name]]


def test_wrong_password_is_401(cluster, role):
    name = role("basic_user", "login password 'secret'")
    for user, password in [(name, "Secret"), (name, ""), ("no_such_role", "secret"), ("reader_bridge", "x"), ("", "")]:
        assert "Basic" in challenges(unauthorized(Caller(cluster, basic(user, password))))
    unauthorized(Caller(cluster, {"Authorization": "Basic !!!notbase64"}))


def test_changed_password_counts_at_the_next_call(cluster, role):
    name = role("basic_user", "login password 'before'")
    caller = Caller(cluster, basic(name, "before"))
    assert caller.value("select 1") == 1
    cluster.sql(f"alter role {name} password 'after'")
    unauthorized(caller)
    assert is_served(Caller(cluster, basic(name, "after")))


def test_md5_password_is_not_taken(cluster, role):
    name = role("md5_user", "login")
    cluster.sql(f"set password_encryption = md5; alter role {name} password 'secret'")
    unauthorized(Caller(cluster, basic(name, "secret")))


# ---- nobody

def test_nobody_gets_past_401(nobody):
    response = unauthorized(nobody)
    assert "Bearer" in challenges(response) and "Basic" in challenges(response)
    for method in ("server/discover", "tools/list", "initialize"):
        assert nobody.fresh_rpc(method).status == 401


def test_anonymous_role(cluster, nobody, settings):
    settings(anonymous_role="reader_bridge")
    wait_until(lambda: is_served(nobody), 10, "the role for anonymous callers")
    assert nobody.sql(WHO).rows == [["reader_bridge", "reader_bridge"]]
    # A wrong credential does not fall back to it.
    unauthorized(Caller(cluster, bearer("mcp_" + "C" * 43), tcp=True))
    settings(anonymous_role=None)
    wait_until(lambda: not is_served(nobody), 10, "anonymous callers are refused again")
    unauthorized(nobody)


# ---- privileged roles

PRIVILEGED = {
    "superuser": "create role {0} login superuser",
    "bypassrls": "create role {0} login bypassrls",
    "replication": "create role {0} login replication",
    "member": "create role {0} login in role postgres",
    "program": "create role {0} login in role pg_execute_server_program",
    "files": "create role {0} login in role pg_read_server_files",
    "write": "create role {0} login in role pg_write_server_files",
    "noinherit": "create role {0}_mid nologin in role pg_execute_server_program; create role {0} login noinherit in role {0}_mid",
    "nologin": "create role {0} nologin superuser",
}
if server_major() < 16:
    # Until version 15 CREATEROLE can grant itself nearly every role.
    PRIVILEGED["createrole"] = "create role {0} login createrole"


@pytest.mark.parametrize("kind", list(PRIVILEGED))
def test_privileged_roles_are_refused(cluster, kind):
    name = f"power_{kind}"
    cluster.sql(PRIVILEGED[kind].format(name))
    try:
        cluster.sql("select mcp.grant_tools(role => %s::regrole)", [name])
        text = refused_with(token_caller(cluster, name))
        assert name in text and "privileged_roles" in text
    finally:
        cluster.sql(f"drop owned by {name}; drop role {name}; drop role if exists {name}_mid")


def test_role_that_becomes_privileged_is_refused_at_the_next_call(cluster, role, form):
    name = role(f"riser_{form}", "login" if form == "direct" else "nologin")
    caller = token_caller(cluster, name)
    assert caller.value("select 1") == 1
    cluster.sql(f"alter role {name} superuser")
    refused_with(caller)
    cluster.sql(f"alter role {name} nosuperuser")
    assert is_served(caller)
    cluster.sql(f"grant pg_read_server_files to {name}")
    refused_with(caller)


def test_privileged_role_by_setting(cluster, role, settings):
    name = role("trusted_power", "login bypassrls")
    caller = token_caller(cluster, name)
    refused_with(caller)
    settings(privileged_roles="other_role, trusted_power")
    wait_until(lambda: is_served(caller), 10, "the named role is served")


# ---- what a role's attributes change at the next call

def test_nologin_turns_to_the_bridge(cluster, role):
    name = role("turncoat")
    caller = token_caller(cluster, name)
    direct = caller.value("select pg_backend_pid()")
    assert cluster.value("select usename from pg_stat_activity where pid = %s", [direct]) == name
    cluster.sql(f"alter role {name} nologin")
    bridge = caller.value("select pg_backend_pid()")
    assert cluster.value("select usename from pg_stat_activity where pid = %s", [bridge]) == "mcp_bridge"


def test_valid_until(cluster, role, form):
    name = role(f"mortal_{form}", "login" if form == "direct" else "nologin")
    caller = token_caller(cluster, name)
    assert caller.value("select 1") == 1
    cluster.sql(f"alter role {name} valid until '2001-01-01'")
    assert not is_served(caller)
    cluster.sql(f"alter role {name} valid until 'infinity'")
    assert is_served(caller)


def test_connection_limit(cluster, role, settings):
    name = role("limited", "login connection limit 1")
    caller = token_caller(cluster, name)
    assert caller.value("select 1") == 1
    settings(queue_timeout="1s")
    with caller.line() as busy:
        number = busy.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(25)"}})
        wait_until(lambda: [row for row in cluster.executors() if row[1] == name and row[4] == "active"], 10, "a busy call")
        begun = time.monotonic()
        answer = caller.sql("select 1")
        assert answer.is_error and time.monotonic() - begun < 15, "the second call does not run beside the first"
        busy.notify("notifications/cancelled", {"requestId": number})
    cluster.sql(f"alter role {name} connection limit 0")
    assert not is_served(caller)


def test_dropped_role(cluster, role, form):
    name = role(f"gone_{form}", "login" if form == "direct" else "nologin")
    caller = token_caller(cluster, name)
    assert caller.value("select 1") == 1
    cluster.sql(f"drop owned by {name}; drop role {name}")
    assert not is_served(caller)
    assert token_caller(cluster, f"reader_{form}").value("select 1") == 1, "others are served on"


def test_role_settings_count_at_the_next_call(cluster, role, form):
    name = role(f"tuned_{form}", "login" if form == "direct" else "nologin")
    caller = token_caller(cluster, name)
    assert caller.value("show statement_timeout") is not None
    cluster.sql(f"alter role {name} set search_path = shop, pg_catalog")
    assert caller.value("show search_path") == "shop, pg_catalog"
    cluster.sql(f"alter role {name} in database postgres set search_path = pg_catalog")
    assert caller.value("show search_path") == "pg_catalog"
    cluster.sql(f"alter role {name} reset all; alter role {name} in database postgres reset all")
    assert caller.value("show search_path") == '"$user", public'


def test_role_setting_cannot_change_who_one_is(cluster, role):
    """ALTER ROLE x SET role = y makes a connection start as y: the executor must not serve that."""
    name, other = role("masked"), role("mask", "nologin")
    cluster.sql(f"grant {other} to {name}; alter role {name} set role = {other}")
    caller = token_caller(cluster, name)
    status = caller.sql(WHO)
    assert status.is_error or status.rows == [[name, name]]


def test_revoked_connect(cluster, form):
    cluster.sql("create database members")
    try:
        cluster.sql("create extension supabase_mcp; select mcp.grant_tools(role => %s::regrole)" % f"'reader_{form}'",
                    database="members")
        caller = token_caller(cluster, f"reader_{form}", database="members")
        assert caller.value("select current_database()") == "members"
        cluster.sql("revoke connect on database members from public")
        assert "CONNECT" in refused_with(caller)
        cluster.sql(f"grant connect on database members to reader_{form}")
        assert is_served(caller)
    finally:
        cluster.sql("drop database members with (force)")


def test_failed_sign_ins_are_logged_without_the_credential(cluster):
    secret = "mcp_" + "Z" * 43
    unauthorized(Caller(cluster, bearer(secret)))
    assert secret not in cluster.log()
