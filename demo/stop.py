"""`make demo-stop`: stops the demo's server and removes what it left."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import demo_state  # noqa: E402

if demo_state.stop_previous():
    print("The demo's server has been stopped, and its data removed.")
else:
    print("No demo is running.")
