"""One attempt at an answer: its stream is read, spoken, and judged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from functools import cached_property
from typing import cast

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, message_chunk_to_message

from agent.llm.continuation import Continuation, joined
from agent.llm.language_marks import LanguageMarks, without_marks
from agent.llm.thoughts import ThinkingLine, is_thought
from agent.llm.verdict import Verdict, judge
from agent.llm.written_calls import WrittenCalls
from agent.speech import Speakable
from agent.turns import Chunk, ModelCall, Turn, interrupted_message, merge, without_text

Ask = Callable[[list[AnyMessage]], AsyncGenerator[Chunk, None]]


class StreamedAnswer:
    """`call` is the account of it that the turn keeps. before: what the caller has heard of this answer in earlier
    attempts. thinking: the line for a model that thinks for long. `error`: what ended it, if that was one.
    """

    def __init__(
        self, turn: Turn, id_: str, call: ModelCall, before: Sequence[AIMessage] = (), thinking: str = ""
    ) -> None:
        self.error: Exception | None = None
        self.spoken = False
        self._has_called = False
        self._turn = turn
        self._id = id_
        self._call = call
        self._before = before
        self._written = ""  # the text so far, without what was said before or is not for the ear
        self._language_marks = LanguageMarks(turn.speak_in)
        self._continuation = Continuation(joined(before))
        self._written_calls = WrittenCalls(call.tools)
        self._speech = Speakable()
        self._thinking = ThinkingLine(turn, thinking)

    async def read(self, ask: Ask, patience: float, pause: float) -> None:
        """Speak the stream. Returns early on an interruption, at the turn's deadline, when it has not begun within
        `patience` seconds, and when it then stops for `pause` seconds."""
        turn, call = self._turn, self._call
        turn.model_calls.append(call)
        began = turn.now()
        call.began = began - turn.began
        try:
            async with asyncio.timeout_at(min(began + patience, turn.deadline)) as scope:
                with turn.stoppable(scope):
                    async with aclosing(ask(list(call.messages))) as stream:
                        async for chunk in stream:
                            now, text = turn.now(), chunk.text
                            begun = bool(text or chunk.tool_call_chunks)
                            if (begun or is_thought(chunk)) and not turn.interrupted:
                                self._put_off(scope, now, pause)
                                self._thinking.goes_on(not begun)
                            call.chunks.append((now - began, chunk))
                            self._say("" if self._has_called else text)
                            self._has_called |= bool(chunk.tool_call_chunks)
        except Exception as error:  # noqa: BLE001 - any provider's errors; the next attempt is the answer
            if not (isinstance(error, TimeoutError) and scope.expired()):
                self.error, call.ended = error, type(error).__name__
        else:
            self._say("", last=True)
            call.ended = "complete"
        finally:
            self._thinking.goes_on(False)
            call.seconds = turn.now() - began

    def _say(self, text: str, *, last: bool = False) -> None:
        marks, calls = self._language_marks, self._written_calls
        text = calls.feed(marks.feed(text) + (marks.end() if last else "")) + (calls.end() if last else "")
        text = self._continuation.feed(text)
        if not self._written:
            text = text.lstrip()
        self._written += text
        speech = self._speech.feed(text) + (self._speech.end() if last else "")
        if speech:
            self.spoken = True
            self._turn.say(speech, of=self._id)
        for link in self._speech.new_links():  # of an address the caller hears the host only
            self._turn.show({"link": link})

    def _put_off(self, scope: asyncio.Timeout, now: float, pause: float) -> None:
        """Let the stream stop for `pause` seconds from now on, or a quarter more: to set a timer for each token
        costs as much as reading it."""
        if (scope.when() or 0.0) < min(now + pause, self._turn.deadline):
            scope.reschedule(min(now + 1.25 * pause, self._turn.deadline))

    @property
    def silent(self) -> bool:
        """Whether it was left, out of time, before its end."""
        return self._call.ended == "left"

    @cached_property
    def verdict(self) -> Verdict:
        """Once the stream has ended."""
        whole = self._whole if self._call.chunks else None
        return judge(self._call, whole, spoken=self.spoken, written_call=self._written_calls.found)

    @property
    def repeats(self) -> bool:
        """Whether what the caller had heard stands in it once more."""
        return self._continuation.repeats

    def spoken_words(self) -> list[AIMessage]:
        """The text that the caller has heard of it, as the model wrote it: one message, or none."""
        return [AIMessage(self._written, id=self._id)] if self.spoken else []

    def message(self) -> AIMessage:
        """The whole message, as the provider's client put it together. Only a call whose id is missing, or was there
        before, gets a new one: what is run once, and answered, goes by its id. Words that repeat an earlier
        attempt's are left out only if it has no calls: a message with calls is never rebuilt."""
        message = cast(AIMessage, message_chunk_to_message(self._whole))
        if self._before and not message.tool_calls:
            return AIMessage(self._written, id=self._id)
        message.id = self._id
        asked = (m for m in self._call.messages if isinstance(m, AIMessage))
        known = {call["id"] for earlier in asked for call in earlier.tool_calls}
        for number, call in enumerate(message.tool_calls):
            if not call["id"] or call["id"] in known:
                call["id"] = f"{self._id}/{number}"
            known.add(call["id"])
        return message

    @cached_property
    def _whole(self) -> AIMessageChunk:
        return without_marks(merge(_without_guesses(chunk for _, chunk in self._call.chunks)))

    def cut(self) -> list[AIMessage]:
        """What was sent of it, and of the attempts before. Its tool calls, if it had come to any, were not begun and
        are left out."""
        ids = [*(message.id or "" for message in self._before), self._id]
        return [interrupted_message(text, id_) for id_ in ids if (text := self._turn.sent_text(id_))]


def _without_guesses(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The chunks, without the text behind a tool call: it was written before there was a result."""
    called = False
    for chunk in chunks:
        yield without_text(chunk) if called else chunk
        called = called or bool(chunk.tool_call_chunks)
