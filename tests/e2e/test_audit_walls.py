"""Everything that somebody who is no superuser can try against the audit trail: refused, or without effect, and over MCP itself on record."""

import psycopg
import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.records import Records
from harness.waits import wait_until

SETUP = """
create role wall_agent login;
create role wall_admin login in role mcp_admin;
create role wall_maker login createrole createdb;
create role wall_auditor login in role mcp_auditor;
create role wall_owner login;
alter database postgres owner to wall_owner;
grant create on schema public to wall_agent, wall_admin, wall_auditor, wall_maker;
grant create on database postgres to wall_agent, wall_admin;
select mcp.grant_tools(r::regrole, write => true) from unnest('{wall_agent,wall_admin,wall_owner,wall_auditor}'::text[]) r;
create schema wall;
create table wall.item (n int);
grant usage on schema wall to public;
grant all on wall.item to public;
"""
ROLES = ["wall_agent", "wall_admin", "wall_maker", "wall_auditor", "wall_owner"]
OVER_MCP = ["wall_agent", "wall_admin", "wall_auditor", "wall_owner"]
TABLES = ["_audit", "{partition}", "_audit_callers", "_audit_head", "_audit_seals", "_audit_sealed", "audit"]

READING = ["select * from mcp.{table}", "copy mcp.{table} to stdout", "table mcp.{table}", "lock table mcp.{table} in access share mode",
           "create view public.peep as select * from mcp.{table}; select * from public.peep"]
CHANGING = [
    "insert into mcp.{table} default values", "insert into mcp.{table} select * from mcp.{table}", "update mcp.{table} set {column} = {column}",
    "delete from mcp.{table}", "truncate mcp.{table}", "truncate mcp.{table} cascade", "drop table mcp.{table} cascade", "drop view mcp.{table}",
    "merge into mcp.{table} t using (values (1)) v on true when matched then delete", "select * from mcp.{table} for update", "select * from mcp.{table} for key share",
    "alter table mcp.{table} add column x int", "alter table mcp.{table} drop column {column}", "alter table mcp.{table} rename to other",
    "alter table mcp.{table} set schema public", "alter table mcp.{table} owner to current_user", "alter table mcp.{table} disable trigger all",
    "alter table mcp.{table} set (fillfactor = 10)", "alter table mcp.{table} enable row level security", "alter table mcp.{table} set unlogged",
    "alter table mcp.{table} add constraint no check (false) not valid", "alter table mcp.{table} replica identity nothing",
    "alter table mcp.{table} alter column {column} set default null", "alter table mcp.{table} set tablespace pg_default",
    "alter table mcp._audit detach partition mcp.{table}", "alter table mcp._audit detach partition mcp.{table} concurrently",
    "create table public.part partition of mcp.{table} default", "create table public.part partition of mcp.{table} for values from ('2030-01-01') to ('2030-01-02')",
    "create table public.heir () inherits (mcp.{table})", "create table public.ref (n bigint references mcp.{table})",
    "alter table wall.item inherit mcp.{table}", "alter table mcp._audit attach partition wall.item for values from ('2030-01-01') to ('2030-01-02')",
    "create trigger t before insert on mcp.{table} for each row execute function suppress_redundant_updates_trigger()",
    "create rule r as on insert to mcp.{table} do instead nothing", "create policy p on mcp.{table} using (false)",
    "create index on mcp.{table} ({column})", "create statistics public.s on ctid, tableoid from mcp.{table}", "create publication wall_pub for table mcp.{table}",
    "lock table mcp.{table} in access exclusive mode", "lock table mcp.{table} in share mode", "lock table mcp.{table} in row share mode",
    "lock table mcp.{table} in row exclusive mode nowait", "comment on table mcp.{table} is 'mine'", "reindex table mcp.{table}", "cluster mcp.{table}",
    "security label on table mcp.{table} is 'x'", "copy mcp.{table} from stdin", "refresh materialized view mcp.{table}",
]
ONCE = [
    "drop schema mcp cascade", "drop extension supabase_mcp cascade", "alter extension supabase_mcp update", "alter extension supabase_mcp drop table mcp._audit",
    "alter extension supabase_mcp set schema public", "alter schema mcp rename to other", "alter schema mcp owner to current_user",
    "create table mcp._audit_20300101 (n int)", "create function mcp._audit_digest(int) returns int language sql as 'select 1'",
    "create or replace function mcp._audit_begin(head jsonb) returns jsonb language sql as $$ select '[1,false]'::jsonb $$",
    "alter function mcp._audit_begin(jsonb) owner to current_user", "alter function mcp._audit_begin(jsonb) set search_path = public", "drop function mcp._audit_begin(jsonb)",
    "drop role mcp_auditor", "alter role postgres nosuperuser", "drop owned by postgres cascade", "reassign owned by postgres to current_user",
    "alter default privileges for role postgres grant all on tables to public", "create event trigger stop on ddl_command_start execute function pg_catalog.suppress_redundant_updates_trigger()",
    "set session_replication_role = replica", "set role postgres", "set session authorization postgres", "alter system set supabase_mcp.audit = off", "load 'auto_explain'",
    "select pg_reload_conf()", "select pg_rotate_logfile()", "select pg_read_file('postgresql.conf')", "copy wall.item to program 'true'",
    "update pg_catalog.pg_class set relowner = 1", "delete from pg_catalog.pg_depend", "set allow_system_table_mods = on",
    "select pg_terminate_backend({keeper})", "select pg_cancel_backend({keeper})", "select pg_terminate_backend({gateway})", "select mcp.audit_purge(now())",
]
VALUES = [("audit", "off"), ("audit_reads", "batch"), ("audit_text_bytes", "0"), ("audit_seal_interval", "3600000")]
ONCE += [f"alter {whose} set supabase_mcp.{name} = '{value}'" for name, value in VALUES for whose in ("role current_user", "database postgres", "role all")]
# Refused where the library is loaded; elsewhere these names mean nothing to Postgres.
SETTINGS = [text.format(name=name, value=value) for name, value in VALUES for text in (
    "set supabase_mcp.{name} = '{value}'", "set local supabase_mcp.{name} = '{value}'", "select set_config('supabase_mcp.{name}', '{value}', false)")]
# What Postgres lets anybody do, or does with a warning, and what it comes to is nothing.
HARMLESS = [
    "grant all on mcp._audit to current_user", "grant all on schema mcp to current_user", "analyze mcp._audit", "vacuum mcp._audit_head", "vacuum full mcp._audit_callers",
    "select pg_advisory_lock(n) from generate_series(1, 1000) n", "select pg_advisory_lock('mcp._audit'::regclass::oid::int, 0)",
    "set synchronous_commit = off; insert into wall.item values (1)", "set default_transaction_read_only = on", "set search_path = public, pg_temp",
    "create temp table _audit (like wall.item); create temp table _audit_head (n int); create temp table _audit_callers (n int)",
    "create table public._audit (n int); create table public._audit_head (last_id bigint); create view public.audit as select 1 as id; drop view public.audit; drop table public._audit, public._audit_head",
    "create function public.sha256(bytea) returns bytea language sql as $$ select ''::bytea $$; drop function public.sha256(bytea)",
    "create function public.now() returns timestamptz language sql as $$ select '2000-01-01'::timestamptz $$; drop function public.now()",
    "set timezone = 'Pacific/Kiritimati'; set datestyle = 'German'; set bytea_output = 'escape'", "reset all", "discard plans",
    "set supabase_mcp.no_such_setting = 'x'", "listen supabase_mcp", "notify supabase_mcp, 'off'", "set row_security = off",
    "savepoint a", "select pg_notify('audit', repeat('x', 7000))",
]
STATE = """
select md5(string_agg(t::text, chr(10) order by t::text)) from (
    select (c.oid::regclass, c.relowner, c.relacl, c.relkind, c.relhasrules, c.relhastriggers, c.relrowsecurity, c.reloptions, c.relpartbound, c.relpersistence, c.reltablespace)::text
      from pg_class c where c.relnamespace = 'mcp'::regnamespace
    union all select (p.oid::regprocedure, p.proowner, p.proacl, md5(p.prosrc), p.proconfig)::text from pg_proc p where p.pronamespace = 'mcp'::regnamespace
    union all select (t.tgrelid::regclass, t.tgname, t.tgenabled)::text from pg_trigger t
    union all select (r.ev_class::regclass, r.rulename, md5(r.ev_action::text))::text from pg_rewrite r where r.ev_class::regclass::text like 'mcp.%'
    union all select (i.inhrelid::regclass, i.inhparent::regclass)::text from pg_inherits i
    union all select (a.attrelid::regclass, a.attname, a.atttypid, a.attacl, a.atthasdef)::text from pg_attribute a join pg_class c on c.oid = a.attrelid
               where c.relnamespace = 'mcp'::regnamespace
    union all select (o.conrelid::regclass, o.conname, o.convalidated)::text from pg_constraint o
    union all select (s.setdatabase, s.setrole, s.setconfig)::text from pg_db_role_setting s
    union all select (n.nspname, n.nspowner, n.nspacl)::text from pg_namespace n where n.nspname = 'mcp'
    union all select (r.rolname, r.rolsuper, r.rolcreaterole)::text from pg_roles r
    union all select (d.objoid, d.objsubid, d.description)::text from pg_description d where d.classoid = 'pg_class'::regclass
    union all select e.evtname::text from pg_event_trigger e
    union all select (b.pubname)::text from pg_publication b
    union all select (x.extname, x.extowner, x.extnamespace)::text from pg_extension x) t (t)
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster().start().install()
    one.sql(SETUP)
    yield one
    one.remove()


@pytest.fixture
def records(site):
    with Records(site) as one:
        assert not token_caller(site, "wall_agent").sql("insert into wall.item values (0)").is_error
        yield one.mark()


def attempts(site, role):
    """All that is refused to the role, as SQL."""
    partition = site.value("select inhrelid::regclass::text from pg_inherits where inhparent = 'mcp._audit'::regclass order by 1 desc limit 1").removeprefix("mcp.")
    pids = {kind: site.value("select pid from pg_stat_activity where backend_type = %s", [f"supabase_mcp {kind}"]) for kind in ("keeper", "gateway")}
    texts = [text.format(**pids) if "_backend(" in text else text for text in ONCE]
    for table in TABLES:
        table = table.format(partition=partition)
        column = site.value("select attname::text from pg_attribute where attrelid = %s::regclass and attnum = 1", [f"mcp.{table}"])
        reading = [] if role == "wall_auditor" and table != partition else READING
        texts += [text.format(table=table, column=column) for text in reading + CHANGING]
    for function, arguments in site.sql(
            "select p.oid::regproc::text, coalesce(string_agg(format('(select null::%%s)', a.type::regtype), ', ' order by a.place), '') from pg_proc p"
            " left join lateral unnest(p.proargtypes) with ordinality a (type, place) on true"
            " where p.pronamespace = 'mcp'::regnamespace and p.proname ~ '^_?audit' and not has_function_privilege(%s, p.oid, 'execute') group by p.oid", [role]):
        texts.append(f"select {function}({arguments})")
    return texts


def held(records):
    """The rows so far, as they are hashed."""
    return records.sql("select md5(string_agg(mcp._audit_line(e), chr(10) order by id)) as rows from mcp._audit e where id <= %s", [records.seen])


def what_got_through(execute, texts):
    """The attempts that were not refused. Views are no tables, and so on: an error is an error, but never of the server itself."""
    through = []
    for text in texts:
        state = execute(text)
        assert state is None or state[:2] not in ("XX", "57", "58", "53"), (text, state)
        if state is None:
            through.append(text)
    return through


def psql(site, role):
    def execute(text):
        # Each with a session of its own, in a transaction that is kept if it may be.
        with site.connect(user=role, autocommit=True) as connection:
            try:
                connection.execute(text)
            except psycopg.Error as error:
                return error.sqlstate or "08000"
        return None

    return execute


@pytest.mark.parametrize("role", ROLES)
def test_in_a_session_of_ones_own(site, records, role):
    state, rows = site.value(STATE), held(records)
    texts = attempts(site, role)
    assert len(texts) > 350
    assert "\n".join(what_got_through(psql(site, role), texts)) == ""
    what_got_through(psql(site, role), HARMLESS + SETTINGS)
    assert site.value(STATE) == state and held(records) == rows
    goes_on(site, records)


@pytest.mark.parametrize("role", OVER_MCP)
def test_over_mcp(site, records, role):
    """And every attempt is on record, with how it ended."""
    state, rows = site.value(STATE), held(records)
    caller = token_caller(site, role)
    texts = attempts(site, role) + SETTINGS
    number = 0

    def execute(text):
        nonlocal number
        number += 1
        result = caller.sql(f"{text} /* attempt {number}. */")
        return None if not result.is_error else result.error.get("sqlstate") or result.error["kind"]

    assert "\n".join(what_got_through(execute, texts)) == ""
    what_got_through(execute, HARMLESS)
    assert site.value(STATE) == state and held(records) == rows
    wait_until(lambda: len(records.rows("role = %s and arguments ~ 'attempt \\d+\\.' and outcome <> 'open'", [role])) >= number, 20, "every attempt is on record")
    kept = records.rows("role = %s and arguments ~ 'attempt \\d+\\.'", [role])
    assert len(kept) == number
    assert all(row["outcome"] in ("error", "refused") and not row["committed"] for row in kept[:len(texts)])
    goes_on(site, records)


def goes_on(site, records):
    """The trail is written and fits."""
    agent = token_caller(site, "wall_agent")
    agent.sql("insert into wall.item values (1) /* goes on */").data
    assert records.rows("strpos(arguments, 'goes on') > 0")[-1]["committed"]
    assert records.state()["state"] == "written"
    records.settled()
    records.check()


def test_roles_that_a_creator_of_roles_may_give(site, records):
    """On PostgreSQL 15 a role with CREATEROLE may make itself a member of any role that is no superuser. Even so it changes nothing of the trail."""
    state, rows = site.value(STATE), held(records)
    for role in ("mcp_auditor", "mcp_admin", "mcp_bridge"):
        got = psql(site, "wall_maker")(f"grant {role} to wall_maker")
        assert got in (None, "42501")
        if got is None:
            texts = [text for text in attempts(site, "wall_maker") if not text.startswith(("select * from", "table ", "copy mcp", "lock", "create view", "create or"))]
            assert "\n".join(what_got_through(psql(site, "wall_maker"), texts)) == ""
            site.sql(f"revoke {role} from wall_maker")
    assert site.value(STATE) == state and held(records) == rows
    goes_on(site, records)


@pytest.mark.parametrize("role", ROLES)
def test_no_function_of_the_trail_that_writes_is_given_to_anybody(site, role):
    """Verifying is volatile for what it sees, not for what it does: it runs in a transaction that cannot write."""
    given = site.sql("select p.oid::regprocedure::text from pg_proc p where p.pronamespace = 'mcp'::regnamespace and p.proname ~ '^_?audit'"
                    " and p.provolatile = 'v' and has_function_privilege(%s, p.oid, 'execute')", [role])
    assert [name for (name,) in given if not name.startswith("mcp.audit_verify")] == []
    if given:
        with site.connect(user=role) as connection:
            connection.execute("set default_transaction_read_only = on")
            assert connection.execute("select ok from mcp.audit_verify()").fetchone() == (True,)


def test_owner_of_the_database_cannot_hold_it_up(site, records):
    """Locks that roles may take on what is theirs do not stand in the way of a record: a long transaction, advisory locks, a lock on their own table."""
    with site.connect(user="wall_auditor", autocommit=False) as reading:
        reading.execute("set transaction isolation level repeatable read")
        reading.execute("select count(*) from mcp.audit")
        reading.execute("lock table mcp._audit, mcp._audit_head in access share mode")
        reading.execute("select pg_advisory_lock(n) from generate_series(1, 500) n")
        goes_on(site, records)
