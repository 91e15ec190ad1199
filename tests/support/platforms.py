"""A backend with the platforms beside Layercode switched on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tests.support.backend import ROOT
from tests.support.gemini import Gemini
from tests.support.phone import TOKEN

ENGINE_KEY = "sk_0123456789abcdef0123456789abcdef"
COMPLETIONS_KEY = "k3y-0f1e2d3c4b5a6978"
TELNYX_TOKEN = "5a69788796a5b4c3d2e1f00f1e2d3c4b"


def platform_settings(gemini: Gemini, folder: Path, **more: Any) -> dict[str, Any]:
    """The settings of `tests.support.backend.backend`, with every platform but Layercode. more: others, or instead."""
    return {
        "twilio_auth_token": SecretStr(TOKEN),
        "telnyx_token": SecretStr(TELNYX_TOKEN),
        "elevenlabs_api_key": SecretStr(ENGINE_KEY),
        "completions_api_key": SecretStr(COMPLETIONS_KEY),
        "layercode_webhook_secret": SecretStr(""),
        "google_api_key": SecretStr("test-key"),
        "google_gemini_base_url": gemini.url,
        "database_url": f"sqlite:///{folder}/voice.db",
        "tools_dir": ROOT / "tools",
        "welcome_message": "Hello, this is the weather line.",
        **more,
    }


def shown(request: dict[str, Any]) -> list[tuple[str, str]]:
    """(role, text) of what the model was shown in a request's body."""
    return [
        (content["role"], "".join(part.get("text", "") for part in content["parts"])) for content in request["contents"]
    ]
