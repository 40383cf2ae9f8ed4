"""What the audit trail records of a call's arguments: values of secret ones nowhere, and under audit_literals = hash no value at all."""

import hashlib
import json
import re

import pytest

from harness.caller import Caller, token_caller
from harness.clients import bearer
from harness.cluster import Cluster
from harness.waits import wait_until

SECRET = "correct horse battery"
HASH = re.compile(r"#[0-9a-f]{16}")

SETUP = """
create extension supabase_mcp;
create schema vault;
create table vault.stored (name text);
create function vault.unlock(name text, password text, code integer default null, extra jsonb default null) returns text language sql stable
as $$ select 'unlocked ' || name $$;
comment on function vault.unlock is
'@mcp({"args": {"password": {"description": "Of the vault", "secret": true}, "code": {"secret": true}, "name": "Whose"}})
Unlocks a vault.';
create function vault.store(name text, password text) returns void language sql volatile as $$ insert into vault.stored values (name) $$;
create function vault.fail(name text, password text) returns void language plpgsql as $$ begin raise exception 'no %', password; end $$;
comment on function vault.store is '@mcp({"args": {"password": {"\\u0073ecret": true}}})';
comment on function vault.fail is '@mcp({"args": {"password": {"secret": "yes"}}})';
create function vault.open_shelf(name text, shelf integer default 1) returns text language sql stable as $$ select name $$;
comment on function vault.open_shelf is '@mcp({})';
create function vault.letter(name text, password text) returns text language sql stable as $$ select 'Write to ' || name $$;
comment on function vault.letter is '@mcp({"kind": "prompt", "args": {"password": {"secret": true, "complete": ["a", "b"]}}})';
grant usage on schema vault to public;
grant insert on vault.stored to public;
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    one.sql(SETUP)
    yield one
    one.remove()


@pytest.fixture(scope="module", params=["direct", "bridge"])
def caller(site, request):
    role = f"keyholder_{request.param}"
    site.sql(f"create role {role} {'login' if request.param == 'direct' else ''}; select mcp.grant_tools('{role}', write => true)")
    one = token_caller(site, role, form=request.param)
    yield one
    one.close()


class Record:
    """The row of mcp.audit that a request leaves, of one who calls by himself."""

    def __init__(self, site, act):
        newest = site.value("select coalesce(max(id), 0) from mcp._audit")
        self.answer = act()
        query = "select to_jsonb(a) from mcp.audit a where id > %s and (outcome <> 'open' or mode = 'read') order by id"
        rows = wait_until(lambda: site.sql(query, [newest]), 10, "the call's record")
        assert len(rows) == 1, rows
        self.row = rows[0][0]
        self.text = self.row["arguments"]
        # Wherever it could have come to, the secret is not in it.
        everything = site.sql("select e::text from mcp._audit e where id > %s", [newest]) + site.sql("select c::text from mcp._audit_callers c")
        assert not [row for row in everything if SECRET in row[0] or SECRET.encode().hex() in row[0]]

    @property
    def arguments(self):
        return json.loads(self.text)


def hashed(site, value):
    found = site.value("select mcp.audit_hash(%s)", [value])
    assert HASH.fullmatch(found)
    return found


def call(site, caller, tool, arguments):
    record = Record(site, lambda: caller.tool(tool, arguments))
    assert record.row["tool"] == tool
    digest = "\\x" + hashlib.sha256(json.dumps(arguments).encode()).hexdigest()
    # Where something is hidden the digest is none that guesses could be compared with.
    assert (record.row["arguments_digest"] == digest) == (record.text == json.dumps(arguments))
    return record


@pytest.mark.parametrize("tool, mode", [("unlock", "read"), ("store", "write"), ("fail", "write")])
def test_secret_is_a_hash_in_the_record(site, caller, tool, mode):
    record = call(site, caller, tool, {"name": "anna", "password": SECRET})
    assert record.row["mode"] == mode and record.answer.is_error == (tool == "fail")
    assert record.text == json.dumps({"name": "anna", "password": hashed(site, SECRET)}, separators=(",", ":"))
    # As the next call in the same process, whose description is known from the last.
    assert call(site, caller, tool, {"name": "anna", "password": SECRET}).text == record.text
    assert call(site, caller, tool, {"name": "anna", "password": SECRET + "!"}).text != record.text


def test_values_of_other_types_and_names_that_are_escaped(site, caller):
    record = call(site, caller, "unlock", {"password": SECRET, "name": SECRET[:4], "code": 1234, "extra": {"password": "is not the argument", "n": [1, None, True]}})
    assert record.arguments == {"password": hashed(site, SECRET), "name": SECRET[:4], "code": hashed(site, "1234"),
                                "extra": {"password": "is not the argument", "n": [1, None, True]}}
    assert list(record.arguments) == ["password", "name", "code", "extra"]
    assert call(site, caller, "unlock", {"name": "a", "password": "x", "code": None}).arguments["code"] is None


def test_arguments_that_do_not_fit_are_hashed_whole(site, caller):
    for arguments in ({"name": "anna", "pasword": SECRET}, {"name": SECRET}, {"name": "anna", "password": {"is": SECRET}}, {"name": SECRET, "password": "x", "flag": True, "n": None}):
        record = call(site, caller, "unlock", arguments)
        assert record.answer.is_error
        assert list(record.arguments) == list(arguments)
        leaves = [leaf for value in record.arguments.values() for leaf in (value.values() if isinstance(value, dict) else [value])]
        assert all(leaf is None or leaf is True or HASH.fullmatch(leaf) for leaf in leaves)
    # A type that cannot take the value says so when the call runs: the names were right.
    record = call(site, caller, "unlock", {"name": "anna", "password": SECRET, "code": "a"})
    assert record.answer.is_error and record.arguments == {"name": "anna", "password": hashed(site, SECRET), "code": hashed(site, "a")}


def test_tool_without_secrets_is_recorded_as_it_came(site, caller):
    for arguments in ({"name": "anna"}, {"name": "anna", "shelf": 2}, {"nam": "anna"}, {}):
        assert call(site, caller, "open_shelf", arguments).text == json.dumps(arguments)


def test_nothing_is_recorded_of_what_nobody_knows(site, caller):
    sent = {"name": "anna", "password": SECRET}
    record = Record(site, lambda: caller.tool("unlok", sent))
    assert record.text is None and record.row["arguments_digest"] not in (None, "\\x" + hashlib.sha256(json.dumps(sent).encode()).hexdigest())


def test_prompt_and_its_completion(site, caller):
    record = Record(site, lambda: caller.rpc("prompts/get", {"name": "letter", "arguments": {"name": "anna", "password": SECRET}}))
    assert record.answer.status == 200 and record.arguments == {"name": "anna", "password": hashed(site, SECRET)}
    record = Record(site, lambda: caller.rpc("prompts/get", {"name": "letter", "arguments": {"password": SECRET}}))
    assert record.arguments == {"password": hashed(site, SECRET)}
    asked = {"ref": {"type": "ref/prompt", "name": "letter"}, "argument": {"name": "password", "value": SECRET}, "context": {"arguments": {"name": SECRET}}}
    record = Record(site, lambda: caller.rpc("completion/complete", asked))
    assert record.answer.status == 200 and record.arguments["ref"]["name"] == "letter" and record.arguments["argument"]["value"] == hashed(site, SECRET)


def test_literals_are_kept_or_hashed_as_the_role_has_it(site, caller):
    query = f"select '{SECRET[:7]}' as a, 42 -- {SECRET[8:]}\n, $1::text"
    arguments = {"query": query, "params": [SECRET[8:]]}
    assert call(site, caller, "execute_sql", arguments).arguments == arguments
    site.sql(f"load 'supabase_mcp'; alter role {caller.role} set supabase_mcp.audit_literals = hash")
    try:
        record = call(site, caller, "execute_sql", {"query": query.replace(SECRET[:7], SECRET), "params": [SECRET, 5, None, True]})
        assert record.arguments == {"query": f"select '{hashed(site, SECRET)}' as a, '{hashed(site, '42')}' , $1::text",
                                    "params": [hashed(site, SECRET), hashed(site, "5"), None, True]}
        for query in (f"select E'{SECRET}', $x${SECRET}$x$, U&'{SECRET}'; create role r password '{SECRET}'", f"select N'{SECRET}'/* {SECRET} */"):
            record = call(site, caller, "execute_sql", {"query": query})
            assert record.text.count(hashed(site, SECRET)) == query.count("'" + SECRET) + query.count("$" + SECRET) and record.arguments["query"].startswith("select ")
        # What cannot be read is hashed as a whole.
        for query in (f"select '{SECRET}", f"select $x${SECRET}", f"/* {SECRET}", f"select {'+' * 300} '{SECRET}'"):
            assert call(site, caller, "execute_sql", {"query": query}).arguments == {"query": hashed(site, query)}
        record = call(site, caller, "explain_query", {"query": "select 1", "analyze": True, "format": "json"})
        assert record.arguments == {"query": f"select '{hashed(site, '1')}'", "analyze": True, "format": hashed(site, "json")}
        record = call(site, caller, "open_shelf", {"name": SECRET, "shelf": 2})
        assert record.arguments == {"name": hashed(site, SECRET), "shelf": hashed(site, "2")}
        record = call(site, caller, "open_shelf", {"nam": SECRET})
        assert record.arguments == {"nam": hashed(site, SECRET)}
        record = call(site, caller, "unlock", {"name": "anna", "password": SECRET})
        assert record.arguments == {"name": hashed(site, "anna"), "password": hashed(site, SECRET)}
    finally:
        site.sql(f"alter role {caller.role} reset supabase_mcp.audit_literals")
    assert call(site, caller, "execute_sql", arguments).arguments == arguments


def test_longer_than_is_kept(site, caller):
    record = call(site, caller, "unlock", {"name": "n" * 9000, "password": SECRET})
    assert record.text == '{"name":"' + "n" * (8192 - 9)
    site.sql(f"load 'supabase_mcp'; alter role {caller.role} set supabase_mcp.audit_literals = hash")
    try:
        record = call(site, caller, "execute_sql", {"query": f"select {'1,' * 200_000} '{SECRET}'"})
        assert len(record.text) == 8192 and record.text.startswith('{"query":"select \'#')
    finally:
        site.sql(f"alter role {caller.role} reset supabase_mcp.audit_literals")


def test_callers_have_neither_the_key_nor_the_switch(site, caller):
    assert caller.sqlstate("set supabase_mcp.audit_literals = 'keep'") == "42501"
    assert caller.sqlstate("select set_config('supabase_mcp.audit_literals', 'keep', true)") == "42501"
    for statement in ("select * from mcp._audit_key", "select mcp.audit_hash('a')", "select mcp._audit_hash('a', 'b')", "select mcp._keeper('{}')"):
        assert caller.sqlstate(statement) == "42501"
    key = site.value("select encode(key, 'hex') from mcp._audit_key")
    seen = caller.value("select (select string_agg(s::text, ' ') from pg_settings s) || mcp.current_caller()::text || (select string_agg(a::text, ' ') from pg_stat_activity a)")
    assert key not in seen


def test_key_is_of_one_database_and_not_in_the_state(site):
    site.sql("create database other_vault")
    site.sql("create extension supabase_mcp", database="other_vault")
    one, other = site.value("select mcp.audit_hash('a')"), site.value("select mcp.audit_hash('a')", database="other_vault")
    assert one != other
    assert site.value("select encode(key, 'hex') from mcp._audit_key") not in json.dumps(site.value("select mcp.status()"))


def test_without_a_key_less_is_recorded(site):
    """A superuser took the key away: calls go on, and what would need a hash is left out."""
    site.sql("create database keyless")
    site.sql(SETUP, database="keyless")
    site.sql("delete from mcp._audit_key", database="keyless")
    site.sql("create role keyless login")
    site.sql("select mcp.grant_tools('keyless', write => true)", database="keyless")
    secret = site.value("select mcp.create_token('keyless')", database="keyless")
    caller = Caller(site, bearer(secret), "keyless")
    try:
        assert caller.tool("unlock", {"name": "anna", "password": SECRET}).data == {"result": "unlocked anna"}
        assert caller.tool("store", {"name": "anna", "password": SECRET}).data == {"result": None}
        assert caller.tool("open_shelf", {"name": "anna"}).data == {"result": "anna"}
        query = "select tool, arguments, arguments_digest from mcp.audit where method = 'tools/call' order by id"
        rows = wait_until(lambda: (found := site.sql(query, database="keyless")) if len(site.sql(query, database="keyless")) == 3 else None, 10, "three records")
        assert sorted(row[:2] for row in rows) == [("open_shelf", '{"name": "anna"}'), ("store", None), ("unlock", None)]
        assert all(row[2] is None for row in rows if row[1] is None)
    finally:
        caller.close()


def test_schema_says_that_it_is_written_and_never_read(site, caller):
    properties = caller.tools()["unlock"]["inputSchema"]["properties"]
    assert properties["password"] == {"type": "string", "description": "Of the vault", "writeOnly": True}
    assert properties["code"]["writeOnly"] is True and "writeOnly" not in properties["name"]
    assert caller.tools()["store"]["inputSchema"]["properties"]["password"]["writeOnly"] is True
