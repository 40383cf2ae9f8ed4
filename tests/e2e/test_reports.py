"""The report of who could, held against what Postgres and the MCP server do: rights, memberships, tools, refusals, ways in."""

import random

import psycopg
import pytest

from harness.caller import token_caller
from harness.cluster import Cluster, server_major
from harness.reports import READABLE, access, as_role, reads
from harness.world import build_world

SETUP = """
create role auditor login in role mcp_auditor;
create role anon; create role authenticated;
create role peered login; create role pass_word login password 'x'; create role no_way login;
create role mighty superuser login; create role late login valid until '2001-01-01'; create role unconnected login connection limit 0;
create role builder login; create role keeper_of_tools login in role mcp_admin;
create schema tool authorization builder; grant usage on schema tool to public;
create schema good authorization keeper_of_tools; grant usage on schema good to public;
create function tool.mine() returns int language sql as 'select 1';
alter function tool.mine() owner to builder;
comment on function tool.mine() is E'@mcp({})\\nOnly its owner''s.';
create function good.everybody(n int) returns int language sql stable as 'select n';
alter function good.everybody(int) owner to keeper_of_tools;
comment on function good.everybody(int) is E'@mcp({})\\nFor all.';
create function good.chosen() returns int language sql security definer as 'select 1';
alter function good.chosen() owner to keeper_of_tools;
revoke execute on function good.chosen() from public; grant execute on function good.chosen() to staff;
comment on function good.chosen() is E'@mcp({"security_definer": true, "name": "renamed"})\\nFor staff.';
create function good.unsaid() returns int language sql security definer as 'select 1';
alter function good.unsaid() owner to keeper_of_tools;
comment on function good.unsaid() is E'@mcp({})\\nNever said that it is SECURITY DEFINER.';
create function good.list_tables() returns int language sql as 'select 1';
alter function good.list_tables() owner to keeper_of_tools;
comment on function good.list_tables() is E'@mcp({})\\nThe built-in one of this name comes first.';
grant staff to reader_direct;
select mcp.grant_tools(r::regrole, tools => '{list_tables}') from unnest('{builder,anon,mighty,late,unconnected}'::text[]) r;
select mcp.create_token(r::regrole, r || ' token') from unnest('{reader_direct,writer_direct,reader_bridge,writer_bridge,outsider,builder,mighty,late,unconnected}'::text[]) r;
select mcp.create_token('no_way', 'past', expires_at => now() + interval '1 day');
update mcp._tokens set expires_at = now() - interval '1 hour' where label = 'past';
select mcp.map_peer('carol', 'peered');
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster(supabase_mcp__jwt_roles="authenticated, absent", supabase_mcp__anonymous_role="anon").start()
    one.install()
    build_world(one)
    one.sql(SETUP)
    yield one
    one.remove()


def test_the_roles_are_those_that_a_live_credential_stands_for(site):
    ways = {row["role"]: row["ways"] for row in access(site)}
    # The cluster's own roles have no password; whose token is past its time has no way in.
    assert set(ways) == {"reader_direct", "writer_direct", "reader_bridge", "writer_bridge", "outsider", "builder", "mighty", "late", "unconnected",
                         "anon", "authenticated", "peered", "pass_word"}
    assert ways["peered"] == ["peer carol"]
    assert ways["pass_word"] == ["password, on the Unix socket and loopback"]
    assert ways["anon"] == ["no credential, on this machine (supabase_mcp.anonymous_role)"]
    assert ways["authenticated"] == ["JSON Web Token (supabase_mcp.jwt_roles)"]
    assert len(ways["outsider"]) == 1 and '"outsider token", without expiry' in ways["outsider"][0]
    assert [row["kind"] for row in access(site, "no_way")] == []
    page = as_role(site, "auditor", "select mcp.report_access_page()")[0][0]
    assert "`no_way` has credentials that do not count any more: `past`" in page


@pytest.mark.parametrize("role", ["reader_direct", "reader_bridge", "writer_direct", "outsider", "builder", "anon", "keeper_of_tools"])
def test_tools_are_those_that_the_server_offers(site, role):
    with site.connect() as connection:
        connection.execute(f"set session authorization {role}")
        try:
            offered = {row[0] for row in connection.execute("select e ->> 'name' from jsonb_array_elements(mcp._tools('[[\"all\"]]')) e")}
            prompts = {row[0] for row in connection.execute("select e ->> 'name' from jsonb_array_elements(mcp._prompts()) e")}
        except psycopg.errors.InsufficientPrivilege:
            offered, prompts = set(), set()
    if role == "keeper_of_tools":
        site.sql("select mcp.create_token('keeper_of_tools', 'for a moment')")
    rows = access(site, role)
    if role == "keeper_of_tools":
        site.sql("select mcp.revoke_token('for a moment')")
    assert {row["object"] for row in rows if row["kind"] == "tool"} - {"execute_sql_write"} == offered
    assert {row["object"] for row in rows if row["kind"] == "prompt"} == prompts
    assert ("execute_sql_write" in {row["object"] for row in rows}) == (role == "writer_direct")
    assert ("mine" in offered) == (role == "builder")
    assert ("renamed" in offered) == (role == "reader_direct")
    assert "unsaid" not in offered


def test_what_tools_do_is_said(site):
    tools = {row["object"]: row for row in access(site, "writer_direct") if row["kind"] == "tool"}
    assert tools["execute_sql"]["note"] == "free SQL, read-only"
    assert tools["execute_sql_write"]["note"] == "free SQL that writes, as the tool execute_sql"
    assert tools["list_tables"]["note"] == "reads" and tools["list_tables"]["through"] == "granted"
    assert tools["everybody"]["through"] == "PUBLIC" and tools["everybody"]["note"] == "reads; function good.everybody(integer)"
    chosen = next(row for row in access(site, "reader_direct") if row["object"] == "renamed")
    assert chosen["through"] == "role staff"
    assert chosen["note"] == "may write; runs with the rights of its owner keeper_of_tools; function good.chosen()"


@pytest.mark.parametrize("role", ["reader_direct", "writer_bridge"])
def test_calls_read_what_the_report_says_and_nothing_else(site, role):
    caller = token_caller(site, role, label=f"calls of {role}")
    rows = access(site, role)
    for table in ("shop.customer", "shop.orders", "shop.big_orders", "shop.salary", "shop.note", "shop.counter"):
        answer = caller.sql(f"select id from {table}" if table == "shop.customer" else f"select * from {table}")
        assert reads(rows, table) == (not answer.is_error), table
    customer = next(row for row in rows if row["object"] == "shop.customer")
    assert customer["privileges"] == ["SELECT (id, name, email)"]
    note = next(row for row in rows if row["object"] == "shop.note")
    assert (note["row_security"], note["policies"]) == ("on", ["own_notes (ALL)"])
    assert next(row for row in rows if row["object"] == "shop.orders")["row_security"] == "off"
    caller.close()


def test_refused_roles_say_why_and_nothing_more(site):
    reasons = {"mighty": "it is a superuser", "late": "it was valid until 2001-01-01 00:00:00 UTC", "unconnected": "its connection limit is 0"}
    for role, reason in reasons.items():
        rows = access(site, role)
        assert [(row["kind"], row["note"]) for row in rows] == [("refused", f"every call of this role is refused: {reason}")], role
        caller = token_caller(site, role, label=f"refused {role}")
        answer = caller.rpc("tools/list")
        assert answer.status in (401, 403) or "error" in answer.json(), answer
        caller.close()


def test_a_privileged_role_that_is_served_is_shown_with_all_it_may(site):
    site.configure(supabase_mcp__privileged_roles="mighty")
    try:
        rows = access(site, "mighty")
        own = next(row for row in rows if row["kind"] == "role")
        assert own["note"] == "served although it is a superuser (supabase_mcp.privileged_roles)"
        salary = next(row for row in rows if row["object"] == "shop.salary")
        assert (salary["privileges"], salary["through"]) == (["ALL"], "superuser")
        note = next(row for row in rows if row["object"] == "shop.note")
        assert note["row_security"] == "bypassed by a superuser"
        page = as_role(site, "auditor", "select mcp.report_access_page('mighty')")[0][0]
        assert "- **high**: `mighty` is served although it is more than an ordinary role" in page
    finally:
        site.configure(supabase_mcp__privileged_roles=None)
    assert [row["kind"] for row in access(site, "mighty")] == ["refused"]


def test_equal_names_are_a_way_in_while_the_setting_is_on(site):
    site.configure(supabase_mcp__peer_equal_names="on")
    try:
        assert access(site, "no_way")[0]["ways"] == ["peer of the same name as the role (supabase_mcp.peer_equal_names)"]
    finally:
        site.configure(supabase_mcp__peer_equal_names=None)
    assert access(site, "no_way") == []


def test_limits_stand_with_the_role_and_with_the_tool(site):
    site.sql("select mcp.set_limit('outsider', calls_per_minute => 7); select mcp.set_limit('reader_bridge', tool => 'list_tables', max_rows => 3);"
             " select mcp.set_limit(token => (select id from mcp.tokens where label = 'reader_bridge token'), read_only => true)")
    assert access(site, "outsider")[0]["limits"] == [{"of": "role", "calls_per_minute": 7, "burst": 7}]
    rows = access(site, "reader_bridge")
    token = site.value("select id from mcp.tokens where label = 'reader_bridge token'")
    assert rows[0]["limits"] == [{"of": f"token {token}", "read_only": True}]
    assert next(row for row in rows if row["object"] == "list_tables")["limits"] == [{"of": "role", "max_rows": 3}]
    assert next(row for row in rows if row["object"] == "list_schemas")["limits"] is None
    site.sql("alter role builder set statement_timeout = '5s'; alter role builder set app.secret = 'not to be told'; alter role builder connection limit 4;"
             " alter role builder in database postgres set work_mem = '1MB'")
    rows = access(site, "builder")
    assert rows[0]["limits"] == [{"of": "settings of the role", "statement_timeout": "5s", "work_mem": "1MB", "connection_limit": 4}]
    assert "not to be told" not in str(rows)


def test_an_owner_is_told_of_with_and_without_rights(site):
    site.sql("create table public.kept (id int); create table public.renounced (id int); alter table public.kept owner to builder; alter table public.renounced owner to builder;"
             " revoke all on public.renounced from builder; grant select on public.renounced to outsider")
    rows = {row["object"]: row for row in access(site, "builder") if row["kind"] == "table"}
    assert rows["public.kept"]["through"] == "owner" and {"SELECT", "DELETE", "TRIGGER"} <= set(rows["public.kept"]["privileges"])
    assert (rows["public.renounced"]["through"], rows["public.renounced"]["privileges"]) == ("owner", [])
    assert next(row for row in access(site, "outsider") if row["object"] == "public.renounced")["privileges"] == ["SELECT"]


def test_grants_on_what_came_with_the_server_are_shown(site):
    before = {row["object"] for row in access(site, "outsider")}
    assert not [name for name in before if name.startswith(("pg_catalog", "information_schema", "pg_"))]
    site.sql("grant select on pg_catalog.pg_authid to public; grant execute on function pg_catalog.pg_ls_dir(text) to outsider; grant select on mcp.tokens to public")
    try:
        rows = {row["object"]: row["through"] for row in access(site, "outsider") if row["object"] not in before}
        assert rows == {"pg_catalog.pg_authid": "PUBLIC", "pg_ls_dir(text)": "granted", "mcp.tokens": "PUBLIC"}
    finally:
        site.sql("revoke select on pg_catalog.pg_authid from public; revoke execute on function pg_catalog.pg_ls_dir(text) from outsider; revoke select on mcp.tokens from public")


def membership(site, rng, roles):
    """A random web of memberships, with options where the version has them; and grants of tables on random members."""
    for index, member in enumerate(roles):
        for role in rng.sample(roles[:index], min(index, rng.randint(0, 3))):
            options = ""
            if server_major() >= 16:
                options = f" with inherit {rng.choice(['true', 'false'])}, set {rng.choice(['true', 'false'])}"
            site.sql(f"grant {role} to {member}{options}")
    for number in range(12):
        privileges = ", ".join(rng.sample(["select", "insert", "update", "delete", "truncate"], rng.randint(1, 3)))
        site.sql(f"create table web.t{number} (id int, v text); grant {privileges} on web.t{number} to {rng.choice(roles)};"
                 f" grant select (v) on web.t{number} to {rng.choice(roles)}")
    site.sql(f"create table web.owned (id int); alter table web.owned owner to {roles[0]}; alter table web.t0 owner to {roles[2]};"
             f" grant insert on web.t1 to public; grant pg_read_all_data to {roles[1]}")


def test_memberships_are_followed_as_postgres_does(site):
    rng = random.Random(20)
    roles = [f"web_{number}" for number in range(14)]
    site.sql("create schema web; grant usage on schema web to public")
    for role in roles:
        site.sql(f"create role {role} login {rng.choice(['inherit', 'noinherit'])}; select mcp.create_token('{role}', '{role}')")
    membership(site, rng, roles)
    may_set = "pg_has_role(s.oid, z.oid, 'SET')" if server_major() >= 16 else "pg_has_role(s.oid, z.oid, 'MEMBER')"
    ordinary = "(select oid from pg_roles where not rolsuper)"
    wrong = site.sql(f"""
        with starts as (select oid, rolname from pg_roles where rolname like 'web%'),
        settable as (select s.oid as start, z.oid as target from starts s, pg_roles z where not z.rolsuper and {may_set}),
        -- What Postgres says, and what the report says.
        had as (select s.oid as start, g.oid as role from starts s, pg_roles g where not g.rolsuper and pg_has_role(s.oid, g.oid, 'USAGE')),
        after as (select t.start, g.oid as role from settable t, pg_roles g where not g.rolsuper and pg_has_role(t.target, g.oid, 'USAGE')),
        told as (select s.oid as start, r.* from starts s, mcp._report_reach(s.oid, true) r where r.grantee <> 0),
        told_had as (select s.oid as start, r.grantee from starts s, mcp._report_reach(s.oid, false) r where r.grantee <> 0)
        (select 'had, not told', start::regrole, role::regrole from had except select 'had, not told', start::regrole, grantee::regrole from told_had)
        union all (select 'told, not had', start::regrole, grantee::regrole from told_had except select 'told, not had', start::regrole, role::regrole from had)
        union all (select 'after, not told', start::regrole, role::regrole from (select * from had union select * from after) x
                   except select 'after, not told', start::regrole, grantee::regrole from told)
        union all (select 'told, not after', start::regrole, grantee::regrole from told
                   except select 'told, not after', start::regrole, role::regrole from (select * from had union select * from after) x)
        union all select 'acts as whom it cannot set: ' || through, start::regrole, acting::regrole from told t
                   where acting <> start and not exists (select from settable z where z.start = t.start and z.target = t.acting)
        union all select 'acting, and has it not: ' || through, acting::regrole, grantee::regrole from told t
                   where not exists (select from had h where h.start = t.acting and h.role = t.grantee)
                     and not exists (select from {ordinary} o where o.oid = t.acting and pg_has_role(t.acting, t.grantee, 'USAGE'))
    """)
    assert wrong == []
    assert site.value("select count(*) from pg_roles s, mcp._report_reach(s.oid, true) r where s.rolname like 'web%' and r.through like 'after SET ROLE %'") > 5

    # Each right on a table that a role has without SET ROLE, from the rows and from Postgres.
    told = {(row["role"], row["object"], privilege) for role in roles for row in access(site, role)
            if row["object"].startswith("web.") and row["kind"] == "table" and not row["through"].startswith("after SET ROLE")
            for privilege in row["privileges"] if " " not in privilege and privilege in READABLE}
    had = {tuple(row) for row in site.sql("""
        select r.rolname::text, c.oid::regclass::text, p from pg_roles r, pg_class c, unnest(%s::text[]) p
         where r.rolname like 'web%%' and c.relnamespace = 'web'::regnamespace and c.relkind = 'r' and has_table_privilege(r.oid, c.oid, p)""", [READABLE])}
    assert told == had and len(had) > 40


@pytest.mark.skipif(server_major() < 16, reason="memberships have options since PostgreSQL 16")
def test_a_membership_without_inherit_is_reached_by_set_role_alone(site):
    site.sql("create role lead login; create role hidden; create role shown; create table public.lead_table (id int);"
             " grant hidden to lead with inherit false, set true; grant shown to lead with inherit true, set false;"
             " grant select on public.lead_table to hidden; grant insert on public.lead_table to shown; select mcp.create_token('lead', 'lead')")
    rows = {(row["kind"], row["object"], *row["privileges"]): row["through"] for row in access(site, "lead")}
    assert rows["table", "public.lead_table", "SELECT"] == "after SET ROLE hidden"
    assert rows["table", "public.lead_table", "INSERT"] == "role shown"
    assert rows["membership", "hidden", "SET"] == "after SET ROLE hidden"
    assert rows["membership", "shown", "INHERIT"] == "role shown"
    site.sql("select mcp.grant_tools('lead')")
    caller = token_caller(site, "lead", label="lead calls")
    assert caller.sqlstate("select * from public.lead_table") == "42501"
    assert not caller.sql("set role hidden; select * from public.lead_table").is_error
    caller.close()
    # A role that many share has no session of its own, and no SET ROLE.
    site.sql("alter role lead nologin")
    assert ("table", "public.lead_table", "SELECT") not in {(row["kind"], row["object"], *row["privileges"]) for row in access(site, "lead")}
    site.sql("alter role lead login")


def test_an_auditor_reads_and_changes_nothing(site):
    for text in ("select hash from mcp._tokens", "select mcp.create_token('outsider')", "delete from mcp._tokens", "insert into mcp._peer_map (os_user, role) values ('x', 'outsider')",
                 "select mcp.set_limit('outsider', calls_per_minute => 1)", "delete from mcp._audit", "insert into mcp._audit (id, at, kind) values (1, now(), 'e')",
                 "select rolpassword from pg_authid", "select * from mcp._audit_key"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(site, "auditor", text)
    assert as_role(site, "auditor", "select count(*) from mcp.tokens")[0][0] == site.value("select count(*) from mcp.tokens") > 5
    verifier = site.value("select rolpassword from pg_authid where rolname = 'pass_word'")
    hashes = [row[0].hex() for row in site.sql("select hash from mcp._tokens")]
    text = str(access(site)) + as_role(site, "auditor", "select mcp.report_access_page()")[0][0]
    assert verifier not in text and not [one for one in hashes if one in text]


def test_nobody_else_reads_the_reports(site):
    site.sql("grant usage on schema mcp to peered")
    for text in ("select * from mcp.report_access()", "select mcp.report_access_page()", "select * from mcp.report_activity(now() - interval '1 day')",
                 "select mcp.report_activity_page(now() - interval '1 day')", "select mcp._report_password('pass_word'::regrole)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            as_role(site, "peered", text)


def test_a_role_that_is_not_there_is_an_error(site):
    with pytest.raises(psycopg.errors.UndefinedObject):
        as_role(site, "auditor", "select * from mcp.report_access(4000000000::oid::regrole)")
