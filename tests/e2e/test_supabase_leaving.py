"""Leaving a database in the shape of Supabase's: nothing stays that the extension brought, and it can come again."""

import pytest

from harness.refusal import is_served
from harness.supabase import call_as, supabase_cluster


@pytest.fixture
def new_site():
    one = supabase_cluster()
    yield one
    one.remove()


def test_dropped_without_a_trace_and_installed_again(new_site):
    new_site.install()
    new_site.sql("grant mcp_admin to postgres; grant authenticated to postgres with admin option")
    new_site.sql("select mcp.grant_tools('authenticated')", user="postgres")
    caller = call_as(new_site, "authenticated")
    assert caller.tools()
    with pytest.raises(Exception, match="must be owner"):
        new_site.sql("drop extension supabase_mcp", user="postgres")
    kept = "select (select count(*) from pg_default_acl), (select count(*) from pg_event_trigger), (select count(*) from pg_publication)"
    before = new_site.sql(kept)
    new_site.sql("drop extension supabase_mcp")
    # The schema stays, empty; roles belong to the server. Both can go now.
    new_site.sql("drop schema mcp; drop owned by mcp_admin, mcp_bridge; drop role mcp_admin, mcp_bridge")
    assert new_site.sql(kept) == before
    new_site.install()
    new_site.sql("grant mcp_admin to postgres")
    assert new_site.value("select count(*) from mcp.tokens", user="postgres") == 0
    assert not is_served(caller)
