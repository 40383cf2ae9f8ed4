#!/usr/bin/env python3
"""`make check`, the part that no compiler or linter does: the rules of the house, read off the committed files.

Owns one function per rule; each yields complaints as "file:line: what is wrong". Runs in a second, needs no server. Must not
depend on anything but Python and git; the library's symbols are read with nm when a built library is given.
Usage: repository.py [path of libsupabase_mcp.so]
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 400

# A module may use those before it, never one behind it. `mcp` is a crate of its own, and the floor of all.
FLOORS = ["weaken", "pg", "config", "catalog", "exec", "worker", "sqlapi", "lib"]


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True).stdout


# What git knows or would add: a new file is checked before it is committed.
FILES = [Path(name) for name in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines() if (ROOT / name).is_file()]


def text(file):
    return (ROOT / file).read_text(errors="replace")


def having(*endings):
    return [file for file in FILES if file.name.endswith(endings)]


def shell_scripts():
    return [file for file in FILES if re.match(r"#!.*\b(ba)?sh\b", text(file).split("\n", 1)[0])]


def without_comments(code):
    """Rust without comments and string contents, line numbers kept: rules are about code."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|r(#*)".*?"\1|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])\'', re.S)
    return pattern.sub(lambda found: '""' + "\n" * found.group().count("\n"), code)


def unsafe_lives_in_src_pg():
    """`unsafe` is written in src/pg alone. Elsewhere in src only an attribute that the entry points need, with its reason."""
    for file in having(".rs"):
        if file.parts[:2] == ("src", "pg"):
            continue
        lines = without_comments(text(file)).splitlines()
        raw = text(file).splitlines()
        for number, line in enumerate(lines, 1):
            if not re.search(r"\bunsafe\b", line):
                continue
            excused = any(re.search(r"expect\(\s*unsafe_code", earlier) for earlier in lines[max(0, number - 5):number])
            reasoned = any("reason" in earlier for earlier in raw[max(0, number - 6):number])
            if file.parts[0] != "src" or not (excused and reasoned):
                yield f"{file}:{number}: unsafe outside src/pg"
    for crate in ("mcp/src/lib.rs", "tests/load/src/main.rs", "tests/clients/rust/src/main.rs", "mcp/src/bin/supabase-mcp-stdio.rs"):
        if "#![forbid(unsafe_code)]" not in text(Path(crate)):
            yield f"{crate}:1: forbid(unsafe_code) is missing"


def mcp_knows_no_postgres():
    """The crate that runs on the gateway's threads has no binding to Postgres in its dependency graph."""
    if shutil.which("cargo") is None:
        yield "cargo: not found, the dependency graph of mcp was not looked at"
        return
    tree = subprocess.run(["cargo", "tree", "--locked", "--prefix", "none", "-p", "mcp", "-e", "normal,build"], cwd=ROOT,
                          capture_output=True, text=True)
    if tree.returncode != 0:
        yield f"cargo tree -p mcp: {tree.stderr.strip()}"
    for line in tree.stdout.splitlines():
        if line.startswith("pgrx"):
            yield f"mcp/Cargo.toml:1: {line.split()[0]} is in the dependency graph of mcp"


def floor(file):
    name = file.parts[1].removesuffix(".rs")
    return FLOORS.index(name) if name in FLOORS else None


def dependencies_go_down():
    """pg, config, catalog, exec, worker, sqlapi, lib: each may use those before it."""
    for file in having(".rs"):
        if file.parts[0] != "src":
            continue
        own = floor(file)
        if own is None:
            yield f"{file}:1: not on a floor of the house; add it to FLOORS in {Path(__file__).name}"
            continue
        for number, line in enumerate(without_comments(text(file)).splitlines(), 1):
            for used in re.findall(r"\bcrate::(\w+)", line):
                if used in FLOORS and FLOORS.index(used) > own:
                    yield f"{file}:{number}: {FLOORS[own]} uses {used}, which is above it"


def files_are_short():
    for file in having(".rs", ".sql", ".py", ".mjs", ".sh") + shell_scripts():
        count = text(file).count("\n")
        if count >= MOST_LINES:
            yield f"{file}:{count}: {count} lines; a file has fewer than {MOST_LINES}"


def files_open_with_a_header():
    """The first thing in a file says what it is for."""
    starts = {".rs": ("//!",), ".sql": ("--",), ".py": ('"""', "#!"), ".mjs": ("//",), ".sh": ("#",)}
    for file in having(*starts):
        if text(file).strip() and not text(file).lstrip().startswith(starts[file.suffix]):
            yield f"{file}:1: no header comment"


def shell_scripts_parse():
    for file in shell_scripts():
        done = subprocess.run(["bash", "-n", ROOT / file], capture_output=True, text=True)
        if done.returncode != 0:
            yield f"{file}: {done.stderr.strip()}"
    if shutil.which("shellcheck") and shell_scripts():
        done = subprocess.run(["shellcheck", "-f", "gcc", *shell_scripts()], cwd=ROOT, capture_output=True, text=True)
        yield from done.stdout.splitlines()


def python_files_parse():
    for file in having(".py"):
        try:
            compile(text(file), str(file), "exec")
        except SyntaxError as error:
            yield f"{file}:{error.lineno}: {error.msg}"


def nothing_names_this_machine():
    """A path of somebody's machine works on no other."""
    own = {Path(__file__).resolve().relative_to(ROOT)}
    for file in FILES:
        if file in own or file.suffix in (".lock", ".png"):
            continue
        for number, line in enumerate(text(file).splitlines(), 1):
            if re.search(r"(?<![\w.])/(work|root|home/\w+)/", line):
                yield f"{file}:{number}: a path of one machine"


def nothing_is_left_to_do():
    own = {Path(__file__).resolve().relative_to(ROOT)}
    for file in FILES:
        if file in own or file.suffix == ".lock" or file.name in ("Cargo.toml", "package-lock.json"):
            continue
        for number, line in enumerate(text(file).splitlines(), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b", line):
                yield f"{file}:{number}: left to do"


def script_files():
    return [file for file in having(".sql") if file.parts[0] == "sql"]


def install_script_is_careful():
    """What the install script must hold to: it runs as a superuser in a database where others may have made objects."""
    for file in script_files():
        code = re.sub(r"--[^\n]*", "", text(file))
        for found in re.finditer(r"create\s+or\s+replace", code, re.I):
            yield f"{file}:{code.count(chr(10), 0, found.start()) + 1}: CREATE OR REPLACE would take over an object that somebody else made"
        for found in re.finditer(r"create\s+(?:function|procedure)\s.*?;\s*$", code, re.I | re.S | re.M):
            body = found.group()
            line = code.count("\n", 0, found.start()) + 1
            if re.search(r"security\s+definer", body, re.I):
                if not re.search(r"set\s+search_path", body, re.I):
                    yield f"{file}:{line}: SECURITY DEFINER without a pinned search_path"


def declared_functions_exist(library):
    """Each C function that the install script declares is a symbol of the library, and each wrapper is declared."""
    symbols = set()
    for line in subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout.splitlines():
        symbols.add(line.split()[-1])
    for file in script_files():
        code = re.sub(r"--[^\n]*", "", text(file))
        for found in re.finditer(r"'MODULE_PATHNAME'\s*(?:,\s*'(\w+)')?", code):
            line = code.count("\n", 0, found.start()) + 1
            name = found.group(1) or re.findall(r"create\s+function\s+(?:mcp\.)?(\w+)", code[:found.start()], re.I)[-1]
            for symbol in (name, f"pg_finfo_{name}"):
                if symbol not in symbols:
                    yield f"{file}:{line}: the library has no symbol {symbol}"


def settings_page_is_in_step():
    """docs/settings.md has one heading per setting that the sources define."""
    documented = set(re.findall(r"^### `?(supabase_mcp\.\w+)`?", text(Path("docs/settings.md")), re.M))
    sources = [file for file in having(".rs") if file == Path("src/config.rs") or file.parts[:2] == ("src", "config")]
    defined = {name for file in sources for name in re.findall(r'c"(supabase_mcp\.\w+)"', text(file))}
    for name in sorted(defined - documented):
        yield f"docs/settings.md:1: {name} is missing"
    for name in sorted(documented - defined):
        yield f"docs/settings.md:1: {name} is no setting"


RULES = [unsafe_lives_in_src_pg, mcp_knows_no_postgres, dependencies_go_down, files_are_short, files_open_with_a_header,
         shell_scripts_parse, python_files_parse, nothing_names_this_machine, nothing_is_left_to_do, install_script_is_careful,
         settings_page_is_in_step]


def main():
    complaints = [complaint for rule in RULES for complaint in rule()]
    if len(sys.argv) > 1:
        complaints += declared_functions_exist(sys.argv[1])
    for complaint in complaints:
        print(complaint)
    print(f"{len(RULES) + (len(sys.argv) > 1)} rules, {len(FILES)} files, {len(complaints)} complaints")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
