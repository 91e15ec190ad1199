"""What a scenario expects, against what came."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from api.simulate.conversation import Conversation
from api.simulate.scenario import Expect, ExpectedCall
from api.simulate.world import written

_WORD = re.compile(r"[^\W_]+")
_LEAST = {"once": 1, "at most once": 0, "at least once": 1, "never": 0}
_MOST = {"once": 1, "at most once": 1, "at least once": None, "never": 0}


def unmet(expect: Expect, conversation: Conversation) -> Iterator[str]:
    """What did not come as expected, in words."""
    yield from _calls(expect, conversation)
    yield from _words(expect, conversation)
    if expect.ends is not None and conversation.ends != expect.ends:
        yield f"The call ended otherwise: {conversation.ends}, and not {expect.ends}."


def _calls(expect: Expect, conversation: Conversation) -> Iterator[str]:
    ran = [(name, arguments) for _, name, arguments in conversation.tool_calls]
    for call in expect.calls:
        found = [one for one in ran if fits(call, *one)]
        least, most = _bounds(call)
        if len(found) < least or (most is not None and len(found) > most):
            others = [f"{name}({written(arguments)})" for name, arguments in ran]
            count = f"ran {times_of(len(found))}, and expected is {_due(call)}"
            yield f"{call.tool}({written(call.arguments)}) {count}. What ran: {_listed(others)}."
    if expect.in_order and not _is_in_order(expect, ran):
        yield f"The tools ran in another order: {_listed([name for name, _ in ran])}."
    for name, arguments in ran if expect.no_other_calls else ():
        if not any(fits(call, name, arguments) for call in expect.calls):
            yield f"{name}({written(arguments)}) ran, which is not expected."


def fits(call: ExpectedCall, name: str, arguments: Mapping[str, Any]) -> bool:
    if name != call.tool:
        return False
    return arguments == call.arguments if call.exactly else call.arguments.items() <= arguments.items()


def _is_in_order(expect: Expect, ran: list[tuple[str, dict[str, Any]]]) -> bool:
    rest = iter(ran)
    wanted = [call for call in expect.calls if _bounds(call)[0]]
    return all(any(fits(call, *one) for one in rest) for call in wanted)


def _bounds(call: ExpectedCall) -> tuple[int, int | None]:
    return (call.times, call.times) if isinstance(call.times, int) else (_LEAST[call.times], _MOST[call.times])


def _due(call: ExpectedCall) -> str:
    return times_of(call.times) if isinstance(call.times, int) else call.times


def times_of(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _listed(texts: list[str]) -> str:
    return "; ".join(texts) or "nothing"


def _words(expect: Expect, conversation: Conversation) -> Iterator[str]:
    heard = plain(conversation.heard)
    for words in expect.heard:
        if plain(words) not in heard:
            yield f'The caller did not hear "{words}".'
    for words in expect.not_heard:
        if plain(words) in heard:
            yield f'The caller heard "{words}".'


def plain(text: str) -> str:
    """Letters and digits, set apart by single spaces."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "
