"""Fixtures shared by all end-to-end tests: the shared cluster, its sample data, and callers of both executor forms.

Owns the rule that no test may crash the server: after each test the checkpointer's backend_start of every running cluster
must be what it was, unless the test is marked `restarts`. Tests call as roles that are not superusers.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import cluster as clusters  # noqa: E402
from harness.caller import Caller, token_caller  # noqa: E402
from harness.world import build_world  # noqa: E402

# These need a library of their own build; a run against it says so.
collect_ignore = [] if os.environ.get("WEAKENED") else ["e2e/test_defences.py"]


def pytest_configure(config):
    config.addinivalue_line("markers", "restarts: the server may restart after a crash in this test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for one in clusters.live:
            tail = "\n".join(one.log().splitlines()[-40:])
            report.sections.append((f"server log of {one.folder}", tail))
    return report


def crashes():
    """Processes that died by a signal, as the servers' logs tell; a crash during shutdown shows nowhere else."""
    return [line for one in clusters.live for line in one.log().splitlines() if "was terminated by signal" in line]


@pytest.fixture(autouse=True)
def server_did_not_restart(request):
    before = len(crashes())
    yield
    restarts = request.node.get_closest_marker("restarts")
    if not restarts:
        # A cluster that a test made may be gone by now; new_cluster looks at its log before that.
        assert not crashes()[before:], "a server process crashed during this test"
    for one in clusters.live:
        if not one.running:
            continue
        if restarts:
            one.up()
            one.note_checkpointer()
        else:
            assert one.checkpointer_start() == one.checkpointer, "the server crashed and restarted during this test"


@pytest.fixture(scope="session", autouse=True)
def remove_template():
    yield
    for one in list(clusters.live):
        one.remove()
    clusters.drop_templates()


@pytest.fixture(scope="session")
def cluster():
    """The cluster that most tests share: stock settings, extension created without a restart, sample data loaded."""
    one = clusters.Cluster().start()
    one.install()
    build_world(one)
    yield one
    one.remove()


@pytest.fixture
def new_cluster(request):
    """Makes clusters for one test that stops, breaks or reconfigures its server."""
    made = []

    def make(start=True, install=True, world=False, **settings):
        one = clusters.Cluster(**settings)
        made.append(one)
        if start:
            one.start()
            if install:
                one.install()
            if world:
                build_world(one)
        return one

    yield make
    died = [line for one in made for line in one.log().splitlines() if "was terminated by signal" in line]
    for one in made:
        one.remove()
    assert not died or request.node.get_closest_marker("restarts"), died


@pytest.fixture
def settings(cluster):
    """Changes settings of the shared cluster for one test: settings(max_rows=5)."""
    before = dict(cluster.settings)

    def change(**values):
        cluster.configure(**{f"supabase_mcp__{name}": value for name, value in values.items()})

    yield change
    cluster.settings = before
    cluster.configure()


_callers = {}


def shared_caller(cluster, role, form):
    """One token per role for the whole run, so that warm executors are shared as they are in service."""
    key = (str(cluster.folder), role)
    if key not in _callers:
        _callers[key] = token_caller(cluster, role, form=form, label=f"e2e {role}")
    return _callers[key]


@pytest.fixture(params=["direct", "bridge"])
def form(request):
    """Both executor forms: a LOGIN role served by a direct executor, a NOLOGIN role by a bridge executor."""
    return request.param


@pytest.fixture
def reader(cluster, form):
    """May read the shop and run execute_sql read-only."""
    return shared_caller(cluster, f"reader_{form}", form)


@pytest.fixture
def writer(cluster, form):
    """May read and write the shop, own a schema, and run execute_sql read-write."""
    return shared_caller(cluster, f"writer_{form}", form)


@pytest.fixture
def simple(cluster):
    """The direct reader alone, where the executor form does not matter."""
    return shared_caller(cluster, "reader_direct", "direct")


@pytest.fixture
def nobody(cluster):
    """A caller without any credential, over TCP where no peer is known."""
    caller = Caller(cluster, tcp=True)
    yield caller
    caller.close()
