"""docs/custom-tools.md: its SQL runs as written, by a member of mcp_admin, and a connected client finds what the page promises."""

import json
import re
from pathlib import Path

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.waits import wait_until
from harness.world import build_world

PAGE = Path(__file__).parents[2] / "docs" / "custom-tools.md"


def blocks():
    return re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.M | re.S)


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    one.install()
    build_world(one)
    one.sql("create role lead login; grant mcp_admin to lead; alter schema shop owner to lead; grant select on shop.orders to lead;"
            " create role ai_reader login; grant ai_reader to lead with admin option; grant usage on schema shop to ai_reader;"
            " grant select on shop.orders to ai_reader; select mcp.grant_tools('ai_reader')")
    yield one
    one.remove()


def test_the_page(site):
    client = token_caller(site, "ai_reader")
    assert "orders_of" not in client.tools()
    tool, by_function, secret, saved, prompt, resource, instructions, toolset = blocks()
    as_lead = lambda text: site.sql(text, user="lead")

    as_lead(tool)
    listed = client.tools()["orders_of"]
    assert listed["title"] == "Orders of a customer" and listed["description"].startswith("Lists what a customer ordered")
    assert listed["inputSchema"]["required"] == ["customer"] and listed["inputSchema"]["properties"]["since"]["format"] == "date"
    assert client.tool("orders_of", {"customer": 7}).data["row_count"] == 10
    assert as_lead(by_function) == [], "mcp.check() finds nothing"
    assert client.tools()["orders_of"]["description"] == "Lists what a customer ordered, oldest first."

    as_lead(secret)
    assert client.tools()["sign_in"]["inputSchema"]["properties"]["password"] == {"type": "string", "description": "Of the shop", "writeOnly": True}
    assert client.tool("sign_in", {"login": "anna", "password": "sesame"}).data == {"result": True}
    row = "select arguments::jsonb ->> 'password' from mcp.audit where tool = 'sign_in'"
    assert wait_until(lambda: site.sql(row), 10, "the call's record") == [(site.value("select mcp.audit_hash('sesame')"),)]

    save, grant, drop = [statement for statement in re.split(r";\n", saved) if statement.strip()]
    as_lead(save + ";" + grant)
    assert client.tool("revenue_by_day", {"from_day": "2020-01-01"}).data["rows"][0]["day"] == "2026-01-02"
    assert client.tool("revenue_by_day").data["row_count"] == 1
    as_lead(drop)
    assert "revenue_by_day" not in client.tools()

    as_lead(prompt)
    answer = client.rpc("prompts/get", {"name": "review_customer", "arguments": {"customer": "7", "tone": "dry"}}).json()["result"]
    assert answer["messages"][0]["content"]["text"] == "Call orders_of for customer 7 and write a dry summary of what they buy."
    as_lead(resource)
    [content] = client.rpc("resources/read", {"uri": "shop://prices/north"}).json()["result"]["contents"]
    assert json.loads(content["text"]) == {"region": "north", "orders": 500}
    assert as_lead(instructions)
    told = client.rpc("server/discover").json()["result"]["instructions"]
    assert told.endswith("Amounts are in euro, without tax. \"Customer\" means a company.\n\nYou may look at everything in shop. Never show e-mail addresses.")
    kept = as_lead(toolset)[0][0]
    client.headers = {"Authorization": f"Bearer {kept}"}
    client.close()
    assert "orders_of" in client.tools() and "list_policies" in client.tools() and "execute_sql" not in client.tools()
    client.close()


def test_readme(site):
    text = (PAGE.parents[1] / "README.md").read_text()
    [block] = [b for b in re.findall(r"^```sql\n(.*?)^```", text, re.M | re.S) if "@mcp(" in b]
    site.sql("drop function if exists shop.orders_of(int, date)")
    site.sql(block)
    client = token_caller(site, "ai_reader")
    assert client.tools()["orders_of"]["description"] == "Lists what a customer ordered."
    assert client.tool("orders_of", {"customer": 7}).data["row_count"] == 10
    client.close()


def test_domains_bring_their_bounds(site):
    [made] = re.findall(r"`(create domain .*?)`", PAGE.read_text())
    site.sql(made + "; create function shop.rate(r shop.rating) returns int language sql stable as 'select r::int';"
             " comment on function shop.rate is '@mcp({})'", user="lead")
    client = token_caller(site, "ai_reader")
    schema = client.tools()["rate"]["inputSchema"]["properties"]["r"]
    assert (schema["type"], schema["minimum"], schema["maximum"]) == ("integer", 1, 5)
    client.close()
