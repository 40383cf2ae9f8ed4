"""The audit trail as its tests look at it: rows of mcp.audit by column name, and waiting until they are there.

Owns no rule of the trail. Reads as the superuser, over a connection that is made anew when the server was restarted.
"""

import json

from psycopg import OperationalError
from psycopg.rows import dict_row

from .waits import wait_until


class Records:
    def __init__(self, cluster, database="postgres"):
        self.cluster, self.database, self.connection = cluster, database, None
        self.seen = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def sql(self, query, parameters=None):
        """Rows as dictionaries."""
        if self.connection is None or self.connection.closed:
            self.connection = self.cluster.connect(self.database, row_factory=dict_row)
        try:
            cursor = self.connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description is not None else []
        except OperationalError:
            self.close()
            raise

    def mark(self):
        """What was recorded up to now does not count."""
        self.seen = self.sql("select last_id from mcp._audit_head")[0]["last_id"]
        return self

    def rows(self, condition="true", parameters=None):
        """Rows of mcp.audit since the mark, in their order."""
        return self.sql(f"select * from mcp.audit where id > {self.seen} and ({condition}) order by id", parameters)

    def wait(self, condition, parameters=None, count=1, deadline=10):
        """The rows, once there are so many of them; an intent counts from the moment that it is there."""
        found = []

        def there():
            found[:] = self.rows(condition, parameters)
            return len(found) >= count

        wait_until(there, deadline, f"{count} rows of the audit trail where {condition} {parameters or ''}")
        assert len(found) == count, found
        return found

    def call(self, text, deadline=10):
        """The one call whose arguments hold this text, once it is over."""
        [row] = self.wait("strpos(arguments, %s) > 0 and outcome <> 'open'", [text], 1, deadline)
        return row

    def settled(self, deadline=30):
        """Waits until every intent has its outcome."""
        wait_until(lambda: not self.sql("select from mcp.audit where outcome = 'open'"), deadline, "every intent has an outcome")

    def state(self):
        """What mcp.status() says of this database's trail; None before its first row."""
        audit = json.loads(self.sql("select mcp.status()::text as status")[0]["status"])["audit"]
        return next((d for d in audit["databases"] if d["database"] == self.database), None)

    def verdict(self):
        return self.sql("select * from mcp.audit_verify()")[0]

    def check(self):
        """What must hold of any trail: ids without gaps, one outcome at the most for each intent, none without, and the seals fit."""
        numbers = self.sql("select count(*) as rows, min(id) as first, max(id) as last from mcp._audit")[0]
        assert numbers["rows"] == numbers["last"] - numbers["first"] + 1 and numbers["first"] == 1, numbers
        assert numbers["last"] == self.sql("select last_id from mcp._audit_head")[0]["last_id"], numbers
        assert not self.sql("select intent from mcp._audit where kind = 'o' group by intent having count(*) > 1"), "an intent has two outcomes"
        assert not self.sql("select from mcp._audit o where kind = 'o' and not exists"
                            " (select from mcp._audit i where i.id = o.intent and i.kind = 'i' and i.id < o.id)"), "an outcome without its intent"
        assert not self.sql("select from mcp._audit e where caller is not null and not exists (select from mcp._audit_callers c where c.id = e.caller)")
        verdict = self.verdict()
        assert verdict["ok"], verdict
