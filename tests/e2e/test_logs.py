"""get_logs: the log of the server in its three formats, for who was allowed to read it."""

import re

import psycopg
import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.waits import wait_until

GRANT = "grant execute on function mcp._log_files(), mcp._read_log(text, bigint, integer) to {}"
FORGED = ('2026-01-02 03:04:05.678 UTC,"mallory","postgres",1,"[local]",1.1,1,"SELECT",2026-01-02 03:04:05 UTC,1/1,0,PANIC,XX000,"forged",,,,,,,,,"psql","",,0\n'
          '{"timestamp":"2026-01-02 03:04:05.678 UTC","error_severity":"PANIC","message":"forged"}\n'
          "2026-01-02 03:04:05.678 UTC [1] PANIC:  forged")


@pytest.fixture(scope="module", params=["stderr", "csvlog", "jsonlog"])
def site(request):
    one = Cluster(logging_collector="on", log_directory="log", log_destination=request.param, log_filename="db-%Y-%m-%d_%H%M%S.log",
                  log_line_prefix="%m [%p] %q%u@%d ").start()
    one.install()
    one.sql("create role watcher login; select mcp.grant_tools('watcher');" + GRANT.format("watcher"))
    one.format = request.param
    yield one
    one.remove()


@pytest.fixture(scope="module")
def watcher(site):
    return token_caller(site, "watcher")


def say(site, *messages, level="log"):
    with site.connect() as connection:
        for message in messages:
            connection.execute(f"do $do$ begin raise {level} '%', $message${message}$message$; end $do$")


def entries(caller, **arguments):
    return caller.tool("get_logs", arguments).data["result"]


def until(caller, count=1, **arguments):
    """The log's collector writes when it comes to it."""
    return wait_until(lambda: (lambda found: found if len(found) >= count else None)(entries(caller, **arguments)), 20, "the entries are in the log")


def messages(found):
    return [entry["event_message"] for entry in found]


def test_an_error_with_what_belongs_to_it(site, watcher):
    with pytest.raises(psycopg.errors.RaiseException):
        site.sql("do $$ begin raise exception using message = E'no luck\\nat all', detail = 'because', hint = E'try\\tagain'; end $$ -- 4711")
    entry = until(watcher, pattern="no luck", min_severity="error")[0]
    assert entry["event_message"] == "no luck\nat all" and entry["error_severity"] == "ERROR"
    assert entry["detail"] == "because" and entry["hint"] == "try\tagain" and entry["query"].endswith("-- 4711")
    assert "inline_code_block line 1 at RAISE" in entry["context"] and isinstance(entry["process_id"], int)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["timestamp"])
    if site.format == "stderr":
        assert entry["prefix"] == "postgres@postgres"
    else:
        assert entry["user_name"] == entry["database_name"] == "postgres" and entry["sql_state_code"] == "P0001"
        assert entry["backend_type"] == "client backend"


def test_what_a_message_holds_is_no_entry_of_its_own(site, watcher):
    say(site, f"begin 4712\n{FORGED}\nend", "after 4712")
    found = until(watcher, 2, pattern="4712")
    assert messages(found) == ["after 4712", f"begin 4712\n{FORGED}\nend"]
    assert not [entry for entry in entries(watcher, max_lines=1000) if entry["event_message"] == "forged" or entry["error_severity"] == "PANIC"]
    assert entries(watcher, min_severity="panic") == []


def test_severities(site, watcher):
    say(site, "sev 4713 log")
    say(site, "sev 4713 warning", level="warning")
    until(watcher, 2, pattern="sev 4713")
    assert messages(entries(watcher, pattern="SEV 4713", min_severity="log")) == ["sev 4713 warning", "sev 4713 log"]
    assert messages(entries(watcher, pattern="sev 4713", min_severity="Warning")) == ["sev 4713 warning"]
    assert entries(watcher, pattern="sev 4713", min_severity="error") == []
    error = watcher.tool("get_logs", {"min_severity": "loud"}).error
    assert error["sqlstate"] == "22023" and "warning, error" in error["hint"]


def test_pattern_is_plain_text(site, watcher):
    say(site, "plain 100% of [a-z]+ \\d", "plain 100 of abc 1")
    until(watcher, 2, pattern="plain 100")
    assert messages(entries(watcher, pattern="100% of [a-z]+ \\d")) == ["plain 100% of [a-z]+ \\d"]


def test_times(site, watcher):
    say(site, "time 4714 one")
    first = until(watcher, pattern="time 4714 one")[0]["timestamp"]
    # The log counts in milliseconds.
    wait_until(lambda: site.value("select clock_timestamp() > %s::timestamptz + interval '5 ms'", [first]), 10, "a later time")
    say(site, "time 4714 two")
    second = until(watcher, pattern="time 4714 two")[0]["timestamp"]
    between = site.value("select to_char((%s::timestamptz + interval '2 ms') at time zone 'Asia/Tokyo', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS') || '+09:00'",
                         [first])
    assert messages(entries(watcher, pattern="time 4714", iso_timestamp_start=between)) == ["time 4714 two"]
    assert messages(entries(watcher, pattern="time 4714", iso_timestamp_end=between)) == ["time 4714 one"]
    assert messages(entries(watcher, pattern="time 4714", iso_timestamp_start=first, iso_timestamp_end=second)) == ["time 4714 two", "time 4714 one"]
    assert watcher.tool("get_logs", {"iso_timestamp_start": "yesteryear"}).error["sqlstate"] == "22007"


def all_pages(caller, **arguments):
    found, calls = [], 0
    while True:
        data = caller.tool("get_logs", arguments).data
        found += data["result"]
        calls += 1
        if "next" not in data:
            assert "truncated" not in data
            return found, calls
        assert data["truncated"] is True and data["next"] != arguments.get("before")
        arguments["before"] = data["next"]


def test_pages_reach_back_through_rotated_files(site, watcher):
    say(site, *[f"page 4715 {n:02} \u00fc\n\tnext" for n in range(20)])
    until(watcher, 20, pattern="page 4715", max_lines=1000)
    current = site.value("select pg_current_logfile()")

    def rotated():
        site.sql("select pg_rotate_logfile()")
        return site.value("select pg_current_logfile()") != current

    # Two files of one second bear the same name.
    wait_until(rotated, 20, "a new log file")
    say(site, *[f"page 4715 {n:02} \u00fc\n\tnext" for n in range(20, 40)])
    until(watcher, 40, pattern="page 4715", max_lines=1000)
    found, calls = all_pages(watcher, pattern="page 4715", max_lines=7)
    assert [entry["event_message"][10:12] for entry in found] == [f"{n:02}" for n in range(39, -1, -1)]
    assert calls == 6
    # Page by page and at once it is the same log.
    whole = entries(watcher, max_lines=1000, pattern="page 4715")
    assert found == whole


def test_very_long_entries_are_cut_and_passed(site, watcher):
    say(site, "before 4716", "long 4716 " + ("x" * 79 + "\n") * 10_000, "after 4716")
    found = until(watcher, 3, pattern="4716")
    assert messages(found)[0] == "after 4716" and messages(found)[2] == "before 4716"
    assert found[1]["event_message"].startswith("long 4716 xxx") and found[1]["event_message"].endswith("... (cut, 800010 characters)")


def test_bytes_of_another_encoding_spoil_nothing(site, watcher):
    site.sql("create database bytes template template0 encoding 'sql_ascii' locale 'C'")
    with site.connect("bytes") as connection:
        connection.execute("set client_encoding = 'sql_ascii'; do $$ begin raise log '%', 'odd 4717 ' || chr(255) || E' back\\\\slash'; end $$")
    say(site, "even 4717 \u00fc")
    found = messages(until(watcher, 2, pattern="4717"))
    assert found[0].startswith("even 4717 ") and found[1].startswith("odd 4717 ") and "slash" in found[1]


def test_a_bad_place_to_go_on_from(watcher):
    for before in ("x", "nope.log:5", "../PG_VERSION:5", "postgresql.conf:100", "db-2020-01-01_000000.log:5"):
        error = watcher.tool("get_logs", {"before": before}).error
        assert error["sqlstate"] == "22023" and "without it" in error["hint"], before


def test_nothing_but_log_files_is_read(site, watcher):
    for name in ("../PG_VERSION", "PG_VERSION", "/etc/passwd", "../global/pg_control", "", "other.txt"):
        assert watcher.sqlstate("select mcp._read_log($1, 0, 100)", [name]) == "58P01", name
    (site.data / "log" / "other.txt").write_text("not a log")
    (site.data / "log" / "other.log").write_text("of another program")
    names = [row[0] for row in watcher.sql("select name from mcp._log_files()").rows]
    assert names and all(re.fullmatch(r"db-\d{4}-\d\d-\d\d_\d{6}\.(log|csv|json)", name) for name in names)
    assert watcher.sqlstate("select mcp._read_log('other.log', 0, 100)") == "58P01"
    assert watcher.sqlstate("select pg_read_file('postgresql.conf')") == "42501", "it got no more than that"


def test_who_may_not_read_is_told_the_grant(site):
    site.sql('create role "other Role" login; select mcp.grant_tools(\'"other Role"\'); grant mcp_admin to "other Role"')
    caller = token_caller(site, '"other Role"')
    error = caller.tool("get_logs").error
    grant = error["hint"].partition("allows it by: ")[2]
    assert error["sqlstate"] == "42501" and grant == GRANT.format('"other Role"') + ";"
    assert caller.sqlstate("select count(*) from mcp._log_files()") == "42501"
    site.sql(grant)
    assert entries(caller, max_lines=1)


def test_logs_of_other_services(watcher):
    for service, name in (("auth", "auth"), ("api", "kong rest"), ("edge-function", "functions"), ("storage", "storage")):
        error = watcher.tool("get_logs", {"service": service}).error
        assert error["sqlstate"] == "0A000" and f"docker compose logs {name}." in error["hint"], service
    assert "docker" not in watcher.tool("get_logs", {"service": "branch-action"}).error["hint"]
    error = watcher.tool("get_logs", {"service": "postgress"}).error
    assert error["sqlstate"] == "22023" and 'meant "postgres"' in error["hint"]
    assert entries(watcher, service="postgres", max_lines=1)


def test_server_without_log_files(reader):
    error = reader.tool("get_logs").error
    assert error["sqlstate"] == "55000" and "logging_collector" in error["hint"]
