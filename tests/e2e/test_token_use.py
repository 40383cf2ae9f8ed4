"""When a token was last used: remembered by the gateway, written down by the keeper."""

from harness.caller import token_caller
from harness.waits import wait_until


def test_last_use_of_a_token_is_written_down(new_cluster):
    one_cluster = new_cluster(world=True, supabase_mcp__executor_idle_timeout="2s")
    used, unused = (token_caller(one_cluster, "reader_direct", label=label) for label in ("used", "unused"))
    before = one_cluster.value("select extract(epoch from now())")
    assert used.value("select 1") == 1
    # The keeper writes before it leaves, which it does when it has been idle for as long as an executor may be.
    query = "select extract(epoch from last_used_at) from mcp.tokens where label = %s"
    last = wait_until(lambda: one_cluster.value(query, ["used"]), 20, "the use is written down")
    assert float(before) - 1 <= float(last) <= float(one_cluster.value("select extract(epoch from now())"))
    assert one_cluster.value(query, ["unused"]) is None
    assert unused.value("select 1") == 1
    one_cluster.sql("select mcp.drain()")
    assert one_cluster.value(query, ["unused"]) is not None, "and before it is sent away"
