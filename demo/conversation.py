"""A conversation with the database as an AI client has it: the official Python SDK of MCP over HTTP, with a token.

Owns the steps and what is said about them. It knows nothing of the server but a URL and a token, and everything that it prints
as an answer is what came back. Must fail loudly when an answer is not the one that the demo promises.
"""

import time

import httpx2
import show
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


class Unexpected(Exception):
    """The server did not do what this demo says that it does."""


def expect(condition, message, result):
    if not condition:
        raise Unexpected(f"{message}; the answer was: {str(result)[:1000]}")


async def call(client, tool, arguments, text):
    show.request(f"tools/call {tool}", text)
    began = time.perf_counter()
    result = await client.call_tool(tool, arguments)
    return result, (time.perf_counter() - began) * 1000


async def query(client, sql, params=None):
    arguments = {"query": sql} if params is None else {"query": sql, "params": params}
    text = sql if params is None else f"{sql}\nparams {params}"
    return await call(client, "execute_sql", arguments, text)


def statement(result):
    expect(not result.is_error and result.structured_content, "the query should have run", result)
    return result.structured_content["results"][0]


def print_rows(result, elapsed):
    one = statement(result)
    show.answer(f"{one['row_count']} row{'s' if one['row_count'] != 1 else ''} in {elapsed:.1f} ms")
    show.rows([column["name"] for column in one["columns"]], one["rows"])
    return one["rows"]


def print_refusal(result, sqlstate):
    expect(result.is_error, "this should have been refused", result)
    error = (result.structured_content or {}).get("error", {})
    expect(error.get("sqlstate") == sqlstate, f"SQLSTATE {sqlstate} was expected", result)
    show.refusal(f"error {error['sqlstate']}: {error['message']}")
    for key in ("detail", "hint"):
        if error.get(key):
            show.note(f"    {key}: {error[key]}")


async def talk(url, token, totals):
    """The whole conversation. `totals` are counts that the owner of the tables sees, for comparison."""
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http:
        show.step("The client connects")
        show.request(f"POST {url}", "Authorization: Bearer mcp_…")
        async with Client(streamable_http_client(url, http_client=http), mode="auto") as client:
            await greet(client)
            await look_around(client)
            await ask(client, totals)
            await be_refused(client)


async def greet(client):
    server = client.server_info
    name = f"{server.name} {server.version}" if server else "the server"
    show.answer(f"{name}, protocol revision {client.protocol_version}")
    if client.instructions:
        show.note(f"It tells the model: {client.instructions.strip().splitlines()[0][:140]}")
    show.why("The token stands for the role ai_reader. PostgreSQL itself is what answers: there is no server in between.")


async def look_around(client):
    show.step("It asks which tools there are")
    show.request("tools/list")
    tools = (await client.list_tools()).tools
    names = {tool.name for tool in tools}
    expect({"execute_sql", "list_tables"} <= names, "the built-in tools should be listed", names)
    show.answer(f"{len(tools)} tools")
    show.rows(["tool", "title", "only reads"],
              [[tool.name, tool.title, "yes" if tool.annotations and tool.annotations.read_only_hint else "no"] for tool in tools])
    show.why("A tool is a SQL function, and is listed for who may EXECUTE it. GRANT gives a tool, REVOKE takes it away at once.")

    show.step("It lists the tables of the shop")
    result, elapsed = await call(client, "list_tables", {"schemas": ["shop"]}, 'schemas ["shop"]')
    expect(not result.is_error, "the tables should be listed", result)
    tables = result.structured_content["tables"]
    show.answer(f"{len(tables)} tables in {elapsed:.1f} ms")
    show.rows(["table", "rows, about", "comment"],
              [[table.get("name"), table.get("rows", ""), table.get("comment") or ""] for table in tables])


async def ask(client, totals):
    show.step("A question: what sold best in Berlin in December?")
    result, elapsed = await query(client, """\
select p.name, sum(i.quantity) as sold, sum(i.quantity * p.price) as revenue
from shop.orders o
join shop.order_items i on i.order_id = o.id
join shop.products p on p.id = i.product_id
where o.ordered_at >= $1::timestamptz and o.status <> 'returned'
group by p.name order by revenue desc limit 3""", ["2025-12-01"])
    expect(len(print_rows(result, elapsed)) == 3, "three products were expected", result)
    show.why("Parameters travel apart from the text. Numbers that a float would round (numeric, bigint) arrive as strings.")

    show.step("Row-level security: how many orders are there?")
    result, elapsed = await query(client, "select count(*) as orders, count(distinct store_id) as stores from shop.orders")
    rows = print_rows(result, elapsed)
    expect(int(rows[0][0]) == totals["berlin"] < totals["all"], "only Berlin's orders should be visible", result)
    show.why(f"The table has {totals['all']:,} orders in 3 stores. The policy on it shows ai_reader those of Berlin, whatever it asks.")


async def be_refused(client):
    show.step("A table that the role has no grant on, and that was not in the list")
    result, _ = await query(client, "select number from shop.payment_cards limit 1")
    print_refusal(result, "42501")
    show.why("PostgreSQL refused, by the same GRANTs as ever. The model reads the code and the message, and can act on them.")

    show.step("A write")
    result, _ = await query(client, "update shop.products set price = 0")
    expect(result.is_error, "a write should be refused", result)
    error = (result.structured_content or {}).get("error", {})
    expect(error.get("sqlstate") in ("25006", "42501"), "a refusal was expected", result)
    print_refusal(result, error["sqlstate"])
    show.why("Every call is a read-only transaction, for the role was not granted writing. Nothing in the text can change that:")

    result, _ = await query(client, "set transaction read write; update shop.products set price = 0")
    expect(result.is_error, "a write should be refused", result)
    error = (result.structured_content or {}).get("error", {})
    print_refusal(result, error.get("sqlstate"))

    show.step("A mistake")
    result, _ = await query(client, "select pirce from shop.products")
    print_refusal(result, "42703")
    show.why("What PostgreSQL knows about an error reaches the model, which corrects itself.")
