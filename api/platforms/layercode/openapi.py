"""What /openapi.json says of the routes that read their bodies themselves: the bodies, and every status."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from api.platforms.layercode import events, signature

_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
_OBJECT = {"type": "object"}


def _answers(**descriptions: str) -> dict[int | str, dict[str, Any]]:
    return {
        int(status.removeprefix("s")): {"description": text, "content": {"application/json": {"schema": _ERROR}}}
        for status, text in descriptions.items()
    }


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


_SCHEMA = "#/paths/~1api~1agent/post/requestBody/content/application~1json/schema"  # a JSON pointer, where it stands

_SIGNATURE = {
    "name": signature.HEADER,
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "t=<unix seconds>,v1=<hex HMAC-SHA256 of t + '.' + body>",
}

WEBHOOK: dict[str, Any] = {
    "summary": "Layercode's webhook",
    "responses": {
        200: {
            "description": "A turn, as server-sent events; or for `data` and notifications JSON",
            "content": {"text/event-stream": {}, "application/json": {"schema": _OBJECT}},
        },
        **_answers(
            s400="Not understood, or incomplete", s401="The signature is missing or wrong", s408="Too slow",
            s413="Too large", s503="Too many turns, or shutting down: Retry-After says when to come again",
        ),
    },
    "openapi_extra": {
        "parameters": [_SIGNATURE],
        "requestBody": _body(
            TypeAdapter(events.Webhook).json_schema(ref_template=f"{_SCHEMA}/$defs/{{model}}"),
        ),
    },
}  # fmt: skip

AUTHORIZE: dict[str, Any] = {
    "summary": "A session key for a browser",
    "responses": {
        200: {"description": "Layercode's answer", "content": {"application/json": {"schema": _OBJECT}}},
        **_answers(
            s400="No JSON object, no agent, or refused by Layercode", s401="Layercode refuses the key",
            s402="Layercode's account is empty", s403="Another agent, or not for you", s408="Too slow",
            s413="Too large", s429="Too often: Retry-After says when to come again",
            s502="Layercode gave no usable answer", s503="This server has no API key, or cannot check who asks",
        ),
    },
    "openapi_extra": {
        "requestBody": _body(
            {
                "type": "object",
                "properties": {
                    "agent_id": {"type": "string"},
                    "conversation_id": {"type": "string"},
                    "metadata": _OBJECT,
                    "custom_metadata": _OBJECT,
                    "sdk_version": {"type": "string"},
                },
            }
        )
    },
}  # fmt: skip
