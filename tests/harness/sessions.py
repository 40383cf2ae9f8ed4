"""Sessions of psycopg that run something and do not wait for it.

Owns the sending of a statement without reading its result: a session that waits for a lock is a session, not a thread.
"""

import psycopg

from .waits import wait_until


class Session:
    """A connection whose statements can be left running; gone with everything that it holds at the end of the block."""

    def __init__(self, cluster, user=None, database="postgres", name="session"):
        self.cluster = cluster
        self.connection = cluster.connect(database, user, application_name=name)
        self.pid = self.connection.info.backend_pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.cluster.sql("select pg_terminate_backend(%s)", [self.pid])
        self.connection.close()

    def run(self, query):
        return self.connection.execute(query)

    def start(self, query):
        """Sends the statement and comes back at once."""
        self.connection.pgconn.send_query(query.encode())
        return self

    def runs(self):
        wait_until(lambda: self.cluster.value("select state = 'active' from pg_stat_activity where pid = %s", [self.pid]), 20, "the session runs")
        return self

    def waits(self):
        wait_until(lambda: self.cluster.value("select count(*) from pg_locks where pid = %s and not granted", [self.pid]), 20, "the session waits for a lock")
        return self

    def finish(self):
        """The SQLSTATE of what was started, or None if it succeeded, or "closed" if the connection ended."""
        states = []
        while (result := self.connection.pgconn.get_result()) is not None:
            state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
            states.append(state.decode() if state else None)
        return next((state for state in states if state), None)
