"""Each defence seen to matter: the attack it stops fails with the defence in, and succeeds with the defence taken out.

Needs a library built with the cargo feature `weaken`, which has the setting supabase_mcp.weaken and is never released. The run
says so in its environment (WEAKENED=1); without it this file is not collected (see conftest.py), with it nothing is skipped but
what a Postgres version cannot show.
"""

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster, server_major
from harness.waits import wait_until
from harness.world import build_world

STUBBORN = """do $$declare stop timestamptz := clock_timestamp() + interval '6 seconds'; begin
  while clock_timestamp() < stop loop
    begin perform pg_sleep(1); exception when query_canceled then null; end;
  end loop;
end$$"""


@pytest.fixture(scope="module")
def site():
    one = Cluster(shared_preload_libraries="supabase_mcp", supabase_mcp__executor_idle_timeout="1h").start()
    one.install()
    build_world(one)
    yield one
    one.remove()


def without(site, *defences):
    """Takes defences out (none: all in) for processes that start from now on."""
    site.configure(supabase_mcp__weaken=", ".join(name for name in defences if name) or None)
    # Sends away the processes that knew the old setting; on() ends the time in which a drained database takes no calls.
    site.sql("select mcp.drain()")
    site.sql("select mcp.on()")


def read_only(site):
    return token_caller(site, "writer_direct", read_only=True)


# ---- attacks: each returns whether it succeeded

def lift_by_set_transaction(site):
    return not read_only(site).sql("set transaction read write; update shop.counter set n = n").is_error


def lift_by_reset(site):
    return not read_only(site).sql("reset transaction_read_only; update shop.counter set n = n").is_error


def analyze_from_a_read(site):
    """ANALYZE of one's own table is allowed in a read-only transaction; only the rollback keeps its statistics from staying."""
    site.sql("drop table if exists work_direct.measured; create table work_direct.measured as select generate_series(1, 100) as a;"
             "alter table work_direct.measured owner to writer_direct")
    read_only(site).sql("analyze work_direct.measured").data
    return site.value("select count(*) from pg_statistic where starelid = 'work_direct.measured'::regclass") > 0


def deferred_trigger_as_another(site):
    caller = token_caller(site, "writer_bridge")
    site.sql("drop table if exists work_bridge.seen, work_bridge.base; drop function if exists work_bridge.note()")
    site.sql("create table work_bridge.seen (who text); grant all on work_bridge.seen to public; grant usage on schema work_bridge to public;"
             "create table work_bridge.base (a int); grant all on work_bridge.base to writer_bridge;"
             "create function work_bridge.note() returns trigger language plpgsql as"
             " $$begin insert into work_bridge.seen values (current_user); return null; end$$;"
             "create constraint trigger late after insert on work_bridge.base deferrable initially deferred"
             " for each row execute function work_bridge.note()")
    caller.sql("insert into work_bridge.base values (1)")
    return site.sql("select who from work_bridge.seen") != [("writer_bridge",)]


def become_the_bridge(site):
    result = token_caller(site, "writer_bridge").sql("set session authorization default; select current_user::text")
    return not result.is_error and result.value != "writer_bridge"


def lasting_password(site):
    return not token_caller(site, "writer_direct").sql("alter role current_user password 'let me in'").is_error


def outlive_the_timeout(site):
    site.sql("load 'supabase_mcp'; alter role reader_direct set supabase_mcp.statement_timeout = '300ms'")
    try:
        caller = token_caller(site, "reader_direct")
        pid = caller.value("select pg_backend_pid()")
        caller.sql(STUBBORN)
        return caller.value("select pg_backend_pid()") == pid
    finally:
        site.sql("load 'supabase_mcp'; alter role reader_direct reset supabase_mcp.statement_timeout")


def crash_by_sslinfo(site):
    site.sql("create extension if not exists sslinfo")
    before = site.checkpointer_start()
    try:
        token_caller(site, "reader_direct").sql("select ssl_is_used()")
    except OSError:
        pass
    site.up()
    return wait_until(site.checkpointer_start, 20, "a checkpointer") != before


def state_of_the_last_call(site):
    caller = token_caller(site, "reader_direct")
    caller.sql("prepare leak as select 1; set my.secret = 'x'")
    return caller.value("select count(*) from pg_prepared_statements") > 0


def become_another_tenant(site):
    caller = token_caller(site, "writer_direct", settings='{"app.tenant_id": "1"}')
    result = caller.sql("set app.tenant_id = '2'; select current_setting('app.tenant_id')")
    return not result.is_error and result.value == "2"


ATTACKS = {
    # defence: (attack, Postgres versions on which nothing else stops it, defence in front of it that is out in both runs)
    "first_snapshot": (lift_by_set_transaction, range(15, 19), None),
    "read_only_reset": (lift_by_reset, range(15, 16), None),
    "rollback": (analyze_from_a_read, range(15, 19), "utility_hook"),
    "role_through_commit": (deferred_trigger_as_another, range(15, 18), None),
    "local_userid_change": (become_the_bridge, range(15, 19), None),
    "utility_hook": (lasting_password, range(15, 19), None),
    "second_stage": (outlive_the_timeout, range(15, 19), None),
    "dummy_port": (crash_by_sslinfo, range(15, 19), None),
    "discard_all": (state_of_the_last_call, range(15, 19), None),
    "locked_settings": (become_another_tenant, range(15, 19), None),
}


@pytest.mark.parametrize("defence", list(ATTACKS))
def test_attack_fails_with_the_defence(site, defence):
    attack, _, beside = ATTACKS[defence]
    without(site, beside)
    assert attack(site) is False


@pytest.mark.restarts
@pytest.mark.parametrize("defence", list(ATTACKS))
def test_attack_succeeds_without_the_defence(site, defence):
    attack, versions, beside = ATTACKS[defence]
    if server_major() not in versions:
        pytest.skip(f"PostgreSQL {server_major()} stops this attack by itself")
    without(site, defence, beside)
    try:
        assert attack(site) is True
    finally:
        site.up()
        without(site)
