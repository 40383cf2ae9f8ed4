"""Resources: functions behind a URI or a template of URIs."""

import base64
import json

import pytest

from harness.caller import token_caller

OURS = "table:///{schema}/{name}"

SETUP = """
create schema res;
create function res.motd() returns text language sql stable as $$ select 'Line one' || chr(10) || 'line "two"' $$;
comment on function res.motd() is '@mcp({"kind": "resource", "uri": "note://motd", "title": "Message of the day", "mime": "text/markdown", "features": ["news"]})
What everybody should know.';
create function res.counters() returns table (name text, n int) language sql stable as $$ select name, n from shop.counter order by 1 $$;
comment on function res.counters() is '@mcp({"kind": "resource", "uri": "shop://counters"})';
create function res.facts() returns jsonb language sql stable as $$ select '{"a": [1, null]}'::jsonb $$;
comment on function res.facts() is '@mcp({"kind": "resource", "uri": "shop://facts"})';
create function res.logo() returns bytea language sql stable as $$ select decode(repeat('00ff10', 100), 'hex') $$;
comment on function res.logo() is '@mcp({"kind": "resource", "uri": "shop://logo", "mime": "image/png"})';
create function res.nothing() returns text language sql stable as $$ select null::text $$;
comment on function res.nothing() is '@mcp({"kind": "resource", "uri": "shop://nothing"})';
create function res.writes() returns text language sql volatile as $$ insert into shop.counter values ('resource', 1) returning 'wrote' $$;
comment on function res.writes() is '@mcp({"kind": "resource", "uri": "shop://writes"})';
create function res.one_order(id bigint, "full" boolean default false) returns jsonb language sql stable as
    $$ select case when "full" then to_jsonb(o) else jsonb_build_object('id', o.id) end from shop.orders o where o.id = one_order.id $$;
comment on function res.one_order(bigint, boolean) is '@mcp({"kind": "resource", "uri": "shop://orders/{id}{?full}"})';
create function res.file(path text) returns text language sql stable as $$ select 'at ' || path $$;
comment on function res.file(text) is '@mcp({"kind": "resource", "uri": "file:///{+path}"})';
create function res.special() returns text language sql stable as $$ select 'fixed' $$;
comment on function res.special() is '@mcp({"kind": "resource", "uri": "file:///special"})';
create function res.bad_uri() returns text language sql stable as $$ select 'x' $$;
comment on function res.bad_uri() is '@mcp({"kind": "resource", "uri": "no scheme"})';
create function res.no_uri() returns text language sql stable as $$ select 'x' $$;
comment on function res.no_uri() is '@mcp({"kind": "resource"})';
create function res.odd(x text) returns text language sql stable as $$ select x $$;
comment on function res.odd(text) is '@mcp({"kind": "resource", "uri": "odd://a.b+c(d)/{x"})';
grant usage on schema res to reader_direct, reader_bridge, writer_direct, writer_bridge;
"""


@pytest.fixture(scope="module", autouse=True)
def resources(cluster):
    cluster.sql(SETUP)
    yield
    cluster.sql("drop schema res cascade")


def read(caller, uri):
    return caller.rpc("resources/read", {"uri": uri}).json()


def content(caller, uri):
    answer = read(caller, uri)
    assert "result" in answer, answer
    [one] = answer["result"]["contents"]
    assert one["uri"] == uri
    return one


def test_lists(reader):
    answer = reader.rpc("resources/list").json()
    assert "result" in answer, answer
    found = {r["uri"]: r for r in answer["result"]["resources"]}
    assert list(found) == sorted(["file:///special", "note://motd", "shop://counters", "shop://facts", "shop://logo", "shop://nothing", "shop://writes"])
    assert found["note://motd"] == {"uri": "note://motd", "name": "motd", "title": "Message of the day", "mimeType": "text/markdown",
                                    "description": "What everybody should know."}
    templates = {r["uriTemplate"]: r for r in reader.rpc("resources/templates/list").json()["result"]["resourceTemplates"]}
    assert list(templates) == ["file:///{+path}", "odd://a.b+c(d)/{x", "shop://orders/{id}{?full}", OURS]
    assert templates["file:///{+path}"]["mimeType"] == "text/plain"


def test_contents(reader):
    assert content(reader, "note://motd") == {"uri": "note://motd", "mimeType": "text/markdown", "text": 'Line one\nline "two"'}
    assert json.loads(content(reader, "shop://counters")["text"])[0]["name"] == "a"
    assert json.loads(content(reader, "shop://facts")["text"]) == {"a": [1, None]}
    logo = content(reader, "shop://logo")
    assert logo["mimeType"] == "image/png" and base64.b64decode(logo["blob"], validate=True) == bytes.fromhex("00ff10" * 100)


def test_templates(reader):
    assert json.loads(content(reader, "shop://orders/7")["text"]) == {"id": 7}
    assert json.loads(content(reader, "shop://orders/7?full=true")["text"])["customer_id"] == 8
    assert content(reader, "file:///a/b%20c/d%25.txt")["text"] == "at a/b c/d%.txt"
    assert content(reader, "file:///special")["text"] == "fixed", "a fixed URI goes before a template"


@pytest.mark.parametrize("value", ["'; drop table shop.orders; --", '"', "\\", "$1", "{x}", "ü", "a\nb", "%00", "%ff%fe"])
def test_values_of_a_uri_are_values(reader, value):
    from urllib.parse import quote
    uri = "file:///" + (value if value.startswith("%") else quote(value, safe=""))
    assert content(reader, uri)["text"] == f"at {value}"


@pytest.mark.parametrize("uri", ["shop://no", "shop://orders/", "shop://orders/1/2", "shop://nothing", "shop://orders/999999", "", "x", "note://MOTD", "x" * 9000,
                                 "odd://aXb+c(d)/1", "file:///"])
def test_no_such_resource(reader, uri):
    error = read(reader, uri)["error"]
    assert error["code"] in (-32002, -32602) and "there is no resource" in error["message"], error


def test_bad_values(reader):
    assert "22P02" in read(reader, "shop://orders/seven")["error"]["message"]


def test_a_resource_only_reads(writer, cluster):
    assert "25006" in read(writer, "shop://writes")["error"]["message"]
    assert cluster.value("select count(*) from shop.counter where name = 'resource'") == 0


def test_a_toolset_holds_for_resources(cluster, reader):
    kept = token_caller(cluster, reader.role, features=["news"])
    assert [r["uri"] for r in kept.rpc("resources/list").json()["result"]["resources"]] == ["note://motd"]
    assert "there is no resource" in read(kept, "shop://facts")["error"]["message"]
    kept.close()


def test_the_one_that_comes_with_the_extension(reader):
    table = json.loads(content(reader, "table:///shop/orders")["text"])
    assert table["name"] == "shop.orders" and table["columns"]
    assert "42P01" in read(reader, "table:///shop/salary")["error"]["message"], "nothing that the reader may see"
    answer = reader.rpc("completion/complete", {"ref": {"type": "ref/resource", "uri": OURS}, "argument": {"name": "name", "value": "or"},
                                                "context": {"arguments": {"schema": "shop"}}}).json()
    assert answer["result"]["completion"]["values"][0] == "orders"


def test_completion_of_a_variable(reader):
    answer = reader.rpc("completion/complete", {"ref": {"type": "ref/resource", "uri": "shop://orders/{id}{?full}"},
                                                "argument": {"name": "full", "value": "t"}}).json()
    assert answer["result"]["completion"]["values"] == ["true"]


def test_mistakes_are_named(cluster):
    rows = cluster.sql("select function::text, problem from mcp.check() where function::text like 'res.%' and problem <> 'it has no description' order by 1, 2")
    assert rows == [
        ("res.bad_uri()", '"uri" is not a URI'),
        ("res.no_uri()", 'a resource has a "uri"'),
        ("res.odd(text)", 'the argument "x" is needed, and is no variable of the template'),
        ("res.odd(text)", 'the template in "uri" is not understood'),
    ]
    cluster.sql("""create function res.stray(a int, b int default 1) returns text language sql stable as $$ select 'x' $$;
                   comment on function res.stray(int, int) is '@mcp({"kind": "resource", "uri": "x://y/{c}", "mimes": "text/plain"})'""")
    try:
        rows = cluster.sql("select problem, hint from mcp.check() where function::text like 'res.stray%' and problem <> 'it has no description' order by 1")
        assert [row[0] for row in rows] == ['the argument "a" is needed, and is no variable of the template',
                                            'the variable "c" of the template is no argument', 'unknown key "mimes"']
        assert rows[-1][1] == 'Perhaps you meant "mime".'
    finally:
        cluster.sql("drop function res.stray")
