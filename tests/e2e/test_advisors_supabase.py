"""get_advisors in a database in the shape of Supabase's: the lints about its roles, users, buckets, queues and its GraphQL.

The findings of the small project of tests/supabase/90_project.sql are there all the time; a case looks at its own lint alone, and says all that is found.
"""

import pytest

from harness.advice import findings, lints, table
from harness.supabase import call_as, supabase_cluster

ROLE_SETTINGS = "alter role authenticator set pgrst.db_schemas = 'public, graphql_public, pgmq_public'"
GRAPHQL_ANON = ("{} `public.{}` is visible in the GraphQL schema because the `anon` role can `SELECT` it. Revoke `SELECT` from `anon` if it should not be"
                " discoverable without signing in.")
GRAPHQL_SIGNED_IN = ("{} `public.{}` is visible in the GraphQL schema to signed-in users because the `authenticated` role can `SELECT` it. Revoke `SELECT` from"
                     " `authenticated` if it should not be discoverable to every account.")
DEFINER = ("Function `public.{0}({1})` can be executed by the `{2}` role as a `SECURITY DEFINER` function via `/rest/v1/rpc/{0}`. Revoke `EXECUTE` or switch it"
           " to `SECURITY INVOKER` if that is not intentional.")
EXPOSED = 'View/Materialized View "{}" in the public schema may expose `auth.users` data to anon or authenticated roles.'


def users_view(name, *roles):
    return EXPOSED.format(name), table(name, type="view", exposed_to=list(roles))


def definer(name, role, arguments=""):
    return (DEFINER.format(name, arguments, role),
            {"schema": "public", "name": name, "arguments": arguments, "language": "sql", "security_definer": True})


# Lint, objects (made by supabase_admin), findings. What is made in public is readable by the roles of the API unless that is revoked.
CASES = [
    ("auth_users_exposed", """
        create view owner_view as select id, email from auth.users; create materialized view copied as select id from auth.users;
        create view asker_view with (security_invoker) as select id from auth.users; create view closed as select id from auth.users;
        revoke all on closed from anon, authenticated; revoke all on copied from anon; create view sessions as select id from auth.sessions;
        create schema inner_part; create view inner_part.users as select id from auth.users; grant select on inner_part.users to anon;""",
     [users_view("copied", "authenticated"), users_view("owner_view", "anon", "authenticated")]),
    ("security_definer_view", """
        create view v as select 1 as id; create view fine with (security_invoker = true) as select 1 as id; create view closed as select 1 as id;
        revoke all on closed from anon, authenticated;""",
     [("View `public.v` is defined with the SECURITY DEFINER property", table("v", type="view"))]),
    ("rls_disabled_in_public", """
        create table t (id int); create table closed (id int); revoke all on closed from anon, authenticated; create schema inner_part;
        create table inner_part.t (id int); grant select on inner_part.t to anon; create table graphql_public.t (id int);
        create table insert_only (id int); revoke select on insert_only from anon, authenticated;""",
     [(f"Table `public.{name}` is public, but RLS has not been enabled.", table(name)) for name in ("forgotten", "t")]),
    ("rls_references_user_metadata", """
        create table t (id int); create policy p on t using ((auth.jwt() -> 'user_metadata' ->> 'role') = 'admin');
        create policy fine on t using ((auth.jwt() -> 'app_metadata' ->> 'role') = 'admin');""",
     [("Table `public.t` has a row level security policy `p` that references Supabase Auth `user_metadata`. `user_metadata` is editable by end users and should"
       " never be used in a security context.", table("t"))]),
    ("materialized_view_in_api", "create materialized view m as select 1; create materialized view fine as select 1; revoke all on fine from anon, authenticated",
     [("Materialized view `public.m` is selectable by anon or authenticated roles", table("m", type="materialized view"))]),
    ("insecure_queue_exposed_in_api", """
        create schema pgmq; create table pgmq.q_jobs (id int); create table pgmq.qx (id int); create table pgmq.a_jobs (id int);
        create table pgmq.q_safe (id int); alter table pgmq.q_safe enable row level security; create table pgmq.q_closed (id int);
        grant select on pgmq.q_jobs, pgmq.qx, pgmq.a_jobs, pgmq.q_safe to authenticated;""",
     [("Table `pgmq.q_jobs` is public, but RLS has not been enabled.", {"schema": "pgmq", "name": "q_jobs", "type": "table"})]),
    ("fkey_to_auth_unique", """
        create table t (phone text constraint by_phone references auth.users (phone), id uuid references auth.users);
        create table own (name text unique); create table fine (name text references own (name));""",
     [("Table `public.t` has a foreign key `by_phone` referencing an auth unique constraint", {"schema": "public", "name": "t", "foreign_key": "by_phone"})]),
    ("rls_policy_always_true", """
        create role pack_role; create table t (id int); alter table t enable row level security; create policy p on t for delete to anon, service_role using (true);
        create policy fine on t for delete to service_role using (true); create policy other on t for delete to authenticated using (auth.uid() is not null);""",
     [("Table `public.t` has an RLS policy `p` for `DELETE` that allows unrestricted access (USING clause is always true). This effectively bypasses row-level"
       " security for anon, service_role.",
       table("t", policy_name="p", command="DELETE", roles=["anon", "service_role"], qual="true", with_check=None, permissive_using=True,
             permissive_with_check=False))]),
    ("pg_graphql_anon_table_exposed", "create table t (id int, x int); revoke all on t from anon; grant select (id) on t to anon; create view v as select 1;"
     " create table fine (id int); revoke select on fine from anon; create sequence s;",
     [(GRAPHQL_ANON.format(kind, name), table(name, type=kind))
      for kind, name in (("table", "forgotten"), ("table", "profile"), ("table", "t"), ("table", "todo"), ("view", "v"))]),
    ("pg_graphql_authenticated_table_exposed", "create table t (id int); create table fine (id int); revoke select on fine from authenticated;",
     [(GRAPHQL_SIGNED_IN.format("table", name), table(name)) for name in ("forgotten", "profile", "t", "todo")]),
    ("anon_security_definer_function_executable", """
        create function f(a int) returns int language sql security definer as 'select 1'; create function fine() returns int language sql as 'select 1';
        create function signed_in() returns int language sql security definer as 'select 1'; revoke execute on function signed_in() from public, anon;""",
     [definer("f", "anon", "a integer")]),
    ("authenticated_security_definer_function_executable", """
        create function f(a int) returns int language sql security definer as 'select 1'; create function fine() returns int language sql as 'select 1';
        create function only_anon() returns int language sql security definer as 'select 1'; revoke execute on function only_anon() from public, authenticated;""",
     [definer("f", "authenticated", "a integer")]),
]

CLEAN = """
    do $$ declare item record; begin
        for item in select format('drop %s %s cascade', case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end,
                                  c.oid::regclass) as command
                      from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'S') and c.relowner = 'supabase_admin'::regrole loop
            begin execute item.command; exception when undefined_table then null; end;
        end loop;
        for item in select format('drop function %s cascade', p.oid::regprocedure) as command from pg_proc p
                     where p.pronamespace = 'public'::regnamespace and p.proowner = 'supabase_admin'::regrole loop execute item.command; end loop;
        drop table if exists graphql_public.t; drop schema if exists inner_part, pgmq cascade; drop role if exists pack_role;
    end $$"""


@pytest.fixture(scope="module")
def site():
    one = supabase_cluster()
    one.install()
    one.sql(ROLE_SETTINGS + "; create role adviser login; select mcp.grant_tools('adviser')")
    # pg_graphql is not part of PostgreSQL. The lints ask only whether it is there.
    one.sql("set allow_system_table_mods = on; insert into pg_extension values (16001, 'pg_graphql', 10, 'extensions'::regnamespace, false, '1', null, null)")
    yield one
    one.remove()


@pytest.fixture(scope="module")
def adviser(site):
    caller = call_as(site, "adviser", by="supabase_admin")
    yield caller
    caller.close()


@pytest.fixture
def make(site):
    yield site.sql
    site.sql(CLEAN)


@pytest.mark.parametrize("lint,objects,expected", CASES, ids=[case[0] for case in CASES])
def test_finds_what_it_is_about_and_nothing_else(adviser, make, lint, objects, expected):
    make(objects)
    assert findings(adviser, "security", lint) == sorted(expected, key=str)


def test_views_that_ask_as_the_caller_count_once_users_has_no_policies(site, adviser, make):
    make("create view asker_view with (security_invoker) as select id from auth.users; alter table auth.users disable row level security")
    try:
        assert findings(adviser, "security", "auth_users_exposed") == [users_view("asker_view", "anon", "authenticated")]
    finally:
        site.sql("alter table auth.users enable row level security")


def test_graphql_is_looked_at_only_where_it_is_installed(site, adviser, make):
    site.sql("set allow_system_table_mods = on; update pg_extension set extname = 'no_graphql' where extname = 'pg_graphql'")
    try:
        assert not [name for name in lints(adviser, type="security") if "graphql" in name]
    finally:
        site.sql("set allow_system_table_mods = on; update pg_extension set extname = 'pg_graphql' where extname = 'no_graphql'")


def test_policies_of_the_project(adviser):
    """auth.uid() bare in three policies of todo; in those of profile it is in a sub-select."""
    lint = lints(adviser, type="performance")["auth_rls_initplan"]
    assert lint["level"] == "WARN" and lint["count"] == 3 and {item["metadata"]["name"] for item in lint["findings"]} == {"todo"}


@pytest.mark.parametrize("condition,flagged", [
    ("auth.uid() = o", True),
    ("(select auth.uid()) = o", False),
    ("(select auth.uid()) = o or auth.uid() is null", True),
    ("(select auth.jwt() ->> 'aal') = 'aal2'", False),
    ("(select auth.jwt()) ->> 'aal' = 'aal2' and (select auth.role()) = 'x' and (select auth.email()) = 'y'", False),
    ("(select auth.jwt() ->> 'aal') = 'aal2' and auth.role() = 'x'", True),
    ("o in (select p.id from profile p where p.id = auth.uid())", True),
    ("o in (select p.id from profile p where p.id = (select auth.uid()))", False),
    ("(select coalesce((select auth.uid()), (auth.jwt() ->> 'sub')::uuid)) = o", False),
    ("(select p.id from profile p limit 1) = o and auth.uid() = o", True),
    ("'auth.uid() (' <> ''", False),
])
def test_calls_that_are_made_for_each_row(adviser, make, condition, flagged):
    make(f"create table t (o uuid); alter table t enable row level security; create policy p on t using ({condition})")
    found = lints(adviser, type="performance")["auth_rls_initplan"]["findings"]
    assert [item["metadata"] for item in found if item["metadata"]["name"] != "todo"] == ([table("t")] if flagged else [])


def test_every_role_of_a_policy_is_named(adviser, make):
    make("create table t (id int); create policy a on t for select to anon using (true); create policy b on t for select to authenticated, service_role using (true);"
         " create policy c on t for select to anon, authenticated using (true)")
    details = [item["detail"] for item in lints(adviser, type="performance")["multiple_permissive_policies"]["findings"]]
    assert details == ["Table `public.t` has multiple permissive policies for role `anon` for action `SELECT`. Policies include `{a,c}`",
                       "Table `public.t` has multiple permissive policies for role `authenticated` for action `SELECT`. Policies include `{b,c}`"]


def test_what_supabase_brings_along_is_not_the_projects(adviser):
    everything = [item for type in ("security", "performance") for lint in lints(adviser, type=type).values() for item in lint["findings"]]
    assert {item["metadata"]["schema"] for item in everything} == {"public"}
    assert "note" not in adviser.tool("get_advisors", {"type": "security"}).data["result"]


# ---- buckets

def listing(bucket, *policies):
    count = len(policies)
    return (f"Public bucket `{bucket}` has {count} broad SELECT {'policy' if count == 1 else 'policies'} on `storage.objects` ({', '.join(policies)}), allowing"
            " clients to list all files. Public buckets don't need this for object URL access and it may expose more data than intended.",
            {"schema": "storage", "name": bucket, "type": "bucket", "bucket_id": bucket, "bucket_name": bucket, "policy_names": list(policies),
             "policy_count": count})


def test_public_buckets(site, adviser):
    def gaps():
        answer = adviser.tool("get_advisors", {"type": "security", "lint": "public_bucket_allows_listing"}).data["result"]
        return answer["lints"], [gap["reason"] for gap in answer.get("not_checked", [])]

    assert gaps() == ([], ["needs SELECT on storage.buckets; its owner grants it: grant select on storage.buckets to ..."])
    site.sql("""
        insert into storage.buckets (id, name, public) values ('o''b', 'o''b', true), ('pub', 'pub', true), ('quiet', 'quiet', true), ('private', 'private', false);
        create policy one on storage.objects for select using (bucket_id = 'o''b');
        create policy two on storage.objects to authenticated using (bucket_id = 'pub');
        create policy "of mine" on storage.objects for select using (bucket_id = 'quiet' and owner_id = auth.uid()::text);
        create policy hidden on storage.objects for select using (bucket_id = 'private');
        create policy staff on storage.objects for select to service_role using (bucket_id = 'quiet');
        create policy narrow on storage.objects as restrictive for select using (bucket_id = 'quiet');
        create policy add on storage.objects for insert with check (bucket_id = 'quiet');
        grant usage on schema storage to adviser; grant select on storage.buckets to adviser""")
    try:
        partly = "only the buckets that row level security lets you see; a policy for select on storage.buckets shows them to your role"
        assert gaps() == ([], [partly])
        site.sql("create policy shown on storage.buckets for select to adviser using (true)")
        assert gaps()[1] == [partly]
        assert findings(adviser, "security", "public_bucket_allows_listing") == sorted([listing("o'b", "one"), listing("pub", "two")], key=str)
        site.sql("create policy everything on storage.objects for select using (true)")
        assert findings(adviser, "security", "public_bucket_allows_listing") == sorted(
            [listing("o'b", "everything", "one"), listing("pub", "everything", "two"), listing("quiet", "everything")], key=str)
    finally:
        site.sql("""
            drop policy if exists shown on storage.buckets; delete from storage.buckets where id <> 'papers';
            do $$ declare item record; begin
                for item in select format('drop policy %I on storage.objects', p.polname) as command from pg_policy p
                             where p.polrelid = 'storage.objects'::regclass loop execute item.command; end loop;
            end $$; revoke all on storage.buckets from adviser; revoke usage on schema storage from adviser""")


@pytest.mark.parametrize("fake", [
    "create view storage.buckets as select 'b'::text as id, 'b'::text as name, storage.trap() as public",
    "create table storage.buckets (id text, name text, public boolean); alter table storage.buckets owner to mallory",
    "create table storage.buckets (id text, name text, public text)",
])
def test_a_made_up_bucket_table_is_not_read(site, adviser, fake):
    """On another database anybody with CREATE may make storage.buckets; reading it would run their code as whoever asks."""
    site.sql("create role mallory; alter schema storage rename to storage_kept; create schema storage;"
             " create function storage.trap() returns boolean language plpgsql as $$begin raise exception 'trapped'; end$$")
    try:
        site.sql(fake + "; grant usage on schema storage to public; grant select on storage.buckets to public")
        answer = adviser.tool("get_advisors", {"type": "security", "lint": "public_bucket_allows_listing"}).data["result"]
        assert answer == {"lints": [], "not_checked": [{"name": "public_bucket_allows_listing", "reason": "storage.buckets is not the table of Supabase Storage"}]}
    finally:
        site.sql("drop schema storage cascade; alter schema storage_kept rename to storage; drop role mallory")
