"""What is remembered of a conversation, and what the model is shown of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage, message_to_dict
from langchain_google_genai.chat_models import _parse_chat_history

from agent.memory import confirmation, history, notes
from agent.memory.notes import CALL_BEGINS
from agent.memory.shown import shown
from agent.speech import speakable
from agent.storage.entries import CrashedTurn, InterruptedTurn, PageData, PendingContext, ToolCallRecord
from agent.storage.results import NOT_STARTED, STILL_RUNNING, UNKNOWN
from agent.turns import Kind, Say, SentEvent, Show, TurnRequest
from agent.turns.messages import interrupted_message, was_interrupted

Messages = list[AnyMessage]
FEW = settings(max_examples=60, deadline=None)

INTERRUPTED = "⟦system: The caller interrupted you and heard only the words above.⟧"
UNHEARD = "⟦system: The caller went on before hearing an answer.⟧"


def human(text: str, turn: str = "t1") -> HumanMessage:
    return HumanMessage(text, id=f"message:{turn}")


def ai(text: str, id_: str = "t1/0", calls: Sequence[str] = ()) -> AIMessage:
    """An answer, or a message that calls the tool `book` under these ids."""
    made = [{"name": "book", "args": {"call": call}, "id": call, "type": "tool_call"} for call in calls]
    return AIMessage(text, id=id_, tool_calls=made)


def result(call: str, text: str = "Booked.") -> ToolMessage:
    return ToolMessage(text, tool_call_id=call, name="book")


def asked(text: str = "And then?", turn: str = "t2", kind: Kind = "message") -> TurnRequest:
    return TurnRequest("c1", turn, kind, text=text)


def entry(call: str, message: AIMessage, result: str | None = None, answers: str = "") -> ToolCallRecord:
    state = "finished" if result else "started"
    return ToolCallRecord(call, answers or call, "t1", "book", message_to_dict(message), state, result, ())


def spoken(heard: str | None, *said: tuple[str | None, str], turn: str = "t1") -> InterruptedTurn:
    return InterruptedTurn(turn, [SentEvent(0, Show({})), *[SentEvent(0, Say(text, of)) for of, text in said]], heard)


def texts(messages: Sequence[AnyMessage]) -> list[str]:
    return [message.text for message in messages]


def same(left: Sequence[AnyMessage], right: Sequence[AnyMessage]) -> bool:
    """The very same objects."""
    return len(left) == len(right) and all(a is b for a, b in zip(left, right, strict=True))


# What a model takes.


def check_fit(messages: Sequence[AnyMessage]) -> None:
    """The caller first, nothing empty, each call answered once, right behind it and in order, nothing else answered."""
    assert not messages or isinstance(messages[0], HumanMessage)
    due: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            assert due, "an answer to no call"
            assert message.tool_call_id == due.pop(0)
            continue
        assert not due, f"unanswered: {due}"
        assert message.text.strip() or (isinstance(message, AIMessage) and message.tool_calls), "empty"
        due = [call["id"] or "" for call in getattr(message, "tool_calls", [])]
    assert not due, f"unanswered: {due}"


def check_shown(messages: Sequence[AnyMessage]) -> None:
    """Fit, and as Gemini's client puts it on the wire: the roles take turns, and a call's answers follow it."""
    check_fit(messages)
    roles = ["user" if not isinstance(m, AIMessage) else "model" for m in messages]
    for (a, x), (b, y) in pairwise(zip(roles, map(type, messages), strict=True)):
        assert a != b or x is y is ToolMessage, f"{x.__name__} before {y.__name__}"
    contents = _parse_chat_history(list(messages), model="gemini-3.5-flash-lite")[1]
    called: list[str | None] = []
    for content in contents:
        parts = content.parts or []
        assert parts
        assert all(p.text or p.function_call or p.function_response for p in parts)
        assert [p.function_response.name for p in parts if p.function_response] == called
        assert not called or len(parts) == len(called), "answers share their content with words"
        called = [p.function_call.name for p in parts if p.function_call]
    assert not called
    assert [c.role for c in contents] == ["user" if n % 2 == 0 else "model" for n in range(len(contents))]


words = st.sampled_from(["", " ", "Hello.", "Yes", "14°C", "**Bold** 😀", "two\nlines"])
call_ids = st.sampled_from("abcdef")


@st.composite
def anything(draw: st.DrawFn) -> Messages:
    """Any list at all: unanswered calls, answers twice, to nothing or too early, the same calls again."""
    messages: Messages = []
    for position in range(draw(st.integers(0, 12))):
        match draw(st.sampled_from(["human", "ai", "calls", "tool", "tool"])):
            case "human":
                messages.append(HumanMessage(draw(words), id=f"message:{position}"))
            case "ai":
                messages.append(ai(draw(words), f"t/{position}"))
            case "calls":
                calls = draw(st.lists(call_ids, min_size=1, max_size=3, unique=True))
                messages.append(ai(draw(words), f"t/{position}", calls))
            case _:
                messages.append(result(draw(call_ids), draw(words)))
    return messages


@st.composite
def valid(draw: st.DrawFn, *, distinct: bool = True) -> Messages:
    """Whole turns, as they are remembered. Not `distinct`: a provider that counts its calls from 0 each time."""
    messages: Messages = []
    number = 0
    for turn in range(draw(st.integers(0, 5))):
        messages.append(human(f"question {turn}", f"t{turn}"))
        steps = draw(st.integers(0, 2))
        for step in range(steps):
            calls = [f"call_{number + n if distinct else n}" for n in range(draw(st.integers(1, 3)))]
            number += len(calls)
            messages += [ai(draw(st.sampled_from(["", "Let me look."])), f"t{turn}/{step}", calls)]
            messages += [result(call, f"result {turn} {step} {call}") for call in calls]
        if draw(st.booleans()):
            messages.append(ai(f"answer {turn}", f"t{turn}/{steps}"))
    return messages


def prefix(messages: Messages, data: st.DataObject) -> Messages:
    return messages[: data.draw(st.integers(0, len(messages)))]


@given(anything())
@FEW
def test_repair_makes_any_list_fit(messages: Messages) -> None:
    check_fit(history.repair(messages))


@given(st.one_of(valid(), valid(distinct=False)), st.data())
@FEW
def test_repair_makes_any_beginning_of_a_valid_list_fit_and_keeps_every_message(
    messages: Messages, data: st.DataObject
) -> None:
    begun = prefix(messages, data)
    repaired = history.repair(begun)
    check_fit(repaired)
    assert same([m for m in repaired if any(m is b for b in begun)], begun)
    assert all(m.text == UNKNOWN for m in repaired if not any(m is b for b in begun))


@given(st.one_of(valid(), valid(distinct=False)))
@FEW
def test_repair_leaves_a_valid_list_untouched(messages: Messages) -> None:
    assert same(history.repair(messages), messages)


@given(anything())
@FEW
def test_repair_of_what_was_repaired_changes_nothing(messages: Messages) -> None:
    repaired = history.repair(messages)
    assert same(history.repair(repaired), repaired)


@given(anything())
@FEW
def test_messages_that_call_tools_are_never_rebuilt(messages: Messages) -> None:
    """Gemini signs them: the object that went in comes out, from repair and from what is shown."""
    calling = [m for m in messages if isinstance(m, AIMessage) and m.tool_calls]
    for outcome in (history.repair(messages), shown(history.repair(messages))):
        assert same([m for m in outcome if isinstance(m, AIMessage) and m.tool_calls], calling)


@given(anything())
@FEW
def test_what_is_shown_is_what_gemini_takes(messages: Messages) -> None:
    check_shown(shown(history.repair(messages)))


@given(anything())
@FEW
def test_no_word_of_the_caller_or_the_assistant_is_lost(messages: Messages) -> None:
    """Not by repair, not by merging neighbours, not by a cap that is not reached."""
    capped = history.cap(messages, limit=len(messages))
    for outcome, source in (
        (history.repair(messages), messages),
        (shown(history.repair(messages)), messages),
        (shown(history.repair(capped)), capped),
    ):
        for kind in (HumanMessage, AIMessage):
            words = "\n".join(m.text for m in outcome if isinstance(m, kind))
            position = 0
            for text in (m.text.strip() for m in source if isinstance(m, kind)):
                position = words.index(text, position) + len(text)
    first = next((n for n, m in enumerate(messages) if isinstance(m, HumanMessage)), 0)
    assert same(capped, messages[first:])


@pytest.mark.parametrize(
    ("messages", "fit"),
    [
        ([], []),
        ([human(""), ai("Hi")], [CALL_BEGINS, "Hi"]),
        ([ai("Hi"), human("Yes")], [CALL_BEGINS, "Hi", "Yes"]),
        ([human("A"), result("x"), ai("B")], ["A", "B"]),
        ([human("A"), ai("", calls=["x"]), result("x", "1"), result("x", "2")], ["A", "", "1"]),
        ([human("A"), ai("", calls=["x", "y"]), result("y", "1"), human("B")], ["A", "", UNKNOWN, "1", "B"]),
        ([human("A"), ai("", calls=["x"]), human("B"), result("x", "late")], ["A", "", "late", "B"]),
        ([human("A"), ai("", calls=["x"]), ai("", calls=["x"]), result("x", "2")], ["A", "", UNKNOWN, "", "2"]),
    ],
    ids=["nothing", "an empty question", "the assistant first", "an orphan", "answered twice",
         "out of order and missing", "answered late", "the same id again"],
)  # fmt: skip
def test_repair_by_example(messages: Messages, fit: list[str]) -> None:
    assert texts(history.repair(messages)) == fit


def test_neighbours_of_one_speaker_are_shown_as_one() -> None:
    messages: Messages = [human("A"), human("B"), ai("One."), ai("Two?"), human("C"), human("D")]
    assert texts(shown(messages)) == ["A\nB", "One. Two?", "C\nD"]


def test_words_before_a_call_stay_apart_from_it() -> None:
    messages: Messages = [human("A"), ai("One."), ai("", calls=["x"]), result("x")]
    assert texts(shown(messages)) == ["A", "One.", "⟦system: The caller says nothing.⟧", "", "Booked."]


def test_results_that_were_never_told_are_shown_apart_from_the_callers_words() -> None:
    """Gemini takes both for the user's, and refuses two of the user's in a row."""
    messages: Messages = [human("A"), ai("", calls=["x"]), result("x"), human("B")]
    assert texts(shown(messages)) == ["A", "", "Booked.", "…", "B"]


# The cap.


@given(st.one_of(valid(), anything()), st.integers(0, 15))
@FEW
def test_the_cap_begins_where_the_caller_speaks_and_keeps_the_last_turn(messages: Messages, limit: int) -> None:
    capped = history.cap(messages, limit)
    assert same(capped, messages[len(messages) - len(capped) :])
    starts = [n for n, m in enumerate(messages) if isinstance(m, HumanMessage)]
    if starts:
        assert isinstance(capped[0], HumanMessage)
        assert len(capped) <= max(limit, len(messages) - starts[-1])
        assert len(capped) >= len(messages) - starts[-1]


def test_the_cap_keeps_as_much_as_it_may() -> None:
    messages: Messages = [human("A"), ai("1"), human("B"), ai("2"), human("C"), ai("3")]
    assert texts(history.cap(messages, 5)) == ["B", "2", "C", "3"]
    assert texts(history.cap(messages, 4)) == ["B", "2", "C", "3"]
    assert texts(history.cap(messages, 1)) == ["C", "3"]


def test_a_thousand_turns_are_remembered_in_a_bounded_memory() -> None:
    messages: Messages = []
    for n in range(1_000):
        messages = history.listen(messages, asked(f"question {n}", f"t{n}"), PendingContext())
        assert len(messages) <= history.KEPT_MESSAGES + 1
        messages += [ai("", f"t{n}/0", [f"call_{n}"]), result(f"call_{n}"), ai(f"answer {n}", f"t{n}/1")]
    assert messages[-1].text == "answer 999"


def test_after_a_turn_longer_than_the_cap_the_next_still_knows_of_it() -> None:
    steps: Messages = []
    for n in range(30):
        steps += [ai("", f"t1/{n}", [f"call_{n}"]), result(f"call_{n}")]
    before: Messages = [human("Book thirty tables"), *steps, ai("All booked.", "t1/30")]
    assert same(history.listen(before, asked(), PendingContext())[:-1], before)


# Cutting at what was heard.

MARKED = "**Hello** [there](https://x.example/a?b=c), it is 14°C 😀! See https://y.example."


def test_an_answer_heard_to_its_end_stays_the_same_object() -> None:
    """Memory keeps what the model wrote, though Markdown, emoji and most of an address are not spoken."""
    answer = ai(MARKED)
    said = ("t1/0", speakable(MARKED))
    for heard in (None, speakable(MARKED), "hello there it is fourteen degrees see y dot example"):
        assert same(history.cut([human("Hi"), answer], spoken(heard, said))[1:], [answer])


@pytest.mark.parametrize("text", ["Book item foo_bar--42?", "Ça va ?", "A *b* c", "see https://x.example", "1. Go"])
def test_an_answer_spoken_as_it_stands_is_whole_when_heard(text: str) -> None:
    """The welcome and the question before an action do not pass through the speech filter."""
    answer = ai(text)
    assert same(history.cut([answer], spoken(text, ("t1/0", text))), [answer])


def test_an_answer_heard_in_part_is_cut_and_marked_under_its_id() -> None:
    before: Messages = [human("Hi"), ai(MARKED)]
    _, answer = history.cut(before, spoken("hello there it is", ("t1/0", speakable(MARKED))))
    assert answer.text == "Hello there, it is"
    assert answer.id == "t1/0"
    assert was_interrupted(answer)
    assert not was_interrupted(before[1])


def test_an_answer_not_sent_to_its_end_is_cut_though_all_that_was_sent_was_heard() -> None:
    for heard in (None, "One two"):
        (answer,) = history.cut([ai("One two three.")], spoken(heard, ("t1/0", "One"), ("t1/0", " two")))
        assert answer.text == "One two"
        assert was_interrupted(answer)


def test_a_cut_answer_stays_as_it_is_when_all_of_it_was_heard() -> None:
    answer = interrupted_message("One two", "t1/0")
    assert same(history.cut([answer], spoken("one two", ("t1/0", "One two"))), [answer])


@pytest.mark.parametrize("heard", ["", "…", "One moment"])
def test_an_answer_of_which_nothing_was_heard_is_removed(heard: str) -> None:
    said = [(None, "One moment."), ("t1/0", " Hello there.")]
    assert texts(history.cut([human("Hi"), ai("Hello there.")], spoken(heard, *said))) == ["Hi"]


def test_an_answer_that_was_never_sent_is_removed() -> None:
    assert texts(history.cut([human("Hi"), ai("Hello there.")], spoken(None))) == ["Hi"]


def test_progress_is_no_part_of_the_answer() -> None:
    said = [(None, "One moment."), ("t1/1", " Hello there, friend.")]
    (answer,) = history.cut([ai("Hello there, friend.", "t1/1")], spoken("one moment hello there", *said))
    assert answer.text == "Hello there,"


@given(valid(), st.text("question answer 01234", max_size=30), st.integers(0, 4), st.data())
@FEW
def test_only_the_answers_of_the_turn_are_cut(messages: Messages, heard: str, turn: int, data: st.DataObject) -> None:
    """Other turns, calls and results stay the same objects; what stays of an answer is the beginning of it."""
    begun = prefix(messages, data)
    mine = [m for m in begun if (m.id or "").startswith(f"t{turn}/") and not getattr(m, "tool_calls", [])]
    said = [(m.id, f" {m.text}") for m in mine]
    after = history.cut(begun, spoken(heard, *said, turn=f"t{turn}"))
    assert same([m for m in after if m.id not in {x.id for x in mine}], [m for m in begun if m not in mine])
    for message in mine:
        for kept in [m for m in after if m.id == message.id]:
            assert kept is message or (message.text.startswith(kept.text) and was_interrupted(kept))


def test_turns_are_told_apart_by_their_whole_id() -> None:
    before: Messages = [ai("One.", "t1/0"), ai("Two.", "t1/x/0"), ai("Three.", "t11/0")]
    assert texts(history.cut(before, spoken("", ("t1/0", "One.")))) == ["Two.", "Three."]


def test_the_next_id_of_a_turn_is_a_new_one() -> None:
    turn = asked(turn="t1")
    assert history.reply_id(turn, []) == "t1/0"
    assert history.reply_id(turn, [ai("", "t1/0", ["x"]), result("x"), ai("Other", "t1/x/7")]) == "t1/1"
    assert history.reply_id(turn, [ai("", "t1/3", ["x"])]) == "t1/4"


# Listening: what a new turn finds.


def heard_by(messages: Messages, *reports: InterruptedTurn, **more: Any) -> Messages:
    after = history.listen(messages, asked(), PendingContext(spoken=reports, **more))
    check_shown(shown(after))
    assert after[-1].id == "message:t2"
    return after


def test_a_turn_adds_the_callers_words() -> None:
    before: Messages = [human("Hi"), ai("Hello.")]
    after = heard_by(before)
    assert same(after[:-1], before)
    assert after[-1].text == "And then?"


def test_the_first_turn_has_no_system_note() -> None:
    assert texts(history.listen([], asked(), PendingContext())) == ["And then?"]


def test_a_caller_who_says_nothing_leaves_nothing_to_remember() -> None:
    """The model is not asked then, and a note tells of an interruption when they next speak."""
    after = history.listen([human("Hi"), ai("Hello.")], asked(""), PendingContext())
    assert texts(after) == ["Hi", "Hello."]


TOOL_TURN: Messages = [human("Book it"), ai("", "t1/0", ["x"]), result("x"), ai("It is booked for you.", "t1/1")]
TOLD = (("t1/1", "It is booked for you."),)


@pytest.mark.parametrize(
    ("before", "heard", "remembered", "note"),
    [
        ([human("Hi"), ai("Hello there.")], "", ["Hi"], UNHEARD),
        ([human("Hi"), ai("Hello there.")], "hello", ["Hi", "Hello"], INTERRUPTED),
        (TOOL_TURN, "", ["Book it", "", "Booked."], f"{UNHEARD[:-1]} They do not know the result of: book.⟧"),
        (TOOL_TURN, "It is", ["Book it", "", "Booked.", "It is"],
         f"{INTERRUPTED[:-1]} They may not know the whole result of: book.⟧"),
    ],
    ids=["nothing heard", "partly heard", "a result not told", "a result told in part"],
)  # fmt: skip
def test_an_interruption_is_noted_before_the_callers_words(
    before: Messages, heard: str, remembered: list[str], note: str
) -> None:
    last = before[-1]
    after = heard_by(before, spoken(heard, (last.id, last.text)))
    assert texts(after) == [*remembered, f"{note}\nAnd then?"]


def test_an_answer_reported_as_interrupted_but_heard_to_its_end_is_no_interruption() -> None:
    after = heard_by(TOOL_TURN, spoken("it is booked for you", *TOLD))
    assert same(after[:-1], TOOL_TURN)
    assert after[-1].text == "And then?"


def test_a_question_that_was_not_heard_behind_words_that_were_is_noted() -> None:
    """Otherwise the model believes that its words ended there, and that the question has been put."""
    before: Messages = [*TOOL_TURN, ai("Shall I book another?", "t1/2")]
    said = spoken("it is booked for you", *TOLD, ("t1/2", " Shall I book another?"))
    after = heard_by(before, said)
    assert same(after[:-1], TOOL_TURN)
    assert after[-1].text.startswith(INTERRUPTED[:-1])


def test_an_interruption_is_noted_once() -> None:
    for heard in ("", "it is"):
        after = heard_by(TOOL_TURN, spoken(heard, *TOLD))
        answered: Messages = [*after, ai("Well then.", "t2/0")]
        later = history.listen(answered, asked("Go on", "t3"), PendingContext())
        assert same(later[:-1], answered)
        assert later[-1].text == "Go on"


def test_an_earlier_turn_is_cut_without_notes_about_the_last() -> None:
    """The platform may name a turn that is not the last one: a welcome came between, say."""
    before: Messages = [human("Hi"), ai("One two three."), HumanMessage("[data]", id="welcome:w")]
    after = heard_by(before, spoken("one", ("t1/0", "One two three.")))
    assert texts(after) == ["Hi", "One", "[data]", f"{INTERRUPTED}\nAnd then?"]


def test_a_report_about_a_turn_that_nobody_knows_changes_nothing() -> None:
    after = heard_by(TOOL_TURN, spoken("hello", ("t0/0", "Hello there."), turn="t0"))
    assert same(after[:-1], TOOL_TURN)
    assert after[-1].text == "And then?"


def test_calls_stay_untouched_though_their_words_were_not_heard() -> None:
    before: Messages = [human("Book it"), ai("Let me see.", "t1/0", ["x"]), result("x")]
    after = heard_by(before, spoken("", ("t1/0", "Let me see.")))
    assert same(after[:-1], before)
    assert "They do not know the result of: book." in after[-1].text


# Late results.


def test_a_late_result_takes_the_place_of_still_running_and_is_mentioned_once() -> None:
    running = ToolMessage(STILL_RUNNING, tool_call_id="x", name="book", id="r1")
    calling = ai("", "t1/0", ["x"])
    after = heard_by([human("Book it"), calling, running], late=[entry("x", calling, "Table 4.")])
    assert texts(after)[:3] == ["Book it", "", "Table 4."]
    assert after[1] is calling
    assert after[2].id == "r1"
    assert after[-1].text == (
        f"{UNHEARD[:-1]} They do not know the result of: book.⟧\n"
        "⟦system: Finished meanwhile: book. The result stands above; the caller has not heard it.⟧\nAnd then?"
    )
    later = history.listen([*after, ai("Table 4.", "t2/0")], asked("Go on", "t3"), PendingContext())
    assert later[-1].text == "Go on"


def test_the_late_result_of_a_confirmed_action_answers_the_call_that_confirmed_it() -> None:
    running = ToolMessage(STILL_RUNNING, tool_call_id="yes", name="book")
    calling = ai("", "t1/0", ["yes"])
    after = heard_by([human("Yes"), calling, running], late=[entry("pinned", calling, "Done.", answers="yes")])
    assert after[2].text == "Done."


def test_a_late_result_whose_call_is_forgotten_is_not_mentioned() -> None:
    after = heard_by([human("Hi"), ai("Hello.")], late=[entry("x", ai("", calls=["x"]), "Table 4.")])
    assert after[-1].text == "And then?"


def test_a_result_that_is_known_is_not_unlearned_when_the_journal_has_lost_it() -> None:
    calling, known = ai("", "t1/0", calls=["x"]), result("x", "Table 4.")
    after = heard_by([human("Book it"), calling, known, ai("Table 4.", "t1/1")], late=[entry("x", calling)])
    assert after[2] == known
    assert after[-1].text == "And then?"


def test_a_result_that_was_unknown_may_still_come() -> None:
    """From a worker that was taken for dead."""
    calling, unknown = ai("", "t1/0", calls=["x"]), result("x", UNKNOWN)
    after = heard_by([human("Book it"), calling, unknown], late=[entry("x", calling, "Table 4.")])
    assert after[2].text == "Table 4."


def test_a_late_result_that_nobody_knows_is_not_called_finished() -> None:
    calling = ai("", "t1/0", ["x"])
    running = ToolMessage(STILL_RUNNING, tool_call_id="x", name="book")
    after = heard_by([human("Book it"), calling, running], late=[entry("x", calling)])
    assert after[2].text == UNKNOWN
    assert "Finished" not in after[-1].text
    assert "⟦system: The system was restarted while this ran: book." in after[-1].text


# Crashes.


def test_a_crashed_turn_is_recovered_with_what_its_calls_came_to() -> None:
    """One finished, one was running, one had not begun; a second step had begun too."""
    first, second = ai("", "t1/0", ["x", "y", "z"]), ai("And", "t1/1", ["w"])
    crashed = CrashedTurn(
        asked("Book it", "t1"), [entry("x", first, "Table 4."), entry("y", first), entry("w", second, "Told.")]
    )
    after = heard_by([human("Hi", "t0"), ai("Hello.", "t0/0")], crashed=[crashed])
    assert texts(after)[2:-1] == ["Book it", "", "Table 4.", UNKNOWN, NOT_STARTED, "And", "Told."]
    assert [after[3], after[7]] == [first, second]
    assert after[-1].text == f"{UNHEARD[:-1]} They do not know the result of: book.⟧\nAnd then?"


def test_a_crashed_turn_without_calls_leaves_the_callers_words() -> None:
    after = heard_by([], crashed=[CrashedTurn(asked("Book it", "t1"), [])])
    assert texts(after) == ["Book it", f"{UNHEARD}\nAnd then?"]


def test_a_turn_that_hung_is_recovered_with_the_words_it_had_sent() -> None:
    """Cut at what was heard of them, like any other; words beside a call stand in the call's own message."""
    calling = ai("Let me see.", "t1/0", ["x"])
    said = [("t1/0", "Let me see."), (None, " One moment."), ("t1/1", " It is booked for you.")]
    sent = [SentEvent(0, Say(text, of)) for of, text in said]
    crashed = CrashedTurn(asked("Book it", "t1"), [entry("x", calling, "Booked.")], sent)
    for heard, kept in ((None, "It is booked for you."), ("let me see one moment it is", "It is")):
        after = heard_by([], spoken(heard, *said), crashed=[crashed])
        assert texts(after)[:-1] == ["Book it", "Let me see.", "Booked.", kept]
        assert was_interrupted(after[3])
    assert texts(heard_by([], spoken("", *said), crashed=[crashed]))[:-1] == ["Book it", "Let me see.", "Booked."]


def test_two_crashed_turns_are_recovered_in_order() -> None:
    crashed = [CrashedTurn(asked("One", "t0"), []), CrashedTurn(asked("Two", "t1"), [])]
    assert texts(heard_by([], crashed=crashed))[:2] == ["One", "Two"]


def test_a_crashed_welcome_leaves_nothing() -> None:
    assert texts(heard_by([], crashed=[CrashedTurn(asked(kind="welcome", turn="w"), [])])) == ["And then?"]


def test_a_turn_that_was_remembered_before_the_crash_is_not_added_twice() -> None:
    """The process died between the checkpoint and the journal's last entry."""
    calling = TOOL_TURN[1]
    assert isinstance(calling, AIMessage)
    after = heard_by(TOOL_TURN, crashed=[CrashedTurn(asked("Book it", "t1"), [entry("x", calling, "Booked.")])])
    assert same(after[:-1], TOOL_TURN)
    assert after[-1].text == "And then?"


def test_a_turn_remembered_in_part_gets_the_results_that_the_journal_has() -> None:
    """A node failed: the checkpoint ends at the step before it."""
    calling = ai("", "t1/0", ["x", "y"])
    crashed = CrashedTurn(asked("Book it", "t1"), [entry("x", calling, "Booked."), entry("y", calling)])
    after = heard_by([human("Book it"), calling], crashed=[crashed])
    assert texts(history.repair(after))[:-1] == ["Book it", "", "Booked.", UNKNOWN]


def test_the_same_webhook_after_a_crash_goes_on_where_the_first_stopped() -> None:
    """Its own calls stand behind the caller's words, answered: none is run again. Nothing else is lost."""
    calling = ai("", "t2/0", ["x"])
    pending_context = PendingContext(
        crashed=[CrashedTurn(asked("Book it"), [entry("x", calling)])],
        notes=[PageData("n", '{"page":2}', 1.0)],
        spoken=[spoken("hello", ("t1/0", "Hello there."))],
    )
    after = history.listen([human("Hi"), ai("Hello there.")], asked("Book it"), pending_context)
    check_shown(shown(after))
    question = f'{INTERRUPTED}\n⟦system: The caller\'s page sent this data: {{"page":2}}⟧\nBook it'
    assert texts(after) == ["Hi", "Hello", question, "", UNKNOWN]
    assert after[3] == calling


def test_the_same_webhook_after_a_crash_at_the_very_end_is_answered_again() -> None:
    """Memory had the answer, the journal not: the model is asked with the caller or a result last, never itself."""
    calling = TOOL_TURN[1]
    assert isinstance(calling, AIMessage)
    pending_context = PendingContext(crashed=[CrashedTurn(asked("Book it", "t1"), [entry("x", calling, "Booked.")])])
    after = history.listen(TOOL_TURN, asked("Book it", "t1"), pending_context)
    assert after == TOOL_TURN[:3]


def test_results_of_a_crash_are_remembered_as_they_were_signed() -> None:
    calling = ai("", "t1/0", ["x"])
    calling.additional_kwargs["__gemini_function_call_thought_signatures__"] = {"x": "c2lnbmVk"}
    after = heard_by([], crashed=[CrashedTurn(asked("Book it", "t1"), [entry("x", calling)])])
    assert after[1].model_dump() == calling.model_dump()


# The page, the welcome.


def test_data_of_the_page_stands_before_the_callers_words() -> None:
    after = heard_by([], notes=[PageData("n", '{"page":1}', 1.0), PageData("n", '"x"', 1.0)])
    assert after[-1].text == (
        '⟦system: The caller\'s page sent this data: {"page":1}⟧\n'
        '⟦system: The caller\'s page sent this data: "x"⟧\nAnd then?'
    )


def test_a_page_that_sends_without_end_is_cut_short() -> None:
    after = heard_by([], notes=[PageData("n", f"{n:05}" + "x" * 50_000, 1.0) for n in range(1_000)])
    assert len(after[-1].text) < 100_000
    assert "00999" in after[-1].text


def test_a_welcome_begins_the_call() -> None:
    after = history.listen([], asked("", "w", "welcome"), PendingContext())
    assert texts(after) == [CALL_BEGINS]
    assert after[0].id == "welcome:w"


def test_a_welcome_into_a_running_conversation_notes_that_the_caller_is_back() -> None:
    *before, back = history.listen(TOOL_TURN, asked("", "w", "welcome"), PendingContext())
    assert same(before, TOOL_TURN)
    assert back.text == notes.CALLER_IS_BACK


@pytest.mark.parametrize(
    ("heard", "note"),
    [("it is booked for you", ""), ("it is", f"{INTERRUPTED[:-1]} They may not know the whole result of: book.⟧\n")],
)
def test_a_greeting_hides_no_interruption_of_the_answer_before_it(heard: str, note: str) -> None:
    """The line was lost, and the caller is greeted; what was heard is reported with their next words."""
    back = history.listen(TOOL_TURN, asked("", "w", "welcome"), PendingContext())
    greeted: Messages = [*back, ai("Welcome back.", "w/0")]
    assert heard_by(greeted, spoken(heard, *TOLD))[-1].text == f"{note}And then?"


def test_a_greeting_is_no_answer_to_what_was_asked_before_it() -> None:
    greeted: Messages = [human("Hi"), HumanMessage(notes.CALLER_IS_BACK, id="welcome:w"), ai("Welcome back.", "w/0")]
    assert heard_by(greeted)[-1].text == f"{UNHEARD}\nAnd then?"


@pytest.mark.parametrize("before", [[], TOOL_TURN], ids=["new", "resumed"])
def test_what_is_told_at_a_welcome_is_kept_for_the_model(before: Messages) -> None:
    """The journal counts it as told then: the page often sends its data as soon as it is connected."""
    after = history.listen(before, asked("", "w", "welcome"), PendingContext(notes=[PageData("n", '{"page":1}', 1.0)]))
    assert '{"page":1}' in after[-1].text
    later = heard_by(after)
    assert later[-1].text == "And then?"


def test_no_greeting_is_no_interruption() -> None:
    """Without a welcome text, or when none of it was heard, the caller has just begun."""
    begun = history.listen([], asked("", "w", "welcome"), PendingContext())
    assert heard_by(begun)[-1].text == "And then?"
    greeted: Messages = [*begun, ai("Welcome to us!", "w/0")]
    assert heard_by(greeted)[-1].text == "And then?"
    assert heard_by(greeted, spoken("", ("w/0", "Welcome to us!"), turn="w"))[-1].text == "And then?"


def test_a_greeting_may_be_interrupted() -> None:
    greeted: Messages = [HumanMessage(CALL_BEGINS, id="welcome:w"), ai("Welcome to us!", "w/0")]
    after = heard_by(greeted, spoken("welcome", ("w/0", "Welcome to us!"), turn="w"))
    assert texts(after) == [CALL_BEGINS, "Welcome", f"{INTERRUPTED}\nAnd then?"]


def test_the_same_welcome_again_is_greeted_again() -> None:
    greeted: Messages = [HumanMessage(CALL_BEGINS, id="welcome:w"), ai("Welcome to us!", "w/0")]
    assert same(history.listen(greeted, asked("", "w", "welcome"), PendingContext()), greeted[:1])


# All of it together.


@st.composite
def openings(draw: st.DrawFn, messages: Messages) -> PendingContext:
    """What a journal may have to tell about a conversation."""
    calling = ai(draw(words), "crash/0", ["c1", "c2"])
    done = draw(st.lists(st.sampled_from([entry("c1", calling, "Done."), entry("c2", calling)]), max_size=2))
    last = next((m for m in reversed(messages) if (m.id or "").startswith("t") and m.text), None)
    said = [(None, "One moment."), *([(last.id, f" {last.text}")] if last else [])]
    turn = (last.id or "").split("/")[0] if last else "t0"
    heard = draw(st.sampled_from([None, "", "one moment", "one moment answer", "answer", "let me"]))
    results = [m for m in messages if isinstance(m, ToolMessage)]
    return PendingContext(
        crashed=draw(st.sampled_from([[], [CrashedTurn(asked("Crash", "crash"), done)], [CrashedTurn(asked(), done)]])),
        late=[entry(m.tool_call_id, calling, "Late.") for m in results if draw(st.booleans())],
        notes=draw(st.sampled_from([[], [PageData("n", "{}", 1.0)]])),
        spoken=draw(st.sampled_from([[], [spoken(heard, *said, turn=turn)]])),
    )


@given(valid(), st.data())
@FEW
def test_whatever_has_happened_the_model_is_shown_what_gemini_takes(messages: Messages, data: st.DataObject) -> None:
    """The caller or a result comes last, calls are the same objects, and no word of the caller is lost."""
    begun = prefix(messages, data)
    pending_context = data.draw(openings(begun))
    after = history.listen(begun, asked("Now", "t2x"), pending_context)
    sent = shown(history.repair(after))
    check_shown(sent)
    assert not isinstance(sent[-1], AIMessage)
    assert sum("Now" in m.text for m in sent) == 1
    assert all(any(m is b for m in after) for b in begun if isinstance(b, AIMessage) and b.tool_calls)
    assert all(any(m is b for m in after) for b in begun if isinstance(b, HumanMessage))


@given(valid(), st.data())
@FEW
def test_listening_again_to_the_same_turn_changes_nothing(messages: Messages, data: st.DataObject) -> None:
    pending_context = data.draw(openings(prefix(messages, data)))
    once = history.listen(messages, asked(), pending_context)
    assert texts(history.listen(once, asked(), pending_context)) == texts(once)


def test_a_question_spoken_as_it_stands_and_heard_lets_the_caller_confirm() -> None:
    """It holds marks that the speech filter would have taken out."""
    question = "Book item foo_bar--42?"
    before: Messages = [human("Book it"), ai("", "t1/0", ["x"]), result("x"), ai(question, "t1/1")]
    after = heard_by(before, spoken(question, ("t1/1", question)))
    pending = confirmation.Pending(
        key="t/c1", call="x", name="book", arguments={}, question=question, question_id="t1/1", turns=0, heard=False
    )
    found = confirmation.heard(pending, after)
    assert found is not None
    assert found["heard"]
