"""Whatever a superuser does to the audit trail, mcp.audit_verify finds it and names the first row that does not fit.

The trail has rows 1 to 30 under three seals of ten, rows 31 to 33 are not sealed. Each test changes it in a transaction that is undone.
"""

import pytest

from harness.cluster import Cluster
from harness.trail import caller_row, sealed_trail

COLUMNS = {
    "id": "1000", "at": "at + interval '1 microsecond'", "kind": "'r'", "caller": "null", "intent": "3", "method": "method || ' '", "tool": "'other'", "request": "'1'",
    "trace": "''", "arguments": "'{}'", "arguments_bytes": "0", "arguments_digest": "'\\x00fe'", "queryid": "queryid - 1", "writes": "not writes", "outcome": "'error'",
    "sqlstate": "'42501'", "rule": "'x'", "times": "2", "rows": "rows + 1", "bytes": "0", "changed": "'{}'", "wal_bytes": "1", "queue_us": "1", "run_us": "1", "answer_us": "1",
    "xid": "'78'", "committed": "null", "objects": "'{}'", "ended": "now()"}
# A copy of a row, with another number.
COPY = "insert into mcp._audit select (jsonb_populate_record(e, '{{\"id\": {}}}')).* from mcp._audit e where id = {}"
# The same, as a superuser would who knows how seals are made.
REHASH = "update mcp._audit_seals s set hash = mcp._audit_seal_hash(s) where number = {}"
RELINK = "update mcp._audit_seals s set previous = b.hash from mcp._audit_seals b where b.number = s.number - 1 and s.number = {}"


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    yield one
    one.remove()


@pytest.fixture(scope="module")
def trail(site):
    return sealed_trail(site, "trail")


@pytest.fixture
def tamper(trail):
    """Runs statements as a superuser, verifies, and undoes it all."""
    def run(*statements, call="mcp.audit_verify()"):
        with trail.connect(autocommit=False) as connection:
            for statement in statements:
                connection.execute(statement)
            verdict = trail.verify(call, connection)
            connection.rollback()
        return verdict

    return run


def found(verdict, row, seal, *words):
    assert (verdict["ok"], verdict["first_bad_row"], verdict["first_bad_seal"]) == (False, row, seal), verdict
    for word in words:
        assert word in verdict["problem"], verdict
    return verdict


# ---- rows
@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column(tamper, column):
    verdict = found(tamper(f"update mcp._audit set {column} = {COLUMNS[column]} where id = 15"), 15, 2, "row 15 was " + ("removed" if column == "id" else "changed"))
    assert (verdict["seals"], verdict["rows"]) == (1, 10)


def test_each_column_is_tried(trail):
    assert [row[0] for row in trail.sql("select attname from pg_attribute where attrelid = 'mcp._audit'::regclass and attnum > 0 and not attisdropped")] == list(COLUMNS)


@pytest.mark.parametrize("row", [1, 10, 11, 30])
def test_the_first_of_several(tamper, row):
    found(tamper(f"update mcp._audit set rows = 1000 where id in ({row}, 30)", "delete from mcp._audit where id = 29" if row < 29 else "select"), row, (row + 9) // 10)


@pytest.mark.parametrize("rows, first", [("id = 7", 7), ("id between 18 and 20", 18), ("id between 11 and 20", 11), ("id between 21 and 30", 21), ("id >= 28", 28), ("true", 1)])
def test_removed_rows(tamper, rows, first):
    found(tamper(f"delete from mcp._audit where {rows}"), first, (first + 9) // 10, f"row {first} was removed")


def test_inserted_rows(tamper):
    found(tamper(COPY.format(13, 12)), 13, 2, "row 13 is there 2 times")
    found(tamper(COPY.format(12, 12)), 12, 2, "row 12 is there 2 times")
    for number in (0, -5):
        found(tamper(COPY.format(number, 12)), number, None, f"row {number} was inserted")
    found(tamper(COPY.format(34, 12)), 34, None, "row 34 was inserted, or mcp._audit_head was set back")
    found(tamper(COPY.format(5000, 12)), 5000, None, "row 5000 was inserted")
    found(tamper(COPY.format(32, 12)), 32, None, "row 32 is there more than once")
    found(tamper("delete from mcp._audit where id = 13", COPY.format(13, 12)), 13, 2, "row 13 was changed")
    found(tamper("update mcp._audit set id = 39 - id where id in (19, 20)"), 19, 2, "row 19 was changed")


def test_rows_that_are_not_sealed_yet(tamper, trail):
    """Their content is not covered; their numbers are."""
    found(tamper("delete from mcp._audit where id = 32"), 32, None, "row 32 was removed")
    found(tamper("delete from mcp._audit where id = 33"), 33, None, "row 33 was removed, or mcp._audit_head was set forward")
    found(tamper("delete from mcp._audit where id > 30"), 31, None)
    # What is missing when a seal is made stays missing.
    verdict = found(tamper("delete from mcp._audit where id = 32", "select mcp._audit_seal_rest()"), 32, 4, "row 32 was removed before it was sealed")
    assert (verdict["seals"], verdict["rows"]) == (3, 30)
    found(tamper("delete from mcp._audit where id > 30", "select mcp._audit_seal_rest()"), 31, 4, "row 31 was removed before it was sealed")
    found(tamper("delete from mcp._audit where id = 32", "select mcp._audit_seal_rest()", COPY.format(32, 12)), 32, 4, "row 32 was inserted")
    found(tamper(COPY.format(32, 12), "select mcp._audit_seal_rest()"), 32, 4, "row 32 is there 2 times")
    assert tamper("select mcp._audit_seal_rest()")["ok"]


def test_partitions(tamper):
    found(tamper("select mcp._audit_partition('2026-03-11')", "update mcp._audit set at = at + interval '1 day' where id = 15"), 15, 2, "row 15 was changed")
    found(tamper("alter table mcp._audit detach partition mcp._audit_20260310"), 1, 1, "row 1 was removed")
    found(tamper("truncate mcp._audit"), 1, 1, "row 1 was removed")


# ---- seals
@pytest.mark.parametrize("column, value", [
    ("first_id", "first_id + 1"), ("last_id", "last_id - 1"), ("last_id", "9000000000000000000"), ("sealed_at", "sealed_at + interval '1 microsecond'"), ("sealed_at", "'infinity'"),
    ("body", "sha256('')"), ("previous", "sha256('')"), ("hash", "sha256('')"), ("hash", "''")])
def test_a_changed_seal(tamper, column, value):
    verdict = found(tamper(f"update mcp._audit_seals set {column} = {value} where number = 2"), None, 2, "seal 2 was changed")
    assert (verdict["seals"], verdict["rows"]) == (1, 10)


def test_a_seal_made_anew(tamper):
    """A seal that fits the changed rows does not fit the chain."""
    remake = ["update mcp._audit set rows = 1000 where id = 15",
              "update mcp._audit_seals s set marks = t.marks, body = t.body from mcp._audit_seal_table(11, 20) t where s.number = 2", REHASH.format(2)]
    found(tamper(*remake), None, 3, "seal 3 does not follow seal 2, which was changed or put in its place")
    remake += [RELINK.format(3), REHASH.format(3)]
    found(tamper(*remake), None, 4, "mcp._audit_sealed does not have the hash")
    # The whole rest written anew: nothing in the database knows better. The server log does.
    honest = tamper("select")
    forged = tamper(*remake, "update mcp._audit_sealed d set hash = s.hash from mcp._audit_seals s where s.number = 3")
    assert forged["ok"] and forged["last_seal"] == honest["last_seal"] and forged["last_hash"] != honest["last_hash"]


def test_marks_are_not_what_proves(tamper):
    marks = "update mcp._audit_seals s set marks = {} where number = 2"
    remade = marks.format("(mcp._audit_seal_table(11, 20)).marks")
    found(tamper(marks.format("sha256(marks)")), None, 2, "the marks of seal 2 were changed; its rows are as they were")
    found(tamper(marks.format("null")), None, 2, "the marks of seal 2 were changed")
    found(tamper("update mcp._audit set rows = 1000 where id = 15", remade), None, 2, "rows 11 to 20 are not those that seal 2 covers; its marks were changed too")
    found(tamper("update mcp._audit set rows = 1000 where id = 15", marks.format("substr(marks, 1, 70)")), None, 2, "its marks were changed too")
    found(tamper("delete from mcp._audit where id in (15, 17)", marks.format("null")), 15, 2, "no sealed record of a purge says that they went")


def test_removed_seals(tamper):
    delete = "delete from mcp._audit_seals where number = {}"
    found(tamper(delete.format(1)), 1, 1, "seal 1 was removed")
    assert found(tamper(delete.format(2)), 11, 2, "seal 2 was removed")["rows"] == 10
    found(tamper(delete.format(3)), 21, 3, "seal 3 was removed")
    found(tamper(delete.format(2), "delete from mcp._audit where id between 11 and 20"), 11, 2, "seal 2 was removed")
    found(tamper("truncate mcp._audit_seals"), 1, 1, "seal 1 was removed")
    # The numbers moved up, so that no gap shows.
    found(tamper(delete.format(2), "update mcp._audit_seals set number = 2 where number = 3"), None, 2, "seal 2 was changed")
    found(tamper(delete.format(2), "update mcp._audit_seals set number = 2 where number = 3", REHASH.format(2)), None, 2, "does not follow seal 1")
    found(tamper(delete.format(2), "update mcp._audit_seals set number = 2 where number = 3", RELINK.format(2), REHASH.format(2)), None, 2,
          "seal 2 begins at row 21 and ends at row 30, and the seal before it ends at row 10")
    # The keeper goes on after a seal that was taken away: the gap stays.
    found(tamper(delete.format(3), "select mcp._audit_seal_rest()"), 21, 3, "seal 3 was removed")


def test_inserted_seals(tamper):
    insert = "insert into mcp._audit_seals select {}, {}, {}, sealed_at, marks, body, hash, '' from mcp._audit_seals where number = 3"
    found(tamper(insert.format(4, 31, 33), REHASH.format(4)), None, 4)
    found(tamper(insert.format(0, -9, 0)), None, 0, "seal 0 was inserted")
    found(tamper(insert.format(9, 31, 33), REHASH.format(9)), 31, 4, "seal 4 was removed")


def test_swapped_seals(tamper):
    swap = ["update mcp._audit_seals set number = -number where number < 3", "update mcp._audit_seals set number = 3 + number where number < 0"]
    found(tamper(*swap), None, 1, "seal 1 was changed")
    found(tamper(*swap, REHASH.format(1), REHASH.format(2)), None, 1, "seal 1 does not follow seal 0")


def test_where_the_trail_ends(tamper):
    found(tamper("update mcp._audit_head set last_id = 20"), 31, None, "row 31 was inserted, or mcp._audit_head was set back: it says that the last row is 20")
    found(tamper("update mcp._audit_head set last_id = 40"), 34, None, "row 34 was removed, or mcp._audit_head was set forward")
    found(tamper("delete from mcp._audit_head"), 34, None)
    found(tamper("update mcp._audit_sealed set number = 2"), None, 3)
    found(tamper("update mcp._audit_sealed set hash = ''"), None, 4, "mcp._audit_sealed does not have the hash")
    found(tamper("delete from mcp._audit_sealed"), None, 4)


def test_a_trail_that_was_cut_off(tamper, trail):
    """Whatever remembers the end set back as well: the tables fit together, and the newest seal is not the one that the server log has."""
    verdict = tamper("delete from mcp._audit where id > 20", "delete from mcp._audit_seals where number > 2", "update mcp._audit_head set last_id = 20",
                     "update mcp._audit_sealed d set number = 2, last_id = 20, hash = s.hash from mcp._audit_seals s where s.number = 2")
    assert verdict["ok"] and verdict["last_seal"] == 2
    assert "server log" in trail.value("select obj_description('mcp.audit_verify(timestamptz, timestamptz)'::regprocedure)")


# ---- callers
def test_callers(tamper):
    found(tamper("update mcp._audit_callers set peer = 'elsewhere'"), 1, 1, "row 1 names caller", "changed")
    found(tamper("delete from mcp._audit_callers"), 1, 1, "row 1 names caller", "removed")
    found(tamper("update mcp._audit set rows = 1000 where id = 1", "delete from mcp._audit_callers"), 1, 1)
    other = caller_row(label="other")
    columns = ", ".join(other)
    values = ", ".join("null" if value is None else f"$${value}$$" for value in other.values())
    added = f"insert into mcp._audit_callers ({columns}) values ({values})"
    assert tamper(added)["ok"]
    found(tamper(added, "update mcp._audit_callers set role = 'x' where label = 'other'"), None, None, "the entry of caller", "was changed")
    found(tamper(added, f"update mcp._audit set caller = '{other['id']}' where id = 15"), 15, 2, "row 15 was changed")
    # Of a row that is not sealed yet, too.
    found(tamper(added, f"update mcp._audit set caller = '{other['id']}' where id = 33", "delete from mcp._audit_callers where label = 'other'"), 33, None, "row 33 names caller")


# ---- a part of the trail
def test_part_by_time(tamper):
    at = "mcp.audit_verify('2026-03-10 {}+00', '2026-03-10 {}+00')"
    change = "update mcp._audit set rows = 1000 where id = 25"
    sealed_in_march = "update mcp._audit_seals set sealed_at = '2026-03-10 00:00+00'::timestamptz + number * interval '9 hours'"
    remade = [sealed_in_march, REHASH.format(1), RELINK.format(2), REHASH.format(2), RELINK.format(3), REHASH.format(3),
              "update mcp._audit_sealed d set hash = s.hash from mcp._audit_seals s where s.number = 3"]
    verdict = tamper(*remade, change, call=at.format("01:00", "08:00"))
    assert (verdict["ok"], verdict["seals"], verdict["rows"], verdict["unsealed_rows"]) == (True, 1, 10, None), verdict
    found(tamper(*remade, change, call=at.format("20:05", "20:06")), 25, 3)
    found(tamper(*remade, change, call="mcp.audit_verify(since => '2026-03-10 09:00+00')"), 25, 3)
    assert tamper(*remade, change, call="mcp.audit_verify(until => '2026-03-10 08:00+00')")["ok"]
    # A row that came long before its seal.
    late = "update mcp._audit set at = '2026-03-10 00:00:30+00' where id = 25"
    found(tamper(*remade, late, call=at.format("00:00", "01:00")), 25, 3)
    # A seal that is missing where the time asked for was.
    found(tamper(*remade, "delete from mcp._audit_seals where number = 2", "delete from mcp._audit where id between 11 and 20", call=at.format("10:00", "11:00")), 11, 2)
    assert tamper(call="mcp.audit_verify(now(), now() + interval '1 day')")["ok"]
    assert tamper(call="mcp.audit_verify('2020-01-01', '2020-01-02')")["ok"]


def test_the_wrong_way_round(trail):
    with pytest.raises(Exception, match="until lies before since") as refused:
        trail.verify("mcp.audit_verify('2026-03-10', '2026-03-09')")
    assert refused.value.sqlstate == "22023"


def test_part_by_id(tamper):
    change = "update mcp._audit set rows = 1000 where id = 25"
    verdict = tamper(change, call="mcp.audit_verify_ids(5, 12)")
    assert (verdict["ok"], verdict["seals"], verdict["rows"]) == (True, 2, 20)
    found(tamper(change, call="mcp.audit_verify_ids(12, 22)"), 25, 3)
    found(tamper(change, call="mcp.audit_verify_ids(12)"), 25, 3)
    assert tamper(change, call="mcp.audit_verify_ids(to_id => 20)")["ok"]
    assert tamper(call="mcp.audit_verify_ids(21, 33)")["unsealed_rows"] == 3
    found(tamper("delete from mcp._audit_seals where number = 1", call="mcp.audit_verify_ids(15, 16)"), None, 1, "seal 1 was removed")
