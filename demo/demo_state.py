"""What a demo leaves behind while its server runs, in target/demo/server.json: enough to stop it and remove it later."""

import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "target" / "demo" / "server.json"


def save(server):
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(server.describe() + "\n")


def stop_previous():
    """Stops and removes the server of an earlier run; whether there was one."""
    try:
        state = json.loads(FILE.read_text())
    except (FileNotFoundError, ValueError):
        return False
    folder = Path(state["folder"])
    there = (folder / "data" / "postmaster.pid").exists()
    if there:
        options = {}
        if os.geteuid() == 0:
            entry = pwd.getpwnam(state["user"])
            options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        subprocess.run([f"{state['bin']}/pg_ctl", "stop", "-w", "-m", "fast", "-D", str(folder / "data")],
                       check=False, capture_output=True, cwd=folder, **options)
    # The folder's name was made by this demo; anything else is not ours to remove.
    if folder.name.startswith("supabase_mcp-demo-"):
        shutil.rmtree(folder, ignore_errors=True)
    FILE.unlink(missing_ok=True)
    return there
