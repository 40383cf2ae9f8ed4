"""Shapes of results that another server is known to give: what a client made for that server reads.

Owns the comparison. A shape is a type by name ("string", "number|null", "any"), a list with the shape of its items, or an object whose keys
may end with "?" for one that may be missing. Must not forgive a missing key or another type; keys that the shape does not have are told apart.
"""

import json
from pathlib import Path

DATA = Path(__file__).parents[1] / "e2e" / "data"
TYPES = {"string": str, "number": (int, float), "boolean": bool, "null": type(None)}


def recorded(name):
    return json.loads((DATA / name).read_text())


def extra_keys(shape, value, where="$"):
    """The paths of keys beyond the shape; fails if the value does not have the shape."""
    if isinstance(shape, str):
        fits = shape == "any" or any(isinstance(value, TYPES[name]) and (name == "boolean" or not isinstance(value, bool))
                                     for name in shape.split("|"))
        assert fits, f"{where}: {value!r} is not {shape}"
        return set()
    if isinstance(shape, list):
        assert isinstance(value, list), f"{where}: {value!r} is no list"
        return {extra for item in value for extra in extra_keys(shape[0], item, f"{where}[]")}
    assert isinstance(value, dict), f"{where}: {value!r} is no object"
    known = {key.rstrip("?"): inner for key, inner in shape.items()}
    missing = {key for key in shape if not key.endswith("?")} - set(value)
    assert not missing, f"{where}: {missing} is missing"
    found = {f"{where}.{key}" for key in set(value) - set(known)}
    for key in set(value) & set(known):
        found |= extra_keys(known[key], value[key], f"{where}.{key}")
    return found
