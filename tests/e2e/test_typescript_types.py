"""The tool generate_typescript_types against Supabase's own generator on the same database, and its text against the compiler."""

import json
import re
import shutil
import subprocess

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.programs import node_clients, types_folder

EVERY_SCHEMA = ["public", "other", "empty", "odd-names"]
HERE = "types"


@pytest.fixture(scope="module")
def cluster():
    """A database of the role typer, full of what the generator tells apart, and a role that may see a part of it."""
    one = Cluster().start()
    one.sql("create role typer login; create role guest login")
    one.sql("create database types owner typer")
    one.install(HERE)
    one.sql("create extension postgres_fdw; grant usage on foreign data wrapper postgres_fdw to typer;"
            " select mcp.grant_tools(r::regrole) from unnest(array['typer', 'guest']) r", database=HERE)
    with open(__file__.replace("e2e/test_typescript_types.py", "harness/types.sql")) as script:
        one.sql(script.read(), database=HERE, user="typer")
    one.sql("""
        create server away foreign data wrapper postgres_fdw;
        create foreign table far_away (id integer not null, note text, mood mood) server away;
        create function one_far_away() returns far_away language sql as 'select null::far_away';
        grant usage on schema other to guest;
        grant select (id, name), delete on users to guest;
        grant select on profiles, user_names, other.parts, other.things to guest;
        revoke execute on function add_numbers(integer, integer) from public""", database=HERE, user="typer")
    yield one
    one.remove()


@pytest.fixture(scope="module")
def owner(cluster):
    caller = token_caller(cluster, "typer", HERE)
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def guest(cluster):
    caller = token_caller(cluster, "guest", HERE)
    yield caller
    caller.close()


def types_of(caller, *schemas):
    return caller.tool("generate_typescript_types", {"schemas": list(schemas)}).data["types"]


def supabases(cluster, schemas):
    """What Supabase's generator prints for these schemas, connected as the role typer."""
    done = subprocess.run(
        [node_clients()[1], types_folder() / "generate.mjs", f"postgresql://typer@localhost/{HERE}?host={cluster.folder}", ",".join(schemas)],
        capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def steady(text):
    """Relationships sorted: among those of one key to one table, Supabase's order is the order of the rows on disk."""
    def sort(found):
        return found[1] + "\n".join(sorted(re.findall(r" {10}\{\n.*?\n {10}\},", found[2], re.S))) + found[3]
    return re.sub(r"(Relationships: \[\n)(.*?)(\n {8}\])", sort, text, flags=re.S)


def compiled(tmp_path, types, *programs):
    """What the compiler says, in strict mode, of the types and the programs that use them."""
    (tmp_path / "database.types.ts").write_text(types)
    for name in ("tsconfig.json", "package.json"):
        shutil.copy(types_folder() / name, tmp_path)
    for name, text in programs:
        (tmp_path / name).write_text(text)
    (tmp_path / "node_modules").symlink_to(types_folder() / "node_modules")
    done = subprocess.run([node_clients()[1], types_folder() / "node_modules/typescript/bin/tsc", "-p", tmp_path],
                          capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


# ---- the same as Supabase's

@pytest.mark.parametrize("schemas", [EVERY_SCHEMA, ["public"], ["other"], ["other", "public"], ["empty"], ["odd-names", "empty"]], ids=",".join)
def test_same_as_supabases_generator(cluster, owner, schemas):
    ours, theirs = types_of(owner, *schemas), supabases(cluster, schemas)
    assert steady(ours).split("\n") == steady(theirs).split("\n")
    assert len(ours) == len(theirs)


def test_keys_in_a_schema_whose_name_needs_quotes(cluster, owner):
    """Supabase's generator writes "columns: null" there."""
    cluster.sql("""create table "odd-names".points (at integer references "odd-names"."a table")""", database=HERE, user="typer")
    try:
        found = types_of(owner, "odd-names")
        assert ('          {\n            foreignKeyName: "points_at_fkey"\n            columns: ["at"]\n            isOneToOne: false\n'
                '            referencedRelation: "a table"\n            referencedColumns: ["id"]\n          },') in found
    finally:
        cluster.sql('drop table "odd-names".points', database=HERE, user="typer")


def test_foreign_table_whose_wrapper_does_nothing(cluster, owner):
    cluster.sql("create foreign data wrapper nothing; create server nothing foreign data wrapper nothing;"
                " create foreign table other.nothing (id integer) server nothing; alter foreign table other.nothing owner to typer", database=HERE)
    try:
        assert "      nothing: {\n        Row: {\n          id: number | null\n        }" in types_of(owner, "other")
    finally:
        cluster.sql("drop foreign data wrapper nothing cascade", database=HERE)


# ---- programs that use it

def test_a_program_that_uses_the_types_compiles(owner, tmp_path):
    program = (types_folder() / "app.ts").read_text()
    assert compiled(tmp_path, types_of(owner, *EVERY_SCHEMA), ("app.ts", program)) == ""


@pytest.mark.parametrize("wrong,said", [
    ("client.from('users').insert({ id: 1, nmae: 'x' })", "nmae"),
    ("client.from('users').select('nope').single().then(({ data }) => data!.nope)", "column 'nope' does not exist on 'users'"),
    ("client.rpc('add_numbers', { b: 1 })", "TS2345"),
])
def test_a_program_with_a_mistake_does_not(owner, tmp_path, wrong, said):
    head = "import { createClient } from '@supabase/supabase-js'\nimport type { Database } from './database.types.js'\n"
    head += "const client = createClient<Database>('http://localhost', 'key')\n"
    output = compiled(tmp_path, types_of(owner, "public"), ("wrong.ts", head + wrong + "\n"))
    assert "wrong.ts(4," in output and said in output


# ---- what a caller may see

def sections(text, schema):
    """The names of tables, views and functions of a schema in the text."""
    body = re.search(rf"^  {schema}: \{{\n(.*?)^  \}}", text, re.S | re.M)[1]
    return {kind: re.findall(r"^      ([^\s:|{}]+):", re.search(rf"^    {kind}: \{{\n(.*?)^    \}}", body, re.S | re.M)[1], re.M)
            for kind in ("Tables", "Views", "Functions")}


def test_a_guest_gets_what_it_may_use(owner, guest):
    seen, whole = sections(types_of(guest, "public"), "public"), sections(types_of(owner, "public"), "public")
    assert seen["Tables"] == ["profiles", "users"] and seen["Views"] == ["user_names"]
    assert {"visits", "kinds"} <= set(whole["Tables"]) and "joined" in whole["Views"]
    assert set(whole["Functions"]) - set(seen["Functions"]) == {"add_numbers"} and "no_args" in seen["Functions"]


def test_a_guest_gets_the_columns_and_keys_it_may_use(guest, tmp_path):
    text = types_of(guest, "public", "other")
    users = re.search(r"^      users: \{\n        Row: \{\n(.*?)\n        \}", text, re.S | re.M)[1]
    assert re.findall(r"^          (\w+): ", users, re.M)[:2] == ["id", "name"] and "email" not in users and "manager" not in users
    # profiles and the view refer to users and to views, of which it may use one; users' own key is of a column that it may not.
    assert re.findall(r'referencedRelation: "(\w+)"', text) == ["things", "user_names", "users", "user_names", "users"]
    assert "visits_user_id_fkey" not in text and 'Tables"]["visits"]' not in text
    assert compiled(tmp_path, text) == ""


@pytest.mark.parametrize("schemas,blamed", [(["other", "empty"], "empty"), (["other", "nope"], "nope"), (["pg_catalog"], "pg_catalog"), ([], "")])
def test_schema_that_may_not_be_used(guest, schemas, blamed):
    error = guest.tool("generate_typescript_types", {"schemas": schemas}).error
    assert error["sqlstate"] == "3F000" and f'"{blamed}"' in error["message"] and "list_schemas" in error["hint"]


# ---- which schemas, and how much

def test_public_unless_postgrest_exposes_others(cluster, owner):
    assert owner.tool("generate_typescript_types").data == {"types": types_of(owner, "public")}
    # Both roles have this setting; of the schemas in it each gets those that it may use.
    cluster.sql("create role owning login in role typer; create role limited login; grant usage on schema other to limited;"
                " grant select on other.parts to limited; select mcp.grant_tools(r::regrole) from unnest(array['owning', 'limited']) r;"
                " alter role owning in database types set pgrst.db_schemas = 'other, empty';"
                " alter role limited in database types set pgrst.db_schemas = 'other,empty'", database=HERE)
    for role, schemas in (("owning", ["other", "empty"]), ("limited", ["other"])):
        caller = token_caller(cluster, role, HERE)
        assert caller.tool("generate_typescript_types").data == {"types": types_of(caller, *schemas)}
        caller.close()


def test_more_than_one_answer_may_have(cluster, owner):
    """Just too large, and so large that it is not begun."""
    size = len(json.dumps(types_of(owner, "public"), ensure_ascii=False).encode())
    for limit, fits in ((size + 200, True), (size - 1, False), (5000, False)):
        cluster.sql("select mcp.set_limit('typer', max_bytes => %s)", [limit], database=HERE)
        result = owner.tool("generate_typescript_types", {"schemas": ["public"]})
        cluster.sql("select mcp.drop_limit('typer')", database=HERE)
        assert result.is_error is not fits
        if not fits:
            assert result.error["sqlstate"] == "54000" and "types of public" in result.error["message"], result.error
            assert "fewer schemas" in result.error["hint"] and "max_bytes" in result.error["hint"]


def test_entry_in_the_list(owner):
    tool = owner.tools()["generate_typescript_types"]
    assert tool["outputSchema"]["required"] == ["types"] and tool["annotations"]["readOnlyHint"] is True


@pytest.mark.parametrize("encoding", ["latin1", "sql_ascii"])
def test_database_in_another_encoding(cluster, encoding):
    cluster.sql(f"create database {encoding} encoding '{encoding}' lc_ctype 'C' lc_collate 'C' template template0")
    cluster.sql("create extension supabase_mcp; select mcp.grant_tools('guest'); grant all on schema public to guest", database=encoding)
    cluster.sql('create table b ("A b" int, "a-very-long-name-that-takes-the-line-beyond-its-end-and-more" text[]); create table a (id int)',
                database=encoding, user="guest")
    with cluster.connect(encoding, "guest", client_encoding="latin1") as connection:
        text = connection.execute("select mcp.generate_typescript_types('{public}') ->> 'types'").fetchone()[0]
    assert sections(text, "public")["Tables"] == ["a", "b"]
    assert ('          "A b": number | null\n          "a-very-long-name-that-takes-the-line-beyond-its-end-and-more":\n'
            '            | string[]\n            | null\n') in text
