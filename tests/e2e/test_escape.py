"""No way out of the caller's own role: every attempt is raw SQL, by a direct and by a bridge caller that may write.

After each attempt the caller must still be itself, in the same call and in the next one, and must not have gained anything.
"""

import pytest

from harness.caller import token_caller
from harness.waits import wait_until

WHO = "select session_user::text, current_user::text, current_setting('is_superuser')"

CHANGE_ROLE = {
    "reset role": "reset role",
    "set role none": "set role none",
    "set role": "set role {target}",
    "set local role": "set local role {target}",
    "set session role": "set session role {target}",
    "set session authorization": "set session authorization {target}",
    "set local session authorization": "set local session authorization {target}",
    "default session authorization": "set session authorization default",
    "reset session authorization": "reset session authorization",
    "reset all": "reset all",
    "discard all": "discard all",
    "set_config role": "select set_config('role', '{target}', false)",
    "set_config role local": "select set_config('role', '{target}', true)",
    "set_config role none": "select set_config('role', 'none', false)",
    "set_config role null": "select set_config('role', null, false)",
    "set_config authorization": "select set_config('session_authorization', '{target}', false)",
    "set_config authorization null": "select set_config('session_authorization', null, false)",
    "set is_superuser": "set is_superuser = on",
    "update pg_settings": "update pg_settings set setting = '{target}' where name = 'role'",
    "do set role": "do $$begin set role {target}; end$$",
    "do reset role": "do $$begin reset role; end$$",
    "do set_config": "do $$begin perform set_config('role', '{target}', false); end$$",
    "do execute": "do $$begin execute 'set session authorization {target}'; end$$",
    "do trapped": "do $$begin begin set role {target}; exception when others then null; end; end$$",
    "nested do": "do $a$begin execute 'do $b$begin reset role; end$b$'; end$a$",
    "prepared": "prepare p as select set_config('role', '{target}', false); execute p",
    "function set role": "create or replace function pg_temp.f() returns text language sql set role = '{target}' as 'select current_user::text'; select pg_temp.f()",
    "function set authorization": "create or replace function pg_temp.g() returns text language sql set session_authorization = '{target}' as 'select current_user::text'; select pg_temp.g()",
    "function set in plpgsql": "create or replace function pg_temp.h() returns text language plpgsql as $$begin set role {target}; return current_user; end$$; select pg_temp.h()",
    "security definer of one's own": "create or replace function pg_temp.d() returns text language plpgsql security definer as $$begin reset role; return current_user; end$$; select pg_temp.d()",
    "alter function set role": "create or replace function pg_temp.k() returns text language sql as 'select current_user::text'; alter function pg_temp.k() set role = '{target}'; select pg_temp.k()",
    "procedure": "create or replace procedure pg_temp.p() language plpgsql as $$begin set role {target}; end$$; call pg_temp.p()",
    "subtransaction": "do $$begin begin perform 1/0; exception when others then set role {target}; end; end$$",
    "after error": "do $$begin begin perform 1/0; exception when others then reset role; end; end$$",
}


def whoami(caller):
    return caller.sql(WHO).rows


@pytest.mark.parametrize("attempt", list(CHANGE_ROLE))
def test_role_cannot_be_changed(writer, attempt):
    for target in ("postgres", "mcp_bridge", "staff"):
        text = CHANGE_ROLE[attempt].format(target=target)
        result = writer.sql(f"{text}; {WHO}")
        if not result.is_error:
            assert result.rows == [[writer.role, writer.role, "off"]], text
        assert whoami(writer) == [[writer.role, writer.role, "off"]], text


def test_plain_role_changes_are_refused_by_postgres(reader):
    for text in ("set role postgres", "set session authorization postgres", "select set_config('role', 'postgres', false)"):
        assert reader.sqlstate(text) in ("42501", "22023"), text


def test_membership_is_a_grant_but_only_within_the_call(cluster, writer):
    """A direct role may SET ROLE to what it is a member of, as in psql; the next call starts as itself."""
    cluster.sql(f"grant staff to {writer.role}")
    try:
        writer.sql("set role staff; select 1")
        assert whoami(writer) == [[writer.role, writer.role, "off"]]
        assert writer.sql("set role staff; set session authorization default; " + WHO).is_error or True
        assert whoami(writer) == [[writer.role, writer.role, "off"]]
    finally:
        cluster.sql(f"revoke staff from {writer.role}")


def test_bridge_is_invisible_and_powerless(cluster, reader):
    row = cluster.sql("select rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication from pg_roles"
                      " where rolname = 'mcp_bridge'")
    assert row == [(False, False, False, False, False, False)]
    assert cluster.value("select count(*) from pg_auth_members where member = 'mcp_bridge'::regrole") == 0


# ---- code that runs later

def test_deferred_triggers_run_as_the_caller(cluster, writer):
    """Deferred triggers fire at commit: still as the caller, never as the bridge or worse."""
    schema = writer.role.replace("writer", "work")
    writer.sql(f"""
        create table {schema}.seen (who text, session text, super text);
        create table {schema}.base (a int);
        create function {schema}.note() returns trigger language plpgsql as $$begin
            begin reset role; exception when others then null; end;
            begin set session authorization postgres; exception when others then null; end;
            insert into {schema}.seen values (current_user, session_user, current_setting('is_superuser'));
            return null; end$$;
        create constraint trigger late after insert on {schema}.base deferrable initially deferred
            for each row execute function {schema}.note()""").data
    writer.sql(f"insert into {schema}.base values (1)").data
    assert cluster.sql(f"select * from {schema}.seen") == [(writer.role, writer.role, "off")]
    writer.sql(f"drop table {schema}.seen, {schema}.base; drop function {schema}.note()").data


def test_held_cursor_is_filled_as_the_caller(cluster, writer):
    schema = writer.role.replace("writer", "work")
    writer.sql(f"""
        create table {schema}.seen (who text);
        create function {schema}.peek() returns text language plpgsql as $$begin
            insert into {schema}.seen values (current_user); return current_user; end$$""").data
    writer.sql(f"declare c cursor with hold for select {schema}.peek()")
    assert {row[0] for row in cluster.sql(f"select who from {schema}.seen")} <= {writer.role}
    assert writer.sqlstate("fetch all from c") == "34000"
    writer.sql(f"drop function {schema}.peek(); drop table {schema}.seen").data


def test_planted_objects_do_not_catch_the_server(cluster, writer):
    """search_path and operator shadowing: what the server itself runs for a call must not pick up a caller's objects."""
    schema = writer.role.replace("writer", "work")
    writer.sql(f"""
        create table {schema}.caught (who text);
        create function {schema}.trap(text) returns bool language plpgsql as $$begin
            insert into {schema}.caught values (current_user); return true; end$$;
        create function {schema}.has_function_privilege(oid, text) returns bool language sql as 'select {schema}.trap(current_user::text)';
        create function {schema}.to_jsonb(anyelement) returns jsonb language sql as $$select '1'::jsonb where {schema}.trap('x')$$;
        create function {schema}.eq(name, text) returns bool language sql as 'select {schema}.trap(current_user::text)';
        create operator {schema}.= (leftarg = name, rightarg = text, function = {schema}.eq);
        create function {schema}.current_setting(text) returns text language sql as $$select 'on' where {schema}.trap('x')$$""").data
    cluster.sql(f"alter role {writer.role} set search_path = {schema}, pg_catalog")
    try:
        assert writer.value("select 1") == 1
        assert "execute_sql" in writer.tools()
        writer.tool("list_tables", {})
        writer.tool("describe_table", {"name": "shop.orders"})
        caught = cluster.sql(f"select who from {schema}.caught")
        assert all(row[0] == writer.role for row in caught), caught
        assert not caught, "the server's own SQL ran a caller's function"
    finally:
        cluster.sql(f"alter role {writer.role} reset search_path; drop table {schema}.caught; drop schema {schema} cascade;"
                    f"create schema {schema} authorization {writer.role}")


# ---- reaching past the call

LASTING = {
    "own password": "alter role {me} password 'let me in'",
    "own password by keyword": "alter role current_user password 'let me in'",
    "own password in do": "do $$begin execute 'alter role current_user password ''x'''; end$$",
    "own setting": "alter role {me} set search_path = pg_catalog",
    "own setting by keyword": "alter role current_user set work_mem = '64MB'",
    "own setting in database": "alter role {me} in database postgres set search_path = pg_catalog",
    "own reset": "alter role {me} reset all",
    "own setting by user": "alter user session_user set search_path = ''",
    "own login": "alter role {me} login",
    "own attribute": "alter role {me} createrole superuser",
    "own validity": "alter role {me} valid until 'infinity'",
    "own name": "alter role {me} rename to other",
    "load": "load 'plpgsql'",
    "load in do": "do $$begin execute 'load ''plpgsql'''; end$$",
    "program": "copy shop.counter to program 'cat > /tmp/out'",
    "program from": "copy shop.counter from program 'id'",
    "file": "copy shop.counter to '/tmp/out'",
    "alter system": "alter system set work_mem = '1GB'",
    "alter database": "alter database postgres set work_mem = '1GB'",
    "create role": "create role extra superuser login",
    "grant role": "grant postgres to {me}",
    "create extension": "create extension dblink",
    "event trigger": "create event trigger e on ddl_command_end execute function pg_event_trigger_ddl_commands()",
    "c function": "create function f() returns int language c as 'libc', 'getpid'",
    "drop extension": "drop extension supabase_mcp cascade",
    "mint": "select mcp.create_token('{me}'::regrole)",
    "mint other": "select mcp.create_token('postgres'::regrole)",
    "map": "select mcp.map_peer('root', 'postgres'::regrole)",
    "write tokens": "insert into mcp._tokens select * from mcp._tokens",
    "read tokens": "select * from mcp._tokens",
    "read peers": "select * from mcp._peer_map",
    "keeper": "select mcp._keeper('{{\"password\":{{\"role\":\"postgres\"}}}}')",
    "random": "select mcp._random_bytes(32)",
    "invalidate": "select mcp._invalidate()",
    "off": "select mcp.off()",
    "on": "select mcp.on()",
    "drain": "select mcp.drain('postgres')",
    "grant tools": "select mcp.grant_tools('{me}'::regrole, true)",
    "read verifier": "select rolpassword from pg_authid",
    "read file": "select pg_read_file('/etc/passwd')",
    "read hba": "select * from pg_hba_file_rules",
    "list files": "select pg_ls_dir('/')",
    "import": "select lo_import('/etc/passwd')",
    "export": "select lo_export(1, '/tmp/out')",
    "reload": "select pg_reload_conf()",
    "rotate": "select pg_rotate_logfile()",
    "terminate the gateway": "select pg_terminate_backend({gateway})",
    "cancel the gateway": "select pg_cancel_backend({gateway})",
    "preload": "set session_preload_libraries = 'auto_explain'",
    "dynamic library path": "set dynamic_library_path = '/tmp'",
    "log level": "set log_min_messages = debug5",
    "superuser setting": "set log_statement = 'all'",
    "reserved setting": "set supabase_mcp.max_rows = 1000000",
    "temp files": "set temp_file_limit = -1",
}


@pytest.mark.parametrize("attempt", list(LASTING))
def test_nothing_lasting_is_gained(cluster, writer, attempt):
    state = ("select (select jsonb_agg(to_jsonb(a) order by oid) from pg_authid a), (select jsonb_agg(to_jsonb(s)) from pg_db_role_setting s),"
             "(select jsonb_agg(to_jsonb(m)) from pg_auth_members m), (select count(*) from mcp._tokens), (select count(*) from mcp._peer_map),"
             "(select count(*) from pg_extension), (select count(*) from pg_event_trigger), current_setting('work_mem')")
    before = cluster.sql(state)
    gateway = cluster.gateway_pids()
    result = writer.sql(LASTING[attempt].format(me=writer.role, gateway=gateway[0]))
    assert result.is_error and result.error["message"], result
    assert cluster.sql(state) == before
    assert cluster.gateway_pids() == gateway and whoami(writer) == [[writer.role, writer.role, "off"]]


def test_refusals_by_rule_say_why(writer):
    """What Postgres would allow and the utility hook refuses comes with SQLSTATE 42501 and a reason."""
    for text in ("alter role current_user password 'x'", "alter role current_user set work_mem = '5MB'", "load 'plpgsql'"):
        error = writer.sql(text).error
        assert error["sqlstate"] == "42501" and error["message"], text
    assert writer.value("select 1") == 1


def test_other_callers_sessions_are_out_of_reach(cluster, writer, simple):
    """Another role's executor, the keeper and ordinary sessions cannot be signalled."""
    simple.value("select 1")
    victims = cluster.sql("select pid, backend_start from pg_stat_activity where usename is distinct from %s"
                          " and pid <> pg_backend_pid() and backend_type ~ 'supabase_mcp'", [writer.role])
    for pid, _ in victims:
        for function in ("pg_terminate_backend", "pg_cancel_backend"):
            result = writer.sql(f"select {function}({pid})")
            assert result.is_error or result.value is False, (pid, function)
    assert simple.value("select 1") == 1


def test_a_bridge_caller_cannot_reach_another_of_its_own_role(cluster):
    """Two end users of one shared role: with the bridge neither sees nor stops the other's call."""
    first, second = (token_caller(cluster, "reader_bridge") for _ in range(2))
    with first.line() as busy:
        number = busy.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(20) /* mine */"}})
        running = wait_until(lambda: [row for row in cluster.executors() if "mine" in (row[5] or "") and row[4] == "active"], 10, "the call")
        pid = running[0][0]
        seen = second.sql("select query from pg_stat_activity where pid = $1", [pid]).rows
        assert not any("mine" in str(row[0]) for row in seen)
        assert second.sqlstate(f"select pg_terminate_backend({pid})") == "42501"
        assert second.sqlstate(f"select pg_cancel_backend({pid})") == "42501"
        busy.notify("notifications/cancelled", {"requestId": number})
