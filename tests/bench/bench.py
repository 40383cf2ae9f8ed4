"""`make bench`: the same statements through pgbench and through MCP, side by side in one run on a server of its own.

Owns what is measured and in which order; measure.py takes the figures, report.py prints them. One connection is measured with
every process on one core, for otherwise most of what is seen is the other core waking up. BENCH_SECONDS (default 3) is the time
of one measurement, but for two seconds at the most where modes or connections take turns in many rounds; there are about 280. The figures also go to target/bench.json.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import audit  # noqa: E402
import cluster  # noqa: E402
import measure  # noqa: E402
import report  # noqa: E402

SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
WAYS = {"newline": "newline JSON-RPC, Unix socket", "http-unix": "HTTP, Unix socket", "http-tcp": "HTTP, loopback TCP"}
# Of the measurements with many connections.
ROUNDS = 5
SELECT_1 = ("select 1", "select 1;\n", {"query": "select 1"})
KEY = ("key in 1,000,000 rows",
       "\\set aid random(1, 1000000)\nselect abalance from pgbench_accounts where aid = :aid;\n",
       {"query": "select abalance from pgbench_accounts where aid = %d"})
WIDE = "select id, name, amount, at, active from bench.wide where id <= 1000"
ALL = "select id, name, amount, at, active from bench.wide"


FLOODS = {"select 1": SELECT_1[2], "5 ms of waiting": {"query": "select pg_sleep(0.005)"},
          "5 ms of work": {"query": "select count(*) from generate_series(1, 60000)"}}


def wait_for(condition):
    give_up = time.monotonic() + 20
    while not condition():
        if time.monotonic() > give_up:
            raise RuntimeError("the flood does not come about")
        time.sleep(0.01)


class Bench:
    def __init__(self, server, load, core):
        self.server, self.load, self.core = server, load, core
        self.results = {}

    def keep(self, name, figures):
        self.results[name] = figures
        return figures

    def one_connection(self):
        """One connection, everything on one core."""
        measure.pin_server(self.server, {self.core})
        for name, script, arguments in (SELECT_1, KEY):
            report.LATENCY.heading(f"{name}, one connection, one core")
            base = self.keep(f"{name} c1 pgbench", measure.pgbench(self.server, script, 1, int(SECONDS), self.core))
            report.latency_row("pgbench -M simple", base)
            for way, target in (("newline", 3), ("http-unix", 4), ("http-tcp", 4.5)):
                figures = self.load.run(way, arguments, seconds=SECONDS, core=self.core, rows=1)
                report.latency_row(WAYS[way], self.keep(f"{name} c1 {way}", figures), base, target)
        for way in ("newline", "http-unix"):
            base = self.results["select 1 c1 pgbench"]
            figures = self.load.run(way, SELECT_1[2], seconds=SECONDS, core=self.core, revision="2026-07-28")
            report.latency_row(f"select 1, 2026-07-28, {way}", self.keep(f"select 1 c1 {way} 2026-07-28", figures), base)

    def many_rows(self):
        report.LATENCY.heading("1,000 rows of 5 columns, one connection, one core")
        base = self.keep("rows pgbench", measure.pgbench(self.server, f"{WIDE};\n", 1, int(SECONDS), self.core))
        report.latency_row("pgbench -M simple", base)
        figures = {}
        for way, target in (("newline", 3), ("http-unix", None), ("http-tcp", None)):
            figures[way] = self.load.run(way, {"query": WIDE}, seconds=SECONDS, core=self.core, rows=1000)
            report.latency_row(WAYS[way], self.keep(f"rows {way}", figures[way]), base, target)
        before = self.executor_memory()
        asked = self.load.run("newline", {"query": ALL}, seconds=SECONDS, core=self.core, rows=1000)
        after = self.executor_memory()
        report.latency_row("100,000 rows asked, newline", self.keep("capped newline", asked), figures["newline"], 1.1)
        print("  (the last row is beside the 1,000 rows of newline, not beside pgbench)")
        self.keep("capped growth MB", after - before)

    def executor_memory(self):
        return sum(measure.memory(pid)["private"] for pid in measure.of_kind(self.server, "executor"))

    def catalog(self):
        report.LATENCY.heading("list_tables of a schema with 205 tables, one connection, one core")
        script = "select mcp.list_tables(array['many']);\n"
        base = self.keep("list pgbench", measure.pgbench(self.server, script, 1, int(SECONDS), self.core))
        report.latency_row("the same function in pgbench", base)
        for way, target in (("newline", 1.5), ("http-unix", None)):
            figures = self.load.run(way, {"schemas": ["many"]}, seconds=SECONDS, core=self.core, tool="list_tables")
            report.latency_row(WAYS[way], self.keep(f"list {way}", figures), base, target)

    def tool_lists(self):
        """What models pay for: the list of tools, as compact JSON, and how long it takes to make anew (an executor keeps it)."""
        report.SINGLE.heading("tools/list of the built-in tools")
        for name, only, most in (("the usual features", "[]", 8000), ("all features", '[["all"]]', 30000)):
            call = f"mcp._tools('{only}')"
            tools = json.loads(self.server.sql(f"select {call}"))
            size = len(json.dumps(tools, separators=(",", ":"), ensure_ascii=False).encode())
            made = measure.pgbench(self.server, f"select {call};\n", 1, max(1, int(SECONDS)), self.core)
            report.single_row(f"{name}: {len(tools)} tools", self.keep(f"tools/list {name} bytes", size), "bytes", most, 0)
            report.single_row(f"{name}: made anew, p50", self.keep(f"tools/list {name} ms", made["p50"] / 1000), "ms", None, 1)

    def many_connections(self):
        """With as many executors as pgbench has backends at eight connections; the default of four beside it."""
        measure.pin_server(self.server, os.sched_getaffinity(0))
        switch(self.server, "max_executors", 8)
        for connections in (8, 32):
            for name, script, arguments in (SELECT_1, KEY):
                report.LATENCY.heading(f"{name}, {connections} connections, all cores, median of {ROUNDS} rounds")
                rounds = [self.side_by_side(script, arguments, connections) for _ in range(ROUNDS)]
                base, *ways = (sorted(taken, key=lambda figures: figures["per_second"])[ROUNDS // 2] for taken in zip(*rounds))
                report.latency_row("pgbench -M simple", self.keep(f"{name} c{connections} pgbench", base))
                for way, figures, share in zip(WAYS, ways, (0.35, 0.25, 0.25)):
                    report.latency_row(WAYS[way], self.keep(f"{name} c{connections} {way}", figures), base,
                                       share if connections == 8 else None, by="per_second")
        switch(self.server, "max_executors", 4)
        name, script, arguments = SELECT_1
        report.LATENCY.heading(f"{name}, 8 connections, all cores, the default of four executors, one round")
        base, *ways = self.side_by_side(script, arguments, 8)
        report.latency_row("pgbench -M simple", self.keep(f"{name} c8 default pgbench", base))
        for way, figures in zip(WAYS, ways):
            report.latency_row(WAYS[way], self.keep(f"{name} c8 default {way}", figures), base, by="per_second")

    def side_by_side(self, script, arguments, connections):
        """pgbench, then each way. pgbench's own figure swings by a third from run to run when all cores are used, hence the rounds."""
        return [measure.pgbench(self.server, script, connections, int(SECONDS)),
                *(self.load.run(way, arguments, connections, SECONDS, rows=1) for way in WAYS)]

    def neighbours(self, noisy):
        """One connection of one role, alone and while another role calls from 32."""
        alone = self.keep("alone", self.load.run("newline", SELECT_1[2], seconds=SECONDS))
        report.LATENCY.heading("select 1 of a role on one connection, all cores, beside another role's flood from 32")
        report.latency_row("alone", alone)
        promises = []
        for name, arguments in FLOODS.items():
            # What a call of the flood takes when nothing is in its way: the one running call to wait for.
            call = noisy.run("http-tcp", arguments, seconds=SECONDS)
            with noisy.flood("http-tcp", arguments, 32):
                wait_for(lambda: int(self.server.sql("select mcp.status() #> '{executors,waiting_calls}'").splitlines()[-1]) > 8)
                figures = self.keep(f"under {name}", self.load.run("newline", SELECT_1[2], seconds=SECONDS))
            report.latency_row(f"under a flood of {name}", figures, alone)
            promises.append((name, figures["p99"], 3 * alone["p99"] + call["p99"]))
        report.SINGLE.heading("p99 under a flood of another role, beside 3 times the p99 alone plus one call of the flood")
        for name, p99, most in promises:
            report.single_row(f"under a flood of {name}", p99, "us", most, 0)

    def cold_starts(self, tokens):
        """The first call of a role: its token is looked up, a process is forked and connects."""
        return self.keep("cold ms", [self.first_call(token) for token in tokens])

    def first_call(self, token):
        load = measure.Load(self.load.program, self.load.socket, self.load.port, token)
        return load.run("http-tcp", SELECT_1[2], seconds=0.01, warm_up=0, calls=1)["first"] / 1000

    def end_users(self, name, known, tokens, spares):
        """The first call of an end user of a role that cannot log in, after another one of that role: with a spare waiting, or none."""
        times = []
        for token in tokens:
            # An empty pool again: where others have taken all places there is none for a spare.
            self.server.sql("select mcp.off(); select mcp.on()")
            self.first_call(known)
            measure.wait_for_spares(self.server, spares)
            times.append(self.first_call(token))
        return self.keep(name, times)


def gateway_memory(server):
    return measure.memory(measure.of_kind(server, "gateway")[0])


def first_answer(server, program, socket, port):
    """Seconds from `create extension` in a server that has never seen the library to the first answer."""
    user = os.environ.get("USER") or subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    began = time.monotonic()
    server.sql(f"create extension supabase_mcp; select mcp.grant_tools('bench_reader'); select mcp.map_peer('{user}', 'bench_reader')")
    load = measure.Load(program, socket, port, "none")
    while True:
        try:
            load.run("newline", SELECT_1[2], seconds=0.01, warm_up=0, calls=1)
            return time.monotonic() - began
        except RuntimeError:
            if time.monotonic() - began > 20:
                raise
            time.sleep(0.005)


def switch(server, setting, value):
    server.sql(f"load 'supabase_mcp';\nalter system set supabase_mcp.{setting} = {value};\nselect pg_reload_conf();")
    time.sleep(1)


def token(server, role, number=1):
    return server.sql(f"select mcp.create_token('{role}', 'bench {role} {number}')").splitlines()[-1]


def run(server, program):
    core = max(os.sched_getaffinity(0))
    server.init().own_address()
    port = cluster.free_port()
    server.set("supabase_mcp.port", port)
    # Room for eight executors beside the gateway, a keeper and parallel queries.
    server.set("max_worker_processes", 16)
    server.start()
    server.run("pgbench", "-i", "-q", "-s", "10", "-h", server.socket_folder, "-p", server.port, "-U", server.user, "postgres")
    server.sql((HERE / "prepare.sql").read_text())
    socket = server.socket_folder / f".s.MCP.{port}"
    print(f"{server.version}; {os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}; {SECONDS:g} s a measurement")

    install = first_answer(server, program, socket, port)
    bench = Bench(server, measure.Load(program, socket, port, token(server, "bench_reader")), core)
    bench.keep("first answer s", install)
    cold_tokens = []
    for n in range(1, 11):
        server.sql(f"select mcp.grant_tools('bench_cold_{n}')")
        cold_tokens.append(token(server, f"bench_cold_{n}"))
    cold = bench.cold_starts(cold_tokens)
    server.sql("select mcp.grant_tools('bench_shared')")
    known, *users = [token(server, "bench_shared", n) for n in range(21)]
    with_spare = bench.end_users("end user, spare ms", known, users[:10], 1)
    switch(server, "spare_bridges", 0)
    without = bench.end_users("end user, no spare ms", known, users[10:], 0)
    switch(server, "spare_bridges", 1)
    bench.one_connection()
    bench.many_rows()
    bench.catalog()
    bench.tool_lists()
    bench.many_connections()
    server.sql("select mcp.grant_tools('bench_noisy')")
    server.sql("select mcp.grant_tools('bench_writer', true)")
    writer = measure.Load(program, socket, port, token(server, "bench_writer"))
    switch(server, "max_executors", 8)
    audit.compare(bench, bench.load, writer, ROUNDS, SECONDS)
    switch(server, "max_executors", 4)
    bench.neighbours(measure.Load(program, socket, port, token(server, "bench_noisy")))
    gateway = bench.keep("gateway MB", gateway_memory(server))
    executors = [measure.memory(pid) for pid in measure.of_kind(server, "executor")]
    bench.keep("executors MB", executors)

    report.SINGLE.heading("Starts and memory")
    report.single_row("create extension to the first answer", install, "s", 1, 2)
    report.single_row("first call of a role, median of 10 (a process starts)", sorted(cold)[len(cold) // 2], "ms", 15)
    report.single_row("first call of a role, slowest of 10", max(cold), "ms")
    report.single_row("first call of a new end user, median of 10 (a spare waits)", sorted(with_spare)[len(with_spare) // 2], "ms", 5)
    report.single_row("the same without a spare (supabase_mcp.spare_bridges = 0)", sorted(without)[len(without) // 2], "ms")
    report.single_row("gateway, private memory after the run", gateway["private"], "MB", 12)
    report.single_row("gateway, PSS after the run", gateway["pss"], "MB")
    if executors:
        report.single_row("idle executor after the run, private memory, largest", max(one["private"] for one in executors), "MB", 8)
        report.single_row("idle executor after the run, PSS, largest", max(one["pss"] for one in executors), "MB")
    report.single_row("executor's growth over 100,000-row answers", bench.results["capped growth MB"], "MB", 16)
    return bench.results


def main():
    program = str((ROOT / os.environ.get("LOAD", "target/release/load")).resolve())
    server = None
    try:
        server = cluster.Server(os.environ.get("PG_CONFIG", "pg_config"), "supabase_mcp-bench")
        results = run(server, program)
        (ROOT / "target" / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
        return 0
    except (cluster.Failed, RuntimeError) as failure:
        print(f"\nThe benchmark failed: {failure}", file=sys.stderr)
        if server is not None:
            print(server.log(30), file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.remove()


if __name__ == "__main__":
    sys.exit(main())
