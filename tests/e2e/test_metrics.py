"""/metrics: off unless switched on, read by the official parser, whatever roles and databases are called, and by whom it may be read."""

import socket

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.caller import token_caller
from harness.clients import HttpClient, basic, bearer
from harness.cluster import Cluster
from harness.issuer import claims, signed
from harness.waits import wait_until
from harness.world import build_world

SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def own_address():
    """An address of this machine that is not loopback: who connects to it comes from it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent; this only asks for the way.
            probe.connect(("203.0.113.1", 9))
            return probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"


@pytest.fixture(scope="module")
def site():
    one = Cluster(supabase_mcp__metrics="on", supabase_mcp__listen_addresses="*", supabase_mcp__allowed_hosts=own_address(),
                  supabase_mcp__jwt_secret=SECRET, supabase_mcp__jwt_roles="reader_bridge", supabase_mcp__jwt_audiences="authenticated").start()
    one.install()
    build_world(one)
    yield one
    one.remove()


@pytest.fixture
def caller(site):
    site.sql("select mcp.stat_reset()")
    return token_caller(site, "reader_direct")


def get(site, path="/metrics", verb="GET", headers=None, tcp=None):
    where = {"tcp": tcp} if tcp else {"unix": site.mcp_socket}
    with HttpClient(**where) as client:
        return client.request(verb, path, headers=headers)


def families(answer):
    assert answer.status == 200 and answer.headers["Content-Type"] == OPEN_METRICS, answer
    text = answer.body.decode()
    assert text.endswith("# EOF\n")
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(found, family, name=None, **labels):
    """The values of a family's samples that have these labels."""
    return [sample.value for sample in found[family].samples
            if sample.name == (name or sample.name) and labels.items() <= sample.labels.items()]


def test_off_by_default(cluster):
    for where in ({"tcp": ("127.0.0.1", cluster.port)}, {}):
        off, unknown = get(cluster, **where), get(cluster, "/no_such_path", **where)
        assert off.status == unknown.status == 404 and off.body == unknown.body


def test_switched_by_a_reload(new_cluster):
    one = new_cluster()
    assert get(one).status == 404
    one.configure(supabase_mcp__metrics="on")
    wait_until(lambda: get(one).status == 200, 10, "metrics")
    one.configure(supabase_mcp__metrics=None)
    wait_until(lambda: get(one).status == 404, 10, "no metrics")


def test_numbers_are_those_of_the_views(site, caller):
    for _ in range(4):
        caller.value("select 1")
    caller.sql("select 1/0")
    caller.tool("no_such_tool")
    found = families(get(site))
    call = {"database": "postgres", "method": "tools/call", "tool": "execute_sql"}
    assert samples(found, "supabase_mcp_calls", **call, outcome="ok") == [4]
    assert samples(found, "supabase_mcp_calls", **call, outcome="error") == [1]
    assert samples(found, "supabase_mcp_calls", tool="(unknown)", outcome="refused") == [1]
    assert samples(found, "supabase_mcp_role_calls", role="reader_direct", outcome="ok") == [4]
    duration = "supabase_mcp_call_duration_seconds"
    assert samples(found, duration, duration + "_count", **call) == [5]
    assert samples(found, duration, duration + "_bucket", **call, le="+Inf") == [5]
    buckets = samples(found, duration, duration + "_bucket", **call)
    assert len(buckets) == 13 and buckets == sorted(buckets)
    total, answered, queue, run = site.sql("select total_ms, bytes, queue_ms, run_ms from mcp.stat_tools where tool = 'execute_sql'")[0]
    assert samples(found, duration, duration + "_sum", **call) == [pytest.approx(total / 1000)]
    assert samples(found, "supabase_mcp_answer_bytes", **call) == [answered]
    assert samples(found, "supabase_mcp_rows", **call) == [4]
    assert samples(found, "supabase_mcp_queue_seconds", **call) == [pytest.approx(queue / 1000)]
    assert samples(found, "supabase_mcp_run_seconds", **call) == [pytest.approx(run / 1000)]


def test_gauges_tell_what_is_so_now(site, caller):
    caller.value("select 1")
    found = families(get(site))
    version = site.value("select extversion from pg_extension where extname = 'supabase_mcp'")
    assert samples(found, "supabase_mcp_build", version=version) == [1]
    assert samples(found, "supabase_mcp_executors_max") == [4]
    assert samples(found, "supabase_mcp_executors", state="idle")[0] >= 1
    assert samples(found, "supabase_mcp_executors", state="busy") == [0]
    assert samples(found, "supabase_mcp_open_connections")[0] >= 1
    assert samples(found, "supabase_mcp_connections_max") == [1000]
    assert samples(found, "supabase_mcp_waiting_calls") == [0]
    assert samples(found, "supabase_mcp_audit_failing") == [0]
    assert samples(found, "supabase_mcp_uptime_seconds")[0] > 0
    for name in ("connections", "refused_connections", "refused_logins", "limited_calls", "queue_waits", "queue_full", "queue_timeouts",
                 "no_worker_slot", "evictions", "cold_starts"):
        assert len(samples(found, f"supabase_mcp_{name}")) == 1, name


ROLE = 'r"o\\l,e="x"}\n# EOF\r\n日本'
DATABASE = 'd"a\\t\na{b}= 1'


def test_hostile_names_stay_within_their_labels(site, caller):
    quote = '"' + ROLE.replace('"', '""') + '"'
    database = '"' + DATABASE.replace('"', '""') + '"'
    site.sql(f"create role {quote} login")
    site.sql(f"create database {database}")
    site.sql("create extension supabase_mcp", database=DATABASE)
    site.sql(f"select mcp.grant_tools('{quote}')", database=DATABASE)
    secret = site.value(f"select mcp.create_token('{quote}')", database=DATABASE)
    path = "/mcp/" + "".join(f"%{byte:02X}" for byte in DATABASE.encode())
    with HttpClient(unix=site.mcp_socket, path=path, headers=bearer(secret)) as client:
        assert client.call_tool("execute_sql", {"query": "select 1"})["result"]["isError"] is False
        for name in ('a",b="c', "line\nfeed", "# EOF\n", "x" * 5000, "\\", "\r", "日本"):
            client.rpc("tools/call", {"name": name, "arguments": {}})
    found = families(get(site))
    assert samples(found, "supabase_mcp_calls", database=DATABASE, tool="execute_sql", outcome="ok") == [1]
    assert samples(found, "supabase_mcp_calls", database=DATABASE, tool="(unknown)", outcome="refused") == [7]
    assert samples(found, "supabase_mcp_role_calls", database=DATABASE, role=ROLE, outcome="ok") == [1]


def test_no_principals_and_no_clients(site, caller):
    caller.value("select 1")
    text = get(site).body.decode()
    principal = site.value("select principal from mcp.stat_callers")
    assert principal.startswith("token:") and principal not in text and "e2e" not in text
    assert {label for line in text.splitlines() if line.startswith("supabase_mcp_calls_total{")
            for label in ("principal", "client") if label + "=" in line} == set()


def test_only_reading(site):
    answer = get(site, verb="POST")
    assert answer.status == 405
    answer = get(site, verb="HEAD")
    assert answer.status == 200 and answer.body == b"" and answer.headers["Content-Type"] == OPEN_METRICS


def test_still_there_while_switched_off(site):
    """The moment at which an operator looks."""
    site.sql("select mcp.off()")
    try:
        families(get(site))
    finally:
        site.sql("select mcp.on()")


# ---- who may read them

def test_this_machine_needs_no_credential(site):
    for address in ("127.0.0.1", "::1"):
        families(get(site, tcp=(address, site.port)))


def test_web_pages_are_kept_out(site):
    local = ("127.0.0.1", site.port)
    assert get(site, tcp=local, headers={"Host": "evil.example"}).status == 403
    assert get(site, tcp=local, headers={"Origin": "https://evil.example"}).status == 403


elsewhere_only = pytest.mark.skipif(own_address().startswith("127."), reason="this machine has no address but loopback")


@elsewhere_only
def test_other_machines_need_a_token(site, caller):
    elsewhere = (own_address(), site.port)
    site.configure(supabase_mcp__anonymous_role="reader_bridge")
    try:
        answer = get(site, tcp=elsewhere)
        assert answer.status == 401 and answer.headers.get("WWW-Authenticate") and b"supabase_mcp_calls" not in answer.body
    finally:
        site.configure(supabase_mcp__anonymous_role=None)
    for wrong in (bearer("mcp_wrong"), basic("postgres", ""), {"Authorization": "x"}):
        answer = get(site, tcp=elsewhere, headers=wrong)
        assert answer.status == 401 and b"supabase_mcp_calls" not in answer.body, wrong
    site.sql("create role scraper login")
    # No tool and no privilege: only somebody.
    secret = site.value("select mcp.create_token('scraper')")
    families(get(site, tcp=elsewhere, headers=bearer(secret)))
    site.sql("delete from mcp._tokens where role = 'scraper'::regrole")
    wait_until(lambda: get(site, tcp=elsewhere, headers=bearer(secret)).status == 401, 10, "the token is gone")


@elsewhere_only
def test_end_users_of_other_machines_are_kept_out(site):
    elsewhere = (own_address(), site.port)
    end_user = bearer(signed(SECRET, claims(role="reader_bridge")))
    with HttpClient(tcp=elsewhere, headers=end_user) as client:
        assert client.rpc("tools/list").status == 200, "the token is good"
    answer = get(site, tcp=elsewhere, headers=end_user)
    assert answer.status == 403 and b"supabase_mcp_calls" not in answer.body
