"""The seals of the audit trail: what a row's digest is taken from, how seals are made, who may verify, and what a dump keeps of them."""

import hashlib
import threading
from datetime import datetime, timezone

import psycopg
import pytest

from harness.cluster import Cluster
from harness.trail import NOON, Trail, caller_row, digest, sealed_trail

HOSTILE = ["", "\\N", "\\.", "a\\b", "\t", "\n", "\r\n", "\b\f\v", "\\t\\n", "ü€𝄞\u2028\x01\x1f\x7f", "'\"$$;--", "x" * 3000]
TEXTS = ["method", "tool", "request", "trace", "arguments", "outcome", "sqlstate", "rule", "changed", "objects"]


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    yield one
    one.remove()


@pytest.fixture(scope="module")
def trail(site):
    return sealed_trail(site, "trail")


def test_a_sound_trail_is_found_sound(trail):
    verdict = trail.verify()
    newest = trail.sql("select number, encode(hash, 'hex') from mcp._audit_seals order by number desc limit 1")[0]
    assert verdict == {"ok": True, "problem": None, "first_bad_row": None, "first_bad_seal": None, "seals": 3, "purged_seals": 0, "rows": 30,
                       "unsealed_rows": 3, "last_seal": 3, "last_hash": newest[1]}


def test_an_empty_trail_is_sound(site):
    empty = Trail(site, "empty")
    assert empty.verify() == {"ok": True, "problem": None, "first_bad_row": None, "first_bad_seal": None, "seals": 0, "purged_seals": 0, "rows": 0,
                              "unsealed_rows": 0, "last_seal": None, "last_hash": None}
    assert empty.value("select mcp._audit_seal_rest()") is None


# ---- digests
def test_a_line_is_what_copy_writes(site):
    """Byte for byte, so that an auditor can check a digest with psql and sha256sum alone, whatever the settings of the session that verifies."""
    one = Trail(site, "lines")
    times = [datetime(2026, 3, 10, 23, 59, 59, 999999, timezone.utc), datetime(2026, 3, 10, 12, 30, tzinfo=timezone.utc), datetime(2026, 3, 10, 1, 2, 3, 400000, timezone.utc)]
    rows = [{column: text for column in TEXTS} for text in HOSTILE]
    rows += [{**{column: None for column in TEXTS}, "kind": kind, "at": at, "ended": at} for kind in "ioer" for at in times]
    rows += [{"arguments_digest": value, "writes": flag, "committed": not flag, "queryid": number, "intent": number, "rows": -number, "xid": str(2 ** 63 + 5)}
             for value, flag, number in ((b"", True, 2 ** 63 - 1), (bytes(range(256)), False, -(2 ** 62)))]
    rows += [{"arguments": HOSTILE[n] + "ü\\" + HOSTILE[-n]} for n in range(len(HOSTILE))]
    one.write(*rows)
    query = "select {} from mcp._audit e order by id"
    expected = one.copied(query.format("*"))
    assert len(expected) == len(rows)
    with one.connect() as connection:
        for settings in ("", "set timezone = 'America/St_Johns'; set datestyle = 'SQL, DMY'; set bytea_output = 'escape'; set search_path = mcp, public; set lc_messages = 'C'"):
            if settings:
                connection.execute(settings)
            assert [row[0] for row in connection.execute(query.format("mcp._audit_line(e)"))] == expected
            assert [row[0] for row in connection.execute(query.format("mcp._audit_digest(e)"))] == [digest(line) for line in expected]
    columns = one.value("select string_agg(attname, ',' order by attnum) from pg_attribute where attrelid = 'mcp._audit'::regclass and attnum > 0 and not attisdropped")
    assert one.copied(query.format(columns)) == expected, "a column of the table is not in the line"


def test_a_caller_is_named_by_its_content(site):
    one = Trail(site, "callers")
    for text in [None, *HOSTILE]:
        one.write({}, caller=caller_row(role=text, principal=text, label=text, authentication=text, issuer=text, subject=text, client=text, peer=text))
    assert one.sql("select id from mcp._audit_callers c where id <> mcp._audit_caller_id(c)") == []
    lines = one.copied("select id, role, principal, label, authentication, issuer, subject, client, peer from mcp._audit_callers")
    for line in lines:
        name, content = line.split("\t", 1)
        assert name.replace("-", "") == digest(content).hex()[:32]
    assert len(lines) == len(HOSTILE) + 1


def test_seals_can_be_checked_outside_the_database(trail):
    """The chain computed again from what COPY gives, as the comments on the columns say."""
    lines = trail.copied("select * from mcp._audit order by id")
    previous = bytes(32)
    for line in trail.copied("select number, first_id, last_id, (extract(epoch from sealed_at) * 1000000)::bigint, encode(marks, 'hex'), encode(body, 'hex'),"
                             " encode(previous, 'hex'), encode(hash, 'hex') from mcp._audit_seals order by number"):
        number, first, last, micros, marks, body, before, hash = line.split("\t")
        digests = [digest(lines[id - 1]) for id in range(int(first), int(last) + 1)]
        assert marks == b"".join(d[:8] for d in digests).hex()
        assert body == hashlib.sha256(b"".join(digests)).hexdigest()
        assert before == previous.hex()
        numbers = b"".join(int(value).to_bytes(8, "big") for value in (number, first, last, micros))
        previous = hashlib.sha256(previous + numbers + bytes.fromhex(body)).digest()
        assert hash == previous.hex()


# ---- sealing
def keeper_digests(one, first, last):
    digests = [digest(line) for line in one.copied(f"select * from mcp._audit where id between {first} and {last} order by id")]
    return b"".join(d[:8] for d in digests), hashlib.sha256(b"".join(digests)).digest()


SEAL = "select mcp._audit_seal(%s, %s, %s, %s)"


def test_the_keepers_seals(site):
    """Made from the digests of what it wrote: a row that was changed before it was sealed does not fit."""
    one = Trail(site, "keeper")
    one.write({}, {}, {})
    marks, body = keeper_digests(one, 1, 3)
    made = one.value(SEAL, [1, 3, marks, body])
    stored = one.sql("select number, first_id, last_id, sealed_at, encode(hash, 'hex') from mcp._audit_seals")[0]
    assert [made[key] for key in ("number", "first_id", "last_id", "hash")] == [stored[0], stored[1], stored[2], stored[4]]
    assert datetime.fromisoformat(made["sealed_at"]) == stored[3]
    assert one.verify()["ok"]

    one.write({}, {})
    marks, body = keeper_digests(one, 4, 5)
    for arguments, state in (([5, 5, marks[8:], body], "55000"), ([4, 6, marks + marks[:8], body], "55000"), ([4, 5, marks[:8], body], "22023"),
                             ([4, 5, marks, body[:31]], "22023"), ([5, 4, b"", body], "22023"), ([4, 5, None, body], "22023")):
        with pytest.raises(psycopg.Error) as refused:
            one.value(SEAL, arguments)
        assert refused.value.sqlstate == state and refused.value.diag.message_hint, arguments
    one.sql("update mcp._audit set rows = 1000 where id = 5")
    one.value(SEAL, [4, 5, marks, body])
    verdict = one.verify()
    assert (verdict["ok"], verdict["first_bad_row"], verdict["first_bad_seal"], verdict["problem"]) == (False, 5, 2, "row 5 was changed")


def test_the_keeper_finds_rows_sealed_already(site):
    """A purge seals what is there; the keeper has the digests of some of those rows in hand still."""
    one = Trail(site, "overtaken")
    one.write({}, {}, {})
    marks, body = keeper_digests(one, 1, 3)
    first = one.seal()[0]
    assert one.value(SEAL, [1, 3, marks, body]) == first
    one.write({}, {})
    marks, body = keeper_digests(one, 2, 5)
    second = one.value(SEAL, [2, 5, marks, body])
    assert (second["number"], second["first_id"], second["last_id"]) == (2, 4, 5)
    assert one.verify()["ok"]

    one.write({}, {})
    marks, body = keeper_digests(one, 6, 7)
    with one.connect(autocommit=False) as connection:
        connection.execute("update mcp._audit set rows = 1000 where id = 7; select mcp._audit_seal_rest()")
        with pytest.raises(psycopg.errors.DataCorrupted, match="rows 6 to 7 of the audit trail were sealed otherwise than they were written"):
            connection.execute(SEAL, [6, 7, marks, body])
    one.seal()
    one.write({}, {}, {})
    marks, body = keeper_digests(one, 6, 10)
    one.sql("update mcp._audit set rows = 1000 where id = 9")
    assert one.value(SEAL, [6, 10, marks, body])["first_id"] == 8
    verdict = one.verify()
    assert (verdict["ok"], verdict["first_bad_row"], verdict["problem"]) == (False, 9, "row 9 was changed")


def test_the_rest_is_sealed_in_portions(site):
    one = Trail(site, "portions")
    one.write_many(50_003)
    seals = one.seal()
    assert [(s["number"], s["first_id"], s["last_id"], s.get("more")) for s in seals] == [(1, 1, 50_000, True), (2, 50_001, 50_003, None)]
    assert one.value("select mcp._audit_seal_rest()") is None
    verdict = one.verify()
    assert (verdict["ok"], verdict["seals"], verdict["rows"], verdict["unsealed_rows"]) == (True, 2, 50_003, 0)


def test_the_rest_up_to_a_row(site):
    """What an earlier keeper left comes first; what this one wrote is sealed from its own digests."""
    one = Trail(site, "rest_to")
    one.write({}, {}, {}, {})
    assert one.value("select mcp._audit_seal_rest(2) - 'hash' - 'sealed_at'") == {"number": 1, "first_id": 1, "last_id": 2}
    assert one.value("select mcp._audit_seal_rest(2)") is None
    one.value(SEAL, [3, 4, *keeper_digests(one, 3, 4)])
    assert one.verify()["seals"] == 2 and one.verify()["ok"]


def test_verifying_while_the_trail_is_written(site):
    """One snapshot: rows, seals and the head are never seen at different times."""
    one = Trail(site, "busy")
    stop = threading.Event()
    problems = []

    def keep():
        try:
            with one.connect(autocommit=False) as connection:
                while not stop.is_set():
                    one.write({}, {}, connection=connection)
                    connection.commit()
                    connection.execute("select mcp._audit_seal_rest()")
                    connection.commit()
        except Exception as problem:  # shown by the test
            problems.append(problem)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        with one.connect() as connection:
            verdicts = [one.verify(connection=connection)]
            while verdicts[-1]["seals"] < 20 and not problems:
                verdicts.append(one.verify(connection=connection))
    finally:
        stop.set()
        keeper.join()
    assert not problems
    assert [verdict for verdict in verdicts if not verdict["ok"]] == []


# ---- the rights
def test_auditors_verify_and_write_nothing(trail, site):
    site.sql("create role auditor login; grant mcp_auditor to auditor; create role outsider login")
    assert trail.verify(user="auditor")["ok"]
    assert trail.verify("mcp.audit_verify_ids(5, 15)", user="auditor")["rows"] == 20
    for statement in ("update mcp._audit set rows = 1", "delete from mcp._audit_seals", "insert into mcp._audit_callers default values", "update mcp._audit_head set last_id = 1",
                      "update mcp._audit_sealed set number = 1", "truncate mcp._audit", "select mcp._audit_seal_rest()", "select mcp._audit_begin(1, '[]', now(), now())",
                      "drop table mcp._audit_20260310"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            trail.sql(statement, user="auditor")
    for query in ("select mcp.audit_verify()", "select mcp.audit_verify_ids()", "select * from mcp.audit_partitions", "select * from mcp._audit_seals"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            trail.sql(query, user="outsider")


# ---- a database that was dumped, and one that lets go
def test_a_restored_trail_still_proves_itself(trail):
    restored = trail.restored("restored")
    assert restored.verify() == trail.verify()
    # And goes on where it was.
    assert restored.write({}, {"at": datetime.now(timezone.utc)}) == 34
    assert restored.seal()[0]["number"] == 4
    verdict = restored.verify()
    assert (verdict["ok"], verdict["rows"], verdict["unsealed_rows"]) == (True, 35, 0)
    restored.sql("update mcp._audit set tool = 'x' where id = 12")
    assert restored.verify()["first_bad_row"] == 12


def test_drop_extension_takes_the_partitions(site):
    one = Trail(site, "gone")
    one.write({}, {"at": NOON.replace(day=11)})
    one.sql("drop extension supabase_mcp")
    assert one.sql("select relname from pg_class where relnamespace = to_regnamespace('mcp')") == []
    one.sql("create extension supabase_mcp")
    assert one.write({}) == 1
