"""How each figure of the benchmark is taken: pgbench with its own log, the load generator, memory from /proc.

Owns the running of those programs and nothing of what is compared. pgbench and the load generator see the same statement, the
same socket folder and the same time. Must not measure anything while another measurement runs.
"""

import bisect
import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path


class Figures(dict):
    """p50 and p99 in microseconds, calls per second."""

    @classmethod
    def of(cls, latencies, per_second):
        return cls(p50=percentile(latencies, 0.5), p99=percentile(latencies, 0.99), per_second=per_second, calls=len(latencies))


def percentile(whole, share):
    """Of whole microseconds, as pgbench logs them. A statement takes ten or so: the place within the microsecond is a tenth of
    the figure, so it is interpolated from how many fall into it."""
    ordered = sorted(whole)
    rank = len(ordered) * share
    value = ordered[min(len(ordered) - 1, int(rank))]
    below, upto = bisect.bisect_left(ordered, value), bisect.bisect_right(ordered, value)
    return value + (rank - below) / (upto - below)


def pinned(core):
    return [] if core is None else ["taskset", "-c", str(core)]


def pgbench(server, script, connections, seconds, core=None):
    """Runs a custom script; percentiles come from the log of single transactions, for pgbench itself prints only the mean."""
    with tempfile.TemporaryDirectory(dir=server.folder) as folder:
        folder = Path(folder)
        folder.chmod(0o777)
        (folder / "script.sql").write_text(script)
        threads = min(connections, 2)
        output = server.run(
            "pgbench", "-n", "-M", "simple", "-c", connections, "-j", threads, "-T", seconds, "-f", folder / "script.sql",
            "-l", f"--log-prefix={folder}/log", "-h", server.socket_folder, "-p", server.port, "-U", server.user, "postgres",
            prefix=pinned(core))
        latencies = [int(line.split()[2]) for log in folder.glob("log.*") for line in log.read_text().splitlines()]
    tps = next(line for line in output.splitlines() if line.startswith("tps = "))
    return Figures.of(latencies, float(tps.split()[2]))


class Load:
    """The load generator against one server."""

    def __init__(self, program, socket, port, token):
        self.program, self.socket, self.port, self.token = program, socket, port, token

    def where(self, way):
        if way == "newline":
            return ["--connect", f"unix:{self.socket}", "--framing", "newline"]
        if way == "http-unix":
            return ["--connect", f"unix:{self.socket}", "--framing", "http"]
        return ["--connect", f"tcp:127.0.0.1:{self.port}", "--framing", "http", "--token", self.token]

    def command(self, way, arguments, connections=1, seconds=3, core=None, tool="execute_sql", **options):
        extra = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        return [*pinned(core), self.program, *self.where(way), "--tool", tool, "--arguments", json.dumps(arguments),
                "--connections", str(connections), "--seconds", str(seconds), *extra]

    @contextlib.contextmanager
    def flood(self, way, arguments, connections):
        """Calls without a pause for as long as the block lasts; its figures are not taken."""
        running = subprocess.Popen(self.command(way, arguments, connections, 600), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            yield
            if running.poll() is not None:
                raise RuntimeError(f"the flood ended early: {running.stderr.read().decode(errors='replace')}")
        finally:
            running.kill()
            running.wait()

    def run(self, way, arguments, connections=1, seconds=3, core=None, tool="execute_sql", **options):
        command = self.command(way, arguments, connections, seconds, core, tool, **options)
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}".replace(self.token, "mcp_…"))
        got = json.loads(done.stdout)
        return Figures(p50=got["p50_us"], p99=got["p99_us"], per_second=got["per_second"], calls=got["calls"],
                       bytes=got["bytes_per_answer"], first=got["slowest_first_us"])


def processes(server):
    """Processes of the server by title: pid -> title."""
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == postmaster:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, IndexError):
            continue
    return found


def of_kind(server, kind):
    return [pid for pid, title in processes(server).items() if f"supabase_mcp {kind}" in title]


def wait_for_spares(server, count):
    deadline = time.monotonic() + 10
    while int(server.sql("select jsonb_array_length(mcp.status() #> '{executors,spare}')")) != count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"there are not {count} spare bridges")


def memory(pid):
    """Proportional and private memory of one process in MB. The server's shared buffers are nobody's own: the kernel calls a page of
    theirs private when only one process happens to have looked at it."""
    pss, private, shared = 0, 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            shared = rest[0].endswith("s")
        elif name == "Pss:":
            pss += int(rest[0])
        elif name in ("Private_Clean:", "Private_Dirty:") and not shared:
            private += int(rest[0])
    return {"pss": pss / 1024, "private": private / 1024}


def pin_server(server, cores):
    """Moves the server's processes, all threads of each, to these cores; new ones inherit it."""
    postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
    for pid in [postmaster, *processes(server)]:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), cores)
        except (FileNotFoundError, ProcessLookupError):
            continue
