"""What is said of plans that this very server makes; tests/regress/sql/plan_warnings.sql holds plans of several versions."""

import json

import pytest

from harness.cluster import Cluster

WORLD = """
create role asker login; select mcp.grant_tools('asker');
create schema "Some where"; grant usage on schema "Some where" to asker; set search_path = "Some where";
create table big (id int primary key, a int, b text); insert into big select g, g % 1000, repeat('x', 100) from generate_series(1, 50000) g;
create table small (id int, a int); insert into small select g, g from generate_series(1, 1000) g;
create table "Never seen" (a int) with (autovacuum_enabled = off); insert into "Never seen" select generate_series(1, 100);
create table grown (a int) with (autovacuum_enabled = off); insert into grown select generate_series(1, 100);
create table hidden (a int) with (autovacuum_enabled = off);
grant select on big, small, "Never seen", grown to asker;
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster(jit="off", max_parallel_workers_per_gather=0).start()
    one.install()
    one.sql(WORLD)
    with one.connect() as connection:
        for statement in ('vacuum analyze "Some where".big', 'vacuum analyze "Some where".small', 'analyze "Some where".grown',
                          'insert into "Some where".grown select generate_series(1, 5000)', "select pg_stat_force_next_flush()"):
            connection.execute(statement)
    yield one
    one.remove()


def said(site, query, function="_plan_warnings", options="analyze, format json", before="select 1"):
    with site.connect(user="asker") as connection:
        connection.execute(f'set search_path = "Some where"; {before}')
        plan = connection.execute(f"explain ({options}) {query}").fetchone()[0]
        return connection.execute(f"select mcp.{function}(%s)", [json.dumps(plan)]).fetchone()[0]


@pytest.mark.parametrize("query,before,options,words", [
    ("select * from big where a = 7", "select 1", "analyze, format json", ["Seq Scan on big: reads 50,000 rows for the 50 that match (a = 7)"]),
    ("select * from big where a = 7", "select 1", "format json, verbose", ['Seq Scan on "Some where".big: reads the whole table', "(big.a = 7)"]),
    ("select * from big order by b, a", "set work_mem = '64kB'", "analyze, format json", ["Sort: sorted on disk"]),
    ("select * from big where id < 20000 and a = 7", "set enable_seqscan = off", "analyze, format json", ["fetches 19,999 rows and its filter (a = 7) leaves 20"]),
    ("select count(*) from small s join small t on t.a < s.a and t.a > s.a", "set enable_material = off", "analyze, format json",
     ["compares 1,000,000 pairs of rows to keep 0"]),
    ("select * from big where a = 7 and a + 1 = 8 and a - 1 = 6 limit 5000", "select 1", "analyze, format json", ["(a = 7)"]),
])
def test_what_is_said(site, query, before, options, words):
    sentences = said(site, query, before=before, options=options)
    for word in words:
        assert any(word in sentence for sentence in sentences), sentences


@pytest.mark.parametrize("query", ["select * from big where id = 7", "select * from small", "select 1", "select count(*) from big"])
def test_of_a_good_plan_nothing_is_said(site, query):
    assert said(site, query) == [] and said(site, query, options="format json") == []


def test_a_wrong_estimate_is_told_where_it_begins(site):
    sentences = said(site, "select count(*) from big x join small s on s.id = x.a where x.a % 2 = 1 and x.a % 4 in (1, 3) and x.a % 6 in (1, 3, 5)")
    estimates = [sentence for sentence in sentences if "were estimated" in sentence]
    assert len(estimates) == 1 and estimates[0].startswith("Seq Scan on big (x): "), sentences


def test_a_guess_of_a_function_is_told_once(site):
    site.sql("""create function "Some where"."One row"() returns setof int language plpgsql as 'begin return query select 1; end'""")
    assert said(site, 'select * from "One row"() f join small s on s.id = f') == [
        """Function Scan on "One row" (f): PostgreSQL knows nothing of a function's rows and assumes 1,000; ROWS of CREATE FUNCTION says it better."""]


@pytest.mark.parametrize("options", ["format json", "format json, verbose"])
def test_tables_without_statistics_and_with_old_ones(site, options):
    assert said(site, 'select * from "Never seen" n join grown g using (a) join small s using (a)', "_statistics_warnings", options) == [
        '"Some where"."Never seen" was never analyzed, so its estimates are guesses; run ANALYZE "Some where"."Never seen".',
        '5,000 rows of "Some where".grown changed since it was analyzed, of about 5,100; run ANALYZE "Some where".grown.']
    assert said(site, "select * from big", "_statistics_warnings", options) == []


def test_statistics_of_tables_without_privileges_are_not_told(site):
    with site.connect(user="asker") as connection:
        plan = [{"Plan": {"Node Type": "Seq Scan", "Schema": "Some where", "Relation Name": "hidden", "Alias": "hidden"}}]
        assert connection.execute("select mcp._statistics_warnings(%s)", [json.dumps(plan)]).fetchone()[0] == []
