"""`voice say` over any platform's wire: one call to a running server, what is said in it, and what comes back, when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from api.cli.printing import echo
from api.platforms import CallDetails, ClientEvent, PlatformClient, Unreachable, open_client, over_sockets
from api.settings import Settings


def say_over(
    platform: str, texts: Sequence[str], *, conversation: str, url: str, settings: Settings, hang_up_after: int | None
) -> int:
    """Hold a call in which the texts are said, one after the other. platform: a name of CLIENTS. hang_up_after: into
    the first answer the caller speaks after so many events. The exit status: 0 when every other answer came to its end.
    """
    return asyncio.run(_call(platform, texts, CallDetails(conversation), url, settings, hang_up_after))


async def _call(
    platform: str, texts: Sequence[str], call: CallDetails, url: str, settings: Settings, hang_up_after: int | None
) -> int:
    parts = urlsplit(url)
    try:
        async with (
            over_sockets(f"{parts.scheme}://{parts.netloc}") as network,
            open_client(platform, network, settings, call) as client,
        ):
            return await _converse(client, texts, hang_up_after)
    except Unreachable as error:
        echo(f"{error} Is it running, with this platform switched on?", err=True)
        return 1


async def _converse(client: PlatformClient, texts: Sequence[str], hang_up_after: int | None) -> int:
    if client.must_begin:
        await client.begin()
        if client.abilities.may_speak_first and not await _listen(client):
            return 1
    for number, text in enumerate(texts):
        echo(f"> {text}")
        await client.say(text)
        if not await _listen(client, hang_up_after if number == 0 else None):
            return 1
    await client.hang_up()
    return 0


async def _listen(client: PlatformClient, most: int | None = None) -> bool:
    """Print the events of the newest answer to its end, or speak into it after so many. Whether it went well."""
    began, words, count = asyncio.get_running_loop().time(), "", 0
    while True:
        event = await client.newest()
        echo(f"{(event.at - began) * 1000:7.0f} ms  {_described(event)}")
        words += event.content if event.kind == "say" else ""
        count += 1
        if event.kind in ("end", "failed", "closed"):
            return event.kind == "end"
        if count == most:
            await client.interrupt(words.strip())


def _described(event: ClientEvent) -> str:
    content = "" if event.content is None else json.dumps(event.content, ensure_ascii=False)
    return f"{event.kind:<8} {content}".rstrip()
