"""get_advisors beside its lints: shape, arguments, limits, what it could not look at, and the findings as preview_sql compares them."""

import json

import pytest

from harness.advice import agent, database, findings, lints, make, table  # noqa: F401
from harness.caller import Caller, token_caller
from harness.standby import Standby
from harness.waits import wait_until

# ---- shape

def test_the_shape_is_that_of_supabase(agent, make):
    make("create table t (a int); create table u (a int)")
    data = agent.tool("get_advisors", {"type": "performance"}).data
    assert data == {"result": {"lints": [{
        "name": "no_primary_key", "title": "No Primary Key", "level": "INFO", "facing": "EXTERNAL", "categories": ["PERFORMANCE"],
        "description": "Detects if a table does not have a primary key. Tables without a primary key can be inefficient to interact with at scale.",
        "remediation": "https://supabase.com/docs/guides/database/database-linter?lint=0004_no_primary_key",
        "count": 2,
        "findings": [{"detail": "Table `public.t` does not have a primary key", "metadata": table("t")},
                     {"detail": "Table `public.u` does not have a primary key", "metadata": table("u")}]}]}}


def test_the_worst_comes_first_and_the_other_type_stays_out(agent, make):
    make("create table t (a int, password text); grant select on t to public; alter table t enable row level security; create table u (a int primary key);"
         " create policy p on u using (true); create function f() returns int language sql as 'select 1'")
    assert list(lints(agent, type="security")) == ["policy_exists_rls_disabled", "function_search_path_mutable", "rls_enabled_no_policy"]
    assert list(lints(agent, type="performance")) == ["no_primary_key"]


def test_the_entry_in_the_list_is_small(agent):
    tool = agent.tools()["get_advisors"]
    assert tool["inputSchema"]["required"] == ["type"]
    assert tool["inputSchema"]["properties"]["type"]["enum"] == ["security", "performance"]
    assert tool["annotations"]["readOnlyHint"] is True


def test_supabases_project_id_is_taken(agent):
    assert agent.tool("get_advisors", {"type": "security", "project_id": "abcdefgh"}).data["result"]["lints"] == []


def test_it_runs_as_whoever_calls(reader):
    """In both kinds of process, and about tables that the caller may not read as well: the catalogs are everybody's."""
    found = {(name, item["metadata"]["name"]) for name, lint in lints(reader, type="performance").items() for item in lint["findings"]
             if item["metadata"]["schema"] == "shop"}
    assert {("no_primary_key", "note"), ("no_primary_key", "salary"), ("unindexed_foreign_keys", "orders")} <= found
    assert ("no_primary_key", "orders") not in found


# ---- arguments

@pytest.mark.parametrize("arguments,said,hint", [
    ({"type": "both"}, 'type must be "security" or "performance"', "once for each"),
    ({"type": None}, 'type', None),
    ({}, 'needs the argument "type"', None),
    ({"type": "security", "lint": "rls_disabled"}, 'there is no security lint "rls_disabled"', "rls_disabled_in_public"),
    ({"type": "security", "lint": "no_primary_key"}, 'there is no security lint "no_primary_key"', 'type "performance"'),
    ({"type": "security", "lint": "'%"}, 'there is no security lint "\'%"', "Leave lint out"),
    ({"type": "security", "lint": "x'; drop table t; --"}, "there is no security lint", None),
])
def test_wrong_arguments_say_what_is_right(agent, arguments, said, hint):
    error = agent.tool("get_advisors", arguments).error
    assert said in error["message"] and (hint or "") in error.get("hint", ""), error


def test_max_findings_keeps_the_count(agent, make):
    make(";".join(f"create table t{n:03} (a int)" for n in range(60)))
    for wanted, shown in ((None, 50), (2, 2), (0, 0), (60, 60), (1000000, 60)):
        lint = lints(agent, type="performance", max_findings=wanted)["no_primary_key"]
        assert lint["count"] == 60 and len(lint["findings"]) == shown and lint.get("truncated", False) is (shown < 60), wanted
        assert [item["metadata"]["name"] for item in lint["findings"]] == [f"t{n:03}" for n in range(shown)]


@pytest.mark.parametrize("max_bytes", [1024, 3000, 20000])
def test_an_answer_has_no_more_bytes_than_allowed(cluster, agent, make, database, max_bytes):
    """Every lint has a finding before any has a second one."""
    make(";".join(f'create table "t ""{n:03}" (a int); create index on "t ""{n:03}" (a)' for n in range(100)))
    cluster.sql(f"alter role adv_agent set supabase_mcp.max_bytes = '{max_bytes}B'")
    try:
        result = agent.tool("get_advisors", {"type": "performance", "max_findings": 100})
        shown = [len(lint["findings"]) for lint in result.data["result"]["lints"]]
        assert len(json.dumps(result.data)) <= max_bytes and 0 < sum(shown) < 200
        assert max(shown) - min(shown) <= 1 and all(lint["truncated"] and lint["count"] == 100 for lint in result.data["result"]["lints"])
        assert (len(shown) == 1) == (result.data["result"].get("truncated") is True) == (max_bytes == 1024)
    finally:
        cluster.sql("alter role adv_agent reset supabase_mcp.max_bytes")


# ---- what counts as exposed

def test_a_server_without_supabases_roles_says_what_exposed_means(cluster, agent, make, settings, database):
    make("create schema elsewhere; create table elsewhere.t (id int); create table public.t (id int); grant select on elsewhere.t to adv_role;"
         " grant select on public.t to public")
    result = agent.tool("get_advisors", {"type": "security"}).data["result"]
    assert result["note"] == "There is no role anon or authenticated here: exposed means readable by every role (PUBLIC) in schema public."
    assert findings(agent, "security", "rls_disabled_in_public") == [("Table `public.t` is public, but RLS has not been enabled.", table("t"))]
    assert "note" not in agent.tool("get_advisors", {"type": "performance"}).data["result"]

    # The roles that the server takes for those of end users, and the schemas of the API: what PostgREST's role says, or the session.
    settings(jwt_roles="nobody, adv_role")
    cluster.sql("create role authenticator; alter role authenticator set pgrst.db_schemas = 'api, elsewhere'")
    try:
        result = wait_until(lambda: [one for one in [agent.tool("get_advisors", {"type": "security", "lint": "rls_disabled_in_public"}).data["result"]]
                                     if "adv_role" in one["note"]], 10, "the new setting")[0]
        assert result["note"].endswith("readable by adv_role roles in schema api, elsewhere.")
        assert [item["metadata"]["schema"] for item in result["lints"][0]["findings"]] == ["elsewhere"]
        with cluster.connect(database, user="adv_agent") as connection:
            connection.execute("set pgrst.db_schemas = ' public,graphql_public '")
            assert connection.execute("select mcp._lint_exposed_schemas()").fetchone()[0] == ["graphql_public", "public"]
    finally:
        cluster.sql("drop role authenticator")


# ---- lints that need something of the server

def test_extension_versions_outdated_and_extension_in_public(cluster, agent, make, database):
    known = cluster.sql("""select v.name, v.version, a.default_version from pg_available_extension_versions v join pg_available_extensions a on a.name = v.name
                            where v.version <> a.default_version and v.name = 'hstore' order by v.version limit 1""")
    if not known:
        pytest.skip("this server has no older version of hstore to install")
    name, old, new = known[0]
    make(f"create extension {name} version '{old}'")
    assert findings(agent, "security", "extension_versions_outdated") == [(
        f"Extension `{name}` is using version `{old}` but version `{new}` is available. Using outdated extension versions may expose the database to"
        " security vulnerabilities.", {"extension_name": name, "installed_version": old, "default_version": new})]
    assert findings(agent, "security", "extension_in_public") == [(
        f"Extension `{name}` is installed in the public schema. Move it to another schema.", {"schema": "public", "name": name, "type": "extension"})]
    make(f"drop extension {name}; create schema elsewhere; create extension {name} schema elsewhere")
    assert findings(agent, "security", "extension_versions_outdated") == [] == findings(agent, "security", "extension_in_public")
    # Functions of an extension are not the project's to change.
    assert findings(agent, "security", "function_search_path_mutable") == []


def test_table_bloat(agent, make):
    fill = "insert into {0} select g, repeat('x', 1000) from generate_series(1, 25000) g"
    make("create table bloated (id int primary key, x text) with (autovacuum_enabled = off);"
         "create table full_one (id int primary key, x text) with (autovacuum_enabled = off);" + fill.format("bloated") + ";" + fill.format("full_one") + ";"
         "delete from bloated where id < 24990")
    make("vacuum (analyze) bloated")
    make("vacuum (analyze) full_one")
    # Statistics of columns are for those who may read them.
    result = agent.tool("get_advisors", {"type": "performance", "lint": "table_bloat"}).data["result"]
    assert result == {"lints": [], "not_checked": [{"name": "table_bloat", "reason": "2 tables over 20 MB, such as public.bloated, have statistics that you may"
                                                    " not see; needs SELECT on them, without row level security"}]}
    make("grant select on bloated, full_one to adv_agent")
    result = agent.tool("get_advisors", {"type": "performance", "lint": "table_bloat"}).data["result"]
    assert result["lints"][0]["findings"] == [{"detail": "Table `public.bloated` has excessive bloat", "metadata": table("bloated")}]
    assert result["lints"][0]["remediation"].startswith("Consider running vacuum full") and "not_checked" not in result


def test_without_counters_no_index_is_called_unused(agent, cluster, make):
    make("create table t (id int primary key, a int); create index on t (a)")
    assert "unused_index" in lints(agent, type="performance")
    cluster.configure(track_counts="off")
    try:
        result = wait_until(lambda: [one for one in [agent.tool("get_advisors", {"type": "performance"}).data["result"]] if "not_checked" in one],
                            10, "the new setting")[0]
        assert result == {"lints": [], "not_checked": [{"name": "unused_index", "reason": "track_counts is off: nobody counts the use of indexes"}]}
    finally:
        cluster.configure(track_counts=None)


def test_a_lint_that_fails_is_named_and_the_others_run(agent, make):
    make("create table t (a int); revoke select on pg_catalog.pg_policy from public")
    try:
        result = agent.tool("get_advisors", {"type": "performance"}).data["result"]
        assert [lint["name"] for lint in result["lints"]] == ["no_primary_key"]
        assert [gap["name"] for gap in result["not_checked"]] == ["auth_rls_initplan", "multiple_permissive_policies"]
        assert "permission denied for table pg_policy" in result["not_checked"][0]["reason"]
    finally:
        make("grant select on pg_catalog.pg_policy to public")


def test_a_standby_says_whose_use_of_indexes_it_knows(new_cluster):
    primary = new_cluster(world=True, shared_preload_libraries="supabase_mcp")
    caller = token_caller(primary, "reader_direct")
    standby = Standby(primary).start()
    try:
        standby.ready()
        standby.caught_up()
        result = Caller(standby, caller.headers).tool("get_advisors", {"type": "performance"}).data["result"]
        assert "no_primary_key" in [lint["name"] for lint in result["lints"]]
        assert result["not_checked"] == [{"name": "unused_index", "reason": "this is a standby, and knows only its own use of indexes"}]
    finally:
        standby.remove()


# ---- findings one by one

def test_keys_are_stable_and_tell_findings_apart(cluster, make, database):
    make("""create schema elsewhere; create table public.a_b (c int); create table elsewhere.t (id int); create table public."a.b" (id int);
            create function f(int) returns int language sql as 'select 1'; create function f(text) returns int language sql as 'select 1';
            create policy p on public.a_b using (true); create policy q on public.a_b using (true)""")
    query = "select name, level, categories, cache_key from mcp._lints()"
    with cluster.connect(database, user="adv_agent") as connection:
        before = connection.execute(query).fetchall()
        assert connection.execute(query).fetchall() == before
    keys = [row[3] for row in before]
    assert len(set(keys)) == len(keys) and all(row[3].startswith(row[0] + ":") for row in before)
    assert {"no_primary_key:public.a_b", 'no_primary_key:public."a.b"', "no_primary_key:elsewhere.t", "function_search_path_mutable:public.f(integer)",
            "function_search_path_mutable:public.f(text)", "multiple_permissive_policies:public.a_b.public.SELECT",
            "policy_exists_rls_disabled:public.a_b"} <= set(keys)
    assert ("policy_exists_rls_disabled", "ERROR", ["SECURITY"]) in [row[:3] for row in before]


def test_findings_of_two_states_in_one_transaction(cluster, make, database):
    """What preview_sql does: the difference is what the change brought, and a finding whose words changed is the same finding."""
    make("create table t (a int); create policy p on t using (true); create policy q on t using (true)")
    with cluster.connect(database, autocommit=False) as connection:
        keys = lambda: {row[0] for row in connection.execute("select cache_key from mcp._lints()").fetchall()}  # noqa: E731
        before = keys()
        connection.execute("alter table t add primary key (a); create policy r on t for select using (false); create table u (a int)")
        after = keys()
        connection.rollback()
    assert before - after == {"no_primary_key:public.t"} and after - before == {"no_primary_key:public.u"}
