"""The official conformance suite, both revisions, against the TCP endpoint with a role for anonymous callers.

tests/clients/conformance-<revision>.yml lists what is expected to fail, each with its reason: scenarios that need fixture tools
of the suite's own example server, and features that this server does not offer. A scenario on the list that passes fails the test.
"""

import subprocess
from pathlib import Path

import pytest

from harness.cluster import Cluster
from harness.programs import node_clients
from harness.waits import wait_until
from harness.caller import Caller
from harness.refusal import is_served
from harness.world import build_world

LISTS = Path(__file__).parents[1] / "clients"

# Of the suite's example server what SQL can be: a tool that fails, its resources and its prompts.
FIXTURE = """
create function public.test_error_handling() returns text language plpgsql stable as
    $$begin raise 'This tool intentionally returns an error for testing'; end$$;
comment on function public.test_error_handling() is e'@mcp({"kind": "tool"})\\nFails on purpose.';

create function public.static_text() returns text language sql stable as $$ select 'This is the content of the static text resource.' $$;
comment on function public.static_text() is '@mcp({"kind": "resource", "uri": "test://static-text"})';
create function public.static_binary() returns bytea language sql stable as $$ select decode('89504e470d0a1a0a', 'hex') $$;
comment on function public.static_binary() is '@mcp({"kind": "resource", "uri": "test://static-binary", "mime": "image/png"})';
create function public.templated(id text) returns jsonb language sql stable as
    $$ select jsonb_build_object('id', id, 'templateTest', true, 'data', 'Data for ID: ' || id) $$;
comment on function public.templated(text) is '@mcp({"kind": "resource", "uri": "test://template/{id}/data"})';

create function public.test_simple_prompt() returns text language sql stable as $$ select 'This is a simple prompt for testing.' $$;
comment on function public.test_simple_prompt() is e'@mcp({"kind": "prompt"})\\nSimple.';
create function public.test_prompt_with_arguments(arg1 text, arg2 text) returns text language sql stable as
    $$ select format('Prompt with arguments: arg1=%L, arg2=%L', arg1, arg2) $$;
comment on function public.test_prompt_with_arguments(text, text) is e'@mcp({"kind": "prompt", "args": {"arg1": {"complete": ["test1", "test2"]}}})\\nArguments.';
create function public.test_prompt_with_embedded_resource("resourceUri" text) returns jsonb language sql stable as
    $$ select jsonb_build_array(
           jsonb_build_object('role', 'user', 'content', jsonb_build_object('type', 'resource', 'resource',
               jsonb_build_object('uri', "resourceUri", 'mimeType', 'text/plain', 'text', 'Embedded resource content for testing.'))),
           'Please process the embedded resource above.') $$;
comment on function public.test_prompt_with_embedded_resource(text) is e'@mcp({"kind": "prompt"})\\nA resource.';
create function public.test_prompt_with_image() returns jsonb language sql stable as
    $$ select jsonb_build_array(
           jsonb_build_object('role', 'user', 'content', jsonb_build_object('type', 'image', 'data', 'iVBORw0KGgo=', 'mimeType', 'image/png')),
           'Please analyze the image above.') $$;
comment on function public.test_prompt_with_image() is e'@mcp({"kind": "prompt"})\\nAn image.';
"""


@pytest.fixture(scope="module")
def site():
    one = Cluster(supabase_mcp__anonymous_role="reader_bridge").start()
    one.install()
    build_world(one)
    one.sql(FIXTURE)
    wait_until(lambda: is_served(Caller(one, tcp=True)), 10, "anonymous callers are served")
    yield one
    one.remove()


def conformance(site, tmp_path, *arguments):
    clients, node = node_clients()
    program = clients / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    return subprocess.run([str(node), str(program), "server", "--url", f"http://127.0.0.1:{site.port}/mcp", "-o", str(tmp_path),
                           *arguments], capture_output=True, text=True, timeout=300, cwd=tmp_path)


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_required_scenarios(site, tmp_path, revision):
    done = conformance(site, tmp_path, "--requirements", revision, "--expected-failures", str(LISTS / f"conformance-{revision}.yml"))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize("scenario", ["http-header-validation", "tools-list", "tools-call-error", "dns-rebinding-protection"])
def test_scenarios_that_need_no_fixture(site, tmp_path, scenario):
    """Named one by one, so that none of them can slip onto the list of expected failures."""
    done = conformance(site, tmp_path, "--scenario", scenario, "--spec-version", "2026-07-28")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
