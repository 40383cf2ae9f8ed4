"""How the demo prints: steps, requests, answers, small tables. Colours only on a terminal that wants them. Holds no other logic."""

import os
import shutil
import sys

COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
WIDTH = min(shutil.get_terminal_size((100, 24)).columns, 110)

_step = 0


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def bold(text):
    return paint("1", text)


def dim(text):
    return paint("2", text)


def step(title):
    global _step
    _step += 1
    print()
    print(bold(paint("36", f"{_step}. {title}")))


def note(text):
    print(f"   {text}")


def request(method, text=""):
    print("   " + paint("34", f"→ {method}"))
    for line in text.strip().splitlines():
        print(f"       {line}")


def answer(text):
    print("   " + paint("32", f"← {text}"))


def refusal(text):
    print("   " + paint("31", f"← {text}"))


def why(text):
    print("   " + dim(text))


def rows(names, values, most=8):
    """A table of at most `most` rows."""
    cells = [["" if value is None else str(value) for value in row] for row in values[:most]]
    widths = [max([len(name)] + [len(row[at]) for row in cells]) for at, name in enumerate(names)]

    def line(parts):
        return ("       " + "  ".join(part.ljust(width) for part, width in zip(parts, widths))).rstrip()[:WIDTH]

    print(dim(line(names)))
    for row in cells:
        print(line(row))
    if len(values) > most:
        print(dim(f"       … {len(values) - most} more"))


def code(text):
    for line in text.strip("\n").splitlines():
        print(paint("33", f"     {line}"))
