"""Which histories Gemini takes, as its documentation says and as reports of refused requests show.

The roles take turns, the user's first and last. No content and no part is empty. Each function call is answered by
exactly one response, in the next content and in the calls' order. A call's name is legal, and a function that is
declared. The signature that a call left with comes back with it.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

Json = dict[str, Any]

# What langchain-google-genai sends for a call whose signature was lost on the way.
PLACEHOLDER = "skip_thought_signature_validator"

_DATA = ("text", "functionCall", "functionResponse", "inlineData", "fileData")
_NAME = re.compile(r"[A-Za-z_][\w.:-]{0,63}", re.ASCII)


def check(body: Json, issued: Mapping[str, str | None]) -> None:
    """Raises AssertionError unless the history is one Gemini would take.

    `issued` maps each signature given out to the name of the call it was on, or None for text.
    """
    contents: list[Json] = body.get("contents") or []
    assert contents, "contents is empty"
    assert contents[0].get("role") == "user", "contents[0] is not the user's"
    assert contents[-1].get("role") == "user", "the last content is not the user's"
    declared = _declared(body)
    for at, content in enumerate(contents):
        _check_content(at, content, issued)
        _check_calls(at, content, declared)
    for at, (before, after) in enumerate(pairwise(contents), start=1):
        assert after["role"] != before["role"], f"contents[{at}] is a second {after['role']} content in a row"
    for at, content in enumerate(contents):
        _check_responses(at, contents[at - 1] if at else {"parts": []}, content)
    spoken = [at for at, content in enumerate(contents) if _user_speaks(content)]
    assert spoken, "the user never spoke"
    for at, content in enumerate(contents[spoken[-1] :], start=spoken[-1]):
        _check_signed(at, content)


def _check_content(at: int, content: Json, issued: Mapping[str, str | None]) -> None:
    assert content.get("role") in ("user", "model"), f"contents[{at}] has the role {content.get('role')!r}"
    assert content.get("parts"), f"contents[{at}] has no parts"
    for index, part in enumerate(content["parts"]):
        where = f"contents[{at}].parts[{index}]"
        signature = plain(part.get("thoughtSignature"))
        assert any(part.get(key) for key in _DATA) or signature, f"{where} is empty: {part}"
        assert sum(key in part for key in _DATA) <= 1, f"{where} is more than one thing: {part}"
        lost = signature == plain(PLACEHOLDER) and signature not in issued
        assert not lost, f"{where} lost its signature: the client put in its placeholder"
        assert signature is None or signature in issued, f"{where} has a signature never issued: {signature}"
        call = part.get("functionCall")
        assert not call or content["role"] == "model", f"{where} is a call, in a user content"
        if signature:
            name = call["name"] if call else None
            assert issued[signature] == name, (
                f"{where} has the signature issued for {issued[signature]!r}, not {name!r}"
            )


def _check_calls(at: int, content: Json, declared: set[str] | None) -> None:
    for part in content["parts"]:
        for kind, field in (("functionCall", "args"), ("functionResponse", "response")):
            function = part.get(kind)
            if function is None:
                continue
            name = function.get("name") or ""
            assert _NAME.fullmatch(name), f"contents[{at}] has a function named {name!r}"
            assert isinstance(function.get(field, {}), dict), f"contents[{at}]: {field} of {name!r} is no object"
            assert declared is None or name in declared, f"contents[{at}] names {name!r}, which is not declared"


def _declared(body: Json) -> set[str] | None:
    """The functions that the model may call; None where no tools are given."""
    tools = body.get("tools")
    return {each["name"] for tool in tools for each in tool["functionDeclarations"]} if tools else None


def _check_responses(at: int, before: Json, content: Json) -> None:
    wanted = _names(before, "functionCall")
    given = _names(content, "functionResponse")
    assert given == wanted, f"contents[{at}] responds to {given}, where the calls before it were {wanted}"
    extra = len(content["parts"]) - len(given)
    assert not (given and extra), f"contents[{at}] mixes {extra} other part(s) with its function responses"


def _check_signed(at: int, content: Json) -> None:
    """Only in the current turn, that is since the user last spoke."""
    first = next((part for part in content["parts"] if "functionCall" in part), None)
    if first:
        name = first["functionCall"]["name"]
        assert first.get("thoughtSignature"), f"contents[{at}] calls {name!r} in the current turn without a signature"


def plain(signature: str | None) -> str | None:
    """The client sends bytes back in the URL-safe alphabet of base64; to Google's JSON that is the same."""
    return signature and signature.replace("-", "+").replace("_", "/")


def _names(content: Json, key: str) -> list[str]:
    return [part[key]["name"] for part in content["parts"] if key in part]


def _user_speaks(content: Json) -> bool:
    return content["role"] == "user" and not _names(content, "functionResponse")
