"""Waiting for a condition, with a deadline and the name of what was awaited.

Owns the only sleep of the test suite: a short poll interval inside a bounded loop. A test never sleeps for a fixed time,
because a fixed time is either too long on a fast machine or too short on a slow one.
"""

import time

POLL_SECONDS = 0.01


class Expired(AssertionError):
    """The awaited thing did not happen before the deadline."""


def wait_until(condition, deadline, what):
    """Returns the first true value of condition(); fails after `deadline` seconds, naming `what`.

    An exception in the condition counts as "not yet", and the last one is shown when time is up.
    """
    end = time.monotonic() + deadline
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = f"last value {value!r}"
        except Exception as problem:  # any failure of a probe means "not yet"
            last = f"last error {type(problem).__name__}: {problem}"
        if time.monotonic() >= end:
            raise Expired(f"not within {deadline} s: {what} ({last})")
        time.sleep(POLL_SECONDS)


def stays_true(condition, seconds, what):
    """Fails as soon as condition() is false within `seconds`; for things that must not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert condition(), f"did not stay: {what}"
        time.sleep(POLL_SECONDS)
