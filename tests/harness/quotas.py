"""How tests look at limits: calls one after the other, and what was refused. Holds no test and no limit."""


def token_id(cluster, caller):
    return cluster.value("select id from mcp._tokens where hash = sha256(convert_to(%s, 'UTF8'))", [caller.token])


def through(caller, calls, tool="execute_sql"):
    """How many of that many calls, one after the other, were not refused by a limit."""
    return sum(not refused(one(caller, tool)) for _ in range(calls))


def one(caller, tool="execute_sql"):
    return caller.tool(tool, {"query": "select 1"} if tool == "execute_sql" else {})


def refused(result):
    return result.is_error and result.error["kind"] == "limited"
