"""A hot standby of a running cluster: a copy by pg_basebackup that follows the primary's WAL stream.

Owns the copy and its promotion. Reads what the primary wrote as soon as it has replayed it.
"""

from .cluster import Cluster, as_server, pg_config
from .waits import wait_until


class Standby(Cluster):
    def __init__(self, primary, **settings):
        self.primary = primary
        super().__init__(**{"shared_preload_libraries": "supabase_mcp", **settings})

    def _make_data(self):
        made = as_server([f"{pg_config('bindir')}/pg_basebackup", "-h", str(self.primary.folder), "-U", "postgres", "-R", "-X", "stream",
                          "-c", "fast", "-D", str(self.data)], capture_output=True)
        assert made.returncode == 0, made.stderr

    def caught_up(self):
        """Waits until everything that the primary has written is replayed here."""
        target = self.primary.value("select pg_current_wal_lsn()::text")
        wait_until(lambda: self.value("select pg_last_wal_replay_lsn() >= %s::pg_lsn", [target]), 30, "the standby has caught up")

    def promote(self):
        promoted = self.ctl("promote", "-w", "-t", "60", "-s")
        assert promoted.returncode == 0, self.log()
