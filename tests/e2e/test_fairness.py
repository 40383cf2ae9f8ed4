"""A role that floods the server leaves the others their turns and their processes. Counts; times are measured by make bench."""

import threading

from harness.caller import token_caller
from harness.clients import DEADLINE
from harness.waits import wait_until


def test_other_roles_are_served_while_one_floods(cluster, simple, new_role):
    """32 connections of one role call without a pause; each call of another role is answered, on one process that stays its own."""
    noisy = token_caller(cluster, new_role())
    stop = threading.Event()
    counts = []

    def flood():
        calls = 0
        with noisy.line() as client:
            while not stop.is_set():
                assert "result" in client.call_tool("execute_sql", {"query": "select pg_sleep(0.01)"})
                calls += 1
        counts.append(calls)

    threads = [threading.Thread(target=flood) for _ in range(32)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: cluster.value("select mcp.status() #> '{executors,waiting_calls}'") >= 20, DEADLINE, "the flood waits in line")
        pids = {simple.value("select pg_backend_pid()") for _ in range(100)}
        assert len(pids) == 1, "the flood does not take the other role's process between two calls"
    finally:
        stop.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert len(counts) == 32 and min(counts) > 0
