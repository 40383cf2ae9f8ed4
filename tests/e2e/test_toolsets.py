"""Toolsets: a token, a URL and a setting say which tools a client is shown; the first two also which it may call."""

import pytest

from harness.caller import Caller, token_caller
from harness.clients import LineClient
from harness.waits import wait_until

DEFAULT = {"database", "debugging", "development", "docs", "custom"}


def at(cluster, caller, rest):
    one = Caller(cluster, caller.headers)
    one.path = f"/mcp{rest}"
    return one


def features(cluster):
    """The features of each built-in tool, as the catalog has them."""
    return dict(cluster.sql("select tool, features from mcp._builtin_tools() where tool <> 'execute_sql_write'"))


def of(cluster, *wanted, writing=False):
    of_write = {tool for [tool] in cluster.sql("select tool from mcp._builtin_tools() where writes")}
    return {tool for tool, its in features(cluster).items() if set(wanted) & set(its) and (writing or tool not in of_write)}


def test_by_default_the_usual_ones(cluster, reader):
    assert set(reader.tools()) == of(cluster, *DEFAULT)
    assert "list_schemas" not in reader.tools() and reader.tool("list_schemas").data, "it is not shown, and may be called all the same"


@pytest.mark.parametrize("rest", ["?features=catalog", "/features=catalog", "/postgres/features=catalog", "?features=catalog,nothing&project=x"])
def test_a_url_asks_for_others(cluster, reader, rest):
    one = at(cluster, reader, rest)
    assert set(one.tools()) == of(cluster, "catalog")
    assert one.tool("list_schemas").data
    error = one.tool("explain_query", {"query": "select 1"}).protocol_error
    assert error and 'there is no tool "explain_query"' in error["message"]
    one.close()


def test_execute_sql_is_kept_back_too(cluster, reader):
    one = at(cluster, reader, "?features=catalog")
    for _ in range(2):
        assert 'there is no tool "execute_sql"' in one.sql("select 1").protocol_error["message"]
        assert reader.value("select 1") == 1, "the same process serves both"
    one.close()


def test_all_and_names_and_the_old_word(cluster, reader):
    assert set(at(cluster, reader, "?features=all").tools()) == of(cluster, *{f for its in features(cluster).values() for f in its})
    assert set(at(cluster, reader, "?features=list_schemas,list_tables").tools()) == {"list_schemas", "list_tables"}
    assert set(at(cluster, reader, "?features=debug").tools()) == of(cluster, "debugging")
    assert at(cluster, reader, "?features=account,functions,branching").tools() == {}


def test_read_only_leaves_out_what_writes(cluster, writer):
    everything = at(cluster, writer, "?features=all").tools()
    assert set(everything) == of(cluster, *{f for its in features(cluster).values() for f in its}, writing=True)
    one = at(cluster, writer, "?features=all&read_only=true")
    assert set(one.tools()) == {name for name, tool in everything.items() if tool["annotations"]["readOnlyHint"] or name == "execute_sql"}
    assert one.tools()["execute_sql"]["annotations"]["readOnlyHint"] is True
    as_path = at(cluster, writer, "/features=all/read_only=true")
    assert as_path.tools() == one.tools()
    assert as_path.sqlstate("insert into shop.counter values ('url', 1)") == "25006"


@pytest.mark.parametrize("rest", ["?features=a+b", "?features=a%22", "?features=a&features=b", "/features=%00", "/read_only=maybe"])
def test_what_is_no_list_of_names_is_400(cluster, reader, rest):
    with at(cluster, reader, rest).connect() as client:
        answer = client.rpc("tools/list")
    assert answer.status == 400 and "URL" in answer.body.decode()


@pytest.mark.parametrize("rest", ["/postgres/x", "/features=catalog/postgres", "/x=y/z"])
def test_other_paths_are_404(cluster, reader, rest):
    with at(cluster, reader, rest).connect() as client:
        assert client.rpc("tools/list").status == 404


def test_a_token_is_kept_to_its_features(cluster, reader):
    kept = token_caller(cluster, reader.role, features=["catalog", "execute_sql"])
    assert set(kept.tools()) == of(cluster, "catalog") | {"execute_sql"}
    assert kept.value("select 1") == 1
    assert 'there is no tool "explain_query"' in kept.tool("explain_query", {"query": "select 1"}).protocol_error["message"]
    # The URL narrows it further, and opens nothing.
    assert set(at(cluster, kept, "?features=all").tools()) == of(cluster, "catalog") | {"execute_sql"}
    assert set(at(cluster, kept, "?features=database").tools()) == (of(cluster, "catalog") | {"execute_sql"}) & of(cluster, "database")
    assert at(cluster, kept, "?features=queries").tools() == {}
    assert cluster.value("select features from mcp.tokens order by id desc limit 1") == ["catalog", "execute_sql"]
    kept.close()


@pytest.mark.parametrize("features", [[], [""], ["a b"], ["a,b"], [None]])
def test_a_token_with_odd_features_is_refused(cluster, reader, features):
    with pytest.raises(Exception, match="features must be names|violates"):
        token_caller(cluster, reader.role, features=features)


def test_on_a_line_connection(cluster, reader):
    for path in ("/mcp?features=catalog", "/mcp/features=catalog"):
        with LineClient(unix=cluster.mcp_socket, upgrade=path, headers=reader.headers) as client:
            listed = {tool["name"] for tool in client.request("tools/list")["result"]["tools"]}
            assert listed == of(cluster, "catalog")
            assert "there is no tool" in client.call_tool("execute_sql", {"query": "select 1"})["error"]["message"]


def test_a_role_may_be_shown_others(cluster, reader):
    cluster.sql(f"load 'supabase_mcp'; alter role {reader.role} set supabase_mcp.features = 'queries, list_schemas'")
    try:
        assert set(reader.tools()) == of(cluster, "queries") | {"list_schemas"}
        assert reader.tool("list_tables").data, "what is shown is no permission"
        assert set(at(cluster, reader, "?features=database").tools()) == of(cluster, "database")
    finally:
        cluster.sql(f"alter role {reader.role} reset supabase_mcp.features")
    assert set(reader.tools()) == of(cluster, *DEFAULT)


def test_the_caller_cannot_change_it(reader):
    assert reader.sqlstate("set supabase_mcp.features = 'all'") == "42501"


def test_a_project_id_is_taken_and_ignored(reader):
    assert reader.tool("list_extensions", {"project_id": "abc"}).data["extensions"]
    assert reader.tool("list_tables", {"project_id": "abc", "schemas": ["shop"]}).data["tables"]
    assert reader.tool("execute_sql", {"project_id": "abc", "query": "select 1"}).value == 1
    assert reader.tool("list_tables", {"projectid": "abc"}).error["kind"] == "bad_input"


def test_many_tools_come_in_pages(cluster, reader):
    cluster.sql("""create schema many;
        do $$ begin for i in 1..300 loop
            execute format('create function many.f_%s() returns int language sql stable as ''select 1''', i);
            execute format('comment on function many.f_%s() is %L', i, e'@mcp({})\\n' || repeat('x', 1800));
        end loop; end $$;
        grant usage on schema many to public""")
    try:
        names, cursor, pages = [], None, 0
        while True:
            result = reader.rpc("tools/list", {"cursor": cursor} if cursor else {}).json()["result"]
            names += [tool["name"] for tool in result["tools"]]
            cursor, pages = result.get("nextCursor"), pages + 1
            if cursor is None:
                break
        assert pages > 1 and names == sorted(names) and len(set(names)) == len(names)
        assert {f"f_{i}" for i in range(1, 301)} <= set(names) and "execute_sql" in names
        refused = reader.rpc("tools/list", {"cursor": "!"}).json()["error"]
        assert refused["code"] == -32602 and "cursor" in refused["message"]
    finally:
        cluster.sql("drop schema many cascade")


def test_a_reload_of_the_setting_counts_for_processes_that_are_warm(cluster, reader):
    """Lists are remembered for as long as nothing changes; a reload sends no invalidation."""
    assert reader.tools() and "list_schemas" not in reader.tools()
    cluster.configure(supabase_mcp__features="catalog")
    try:
        wait_until(lambda: set(reader.tools()) == of(cluster, "catalog"), 10, "the reload has come in")
    finally:
        cluster.configure(supabase_mcp__features=None)
    wait_until(lambda: "list_schemas" not in reader.tools(), 10, "the default has come back")
