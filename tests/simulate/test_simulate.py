"""Calls with scripted callers, through the real application."""

from __future__ import annotations

from tests.simulate.conftest import Hold


def test_a_caller_who_interrupts_has_heard_so_many_words_and_the_model_is_told_so(hold: Hold) -> None:
    result = hold(
        """
caller:
- {say: Count to ten, interrupt_after: 4 words}
- Stop
model:
- One two three four five six seven eight nine ten.
- All right.
""",
    )
    assert result.faults == []
    assert [exchange.heard for exchange in result.conversation.exchanges] == ["", "One two three four", "All right."]


def test_the_unexpected_is_told(hold: Hold) -> None:
    result = hold("caller: [The weather in Rome, And now]\nmodel: [{call: {weather: {city: Rome}}}, Sorry.]")
    assert result.faults[:2] == [
        "Turn 1: the scenario does not say under world: tools: what weather(city='Rome') returns.",
        "Turn 2: the model was asked for more answers than there are under model:.",
    ]
