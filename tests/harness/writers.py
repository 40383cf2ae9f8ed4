"""Clients that insert numbers through the MCP server without end, and remember what they were told of each.

Owns the numbers: each is sent once, in one call, whatever becomes of it. Runs on threads of its own, which end with the block.
"""

import http.client
import itertools
import threading

from .caller import ToolResult

TABLE = "entry"
# What an error says of a call whose changes are not there.
NOT_KEPT = ("nothing of the call was kept", "Nothing of it was committed")
SETUP = f"""
create schema load;
create table load.{TABLE} (n bigint primary key, via text not null, at timestamptz not null default clock_timestamp());
create function load.add_{TABLE}(n bigint, mark text) returns bigint language sql volatile as
    $$ insert into load.{TABLE} values (n, 'tool') returning n $$;
comment on function load.add_{TABLE}(bigint, text) is e'@mcp({{"kind": "tool", "features": ["database"]}})\\nAdds an entry';
grant usage on schema load to public;
grant select, insert on load.{TABLE} to public;
"""


def mark(number):
    """How a number is written in the arguments of its call."""
    return f"number={number}."


class Writers:
    def __init__(self, callers):
        self.numbers = itertools.count(1)
        # What each number's call was answered with: "ok", an error's object, or None where the answer never came.
        self.answers = {}
        self.answered = self.flying = 0
        self.changed = threading.Condition()
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(caller,), daemon=True) for caller in callers]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads), "a client did not end"

    def _run(self, caller):
        while not self.ending.is_set():
            number = next(self.numbers)
            with self.changed:
                self.flying += 1
                self.answers[number] = None
            answer = None
            try:
                if number % 4:
                    result = caller.sql(f"insert into load.{TABLE} values ({number}, 'sql') /* {mark(number)} */")
                else:
                    result = caller.tool(f"add_{TABLE}", {"n": number, "mark": mark(number)})
                answer = "ok" if result.protocol_error is None and not result.is_error else result.protocol_error or result.error
            except (OSError, http.client.HTTPException, AssertionError):
                # The answer never came, or was no answer of the protocol. A client that met a closed door comes again a little later.
                caller.close()
                self.ending.wait(0.02)
            finally:
                with self.changed:
                    self.flying -= 1
                    self.answers[number] = answer
                    self.answered += answer == "ok"
                    self.changed.notify_all()

    def wait_answered(self, more, deadline, what):
        """Waits until so many more calls were answered ok, and another is on its way."""
        with self.changed:
            goal = self.answered + more
            assert self.changed.wait_for(lambda: self.answered >= goal and self.flying, deadline), \
                f"not within {deadline} s: {what} ({self.answered} of {goal}; last answers {list(self.answers.items())[-8:]})"

    def ok(self):
        return {number for number, answer in self.answers.items() if answer == "ok"}


def compare(records, writers, below=2**60):
    """What must hold of data and trail, whatever happened, for numbers below one. Gives the numbers that the calls came to."""
    data = {row["n"]: row["via"] for row in records.sql(f"select n, via from load.{TABLE} where n < {below}")}
    rows = records.sql("select substring(arguments from 'number=(\\d+)\\.')::bigint as n, * from mcp.audit"
                       " where method = 'tools/call' and arguments ~ 'number=\\d+\\.' order by id")
    rows = [row for row in rows if row["n"] < below]
    intents, outcomes = {}, {}
    for row in rows:
        if row["outcome"] == "refused" and row["xid"] is None:
            # It never began: there is no intent, and no answer but an error.
            assert row["n"] not in data and writers.answers[row["n"]] != "ok", f"{row}"
            outcomes.setdefault("refused", set()).add(row["n"])
            continue
        assert row["mode"] == "write", f"{row}"
        assert row["n"] not in intents, f"number {row['n']} has two records"
        intents[row["n"]] = row
        outcomes.setdefault(row["outcome"], set()).add(row["n"])
    ok = outcomes.get("ok", set())
    kept = {n for n, row in intents.items() if row["committed"]}
    told = writers.ok()
    assert "open" not in outcomes
    assert not set(data) - set(intents), f"changes without an intent: {sorted(set(data) - set(intents))[:10]}"
    assert not ok - set(data), f"outcome ok without its change: {sorted(ok - set(data))[:10]}"
    assert not told - set(data), f"answered ok without its change: {sorted(told - set(data))[:10]}"
    assert not told - ok, f"answered ok without the outcome ok: {[intents.get(n) for n in sorted(told - ok)[:5]]}"
    for n, answer in writers.answers.items():
        if isinstance(answer, dict) and n < below:
            said = f"{answer.get('message')} {answer.get('hint')}"
            assert "done and committed" not in said or n in data, f"told that it is committed, and it is not: {n} {answer}"
            assert not any(words in said for words in NOT_KEPT) or n not in data, f"told that nothing is committed, and it is: {n} {answer}"
    assert kept == set(data), f"committed in one and not the other: {[(n, intents.get(n)) for n in sorted(kept ^ set(data))[:5]]}"
    for row in intents.values():
        status = records.sql("select mcp._audit_xact(%s::text::xid8) as status", [row["xid"]])[0]["status"]
        assert (status == "committed") == row["committed"], (status, row)
    return {"calls": len(writers.answers), "told ok": len(told), "rows": len(data),
            **{f"outcome {name}": len(numbers) for name, numbers in sorted(outcomes.items())}}
