"""The audit trail under settings that a server may have for its own reasons: it is written, sealed and verified all the same."""

import itertools
import json

import psycopg
import pytest

from harness.caller import token_caller
from harness.cluster import Cluster
from harness.records import Records
from harness.waits import wait_until

_numbers = itertools.count(1)

SETTINGS = {
    "read only by default": {"default_transaction_read_only": "on"},
    "serializable": {"default_transaction_isolation": "serializable"},
    "deferrable": {"default_transaction_isolation": "serializable", "default_transaction_deferrable": "on"},
    "short timeouts": {"statement_timeout": "1ms", "lock_timeout": "1ms", "idle_in_transaction_session_timeout": "1ms"},
    "other formats": {"datestyle": "German, DMY", "intervalstyle": "sql_standard", "timezone": "Pacific/Kiritimati", "bytea_output": "escape",
                      "extra_float_digits": "-15", "xmloption": "document"},
    "other texts": {"client_encoding": "latin1", "quote_all_identifiers": "on", "escape_string_warning": "off", "backslash_quote": "off"},
    "search path": {"search_path": "nowhere, pg_temp, public"},
    "no triggers": {"session_replication_role": "replica"},
    "no row security": {"row_security": "off"},
    "asynchronous": {"synchronous_commit": "off"},
    "remote": {"synchronous_commit": "remote_apply"},
    "plans": {"enable_seqscan": "off", "enable_indexscan": "off", "enable_partition_pruning": "off", "constraint_exclusion": "off", "plan_cache_mode": "force_generic_plan",
              "jit_above_cost": "0", "parallel_setup_cost": "0"},
    "a log of everything": {"log_statement": "all", "log_min_duration_statement": "0", "debug_print_plan": "on", "log_min_messages": "debug1"},
}


@pytest.fixture(scope="module")
def site():
    one = Cluster().start().install()
    one.sql("create role setter login")
    yield one
    one.remove()


def restored(site):
    """A session of the test's own may be ended by the settings that it tries."""
    try:
        site.configure()
    except psycopg.errors.OperationalError:
        return False
    return True


@pytest.fixture(params=SETTINGS)
def database(request, site):
    """A new one, whose trail has no partition yet."""
    before = dict(site.settings)
    name = f"settings_{next(_numbers)}"
    site.sql(f"create database {name}")
    site.install(name)
    site.sql("create table t (n int); grant all on t to setter; select mcp.grant_tools('setter', write => true)", database=name)
    caller = token_caller(site, "setter", name)
    site.configure(**SETTINGS[request.param])
    yield name, caller
    site.settings = before
    wait_until(lambda: restored(site), 20, "the settings are what they were")
    caller.close()


def test_settings_of_the_server(site, database):
    name, caller = database
    writes = not site.settings.get("default_transaction_read_only") == "on"
    short = "statement_timeout" in site.settings
    wait_until(lambda: caller.sql("select 'warm ü \\\\ \t'").protocol_error is None, 10, "the caller is served")
    results = [caller.sql(f"insert into t values ({n}) /* change {n}. ü ' \\\\ */") for n in range(3)]
    read = caller.sql("select 'the read'")
    if not short:
        assert not read.is_error, read
        assert all(result.is_error != writes for result in results), results
    with Records(site, name) as records:
        records.sql("set statement_timeout = 0; set lock_timeout = 0; set datestyle = 'ISO, DMY'; set timezone = 'UTC'; set client_encoding = 'utf8'; set idle_in_transaction_session_timeout = 0")
        rows = records.wait("arguments like '%%change%%' and outcome <> 'open'", count=3)
        records.call("'the read'")
        for result, row in zip(results, rows):
            assert row["outcome"] == ("ok" if not result.is_error else "refused" if not writes else row["outcome"]), f"{row}"
            assert json.loads(row["arguments"])["query"].endswith("ü ' \\\\ */")
        records.settled()
        records.check()
        wait_until(lambda: records.verdict()["unsealed_rows"] == 0, 10, "all is sealed")
        records.check()
