"""`voice say --platform`: a call over each wire to a running server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from api.cli.main import app
from api.platforms import CLIENTS
from tests.support.backend import Backend
from tests.support.gemini import Gemini, text

SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


async def say(platform: str, url: str, *arguments: str, secret: str = SECRET) -> Result:
    env = {CLIENTS[platform].secret.upper(): secret}
    command = ["say", *arguments, "--platform", platform, "--url", f"{url}/api/agent"]
    return await asyncio.to_thread(CliRunner().invoke, app, command, env=env)


async def switched_on(start: Any, platform: str) -> Backend:
    secrets: dict[str, Any] = {"layercode_webhook_secret": SecretStr(""), CLIENTS[platform].secret: SecretStr(SECRET)}
    backend: Backend = await start(**secrets)
    return backend


@pytest.mark.parametrize("platform", CLIENTS)
async def test_a_call_of_two_turns(start: Any, gemini: Gemini, platform: str) -> None:
    """Each event comes with its time; the second turn remembers the first."""
    gemini.script(text("It is sunny."), text("And warm."))
    server = await switched_on(start, platform)
    result = await say(platform, server.url, "The weather?", "And else?")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert [line for line in lines if line.startswith("> ")] == ["> The weather?", "> And else?"]
    said = [json.loads(line.partition("say")[2]) for line in lines if " ms  say" in line]
    assert "".join(said) == "It is sunny.And warm."
    assert "It is sunny." in str(gemini.requests[-1].body["contents"])


@pytest.mark.parametrize("platform", CLIENTS)
async def test_speaking_into_the_first_answer(start: Any, gemini: Gemini, platform: str) -> None:
    """What was heard by then is reported, and is all that is remembered."""
    gemini.script(text("One two three four five six seven.", delay=0.05), text("Yes?"))
    server = await switched_on(start, platform)
    result = await say(platform, server.url, "Count", "Stop", "--hang-up-after", "3")
    assert result.exit_code == 0, result.output
    assert '"cut"' in result.output
    shown = str(gemini.requests[-1].body["contents"])
    assert "three" in shown
    assert "seven" not in shown


@pytest.mark.parametrize("platform", CLIENTS)
async def test_with_another_secret_it_is_refused(start: Any, platform: str) -> None:
    """In a sentence, and with the exit status 1."""
    server = await switched_on(start, platform)
    result = await say(platform, server.url, "Hello", "Hello?", secret="another-0f1e2d3c4b5a6978")
    assert result.exit_code == 1
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--platform", "pigeon"], "--platform takes one of"),
        (["--platform", "relay"], "TWILIO_AUTH_TOKEN is not set"),
        (["--platform", "relay", "--interrupted", "t1"], "--interrupted is for one webhook"),
        (["--platform", "completions", "--conversation", "c1"], "held in one command"),
    ],
)
def test_what_does_not_go_is_a_sentence(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["say", "Hello", *arguments], env={"TWILIO_AUTH_TOKEN": ""})
    assert result.exit_code == 2
    assert sentence in result.output
