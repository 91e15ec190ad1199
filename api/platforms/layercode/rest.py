"""Layercode's REST API, as far as a developer's commands need it (protocol sheet §6.2)."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from agent.tls import tls_context
from api.settings import Settings

_TIMEOUT = httpx.Timeout(8, connect=4)  # seconds
_WEBHOOK = "agent.webhook"


class LayercodeError(Exception):
    """Layercode did not do it. The text is one sentence for the operator, without a full stop, key or body."""


class Layercode:
    """A client for one account."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._http = httpx.Client(timeout=_TIMEOUT, verify=tls_context())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def agents(self) -> dict[str, str]:
        """The account's agents: id and name."""
        listed = self._ask("GET", "/agents").get("agents")
        agents = [agent for agent in listed if isinstance(agent, dict)] if isinstance(listed, list) else []
        return {str(agent.get("id")): str(agent.get("name") or "") for agent in agents}

    def webhook_url(self, agent: str) -> str | None:
        """Where the agent's webhooks go: its plugin's URL, or an older agent's endpoint."""
        config = _object(self._ask("GET", _path(agent)).get("config"))
        plugins = config.get("plugins")
        for plugin in plugins if isinstance(plugins, list) else []:
            if isinstance(plugin, dict) and plugin.get("use") == _WEBHOOK:
                return _text(_object(plugin.get("options")).get("url"))
        return _text(config.get("endpoint"))

    def set_webhook_url(self, agent: str, url: str) -> None:
        self._ask("POST", _path(agent), {"webhook_url": url})

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        if not (self._key.isascii() and self._key.isprintable()):
            raise LayercodeError("LAYERCODE_API_KEY holds a character that no key has: copy it again")
        try:
            answer = self._http.request(
                method, self.url + path, json=body, headers={"Authorization": f"Bearer {self._key}"}
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LayercodeError(f"Layercode cannot be reached at {self.url} ({type(error).__name__})") from None
        if not answer.is_success:
            raise LayercodeError(_refusal(answer.status_code, path))
        try:
            return _object(answer.json())
        except ValueError:
            raise LayercodeError(f"what answers at {self.url} is not Layercode's REST API") from None


def layercode(settings: Settings) -> Layercode | None:
    """The client, if there is a key for it."""
    key = settings.layercode_api_key
    return Layercode(settings.layercode_api_url, key.get_secret_value()) if key else None


def _refusal(status: int, path: str) -> str:
    if status in (401, 403) or (status == 400 and path == "/agents"):
        return f"Layercode does not accept LAYERCODE_API_KEY ({status}): copy it again from the dashboard"
    if status in (400, 404) and path != "/agents":
        return f"this account has no agent {path.rpartition('/')[2]} ({status}): compare LAYERCODE_AGENT_ID"
    return f"Layercode answered {status}: try again later"


def _path(agent: str) -> str:
    return f"/agents/{quote(agent, safe='')}"


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
