"""What came of scenarios, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from api.simulate.rates import rates, rates_table
from api.simulate.row import Row, is_repeated, measures
from api.simulate.transcript import transcript
from api.simulate.usage import told


def report(rows: Sequence[Row]) -> str:
    """What has not passed, each with its cause in the first line and its conversation; then the table, or that of rates
    where scenarios were held several times; then what it took."""
    failures = [f"{failure(row)}\n" for row in first_failed(rows)]
    table = rates_table(rates(rows)) if is_repeated(rows) else _table(rows)
    roles = told(rows)
    width = max(map(len, roles), default=0) + 1
    usage = [f"{role + ':':<{width}} {words}" for role, words in roles.items()]
    return "\n".join([*failures, *table, _sum(rows), *usage])


def first_failed(rows: Sequence[Row]) -> Iterator[Row]:
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


def _sum(rows: Sequence[Row]) -> str:
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(row.status for row in rows)}
    seconds = sum(row.seconds for row in rows)
    return f"{', '.join(f'{count} {status}' for status, count in counts.items()) or 'No scenarios'} in {seconds:.1f} s"
