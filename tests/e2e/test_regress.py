"""Golden tests of the SQL surface: tests/regress/sql/*.sql through psql, compared with tests/regress/expected/*.out.

With ACCEPT=1 in the environment what came out is written to the expected files, to be read as a diff before it is committed.
"""

import difflib
import os
import subprocess
from pathlib import Path

import pytest

from harness.cluster import Cluster, as_server, pg_config

FOLDER = Path(__file__).parents[1] / "regress"
CASES = sorted(path.stem for path in (FOLDER / "sql").glob("*.sql"))


@pytest.fixture(scope="module")
def site():
    one = Cluster().start()
    yield one
    one.remove()


def test_there_are_cases():
    assert CASES, f"no SQL files in {FOLDER / 'sql'}"


@pytest.mark.parametrize("case", CASES)
def test_output_is_as_expected(site, case):
    database = f"golden_{case}".replace("-", "_")
    site.sql(f"create database {database}")
    text = (FOLDER / "sql" / f"{case}.sql").read_text()
    done = as_server([f"{pg_config('bindir')}/psql", "-X", "-q", "-a", "-h", str(site.folder), "-U", "postgres", "-d", database],
                     input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    golden = FOLDER / "expected" / f"{case}.out"
    if os.environ.get("ACCEPT"):
        golden.write_text(done.stdout)
    expected = golden.read_text()
    # Error messages belong to the output, in their place.
    assert done.returncode in (0, 3), done.stdout
    difference = "".join(difflib.unified_diff(expected.splitlines(True), done.stdout.splitlines(True), "expected", "actual"))
    assert not difference, difference
