"""Every built-in tool is called, and each answer is what the tool's outputSchema says: clients refuse the whole answer otherwise.

Owns CALLS, the table of calls: a tool that is missing there fails the test. Everything is called twice: on a server where nothing that a tool
may need is there (extensions, log, settings), and on one where it is, as far as this PostgreSQL comes with it.
"""

from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest

from harness.caller import token_caller
from harness.cluster import Cluster, pg_config
from harness.sessions import Session
from harness.tools_page import DEFAULT

# looker only reads, maker also writes, monitor has pg_monitor and may signal.
WORLD = """
create role looker login; create role maker login; create role monitor login; grant pg_monitor, pg_signal_backend to monitor;
select mcp.grant_tools('looker'), mcp.grant_tools('maker', write => true), mcp.grant_tools('monitor', write => true);
grant create on database postgres to maker;
create schema farm; grant all on schema farm to maker; grant usage on schema farm to looker, monitor;
create type farm.mood as enum ('good', 'bad'); create type farm.size as enum ('small', 'large');
create table farm.person (id int primary key, name text not null, mood farm.mood, spot point);
create table farm.pet (id int primary key, person_id int references farm.person on delete cascade, name text);
create index pet_name on farm.pet (name); create index pet_name_again on farm.pet (name); create index pet_name_too on farm.pet (name);
insert into farm.person select g, 'person ' || g, 'good' from generate_series(1, 2000) g;
insert into farm.pet select g, g, 'pet ' || g from generate_series(1, 2000) g;
alter table farm.pet enable row level security;
create policy own_pets on farm.pet using (true); create policy more_pets on farm.pet using (id > 0);
create view farm.named as select id, name from farm.person;
create function farm.note() returns trigger language plpgsql as 'begin return new; end';
create trigger noted before update on farm.person for each row execute function farm.note();
create function farm.add(a int, b int default 1) returns int language sql as 'select a + b';
create function farm.add(a text) returns text language sql as 'select a';
create trigger noted_too after update on farm.person for each row execute function farm.note();
create table farm.visit (id serial primary key, person_id int references farm.person, pet_id int references farm.pet); grant all on farm.visit to maker;
create function farm.watch() returns event_trigger language plpgsql as 'begin end'; create event trigger watched on ddl_command_end execute function farm.watch();
create role stranger; create table farm.held (id int primary key);
grant select on all tables in schema farm to looker, maker, monitor; grant insert, update, delete on farm.person to maker; grant select on farm.held to stranger;
create table farm.owned (id int); alter table farm.owned owner to maker; grant usage on sequence farm.visit_id_seq to maker;
analyze;
"""
EXTENSIONS = ("vector", "hypopg", "pg_stat_statements")
# What is there in the second round: extensions see below, the rest are settings, grants and tables.
FULL = """
grant execute on function mcp._log_files(), mcp._read_log(text, bigint, integer) to looker;
alter database postgres set supabase_mcp.project_url = 'https://api.example.com';
alter database postgres set supabase_mcp.publishable_keys = 'sb_publishable_abc';
create schema storage; grant usage on schema storage to looker;
create table storage.buckets (id text primary key, name text, owner_id text, public boolean, created_at timestamptz, type text);
insert into storage.buckets values ('a', 'avatars', null, true, now(), 'STANDARD'), ('b', 'backups', null, false, now(), null);
grant select on storage.buckets to looker, monitor; grant usage on schema storage to monitor;
alter table storage.buckets enable row level security; create policy a on storage.buckets using (true);
select mcp.load_docs('guide.md', E'# Orders\\n\\nOrders are what customers place.\\n\\n## Refunds\\n\\nOrders are refunded.');
create table public.open_to_all (id int);
"""
VECTORS = """
create table farm.item (id int primary key, name text, place vector(2)); grant select on farm.item to looker;
insert into farm.item select g, 'item ' || g, format('[%s,1]', g)::vector from generate_series(1, 20) g;
create index on farm.item using hnsw (place vector_l2_ops);
"""
# What the error says where something is missing.
MISSING = {"vector": "vector", "hypopg": "hypopg", "pg_stat_statements": "pg_stat_statements", "log": "log", "url": "URL",
           "keys": "keys", "storage": "Storage"}


@contextmanager
def waiting(site):
    """One session that holds a table, and one that waits for it."""
    with Session(site) as holder, Session(site) as waiter:
        holder.run("begin; lock table farm.held")
        waiter.start("select * from farm.held").waits()
        yield {}


@contextmanager
def sleeping(site):
    with Session(site, user="maker") as session:
        session.start("select pg_sleep(600)").runs()
        yield {"pid": session.pid}


@contextmanager
def idle(site):
    with Session(site, user="maker") as session:
        session.run("begin")
        yield {"pid": session.pid}


PEOPLE = "select * from farm.person where name = 'person 7'"
# Per tool: who calls it, with which arguments (or with those of a scene), and what it needs. The first of each shows the tool at work.
CALLS = {
    "advise_indexes": [("looker", {"query": PEOPLE}), ("looker", {"query": "select 1"}), ("looker", {}, "pg_stat_statements")],
    "apply_migration": [("maker", {"name": "add_a_table", "query": "create table farm.made (id int)"}),
                        ("maker", {"name": "of_a_version", "query": "create table farm.made_too (id int)", "version": "20200101000000"}),
                        ("maker", {"name": "only_tried", "query": "create table farm.tried (id int); insert into farm.person values (0, 'x')", "dry_run": True})],
    "cancel_query": [("monitor", sleeping), ("monitor", idle)],
    "check_health": [("monitor", {}), ("looker", {}), ("looker", {"checks": ["locks", "settings"]})],
    "describe_function": [("looker", {"name": "farm.add"}), ("looker", {"name": "note", "schema": "farm"}), ("looker", {"name": "pg_catalog.max(integer)"})],
    "describe_table": [("looker", {"name": "farm.person"}), ("looker", {"name": "named", "schema": "farm", "sample_rows": 2}), ("maker", {"name": "farm.pet", "sample_rows": 99})],
    "execute_sql": [("looker", {"query": "select 1; select $1::int", "params": [5]}), ("maker", {"query": "update farm.person set name = name where id = 1"}),
                    ("looker", {"query": "show work_mem"}), ("looker", {"query": "select * from generate_series(1, 5000)"})],
    "explain_query": [("looker", {"query": PEOPLE}), ("looker", {"query": PEOPLE, "format": "json", "analyze": True}),
                      ("looker", {"query": "select * from farm.person where name = $1", "params": ["x"]}),
                      ("looker", {"query": PEOPLE, "hypothetical_indexes": ["create index on farm.person (name)"]}, "hypopg")],
    "find_duplicate_indexes": [("looker", {}), ("looker", {"max_indexes": 0}), ("maker", {"max_indexes": 1})],
    "find_similar": [("looker", {"table": "farm.item", "example": {"id": 3}}, "vector"),
                     ("looker", {"table": "item", "column": "place", "metric": "l2", "example": [1, 1], "max_rows": 2, "filter": {"name": "item 4"}}, "vector")],
    "find_unused_indexes": [("looker", {}), ("looker", {"max_scans": 1000, "max_indexes": 1})],
    "foreign_key_graph": [("looker", {}), ("looker", {"format": "mermaid", "table": "farm.pet"}), ("looker", {"schemas": ["farm", "none"], "max_keys": 1})],
    "generate_typescript_types": [("looker", {"schemas": ["farm"]}), ("looker", {})],
    "get_advisors": [("looker", {"type": "performance"}), ("looker", {"type": "security", "max_findings": 1}),
                     ("maker", {"type": "performance", "lint": "duplicate_index"})],
    "get_logs": [("looker", {"max_lines": 2}, "log"), ("looker", {"min_severity": "panic", "service": "postgres"}, "log"),
                 ("looker", {"pattern": "no such word", "iso_timestamp_start": "2026-01-01T00:00:00Z"}, "log")],
    "get_project_url": [("looker", {}, "url")],
    "get_publishable_keys": [("looker", {}, "keys")],
    "get_replication": [("monitor", {}), ("looker", {})],
    "hybrid_search": [("looker", {"table": "farm.item", "query": "item", "text_columns": ["name"], "vector": [1, 1]}, "vector"),
                      ("looker", {"table": "item", "query": "none", "text_columns": ["name"], "vector": [2, 1], "language": "english", "max_rows": 1,
                                  "filter": {"id": 2}, "column": "place"}, "vector")],
    "list_activity": [("monitor", {"state": "any"}), ("looker", {}), ("monitor", {"min_duration": "PT0S", "max_sessions": 1, "state": "any"})],
    "list_extensions": [("looker", {})],
    "list_locks": [("monitor", waiting), ("looker", waiting), ("looker", {}), ("looker", {"max_sessions": 1})],
    "list_migrations": [("maker", {}), ("maker", {"after": "2"})],
    "list_policies": [("looker", {}), ("maker", {"table": "farm.pet", "max_policies": 1}), ("looker", {"schemas": ["none"]})],
    "list_progress": [("monitor", {}), ("looker", {})],
    "list_roles_and_grants": [("looker", {}), ("looker", {"role": "maker"}), ("looker", {"table": "farm.person", "max_roles": 1}),
                              ("looker", {"role": "maker", "table": "person", "schema": "farm"}), ("looker", {"role": "stranger", "table": "farm.held"})],
    "list_schemas": [("looker", {}), ("maker", {"max_schemas": 1})],
    "list_settings": [("monitor", {}), ("looker", {"pattern": "work_mem"}), ("looker", {"pattern": "wrok_mem"}), ("looker", {"changed_only": False, "max_settings": 3})],
    "list_sizes": [("monitor", {}), ("looker", {"kind": "index", "schema": "farm", "max_entries": 1}), ("looker", {"kind": "schema"}), ("looker", {"kind": "database"}), ("looker", waiting)],
    "list_slow_queries": [("monitor", {}, "pg_stat_statements"), ("looker", {"sort_by": "calls", "max_queries": 2}, "pg_stat_statements"),
                          ("looker", {"queryid": "1"}, "pg_stat_statements")],
    "list_storage_buckets": [("looker", {}, "storage"), ("looker", {"max_buckets": 1}, "storage")],
    "list_tables": [("looker", {}), ("looker", {"schemas": ["farm", "none"], "verbose": True}), ("maker", {"max_tables": 1})],
    "list_triggers": [("looker", {}), ("looker", {"table": "farm.person"}), ("looker", {"schemas": ["none"]}), ("looker", {"max_triggers": 1})],
    "list_types": [("looker", {}), ("looker", {"schemas": ["farm", "none"], "max_types": 1})],
    "preview_sql": [("maker", {"query": "create table farm.preview (id int); alter table farm.preview add column b serial; update farm.person set name = 'x' where id < 3"}),
                    ("maker", {"query": "select 1", "lints": False}), ("maker", {"query": "alter table farm.owned alter column id type text; select nextval('farm.visit_id_seq')"}),
                    ("maker", {"query": "alter table farm.owned add primary key (id)", "lints": True})],
    "schema_document": [("looker", {}), ("looker", {"max_kb": 0, "schemas": ["farm", "none", "pg_catalog"]})],
    "search_docs": [("looker", {"query": "orders"}), ("looker", {"query": "orders", "whole_sections": True, "max_results": 1}),
                    ("looker", {"graphql_query": '{ searchDocs(query: "orders", limit: 1) { nodes { title content } } }'})],
    "search_objects": [("looker", {"pattern": "per"}), ("looker", {"kind": "table", "detail": "full", "schema": "farm"}), ("looker", {"detail": "summary", "max_objects": 1})],
    "terminate_session": [("monitor", idle), ("monitor", sleeping)],
}
ROWS = [pytest.param(tool, *call, *[None] * (3 - len(call)), id=f"{tool}-{number}") for tool, calls in CALLS.items() for number, call in enumerate(calls)]


@pytest.fixture(scope="module", params=["bare", "full"])
def site(request):
    counts = (Path(pg_config("pkglibdir")) / "pg_stat_statements.so").exists()
    one = Cluster(shared_preload_libraries="supabase_mcp" + ",pg_stat_statements" * counts, logging_collector="on", log_directory="log").start()
    try:
        available = {row[0] for row in one.sql("select name from pg_available_extensions")} & set(EXTENSIONS)
        one.install()
        one.sql(WORLD)
        one.has = set()
        if request.param == "full":
            one.has = available | {"log", "url", "keys", "storage"}
            one.sql("".join(f"create extension {name};" for name in sorted(available)) + FULL + (VECTORS if "vector" in available else ""))
        one.callers = {role: token_caller(one, role) for role in ("looker", "maker", "monitor")}
        one.listed = {role: caller.tools("all") for role, caller in one.callers.items()}
        one.features = {row[0]: set(row[1]) for row in one.sql("select tool, features from mcp._builtin_tools() where tool <> 'execute_sql_write'")}
        yield one
    finally:
        one.remove()


def fits(data, schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema, jsonschema.Draft202012Validator)


@contextmanager
def arguments_of(site, given):
    if callable(given):
        with given(site) as arguments:
            yield arguments
    else:
        yield given


@pytest.mark.parametrize("tool, role, given, needs", ROWS)
def test_the_answer_is_what_the_schema_says(site, tool, role, given, needs):
    caller, listed = site.callers[role], site.listed[role][tool]
    with arguments_of(site, given) as arguments:
        fits(arguments, listed["inputSchema"])
        result = caller.tool(tool, arguments)
        if needs not in site.has | {None}:
            error = result.error
            assert MISSING[needs] in error["message"] and error["hint"], error
            return
        data = result.data
        fits(data, listed["outputSchema"])
        # In the lists that every client gets there is room for the keys that matter most alone.
        if not set(DEFAULT) & site.features[tool] and tool != "list_roles_and_grants":
            assert set(data) <= set(listed["outputSchema"]["properties"]), data.keys()
        if "next" in data:
            assert data["truncated"] is True
            onward = caller.tool(tool, {**arguments, "before" if tool == "get_logs" else "after": data["next"]}).data
            fits(onward, listed["outputSchema"])
            assert onward != data


def test_every_tool_is_called(site):
    assert set(CALLS) == set(site.features)


# Words that a schema lists beside what the first call of the tool says.
LISTED = {("check_health", "checks"), ("explain_query", "format"), ("foreign_key_graph", "format"), ("get_advisors", "type"), ("list_activity", "state"),
          ("list_sizes", "kind"), ("list_slow_queries", "sort_by"), ("search_objects", "detail")}


@pytest.mark.parametrize("tool, name", sorted(LISTED))
def test_listed_words_are_those_that_are_taken(site, tool, name):
    role, arguments, needs = [*CALLS[tool][0], None][:3]
    if needs not in site.has | {None}:
        pytest.skip(f"{tool} needs {needs}")
    schema = site.listed[role][tool]["inputSchema"]["properties"][name]
    many = schema.get("items")
    for word in (many or schema)["enum"]:
        assert not site.callers[role].tool(tool, {**arguments, name: [word] if many else word}).is_error, word
    error = site.callers[role].tool(tool, {**arguments, name: ["other"] if many else "other"}).error
    assert "other" in error["message"] or name in error["message"]


def test_no_other_words_are_listed(site):
    found = {(tool["name"], name) for listed in site.listed.values() for tool in listed.values()
             for name, schema in tool["inputSchema"]["properties"].items() if "enum" in schema or "enum" in schema.get("items", {})}
    assert found == LISTED
