"""Reading the reports of who could and who did, as an auditor, and their pages as a reader of Markdown would take them apart."""

import re
import uuid

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

READABLE = ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"]


def as_role(cluster, role, text, parameters=None, database="postgres"):
    with cluster.connect(database=database, user=role) as connection:
        cursor = connection.execute(text, parameters)
        return cursor.fetchall() if cursor.description is not None else []


def access(cluster, role=None, reader="auditor"):
    """The rows of mcp.report_access as dictionaries, as the auditor sees them."""
    with cluster.connect(user=reader, row_factory=dict_row) as connection:
        return connection.execute("select * from mcp.report_access(%s::regrole)", [role]).fetchall()


def reads(rows, table):
    """Whether the rows of one role say that it may read the table in a call, or some columns of it."""
    return any(row["object"] == table and any(p.startswith("SELECT") for p in row["privileges"]) and not row["through"].startswith("after ")
               and "cannot be used" not in (row["note"] or "") for row in rows)


def outside_of_code(line):
    """The line without its code spans, as CommonMark finds them; here a span begins and ends with one backtick."""
    return re.sub(r"`[^`]*`", "", line)


def tables(page):
    """Rows of all tables of a page, as lists of cells; fails where a row has not as many cells as its head."""
    found, width = [], None
    for line in page.split("\n"):
        if line.startswith("|"):
            cells = line.strip("|").split("|")
            assert width is None or len(cells) == width, line
            width = len(cells)
            found.append([cell.strip() for cell in cells])
        else:
            width = None
    return found


def check_page(page):
    """No name of a page is more than text: every line has one of a few forms, and what is outside of code spans is the report's own words."""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff<]", page)
    tables(page)
    for line in page.split("\n"):
        assert line.count("`") % 2 == 0, line
        assert re.fullmatch(r"(|#{1,3} .*|- .*|\|.*\||[A-Z*a].*)", line), line
        plain = outside_of_code(line)
        assert not re.search(r"[\[\]&\\~]|://|www|@", plain), line


def write_trail(cluster, callers, rows, database="postgres"):
    """Writes rows of the audit trail as the keeper does. A row is a dictionary of columns of mcp._audit; `caller` and `intent` are places in the lists."""
    ids = [str(uuid.uuid4()) for _ in callers]
    named = [{"id": id, **caller} for id, caller in zip(ids, callers)]
    times = [row["at"] for row in rows]
    with cluster.connect(database=database, autocommit=False) as connection:
        first = connection.execute("select mcp._audit_begin(%s, %s, %s, %s)", [len(rows), Jsonb(named), min(times), max(times)]).fetchone()[0]
        for place, row in enumerate(rows):
            row = dict(row, id=first + place)
            if row.get("caller") is not None:
                row["caller"] = ids[row["caller"]]
            if row.get("intent") is not None:
                row["intent"] += first
            connection.execute(f"insert into mcp._audit ({', '.join(row)}) values ({', '.join(['%s'] * len(row))})", list(row.values()))
        connection.commit()
    return first
