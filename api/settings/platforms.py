from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr


class PlatformSettings(BaseModel):
    """Platforms"""

    layercode_webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Signs every webhook; from your agent's page in the dashboard. `voice serve` does not start without"
        " it. `voice dev` makes one for each run if it is empty.",
    )
    twilio_auth_token: SecretStr | None = Field(
        default=None,
        description="Signs what Twilio sends; from the front page of Twilio's console. Switches on `/twilio/voice`."
        " Needs the extra `twilio`.",
    )
    telnyx_token: SecretStr | None = Field(
        default=None,
        description="A long random secret of your own, the last part of the URLs that you give to Telnyx. Switches on"
        " `/telnyx/voice/TOKEN`. Needs the extra `twilio`.",
    )
    completions_api_key: SecretStr | None = Field(
        default=None,
        description="The bearer key for `/v1/chat/completions`, a long random secret of your own, which you give to"
        " Vapi, LiveKit, Pipecat, ElevenLabs agents or any other client. Switches it on.",
    )
    completions_system_message: Literal["ignore", "append"] = Field(
        default="ignore",
        description="What becomes of the system message that a chat completions client sends: `ignore`, as the agent"
        " has its own prompt, or `append` it to that.",
    )
    completions_stateless: bool = Field(
        default=False,
        description="Answer a chat completions request that names no conversation from its messages alone. Nothing of"
        " it is remembered, and no tool that changes something is offered in it. Otherwise it is refused.",
    )
    elevenlabs_api_key: SecretStr | None = Field(
        default=None,
        description="Verifies ElevenLabs' Speech Engine, which connects to `/elevenlabs/speech-engine`, and gives pages"
        " their tokens at `/elevenlabs/token`. Needs the extra `elevenlabs`.",
    )
    elevenlabs_engine_id: str | None = Field(
        default=None, description="The Speech Engine (`seng_…`) for which `/elevenlabs/token` gives tokens."
    )
    elevenlabs_api_url: str = Field(
        default="https://api.elevenlabs.io", description="The base URL of ElevenLabs' REST API."
    )
    public_url: str | None = Field(
        default=None,
        pattern=r"^https?://[^/\s]+/?$",
        description="Where the platforms reach this server, such as `https://voice.example.com`. Empty: what the proxy"
        " in front of it says in `X-Forwarded-Proto` and `X-Forwarded-Host`.",
    )
    relay_options: dict[str, Any] = Field(
        default={},
        description="JSON: further attributes of `<ConversationRelay>`, as Twilio's Python package names them, such as"
        ' `{"language": "de-DE", "voice": "…", "tts_provider": "…"}`.',
    )
    layercode_api_key: SecretStr | None = Field(
        default=None,
        description="For `POST /api/authorize`, which gives browsers session keys. Never sent to a browser.",
    )
    layercode_api_url: str = Field(
        default="https://api.layercode.com/v1", description="The base URL of Layercode's REST API."
    )
    layercode_agent_id: str | None = Field(
        default=None,
        description="The only agent for which `/api/authorize` gives session keys. Empty: any agent of your account.",
    )
