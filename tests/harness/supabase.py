"""A cluster in the shape of a self-hosted Supabase database: its superuser is supabase_admin, and `postgres` is not one.

Owns running tests/supabase/*.sql, each as who runs it there. The library is preloaded, as docs/supabase.md says. Must not install the
extension: how that goes is what the tests look at.
"""

from pathlib import Path

from .caller import Caller
from .clients import bearer
from .cluster import Cluster

FOLDER = Path(__file__).parents[1] / "supabase"
ADA = "00000000-0000-0000-0000-00000000000a"
BOB = "00000000-0000-0000-0000-00000000000b"


def supabase_cluster(files=None, **settings):
    """`files` are put into the data folder before the start, by name."""
    one = Cluster(superuser="supabase_admin", shared_preload_libraries="supabase_mcp", **settings)
    for name, content in (files or {}).items():
        (one.data / name).write_text(content)
    one.start()
    for script in sorted(FOLDER.glob("*.sql")):
        one.sql(script.read_text(), user="postgres" if script.name.startswith("90_") else "supabase_admin")
    return one


def call_as(cluster, role, by="postgres", **token):
    """A caller with a new token for the role, made by `by`; keyword arguments go to mcp.create_token."""
    names = "".join(f", {name} => %({name})s" for name in token)
    secret = cluster.value(f"select mcp.create_token(role => %(role)s::regrole{names})", {"role": role, **token}, user=by)
    return Caller(cluster, bearer(secret), role=role)
