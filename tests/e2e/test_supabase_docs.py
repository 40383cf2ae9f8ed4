"""The SQL of docs/supabase.md and of README.md's part on Supabase runs as it stands there, as the role that it names."""

import re
from pathlib import Path

import pytest

from harness.caller import Caller
from harness.clients import bearer
from harness.supabase import ADA, supabase_cluster

ROOT = Path(__file__).parents[2]


def blocks(file, start, end):
    """The fenced SQL between two headings."""
    text = (ROOT / file).read_text()
    part = text[text.index(start):text.index(end)]
    return re.findall(r"^```sql\n(.*?)^```", part, re.S | re.M)


@pytest.fixture
def project():
    one = supabase_cluster()
    one.sql("create table public.orders as select 1 as id; create table public.products as select 2 as id;", user="postgres")
    yield one
    one.remove()


def run(cluster, block, user):
    """Runs a block statement by statement, as a person pastes it; the tokens that it shows."""
    if cluster.value("select current_setting('server_version_num')::integer >= 160000"):
        block = block.replace("login admin postgres;", "login;")
    tokens = []
    with cluster.connect(user=user) as connection:
        for statement in re.sub(r" *--[^\n]*", "", block).split(";\n"):
            if statement.strip():
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description is not None else []
                tokens += [value for row in rows for value in row if str(value).startswith("mcp_")]
    return [Caller(cluster, bearer(token)) for token in tokens]


def test_page(project):
    install, = blocks("docs/supabase.md", "## 3. ", "## 4. ")
    run(project, install, "supabase_admin")
    project.ready()
    in_one_call, by_hand = blocks("docs/supabase.md", "## 4. ", "## 5. ")
    agent, clerk = *run(project, in_one_call, "postgres"), *run(project, by_hand, "postgres")
    for caller in (agent, clerk):
        assert caller.sql("select id from public.orders union select id from public.products order by 1").rows == [[1], [2]]
        assert caller.sqlstate("select * from auth.users") == "42501"
    assert len(agent.sql("select generate_series(1, 500)").rows) == 200
    assert clerk.sqlstate("select * from public.profile") == "42501"
    user, = run(project, blocks("docs/supabase.md", "## 5. ", "## 6. ")[0], "postgres")
    assert "execute_sql" not in user.tools()
    project.sql("select mcp.grant_tools('authenticated', tools => '{execute_sql}')", user="postgres")
    assert user.sql("select auth.uid()::text, auth.email(), (select count(*) from public.todo)").rows == [[ADA, "ada@example.org", 2]]


def test_tools_of_the_page(project):
    install, = blocks("docs/supabase.md", "## 3. ", "## 4. ")
    run(project, install, "supabase_admin")
    project.ready()
    _, by_hand = blocks("docs/supabase.md", "## 4. ", "## 5. ")
    clerk, = run(project, by_hand, "postgres")
    as_superuser, as_postgres = blocks("docs/supabase.md", "## 10. ", "## When")
    run(project, as_superuser, "supabase_admin")
    run(project, as_postgres, "postgres")
    assert clerk.tool("get_project_url").data == {"url": "https://supabase.example.org"}
    assert [key["api_key"] for key in clerk.tool("get_publishable_keys").data["keys"]] == ["sb_publishable_0123456789abcdef"]
    assert clerk.tool("apply_migration", {"name": "add_notes", "query": "create table public.notes (id int primary key)"}).data["success"] is True
    assert [item["name"] for item in clerk.tool("list_migrations").data["migrations"]][-1] == "add_notes"
    assert "until it is paid" in str(clerk.tool("search_docs", {"query": "open order"}).data)


def test_readme(project):
    install, as_postgres = blocks("README.md", "### On self-hosted Supabase", "## Looking after it")
    run(project, install, "supabase_admin")
    project.ready()
    agent, user = run(project, as_postgres, "postgres")
    assert agent.sql("select id from public.orders").rows == [[1]]
    listed = set(user.tools())
    assert listed > {"list_tables", "describe_table", "list_extensions"} and not listed & {"execute_sql", "explain_query", "get_logs"}
