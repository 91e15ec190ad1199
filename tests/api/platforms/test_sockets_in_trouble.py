"""Sockets that go wrong: two for one call, one that dies and comes back on another worker, one that is not read; and
the same request again, on every platform."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.support.backend import Backend
from tests.support.conversation import Tools, caller_said, question, quiet, results_in, steps_taken
from tests.support.gemini import Answer, Gemini, calls, text
from tests.support.platform_caller import OTHERS, PlatformBackend, PlatformCaller, secrets_for

SOCKETS = ["relay", "speech-engine"]
ORDER = calls(("order", {"thing": "soup", "seconds": 0.4}))


def model(body: dict[str, Any]) -> Answer:
    """Orders soup when asked for it, and says so; recites when asked to; else answers with a sentence."""
    asked = question(body)
    if asked.startswith("soup"):
        return text("Soup is ordered.") if steps_taken(body) else ORDER
    return text("verse " * 20_000) if asked.startswith("recite") else text("Here I am.")


@pytest.mark.parametrize("platform", OTHERS)
@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "afterwards"])
async def test_the_same_request_again_does_nothing_twice(
    gemini: Gemini, start: Any, deeds: Tools, platform: str, running: bool
) -> None:
    """One effect, and the same answer. A phone's words come again after a reconnect only if they were not answered."""
    gemini.answer = model
    server = PlatformBackend(platform, await start(tools_dir=deeds.folder, **secrets_for(platform)))
    caller: PlatformCaller = server.caller("c1")
    if running:
        first = await caller.say("soup", turn="t1", again=True)
    else:
        first = await caller.say("soup", turn="t1")
        assert first.text.endswith("Soup is ordered.")
    if platform != "relay":
        again = await caller.say("soup", turn="t1")
        assert again.text == "Soup is ordered."
    await quiet(server)
    await caller.say("And?", turn="t2")
    assert deeds.done("c1") == {"order began": 1, "order done": 1}
    assert caller_said(gemini.requests[-1].body).count("soup") == 1
    await server.close()


@pytest.mark.parametrize("platform", SOCKETS)
async def test_a_socket_that_dies_in_mid_turn_and_comes_back_on_another_worker(
    gemini: Gemini, start: Any, deeds: Tools, postgres_url: str, platform: str
) -> None:
    """The words come again there: what they asked for is done once, and the call goes on."""
    gemini.answer = model
    settings = {"tools_dir": deeds.folder, "database_url": postgres_url, **secrets_for(platform)}
    one: Backend = await start(**settings)
    other: Backend = await start(**settings)
    here, there = PlatformCaller(platform, one.url, "c1"), PlatformCaller(platform, other.url, "c1", known=True)
    client = await here.client()
    await client.say("soup")
    await deeds.until("c1", "order began")
    await client.drop()
    if platform == "relay":
        again = await there.say("soup")
    else:
        back = await there.client()
        vars(back).update(event_id=vars(client)["event_id"], history=vars(client)["history"])
        await back.duplicate()
        again = None
        await back.answer()
    assert again is None or again.ended_once
    await quiet(one)
    await quiet(other)
    assert (await there.say("And?", turn="t2")).text.endswith("Here I am.")
    assert deeds.done("c1") == {"order began": 1, "order done": 1}
    shown = gemini.requests[-1].body
    assert caller_said(shown).count("soup") == 1
    assert ("order", "Ordered soup.") in results_in(shown) or "Ordered soup." in caller_said(shown)
    await here.close()
    await there.close()


@pytest.mark.parametrize("platform", SOCKETS)
async def test_two_sockets_for_one_call(gemini: Gemini, start: Any, deeds: Tools, platform: str) -> None:
    """The newest words win, whichever socket they come over; nothing is done twice, nothing is lost."""
    gemini.answer = model
    server: Backend = await start(tools_dir=deeds.folder, **secrets_for(platform))
    one, other = PlatformCaller(platform, server.url, "c1"), PlatformCaller(platform, server.url, "c1", known=True)
    first = asyncio.create_task(one.say("soup"))
    await deeds.until("c1", "order began")
    if platform == "speech-engine":  # its events are counted in a conversation
        vars(await other.client())["event_id"] = vars(await one.client())["event_id"]
    assert (await other.say("Are you there?")).text.endswith("Here I am.")
    assert (await first).status == 200
    await quiet(server)
    if platform == "speech-engine":
        vars(await one.client())["event_id"] = vars(await other.client())["event_id"]
    assert (await one.say("And?")).text.endswith("Here I am.")
    assert deeds.done("c1") == {"order began": 1, "order done": 1}
    said = caller_said(gemini.requests[-1].body)
    assert [said.count(words) for words in ("soup", "Are you there?", "And?")] == [1, 1, 1]
    await one.close()
    await other.close()


@pytest.mark.parametrize("platform", OTHERS)
async def test_who_does_not_read_holds_nobody_up(gemini: Gemini, start: Any, deeds: Tools, platform: str) -> None:
    """A long answer is not taken from the line: another caller is answered meanwhile, and the slow one can go on."""
    gemini.answer = model
    server = PlatformBackend(platform, await start(tools_dir=deeds.folder, **secrets_for(platform)))
    slow, quick = server.caller("slow"), server.caller("quick")
    client = await slow.client()
    client.reads = 2
    await client.say("recite")
    await asyncio.sleep(0.3)
    began = time.monotonic()
    assert (await quick.say("Hello")).text == "Here I am."
    assert time.monotonic() - began < 5
    await client.interrupt()
    client.reads = None
    assert (await slow.say("And?")).text.endswith("Here I am.")
    await server.close()
