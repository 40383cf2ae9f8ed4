"""Secrets stay where they were given: no log, error, view, statistic or file of the server holds a token or a password.

One cluster that logs as much as Postgres can and collects statements; the test signs in every way, rightly and wrongly, and then looks
everywhere.
"""

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.caller import Caller, token_caller
from harness.clients import basic, bearer
from harness.cluster import Cluster, pg_config

PASSWORD = "correct-horse-battery"
WRONG = "mcp_" + "W" * 43
WRONG_PASSWORD = "wrong-horse-battery"
# Not every build of PostgreSQL comes with it.
COLLECTS = (Path(pg_config("pkglibdir")) / "pg_stat_statements.so").exists()


@pytest.fixture(scope="module")
def used():
    """A talkative server after use; yields it, the secrets that were shown to it and everything that it answered to wrong ones."""
    collect = {"pg_stat_statements__track": "all", "pg_stat_statements__track_utility": "on"} if COLLECTS else {}
    one = Cluster(shared_preload_libraries="supabase_mcp" + ",pg_stat_statements" * COLLECTS, log_statement="all", log_connections="on",
                  log_min_duration_statement="0", log_min_messages="debug1", **collect).start()
    one.install()
    one.sql("create extension pg_stat_statements;" * COLLECTS + "create role agent login; select mcp.grant_tools('agent')")
    # The one who sets a password may log it himself; psql's \password sends the verifier, as here.
    verifier = subprocess.run(["python3", "-c", SCRAM], capture_output=True, text=True, check=True).stdout.strip()
    one.sql(f"alter role agent password '{verifier}'")
    caller = token_caller(one, "agent")
    answers = []
    for headers in (bearer(caller.token), basic("agent", PASSWORD)):
        for tcp in (False, True):
            good = Caller(one, headers, tcp=tcp)
            assert good.value("select 1") == 1
            good.sql("select pg_sleep(0.01), nope from nowhere")
            good.close()
    with caller.line() as line:
        line.call_tool("execute_sql", {"query": "select 2"})
    for headers in (bearer(WRONG), basic("agent", WRONG_PASSWORD), basic(WRONG, WRONG_PASSWORD), {"Authorization": f"Digest {WRONG}"},
                    bearer(caller.token + "x"), {"Authorization": caller.token}):
        refused = Caller(one, headers, tcp=True)
        response = refused.rpc("tools/list")
        assert response.status == 401, response
        answers.append(response.body.decode() + str(response.headers))
        refused.close()
    yield one, [caller.token, PASSWORD, WRONG, WRONG_PASSWORD], answers
    one.remove()


SCRAM = f"""
import base64, hashlib, hmac, os
salt = os.urandom(16)
key = hashlib.pbkdf2_hmac('sha256', {PASSWORD!r}.encode(), salt, 4096)
stored = hashlib.sha256(hmac.digest(key, b'Client Key', 'sha256')).digest()
server = hmac.digest(key, b'Server Key', 'sha256')
b = lambda x: base64.b64encode(x).decode()
print('SCRAM-SHA-256$4096:' + b(salt) + '$' + b(stored) + ':' + b(server))
"""


def test_log_holds_no_secret(used):
    cluster, secrets, _ = used
    log = cluster.log()
    assert "refused" in log, "the log does tell of refused callers"
    for secret in secrets:
        assert secret not in log


def test_answers_repeat_no_secret(used):
    _, secrets, answers = used
    for answer in answers:
        for secret in secrets:
            assert secret not in answer


def test_views_hold_no_secret(used):
    cluster, secrets, _ = used
    everything = [cluster.value(f"select coalesce(jsonb_agg(to_jsonb(v))::text, '') from {view} v") for view in
                  ("pg_stat_activity", "mcp.tokens", "mcp.peer_map", "pg_settings", "pg_db_role_setting", "mcp._tokens",
                   *["pg_stat_statements"] * COLLECTS)]
    assert not COLLECTS or "create_token" in everything[-1]
    everything.append(cluster.value("select mcp.status()::text"))
    for secret in secrets:
        for text in everything:
            assert secret not in text


def test_processes_show_no_secret(used):
    cluster, secrets, _ = used
    postmaster = int((cluster.data / "postmaster.pid").read_text().splitlines()[0])
    pids = [int(pid) for pid in os.listdir("/proc") if pid.isdigit()]
    seen = 0
    for pid in pids:
        try:
            status = open(f"/proc/{pid}/stat").read()
            if int(status.rsplit(")", 1)[1].split()[1]) != postmaster and pid != postmaster:
                continue
            seen += 1
            text = open(f"/proc/{pid}/cmdline", "rb").read() + open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            continue
        for secret in secrets:
            assert secret.encode() not in text
    assert seen > 3


def test_data_files_hold_no_secret(used):
    cluster, secrets, _ = used
    cluster.sql("checkpoint")
    for secret in secrets:
        found = subprocess.run(["grep", "-rlF", "--", secret, str(cluster.data)], capture_output=True, text=True)
        assert found.stdout == "", f"{found.stdout} hold a secret"
    assert found.returncode == 1, found.stderr


def test_guessing_is_slowed_and_a_good_credential_is_not_kept_waiting_for_it(used):
    """Lower bounds alone: a busy machine only makes them hold better."""
    cluster, secrets, _ = used
    guesser = Caller(cluster, bearer(WRONG), tcp=True)

    def seconds(calls):
        begun = time.monotonic()
        for _ in range(calls):
            assert guesser.rpc("tools/list").status == 401
        return time.monotonic() - begun

    seconds(4)
    # From the fourth on, each wrong guess of an address waits twice as long as the one before, from 25 ms up to 2 s.
    assert seconds(2) >= 0.025 * (2 + 4)
    good = Caller(cluster, bearer(secrets[0]), tcp=True)
    begun = time.monotonic()
    slow = threading.Thread(target=seconds, args=[1])
    slow.start()
    assert good.value("select 1") == 1
    # It came from the same address while the guess was waiting; the guess has waited 1.6 s by its end.
    answered = time.monotonic() - begun
    slow.join()
    assert answered < time.monotonic() - begun


PRIVATE = ["select * from mcp._tokens", "select hash from mcp._tokens", "select * from mcp._peer_map", "select * from mcp.tokens",
           "select mcp._keeper('{\"status\": true}')", "select mcp._role_facts('agent'::regrole)", "select mcp._random_bytes(8)",
           "select mcp.create_token('agent')", "select mcp.status()", "select mcp.off()", "select mcp._admin('off', null)",
           "copy mcp._tokens to '/tmp/x'", "select count(*) from mcp._tokens", "explain analyze select * from mcp._tokens",
           "select query_to_xml('select * from mcp._tokens', true, true, '')", "select setval('mcp._tokens_id_seq', 1)"]


@pytest.mark.parametrize("query", PRIVATE)
def test_private_objects_are_out_of_reach(used, query):
    cluster, _, _ = used
    assert token_caller(cluster, "agent").sqlstate(query) == "42501"


def test_statistics_do_not_show_private_rows(used):
    cluster, _, _ = used
    cluster.sql("analyze mcp._tokens")
    agent = token_caller(cluster, "agent")
    assert agent.value("select count(*) from pg_stats where schemaname = 'mcp'") == 0
    assert agent.sqlstate("select * from pg_statistic") == "42501"
    assert agent.sqlstate("select rolpassword from pg_authid") == "42501"
