"""The official Python SDK as a client: both eras over HTTP with a token, and over stdio through supabase-mcp-stdio."""

import asyncio

import httpx2
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from harness.programs import bridge_binary

ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}


async def conversation(client):
    """What an agent does first; returns what it saw."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    listed = await client.call_tool("list_tables", {"schemas": ["shop"]})
    good = await client.call_tool("execute_sql", {"query": "select name from shop.customer where id = $1", "params": [7]})
    denied = await client.call_tool("execute_sql", {"query": "select * from shop.salary"})
    write = await client.call_tool("execute_sql", {"query": "delete from shop.orders"})
    return tools, listed, good, denied, write


def judge(seen):
    tools, listed, good, denied, write = seen
    assert {"execute_sql", "list_tables", "describe_table", "explain_query", "list_extensions"} <= set(tools)
    assert tools["list_tables"].annotations.read_only_hint is True
    assert "orders" in str(listed.structured_content)
    assert good.structured_content["results"][0]["rows"] == [["customer 7"]]
    assert denied.is_error and denied.structured_content["error"]["sqlstate"] == "42501"
    assert write.is_error and write.structured_content["error"]["sqlstate"] in ("25006", "42501")


@pytest.mark.parametrize("mode", list(ERAS))
def test_http(cluster, simple, mode):
    async def run():
        async with httpx2.AsyncClient(headers=simple.headers, timeout=20) as http:
            transport = streamable_http_client(f"http://127.0.0.1:{cluster.port}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                assert client.protocol_version == ERAS[mode]
                if mode != "2026-07-28":  # a pinned client asks for no server info
                    assert client.server_info.name == "supabase_mcp"
                return await conversation(client)

    judge(asyncio.run(run()))


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("target", ["socket", "url"])
def test_stdio_bridge(cluster, simple, mode, target):
    """supabase-mcp-stdio carries a stdio client to the socket or a URL, with a token from its environment."""
    where = str(cluster.mcp_socket) if target == "socket" else f"http://127.0.0.1:{cluster.port}/mcp/postgres"
    server = StdioServerParameters(command=str(bridge_binary()), args=[where], env={"SUPABASE_MCP_TOKEN": simple.token})

    async def run():
        async with Client(server, mode=mode) as client:
            assert client.protocol_version == ERAS[mode]
            return await conversation(client)

    judge(asyncio.run(run()))


def test_output_conforms_to_schemas(cluster, simple):
    """The SDK validates structured content against output schemas; calling each tool must not raise."""
    calls = {
        "list_schemas": {}, "list_tables": {}, "list_extensions": {},
        "describe_table": {"name": "shop.orders"}, "explain_query": {"query": "select 1"},
        "execute_sql": {"query": "select 1"},
    }

    async def run():
        async with httpx2.AsyncClient(headers=simple.headers, timeout=20) as http:
            transport = streamable_http_client(f"http://127.0.0.1:{cluster.port}/mcp", http_client=http)
            async with Client(transport, mode="auto") as client:
                await client.list_tools()
                return {name: await client.call_tool(name, arguments) for name, arguments in calls.items()}

    for name, result in asyncio.run(run()).items():
        assert not result.is_error, (name, result)


def test_wrong_token_is_an_error_not_a_hang(cluster):
    async def run():
        headers = {"Authorization": "Bearer mcp_" + "A" * 43}
        async with httpx2.AsyncClient(headers=headers, timeout=20) as http:
            transport = streamable_http_client(f"http://127.0.0.1:{cluster.port}/mcp", http_client=http)
            async with Client(transport, mode="legacy") as client:
                await client.list_tools()

    with pytest.raises(BaseException) as seen:
        asyncio.run(asyncio.wait_for(run(), 20))
    assert not isinstance(seen.value, TimeoutError)


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
def test_prompts_and_resources(cluster, simple, mode):
    """Those that come with the extension, as the SDK reads them."""
    from mcp.types import PromptReference, ResourceTemplateReference

    async def run():
        async with httpx2.AsyncClient(headers=simple.headers, timeout=20) as http:
            transport = streamable_http_client(f"http://127.0.0.1:{cluster.port}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
                prompt = await client.get_prompt("diagnose_query", {"query": "select 1"})
                templates = (await client.list_resource_templates()).resource_templates
                contents = (await client.read_resource("table:///shop/orders")).contents
                template = ResourceTemplateReference(uri=templates[0].uri_template)
                tables = await client.complete(template, {"name": "name", "value": "ord"}, {"schema": "shop"})
                nothing = await client.complete(PromptReference(name="explore_database"), {"name": "topic", "value": ""})
                return prompts, prompt, templates, contents, tables, nothing

    prompts, prompt, templates, contents, tables, nothing = asyncio.run(run())
    assert prompts["diagnose_query"].arguments[0].required is True
    assert "select 1" in prompt.messages[0].content.text
    assert [template.uri_template for template in templates] == ["table:///{schema}/{name}"]
    assert '"shop.orders"' in contents[0].text and contents[0].mime_type == "application/json"
    assert tables.completion.values == ["orders", "big_orders"]
    assert nothing.completion.values == []
