"""What the audit trail costs: calls that read and calls that write, with the trail on, on and waited for, and off.

Owns the three modes and the order of measuring: the modes take turns, for a machine's speed changes within a run. Uses bench.py's server.
"""

from statistics import median

import report

READ = {"query": "select abalance from pgbench_accounts where aid = %d"}
WRITE = {"query": "update bench.counters set n = n + 1 where id = %d"}
MODES = {"off": {"audit": "off"}, "on (default)": {"audit": "on", "audit_reads": "batch"}, "sync": {"audit": "on", "audit_reads": "sync"}}


def switch(server, settings):
    changes = "".join(f"alter system set supabase_mcp.{name} = {value};\n" for name, value in settings.items())
    server.sql(f"load 'supabase_mcp';\n{changes}select pg_reload_conf();")


def measure(server, load, rounds, seconds, arguments, connections):
    """The median round of each mode, with its rate as a share of that without the trail: the median of what each round gave."""
    taken = {mode: [] for mode in MODES}
    for i in range(rounds):
        # Each mode comes first, second and last as often.
        order = [*MODES][i % len(MODES):] + [*MODES][:i % len(MODES)]
        for mode in order:
            switch(server, MODES[mode])
            taken[mode].append(load.run("newline", arguments, connections, seconds, range=1000, token=load.token))
    rates = {mode: [figures["per_second"] for figures in taken[mode]] for mode in MODES}
    return {mode: {**sorted(taken[mode], key=lambda f: f["per_second"])[rounds // 2],
                   "share": median(on / off for on, off in zip(rates[mode], rates["off"]))} for mode in MODES}


def compare(bench, reader, writer, rounds, seconds):
    server, results = bench.server, {}
    # What reads cost is a few per cent, and a machine's speed changes by more within seconds: many short rounds. Not shorter: each begins with what the
    # one before has left to seal, and with logins.
    short = min(seconds, 2)
    ways = (("reading", "read", reader, READ, 4 * rounds, short), ("updating", "write", writer, WRITE, rounds, seconds))
    for connections in (1, 8):
        for doing, kind, load, arguments, times, length in ways:
            report.TRAIL.heading(f"audit trail, {doing} a row by its key, {connections} connection(s), all cores, median of {times} rounds")
            for mode, measured in measure(server, load, times, length, arguments, connections).items():
                results[kind, connections, mode] = bench.keep(f"audit {mode} {kind} c{connections}", measured)
                target = 0.95 if (kind, mode) == ("read", "on (default)") else None
                report.latency_row(f"audit {mode}", measured, share=measured["share"] if mode != "off" else None, target=target)
    switch(server, MODES["on (default)"])
    report.SINGLE.heading("Writes with the trail: how many flushes, and how they are shared")
    added = bench.keep("audit flushes per write", flushes(server, writer, "on (default)") - flushes(server, writer, "off"))
    report.single_row("flushes that the trail adds to a writing call, one connection", added, "", 1.2)
    report.FACTOR.heading("")
    off, on = results["write", 1, "off"], results["write", 1, "on (default)"]
    times = 2 * rounds
    report.factor_row(f"calls/s at 8 connections beside 1, median of {times} rounds", bench.keep("audit 8 beside 1", shared(server, writer, times, short)), 4)
    flush = bench.keep("flush us", flush_time(server))
    report.factor_row(f"cost at 1 connection, in flushes of {flush:.0f} us", (on["p50"] - off["p50"]) / flush)


def shared(server, writer, rounds, seconds):
    """How many times the calls that write are made by eight connections as by one: the median of rounds of both, one after the other."""
    switch(server, MODES["on (default)"])

    def rate(connections):
        return writer.run("newline", WRITE, connections, seconds, range=1000, token=writer.token)["per_second"]
    return median(rate(8) / rate(1) for _ in range(rounds))


def flushes(server, writer, mode):
    """Flushes of the write-ahead log by a writing call, one after the other."""
    switch(server, MODES[mode])
    writer.run("newline", WRITE, 1, 0.2, range=1000, token=writer.token)
    before = synced(server)
    calls = writer.run("newline", WRITE, 1, 60, range=1000, token=writer.token, calls=1000, warm_up=0)["calls"]
    return (synced(server) - before) / calls


def synced(server):
    # Processes tell their numbers now and then, and when they end.
    server.sql("select pg_terminate_backend(pid, 5000) from pg_stat_activity where backend_type in ('supabase_mcp executor', 'supabase_mcp keeper')")
    # PostgreSQL 18 has them elsewhere.
    found = server.sql("select to_jsonb(w) ->> 'wal_sync' from pg_stat_wal w").splitlines()[-1].strip()
    return int(found or server.sql("select sum(fsyncs) from pg_stat_io where object = 'wal'").splitlines()[-1])


def flush_time(server):
    """Microseconds of one flush of the write-ahead log, as Postgres' own tool measures the method in use."""
    method = server.sql("show wal_sync_method").splitlines()[-1].strip()
    printed = server.run("pg_test_fsync", "-s", "1", "-f", str(server.data / "pg_test_fsync.out"))
    line = next(line for line in printed.splitlines() if line.split()[:1] == [method])
    return float(line.split()[-2])
