"""get_advisors on a plain server: what each lint finds and what it leaves alone, as a role without any privilege on the tables.

Each case makes objects in an empty schema public, some that the lint is about and some that only look like it, and says all that must be found.
"""

import pytest

from harness.advice import agent, database, findings, lints, make, table  # noqa: F401
from harness.waits import wait_until

UNINDEXED = "has a foreign key `{}` without a covering index. This can lead to suboptimal query performance."
INITPLAN = ("Table `public.t` has a row level security policy `{}` that re-evaluates current_setting() or auth.<function>() for each row. This produces"
            " suboptimal query performance at scale. Resolve the issue by replacing `auth.<function>()` with `(select auth.<function>())`. See"
            " [docs](https://supabase.com/docs/guides/database/postgres/row-level-security#call-functions-with-select) for more info.")
ALWAYS = "Table `public.t` has an RLS policy `{}` for `{}` that allows unrestricted access ({}). This effectively bypasses row-level security for public."


def always_true(policy, command, qual, with_check, using, check):
    return table("t", policy_name=policy, command=command, roles=["public"], qual=qual, with_check=with_check,
                 permissive_using=using, permissive_with_check=check)


# Cases that are functions of their own, in test_advisors_more.py.
CASES_ELSEWHERE = {"extension_versions_outdated", "table_bloat"}

# Type, lint, objects, findings.
CASES = [
    ("performance", "unindexed_foreign_keys", """
        create table p (id int primary key, a int, b int, unique (a, b)) ; create table ph (id int primary key) partition by hash (id);
        create table ph0 partition of ph for values with (modulus 1, remainder 0);
        create table "My Child" (id int primary key, p int constraint "to p" references p, a int, b int, x int, h int constraint to_h references ph,
            constraint pair foreign key (a, b) references p (a, b));
        create index on "My Child" (b, a, x);
        create index on "My Child" (x) include (p);""",
     [('Table `public."My Child"` ' + UNINDEXED.format('"to p"'), table("My Child", fkey_name="to p", fkey_columns=[2])),
      ('Table `public."My Child"` ' + UNINDEXED.format("to_h"), table("My Child", fkey_name="to_h", fkey_columns=[6]))]),
    ("performance", "auth_rls_initplan", """
        create table t (id int, owner text); alter table t enable row level security;
        create table off (id int, owner text); create policy p on off using (current_setting('app.user') = owner);
        create policy each_row on t for select using (current_setting('app.user') = owner);
        create policy on_write on t for insert with check (coalesce(current_setting('app.user', true), '') = owner);
        create policy twice on t for update using ((select current_setting('app.user')) = owner or current_setting('app.admin') = 'yes');
        create policy inner_row on t for delete using (exists (select from off o where o.owner = current_setting('app.user') and o.id = t.id));
        create policy once on t for select using ((select current_setting('app.user')) = owner);
        create policy once_within on t for select using ((select nullif(lower(current_setting('app.u(ser', true)), ''))::text = owner);
        create policy in_words on t for select using (owner = 'current_setting(');""",
     [(INITPLAN.format(name), table("t")) for name in ("each_row", "inner_row", "on_write", "twice")]),
    ("performance", "no_primary_key", """
        create table t (id int unique not null); create table fine (id int primary key); create view v as select 1 as id;
        create table "by day" (d date) partition by list (d); create table day1 partition of "by day" for values in ('2026-01-01');""",
     [('Table `public."by day"` does not have a primary key', table("by day")),
      ("Table `public.t` does not have a primary key", table("t"))]),
    ("performance", "unused_index", """
        create table t (id int primary key, a int, b int unique, c int4range, exclude using gist (c with &&)); create index "never" on t (a);""",
     [("Index `never` on table `public.t` has not been used", table("t"))]),
    ("performance", "multiple_permissive_policies", """
        create table t (id int); create policy a on t for select using (id > 0); create policy b on t using (id > 1);
        create policy c on t for update to adv_role using (id > 2); create policy d on t as restrictive using (id > 3);
        create table fine (id int); create policy a on fine for select using (id > 0); create policy b on fine for insert with check (id > 0);
        create policy c on fine for delete to adv_role using (true); create policy d on fine for delete to adv_agent using (true);""",
     [("Table `public.t` has multiple permissive policies for role `adv_role` for action `UPDATE`. Policies include `{b,c}`", table("t")),
      ("Table `public.t` has multiple permissive policies for role `public` for action `SELECT`. Policies include `{a,b}`", table("t"))]),
    ("performance", "duplicate_index", """
        create table t (id int primary key, a int, b int); create index i1 on t (a, b); create index "i 2 ON t" on t (a, b);
        create index i3 on t (a, b) where a > 0; create index i4 on t (b, a); create index i5 on t (a, b desc); create unique index i6 on t (a, b);
        create index i7 on t (a) include (b); create index i8 on t ((a + 1)); create index i9 on t ((a + 2));""",
     [('Table `public.t` has identical indexes {"i 2 ON t",i1}. Drop all except one of them', table("t", indexes=["i 2 ON t", "i1"]))]),
    ("security", "policy_exists_rls_disabled", """
        create table t (id int); create policy b on t using (true); create policy "a b" on t using (true);
        create table fine (id int); create policy a on fine using (true); alter table fine enable row level security;""",
     [('Table `public.t` has RLS policies but RLS is not enabled on the table. Policies include {"a b",b}.', table("t"))]),
    ("security", "rls_enabled_no_policy", """
        create table t (id int); alter table t enable row level security; create table off (id int);
        create table fine (id int); alter table fine enable row level security; create policy a on fine using (false);""",
     [("Table `public.t` has RLS enabled, but no policies exist", table("t"))]),
    ("security", "security_definer_view", """
        create table t (id int); create view v as select * from t; create view "as owner" with (security_invoker = off) as select * from t;
        create view fine with (security_invoker = yes) as select * from t; create view closed as select * from t;
        grant select on v, "as owner", fine to public; create schema elsewhere; create view elsewhere.v as select 1; grant select on elsewhere.v to public;""",
     [('View `public."as owner"` is defined with the SECURITY DEFINER property', table("as owner", type="view")),
      ("View `public.v` is defined with the SECURITY DEFINER property", table("v", type="view"))]),
    ("security", "function_search_path_mutable", """
        create function f(a int) returns int language sql as 'select 1'; create procedure p() language plpgsql as 'begin end';
        create function fine() returns int language sql set search_path = '' as 'select 1'; create function body() returns int begin atomic select 1; end;
        create aggregate total(int) (sfunc = int4pl, stype = int);""",
     [("Function `public.f` has a role mutable search_path", table("f", type="function")),
      ("Function `public.p` has a role mutable search_path", table("p", type="function"))]),
    ("security", "rls_disabled_in_public", """
        create table t (id int); create table "a.b" (id int) partition by list (id); create table fine (id int); alter table fine enable row level security;
        create table closed (id int); grant select on t, "a.b", fine to public; grant insert on closed to public; grant select on closed to adv_role;
        create schema elsewhere; create table elsewhere.t (id int); grant select on elsewhere.t to public;""",
     [('Table `public."a.b"` is public, but RLS has not been enabled.', table("a.b")),
      ("Table `public.t` is public, but RLS has not been enabled.", table("t"))]),
    ("security", "rls_references_user_metadata", """
        create table t (id int); create policy p on t using (((current_setting('request.jwt.claims')::json -> 'user_metadata') ->> 'admin') = 'yes');
        create policy w on t for insert with check (((current_setting('request.jwt.claims')::json -> 'user_metadata') ->> 'admin') = 'yes');
        create policy fine on t using (((current_setting('request.jwt.claims')::json -> 'app_metadata') ->> 'admin') = 'yes');
        create policy apart on t for update using (current_setting('request.jwt.claims') <> '') with check ('user_metadata' <> '');""",
     [(f"Table `public.t` has a row level security policy `{name}` that references Supabase Auth `user_metadata`. `user_metadata` is editable by end users and"
       " should never be used in a security context.", table("t")) for name in ("p", "w")]),
    ("security", "materialized_view_in_api", """
        create materialized view m as select 1 as id; create materialized view fine as select 1 as id; grant select on m to public;
        create table t (id int); grant select on t to public;""",
     [("Materialized view `public.m` is selectable by every role (PUBLIC)", table("m", type="materialized view"))]),
    ("security", "foreign_table_in_api", """
        create foreign data wrapper adv_wrapper; create server adv_server foreign data wrapper adv_wrapper;
        create foreign table f (id int) server adv_server; create foreign table fine (id int) server adv_server; grant select on f to public;""",
     [("Foreign table `public.f` is accessible over APIs", table("f", type="foreign table"))]),
    ("security", "unsupported_reg_types", """
        create table t (id int, call regprocedure, fine regclass, gone regproc); alter table t drop column gone; create view v as select call from t;""",
     [("Table `public.t` has a column `call` with unsupported reg* type `regprocedure`.", table("t", column="call"))]),
    ("security", "sensitive_columns_exposed", """
        create table t (id int, "API-Key" text, password text, passwords text, tokenizer text); grant select on t to public;
        create table fine (password text); grant select on fine to public; alter table fine enable row level security; create table closed (iban text);""",
     [('Table `public.t` is exposed via API without RLS and contains potentially sensitive column(s): "API-Key", password. This may lead to data exposure.',
       table("t", sensitive_columns=["API-Key", "password"], matched_patterns=["api_key", "password"]))]),
    ("security", "rls_policy_always_true", """
        create table t (id int); alter table t enable row level security; create table off (id int); create policy p on off for insert with check (true);
        create policy ins on t for insert with check (1 = 1); create policy upd on t for update using (true); create policy del on t for delete using (true);
        create policy chk on t for update using (id > 0) with check (true); create policy read on t for select using (true);
        create policy upd2 on t for update using (id > 0); create policy narrow on t as restrictive for insert with check (true);
        create policy staff on t for insert to adv_role with check (true);""",
     [(ALWAYS.format("chk", "UPDATE", "WITH CHECK clause is always true"), always_true("chk", "UPDATE", "(id > 0)", "true", False, True)),
      (ALWAYS.format("del", "DELETE", "USING clause is always true"), always_true("del", "DELETE", "true", None, True, False)),
      (ALWAYS.format("ins", "INSERT", "WITH CHECK clause is always true"), always_true("ins", "INSERT", None, "(1 = 1)", False, True)),
      (ALWAYS.format("upd", "UPDATE", "both USING and WITH CHECK are always true"), always_true("upd", "UPDATE", "true", None, True, True))]),
    ("security", "anon_security_definer_function_executable", """
        create function f(a int, "B" text default '') returns int language sql security definer as 'select 1';
        create function fine() returns int language sql as 'select 1'; create function closed() returns int language sql security definer as 'select 1';
        revoke execute on function closed() from public; create function on_change() returns trigger language plpgsql security definer as 'begin return new; end';""",
     [('Function `public.f(a integer, "B" text)` can be executed by every role (PUBLIC) as a `SECURITY DEFINER` function. Revoke `EXECUTE` or switch it to'
       " `SECURITY INVOKER` if that is not intentional.",
       {"schema": "public", "name": "f", "arguments": 'a integer, "B" text', "language": "sql", "security_definer": True})]),
    # Without the roles and schemas of Supabase these find nothing, whatever there is.
    *[("security", lint, "create table t (id int); grant select on t to public; create view v as select * from t; grant select on v to public;", [])
      for lint in ("auth_users_exposed", "insecure_queue_exposed_in_api", "fkey_to_auth_unique", "public_bucket_allows_listing", "extension_in_public",
                   "pg_graphql_anon_table_exposed", "pg_graphql_authenticated_table_exposed", "authenticated_security_definer_function_executable")],
]


@pytest.mark.parametrize("type,lint,objects,expected", CASES, ids=[case[1] for case in CASES])
def test_finds_what_it_is_about_and_nothing_else(agent, make, type, lint, objects, expected):
    make(objects)
    assert findings(agent, type, lint) == sorted(expected, key=str)


def test_every_lint_has_a_case(cluster):
    assert {name for name, in cluster.sql("select name from mcp._lint_catalog()")} == {case[1] for case in CASES} | CASES_ELSEWHERE


@pytest.mark.parametrize("type", ["security", "performance"])
def test_a_new_database_has_nothing_to_find(agent, type):
    assert agent.tool("get_advisors", {"type": type}).data["result"]["lints"] == []


def test_an_index_in_use_is_not_named(cluster, agent, make, database):
    make("create table t (id int primary key, a int); insert into t select g, g from generate_series(1, 100) g; create index used on t (a)")
    assert [item["detail"] for item in lints(agent, type="performance")["unused_index"]["findings"]] == ["Index `used` on table `public.t` has not been used"]
    make("set enable_seqscan = off; set enable_bitmapscan = off; select * from t where a = 7")
    wait_until(lambda: "unused_index" not in lints(agent, type="performance"), 20, "the scan is counted")
