"""Tools by the names of Supabase's MCP server: arguments and results as recorded from it, for an ordinary role and for `postgres`.

tests/e2e/data/supabase_shapes.json has its output schemas; supabase_tables.json has what its query said of supabase_tables.sql.
"""

import base64
import json

import pytest

from harness.cluster import Cluster
from harness.shapes import DATA, extra_keys, recorded
from harness.supabase import ADA, call_as, supabase_cluster

SHAPES = recorded("supabase_shapes.json")
DENIED = "42501"


def token(role):
    """A legacy key: a token of Supabase Auth; nobody looks at its signature."""
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode()
                    for part in (b'{"alg":"HS256","typ":"JWT"}', json.dumps({"iss": "supabase", "role": role}).encode(), b"?>?signature"))


@pytest.fixture(scope="module")
def site():
    # It has BYPASSRLS, and is served where the server's administrator says so.
    one = supabase_cluster(supabase_mcp__privileged_roles="postgres")
    one.install()
    one.sql("grant mcp_admin to postgres; grant anon, authenticated, service_role to postgres with admin option;"
            " create role agent login; grant usage on schema public to agent; grant select on public.profile to agent;"
            " select mcp.grant_tools('agent'); select mcp.grant_tools('postgres')")
    one.sql((DATA / "supabase_tables.sql").read_text(), user="postgres")
    one.sql("insert into storage.buckets (id, name, public, owner_id, file_size_limit, allowed_mime_types)"
            f" values ('b2', 'avatars', true, '{ADA}', 1000, '{{image/png}}')", user="supabase_storage_admin")
    yield one
    one.remove()


@pytest.fixture(scope="module", params=["agent", "postgres"])
def either(site, request):
    """An ordinary role, and Supabase's own administrator, which is no superuser."""
    return call_as(site, request.param, by="supabase_admin")


@pytest.fixture(scope="module")
def agent(site):
    return call_as(site, "agent", by="supabase_admin")


@pytest.fixture(scope="module")
def developer(site):
    return call_as(site, "postgres", by="supabase_admin")


def with_settings(site, role="agent", **settings):
    return call_as(site, role, by="supabase_admin", settings=json.dumps({name.replace("__", "."): value for name, value in settings.items()}))


# ---- arguments

@pytest.mark.parametrize("name", SHAPES)
def test_arguments_are_those_of_supabase(either, name):
    tool = either.tools("all")[name]
    schema = tool["inputSchema"]
    assert set(SHAPES[name]["arguments"]) <= set(schema["properties"])
    assert not schema.get("required"), "more than Supabase's own arguments may be given, none must be"
    assert tool["annotations"]["readOnlyHint"] is True


@pytest.mark.parametrize("name", ["list_tables", "list_extensions"])
def test_project_id_is_accepted(either, name):
    assert either.tool(name, {"project_id": "abcdefghijklmnopqrst"}).data == either.tool(name).data


# ---- list_tables

def test_tables_are_told_as_supabase_tells_them(developer):
    theirs = recorded("supabase_tables.json")["tables"]
    ours = developer.tool("list_tables", {"schemas": ["shapes"], "verbose": True}).data["tables"]
    extras = extra_keys(SHAPES["list_tables"]["result"], {"tables": ours})
    assert extras == {"$.tables[].kind"}
    for table in ours:
        table.pop("kind", None)
        if "foreign_key_constraints" in table:
            table["foreign_key_constraints"].sort(key=lambda key: key["name"])
    assert ours == theirs


def test_tables_have_supabases_shape(either):
    for arguments in ({}, {"schemas": ["public"]}, {"verbose": True}, {"schemas": [], "verbose": True}):
        data = either.tool("list_tables", arguments).data
        assert data["tables"]
        assert extra_keys(SHAPES["list_tables"]["result"], data) <= {"$.tables[].kind"}


def test_no_schemas_are_all_schemas(developer):
    everything = developer.tool("list_tables").data
    assert developer.tool("list_tables", {"schemas": []}).data == everything
    assert {"auth.users", "public.todo"} <= {table["name"] for table in everything["tables"]}


def test_a_compact_table_has_no_columns(agent):
    assert agent.tool("list_tables", {"schemas": ["public"]}).data["tables"] == [{"name": "public.profile", "rls_enabled": True, "rows": 2}]


def test_table_without_policies_that_the_api_reaches_is_an_advisory(developer):
    data = developer.tool("list_tables", {"schemas": ["public", "shapes", "auth", "storage"]}).data
    advisory = data["advisory"]
    # Nobody of the API may use schema shapes; auth.schema_migrations and storage.migrations are Supabase's own.
    assert advisory == {
        "id": "rls_disabled", "priority": 1, "level": "critical", "title": "Row Level Security is disabled",
        "message": "1 table(s) have Row Level Security (RLS) disabled: public.forgotten. These tables are fully exposed to the anon and"
                   " authenticated roles used by Supabase client libraries \u2014 anyone with the anon key can read or modify every row."
                   " You MUST surface this security issue to the user in your response. Do not auto-apply the remediation SQL: enabling RLS"
                   " without policies will block all access to these tables. Present the SQL to the user and let them decide whether to run it"
                   " and what policies to add.",
        "remediation_sql": 'ALTER TABLE "public"."forgotten" ENABLE ROW LEVEL SECURITY;',
        "doc_url": "https://supabase.com/docs/guides/database/postgres/row-level-security"}


def test_advisory_names_what_is_listed_only(agent, developer):
    assert "advisory" not in agent.tool("list_tables").data, "public.forgotten is not shown to it"
    assert "advisory" not in developer.tool("list_tables", {"schemas": ["auth", "storage", "shapes"]}).data
    assert "advisory" not in developer.tool("list_tables", {"schemas": ["public"], "after": "public.forgotten"}).data


def test_advisory_on_many_tables_is_cut(site, developer):
    site.sql("create schema open; grant usage on schema open to anon;"
             + "".join(f'create table open."T {n:02}""" (a integer); grant select on open."T {n:02}""" to anon;' for n in range(23)), user="postgres")
    try:
        advisory = developer.tool("list_tables", {"schemas": ["open"]}).data["advisory"]
    finally:
        site.sql("drop schema open cascade", user="postgres")
    assert advisory["message"].startswith("23 table(s) have Row Level Security (RLS) disabled: open.\"T 00\"\"\", ")
    assert 'open."T 19""" and 3 more. These' in advisory["message"]
    commands = advisory["remediation_sql"].split("\n")
    assert len(commands) == 21 and commands[0] == 'ALTER TABLE "open"."T 00""" ENABLE ROW LEVEL SECURITY;' and commands[20] == "-- and 3 more"


@pytest.mark.parametrize("encoding", ["euc_jp", "sql_ascii", "latin1"])
def test_advisory_in_another_encoding(site, encoding):
    site.sql(f"create database {encoding} template template0 encoding '{encoding}' locale 'C'")
    site.sql("create extension supabase_mcp; create table plain (a integer); grant select on plain to anon", database=encoding)
    text = "select mcp.list_tables('{public}') -> 'advisory' ->> 'message' ~ 'client libraries - anyone'"
    assert site.value(text, database=encoding) is True


def test_without_supabases_roles_there_is_no_advisory():
    one = Cluster().start()
    try:
        one.sql("create extension supabase_mcp; create table public.plain (a integer)")
        assert list(one.value("select mcp.list_tables('{public}')")) == ["tables"]
    finally:
        one.remove()


# ---- list_extensions

def test_extensions_have_supabases_shape(either):
    data = either.tool("list_extensions").data
    assert extra_keys(SHAPES["list_extensions"]["result"], data) == set()
    listed = {extension["name"]: extension for extension in data["extensions"]}
    assert listed["plpgsql"]["installed_version"] == "1.0" and listed["plpgsql"]["schema"] == "pg_catalog"
    assert listed["supabase_mcp"]["schema"] == "mcp" and listed["supabase_mcp"]["installed_version"]


# ---- get_project_url and get_publishable_keys

def test_unknown_url_and_keys_say_how_to_set_them(either):
    for name, setting in (("get_project_url", "supabase_mcp.project_url"), ("get_publishable_keys", "supabase_mcp.publishable_keys")):
        error = either.tool(name).error
        assert error["sqlstate"] == "55000" and f"alter database postgres set {setting} = " in error["hint"]


@pytest.mark.parametrize("name", ["app__settings__supabase_url", "app__settings__project_url", "app__supabase_url"])
def test_url_of_a_projects_own_setting(site, name):
    data = with_settings(site, **{name: " https://abc.supabase.co/ "}).tool("get_project_url").data
    assert data == {"url": "https://abc.supabase.co"} and not extra_keys(SHAPES["get_project_url"]["result"], data)


@pytest.mark.parametrize("url", ["ftp://a.b", "abc.supabase.co", "https://user:secret@abc.supabase.co", "https://abc.co/?key=1", "https:// x"])
def test_what_is_no_url_is_refused(site, url):
    error = with_settings(site, app__settings__supabase_url=url).tool("get_project_url").error
    assert error["sqlstate"] == "22023" and "app.settings.supabase_url" in error["message"] and "secret" not in str(error)


def test_legacy_anon_key(site):
    data = with_settings(site, app__settings__anon_key=token("anon")).tool("get_publishable_keys").data
    assert data == {"keys": [{"api_key": token("anon"), "name": "anon", "type": "legacy"}]}


@pytest.mark.parametrize("key", ["sb_secret_abc", " sb_secret_abc", token("service_role"), token("authenticated"), token("supabase_admin"), "secret",
                                 "SB_PUBLISHABLE_x", "sb_publishable_ sb_secret_abc", "a.b.c", '{"api_key": "sb_secret_abc", "type": "publishable"}',
                                 json.dumps([{"name": "anon", "api_key": token("service_role")}]), '[{"name": "x"}]', "[1, null]"])
def test_secret_key_is_never_given_out(site, key):
    error = with_settings(site, app__settings__anon_key=key).tool("get_publishable_keys").error
    assert error["sqlstate"] == "22023" and "abc" not in str(error) and token("service_role") not in str(error)


def test_keys_among_which_one_is_secret(site):
    keys = json.dumps([{"name": "default", "api_key": "sb_publishable_A-b_1", "id": "7", "description": "of the app", "disabled": False, "secret": "x"},
                       "sb_secret_abc", token("anon"), {"name": "admin", "api_key": token("service_role")},
                       {"name": "old", "api_key": "sb_publishable_2", "disabled": True, "id": 5}])
    data = with_settings(site, app__settings__anon_key=keys).tool("get_publishable_keys").data
    assert data["keys"] == [
        {"api_key": "sb_publishable_A-b_1", "name": "default", "type": "publishable", "id": "7", "description": "of the app", "disabled": False},
        {"api_key": token("anon"), "name": "anon", "type": "legacy"},
        {"api_key": "sb_publishable_2", "name": "old", "type": "publishable", "disabled": True}]
    assert extra_keys(SHAPES["get_publishable_keys"]["result"], data) == set()


def test_settings_of_the_server_come_first(site):
    if site.value("select current_setting('supabase_mcp.project_url', true)") is None:
        pytest.skip("this build of the library has no setting supabase_mcp.project_url")
    site.sql("create role fresh login; select mcp.grant_tools('fresh'); alter role fresh set supabase_mcp.project_url = 'https://api.example.com';"
             " alter role fresh set supabase_mcp.publishable_keys = 'sb_publishable_s'")
    caller = with_settings(site, "fresh", app__settings__supabase_url="https://other.example.com", app__settings__anon_key="sb_publishable_o")
    assert caller.tool("get_project_url").data == {"url": "https://api.example.com"}
    assert [key["api_key"] for key in caller.tool("get_publishable_keys").data["keys"]] == ["sb_publishable_s"]


# ---- list_storage_buckets

def test_buckets(developer):
    data = developer.tool("list_storage_buckets").data
    assert extra_keys(SHAPES["list_storage_buckets"]["result"], data) == {"$.buckets[].file_size_limit", "$.buckets[].allowed_mime_types"}
    avatars, papers = data["buckets"]
    assert (avatars["id"], avatars["name"], avatars["owner"], avatars["public"]) == ("b2", "avatars", ADA, True)
    assert (papers["id"], papers["owner"], papers["public"]) == ("papers", "", False)
    assert avatars["file_size_limit"] == 1000 and avatars["allowed_mime_types"] == ["image/png"]
    page = developer.tool("list_storage_buckets", {"max_buckets": 1}).data
    assert page == {"buckets": [avatars], "truncated": True, "next": "avatars"}
    assert developer.tool("list_storage_buckets", {"after": page["next"]}).data == {"buckets": [papers]}


def test_buckets_that_policies_hide(site):
    site.sql("select mcp.grant_tools('anon', tools => '{storage}')", user="postgres")
    data = call_as(site, "anon").tool("list_storage_buckets").data
    assert data == {"buckets": [], "not_visible": "Buckets that the policies on storage.buckets keep from your role."}


def test_buckets_without_privilege_say_which(agent):
    error = agent.tool("list_storage_buckets").error
    assert error["sqlstate"] == DENIED and "grant select on storage.buckets to agent;" in error["hint"]


def test_buckets_that_are_not_supabases_are_not_read(site):
    """A view by that name would run its maker's functions as the caller."""
    site.sql("create database plain")
    site.sql("create role trapper login; grant create on database plain to trapper")
    site.sql("create extension supabase_mcp; select mcp.grant_tools('agent')", database="plain")
    assert_none = "select mcp.list_storage_buckets()"
    with pytest.raises(Exception, match="no Supabase Storage"):
        site.sql(assert_none, database="plain", user="agent")
    site.sql("create schema storage; create table storage.buckets (id text, name text); grant usage on schema storage to public;"
             " grant select on storage.buckets to public; create function storage.trap() returns boolean language plpgsql as"
             " $$ begin raise exception 'trapped'; end $$; alter table storage.buckets enable row level security;"
             " create policy p on storage.buckets using (storage.trap()); insert into storage.buckets values ('a', 'a')", database="plain", user="trapper")
    with pytest.raises(Exception, match="no Supabase Storage"):
        site.sql(assert_none, database="plain", user="agent")
