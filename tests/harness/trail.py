"""An audit trail in a database of its own, written as the keeper process writes it: what the tests of seals and of retention share. Holds no test."""

import hashlib
import json
import subprocess
from datetime import datetime, timedelta, timezone

from .cluster import as_server, pg_config

NOON = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)
CALLER = {"role": "app", "principal": "token:1", "label": "the \t app \\ ü", "authentication": "token", "issuer": None, "subject": None,
          "client": "a client 1.0\n", "peer": "127.0.0.1"}
ESCAPES = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def caller_row(**values):
    """A caller with the name that its content gives it."""
    caller = {**CALLER, **values}
    line = "\t".join("\\N" if value is None else "".join(ESCAPES.get(c, c) for c in value) for value in caller.values())
    return {"id": hashlib.sha256(line.encode()).hexdigest()[:32], **caller}


class Trail:
    def __init__(self, site, database, create=True):
        self.site, self.database = site, database
        if create:
            site.sql(f"create database {database}")
            self.sql("create extension supabase_mcp")

    def sql(self, query, parameters=None, user=None):
        return self.site.sql(query, parameters, database=self.database, user=user)

    def value(self, query, parameters=None, user=None):
        return self.sql(query, parameters, user)[0][0]

    def connect(self, user=None, **options):
        return self.site.connect(self.database, user, **options)

    def write(self, *rows, caller=None, connection=None):
        """Appends rows, dicts of columns, in one transaction; gives the id of the first."""
        caller = caller or caller_row()
        rows = [{"at": NOON, "kind": "c", "method": "tools/call", "tool": "execute_sql", "outcome": "ok", **row} for row in rows]
        for row in rows:
            if row["kind"] not in ("o", "e"):
                row.setdefault("caller", caller["id"])

        def write(connection):
            times = [row["at"] for row in rows]
            first = connection.execute("select mcp._audit_begin(%s, %s, %s, %s)", [len(rows), json.dumps([caller]), min(times), max(times)]).fetchone()[0]
            for number, row in enumerate(rows, first):
                row = {"id": number, **row}
                connection.execute(f"insert into mcp._audit ({', '.join(row)}) values ({', '.join(['%s'] * len(row))})", list(row.values()))
            return first

        if connection is not None:
            return write(connection)
        with self.connect(autocommit=False) as connection:
            return write(connection)

    def write_many(self, count, at="timestamptz '2026-03-10 12:00+00'", caller=None):
        """Appends like rows, quickly; `at` may speak of g, which counts from 0."""
        caller = caller or caller_row()
        with self.connect(autocommit=False) as connection:
            low, high = connection.execute(f"select min({at}), max({at}) from generate_series(0, {count - 1}) g").fetchone()
            first = connection.execute("select mcp._audit_begin(%s, %s, %s, %s)", [count, json.dumps([caller]), low, high]).fetchone()[0]
            connection.execute(
                "insert into mcp._audit (id, at, kind, caller, method, tool, request, arguments, arguments_bytes, writes, outcome, rows, bytes, queue_us, run_us, answer_us)"
                f" select {first} + g, {at}, 'c', '{caller['id']}', 'tools/call', 'execute_sql', g::text,"
                """ '{"sql": "select * from shop.orders where note = ''a\\nb'' and id = ' || g || '"}', 180, false, 'ok', 1, 300, 120, 900, 50"""
                f" from generate_series(0, {count - 1}) g")
        return first

    def seal(self):
        """What the keeper does with rows that it has no digests of."""
        seals = []
        while True:
            seals.append(self.value("select mcp._audit_seal_rest()"))
            if seals[-1] is None or "more" not in seals[-1]:
                return seals

    def verify(self, call="mcp.audit_verify()", connection=None, user=None):
        """The verdict as a dict."""
        query = f"select to_jsonb(v) from {call} v"
        return connection.execute(query).fetchone()[0] if connection is not None else self.value(query, user=user)

    def restored(self, database):
        """The trail of a new database that a dump of this one was restored into."""
        where = ["-h", str(self.site.folder), "-U", "postgres"]
        dump = str(self.site.folder / f"{database}.sql")
        self.site.sql(f"create database {database}")
        for command in (["pg_dump", *where, "-d", self.database, "-f", dump], ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *where, "-d", database, "-f", dump]):
            done = as_server([f"{pg_config('bindir')}/{command[0]}", *command[1:]], capture_output=True)
            assert done.returncode == 0, done.stderr
        return Trail(self.site, database, create=False)

    def psql(self, *commands, **options):
        done = as_server([f"{pg_config('bindir')}/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(self.site.folder), "-U", "postgres",
                          "-d", self.database, *[part for command in commands for part in ("-c", command)]],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def copied(self, query):
        """Lines as COPY writes them, the way that an auditor takes rows out."""
        lines = self.psql("set timezone = 'UTC'", "set datestyle = 'ISO'", "set bytea_output = 'hex'", "set client_encoding = 'UTF8'", f"copy ({query}) to stdout")
        return lines.split("\n")[:-1]


def sealed_trail(site, database):
    """Rows 1 to 30 under three seals of ten, then three that are not sealed."""
    one = Trail(site, database)
    for start in (0, 10, 20):
        one.write(*[{"at": NOON.replace(hour=start, minute=n), "kind": "i" if n % 5 == 1 else "c", "tool": f"tool {start + n}", "arguments_digest": b"\x00\xff",
                     "writes": n % 2 == 0, "xid": "77", "committed": True, "queryid": -n, "times": 1, "rows": n} for n in range(10)])
        one.seal()
    one.write({"kind": "r", "rule": "rate"}, {"kind": "o", "intent": 12, "committed": False}, {})
    return one


def digest(line):
    return hashlib.sha256(line.encode()).digest()


def day(number, **hours):
    """Noon of a day in March 2026."""
    return datetime(2026, 3, number, 12, tzinfo=timezone.utc) + timedelta(**hours)
