"""Settings that say who calls: read by the caller's SQL and by policies, changed by nothing that a caller can send.

Every forgery is tried in both executor forms, by a role that may write, and followed by a look at what a policy would see; then the
next call looks again.
"""

import json

import pytest

from harness.caller import token_caller

TENANT = {"app.tenant_id": "42"}
CLAIMS = {"request.jwt.claims": {"sub": "11111111-1111-1111-1111-111111111111", "role": "authenticated"}}

READ = "select current_setting('app.tenant_id'), current_setting('request.jwt.claims', true)::jsonb ->> 'sub'"
MINE = ["42", "11111111-1111-1111-1111-111111111111"]

FORGERIES = {
    "set": "set app.tenant_id = '7'",
    "set in capitals": "set App.Tenant_Id = '7'",
    "set local": "set local app.tenant_id = '7'",
    "set to default": "set app.tenant_id to default",
    "reset": "reset app.tenant_id",
    "set_config": "select set_config('app.tenant_id', '7', false)",
    "set_config local": "select set_config('app.tenant_id', '7', true)",
    "set_config null": "select set_config('app.tenant_id', null, false)",
    "do": "do $$begin perform set_config('app.tenant_id', '7', true); end$$",
    "do with a trap": "do $$begin begin set app.tenant_id = '7'; exception when others then null; end; end$$",
    "update pg_settings": "update pg_settings set setting = '7' where name = 'app.tenant_id'",
    "reset all": "reset all",
    "discard all": "discard all",
    "function with set": "create function pg_temp.f() returns text language sql set app.tenant_id = '7'"
                         " as $$select current_setting('app.tenant_id')$$; select pg_temp.f()",
    "definer function with set": "create function pg_temp.f() returns text language sql security definer set app.tenant_id = '7'"
                                 " as $$select current_setting('app.tenant_id')$$; select pg_temp.f()",
    "alter role": "alter role current_user set app.tenant_id = '7'",
    "alter role all": "alter role all set app.tenant_id = '7'",
    "alter database": "alter database postgres set app.tenant_id = '7'",
    "claims by set": """set request.jwt.claims = '{"sub":"22222222-2222-2222-2222-222222222222"}'""",
    "claims by set_config": """select set_config('request.jwt.claims', '{"sub":"2"}', true)""",
    "one claim": "select set_config('request.jwt.claim.sub', '22222222-2222-2222-2222-222222222222', true)",
    "one claim by set": "set request.jwt.claim.sub = '2'",
    "a new name under request": "set request.anything = '2'",
    "headers": """select set_config('request.headers', '{"x":"y"}', false)""",
    "method": "set request.method = 'GET'",
    "commit in between": "commit; set app.tenant_id = '7'",
    "explain": "explain analyze select set_config('app.tenant_id', '7', false)",
    "prepare": "prepare p as select set_config('app.tenant_id', '7', false); execute p",
    "cursor": "declare c cursor with hold for select set_config('app.tenant_id', '7', false); fetch c",
}


@pytest.fixture(params=["writer_direct", "writer_bridge"])
def tenant(cluster, request):
    return token_caller(cluster, request.param, settings=json.dumps({**TENANT, **CLAIMS}), form=request.param)


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_forgery_changes_nothing(tenant, forgery):
    assert tenant.sql(READ).rows == [MINE]
    # Most are refused; what is not refused (a trap, a reset of everything) must not have changed anything either.
    forged = tenant.sql(forgery + "; " + READ)
    assert forged.is_error or forged.rows == [MINE], forged
    assert tenant.sql(READ).rows == [MINE]


def test_forgery_is_refused_with_a_reason(tenant):
    error = tenant.sql("set app.tenant_id = '7'").error
    assert error["sqlstate"] == "42501" and "app.tenant_id" in error["message"]


def test_policy_on_a_locked_setting_holds_under_free_sql(cluster):
    cluster.sql("""
        drop table if exists shop.parcel;
        create table shop.parcel (tenant_id text not null default current_setting('app.tenant_id'), what text);
        insert into shop.parcel values ('42', 'ours'), ('7', 'theirs');
        alter table shop.parcel enable row level security;
        create policy tenant on shop.parcel using (tenant_id = current_setting('app.tenant_id', true));
        grant select, insert, update on shop.parcel to writer_direct, writer_bridge;""")
    try:
        for role in ("writer_direct", "writer_bridge"):
            ours = token_caller(cluster, role, settings=json.dumps(TENANT))
            nobody = token_caller(cluster, role)
            assert ours.sql("select what from shop.parcel").rows == [["ours"]]
            assert ours.sql("insert into shop.parcel (what) values ('more') returning tenant_id").rows == [["42"]]
            assert ours.sqlstate("insert into shop.parcel values ('7', 'forged')") == "42501"
            assert ours.sqlstate("set app.tenant_id = '7'; select * from shop.parcel") == "42501"
            # A caller without the setting cannot pretend to carry it.
            assert nobody.sqlstate("set app.tenant_id = '42'; select * from shop.parcel") == "42501"
            assert nobody.sql("select what from shop.parcel").rows == []
            cluster.sql("delete from shop.parcel where what = 'more'")
    finally:
        cluster.sql("drop table shop.parcel")


def test_parallel_workers_see_the_setting(cluster):
    cluster.sql("create table shop.wide as select n, repeat('x', 200) as t from generate_series(1, 20000) n;"
                "alter table shop.wide set (parallel_workers = 2); analyze shop.wide;"
                "grant select on shop.wide to writer_direct, writer_bridge")
    try:
        for role in ("writer_direct", "writer_bridge"):
            caller = token_caller(cluster, role, settings=json.dumps(TENANT))
            query = "select count(*) from shop.wide where current_setting('app.tenant_id') = '42' and length(t) = 200"
            force = "set local parallel_setup_cost = 0; set local parallel_tuple_cost = 0; set local min_parallel_table_scan_size = 0; "
            plan = json.dumps(caller.sql(force + "explain " + query).rows)
            assert "Gather" in plan, plan
            assert caller.value(force + query) == 20000
    finally:
        cluster.sql("drop table shop.wide")


def test_two_tokens_of_a_role_have_their_own_values(cluster):
    one = token_caller(cluster, "writer_bridge", settings='{"app.tenant_id": "1"}')
    two = token_caller(cluster, "writer_bridge", settings='{"app.tenant_id": "2", "app.region": "eu"}')
    for _ in range(3):
        assert one.value("select current_setting('app.tenant_id')") == "1"
        assert two.value("select current_setting('app.tenant_id')") == "2"
        assert one.value("select current_setting('app.region')") == ""


def test_stored_setting_of_role_or_database_does_not_win(cluster):
    cluster.sql("alter role writer_direct set app.tenant_id = '7'; alter role writer_bridge set app.tenant_id = '7';"
                "alter database postgres set app.tenant_id = '8'; alter database postgres set request.jwt.claim.sub = '8'")
    try:
        for role in ("writer_direct", "writer_bridge"):
            caller = token_caller(cluster, role, settings=json.dumps({**TENANT, **CLAIMS}))
            assert caller.sql(READ).rows == [MINE]
            assert caller.value("select current_setting('request.jwt.claim.sub', true)") in (None, "")
    finally:
        cluster.sql("alter role writer_direct reset all; alter role writer_bridge reset all; alter database postgres reset all")


def test_setting_named_by_the_administrator_is_locked_without_a_token(cluster):
    cluster.configure(supabase_mcp__locked_settings="my.customer, My.Other")
    try:
        caller = token_caller(cluster, "writer_direct")
        assert caller.sqlstate("set my.customer = 'x'") == "42501"
        assert caller.sqlstate("select set_config('my.other', 'x', false)") == "42501"
        assert caller.value("select current_setting('my.customer')") == ""
    finally:
        cluster.configure(supabase_mcp__locked_settings=None)


def test_claims_of_other_callers_name_their_role(cluster):
    caller = token_caller(cluster, "writer_bridge")
    assert caller.value("select current_setting('request.jwt.claims')::jsonb ->> 'role'") == "writer_bridge"


@pytest.mark.parametrize("settings,says", [
    ('{"work_mem": "1GB"}', "prefix"),
    ('{"app.Tenant": "1"}', "lower case"),
    ('{"supabase_mcp.max_rows": "1"}', "server itself"),
    ('{"request.headers": "{}"}', "server itself"),
    ('{"app.a b": "1"}', "cannot be the name"),
    ('[1]', "must be an object"),
])
def test_settings_that_cannot_be_are_refused(cluster, settings, says):
    with pytest.raises(Exception, match=says):
        cluster.sql("select mcp.create_token(role => 'writer_direct', settings => %s::jsonb)", [settings])


def test_setting_of_an_extension_is_refused(cluster):
    with pytest.raises(Exception, match="ALTER ROLE"):
        cluster.sql("do $$begin perform set_config('plpgsql.check_asserts', 'on', true); "
                    """perform mcp.create_token(role => 'writer_direct', settings => '{"plpgsql.check_asserts": "off"}'); end$$""")


def test_reading_all_settings_writes_nothing_to_the_log(cluster):
    caller = token_caller(cluster, "writer_direct")
    before = len(cluster.log())
    assert caller.value("select count(*) from pg_settings") > 100
    assert "getsockopt" not in cluster.log()[before:]


def test_roles_of_end_users_get_free_sql_by_name_only(cluster):
    cluster.sql("create role authenticated nologin")
    try:
        assert "execute_sql" not in cluster.value("select mcp.grant_tools('authenticated', write => true)")
        caller = token_caller(cluster, "authenticated")
        listed = set(caller.tools())
        assert listed > {"describe_table", "list_extensions", "list_tables"} and not listed & {"execute_sql", "explain_query", "get_logs"}
        assert caller.sql("select 1").error["kind"] == "denied"
        assert "execute_sql" in cluster.value("select mcp.grant_tools('authenticated', tools => '{execute_sql}')")
        assert caller.value("select 1") == 1
    finally:
        cluster.sql("drop owned by authenticated; drop role authenticated")


# ---- mcp.current_caller()

def test_current_caller_tells_who_calls(cluster):
    for role in ("writer_direct", "writer_bridge"):
        caller = token_caller(cluster, role, label=f"agent of {role}")
        who = json.loads(caller.value("select mcp.current_caller()::text"))
        assert who["token_label"] == f"agent of {role}" and who["tool"] == "execute_sql"
        assert who["principal"].startswith("token:") and who["subject"] is None
        assert who["client"] and who["request_id"] is not None
        cluster.sql("select mcp.revoke_token(%s)", [f"agent of {role}"])


def test_current_caller_is_null_elsewhere(cluster):
    assert cluster.value("select mcp.current_caller()") is None


def test_trigger_records_who_calls(cluster):
    cluster.sql("""
        create table shop.history (id int generated always as identity, who jsonb, what text);
        grant select, insert on shop.history to writer_direct, writer_bridge;
        create function shop.note_caller() returns trigger language plpgsql as
            $$begin new.who := mcp.current_caller(); return new; end$$;
        create trigger who before insert on shop.history for each row execute function shop.note_caller()""")
    try:
        for role in ("writer_direct", "writer_bridge"):
            caller = token_caller(cluster, role, label=f"history {role}")
            caller.sql("insert into shop.history (what) values ($1)", [role]).data
            assert cluster.value("select who ->> 'token_label' from shop.history where what = %s", [role]) == f"history {role}"
            cluster.sql("select mcp.revoke_token(%s)", [f"history {role}"])
    finally:
        cluster.sql("drop table shop.history; drop function shop.note_caller()")


def test_current_caller_names_a_custom_tool(cluster):
    cluster.sql("create function shop.whoami() returns jsonb language sql stable as $$select mcp.current_caller()$$;"
                """comment on function shop.whoami() is e'@mcp({"kind": "tool"})\\nWho am I';"""
                "grant execute on function shop.whoami() to writer_direct")
    try:
        caller = token_caller(cluster, "writer_direct")
        assert caller.tool("whoami").data["tool"] == "whoami"
    finally:
        cluster.sql("drop function shop.whoami()")
