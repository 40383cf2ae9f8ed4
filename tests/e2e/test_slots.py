"""The stock number of worker slots, shared by more databases, roles and parallel queries than there are slots.

Eight slots: Postgres' own launcher and the gateway keep one each. What is left goes to executors, keepers and parallel queries, and
what is idle makes room. A call is served, or is told which setting would have given it a slot.
"""

import random
import threading

import pytest

from harness.caller import ToolResult, token_caller
from harness.cluster import Cluster
from harness.waits import wait_until

DATABASES = ["postgres", "app1", "app2", "app3", "app4"]
ROLES = ["direct1", "direct2", "bridge1"]
WHO = "select current_database()::text || ' ' || current_user"


@pytest.fixture(scope="module", params=[4, 16], ids=["4 executors", "16 executors"])
def town(request):
    """Five databases with the extension, three roles in each; callers of every pair. Four executors are stock; sixteen are more than
    there are slots, so that it is the slots that run out."""
    one = Cluster(max_worker_processes=8, supabase_mcp__max_executors=request.param).start()
    one.install()
    for role in ROLES:
        one.sql(f"create role {role} {'login' if role.startswith('direct') else 'nologin'}")
    for database in DATABASES:
        if database != "postgres":
            one.sql(f"create database {database}")
            one.install(database)
        for role in ROLES:
            one.sql("select mcp.grant_tools(%s::regrole)", [role], database=database)
    one.sql("create table big as select generate_series(1, 200000) as n; grant select on big to public; analyze big")
    one.callers = [token_caller(one, role, database) for database in DATABASES for role in ROLES]
    yield one
    one.remove()


def expected(caller):
    return f"{caller.path.rsplit('/', 1)[1]} {caller.role}"


def test_every_pair_in_turn(town):
    """One call at a time always finds a slot, whatever is idle elsewhere."""
    order = town.callers * 3
    random.Random(1).shuffle(order)
    for caller in order:
        assert caller.value(WHO) == expected(caller)


def at_once(callers, rounds, query=WHO):
    """All callers call at the same time; the answers in the order of their ends, as (caller, ToolResult). Not every answer has a
    result: who cannot even be looked up for want of a slot gets a 503."""
    answers, start = [], threading.Barrier(len(callers))

    def run(caller):
        start.wait(20)
        for _ in range(rounds):
            response = caller.rpc("tools/call", {"name": "execute_sql", "arguments": {"query": query}})
            assert response.status in (200, 503), response
            answers.append((caller, ToolResult(response.json())))

    threads = [threading.Thread(target=run, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == len(callers) * rounds, "every call has an answer"
    return answers


def served_or_told(answers, serve=expected):
    refused = 0
    for caller, answer in answers:
        if answer.protocol_error:
            assert "max_worker_processes" in answer.protocol_error["message"], answer
            refused += 1
        elif answer.is_error:
            assert answer.error["kind"] == "busy" and "max_worker_processes" in str(answer.error), answer
            refused += 1
        else:
            assert answer.value == serve(caller)
    return refused


def test_every_pair_at_once(town):
    """Calls that end soon wait for one another rather than fail, fifteen callers on six slots."""
    assert served_or_told(at_once(town.callers, 4)) == 0
    test_every_pair_in_turn(town)


def test_every_pair_at_once_while_long_calls_hold_executors(town):
    """Two executors are taken for good; the rest still goes round."""
    holders = [town.callers[0].line(), town.callers[4].line()]
    try:
        for holder in holders:
            holder.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(60) /* hold */"}})
        wait_until(lambda: len([row for row in town.executors() if "hold" in (row[5] or "")]) == 2, 15, "both hold their executors")
        others = [caller for n, caller in enumerate(town.callers) if n not in (0, 4)]
        served_or_told(at_once(others, 2))
    finally:
        for holder in holders:
            holder.close()
    test_every_pair_in_turn(town)


def test_parallel_queries_take_slots_and_give_them_back(town):
    """A parallel query runs with the workers that it gets, none if need be; calls beside it are served or told."""
    for name, value in {"min_parallel_table_scan_size": "0", "parallel_setup_cost": "0", "parallel_tuple_cost": "0",
                        "max_parallel_workers_per_gather": "4"}.items():
        for role in ROLES[:2]:
            town.sql(f"alter role {role} set {name} = '{value}'")
    wait_until(lambda: town.callers[0].value("show max_parallel_workers_per_gather") == "4", 10, "the setting")
    plan = str(town.callers[0].tool("explain_query", {"query": "select count(*) from big", "analyze": True}).data)
    assert "Workers Planned" in plan and "Workers Launched" in plan, plan
    here = [caller for caller in town.callers if caller.path.endswith("/postgres")]
    rest = [caller for caller in town.callers if caller not in here]
    answers = []
    counting = threading.Thread(target=lambda: answers.extend(at_once(here, 10, "select sum(n)::text from big")))
    counting.start()
    served_or_told(at_once(rest, 3))
    counting.join(120)
    served_or_told(answers, lambda caller: "20000100000")
    assert len(answers) == 30
    test_every_pair_in_turn(town)


def test_long_calls_in_all_slots_are_an_error_that_names_the_setting(town):
    """Calls that do not end take whatever slot there is: the next one is told so, and is served when they are gone."""
    holders, refused = [], None
    before = town.value("select no_worker_slot from mcp.stat_gateway")
    try:
        for caller in town.callers:
            line = caller.line()
            holders.append(line)
            line.start("tools/call", {"name": "execute_sql", "arguments": {"query": "select pg_sleep(60) /* hold */"}})

            def held():
                return len([row for row in town.executors() if "hold" in (row[5] or "")]) == len(holders)

            def told():
                try:
                    return line.receive(0.05)
                except TimeoutError:
                    return None

            refused = wait_until(lambda: told() or held(), 30, "the call runs or is refused")
            if refused is not True:
                break
        error = ToolResult(refused).error
        assert len(holders) > 4 and error["kind"] == "busy" and "max_worker_processes" in error["hint"], error
        if town.value("select (mcp.status() #>> '{executors,max}')::int") > 8:
            # Not the pool was full, but the server: whoever runs it is told as well.
            assert town.value("select no_worker_slot from mcp.stat_gateway") > before
            assert 'supabase_mcp: {"event":"no_worker_slot"' in town.log()
    finally:
        for line in holders:
            line.close()
    test_every_pair_in_turn(town)
