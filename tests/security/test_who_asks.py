"""AUTHORIZE_HOOK: the owner decides who may open a conversation, or go on in one whose id they know."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import Request

from api.platforms import who_asks
from api.settings import NotConfigured

HERE = "tests.security.test_who_asks"
PASSED = 502  # no Layercode and no ElevenLabs can be reached here
SETTINGS = {
    "layercode_api_key": "lc_0123456789", "layercode_api_url": "http://127.0.0.1:9", "layercode_agent_id": "ag-1",
    "elevenlabs_api_key": "xi_0123456789", "elevenlabs_engine_id": "seng_1", "elevenlabs_api_url": "http://127.0.0.1:9",
}  # fmt: skip


async def by_cookie(request: Request, fields: dict[str, Any]) -> bool:
    """Ada goes on in her own conversation, and whoever has logged in begins one."""
    user = request.cookies.get("user")
    return user is not None and fields.get("conversation_id") in (None, f"conv_{user}")


async def truthy(request: Request, fields: dict[str, Any]) -> bool:
    return "yes"  # type: ignore[return-value]


async def failing(request: Request, fields: dict[str, Any]) -> bool:
    raise KeyError("a secret")


async def hanging(request: Request, fields: dict[str, Any]) -> bool:
    await asyncio.sleep(60)
    return True


def no_coroutine(request: Request, fields: dict[str, Any]) -> bool:
    return True


async def ask(start: Any, hook: str | None, path: str = "/api/authorize", **fields: Any) -> httpx.Response:
    backend = await start(**SETTINGS, authorize_hook=hook and f"{HERE}:{hook}")
    headers = {"Cookie": f"user={fields.pop('user')}"} if "user" in fields else {}
    answer: httpx.Response = await backend.http.post(f"{backend.url}{path}", json=fields, headers=headers)
    return answer


async def test_without_a_hook_whoever_knows_the_id_goes_on_in_the_conversation(start: Any) -> None:
    assert (await ask(start, None, conversation_id="conv_ada")).status_code == PASSED


async def test_the_hook_decides(start: Any) -> None:
    assert (await ask(start, "by_cookie", user="ada", conversation_id="conv_ada")).status_code == PASSED
    assert (await ask(start, "by_cookie", user="eve")).status_code == PASSED
    refused = await ask(start, "by_cookie", user="eve", conversation_id="conv_ada")
    assert (refused.status_code, refused.json()) == (403, {"error": "You may not open this conversation."})
    assert (await ask(start, "by_cookie")).status_code == 403


async def test_so_it_does_for_elevenlabs_pages(start: Any) -> None:
    assert (await ask(start, "by_cookie", "/elevenlabs/token", user="eve")).status_code == PASSED
    assert (await ask(start, "by_cookie", "/elevenlabs/token")).status_code == 403


@pytest.mark.parametrize(("hook", "status"), [("truthy", 403), ("failing", 503), ("hanging", 503)])
async def test_only_true_lets_in(
    start: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hook: str, status: int
) -> None:
    monkeypatch.setattr(who_asks, "_SECONDS", 0.2)
    answer = await ask(start, hook)
    assert answer.status_code == status
    assert "a secret" not in answer.text + caplog.text


@pytest.mark.parametrize(
    "name", [f"{HERE}:none_such", "no.such.module:x", f"{HERE}:no_coroutine", f"{HERE}:SETTINGS", "x"]
)
async def test_a_hook_that_cannot_be_used_stops_the_start(start: Any, name: str) -> None:
    with pytest.raises(NotConfigured, match="AUTHORIZE_HOOK"):
        await start(**SETTINGS, authorize_hook=name)
