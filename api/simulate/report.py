"""What came of scenarios: for a terminal, and as JUnit XML and JSON for CI."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from agent.printable import printable
from api.simulate.simulation import Result
from api.simulate.transcript import transcript

Status = Literal["passed", "failed", "skipped", "broken", "not run"]


@dataclass(frozen=True)
class Row:
    """A scenario's file and what came of it. result: if it was held. why: it was skipped, or the file is broken.
    seconds: of real time. saved: the run file of a conversation that has not passed. number: of the run, from 1.
    setting: what it was held with, where settings are compared."""

    path: Path
    status: Status
    result: Result | None = None
    why: str = ""
    seconds: float = 0.0
    saved: Path | None = None
    number: int = 1
    setting: str = ""

    @property
    def name(self) -> str:
        """Of this run."""
        return " ".join([self.path.stem, *filter(None, [self.setting, str(self.number) if self.number > 1 else ""])])

    @property
    def faults(self) -> Sequence[str]:
        """The cause first."""
        return self.result.faults if self.result else [self.why] if self.status == "broken" else []


def report(rows: Sequence[Row]) -> str:
    """What has not passed, each with its cause in the first line and its conversation; then the table."""
    return "\n".join([*(f"{failure(row)}\n" for row in _first_failed(rows)), *_table(rows), _sum(rows), *_tokens(rows)])


def _first_failed(rows: Sequence[Row]) -> Iterator[Row]:
    """Of the runs of a scenario the first that has not passed: the others are in --json and in their files."""
    seen = set()
    for row in rows:
        if row.faults and (row.path, row.setting) not in seen:
            seen.add((row.path, row.setting))
            yield row


def failure(row: Row) -> str:
    """What is wrong, the cause in the first line, and the conversation."""
    if row.result is None:
        return row.why
    more = [f"    {fault}" for fault in row.faults[1:]]
    lines = [f"    {line}" for line in transcript(row.result.conversation).splitlines()]
    again = ["", f"    voice replay {row.saved}"] if row.saved else []
    return "\n".join([f"{row.path}: {row.faults[0]}", *more, "", *lines, *again])


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """Where each was held once."""
    if any(row.number > 1 or row.setting for row in rows):
        return
    width = max((len(row.path.stem) for row in rows), default=0)
    yield f"{'scenario':<{width}}  result   turns  tools  first words  silence    call"
    for row in rows:
        yield f"{row.path.stem:<{width}}  {row.status:<7}  {_figures(row)}".rstrip()


def _figures(row: Row) -> str:
    if row.result is None:
        return row.why if row.status == "skipped" else ""
    measured = measures(row)
    first, silence = (f"{measured[name]:.1f} s" for name in ("first_words", "silence"))
    return f"{measured['turns']:>5}  {measured['tools']:>5}  {first:>11}  {silence:>7}  {measured['call']:>4.0f} s"


def measures(row: Row) -> dict[str, Any]:
    """turns and tools: how many. first_words, silence, call: the longest there was, in seconds of the call."""
    conversation = row.result.conversation if row.result else None
    exchanges = conversation.exchanges if conversation else []
    return {
        "turns": sum(bool(exchange.said) for exchange in exchanges),
        "tools": len(conversation.tool_calls) if conversation else 0,
        "first_words": round(max((exchange.first_words or 0 for exchange in exchanges), default=0), 3),
        "silence": round(max((s for exchange in exchanges for _, s in exchange.silences()), default=0), 3),
        "call": round(conversation.seconds, 3) if conversation else 0,
    }


def _sum(rows: Sequence[Row]) -> str:
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(row.status for row in rows)}
    seconds = sum(row.seconds for row in rows)
    return f"{', '.join(f'{count} {status}' for status, count in counts.items()) or 'No scenarios'} in {seconds:.1f} s"


def _tokens(rows: Sequence[Row]) -> Iterator[str]:
    """Of the models beside the agent's."""
    results = [row.result for row in rows if row.result]
    roles = {
        "caller": [result.caller_usage for result in results],
        "judge": [result.judgement.usage for result in results],
    }
    for role, used in roles.items():
        if requests := sum(one.requests for one in used):
            tokens = f"{sum(one.input for one in used)} tokens in, {sum(one.output for one in used)} out"
            yield f"{role}: {requests} requests, {tokens}, {sum(one.seconds for one in used):.1f} s"


def to_json(rows: Sequence[Row]) -> str:
    made = [
        {
            "scenario": str(row.path),
            "run": row.number,
            "setting": row.setting,
            "status": row.status,
            "why": row.why,
            "faults": list(row.faults),
            "verdicts": _verdicts(row),
            "seconds": round(row.seconds, 3),
            **measures(row),
            "run_file": str(row.saved) if row.saved else None,
            "conversation": transcript(row.result.conversation).splitlines() if row.result else [],
        }
        for row in rows
    ]
    return json.dumps({"scenarios": made}, ensure_ascii=False, indent=1) + "\n"


def _verdicts(row: Row) -> list[dict[str, Any]]:
    judged = row.result.judgement.judged if row.result else ()
    return [{"criterion": one.criterion, **one.verdict.model_dump(by_alias=True)} for one in judged]


def to_junit(rows: Sequence[Row]) -> str:
    """As CI servers read it."""
    counts = {"tests": len(rows), "failures": 0, "errors": 0, "skipped": 0}
    suite = ElementTree.Element("testsuite", name="scenarios", time=f"{sum(row.seconds for row in rows):.3f}")
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
