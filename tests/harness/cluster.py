"""A throw-away Postgres cluster in a temporary folder.

Owns initdb, start, stop, configuration and superuser connections (the DBA's side of a test). Runs the server as the OS user
`postgres` when the tests run as root, because Postgres refuses root. Postgres itself listens on no TCP port, only on a Unix
socket in the cluster's own folder; the MCP port is a free one. Must not touch any other cluster of the machine.
"""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

from .waits import wait_until

PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")
SERVER_USER = "postgres" if os.geteuid() == 0 else None

# Durability is not under test, speed of the suite is. Everything else stays stock.
BASE_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "log_line_prefix": "%m [%p] %b %q%u@%d ",
    "unix_socket_permissions": "0700",
    "shared_buffers": "32MB",
}

# The name of the bootstrap superuser, and the folder that initdb made with it.
_templates = {}
live = []


def pg_config(what):
    return subprocess.run([PG_CONFIG, f"--{what}"], check=True, capture_output=True, text=True).stdout.strip()


def server_major():
    return int(pg_config("version").split()[1].split(".")[0])


def as_server(arguments, **options):
    """Runs a server program as the OS user that owns the cluster."""
    if SERVER_USER:
        account = pwd.getpwnam(SERVER_USER)
        options.update(user=account.pw_uid, group=account.pw_gid, extra_groups=[])
        options["env"] = {**os.environ, "HOME": "/", "USER": SERVER_USER, "LOGNAME": SERVER_USER}
    options.setdefault("env", dict(os.environ))["LC_ALL"] = "C.UTF-8"
    # Messages are compared in English, whatever the machine speaks.
    options["env"]["LC_MESSAGES"] = "C"
    return subprocess.run(arguments, cwd="/", text=True, **options)


def new_folder():
    folder = Path(tempfile.mkdtemp(prefix="mcp-", dir="/tmp"))
    if SERVER_USER:
        account = pwd.getpwnam(SERVER_USER)
        os.chown(folder, account.pw_uid, account.pw_gid)
    # Other OS users must reach the MCP socket in here; the Postgres socket has its own mode.
    folder.chmod(0o755)
    return folder


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def template(superuser):
    """One initdb for all clusters of a run with this superuser; the others are copies of it."""
    if superuser not in _templates:
        folder = new_folder()
        made = as_server(
            [f"{pg_config('bindir')}/initdb", "-N", "-A", "trust", "-U", superuser, "-E", "UTF8",
             "--locale=C.UTF-8", "-D", str(folder / "data")],
            capture_output=True,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        _templates[superuser] = folder
    return _templates[superuser]


def drop_templates():
    for folder in _templates.values():
        shutil.rmtree(folder, ignore_errors=True)
    _templates.clear()


class Cluster:
    def __init__(self, superuser="postgres", **settings):
        self.superuser = superuser
        self.folder = new_folder()
        self.data = self.folder / "data"
        self.log_file = self.folder / "log"
        self.port = free_port()
        self.running = False
        self.checkpointer = None
        self._make_data()
        self.settings = {
            **BASE_SETTINGS,
            "unix_socket_directories": str(self.folder),
            "supabase_mcp.port": str(self.port),
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        self._write_settings()

    def _make_data(self):
        as_server(["cp", "-a", str(template(self.superuser) / "data"), str(self.data)], check=True)
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write("include 'test.conf'\n")

    # ---- configuration
    def _write_settings(self):
        lines = [f"{name} = '{str(value).replace(chr(39), chr(39) * 2)}'\n" for name, value in self.settings.items()]
        (self.data / "test.conf").write_text("".join(lines))

    def configure(self, **settings):
        """Changes settings as a DBA does: edit the file, reload. None puts the default back. `__` stands for a dot."""
        for name, value in settings.items():
            name = name.replace("__", ".")
            if value is None:
                self.settings.pop(name, None)
            else:
                self.settings[name] = value
        self._write_settings()
        if self.running:
            self.sql("select pg_reload_conf()")

    # ---- life
    def ctl(self, *arguments, **options):
        return as_server([f"{pg_config('bindir')}/pg_ctl", "-D", str(self.data), *arguments], **options)

    def start(self):
        started = self.ctl("start", "-w", "-t", "60", "-l", str(self.log_file), "-s")
        assert started.returncode == 0, self.log()
        self.running = True
        if self not in live:
            live.append(self)
        self.note_checkpointer()
        return self

    def stop(self, mode="fast", timeout=60):
        stopped = self.ctl("stop", "-w", "-t", str(timeout), "-m", mode, "-s")
        assert stopped.returncode == 0, self.log()
        self.running = False

    def restart(self, mode="fast"):
        self.stop(mode)
        return self.start()

    def remove(self):
        if self.running:
            self.ctl("stop", "-w", "-m", "immediate", "-s")
            self.running = False
        if self in live:
            live.remove(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # ---- the DBA's connections
    def connect(self, database="postgres", user=None, **options):
        options.setdefault("autocommit", True)
        return psycopg.connect(host=str(self.folder), dbname=database, user=user or self.superuser, connect_timeout=10, **options)

    def sql(self, query, parameters=None, database="postgres", user=None):
        """Runs one text as the superuser; rows of the last statement, or an empty list."""
        with self.connect(database, user) as connection:
            cursor = connection.execute(query, parameters)
            while cursor.nextset():
                pass
            return cursor.fetchall() if cursor.description is not None else []

    def value(self, query, parameters=None, **options):
        return self.sql(query, parameters, **options)[0][0]

    def up(self):
        """Waits until the server takes connections again, after a crash restart for example."""
        wait_until(lambda: self.value("select true"), 30, "the server takes connections")

    # ---- crash restarts
    def checkpointer_start(self):
        """Changes exactly when the server restarts after a crash; pg_postmaster_start_time() does not."""
        return self.value("select backend_start from pg_stat_activity where backend_type = 'checkpointer'")

    def note_checkpointer(self):
        self.checkpointer = wait_until(self.checkpointer_start, 30, "a checkpointer")

    # ---- the MCP side
    @property
    def mcp_socket(self):
        return self.folder / f".s.MCP.{self.port}"

    def gateway_pids(self):
        return [row[0] for row in self.sql(
            "select pid from pg_stat_activity where backend_type = 'supabase_mcp gateway'")]

    def executors(self):
        return self.sql(
            "select pid, usename, datname, application_name, state, query from pg_stat_activity"
            " where backend_type = 'supabase_mcp executor' order by backend_start")

    def waits_for_replicas(self):
        """Whether commits wait for replicas by now: the checkpointer tells them to, some time after the settings were read."""
        with self.connect() as connection:
            connection.execute("set synchronous_commit = on")
            pid = connection.info.backend_pid
            connection.pgconn.send_query(b"select pg_logical_emit_message(true, 'test', 'committed')")
            begun = "select state, wait_event from pg_stat_activity where pid = %s and query ~ 'emit_message'"
            seen = wait_until(lambda: [one for one in self.sql(begun, [pid]) if one[0] == "idle" or one[1] == "SyncRep"], 10, "a commit")
            self.sql("select pg_terminate_backend(%s, 5000)", [pid])
            connection.pgconn.finish()
        return seen[0][1] == "SyncRep"

    def install(self, database="postgres"):
        self.sql("create extension supabase_mcp", database=database)
        self.ready()
        return self

    def ready(self, deadline=15):
        from .clients import HttpClient

        def answers():
            with HttpClient(unix=self.mcp_socket) as client:
                return client.request("GET", "/readyz").status == 200

        wait_until(answers, deadline, "the gateway is ready")
