"""The platforms' clients, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from api.platforms.client import CallDetails, PlatformClient
from api.platforms.completions import CompletionsClient
from api.platforms.conversation_relay import RelayClient
from api.platforms.layercode import LayercodeClient
from api.platforms.network import Network
from api.platforms.speech_engine import SpeechEngineClient
from api.settings import NotConfigured, Settings


@dataclass(frozen=True)
class ClientKind:
    """secret: the setting with what its requests are signed with. extra: what has the packages for that.
    make: (network, call, secret, settings)."""

    secret: str
    make: Callable[[Network, CallDetails, str, Settings], PlatformClient]
    extra: str | None = None


def _relay(network: Network, call: CallDetails, secret: str, settings: Settings) -> PlatformClient:
    return RelayClient(network, call, secret, public_url=settings.public_url)


CLIENTS: Mapping[str, ClientKind] = {
    "layercode": ClientKind(
        "layercode_webhook_secret", lambda network, call, key, _: LayercodeClient(network, call, key)
    ),
    "relay": ClientKind("twilio_auth_token", _relay, "twilio"),
    "speech-engine": ClientKind(
        "elevenlabs_api_key", lambda network, call, key, _: SpeechEngineClient(network, call, key), "elevenlabs"
    ),
    "completions": ClientKind(
        "completions_api_key", lambda network, call, key, _: CompletionsClient(network, call, key)
    ),
}


def open_client(platform: str, network: Network, settings: Settings, call: CallDetails) -> PlatformClient:
    """A client of the platform, one of CLIENTS, for one call; to be used in `async with`. NotConfigured when the
    setting with its secret is empty, or a package is missing."""
    kind = CLIENTS[platform]
    secret: SecretStr | None = getattr(settings, kind.secret)
    if not secret:
        raise NotConfigured(f"{kind.secret.upper()} is not set: requests are signed with it.")
    try:
        return kind.make(network, call, secret.get_secret_value(), settings)
    except ImportError:
        raise NotConfigured(f"This needs packages that are not installed: uv sync --extra {kind.extra}.") from None
