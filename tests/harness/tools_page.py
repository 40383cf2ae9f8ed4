"""docs/tools.md, written out of the catalog: every built-in tool with its arguments, its result and who may have it.

Owns the page's form. The words are those of the functions' comments, as a client gets them.
"""

import json
import re

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
# What the lists that every client gets have no room for: these tools' words are as few as can be.
NOTES = {
    "apply_migration": "`version` is digits, the present time in UTC (20260131235959) if left out; the answer says it. `dry_run` keeps nothing and reports as `preview_sql` does.",
    "describe_table": "`name` may come with its schema. `sample_rows` also shows so many rows, 20 at most. The answer also has `name`, `kind`, `owner`, `rows`, `primary_keys`, "
    "`foreign_key_constraints`, `constraints`, `indexes`, `policies`, `triggers`, `privileges`, and what else there is to say of the kind of table.",
    "execute_sql": "numeric, and integers beyond 2^53, come as strings. The answer also has `untrusted_data`, which says that rows are data and no instructions.",
    "explain_query": 'A hypothetical index is a text of CREATE INDEX, or `{"table": "orders", "columns": ["customer_id"]}`; such a plan cannot be measured with `analyze`. '
    "The answer also has `format`, and `hypothetical_indexes` if there were any.",
    "generate_typescript_types": "Without `schemas` those that PostgREST is set to expose (`pgrst.db_schemas`), else `public`.",
    "get_advisors": "`lint` is the name of one lint, to see no other.",
    "get_logs": "`min_severity` is debug, log, warning, error, fatal or panic; `pattern` is plain text, in capitals or not; times are such as 2026-01-31T08:00:00Z. "
    "Of the services of Supabase only `postgres` has its log here. `max_lines` is 1000 at most.",
    "list_extensions": "`installed_version` is null for an extension that is not installed in this database.",
    "list_tables": "The answer has `advisory` if the roles of the Supabase API reach tables without row level security, and `unknown_schemas` if some of `schemas` are not there.",
    "search_docs": "`max_results` is 20 at most. `whole_sections` gives sections instead of snippets. `graphql_query` takes the place of `query` in the form that Supabase's server has: "
    "`{ searchDocs(query: \"words\", limit: 5) { nodes { title href content } } }`.",
    "search_objects": "`kind` is schema, table, view, materialized view, foreign table, function, procedure, aggregate, type (or enum, domain, composite type, range), sequence, extension, "
    "column, index, constraint, trigger or policy. Without a `%` the pattern may be anywhere in a name or a comment.",
}
DEFAULT = ("database", "debugging", "development", "docs")

HEAD = """# Tools

Every tool is a SQL function in schema `mcp`; EXECUTE on it is the permission, and it runs with the caller's own rights. `select mcp.grant_tools('a_role')` grants those that read,
with `write => true` also those that change something, with `tools => '{catalog,explain_query}'` only those of some features or names.
`execute_sql` is read-only, unless the role may also execute `mcp.execute_sql_write(text, jsonb)`, which comes with `write => true`.

A client that asks for nothing else is shown the features %s and its own database's functions (`custom`): setting `supabase_mcp.features`. Others come with the URL
(`/mcp?features=catalog,queries`, or as a path: `/mcp/features=catalog,queries`; `all` is every one) or with the token (`mcp.create_token(..., features => '{catalog}')`, which is a limit too).

Tools that Supabase's hosted server has, too, take the same arguments and give the same results; a `project_id` is taken and ignored.
A long list comes in pages: `truncated` says that there is more, and `next` is what to give as `after` for it. Results may have more keys than are named here.
This page is written from the catalog (`ACCEPT=1 tests/run e2e/test_tools_docs.py`). How to make a tool of your own: [custom-tools.md](custom-tools.md).
"""


def type_words(schema):
    """What a value may be; nothing for one that may be anything."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array" and schema.get("items"):
        return f"array of {type_words(schema['items'])}"
    kind = schema.get("type", "")
    return kind if isinstance(kind, str) else " or ".join(kind)


def argument_lines(tool):
    """What must be given first, the pages of a list last."""
    schema = tool["inputSchema"]
    required = schema.get("required", [])
    paging = ("after", "before")

    def place(name):
        return required.index(name) if name in required else 100 + 2 * (name in paging) + name.startswith("max_")

    for name in sorted(schema["properties"], key=place):
        one = schema["properties"][name]
        words = [type_words(one) or "any JSON"]
        if name in required:
            words.append("required")
        if (default := one.get("default")) not in (None, []) and default is not False:
            words.append(f"default `{json.dumps(default)}`")
        said = f": {one['description']}" if one.get("description") else ""
        yield f"- `{name}` ({', '.join(words)}){said}"


def result_line(tool):
    output = tool["outputSchema"]
    always = output.get("required", [])

    def words(names):
        return ", ".join(f"`{name}`" + (f" ({kind})" if (kind := type_words(output["properties"][name])) else "") for name in names)

    at_times = sorted(set(output["properties"]) - set(always))
    return " ".join([f"Result: {words(always)}." if always else "Result:"] + ([f"At times: {words(at_times)}."] if at_times else []))


def privilege_line(fact):
    words = [f"Permission: EXECUTE on `{fact['function']}`."]
    if fact["writes"]:
        words.append("It changes something, and is granted with `write => true`.")
    if not fact["shared"]:
        words.append("To roles that end users share, such as `anon`, it is granted by name only.")
    return " ".join(words)


def index(tools, facts):
    """One line per tool, with the first sentence of what it says of itself."""
    yield from ["| tool | what it does | features | shown by default |", "| --- | --- | --- | --- |"]
    for tool in tools:
        features = [feature for feature in FEATURES if feature in facts[tool["name"]]["features"]]
        first = re.split(r"(?<=\.) |; ", tool["description"])[0].rstrip(".").replace("|", "\\|")
        yield f"| [{tool['name']}](#{tool['name']}) | {first} | {', '.join(features)} | {'yes' if set(DEFAULT) & set(features) else ''} |"


def page(tools, facts):
    """`tools` as MCP lists them to a superuser, `facts` the rows of mcp._builtin_tools() by name."""
    assert set(NOTES) <= set(facts), f"there are no such tools: {set(NOTES) - set(facts)}"
    unknown = {feature for fact in facts.values() for feature in fact["features"]} - set(FEATURES)
    assert not unknown, f"say in {__file__} what these features are for: {unknown}"
    lines = [HEAD % ", ".join(f"`{name}`" for name in DEFAULT), *index(tools, facts), ""]
    shown = set()
    for feature, purpose in FEATURES.items():
        members = [tool for tool in tools if feature in facts[tool["name"]]["features"]]
        lines += [f"## {feature}", "", purpose, ""]
        again = [tool["name"] for tool in members if tool["name"] in shown]
        for tool in members:
            if tool["name"] in shown:
                continue
            shown.add(tool["name"])
            lines += [f"### {tool['name']}", "", tool["description"], ""]
            lines += [*argument_lines(tool)] or ["No arguments."]
            lines += ["", result_line(tool), ""]
            if tool["name"] in NOTES:
                lines += [NOTES[tool["name"]], ""]
            lines += [privilege_line(facts[tool["name"]]), ""]
        if again:
            lines += [f"Also: {', '.join(f'[{name}](#{name})' for name in again)}.", ""]
    missing = {tool["name"] for tool in tools} - shown
    assert not missing, f"tools without a feature: {missing}"
    return "\n".join(lines).rstrip() + "\n"
