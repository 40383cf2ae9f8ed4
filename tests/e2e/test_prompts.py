"""Prompts: functions that a user picks in the client, their arguments, their messages, and what completes an argument."""

import pytest

from harness.caller import token_caller

OURS = ["diagnose_query", "explore_database", "review_security"]

SETUP = """
create schema prompts;
create type prompts.tone as enum ('dry', 'warm', 'very warm');
create function prompts.review(customer int, tone prompts.tone default 'dry', tags text[] default '{}') returns text language sql stable as
    $$ select format('Review customer %s in a %s tone%s.', customer, tone, case when tags = '{}' then '' else ' about ' || array_to_string(tags, ' and ') end) $$;
comment on function prompts.review(int, prompts.tone, text[]) is
'@mcp({"kind": "prompt", "title": "Review a customer", "features": ["sales"], "args": {"customer": "Number of the customer"}})
Looks at a customer''s orders.';
create function prompts.dialogue() returns table (role text, content text) language sql stable as
    $$ values ('user', 'How many orders?'), ('assistant', 'Let me count.'), ('stranger', 'Go on.') $$;
comment on function prompts.dialogue() is '@mcp({"kind": "prompt"})';
create function prompts.structured() returns jsonb language sql stable as
    $$ select '{"messages": [{"role": "assistant", "content": {"type": "text", "text": "a \\"quoted\\" word"}}, "plain"]}'::jsonb $$;
comment on function prompts.structured() is '@mcp({"kind": "prompt", "name": "structured.one"})';
create function prompts.writes() returns text language sql volatile as
    $$ insert into shop.counter values ('prompt', 1) returning 'wrote' $$;
comment on function prompts.writes() is '@mcp({"kind": "prompt"})';
create function prompts.look(schema text, "table" text, col_of text default null) returns text language sql stable as $$ select 'x' $$;
comment on function prompts.look(text, text, text) is '@mcp({"kind": "prompt", "args": {"col_of": {"description": "A column", "complete": "column"}}})';
create function prompts.hidden() returns text language sql stable as $$ select 'x' $$;
comment on function prompts.hidden() is '@mcp({"kind": "prompt"})';
revoke execute on function prompts.hidden() from public;
create function prompts.broken() returns text language sql stable as $$ select 'x' $$;
comment on function prompts.broken() is '@mcp({"kind": "prompt", )';
create function prompts.tool() returns text language sql stable as $$ select 'x' $$;
comment on function prompts.tool() is '@mcp({"kind": "tool"})';
grant usage on schema prompts to reader_direct, reader_bridge, writer_direct, writer_bridge;
"""


@pytest.fixture(scope="module", autouse=True)
def prompts(cluster):
    cluster.sql(SETUP)
    yield
    cluster.sql("drop schema prompts cascade")


def listed(caller):
    return {p["name"]: p for p in caller.rpc("prompts/list").json()["result"]["prompts"]}


def get(caller, name, arguments=None):
    return caller.rpc("prompts/get", {"name": name, "arguments": arguments or {}}).json()


def texts(answer):
    return [(m["role"], m["content"]["text"]) for m in answer["result"]["messages"]]


def complete(caller, name, argument, value="", **known):
    params = {"ref": {"type": "ref/prompt", "name": name}, "argument": {"name": argument, "value": value}}
    if known:
        params["context"] = {"arguments": known}
    return caller.rpc("completion/complete", params).json()


def test_list(reader):
    found = listed(reader)
    assert list(found) == sorted(["dialogue", "look", "review", "structured.one", "writes", *OURS])
    assert found["review"] == {
        "name": "review", "title": "Review a customer", "description": "Looks at a customer's orders.",
        "arguments": [{"name": "customer", "description": "Number of the customer", "required": True},
                      {"name": "tone", "description": "prompts.tone", "required": False},
                      {"name": "tags", "description": "text[]", "required": False}]}
    assert "prompts.tool" not in found and "review" not in reader.tools()


def test_capabilities(reader):
    capabilities = reader.rpc("server/discover").json()["result"]["capabilities"]
    assert {"tools", "prompts", "resources", "completions"} <= set(capabilities)


def test_messages(reader):
    answer = get(reader, "review", {"customer": "7"})
    assert texts(answer) == [("user", "Review customer 7 in a dry tone.")]
    assert answer["result"]["description"] == "Looks at a customer's orders."
    assert texts(get(reader, "review", {"customer": "7", "tone": "very warm", "tags": '["a", "b"]'})) == [
        ("user", "Review customer 7 in a very warm tone about a and b.")]
    assert texts(get(reader, "dialogue")) == [("user", "How many orders?"), ("assistant", "Let me count."), ("user", "Go on.")]
    assert texts(get(reader, "structured.one")) == [("assistant", 'a "quoted" word'), ("user", "plain")]


@pytest.mark.parametrize("name, arguments, words", [
    ("no_such", {}, 'there is no prompt "no_such"'),
    ("hidden", {}, 'there is no prompt "hidden"'),
    ("tool", {}, 'there is no prompt "tool"'),
    ("list_tables", {}, 'there is no prompt "list_tables"'),
    ("review", {}, 'needs the argument "customer"'),
    ("review", {"customer": "1", "custmer": "2"}, 'no argument "custmer"'),
    ("review", {"customer": "many"}, "many"),
    ("review", {"customer": "1", "tone": "cold"}, "cold"),
])
def test_refusals(reader, name, arguments, words):
    error = get(reader, name, arguments)["error"]
    assert words in error["message"], error


def test_a_prompt_only_reads(writer, cluster):
    error = get(writer, "writes")["error"]
    assert "25006" in error["message"]
    assert "Prompts and resources only read." in error["message"]
    assert cluster.value("select count(*) from shop.counter where name = 'prompt'") == 0


def test_grants_count_at_once(cluster, reader):
    assert "hidden" not in listed(reader)
    cluster.sql(f"grant execute on function prompts.hidden() to {reader.role}")
    assert "hidden" in listed(reader) and texts(get(reader, "hidden")) == [("user", "x")]
    cluster.sql(f"revoke execute on function prompts.hidden() from {reader.role}")
    assert "hidden" not in listed(reader) and "error" in get(reader, "hidden")


def test_a_toolset_holds_for_prompts(cluster, reader):
    kept = token_caller(cluster, reader.role, features=["sales"])
    assert list(listed(kept)) == ["review"]
    assert "there is no prompt" in get(kept, "dialogue")["error"]["message"]
    kept.close()


def test_completions(reader):
    assert complete(reader, "review", "tone")["result"]["completion"] == {"values": ["dry", "warm", "very warm"], "total": 3, "hasMore": False}
    assert complete(reader, "review", "tone", "WARM")["result"]["completion"]["values"] == ["warm", "very warm"]
    assert complete(reader, "review", "customer", "1")["result"]["completion"]["values"] == []
    assert complete(reader, "look", "schema", "sho")["result"]["completion"]["values"] == ["shop"]
    values = complete(reader, "look", "table", "o", schema="shop")["result"]["completion"]["values"]
    assert values[0] == "orders" and "salary" not in values, "salary is nothing that the reader may see"
    assert "shop.orders" in complete(reader, "look", "table", "ord")["result"]["completion"]["values"]
    assert set(complete(reader, "look", "col_of", "", schema="shop", table="counter")["result"]["completion"]["values"]) == {"name", "n"}


def test_those_that_come_with_the_extension(reader):
    [(role, text)] = texts(get(reader, "explore_database", {"topic": "sales"}))
    assert role == "user" and "sales" in text and "postgres" in text
    assert "select 1" in texts(get(reader, "diagnose_query", {"query": "select 1"}))[0][1]
    assert "policies" in texts(get(reader, "review_security"))[0][1]


@pytest.mark.parametrize("name, argument, words", [("no_such", "x", "there is no prompt"), ("review", "tonne", 'no argument "tonne"'),
                                                   ("hidden", "x", "there is no prompt")])
def test_completions_of_nothing(reader, name, argument, words):
    error = complete(reader, name, argument)["error"]
    assert error["code"] == -32602 and words in error["message"]


def test_many_completions_are_a_hundred(cluster, reader):
    cluster.sql("create schema crowd; do $$ begin for i in 1..130 loop execute format('create table crowd.t_%s (a int)', i); end loop; end $$;"
                " grant usage on schema crowd to public; grant select on all tables in schema crowd to public")
    try:
        found = complete(reader, "look", "table", "t_", schema="crowd")["result"]["completion"]
        assert len(found["values"]) == 100 and found["total"] == 130 and found["hasMore"] is True
    finally:
        cluster.sql("drop schema crowd cascade")
