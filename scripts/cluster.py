"""A throw-away PostgreSQL server, made and run with nothing but PostgreSQL's own programs and this Python.

Owns one data folder and the server in it, for the demo and the benchmark. PostgreSQL refuses to run as root, so root runs it as
the user `postgres`; anybody else as themselves. The configuration stays what initdb writes; what must differ (a port that is
taken) is given on the command line. Must not touch any other server of the machine.
"""

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path


class Failed(Exception):
    """A program of PostgreSQL failed; the text is what it said."""


def port_is_free(port):
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            # A machine without IPv6 has no such address, and so nobody on it.
            if family == socket.AF_INET6 and error.errno not in (98, 13):
                continue
            return False
    return True


def free_port(preferred=None):
    """The preferred port, or one that nobody has."""
    if preferred and port_is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, pg_config, name):
        def ask(what):
            return subprocess.run([pg_config, what], check=True, capture_output=True, text=True).stdout.strip()

        self.bin = Path(ask("--bindir"))
        self.version = ask("--version")
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.options = []
        self.pinned = None
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
        self.folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(self.folder, self.user)
        try:
            self.run("postgres", "--version")
        except PermissionError:
            raise Failed(f"the user {self.user} cannot run {self.bin}/postgres: a folder above it is closed to others") from None

    @property
    def data(self):
        return self.folder / "data"

    def as_user(self):
        """How subprocess starts a program as the server's user."""
        if os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam(self.user)
        environment = {**os.environ, "HOME": entry.pw_dir, "USER": self.user, "LOGNAME": self.user}
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "env": environment}

    def run(self, program, *arguments, text_in=None, prefix=()):
        command = [*prefix, str(self.bin / program), *map(str, arguments)]
        done = subprocess.run(command, input=text_in, capture_output=True, text=True, cwd=self.folder, **self.as_user())
        if done.returncode != 0:
            raise Failed(f"{program} failed:\n{done.stdout}{done.stderr}".rstrip())
        return done.stdout

    def init(self):
        # A fixed locale: in a container there is often none, and a database without an encoding would come of it.
        self.run("initdb", "-D", self.data, "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8",
                 "--auth-local=peer", "--auth-host=scram-sha-256")
        return self

    def choose_address(self, preferred=5432):
        """The stock port and socket folder where they are free, others where not."""
        stock = Path("/var/run/postgresql")
        owner = os.geteuid() == 0 or os.access(stock, os.W_OK)
        self.port = preferred if port_is_free(preferred) else free_port()
        if stock.is_dir() and owner and self.bin.is_relative_to("/usr/lib/postgresql"):
            self.socket_folder = stock
            if (stock / f".s.PGSQL.{self.port}").exists():
                self.port = free_port()
        else:
            self.socket_folder = self.folder
            self.set("unix_socket_directories", self.folder)
        if self.port != 5432:
            self.set("port", self.port)
        return self

    def own_address(self):
        """A socket in the server's own folder and no TCP: for measurements."""
        self.socket_folder, self.port = self.folder, 5432
        self.set("unix_socket_directories", self.folder)
        self.set("listen_addresses", "")
        return self

    def set(self, name, value):
        self.options += ["-c", f"{name}={value}"]

    def start(self):
        prefix = ("taskset", "-c", str(self.pinned)) if self.pinned is not None else ()
        options = " ".join(f"'{option}'" for option in self.options)
        try:
            self.run("pg_ctl", "start", "-w", "-D", self.data, "-l", self.folder / "log", "-o", options, prefix=prefix)
        except Failed as failure:
            raise Failed(f"{failure}\n{self.log(20)}") from None
        return self

    def stop(self, mode="fast"):
        self.run("pg_ctl", "stop", "-w", "-D", self.data, "-m", mode)

    def is_running(self):
        return (self.data / "postmaster.pid").exists()

    def remove(self):
        if self.is_running():
            self.stop("fast")
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self, lines):
        try:
            return "\n".join((self.folder / "log").read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""

    def sql(self, text, database="postgres"):
        """Runs SQL as the superuser; the last answer, unaligned."""
        return self.run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self.socket_folder, "-p", self.port, "-U", self.user,
                        "-d", database, "-f", "-", text_in=text).strip()

    def describe(self):
        return json.dumps({"folder": str(self.folder), "bin": str(self.bin), "user": self.user, "port": self.port,
                           "socket_folder": str(self.socket_folder)})
