"""The pages of the two reports: that no name of others is more than text on them, that they stay short, and what they say of an audit trail."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from harness.cluster import Cluster
from harness.reports import access, as_role, check_page, outside_of_code, tables, write_trail

HOSTILE = ["a|b", "a`b", "``", "a\\|b", "a\\", "\\`x`|", "x\n\n# head\n", "\r\n| a | b |\n|---|---|\n", "<script>alert(1)</script>", "<!--", "[x](http://evil.example)",
           "![i](https://evil.example/i.png)", "**bold**", "_a_", "&lt;b&gt;", "www.evil.example", "https://evil.example", "x@evil.example", " a ", "~~~", "```", "- a", "1. a", "#", "> a",
           "a\u202eb", "a\u200bb", "a\u2028b", "\ufeff", "a\tb", "a\x1bb", "$(id)", "{{x}}", "é", "雪", "\U0001f600", "\U000e0041", "\u3164", "' or 1=1 --", '"']
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    one.install()
    one.sql("create role auditor login in role mcp_auditor")
    yield one
    one.remove()


def page_of(site, text, parameters=None):
    page = as_role(site, "auditor", f"select {text}", parameters)[0][0]
    check_page(page)
    return page


@pytest.fixture(scope="module")
def hostile(site):
    """Roles, labels, schemas, tables, columns, policies and functions of such names, all of them reached by one role and by the others."""
    with site.connect() as connection:
        name = sql.Identifier
        connection.execute("create role one login; create schema s; grant usage on schema s to public")
        for number, text in enumerate(HOSTILE):
            role, table = name(f"{text}{number}"[:60]), name("s", text)
            connection.execute(sql.SQL("create role {} login; grant {} to one").format(role, role))
            connection.execute("select mcp.create_token(r.oid::regrole, %s) from pg_roles r where r.rolname = %s", [text + str(number), f"{text}{number}"[:60]])
            connection.execute("select mcp.create_token('one', %s)", [text])
            connection.execute("select mcp.map_peer(%s, 'one')", [text])
            connection.execute(sql.SQL("create table {} ({} int)").format(table, name(text)))
            connection.execute(sql.SQL("grant select ({}) on {} to {}").format(name(text), table, role))
            connection.execute(sql.SQL("alter table {} enable row level security; create policy {} on {} using (true)").format(table, name(text), table))
            connection.execute(sql.SQL("create schema {}; grant usage on schema {} to one").format(name("s " + text), name("s " + text)))
            connection.execute(sql.SQL("create function {}() returns int language sql security definer as 'select 1'").format(table))
        connection.execute("select mcp.grant_tools('one')")


def test_hostile_names_are_only_names_on_the_page_of_who_could(site, hostile):
    page = page_of(site, "mcp.report_access_page()")
    assert page.count("\n## Role `") == len(HOSTILE) + 1
    assert "\\u003cscript>alert(1)\\u003c/script>" in page and "`[x](http://evil.example)" in page
    one = page_of(site, "mcp.report_access_page('one', 1000)")
    assert one.count("\n## ") == 3, "summary, the role, findings"
    # Each name can be read back.
    shown = {cells[0] for cells in tables(one)}
    for text in HOSTILE:
        quoted = site.value("select format('%%I.%%I', 's', %s::text)", [text])
        plain = "".join(c if c.isascii() and c.isprintable() and c not in "`|<\\" or c in "é雪\U0001f600" else
                        "\\\\" if c == "\\" else f"\\u{ord(c):04x}" if ord(c) < 65536 else f"\\U{ord(c):08x}" for c in quoted)
        assert f"`{plain}`" in shown, text
    assert {row["object"] for row in access(site, "one") if row["kind"] == "table"} >= {site.value("select format('%%I.%%I', 's', %s::text)", [text]) for text in HOSTILE}


def test_hostile_texts_are_only_texts_on_the_page_of_who_did(site):
    callers = [dict(role=text, principal=text + "p", label=text, authentication="token", client=text, peer=text) for text in HOSTILE]
    callers.append(dict(authentication="password", peer=HOSTILE[7], client=HOSTILE[8]))
    rows = []
    for number, text in enumerate(HOSTILE):
        rows.append(dict(at=START, kind="i", caller=number, method="tools/call", tool=text, writes=True, xid="7", arguments=json.dumps({"query": text})))
        rows.append(dict(at=START, kind="o", intent=len(rows) - 1, outcome="ok", committed=True, changed=json.dumps({text: {"inserted": 2}}), objects=json.dumps({text: ["insert"]})))
        rows.append(dict(at=START, kind="c", caller=number, method="tools/call", tool=text, outcome="error", sqlstate="42601", rule=text, arguments=json.dumps({"query": text})))
        rows.append(dict(at=START, kind="i", caller=number, method=text, tool=text, writes=True, xid="8", arguments=text))
        rows.append(dict(at=START, kind="r", caller=len(callers) - 1, method="login", outcome="refused", rule=text))
        rows.append(dict(at=START, kind="e", method=text, arguments=text))
    write_trail(site, callers, rows)
    page = page_of(site, "mcp.report_activity_page(%s, %s, 1000)", [START, START + timedelta(days=1)])
    for head in ("# Who did", "## The trail", "### Gaps and purges", "## Totals", "## Changes by table", "## Calls that ended without a word", "## Refused and failed calls",
                 "## Failed logins", "## Principals"):
        assert page.count(f"\n{head}\n") == 1 or page.startswith(head), head
    assert page.count("\n### ") == 1 + len(HOSTILE) + 1
    assert len([cells for cells in tables(page) if len(cells) == 7 and cells[2] == "1" and cells[3] == "`password`"]) == len(HOSTILE)


@pytest.fixture(scope="module")
def trail(site):
    """A week of a small server."""
    ci = dict(role="agent", principal="token:1", label="ci", authentication="token", client="claude 1.0", peer="127.0.0.1")
    moved = dict(ci, client="claude 1.1", peer="uid 1000")
    user = dict(role="authenticated", principal="jwt:https://issuer.example:sub", authentication="jwt", peer="::1")
    stranger = dict(authentication="token", peer="10.0.0.9")
    day = START + timedelta(days=10)

    def at(minutes):
        return day + timedelta(minutes=minutes)

    rows = [
        dict(at=at(0), kind="c", caller=0, method="tools/call", tool="list_tables", writes=False, outcome="ok", objects='{"pg_catalog.pg_class": ["select"]}'),
        dict(at=at(1), kind="i", caller=0, method="tools/call", tool="execute_sql", writes=True, xid="10", arguments='{"query":"insert"}'),
        dict(at=at(1), kind="o", intent=1, outcome="ok", committed=True, changed='{"shop.orders":{"inserted":3},"shop.note":{"deleted":1}}', objects='{"shop.orders":["insert"]}'),
        dict(at=at(3), kind="i", caller=1, method="tools/call", tool="execute_sql", writes=True, xid="11", arguments='{"query":"update"}'),
        dict(at=at(3), kind="o", intent=3, outcome="ok", committed=True, changed='{"shop.orders":{"updated":4,"inserted":1}}'),
        # Rolled back: nothing of it was kept.
        dict(at=at(5), kind="i", caller=0, method="tools/call", tool="execute_sql", writes=True, xid="12", arguments='{"query":"delete"}'),
        dict(at=at(5), kind="o", intent=5, outcome="error", sqlstate="42501", rule="privilege", committed=False, changed='{"shop.orders":{"deleted":99}}'),
        dict(at=at(7), kind="i", caller=0, method="tools/call", tool="execute_sql", writes=True, xid="13", arguments='{"query":"killed"}'),
        dict(at=at(7), kind="o", intent=7, outcome="terminated", rule="settled by pg_xact_status", committed=True),
        dict(at=at(9), kind="i", caller=0, method="tools/call", tool="execute_sql", writes=True, xid="14", arguments='{"query":"runs"}'),
        dict(at=at(10), kind="r", caller=2, method="tools/call", tool="secret_tool", outcome="refused", rule="no such tool", times=3),
        dict(at=at(11), kind="r", caller=3, method="login", outcome="refused", rule="unknown token", times=7),
        dict(at=at(12), kind="r", caller=3, method="login", outcome="refused", rule="unknown token"),
        dict(at=at(13), kind="e", method="gap", arguments='{"rows": 5}', times=5),
        dict(at=at(14), kind="c", caller=2, method="tools/call", tool="execute_sql", outcome="timeout", sqlstate="57014"),
        dict(at=at(20), kind="c", caller=2, method="tools/call", tool="execute_sql", outcome="ok"),
    ]
    write_trail(site, [ci, moved, user, stranger], rows)
    return day, at(20)


def test_activity_counts_each_principal(site, trail):
    with site.connect(user="auditor", row_factory=psycopg.rows.dict_row) as connection:
        rows = connection.execute("select * from mcp.report_activity(%s, %s)", trail).fetchall()
    assert [row["principal"] for row in rows] == ["token:1", "jwt:https://issuer.example:sub", None]
    agent, user, nobody = rows
    assert {key: agent[key] for key in ("role", "token_label", "authentication", "calls", "writes", "errors", "refusals", "open", "failed_logins")} == {
        "role": "agent", "token_label": "ci", "authentication": "token", "calls": 6, "writes": 5, "errors": 2, "refusals": 0, "open": 1, "failed_logins": 0}
    assert agent["changed"] == {"shop.orders": {"inserted": 4, "updated": 4}, "shop.note": {"deleted": 1}}
    assert set(agent["tables"]) == {"pg_catalog.pg_class", "shop.orders"} and agent["tools"] == ["execute_sql", "list_tables"]
    assert agent["clients"] == ["claude 1.0", "claude 1.1"] and set(agent["peers"]) == {"127.0.0.1", "uid 1000"}
    assert (agent["first_time"], agent["last_time"]) == (trail[0], trail[0] + timedelta(minutes=9))
    # The end of the period is outside of it; a tool that was refused was not used.
    assert (user["calls"], user["errors"], user["refusals"], user["tools"], user["changed"]) == (4, 1, 3, ["execute_sql"], None)
    assert (nobody["role"], nobody["calls"], nobody["failed_logins"], nobody["peers"]) == (None, 0, 8, ["10.0.0.9"])


def test_the_page_says_what_happened(site, trail):
    page = page_of(site, "mcp.report_activity_page(%s, %s)", trail)
    assert "- Calls: 10, of which 5 could write\n- Errors: 3\n- Refusals: 3\n- Calls that may write and have no end: 1\n- Failed logins: 8\n" in page
    parts = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    assert [cells[:5] for cells in tables(parts["Changes by table"])[2:]] == [["`shop.note`", "0", "0", "1", "1"], ["`shop.orders`", "4", "4", "0", "2"]]
    ended = tables(parts["Calls that ended without a word"])[2:]
    assert [(cells[4], cells[5], cells[6]) for cells in ended] == [("`open`", "not known yet", '`{"query":"runs"}`'), ("`terminated`", "**committed**", '`{"query":"killed"}`')]
    failed = tables(parts["Refused and failed calls"])[2:]
    assert [(cells[1], cells[4], cells[5], cells[6]) for cells in failed] == [
        ("1", "`execute_sql`", "`timeout`", "`57014`"), ("3", "`secret_tool`", "`refused`", "-"), ("1", "`execute_sql`", "`terminated`", "-"), ("1", "`execute_sql`", "`error`", "`42501`")]
    assert [cells[2:] for cells in tables(parts["Failed logins"])[2:]] == [["8", "`token`", "-", "`10.0.0.9`", "`unknown token`"]]
    assert [cells[2:] for cells in tables(parts["The trail"])[2:]] == [["`gap`", '`{"rows": 5}`']]
    assert "### `token:1` as role `agent`" in parts["Principals"] and "### Nobody: failed logins with a `token`" in parts["Principals"]
    assert "- Rows changed: `shop.note` (1 deleted), `shop.orders` (4 inserted, 4 updated)\n" in parts["Principals"]


def test_a_quiet_time_is_a_page_too(site, trail):
    page = page_of(site, "mcp.report_activity_page(%s, %s)", [START - timedelta(days=9), START - timedelta(days=8)])
    assert "- Calls: 0, of which 0 could write" in page and page.count("None.\n") == 7


VERIFY = """
do $$ begin
    if to_regprocedure('mcp.audit_verify(timestamptz, timestamptz)') is not null then
        alter extension supabase_mcp drop function mcp.audit_verify(timestamptz, timestamptz);
        drop function mcp.audit_verify(timestamptz, timestamptz);
    end if;
end $$"""


@pytest.mark.parametrize("ok, problem, said", [
    ("true", None, "**Verified**: no record of this period was changed, removed or inserted since it was sealed.\n\n- seals: `3`\n- last hash: `ab`\n"),
    ("false", "row 7 was changed\n| <b>", "**Not intact**: `row 7 was changed\\u000a\\u007c \\u003cb>`.\n\n- seals: `3`\n- last hash: `ab`\n"),
    (None, None, "Not verified: `auditor` may not call mcp.audit_verify.\n"),
    ("absent", None, "Not verified: this server has no mcp.audit_verify.\n")])
def test_the_page_says_whether_the_trail_verifies(site, trail, ok, problem, said):
    """Of any verification that has this signature: it is put in the place of the real one, and goes with the transaction."""
    with site.connect(autocommit=False) as connection:
        connection.execute(VERIFY)
        if ok != "absent":
            connection.execute(sql.SQL("create function mcp.audit_verify(a timestamptz, b timestamptz, out ok boolean, out problem text, out seals bigint, out last_hash text,"
                                       " out first_bad_row bigint) language sql as {}").format(
                sql.Literal(f"select {ok or 'true'} and a = '{trail[0].isoformat()}'::timestamptz, " + (site.value("select quote_literal(%s::text)", [problem]) if problem else "null::text")
                            + ", 3::bigint, 'ab'::text, null::bigint")))
            connection.execute("revoke all on function mcp.audit_verify from public" if ok is None else "grant execute on function mcp.audit_verify to mcp_auditor")
        connection.execute("set local session authorization auditor")
        page = connection.execute("select mcp.report_activity_page(%s, %s)", trail).fetchone()[0]
        connection.rollback()
    check_page(page)
    assert page.split("\n## The trail\n\n")[1].startswith(said + "\n### Gaps and purges\n"), page


@pytest.mark.parametrize("period", [(START, START), (START, START - timedelta(1)), (None, START), (START, None)])
def test_a_period_has_a_beginning_and_an_end(site, period):
    for function in ("report_activity", "report_activity_page"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="the period must have a beginning and a later end"):
            as_role(site, "auditor", f"select mcp.{function}(%s::timestamptz, %s::timestamptz)", period)


def test_the_page_names_some_objects_and_says_how_many_more(site):
    site.sql("create role wide login; create schema wide; grant usage on schema wide to wide; select mcp.create_token('wide')")
    site.sql("do $$ begin for i in 1 .. 130 loop execute format('create table wide.t%s ()', i); end loop; end $$; grant select on all tables in schema wide to wide")
    assert len([row for row in access(site, "wide") if row["object"].startswith("wide.t")]) == 130
    page = page_of(site, "mcp.report_access_page('wide')")
    assert page.count("`wide.t") == 50 and "\nand 80 more: mcp.report_access has all\n" in page
    assert page_of(site, "mcp.report_access_page('wide', 3)").count("`wide.t") == 3
    assert tables(page)[2][5] == "130"
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        as_role(site, "auditor", "select mcp.report_access_page('wide', 0)")


def test_findings_name_what_is_wide_open(new_cluster):
    one = new_cluster(supabase_mcp__jwt_roles="authenticated", supabase_mcp__anonymous_role="anon")
    one.sql("""
        create role auditor login in role mcp_auditor; create role anon; create role authenticated; create role agent login;
        create table public.bare (id int); create table public.walled (id int); alter table public.walled enable row level security;
        create view public.past_the_wall as select * from public.walled;
        grant select, insert on public.bare to authenticated; grant select on public.walled, public.past_the_wall to authenticated;
        create table public.open (id int); grant update on public.open to public; grant create on schema public to public;
        create function public.as_owner() returns int language sql security definer as 'select 1';
        comment on function public.as_owner() is E'@mcp({"security_definer": true})\\nDoes things.';
        grant mcp_admin to agent; grant select on public.walled to agent with grant option;
        select mcp.grant_tools('agent', write => true); select mcp.grant_tools('authenticated', tools => '{execute_sql}');
        select mcp.create_token('agent', 'endless'); select mcp.create_token('agent', 'ending', now() + interval '1 day');
        insert into mcp._token_use select id, now() - interval '91 days' from mcp.tokens where label = 'ending'""")
    page = as_role(one, "auditor", "select mcp.report_access_page()")[0][0]
    check_page(page)
    findings = [line for line in page.split("\n## Findings\n")[1].split("\n") if line]
    assert [line for line in findings if "high" in line] == [
        "- **high**: `authenticated` has free SQL, and many users share it: `execute_sql`",
        "- **high**: `authenticated` is shared by many users and reads tables without row level security: `public.bare`",
        "- **high**: `anon` is shared by many users and changes tables without row level security: `public.open`",
        "- **high**: `authenticated` is shared by many users and changes tables without row level security: `public.bare`, `public.open`",
        "- **high**: PUBLIC may change tables: `public.open`",
        "- **high**: PUBLIC may create objects in schemas: `public`"]
    for line in ("- **medium**: `authenticated` is shared by many users and reads what row level security does not reach: `public.past_the_wall`",
                 "- **medium**: `agent` has free SQL that writes: `execute_sql_write`",
                 "- **medium**: `agent` administers the MCP server: it hands out tokens and tools: `mcp_admin`",
                 "- **medium**: `agent` may call tools that run with the rights of their owner (SECURITY DEFINER): `as_owner`",
                 "- **medium**: `agent` may grant on what it was granted: `public.walled`",
                 "- **medium**: `agent` has tokens without expiry: `endless`",
                 "- **note**: `agent` has tokens that were never used: `endless`",
                 "- **note**: `agent` has tokens that were not used for 90 days: `ending`",
                 "- **note**: `anon` has credentials, and is offered nothing: `mcp.grant_tools`",
                 "- **medium**: callers on this machine need no credential (supabase_mcp.anonymous_role): `anon`",
                 "- **medium**: PUBLIC may call functions that run with the rights of their owner (SECURITY DEFINER): `public.as_owner()`"):
        assert line in findings, findings
    assert not [line for line in findings if "walled`" in line and "without row level security" in line]


def test_the_check_of_pages_sees_what_it_is_for():
    for bad in ("| a | b |\n| --- | --- |\n| a | b | c |\n", "- <b>x</b>\n", "- [x](y)\n", "- `a`b`\n", "loose\n", "- a\u202e\n", "- https://x\n"):
        with pytest.raises(AssertionError):
            check_page(bad)
    check_page("# A\n\n- `[x](y)` b\n")
    assert outside_of_code("a `b` c") == "a  c"
