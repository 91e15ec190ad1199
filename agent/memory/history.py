"""What is remembered, and what the model is shown of it. Pure functions on lists of messages.

A turn leaves: a HumanMessage; then, per step, an AIMessage with tool calls and its ToolMessages; then an
AIMessage with the answer. Rules:

- A message that carries tool calls is never rebuilt: Gemini signs them, and refuses a changed one.
- An answer is cut at what the caller heard, and removed when they heard none of it. Progress lines are
  not the model's words and never stand in its messages.
- System notes (agent/turns/notes.py), before the caller's words, are made once, in the message of the turn that
  learns of something: an interruption, a late result, data from the page. What others have written is never one.
- The apology is kept as it was heard, and marked: the model is told of it in a system note, as it would else
  imitate it.
- Ids tell what belongs to which turn: `message:T` or `welcome:T` the caller's, `T/0`, `T/1` … the assistant's.
  `welcome:T` is where a call begins: the caller says nothing there.
- A summary of older turns is the first message, `summary:…`, as a system note. It is made of what callers and
  tools have said, so it stands where they speak, and not with the authority of the prompt.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage, messages_from_dict

from agent.memory import notes
from agent.memory.guesses import human_id, without_guess
from agent.memory.heard import heard_parts
from agent.memory.notes import last_turn
from agent.speech import speakable
from agent.storage import (
    NOT_STARTED,
    SAME_CALL,
    UNKNOWN,
    CrashedTurn,
    InterruptedTurn,
    PendingContext,
    ToolCallRecord,
    result_of,
)
from agent.turns import (
    Marker,
    Say,
    Summary,
    TurnRequest,
    caller_message,
    cut_message,
    interrupted_message,
    marker_of,
    tool_message,
    without_note_marks,
)

KEPT_MESSAGES = 40

_SUMMARY = "summary:"


def reply_id(request: TurnRequest, messages: Sequence[AnyMessage]) -> str:
    """The id of the assistant's next message in this turn."""
    numbers = [int((m.id or "").rpartition("/")[2]) for m in messages if _is_reply(m, request.turn_id)]
    return f"{request.turn_id}/{max(numbers, default=-1) + 1}"


def tool_steps(messages: Sequence[AnyMessage]) -> int:
    """How often the model has called tools since the caller last spoke."""
    return sum(isinstance(m, AIMessage) and bool(m.tool_calls) for m in last_turn(messages))


def listen(
    messages: Sequence[AnyMessage],
    request: TurnRequest,
    pending_context: PendingContext,
    actions: Collection[str] = (),
) -> list[AnyMessage]:
    """The memory as this turn finds it: mended, cut at what was heard, with the caller's words at its end.

    actions: the names of the tools that change something.
    """
    messages = fold(list(messages), pending_context.summary)
    earlier = next((m for m in messages if m.id == human_id(request)), None)
    messages = without_guess(messages, request, actions)
    mine = [turn for turn in pending_context.crashed if turn.request.key == request.key]
    mended = recover(messages, [turn for turn in pending_context.crashed if turn not in mine])
    known = mended
    for spoken in pending_context.spoken:
        known = cut(known, spoken)
    late = [call for call in pending_context.late if any(_waits_for(m, call) for m in messages)]
    known = [_with_late_result(m, late) for m in known]
    lines = [*notes.late(late), *notes.page_data(pending_context)]
    done = [message for turn in mine for message in _steps(turn.calls)]
    if earlier and all(line in earlier.text for line in lines):
        return [*cap(known), earlier, *done]
    takes_up = False
    if earlier:  # what it was told in its earlier run stands there
        lines, takes_up = [*lines, earlier.text], marker_of(earlier) == "taken up"
    elif request.kind == "welcome":
        lines = [notes.CALLER_IS_BACK if known else notes.CALL_BEGINS, *lines]
    elif request.kind == "silence":
        lines = [*notes.interruption(known, len(known) < len(mended)), *lines, notes.SILENCE]
    else:
        cut_off = [*notes.interruption(known, len(known) < len(mended))]
        words = without_note_marks(request.text).strip()
        takes_up = bool(cut_off) and not words
        lines = [*cut_off, *lines, *filter(None, [words, notes.GO_ON if takes_up else ""])]
    asked = [caller_message(lines, human_id(request), takes_up=takes_up)] if lines else []
    return [*cap(known), *asked, *done]


def asks(messages: Sequence[AnyMessage], request: TurnRequest) -> bool:
    """Whether there is something to answer in this turn: words, or what the caller has not heard of an answer that
    was interrupted by nothing that could be understood."""
    mine = next((m for m in messages if m.id == human_id(request)), None)
    return mine is not None and bool(request.text.strip() or marker_of(mine) == "taken up")


def caller_has_spoken(messages: Sequence[AnyMessage]) -> bool:
    return any((m.id or "").startswith(("message:", _SUMMARY)) for m in messages)


def newest(messages: Sequence[AnyMessage], limit: int) -> int:
    """Where the newest `limit` messages begin, at words of the caller; the last of these when all are older."""
    starts = [i for i, m in enumerate(messages) if isinstance(m, HumanMessage) and not is_summary(m)]
    within = [i for i in starts if i >= len(messages) - limit]
    return (within or starts[-1:] or [0])[0]


def cap(messages: list[AnyMessage], limit: int = KEPT_MESSAGES) -> list[AnyMessage]:
    """The newest messages, at most `limit`, from where the caller speaks; never less than the last turn. A summary
    of what was before stays, beyond that number."""
    at = newest(messages, limit)
    return [*filter(is_summary, messages[: min(at, 1)]), *messages[at:]]


def fold(messages: list[AnyMessage], summary: Summary | None) -> list[AnyMessage]:
    """The messages with a summary in place of those it covers. One of what is no longer there changes nothing."""
    at = next((i for i, m in enumerate(messages) if summary and m.id == summary.until), None)
    if summary is None or at is None:
        return messages
    return [HumanMessage(notes.summary(summary), id=f"{_SUMMARY}{summary.until}"), *messages[at:]]


def is_summary(message: AnyMessage) -> bool:
    return (message.id or "").startswith(_SUMMARY)


def cut(messages: list[AnyMessage], spoken: InterruptedTurn) -> list[AnyMessage]:
    """Cut the answers of one turn at what was heard of it. Other turns are untouched."""
    said = [s.event for s in spoken.sent if isinstance(s.event, Say)]
    parts = heard_parts([(say.of, say.text) for say in said], spoken.heard, spoken.kind)
    kept: list[AnyMessage] = []
    for message in messages:
        if not _is_reply(message, spoken.turn) or _calls(message):
            kept.append(message)
            continue
        text, whole = parts.get(message.id or "", ("", False))
        if whole and _is_all_of(text, message):
            kept.append(message)
        elif text:
            kept.append(cut_message(message, text))
    return kept


def recover(messages: list[AnyMessage], crashed: Sequence[CrashedTurn]) -> list[AnyMessage]:
    """Add what turns that were killed had done, as far as it is missing: the journal has it, the checkpoint may not."""
    for turn in crashed:
        if turn.request.kind != "message":
            continue
        known = {_identity(m) for m in messages}
        steps = list(_steps(turn.calls))
        words = HumanMessage(without_note_marks(turn.request.text), id=human_id(turn.request))
        whole = [words, *steps, *_answers_sent(turn, steps)]
        messages = [*messages, *[m for m in whole if _identity(m) not in known]]
    return messages


def repair(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """The same messages, fit for a model: each tool call answered once, right behind it, and nothing else
    from a tool; the caller speaks first; no message is empty. A fit list comes back as it was."""
    fit: list[AnyMessage] = []
    for position, message in enumerate(messages):
        if isinstance(message, ToolMessage) or _is_empty(message):
            continue
        if not fit and isinstance(message, AIMessage):
            fit.append(HumanMessage(notes.CALL_BEGINS))
        fit.append(message)
        if calls := _calls(message):
            results = _results(messages[position + 1 :], {call["id"] for call in calls})
            fit += [results.get(call["id"]) or _unknown(call) for call in calls]
    return fit


def _steps(calls: Sequence[ToolCallRecord]) -> Iterator[AnyMessage]:
    """The messages of a crashed turn: each that called tools, once, and an answer to every call in it."""
    seen: set[str] = set()
    by_answered = {call.answers: call for call in calls}
    twins = {id_ for call in calls for id_ in call.twins}
    for call in calls:
        message: AIMessage = messages_from_dict([call.message])[0]  # type: ignore[assignment]
        if message.id in seen:
            continue
        seen.add(message.id or "")
        yield message
        for made in message.tool_calls:
            entry = by_answered.get(made["id"] or "")
            missing: tuple[str, Marker | None] = (NOT_STARTED, "not started")
            if made["id"] in twins:
                missing = SAME_CALL, None
            text, marker = result_of(entry) if entry else missing
            yield tool_message(text, call_id=made["id"], name=made["name"], marker=marker)


def _answers_sent(turn: CrashedTurn, steps: Sequence[AnyMessage]) -> Iterator[AnyMessage]:
    """The words of a turn that was broken off, if it could still enter them in the journal."""
    parts = heard_parts([(s.event.of, s.event.text) for s in turn.sent if isinstance(s.event, Say)], None)
    in_steps = {message.id for message in steps}
    yield from (interrupted_message(text, id_) for id_, (text, _) in parts.items() if text and id_ not in in_steps)


def _calls(message: AnyMessage) -> Sequence[ToolCall]:
    return message.tool_calls if isinstance(message, AIMessage) else ()


def _is_reply(message: AnyMessage, turn: str) -> bool:
    return isinstance(message, AIMessage) and (message.id or "").rpartition("/")[0] == turn


def _results(following: Sequence[AnyMessage], ids: Collection[str | None]) -> dict[str | None, ToolMessage]:
    """The first result of each call, before a call has one of these ids again: some providers count from 0."""
    results: dict[str | None, ToolMessage] = {}
    for message in following:
        if any(call["id"] in ids for call in _calls(message)):
            break
        if isinstance(message, ToolMessage) and message.tool_call_id in ids:
            results.setdefault(message.tool_call_id, message)
    return results


def _unknown(call: ToolCall) -> ToolMessage:
    return tool_message(UNKNOWN, call_id=call["id"], name=call["name"], failed=True, marker="unknown")


def _identity(message: AnyMessage) -> str | None:
    return f"result of {message.tool_call_id}" if isinstance(message, ToolMessage) else message.id


def _is_empty(message: AnyMessage) -> bool:
    content = message.content
    return not _calls(message) and not (content if isinstance(content, str) else message.text).strip()


def _waits_for(message: AnyMessage, call: ToolCallRecord) -> bool:
    """Whether the call's result is still to come there. Where one stands that is known, the journal may have lost it:
    the memory has not."""
    mine = isinstance(message, ToolMessage) and message.tool_call_id == call.answers
    return mine and marker_of(message) in ("running", "unknown")


def _with_late_result(message: AnyMessage, late: Sequence[ToolCallRecord]) -> AnyMessage:
    for call in late:
        if _waits_for(message, call):
            text, marker = result_of(call)
            return tool_message(text, call_id=call.answers, name=message.name, marker=marker, id_=message.id)
    return message


def _is_all_of(text: str, message: AnyMessage) -> bool:
    """Whether `text` is the whole answer as it is spoken: a turn may be cut before all of it was sent. Some
    answers, such as a question to be confirmed, are spoken as they stand: so letters count, not spaces."""
    return sum(map(str.isalnum, text)) >= sum(map(str.isalnum, speakable(message.text)))
