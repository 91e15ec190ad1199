"""What came of scenarios, as JUnit XML and JSON for CI."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from api.printable import printable
from api.simulate.rates import Rate, chance, differ, rates, verdict
from api.simulate.report import failure
from api.simulate.row import Row, is_repeated, measures
from api.simulate.transcript import transcript
from api.simulate.usage import told, usage_by_role


def to_json(rows: Sequence[Row]) -> str:
    """rates, comparisons: of scenarios that were held several times, or with two settings; `scenario` is null for all
    of them together. usage: of live models."""
    found = rates(rows) if is_repeated(rows) else {}
    usage = usage_by_role(rows)
    made = {
        "scenarios": [_scenario(row) for row in rows],
        "rates": [_rate(scenario, *one) for scenario, by_setting in found.items() for one in by_setting.items()],
        "comparisons": [_comparison(scenario, both) for scenario, both in found.items() if len(both) == 2],
        "usage": [{"role": role, "setting": setting, **asdict(used)} for (role, setting), used in usage.items()],
    }
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"


def _scenario(row: Row) -> dict[str, Any]:
    return {
        "scenario": str(row.path),
        "run": row.number,
        "setting": row.setting,
        "status": row.status,
        "why": row.why,
        "faults": list(row.faults),
        "verdicts": _verdicts(row),
        "seconds": round(row.seconds, 3),
        **measures(row),
        "usage": {role: asdict(used) for role, used in row.result.usage.items()} if row.result else {},
        "run_file": str(row.saved) if row.saved else None,
        "conversation": transcript(row.result.conversation).splitlines() if row.result else [],
    }


def _rate(scenario: str, setting: str, rate: Rate) -> dict[str, Any]:
    return {
        "scenario": scenario or None, "setting": setting, "passed": rate.passed, "runs": rate.runs,
        "share": rate.share, "interval": rate.interval(),
    }  # fmt: skip


def _comparison(scenario: str, both: Mapping[str, Rate]) -> dict[str, Any]:
    p = chance(*both.values())
    return {"scenario": scenario or None, "settings": list(both), "p": p, "differ": differ(p)}


def _verdicts(row: Row) -> list[dict[str, Any]]:
    judged = row.result.judgement.judged if row.result else ()
    return [{"criterion": one.criterion, **one.verdict.model_dump(by_alias=True)} for one in judged]


def to_junit(rows: Sequence[Row]) -> str:
    """As CI servers read it."""
    counts = {"tests": len(rows), "failures": 0, "errors": 0, "skipped": 0}
    suite = ElementTree.Element("testsuite", name="scenarios", time=f"{sum(row.seconds for row in rows):.3f}")
    if known := dict(_properties(rows)):
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in known.items():
            ElementTree.SubElement(properties, "property", name=name, value=value)
    kinds = {"failed": "failure", "broken": "error", "skipped": "skipped", "not run": "skipped"}
    for row in rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname="scenarios", name=row.name, file=str(row.path), time=f"{row.seconds:.3f}"
        )
        if kind := kinds.get(row.status):
            counts[kind if kind == "skipped" else f"{kind}s"] += 1
            element = ElementTree.SubElement(case, kind, message=row.faults[0] if row.faults else row.why or row.status)
            element.text = failure(row) if row.faults else None
        for written in case.iter():  # XML has no control characters, and what others have written may
            written.attrib.update({name: printable(value) for name, value in written.attrib.items()})
            written.text = written.text and printable(written.text)
    suite.attrib.update({name: str(count) for name, count in counts.items()})
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _properties(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    for scenario, by_setting in (rates(rows) if is_repeated(rows) else {}).items():
        for setting, rate in by_setting.items():
            yield " ".join(filter(None, ["passed", scenario or "all", setting])), str(rate)
        if len(by_setting) == 2:
            yield f"compared {scenario or 'all'}", verdict(chance(*by_setting.values()))
    yield from ((f"tokens {role}", words) for role, words in told(rows).items())
