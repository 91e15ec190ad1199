"""First words on each platform, over its own wire and by its own client: what one wire costs beside another."""

from __future__ import annotations

import asyncio
import time

from pydantic import SecretStr

from api.platforms import CLIENTS, CallDetails, PlatformClient, open_client, over_sockets
from api.settings import Settings
from tests.bench.callers import Plan, Reply
from tests.bench.servers import PLATFORM_SECRET, SECRET
from tests.bench.standin import STAMP, unstamp


async def talk_over(platform: str, port: int, name: str, turns: int, plan: Plan) -> list[Reply]:
    """So many turns of a conversation."""
    secret = SECRET if platform == "layercode" else PLATFORM_SECRET
    settings = Settings.model_construct(public_url=None)
    setattr(settings, CLIENTS[platform].secret, SecretStr(secret))
    async with (
        over_sockets(f"http://127.0.0.1:{port}") as network,
        open_client(platform, network, settings, CallDetails(name)) as client,
    ):
        if client.must_begin:
            await client.begin()
            if client.abilities.may_speak_first:
                await client.answer()
        return [await _turn(client, plan.words(f"{name}-{number}"), plan) for number in range(turns)]


async def _turn(client: PlatformClient, words: str, plan: Plan) -> Reply:
    reply, began = Reply(), time.monotonic()
    await client.say(words)
    while (event := await client.event()).kind != "end":
        if event.kind in ("failed", "closed"):
            reply.fault = str(event.content)
            return reply
        if event.kind == "say" and (times := [unstamp(word) for word in STAMP.findall(event.content)]):
            if reply.first is None:
                arrived, *times = times
                reply.first = event.at - began - (times[0] - arrived)
            reply.lags += [event.at - at for at in times]
    reply.took = time.monotonic() - began
    if len(reply.lags) != plan.tokens:
        reply.fault = f"{len(reply.lags)} of {plan.tokens} tokens came"
    await asyncio.sleep(plan.pause / 1000)
    return reply
