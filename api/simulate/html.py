"""What came of scenarios as one page: conversations, what was heard and cut, tool calls, time lines, verdicts.

All of it is in the file: no script, nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape as _escape

from agent.printable import printable
from api.platforms.playback import SECONDS_PER_CHARACTER
from api.simulate.conversation import Conversation, Exchange
from api.simulate.report import Row
from api.simulate.transcript import tool_line


def escape(text: str) -> str:
    return _escape(printable(text))


_STYLE = """
:root { color-scheme: light dark; --ground: light-dark(#f6f4f0, #11151a); --surface: light-dark(#fff, #191f26);
  --line: light-dark(#dedad1, #313b46); --ink: light-dark(#1c2329, #e9edf1); --soft: light-dark(#55606b, #a3afbb);
  --good: light-dark(#0f6e66, #5ad1c3); --bad: light-dark(#a3261b, #ffaaa0); --tool: light-dark(#8a4e05, #eea648) }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
details { background: var(--surface); border: 1px solid var(--line); border-radius: .5rem; margin: .75rem 0;
  padding: .75rem 1rem }
summary { cursor: pointer; font-weight: 600 }
.passed { color: var(--good) } .failed, .broken { color: var(--bad) } .soft, .skipped, del { color: var(--soft) }
.tool { color: var(--tool); font-family: ui-monospace, monospace; font-size: .9rem }
ol { list-style: none; padding: 0 } li { margin: .35rem 0; padding-left: 4.5rem; position: relative }
li > time { position: absolute; left: 0; color: var(--soft); font-variant-numeric: tabular-nums }
svg { display: block; width: 100%; height: 2rem; margin: .5rem 0 }
"""


def to_html(rows: Sequence[Row]) -> str:
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Simulated calls</title>',
            '<meta name="viewport" content="width=device-width">',
            f"<style>{_STYLE}</style></head>\n<body>\n<h1>Simulated calls</h1>",
            f"<p>{sum(row.status == 'passed' for row in rows)} of {len(rows)} passed. In a time line, what the caller"
            " says is grey, and what they hear of the agent is green.</p>",
            *(part for row in rows for part in _of_row(row)),
            "</body>\n</html>\n",
        ]
    )


def _of_row(row: Row) -> Iterator[str]:
    opened = "" if row.status in ("passed", "skipped") else " open"
    yield f'<details{opened}><summary>{escape(row.name)} <span class="{row.status.split()[0]}">{row.status}</span>'
    yield "</summary>"
    for fault in row.faults or filter(None, [row.why]):
        yield f'<p class="{row.status.split()[0]}">{escape(fault)}</p>'
    if row.result:
        yield from _of_conversation(row.result.conversation)
        for one in row.result.judgement.judged:
            kind = "passed" if one.verdict.passed else "failed"
            quote = f" <q>{escape(one.verdict.quote)}</q>" if one.verdict.quote else ""
            said = f"{escape(one.criterion)} <span class=soft>{escape(one.verdict.reason)}{quote}</span>"
            yield f'<p><span class="{kind}">judge: {kind}</span> {said}</p>'
    yield "</details>"


def _of_conversation(conversation: Conversation) -> Iterator[str]:
    yield from _time_line(conversation)
    yield "<ol>"
    for exchange in conversation.exchanges:
        yield from _of_exchange(exchange)
    yield f'</ol><p class="soft">{conversation.seconds:.0f} s. The call: {escape(conversation.ends)}.</p>'


def _of_exchange(exchange: Exchange) -> Iterator[str]:
    if exchange.said:
        yield _item(exchange.at, f"<b>Caller</b> {escape(exchange.said)}")
    for tool in exchange.tools:
        yield _item(exchange.at, f'<span class="tool">{escape(tool_line(tool))}</span>')
    if exchange.words.strip():
        cut = escape(exchange.unheard)
        words = f"<b>Agent</b> {escape(exchange.heard.strip())}{f' <del>{cut}</del>' if cut else ''}"
        yield _item(exchange.at + (exchange.first_words or 0), words)
    elif exchange.said:
        yield _item(exchange.at, '<span class="failed">The agent says nothing.</span>')


def _item(at: float, html: str) -> str:
    return f"<li><time>{at:.1f} s</time>{html}</li>"


def _time_line(conversation: Conversation) -> Iterator[str]:
    if not conversation.seconds:
        return
    yield f'<svg viewBox="0 0 {conversation.seconds:.2f} 2" preserveAspectRatio="none" role="img"'
    yield ' aria-label="The time line of the call">'
    for exchange in conversation.exchanges:
        spoken = len(exchange.said) * SECONDS_PER_CHARACTER
        yield _bar(exchange.at - spoken, spoken, 0, "--soft", exchange.said)
        ends, until = 0.0, exchange.cut if exchange.cut is not None else float("inf")
        for came, words in exchange.spoken:
            at = max(came, ends)  # they are spoken one after the other
            ends = at + len(words) * SECONDS_PER_CHARACTER
            if at < until:
                yield _bar(exchange.at + at, min(ends, until) - at, 1, "--good", words)
    yield "</svg>"


def _bar(at: float, seconds: float, lane: int, colour: str, words: str) -> str:
    about = f"<title>{escape(words)}</title>"
    place = f'x="{at:.2f}" y="{lane}.1" width="{seconds:.2f}" height=".8"'
    return f'<rect {place} style="fill: var({colour})">{about}</rect>'
