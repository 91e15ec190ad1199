"""What came of scenarios as one page: conversations, what was heard and cut, tool calls, time lines, verdicts.

All of it is in the file: no script, nothing from elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from agent.turns import ToolCallStatus
from api.printable import printable
from api.simulate.conversation import Exchange
from api.simulate.judge import Judged
from api.simulate.rates import Rate, chance, rates, verdict
from api.simulate.report import first_failed
from api.simulate.row import Row, is_repeated, measures
from api.simulate.simulation import Result
from api.simulate.time_line import time_line
from api.simulate.usage import in_words, told
from api.simulate.world import written

_STYLE = Path(__file__).with_name("report.css")
_COLUMNS = ("turns", "tools", "first words", "silence", "call")


def to_html(rows: Sequence[Row]) -> str:
    shown = list(first_failed(rows))
    parts = [
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Simulated calls</title>',
        '<meta name="viewport" content="width=device-width">',
        f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>",
        *_summary(rows),
        *(part for number, row in enumerate(rows) for part in _of_row(number, row, row in shown)),
        "</main></body>\n</html>\n",
    ]
    return printable("\n".join(parts))


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    yield '<h1>Simulated calls</h1>\n<p class="counts">'
    for status, count in Counter(row.status for row in rows).most_common():
        yield f'<span class="pill {_kind(status)}">{count} {status}</span>'
    yield f'<span class="soft">in {sum(row.seconds for row in rows):.1f} s</span></p>'
    if is_repeated(rows):
        yield from _rates(rates(rows))
    else:
        yield from _table(rows)
    if roles := told(rows):
        lines = (f"<dt>{escape(role)}</dt><dd>{words}</dd>" for role, words in roles.items())
        yield f'<dl class="soft">{"".join(lines)}</dl>'


def _rates(found: dict[str, dict[str, Rate]]) -> Iterator[str]:
    settings = dict.fromkeys(setting for by_setting in found.values() for setting in by_setting)
    heads = [setting or "passed" for setting in settings]
    yield '<div class="card"><table class="rates"><thead><tr><th>scenario</th>'
    yield "".join(f"<th>{escape(head)}</th>" for head in [*heads, ""]) + "</tr></thead>"
    for scenario, by_setting in found.items():
        cells = [f"<b>{escape(scenario or 'all')}</b>"]
        cells += [f'<span class="narrow">{escape(setting)} </span>{rate}' for setting, rate in by_setting.items()]
        cells += [verdict(chance(*by_setting.values()))] if len(by_setting) == 2 else []
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    yield "</table></div>"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield '<div class="card"><table><thead><tr><th>scenario</th><th>result</th>'
    yield "".join(f'<th class="number{_wide(name)}">{name}</th>' for name in _COLUMNS) + "</tr></thead>"
    for number, row in enumerate(rows):
        yield f'<tr><td><a href="#call-{number}">{escape(row.name)}</a></td><td>{_pill(row.status)}</td>'
        for name, cell in zip(_COLUMNS, _cells(row), strict=True):
            yield f'<td class="number{_wide(name)}">{cell}</td>'
        yield "</tr>"
    yield "</table></div>"


def _cells(row: Row) -> list[str]:
    if row.result is None:
        return [""] * len(_COLUMNS)
    turns, tools, first, silence, call = measures(row).values()
    return [f"{turns}", f"{tools}", f"{first:.1f} s", f"{silence:.1f} s", f"{call:.0f} s"]


def _wide(column: str) -> str:
    """Columns for which a phone has no room."""
    return " wide" if column in ("turns", "tools", "silence") else ""


def _pill(status: str) -> str:
    return f'<span class="pill {_kind(status)}">{status}</span>'


def _kind(status: str) -> str:
    return status.replace(" ", "-")


def _of_row(number: int, row: Row, is_shown: bool) -> Iterator[str]:
    opened = " open" if is_shown else ""
    yield f'<details class="card" id="call-{number}"{opened}><summary>{_pill(row.status)}<b>{escape(row.name)}</b>'
    if row.result:
        yield f'<span class="figures">{_figures(row)}</span>'
    elif row.status == "skipped":
        yield f'<span class="figures">{escape(row.why)}</span>'
    yield '</summary><div class="inside">'
    if row.faults:
        yield f'<ul class="faults">{"".join(f"<li>{escape(fault)}</li>" for fault in row.faults)}</ul>'
    if row.result:
        if row.result.about:
            yield f'<p class="soft">{escape(row.result.about)}</p>'
        yield from _of_result(row.result)
        yield from _foot(row, row.result)
    yield "</div></details>"


def _figures(row: Row) -> str:
    turns, tools, *_, call = _cells(row)
    return f"{turns} turn{_s(turns)}, {tools} tool call{_s(tools)}, {call}"


def _s(count: str) -> str:
    return "" if count == "1" else "s"


def _of_result(result: Result) -> Iterator[str]:
    yield from time_line(result.conversation)
    yield '<ol class="talk">'
    for exchange in result.conversation.exchanges:
        yield from (_item(*item) for item in sorted(_of_exchange(exchange), key=lambda item: item[0]))
    yield "</ol>"
    if result.judgement.judged:
        yield '<h2>Judge</h2>\n<ul class="judge">'
        yield from (_judged(one) for one in result.judgement.judged)
        yield "</ul>"


def _of_exchange(exchange: Exchange) -> Iterator[tuple[float, str, str]]:
    """(seconds of the call, who, HTML)"""
    if exchange.said:
        yield exchange.at, "caller", escape(exchange.said)
    for tool in exchange.tools:
        yield exchange.at + tool.began - exchange.began, "tool", _tool(tool)
    if exchange.words.strip():
        rest = escape(exchange.unheard)
        cut = f' <del>{rest}</del> <span class="note">interrupted</span>' if rest else ""
        yield exchange.at + (exchange.first_words or 0), "agent", f"{escape(exchange.heard.strip())}{cut}"
    elif exchange.said:
        yield exchange.at, "agent", '<span class="bad">says nothing</span>'


def _tool(tool: ToolCallStatus) -> str:
    seconds = "" if tool.seconds is None else f", {tool.seconds:.1f} s"
    kind = "bad" if tool.ended in ("failed", "timed out") else "note"
    call = f"{tool.name}({written(tool.arguments)})"
    return f'<code>{escape(call)}</code> <span class="{kind}">{escape(tool.ended)}{seconds}</span>'


def _item(at: float, who: str, html: str) -> str:
    return f'<li class="{who}"><time>{at:.1f} s</time><b>{who.capitalize()}</b><p>{html}</p></li>'


def _judged(one: Judged) -> str:
    quote = f" <q>{escape(one.verdict.quote)}</q>" if one.verdict.quote else ""
    said = f"<p>{escape(one.criterion)}</p><p>{escape(one.verdict.reason)}{quote}</p>"
    return f"<li>{_pill('passed' if one.verdict.passed else 'failed')}<div>{said}</div></li>"


def _foot(row: Row, result: Result) -> Iterator[str]:
    yield f'<div class="foot soft"><p>The call: {escape(result.conversation.ends)}.</p>'
    yield from (f"<p>{role}: {in_words(used)}</p>" for role, used in result.usage.items() if used.requests)
    if row.saved:
        yield f"<p><code>voice replay {escape(str(row.saved))}</code></p>"
    yield "</div>"
