"""The benchmark's table: each figure beside pgbench's of the same run, its ratio, and the target. Prints; measures nothing."""


def number(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


class Table:
    def __init__(self, names, widths):
        self.names, self.widths = names, widths

    def heading(self, title):
        print(f"\n{title}")
        print(self.line(self.names))
        print("-" * (sum(self.widths) + 2 * len(self.widths)))

    def line(self, cells):
        return "  ".join(str(cell).ljust(width) if at == 0 else str(cell).rjust(width)
                         for at, (cell, width) in enumerate(zip(cells, self.widths)))


LATENCY = Table(["", "p50 us", "p99 us", "p99/p50", "calls/s", "beside pgbench", "target", ""], [30, 9, 9, 8, 10, 15, 9, 6])
# The same figures beside the same calls without the audit trail.
TRAIL = Table([*LATENCY.names[:5], "beside off", *LATENCY.names[6:]], LATENCY.widths)


def latency_row(name, figures, base=None, target=None, by="p50", share=None):
    """One row; `by` says what is compared: p50 (a factor, lower is better) or per_second (a share, higher is better). `share`: that, if it is known."""
    ratio = met = ""
    goal = ""
    if share is None and base is not None and by == "per_second":
        share = figures["per_second"] / base["per_second"]
    if share is not None:
        ratio = f"{share * 100:.0f} %"
        if target:
            goal, met = f">= {target * 100:.0f} %", "ok" if share >= target else "MISSED"
    elif base is not None:
        value = figures["p50"] / base["p50"]
        ratio = f"{value:.2f} x"
        if target:
            goal, met = f"<= {target:g} x", "ok" if value <= target else "MISSED"
    print(LATENCY.line([name, number(figures["p50"]), number(figures["p99"]), f"{figures['p99'] / figures['p50']:.1f}",
                        number(figures["per_second"]), ratio, goal, met]))


SINGLE = Table(["", "measured", "target", ""], [60, 14, 14, 6])


def single_row(name, value, unit, target=None, digits=1):
    goal = "" if target is None else f"< {target:g} {unit}"
    met = "" if target is None else ("ok" if value < target else "MISSED")
    print(SINGLE.line([name, f"{value:,.{digits}f} {unit}", goal, met]))


FACTOR = Table(["", "measured", "target", ""], [60, 14, 14, 6])


def factor_row(name, value, least=None):
    goal = "" if least is None else f">= {least:g} x"
    met = "" if least is None else ("ok" if value >= least else "MISSED")
    print(FACTOR.line([name, f"{value:,.2f} x", goal, met]))
