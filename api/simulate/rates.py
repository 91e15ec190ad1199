"""How often a scenario passes when it is held again and again, and whether two settings differ in that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

from api.simulate.row import Row

_LEVEL = 0.95
_EVERY = ""  # no scenario is called so


@dataclass(frozen=True)
class Rate:
    """runs: those that came to an end, passed or failed."""

    passed: int
    runs: int

    @property
    def share(self) -> float:
        return self.passed / self.runs if self.runs else 0.0

    def interval(self) -> tuple[float, float]:
        """Wilson's score interval, in which the true share lies with 95 % confidence."""
        if not self.runs:
            return 0.0, 1.0
        z = NormalDist().inv_cdf((1 + _LEVEL) / 2)
        weight = z * z / self.runs
        middle = (self.share + weight / 2) / (1 + weight)
        half = z * sqrt(self.share * (1 - self.share) / self.runs + weight / (4 * self.runs)) / (1 + weight)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval()
        return f"{self.passed}/{self.runs} {self.share:.0%} ({low:.0%} to {high:.0%})"


def chance(one: Rate, other: Rate) -> float:
    """Fisher's exact test, two-sided: how likely rates at least so far apart are, if the settings do not differ."""
    both, passed = one.runs + other.runs, one.passed + other.passed

    def weight(of_one: int) -> int:
        return comb(one.runs, of_one) * comb(other.runs, passed - of_one)

    seen = weight(one.passed)
    possible = range(max(0, passed - other.runs), min(one.runs, passed) + 1)
    return sum(weight(count) for count in possible if weight(count) <= seen) / comb(both, passed)


def rates(rows: Sequence[Row]) -> dict[str, dict[str, Rate]]:
    """By scenario and setting; at last, without a name, those of all scenarios, if there are several."""
    counts: defaultdict[str, defaultdict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.status in ("passed", "failed"):
            counts[row.path.stem][row.setting].append(row.status == "passed")
    found = {
        scenario: {setting: Rate(sum(passed), len(passed)) for setting, passed in settings.items()}
        for scenario, settings in counts.items()
    }
    if len(found) < 2:
        return found
    every: defaultdict[str, Rate] = defaultdict(lambda: Rate(0, 0))
    for settings in found.values():
        for setting, rate in settings.items():
            every[setting] = Rate(every[setting].passed + rate.passed, every[setting].runs + rate.runs)
    return {**found, _EVERY: every}


def rates_table(found: dict[str, dict[str, Rate]]) -> Iterator[str]:
    """A line for each scenario; of two settings, whether they differ."""
    settings = list(dict.fromkeys(setting for by_setting in found.values() for setting in by_setting))
    lines = [["scenario", *(setting or "passed" for setting in settings)]]
    for scenario, by_setting in found.items():
        lines.append([scenario or "all", *(str(by_setting.get(setting, Rate(0, 0))) for setting in settings)])
        if len(by_setting) == 2:
            lines[-1].append(verdict(chance(*by_setting.values())))
    widths = [max(len(line[at]) for line in lines) for at in range(len(settings) + 1)]
    for line in lines if found else ():
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=False)).rstrip()


def differ(p: float) -> bool:
    """Whether two settings do, as far as their rates can tell."""
    return p < 1 - _LEVEL


def verdict(p: float) -> str:
    """The same in words."""
    return f"they differ (p = {p:.2g})" if differ(p) else f"no difference is shown (p = {p:.2g})"
