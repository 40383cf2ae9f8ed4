"""docs/tools.md, written out of the catalog: every built-in tool with its arguments, its result and who may have it.

Owns the page's form. The words are those of the functions' comments, as a client gets them.
"""

import json

# Features in the order of the page, with what they are for. One that is missing here makes the page fail to be written.
FEATURES = {
    "database": "What Supabase's server has in its group `database`, and what an agent needs to find its way.",
    "debugging": "Lints and the server's log.",
    "development": "For agents that write applications on the database.",
    "docs": "Documents that an administrator loaded (`mcp.load_docs`).",
    "storage": "Supabase Storage.",
    "catalog": "Everything that the catalogs know of tables, functions, policies and grants.",
    "queries": "Plans, slow statements and indexes.",
    "changes": "What a change would do, before it is made.",
    "operations": "Health, activity, locks, sizes and settings.",
    "vector": "Similarity search, where the extension `vector` is installed.",
}
DEFAULT = ("database", "debugging", "development", "docs")

HEAD = """# Tools

Every tool is a SQL function in schema `mcp`; EXECUTE on it is the permission, and it runs with the caller's own rights. `select mcp.grant_tools('a_role')` grants those that read,
with `write => true` also those that change something, with `tools => '{catalog,explain_query}'` only those of some features or names.

A client that asks for nothing else is shown the features %s and its own database's functions (`custom`): setting `supabase_mcp.features`. Others come with the URL
(`/mcp?features=catalog,queries`, or as a path: `/mcp/features=catalog,queries`; `all` is every one) or with the token (`mcp.create_token(..., features => '{catalog}')`, which is a limit too).

Tools that Supabase's hosted server has, too, take the same arguments and give the same results; a `project_id` is taken and ignored.
This page is written from the catalog (`ACCEPT=1 tests/run e2e/test_tools_docs.py`). How to make a tool of your own: [custom-tools.md](custom-tools.md).
"""


def type_words(schema):
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {type_words(schema.get('items', {}))}" if schema.get("items") else "array"
    kind = schema.get("type", "any JSON")
    return kind if isinstance(kind, str) else " or ".join(kind)


def argument_lines(tool):
    schema = tool["inputSchema"]
    for name, one in schema["properties"].items():
        words = [type_words(one)]
        if name in schema.get("required", []):
            words.append("required")
        if "default" in one and one["default"] is not None:
            words.append(f"default `{json.dumps(one['default'])}`")
        said = f": {one['description']}" if one.get("description") else ""
        yield f"- `{name}` ({', '.join(words)}){said}"


def result_line(tool):
    output = tool.get("outputSchema")
    if not output:
        return "Result: an object."
    required = output.get("required", [])
    keys = [f"`{name}` ({type_words(one)}{'' if name in required else ', not always'})" for name, one in output["properties"].items()]
    return f"Result: {', '.join(keys)}." if keys else "Result: an object."


def privilege_line(fact):
    words = ["changes something: `write => true`" if fact["writes"] else "reads"]
    words.append("also for roles that end users share" if fact["shared"] else "for such roles as `anon` by name only")
    return f"Privilege: EXECUTE on `{fact['function']}`; {'; '.join(words)}."


def page(tools, facts):
    """`tools` as MCP lists them to a superuser, `facts` the rows of mcp._builtin_tools() by name."""
    unknown = {feature for fact in facts.values() for feature in fact["features"]} - set(FEATURES)
    assert not unknown, f"say in {__file__} what these features are for: {unknown}"
    lines = [HEAD % ", ".join(f"`{name}`" for name in DEFAULT)]
    shown = set()
    for feature, purpose in FEATURES.items():
        members = [tool for tool in tools if feature in facts[tool["name"]]["features"]]
        lines += [f"## {feature}", "", purpose, ""]
        again = [tool["name"] for tool in members if tool["name"] in shown]
        for tool in members:
            if tool["name"] in shown:
                continue
            shown.add(tool["name"])
            lines += [f"### {tool['name']}", f"{tool['title']}. {tool.get('description', '')}", ""]
            lines += [*argument_lines(tool)] or ["No arguments."]
            lines += ["", result_line(tool), privilege_line(facts[tool["name"]]), ""]
        if again:
            lines += [f"Also: {', '.join(f'`{name}`' for name in again)}, above.", ""]
    missing = {tool["name"] for tool in tools} - shown
    assert not missing, f"tools without a feature: {missing}"
    return "\n".join(lines).rstrip() + "\n"
