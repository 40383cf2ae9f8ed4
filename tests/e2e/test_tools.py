"""The catalog tools through MCP: what they show, to whom, and how they describe themselves."""

import pytest
from psycopg import sql

from harness.caller import token_caller

# Some of those that are listed unless a client asks for others; which all are is in test_toolsets.py.
TOOLS = {"execute_sql", "list_tables", "describe_table", "explain_query", "list_extensions"}


def names(items):
    return [item["name"] for item in items]


# ---- the list

def test_tools_of_a_reader(reader):
    tools = reader.tools()
    assert TOOLS <= set(tools)
    for name, tool in tools.items():
        assert tool["title"] and tool["description"], name
        schema = tool["inputSchema"]
        assert schema["type"] == "object" and schema["additionalProperties"] is False, name
        assert set(schema.get("required", [])) <= set(schema["properties"]), name
        assert tool["annotations"]["readOnlyHint"] is True and tool["annotations"]["openWorldHint"] in (True, False), name
    assert tools["execute_sql"]["inputSchema"]["required"] == ["query"]
    assert tools["execute_sql"]["inputSchema"]["properties"]["params"]["type"] == "array"


def test_execute_sql_of_a_writer_says_that_it_writes(reader, writer):
    tool = writer.tools()["execute_sql"]
    assert tool["annotations"]["readOnlyHint"] is False and tool["annotations"]["destructiveHint"] is True
    assert set(writer.tools()) >= set(reader.tools()), "the name stays"
    assert reader.tools()["execute_sql"]["description"] != tool["description"]


def test_role_without_grants_sees_no_tool(cluster):
    caller = token_caller(cluster, "outsider")
    assert caller.tools() == {}
    result = caller.sql("select 1")
    assert result.protocol_error or result.error["kind"] in ("unknown_tool", "denied")


def test_grant_and_revoke_count_at_the_next_call(cluster, reader):
    cluster.sql(f"revoke execute on function mcp.list_extensions() from {reader.role}")
    assert "list_extensions" not in reader.tools()
    cluster.sql(f"grant execute on function mcp.list_extensions() to {reader.role}")
    assert "list_extensions" in reader.tools()


def test_changed_comment_counts_at_the_next_list(cluster, reader):
    """COMMENT sends no invalidation that could be waited for; the list must show it all the same."""
    before = cluster.value("select obj_description('mcp.list_extensions()'::regprocedure)")
    assert "Other words" not in reader.tools()["list_extensions"]["description"]
    quoted = before.split("\n")[0].replace("'", "''")
    cluster.sql(f"comment on function mcp.list_extensions() is E'{quoted}\\nOther words'")
    try:
        assert reader.tools()["list_extensions"]["description"] == "Other words"
    finally:
        with cluster.connect() as connection:
            connection.execute(sql.SQL("comment on function mcp.list_extensions() is {}").format(sql.Literal(before)))


def test_list_is_the_same_each_time(reader):
    assert list(reader.tools()) == list(reader.tools()) == sorted(reader.tools())


# ---- schemas and tables

def test_list_schemas(reader, writer):
    seen = {item["name"]: item for item in reader.tool("list_schemas").data["schemas"]}
    assert "shop" in seen and "pg_catalog" not in seen and f"work_{reader.form}" not in seen
    assert seen["shop"]["can_create"] is False
    own = {item["name"]: item for item in writer.tool("list_schemas").data["schemas"]}[f"work_{writer.form}"]
    assert own["can_create"] is True and own["owner"] == writer.role


def test_list_tables_shows_what_the_caller_may_use(reader):
    tables = {item["name"]: item for item in reader.tool("list_tables", {"schemas": ["shop"]}).data["tables"]}
    assert "shop.orders" in tables and "shop.salary" not in tables
    assert tables["shop.orders"]["comment"] == "Orders of customers" and tables["shop.note"]["rls_enabled"] is True
    assert tables["shop.big_orders"]["kind"] == "view"
    assert "shop.customer" in tables, "privileges on some columns are enough"


def test_list_tables_verbose(reader):
    tables = {item["name"]: item for item in reader.tool("list_tables", {"schemas": ["shop"], "verbose": True}).data["tables"]}
    columns = {column["name"]: column for column in tables["shop.orders"]["columns"]}
    assert list(columns) == ["id", "customer_id", "amount", "placed"]
    assert tables["shop.orders"]["primary_keys"] and tables["shop.orders"]["foreign_key_constraints"]


def test_list_tables_of_an_unknown_schema(reader):
    data = reader.tool("list_tables", {"schemas": ["nope", "shop"]}).data
    assert data["unknown_schemas"] == ["nope"] and data["tables"]


def test_paging_through_tables_reaches_all(cluster, simple):
    cluster.sql("create schema many; grant usage on schema many to reader_direct")
    with cluster.connect() as connection:
        connection.execute(";".join(f"create table many.t{n:03} (a int); grant select on many.t{n:03} to reader_direct" for n in range(60)))
    try:
        seen, arguments = [], {"schemas": ["many"], "max_tables": 7}
        while True:
            data = simple.tool("list_tables", arguments).data
            seen += names(data["tables"])
            if not data.get("truncated"):
                break
            arguments["after"] = data["next"]
        assert seen == [f"many.t{n:03}" for n in range(60)]
    finally:
        cluster.sql("drop schema many cascade")


def test_describe_table(reader):
    table = reader.tool("describe_table", {"name": "shop.orders"}).data
    columns = {column["name"]: column for column in table["columns"]}
    assert columns["amount"]["comment"] == "In euro" and "numeric" in str(columns["amount"])
    assert "orders_amount_check" in names(table["constraints"]) and table["indexes"][0]["primary"] is True
    assert table["foreign_key_constraints"] and table["privileges"]["table"] == ["SELECT"]
    assert reader.tool("describe_table", {"name": "orders", "schema": "shop"}).data["name"] == "shop.orders"


def test_describe_column_privileges(reader):
    privileges = reader.tool("describe_table", {"name": "shop.customer"}).data["privileges"]
    assert privileges["table"] == [] and set(privileges["columns"]) == {"id", "name", "email"}


@pytest.mark.parametrize("name", ["shop.nope", "shop.salary", "nope.orders", "", "a.b.c.d", "shop.\"", "pg_authid'"])
def test_describe_what_cannot_be_described(reader, name):
    error = reader.tool("describe_table", {"name": name}).error
    assert error["message"]


def test_describe_policies_and_view(reader):
    note = reader.tool("describe_table", {"name": "shop.note"}).data
    assert note["rls_enabled"] and "owner" in note["policies"][0]["using"]
    assert "amount" in reader.tool("describe_table", {"name": "shop.big_orders"}).data["definition"]


def test_names_that_need_quotes(cluster, reader):
    cluster.sql(f"""create table shop."We""ird Näme" ("Co""l" int); grant select on shop."We""ird Näme" to {reader.role}""")
    try:
        listed = names(reader.tool("list_tables", {"schemas": ["shop"]}).data["tables"])
        quoted = next(name for name in listed if "ird" in name)
        assert reader.sql(f"select count(*) from {quoted}").value == 0, "the listed name is ready for use in SQL"
        assert reader.tool("describe_table", {"name": quoted}).data["columns"][0]["name"] == 'Co"l'
    finally:
        cluster.sql('drop table shop."We""ird Näme"')


# ---- plans and extensions

def test_explain(reader):
    plan = reader.tool("explain_query", {"query": "select * from shop.orders where id = $1", "params": [3]}).data
    assert "shop" in str(plan) or "orders" in str(plan)
    assert "cost" in str(plan)


def test_explain_analyze_measures(reader):
    plan = reader.tool("explain_query", {"query": "select count(*) from shop.orders", "analyze": True}).data
    assert "actual" in str(plan).lower()


def test_explain_json(reader):
    plan = reader.tool("explain_query", {"query": "select 1", "format": "json"}).data
    assert "Plan" in str(plan)
    assert reader.tool("explain_query", {"query": "select 1", "format": "xml"}).is_error


@pytest.mark.parametrize("query", ["commit", "begin", "create table t (n int)", "set work_mem = '1MB'", "vacuum", "show all"])
def test_explain_of_a_command_without_a_plan_says_what_has_one(reader, query):
    error = reader.tool("explain_query", {"query": query}).error
    assert error["kind"] == "bad_input" and "no plan" in error["message"] and "SELECT" in error["hint"], error


@pytest.mark.parametrize("query", ["values (1)", "table shop.orders", "select 1 for update", "delete from shop.orders",
                                   "create table pg_temp.t as select 1", "declare c cursor for select 1"])
def test_explain_of_every_command_with_a_plan(reader, query):
    result = reader.tool("explain_query", {"query": query})
    assert not result.is_error or result.error["kind"] != "bad_input", result


@pytest.mark.parametrize("query", ["select 1; select 2", "select 1) x; drop table shop.counter; --", "select nope", "", "explain select 1",
                                   "analyze, verbose) select 1"])
def test_explain_takes_one_statement(reader, query):
    assert reader.tool("explain_query", {"query": query}).is_error


@pytest.mark.parametrize("query", ["commit", "rollback", "drop table shop.counter", "set role postgres"])
@pytest.mark.parametrize("analyze", [False, True])
def test_explain_runs_no_utility_statement(cluster, writer, query, analyze):
    result = writer.tool("explain_query", {"query": query, "analyze": analyze})
    assert result.is_error or "no plan" in str(result.data)
    assert cluster.value("select count(*) from shop.counter") > 0


def test_explain_of_what_one_may_not_read(reader):
    assert reader.tool("explain_query", {"query": "select * from shop.salary", "analyze": True}).error["sqlstate"] == "42501"


def test_list_extensions(cluster, reader):
    extensions = {item["name"]: item for item in reader.tool("list_extensions").data["extensions"]}
    version = cluster.value("select extversion from pg_extension where extname = 'supabase_mcp'")
    assert extensions["supabase_mcp"]["installed_version"] == version and extensions["plpgsql"]["schema"] == "pg_catalog"


def test_functions_called_by_sql_say_what_they_are(reader):
    for call in ("mcp.execute_sql('select 1')", "mcp.explain_query('select 1')"):
        assert reader.sqlstate(f"select {call}") == "0A000"


# ---- tools of one's own

def test_custom_tool(cluster, reader):
    """Any function with the directive in its comment and EXECUTE for the caller is a tool; nothing else is."""
    cluster.sql(f"""
        create function shop.find_customers(part text, max_rows int default 3) returns table (id int, name text)
        language sql stable as 'select c.id, c.name from shop.customer c where c.name like part order by 1 limit max_rows';
        comment on function shop.find_customers(text, int) is
        e'@mcp({{"kind": "tool", "title": "Find customers", "args": {{"part": "Pattern of LIKE"}}}})\\nFinds customers by name.';
        create function shop.no_tool() returns int language sql as 'select 1'; comment on function shop.no_tool() is 'Plain';
        revoke execute on function shop.find_customers(text, int) from public;
        grant execute on function shop.find_customers(text, int) to {reader.role}""")
    try:
        tools = reader.tools()
        assert "no_tool" not in tools
        tool = tools["find_customers"]
        assert tool["description"] == "Finds customers by name." and tool["inputSchema"]["required"] == ["part"]
        assert tool["inputSchema"]["properties"]["max_rows"]["type"] == "integer" and tool["annotations"]["readOnlyHint"] is True
        rows = reader.tool("find_customers", {"part": "customer 1%"}).data["rows"]
        assert rows == [{"id": 1, "name": "customer 1"}, {"id": 10, "name": "customer 10"}, {"id": 11, "name": "customer 11"}]
        assert reader.tool("find_customers", {"part": "x", "nope": 1}).is_error
        cluster.sql(f"revoke execute on function shop.find_customers(text, int) from {reader.role}")
        assert "find_customers" not in reader.tools()
    finally:
        cluster.sql("drop function shop.find_customers(text, int), shop.no_tool()")


@pytest.mark.parametrize("arguments,blamed,said", [
    ({"n": "seven"}, "n", 'invalid input syntax for type integer: "seven"'),
    ({"n": 5000000000}, "n", "out of range"),
    ({"n": 1, "day": "someday"}, "day", 'invalid input syntax for type date: "someday"'),
    ({"n": 1, "odd \" name": "no"}, "odd \" name", "odd_number"),
    ({"n": 1, "ids": ["1", "x"]}, "ids", 'invalid input syntax for type integer: "x"'),
    ({"n": 0, "day": "2026-01-02"}, None, "division by zero"),
])
def test_custom_tool_names_the_argument_that_it_cannot_read(cluster, reader, arguments, blamed, said):
    """An error of the function itself is none of its arguments, though it be of the same class."""
    cluster.sql("""
        create domain shop.odd_number as text check (value = 'odd');
        create function shop.typed(n int, day date default null, "odd "" name" shop.odd_number default null, ids int[] default null)
        returns int language sql stable as 'select 1 / n';
        comment on function shop.typed is e'@mcp({"kind": "tool"})\\nTakes arguments of several types'""")
    try:
        assert reader.tool("typed", {"n": 1, "day": "2026-01-02", "ids": [1, 2]}).data == {"result": 1}
        error = reader.tool("typed", arguments).error
        assert said in error["message"], error
        if blamed is None:
            assert error["kind"] == "sql" and "argument" not in error["message"]
        else:
            assert error["kind"] == "bad_input" and f'argument "{blamed}" of tool "typed"' in error["message"], error
        assert reader.tool("typed", {"n": 1}).data == {"result": 1}
    finally:
        cluster.sql("drop function shop.typed; drop domain shop.odd_number")


@pytest.mark.parametrize("params,blamed", [([1, "seven"], "$2"), (["one", 2], "$1")])
def test_execute_sql_names_the_parameter_that_it_cannot_read(reader, params, blamed):
    error = reader.sql("select $1::int + $2::int", params).error
    assert "invalid input syntax" in error["message"] and blamed in str(error), error


def test_custom_tool_that_is_stable_runs_read_only(cluster, writer):
    """The volatility is the promise: a STABLE tool that writes is stopped even for a writer."""
    schema = f"work_{writer.form}"
    cluster.sql(f"""
        create function {schema}.sneaky() returns int language plpgsql stable as
            $$begin execute 'update shop.counter set n = n + 1'; return 1; end$$;
        create function {schema}.honest() returns int language sql volatile as 'update shop.counter set n = n + 1 returning n';
        comment on function {schema}.sneaky() is e'@mcp({{"kind": "tool"}})\\nClaims to read';
        comment on function {schema}.honest() is e'@mcp({{"kind": "tool"}})\\nSays that it writes'""")
    try:
        before = cluster.value("select n from shop.counter where name = 'a'")
        assert writer.tool("sneaky").error["sqlstate"] in ("25006", "0A000")
        assert cluster.value("select n from shop.counter where name = 'a'") == before
        assert writer.tools()["honest"]["annotations"]["readOnlyHint"] is False
        writer.tool("honest").data
        assert cluster.value("select n from shop.counter where name = 'a'") == before + 1
    finally:
        cluster.sql(f"drop function {schema}.sneaky(), {schema}.honest()")
