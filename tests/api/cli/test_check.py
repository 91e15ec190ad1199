"""`voice dev --check`: a line for each thing that real calls need, and what to do about it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from api.cli.check import check
from api.cli.main import app
from api.cli.probe import probe
from api.settings import Settings
from tests.support.backend import SECRET, Backend
from tests.support.gemini import Gemini, error, stall, text
from tests.support.layercode_api import KEY, Account, account

GOOGLE = "google-key-0123456789"


@pytest.fixture
def layercode() -> Iterator[Account]:
    with account() as state:
        yield state


@pytest.fixture
def found(layercode: Account, gemini: Gemini, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`status, lines = await found(layercode_api_key=None)`: with everything right but that."""
    (tmp_path / "tools").mkdir()

    async def checked(*answers: Any, **changed: Any) -> tuple[int, list[str]]:
        gemini.script(*(answers or (text("Yes."),)))
        defaults = {
            "_env_file": None, "layercode_api_url": layercode.url, "layercode_api_key": SecretStr(KEY),
            "layercode_webhook_secret": SecretStr(SECRET), "google_api_key": GOOGLE,
            "google_gemini_base_url": gemini.url, "database_url": f"sqlite:///{tmp_path}/check.db",
        }  # fmt: skip
        settings = Settings(**{**defaults, **changed})
        status = await asyncio.to_thread(check, settings)
        output = capsys.readouterr().out
        assert not any(secret in output for secret in (KEY, SECRET, GOOGLE))
        assert "Traceback" not in output
        return status, output.splitlines()

    return checked


def problems(lines: list[str]) -> list[str]:
    return [line.removeprefix("problem  ") for line in lines if line.startswith("problem  ")]


async def test_with_everything_right_each_line_says_ok_and_the_status_is_0(found: Callable[..., Any]) -> None:
    status, lines = await found()
    assert status == 0
    assert [line.partition(":")[0] for line in lines] == [
        "ok       platforms",
        "ok       Layercode key",
        "ok       tools and prompt",
        "ok       database",
        "ok       model",
        "ok       clock",
        "Ready for calls.",
    ]


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"layercode_api_key": None}, [r"Layercode key: LAYERCODE_API_KEY is not set"]),
    ({"layercode_api_key": "schlüssel"}, [r"Layercode key: LAYERCODE_API_KEY holds a character that no key has"]),
    (
        {"layercode_webhook_secret": SecretStr("")},
        [r"platforms: No platform is connected, .* LAYERCODE_WEBHOOK_SECRET"],
    ),
    (
        {"layercode_webhook_secret": SecretStr("your-webhook-secret")},
        [r"platforms: LAYERCODE_WEBHOOK_SECRET is a placeholder"],
    ),
    ({"tools_dir": Path("nowhere")}, [r"tools and prompt: There is no folder nowhere"]),
    ({"system_prompt_file": Path("nowhere.md")}, [r"tools and prompt: .*nowhere\.md cannot be read"]),
    ({"database_url": "sqlite:///tools"}, [r"database: .*cannot be opened"]),
]


@pytest.mark.parametrize(("changed", "told"), WRONG, ids=lambda value: next(iter(value)) if value else None)
async def test_each_thing_that_is_wrong_is_one_problem(
    found: Callable[..., Any], changed: dict[str, Any], told: list[str]
) -> None:
    status, lines = await found(**changed)
    assert status == 1
    assert len(problems(lines)) == len(told)
    for line, pattern in zip(problems(lines), told, strict=True):
        assert re.match(pattern, line), line
    assert lines[-1] == f"Problems: {len(told)}."


async def test_a_server_with_another_secret_is_told_from_one_that_is_not_there(start: Any) -> None:
    backend: Backend = await start()
    url = f"{backend.url}/api/agent"
    assert await asyncio.to_thread(probe, url, SECRET) is None
    reason = await asyncio.to_thread(probe, url, "whsec_fedcba9876543210")
    assert reason
    assert reason.startswith("it answers 401: the server there has another webhook secret")
    for nowhere, name in (
        ("http://127.0.0.1:9/api/agent", "ConnectError"),
        ("https://a.example.com/\n", "InvalidURL"),
    ):
        reason = await asyncio.to_thread(probe, nowhere, SECRET)
        assert reason
        assert reason.startswith(f"nothing answers there ({name})")


@pytest.mark.parametrize("status", [302, 403, 404, 405, 502, 530])
async def test_what_stands_in_front_of_the_webhook_is_told_by_its_status(layercode: Account, status: int) -> None:
    layercode.fail = status
    reason = await asyncio.to_thread(probe, f"{layercode.url}/agents", SECRET)
    assert reason
    assert str(status) in reason


async def test_a_200_of_something_else_is_not_taken_for_this_backend(layercode: Account) -> None:
    layercode.fail = 200
    reason = await asyncio.to_thread(probe, f"{layercode.url}/agents", SECRET)
    assert reason
    assert "not this backend" in reason


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error(400, "API key not valid. Please pass a valid API key."), r"answers 400: .*key right\?"),
        (error(403), r"answers 403: its key may not use it"),
        (error(404), r"answers 404: there is no such model"),
        (error(429), r"answers 429: its quota is used up"),
        (error(503), r"answers 503: "),
        (stall(3, text("Yes.")), r"does not answer within 0\.5 s"),
    ],
)
async def test_a_model_that_does_not_answer(found: Callable[..., Any], answer: Any, told: str) -> None:
    status, lines = await found(answer, first_token_seconds=0.5)
    assert status == 1
    (problem,) = problems(lines)
    assert re.search(rf"^model: .*{told}", problem), problem


async def test_without_its_key_the_model_is_a_problem_and_so_is_the_demo(
    found: Callable[..., Any], gemini: Gemini
) -> None:
    _, without_key = await found(google_api_key=None)
    _, demo = await found(model="demo")
    gemini.unused.clear()
    assert "has no key: set GOOGLE_GENERATIVE_AI_API_KEY" in problems(without_key)[0]
    assert "MODEL=demo is no language model" in problems(demo)[0]


async def test_a_clock_that_would_have_webhooks_refused(found: Callable[..., Any], layercode: Account) -> None:
    layercode.skew = 400
    _, lines = await found()
    (problem,) = problems(lines)
    assert re.match(r"clock: (399|400|401) s behind 127\.0\.0\.1's\. Webhooks are refused", problem)


def test_offline_it_ends_soon_with_clear_lines_and_status_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layercode: Account
) -> None:
    """The command itself, where nothing outside this machine can be reached."""
    (tmp_path / "tools").mkdir()
    for name, value in (("WEBHOOK_SECRET", SECRET), ("API_KEY", KEY)):
        monkeypatch.setenv(f"LAYERCODE_{name}", value)
    monkeypatch.setenv("LAYERCODE_API_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("GOOGLE_API_KEY", GOOGLE)
    began = time.monotonic()
    result = CliRunner().invoke(app, ["dev", "--check"])
    assert time.monotonic() - began < 15
    assert result.exit_code == 1, result.output
    told = [line.partition(":")[0] for line in problems(result.output.splitlines())]
    assert told == ["model", "clock"]
    assert not any(secret in result.output for secret in (KEY, SECRET, GOOGLE))


# Warnings


def warnings(lines: list[str]) -> list[str]:
    return [line.removeprefix("warning  ") for line in lines if line.startswith("warning  ")]


async def test_what_strangers_could_see_or_do_is_a_warning_and_no_problem(
    found: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("A=b\n")
    (tmp_path / ".env").chmod(0o644)
    (tmp_path / "check.db").touch()
    (tmp_path / "check.db").chmod(0o664)
    status, lines = await found(public_url="http://voice.example.com", forwarded_allow_ips="10.0.0.1,*")
    assert status == 0
    subjects = [line.partition(":")[0] for line in warnings(lines)]
    assert subjects == ["TLS", "forwarded addresses", ".env", "check.db"]
    assert "chmod 600" in lines[-2]


async def test_without_forwarded_addresses_all_pages_behind_a_proxy_count_as_one(found: Callable[..., Any]) -> None:
    _, lines = await found(public_url="https://voice.example.com")
    assert [line.partition(":")[0] for line in warnings(lines)] == ["forwarded addresses"]


async def test_what_is_closed_is_no_warning(found: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("A=b\n")
    (tmp_path / ".env").chmod(0o600)
    _, lines = await found(public_url="https://voice.example.com", forwarded_allow_ips="10.0.0.0/8")
    assert warnings(lines) == []
    _, lines = await found(text("Yes."), public_url="http://127.0.0.1:8000")
    assert warnings(lines) == []
