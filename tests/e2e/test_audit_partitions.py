"""What a superuser may do to the partition of the day: records wait until it is as it should be, none is lost, and nothing crashes."""

import itertools

import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.waits import wait_until

ROLE = """
create role part_writer login; create table public.entry (n int primary key); grant select, insert on public.entry to part_writer;
select mcp.grant_tools('part_writer', write => true);
"""
AWAY = "alter table mcp._audit detach partition mcp.{day}; alter table mcp.{day} rename to kept; "
IN_ITS_PLACE = {
    "nothing": "drop table mcp.{day}",
    "a table of its own": AWAY + "create table mcp.{day} (like mcp._audit)",
    "partitions again": AWAY + "create table mcp.{day} (like mcp._audit) partition by range (id);"
                        "alter table mcp._audit attach partition mcp.{day} for values from ({range})",
    "a foreign table": AWAY + "create foreign data wrapper nowhere; create server nowhere foreign data wrapper nowhere;"
                       "create foreign table mcp.{day} partition of mcp._audit for values from ({range}) server nowhere",
    "another's partition": AWAY + "create table mcp.archive (like mcp._audit) partition by range (at);"
                           "alter table mcp.kept rename to {day}; alter table mcp.archive attach partition mcp.{day} for values from ({range})",
}
BACK = {
    "nothing": "select",
    "another's partition": "alter table mcp.archive detach partition mcp.{day}; alter table mcp._audit attach partition mcp.{day} for values from ({range})",
}
ATTACH = "drop {kind} mcp.{day}; alter table mcp.kept rename to {day}; alter table mcp._audit attach partition mcp.{day} for values from ({range})"

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def site():
    one = Cluster().start().install()
    one.sql(ROLE)
    yield one
    assert one.checkpointer_start() == one.checkpointer, "the server restarted after a crash"
    one.remove()


@pytest.mark.parametrize("what", IN_ITS_PLACE)
def test_another_thing_in_its_place(site, what):
    database = f"part_{list(IN_ITS_PLACE).index(what)}"
    site.sql(f"create database {database}")
    site.install(database)
    site.sql(ROLE.split(";", 1)[1], database=database)
    caller, reader = token_caller(site, "part_writer", database=database), token_caller(site, "part_writer", database=database, read_only=True)

    def value(query):
        return site.value(query, database=database)

    def write():
        number = next(_numbers)
        return number, caller.sql(f"insert into entry values ({number}) -- number={number}.")

    def fit(text):
        kind = "foreign table" if "foreign" in what else "table"
        return text.format(day=day, kind=kind, range="'{}') to ('{}'".format(*site.sql(
            "select d at time zone 'utc', (d + interval '1 day') at time zone 'utc' from date_trunc('day', now() at time zone 'utc') d")[0]))

    sent = [write()]
    assert not sent[0][1].is_error and reader.value("select 'before'") == "before"
    wait_until(lambda: value("select count(*) from mcp.audit") == 2, 10, "both are recorded")
    day = value("select '_audit_' || to_char(now() at time zone 'utc', 'YYYYMMDD')")
    site.sql(fit(IN_ITS_PLACE[what]), database=database)
    assert reader.value("select 'meanwhile'") == "meanwhile"
    sent.append(write())
    # Where there is nothing, the partition is made again at the next attempt.
    if what != "nothing":
        assert sent[-1][1].error["sqlstate"] == "58030", sent[-1][1].error
        [trail] = [d for d in value("select mcp.status()")["audit"]["databases"] if d["database"] == database]
        assert trail["state"] == "failing" and trail["rows_dropped"] == 0 and "partition" in trail["cause"], trail
        site.sql(fit(BACK.get(what, ATTACH)), database=database)

    def written():
        sent.append(write())
        return not sent[-1][1].is_error

    wait_until(written, 20, "calls may write again")
    there = value("select array_agg(n order by n) from entry")
    assert there == [number for number, answer in sent if not answer.is_error]
    for number, answer in sent[1:]:
        found = site.sql(f"select outcome from mcp.audit where arguments like '%number={number}.%'", database=database)
        assert found == [("refused" if answer.is_error else "ok",)], f"{number}: {answer.error} {found}"
    wait_until(lambda: value("select count(*) from mcp.audit where arguments like '%meanwhile%'") == 1, 10, "what was read meanwhile is recorded")
    wait_until(lambda: value("select s.last_id = h.last_id from mcp._audit_sealed s, mcp._audit_head h"), 10, "all is sealed")
    ok, first_bad = site.sql("select ok, first_bad_row from mcp.audit_verify()", database=database)[0]
    # Rows that were dropped are missed, those that were put back are not.
    assert (ok, first_bad) == ((False, 1) if what == "nothing" else (True, None))
    for one in (caller, reader):
        one.close()
    site.sql(f"select mcp.drain('{database}')")
    wait_until(lambda: not site.sql(f"select from pg_stat_activity where datname = '{database}'"), 10, "nobody is there")
    site.sql(f"drop database {database}")
