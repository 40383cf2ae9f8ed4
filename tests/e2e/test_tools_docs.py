"""docs/tools.md is what the catalog says, and the lists that models pay for stay small."""

import json
import os
from pathlib import Path

import pytest

from harness.tools_page import DEFAULT, page

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"


@pytest.fixture(scope="module")
def everything(cluster):
    tools = cluster.value("""select mcp._tools('[["all"]]')""")
    rows = cluster.sql("select tool, function::text, writes, features, shared from mcp._builtin_tools() where tool <> 'execute_sql_write'")
    facts = {row[0]: dict(zip(("function", "writes", "features", "shared"), row[1:])) for row in rows}
    return [tool for tool in tools if tool["name"] in facts], facts


def test_the_page_is_what_the_catalog_says(everything):
    text = page(*everything)
    if os.environ.get("ACCEPT"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text, "write it anew: ACCEPT=1 tests/run e2e/test_tools_docs.py"


def size(tools):
    """Bytes of the list as it goes over the wire."""
    return len(json.dumps(tools, separators=(",", ":"), ensure_ascii=False).encode())


def test_lists_stay_small(everything):
    tools, facts = everything
    usual = [tool for tool in tools if set(DEFAULT) & set(facts[tool["name"]]["features"])]
    largest = sorted(((size(tool), tool["name"]) for tool in tools), reverse=True)[:5]
    assert size(usual) < 7900, (size(usual), largest)
    assert size(tools) < 29000, (size(tools), largest)


def test_every_tool_says_what_it_gives(everything):
    for tool in everything[0]:
        assert tool["description"] and tool["outputSchema"]["properties"], tool["name"]
        for name, schema in tool["inputSchema"]["properties"].items():
            assert isinstance(schema, dict), (tool["name"], name)
