"""Retention of the audit trail: days that are over go whole, what is left still proves itself, and nobody is fooled by whoever asks for it."""

import json
import re
import threading

import psycopg
import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.trail import Trail, day
from harness.waits import wait_until

FIVE_DAYS = ["_audit_20260301", "_audit_20260302", "_audit_20260303", "_audit_20260304", "_audit_20260305"]
_numbers = iter(range(1, 1000))


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    one.install()
    yield one
    one.remove()


@pytest.fixture
def trail(site):
    """Five days: rows 1 to 6 of the 1st under two seals; a seal of 7 to 12, rows of the 1st among those of the 2nd; the 3rd to the 5th with a seal each."""
    one = Trail(site, f"purge_{next(_numbers)}")
    for at in (1, 1, (2, 1, 2, 2, 1, 2), 3, 4, 5):
        one.write(*[{"at": day(d)} for d in (at if isinstance(at, tuple) else (at,) * 3)])
        one.seal()
    return one


def purge(trail, before, user=None, connection=None):
    query = f"select to_jsonb(p) from mcp.audit_purge({before}) p"
    return connection.execute(query).fetchone()[0] if connection else trail.value(query, user=user)


def counts(verdict):
    assert verdict["ok"], verdict
    return verdict["seals"], verdict["purged_seals"], verdict["rows"]


def bad(verdict, row, seal=None):
    assert (verdict["ok"], verdict["first_bad_row"]) == (False, row) and seal in (None, verdict["first_bad_seal"]), verdict
    return verdict["problem"]


def purge_then(trail, now, before):
    """audit_purge as it would have been at an earlier time."""
    name = f"mcp.audit_purge_{next(_numbers)}"
    text = trail.value("select pg_get_functiondef('mcp.audit_purge'::regproc)")
    for clock in ("clock_timestamp()", "> now()"):
        assert clock in text
        text = text.replace(clock, clock.replace(clock.removeprefix("> "), f"timestamptz '{now}'"))
    trail.sql(re.sub(r"\baudit_purge\b", name.removeprefix("mcp."), text))
    return trail.value(f"select to_jsonb(p) from {name}('{before}') p")


# ---- what goes and what stays
def test_partitions_are_listed(trail):
    rows = trail.sql("select name, starts::text, ends::text, rows, bytes > 0 from mcp.audit_partitions")
    assert [row[0] for row in rows] == FIVE_DAYS
    with trail.connect() as connection:
        # Whatever the reader's settings.
        connection.execute("set timezone = 'Asia/Kolkata'; set datestyle = 'German'")
        assert connection.execute("select extract(epoch from starts)::int, extract(epoch from ends - starts)::int from mcp.audit_partitions limit 1").fetchone() == (
            int(day(1, hours=-12).timestamp()), 86400)
    trail.sql("analyze mcp._audit")
    assert [row[0] for row in trail.sql("select rows from mcp.audit_partitions")] == [8, 4, 3, 3, 3]


def test_whole_days_go(trail):
    assert counts(trail.verify()) == (6, 0, 21)
    # The 1st alone: before is within the 2nd.
    gone = purge(trail, "'2026-03-02 15:00+00'")
    assert gone == {"partitions": FIVE_DAYS[:1], "rows": 8, "first_id": 1, "last_id": 11, "record": 22}
    assert trail.value("select to_regclass('mcp._audit_20260301')") is None
    assert [row[0] for row in trail.sql("select id from mcp._audit order by id")] == [7, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22]
    # The record is sealed already. Two seals have no rows any more, the third has some.
    assert counts(trail.verify()) == (7, 2, 14)
    assert trail.sql("select number, marks is null, octet_length(marks) from mcp._audit_seals order by 1")[:4] == [(1, True, None), (2, True, None), (3, False, 48), (4, False, 24)]
    assert counts(trail.verify("mcp.audit_verify_ids(1, 6)")) == (2, 2, 0)
    assert counts(trail.verify("mcp.audit_verify('2026-03-02', '2026-03-03')")) == (1, 0, 4)

    record = trail.sql("select kind::text, method, arguments, rows, at > now() - interval '1 minute', caller from mcp._audit where id = 22")[0]
    assert (record[0], record[1], record[3], record[4], record[5]) == ("e", "purge", 8, True, None)
    said = json.loads(record[2])
    assert list(said.pop("partial")) == ["3"]
    assert said == {"before": "2026-03-02T15:00:00+00:00", "until": "2026-03-02T00:00:00+00:00", "partitions": FIVE_DAYS[:1], "rows": 8, "first_id": 1, "last_id": 11,
                    "session_user": "postgres", "role": "none", "seals": "{[1,3)}"}
    seal = trail.sql("select number, encode(hash, 'hex') from mcp._audit_seals order by number desc limit 1")[0]
    assert len([line for line in trail.site.log().splitlines() if f"supabase_mcp audit: seal {seal[0]} over rows up to 22: {seal[1]}" in line]) == 1

    # Nothing more to let go: no record of nothing.
    assert purge(trail, "'2026-03-02 15:00+00'") == {"partitions": [], "rows": 0, "first_id": None, "last_id": None, "record": None}
    # On to the 3rd: what was left of the seal between goes too, and the newer record says it all.
    gone = purge(trail, "'2026-03-04 00:00+00'")
    assert (gone["partitions"], gone["rows"], gone["first_id"], gone["last_id"], gone["record"]) == (FIVE_DAYS[1:3], 7, 7, 15, 23)
    assert counts(trail.verify()) == (8, 4, 8)
    said = json.loads(trail.value("select arguments from mcp._audit where id = 23"))
    assert (said["seals"], said["partial"]) == ("{[1,5)}", {})
    # And goes on to be written.
    assert trail.write({}) == 24
    trail.seal()
    assert counts(trail.verify()) == (9, 4, 9)


def test_a_purge_is_an_event_and_no_call(trail):
    purge(trail, "'2026-03-02'")
    assert trail.sql("select outcome, mode from mcp.audit where method = 'purge'") == [(None, "write")]
    page = trail.value("select mcp.report_activity_page(now() - interval '1 minute', now() + interval '1 minute')")
    assert "purge" in page.split("### Gaps and purges")[1].split("\n## ")[0], page
    assert trail.sql("select * from mcp.report_activity(now() - interval '1 minute', now() + interval '1 minute')") == []


def test_what_is_left_is_still_proven(trail):
    purge(trail, "'2026-03-02'")
    record = trail.value("select max(id) from mcp._audit")
    one_of_three = "update mcp._audit_seals set marks = sha256(marks) where number = 3"
    for statements, row, seal, words in (
            (["update mcp._audit set rows = 1000 where id = 9"], 9, 3, "row 9 was changed"),
            (["delete from mcp._audit where id = 9"], 9, 3, "row 9 was removed"),
            (["delete from mcp._audit where id between 7 and 12"], 7, 3, "row 7 was removed"),
            (["delete from mcp._audit where id = 14"], 14, 4, "row 14 was removed"),
            (["update mcp._audit set id = 8 where id = 14"], 8, 3, "row 8 was inserted"),
            (["update mcp._audit set id = 2 where id = 14"], 2, 1, "row 2 was inserted: the one that seal 1 covers was purged"),
            (["update mcp._audit set rows = 1000 where id = 9", one_of_three], None, 3, "its marks were changed too"),
            ([f"update mcp._audit set arguments = replace(arguments, '[1,3)', '[1,4)') where id = {record}"], record, 7, "the record of what was purged does not hold"),
            ([f"update mcp._audit set arguments = 'no JSON' where id = {record}"], record, 7, "the record of what was purged does not hold"),
            ([f"update mcp._audit set method = 'x' where id = {record}"], record, 7, "the record of what was purged does not hold"),
            ([f"delete from mcp._audit where id = {record}"], record, 7, "the record of what was purged does not hold"),
            (["update mcp._audit_sealed set purge_id = 13"], 13, 4, "row 13 is no such record"),
            (["update mcp._audit_sealed set purge_id = null"], 1, 1, "no sealed record of a purge says that they went"),
            (["update mcp._audit_sealed set purge_id = 500"], 1, 1, "no sealed record of a purge says that they went"),
            (["delete from mcp._audit_seals where number = 1"], 1, 1, "seal 1 was removed"),
            (["delete from mcp._audit_seals where number < 3"], 1, 1, "seal 1 was removed"),
            (["update mcp._audit_seals set body = sha256(body) where number = 1"], None, 1, "seal 1 was changed")):
        with trail.connect(autocommit=False) as connection:
            for statement in statements:
                connection.execute(statement)
            verdict = trail.verify(connection=connection)
            connection.rollback()
        assert words in bad(verdict, row, seal), (statements, verdict)


def test_a_forged_purge(trail):
    """Rows that were deleted by hand, with a record made up for it."""
    forge = ["delete from mcp._audit where at >= '2026-03-04' and at < '2026-03-05'", "update mcp._audit_seals set marks = null where number = 5"]
    arguments = {"until": "2026-03-05T00:00:00+00:00", "seals": "{[5,6)}", "partial": {}}
    record = {"kind": "e", "method": "purge", "arguments": json.dumps(arguments)}
    with trail.connect(autocommit=False) as connection:
        for statement in forge:
            connection.execute(statement)
        assert "no sealed record of a purge" in bad(trail.verify(connection=connection), 16, 5)
        # Not sealed: nothing that counts.
        number = trail.write(record, connection=connection)
        connection.execute("update mcp._audit_sealed set purge_id = %s", [number])
        assert "no sealed record of a purge" in bad(trail.verify(connection=connection), 16, 5)
        # Sealed: it says that all before a time went, and they did not.
        connection.execute("select mcp._audit_seal_rest()")
        assert "row 1 is there, and row 22 says that all before 2026-03-05" in bad(trail.verify(connection=connection), 1)
    # A call whose arguments read like a record is none.
    with trail.connect(autocommit=False) as connection:
        for statement in forge:
            connection.execute(statement)
        number = trail.write({**record, "kind": "c"}, connection=connection)
        connection.execute("update mcp._audit_sealed set purge_id = %s; select mcp._audit_seal_rest()".replace("%s", str(number)))
        assert "is no such record" in bad(trail.verify(connection=connection), number)
        connection.rollback()


def test_records_of_purges_go_too(trail):
    """The newest says what all before it said: the day of an older one can be purged as any other."""
    first = purge_then(trail, "2026-03-03 12:00+00", "2026-03-02")
    assert first["record"] == 22
    trail.write({"at": day(4)})
    trail.seal()
    assert counts(trail.verify()) == (8, 2, 15)
    second = purge_then(trail, "2026-03-05 13:00+00", "2026-03-04")
    assert (second["partitions"], second["record"]) == (FIVE_DAYS[1:3], 24)
    assert trail.sql("select id from mcp._audit where id = 22") == []
    assert counts(trail.verify()) == (9, 5, 8)
    last = purge(trail, "now()")
    assert (last["partitions"], last["rows"], last["record"]) == (FIVE_DAYS[3:], 8, 25)
    assert counts(trail.verify()) == (10, 9, 1)
    assert trail.sql("select id from mcp._audit") == [(25,)]


def test_calls_recorded_after_their_day_was_purged(trail):
    purge(trail, "'2026-03-02'")
    late = trail.write({"at": day(1)}, {"at": day(5)})
    trail.seal()
    assert (late, counts(trail.verify())) == (23, (8, 2, 16))
    gone = purge(trail, "'2026-03-02'")
    assert (gone["partitions"], gone["rows"], gone["first_id"], gone["last_id"]) == (FIVE_DAYS[:1], 1, 23, 23)
    assert counts(trail.verify()) == (9, 2, 16)
    with trail.connect(autocommit=False) as connection:
        connection.execute("update mcp._audit set rows = 1000 where id = 24")
        bad(trail.verify(connection=connection), 24, 8)
        connection.execute("rollback; begin; update mcp._audit set rows = 1000 where id = 9")
        bad(trail.verify(connection=connection), 9, 3)
        connection.rollback()


def test_an_empty_day(site):
    one = Trail(site, "purge_empty")
    one.sql("select mcp._audit_partition('2026-03-01')")
    assert purge(one, "'2026-03-05'") == {"partitions": FIVE_DAYS[:1], "rows": 0, "first_id": None, "last_id": None, "record": 1}
    assert counts(one.verify()) == (1, 0, 1)


def test_a_purged_trail_can_be_dumped(trail):
    purge(trail, "'2026-03-02'")
    assert trail.restored("purged_restored").verify() == trail.verify()


# ---- what is refused
def test_what_does_not_go(trail):
    for before in ("now() + interval '1 minute'", "null", "'infinity'"):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="before must be a time that has come"):
            purge(trail, before)
    assert purge(trail, "'-infinity'")["partitions"] == []
    # Nothing of today.
    trail.write_many(2, at="now()")
    trail.seal()
    purge(trail, "now()")
    assert trail.value("select count(*) from mcp._audit") == 3
    assert len(trail.sql("select name from mcp.audit_partitions")) in (1, 2)


def test_rows_that_are_not_sealed(trail):
    trail.write({"at": day(1)})
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="row 22 of the audit trail is of that time and is not sealed yet") as refused:
        purge(trail, "'2026-03-02'")
    assert "seals every second" in refused.value.diag.message_hint
    trail.seal()
    assert purge(trail, "'2026-03-02'")["rows"] == 9


def test_evidence_stays(trail):
    """What was tampered with is not purged, nor its neighbours under the same seal."""
    trail.sql("update mcp._audit set rows = 1000 where id = 9")
    with pytest.raises(psycopg.errors.DataCorrupted, match="the audit trail does not fit its seals: row 9 was changed"):
        purge(trail, "'2026-03-02'")
    trail.sql("update mcp._audit set rows = null where id = 9; delete from mcp._audit where id = 2")
    with pytest.raises(psycopg.errors.DataCorrupted, match="row 2 was removed"):
        purge(trail, "'2026-03-02'")
    assert [row[0] for row in trail.sql("select name from mcp.audit_partitions")] == FIVE_DAYS


def test_readers_are_not_waited_for(trail):
    """Calls that may write wait behind the purge, so it gives up soon; then nothing has happened."""
    before = trail.verify()
    with trail.connect(autocommit=False) as reader:
        reader.execute("select count(*) from mcp._audit")
        with pytest.raises(psycopg.errors.LockNotAvailable, match="the audit trail is in use") as refused:
            purge(trail, "'2026-03-02'")
        assert "try again" in refused.value.diag.message_hint
        # Whoever writes goes on at once.
        assert trail.write({}) == 22
    trail.sql("delete from mcp._audit where id = 22; update mcp._audit_head set last_id = 21")
    assert trail.verify() == before
    assert purge(trail, "'2026-03-02'")["record"] == 22


def test_one_purge_at_a_time(trail):
    with trail.connect(autocommit=False) as first:
        purge(trail, "'2026-03-02'", connection=first)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            purge(trail, "'2026-03-03'")
        first.commit()
    assert purge(trail, "'2026-03-03'")["rows"] == 4
    assert counts(trail.verify()) == (8, 3, 11)


def test_verifying_behind_a_purge(trail):
    """Whoever verifies waits for a purge that is at work, and then sees what it left, not what was before it."""
    verdicts = []
    waiting = "select count(*) = 2 from pg_locks where relation = 'mcp._audit'::regclass and not granted"
    with trail.connect(autocommit=False) as purger:
        purge(trail, "'2026-03-02'", connection=purger)
        auditors = [threading.Thread(target=lambda call=call: verdicts.append(trail.verify(call))) for call in ("mcp.audit_verify()", "mcp.audit_verify_ids(1)")]
        for auditor in auditors:
            auditor.start()
        with trail.connect() as watcher:
            wait_until(lambda: watcher.execute(waiting).fetchone()[0], 4, "the auditors wait")
        purger.commit()
    for auditor in auditors:
        auditor.join()
    assert [counts(verdict) for verdict in verdicts] == [(7, 2, 14)] * 2


def test_a_transaction_left_open_does_not_stop_the_calls(trail):
    """A client that waits with its COMMIT is ended, and the purge with it."""
    with trail.connect(autocommit=False) as connection:
        purge(trail, "'2026-03-02'", connection=connection)
        assert connection.execute("show idle_in_transaction_session_timeout").fetchone()[0] == "5s"
        connection.execute("set local idle_in_transaction_session_timeout = '10ms'")
        wait_until(lambda: trail.write({}) == 22, 30, "the trail can be written")
        with pytest.raises(psycopg.Error):
            connection.execute("commit")
    assert trail.value("select to_regclass('mcp._audit_20260301') is not null")
    assert trail.value("select current_database()") not in [line.split("@")[1].split(" ")[0] for line in trail.site.log().splitlines() if "audit: seal" in line]


# ---- who may
def test_nobody_may_unless_told(trail, site):
    site.sql("create role keeper_of_days login; create role bystander login; grant mcp_auditor, mcp_admin to bystander")
    for user in ("keeper_of_days", "bystander"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            purge(trail, "'2026-03-02'", user=user)
    trail.sql("grant usage on schema mcp to keeper_of_days; grant execute on function mcp.audit_purge(timestamptz) to keeper_of_days")
    with trail.connect("keeper_of_days") as connection:
        for relation in ("_audit", "_audit_seals", "_audit_20260301"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"select from mcp.{relation}")
        # A session that was made ready to mislead it.
        connection.execute("set timezone = 'America/St_Johns'; set datestyle = 'SQL, DMY'; set quote_all_identifiers = on; set default_tablespace = ''; set synchronous_commit = off;"
                           " create temp table _audit (id bigint, at timestamptz); create temp table pg_inherits (a int); set search_path = pg_temp, mcp;"
                           " create function pg_temp.now() returns timestamptz language sql as 'select ''infinity''::timestamptz'")
        assert purge(trail, "timestamptz '2026-03-02 00:00+00'", connection=connection)["rows"] == 8
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            connection.execute("select mcp.audit_purge('2200-01-01')")
    said = json.loads(trail.value("select arguments from mcp._audit where id = 22"))
    assert (said["session_user"], said["role"], said["before"]) == ("keeper_of_days", "none", "2026-03-02T00:00:00+00:00")
    assert counts(trail.verify()) == (7, 2, 14)
    with trail.connect() as connection:
        connection.execute("set role keeper_of_days")
        purge(trail, "'2026-03-03 00:00+00'", connection=connection)
    said = json.loads(trail.value("select arguments from mcp._audit where id = 23"))
    assert (said["session_user"], said["role"]) == ("postgres", "keeper_of_days")


def test_not_within_a_call(site):
    site.sql("create role agent login; select mcp.grant_tools('agent', write => true); grant execute on function mcp.audit_purge(timestamptz) to agent; grant usage on schema mcp to agent")
    agent = token_caller(site, "agent")
    result = agent.sql("select mcp.audit_purge(now())")
    assert result.error["sqlstate"] == "42501" and "is not purged by a call that it records" in result.error["message"], result
