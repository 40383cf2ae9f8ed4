"""docs/settings.md has one entry per setting, and its name, default and context are the server's own."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
# The last line of each entry.
FACTS = re.compile(r"^Default: (?:`(?P<value>[^`]*)`|(?P<empty>empty))\. Context: (?P<context>\w+)\.$", re.M)


# Keys, which pg_settings does not show; name -> what it would say.
HIDDEN = {f"supabase_mcp.{name}": ("", None, "sighup", "Hidden.") for name in ("jwt_secret", "jwt_jwks")}


@pytest.fixture(scope="module")
def real(cluster):
    rows = cluster.sql("load 'supabase_mcp'; select name, boot_val, unit, context, short_desc from pg_settings"
                       " where name like 'supabase_mcp.%' and name not like 'supabase_mcp.weaken%'")
    shown = {row[0]: row[1:] for row in rows}
    assert not set(shown) & set(HIDDEN)
    for name in HIDDEN:
        assert cluster.sql(f"load 'supabase_mcp'; show {name}") == [("********",)]
    return {**shown, **HIDDEN}


def entries():
    """name -> text of its section."""
    parts = re.split(r"^### +`?(supabase_mcp\.\w+)`?.*$", PAGE.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def in_base_units(value, unit):
    """'10s' in a setting whose unit is ms is 10000: compared as Postgres would."""
    scale = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000,
             "B": 1, "kB": 1024, "MB": 1024 ** 2, "GB": 1024 ** 3}
    found = re.fullmatch(r"(-?\d+) *([A-Za-z]*)", value)
    if not found or not unit:
        return value
    base = re.fullmatch(r"(\d*)(\w+)", unit)
    return str(int(int(found[1]) * scale[found[2] or unit] / (int(base[1] or 1) * scale[base[2]])))


def test_each_setting_has_one_entry(real):
    headings = re.findall(r"^### +`?(supabase_mcp\.\w+)", PAGE.read_text(), flags=re.M)
    assert sorted(headings) == sorted(real), "docs/settings.md and pg_settings name different settings"


def test_defaults_and_contexts_match(real):
    wrong = []
    for name, text in entries().items():
        default, unit, context, _ = real[name]
        said = FACTS.search(text)
        if not said:
            wrong.append(f"{name}: no line 'Default: ... Context: ...'")
            continue
        value = "" if said["empty"] else in_base_units(said["value"], unit)
        if value != (default or ""):
            wrong.append(f"{name}: default {value!r} on the page, {default!r} {unit or ''} in the server")
        if said["context"] != context:
            wrong.append(f"{name}: context {said['context']} on the page, {context} in the server")
    assert not wrong, "\n".join(wrong)


def test_no_setting_is_undescribed(real):
    for name, (_, _, _, description) in real.items():
        assert description and description[0].isupper() and description.endswith("."), name


def test_settings_can_be_set_by_alter_system_after_load(cluster):
    with cluster.connect() as connection:
        connection.execute("load 'supabase_mcp'")
        connection.execute("alter system set supabase_mcp.max_rows = 1000")
        connection.execute("alter system reset supabase_mcp.max_rows")
