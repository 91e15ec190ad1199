"""Run files: who may read them, whose they are, what is taken out of them, and files that somebody else has made."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from agent.replay import run_file as runs
from api.cli.main import app
from api.operations.recorder import delete_run_file, run_file
from api.settings import Settings
from tests.support.backend import ROOT
from tests.support.gemini import Gemini, text

RUN = ROOT / "tests/runs/weather.json"
LUHN = "4539 1488 0343 6467"
IBAN = "DE89 3704 0044 0532 0130 00"


async def test_a_recording_is_readable_for_its_owner_alone(
    start: Any, gemini: Gemini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.script(text("Hello."))
    await (await start()).caller("c1").say("Hello?")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/voice.db")
    monkeypatch.setenv("TOOLS_DIR", str(ROOT / "tools"))
    out = tmp_path / "runs" / "c1.json"
    made = await asyncio.to_thread(CliRunner().invoke, app, ["record", "--conversation", "c1", "--out", str(out)])
    assert made.exit_code == 0, made.output
    assert out.stat().st_mode & 0o777 == 0o600


async def test_without_a_name_it_stays_in_its_folder(
    start: Any, gemini: Gemini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation's id is chosen by the caller's page."""
    gemini.script(text("Hello."))
    await (await start()).caller("../../c1").say("Hello?")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/voice.db")
    monkeypatch.setenv("TOOLS_DIR", str(ROOT / "tools"))
    inside = tmp_path / "some/where"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    made = await asyncio.to_thread(CliRunner().invoke, app, ["record", "--conversation", "../../c1"])
    assert made.exit_code == 0, made.output
    assert [path.parent for path in tmp_path.rglob("*c1*.json")] == [inside / "tests/runs"]


def test_no_two_conversations_have_one_file(tmp_path: Path) -> None:
    ids = ["a/b", "a_b", "a b", "ä", "ö", "_", "x" * 100, "x" * 101, "x" * 102, "..", "a/../b", "\ud800"]
    names = [run_file(tmp_path, one).name for one in ids]
    assert len(set(names)) == len(ids), names
    assert not [name for name in names if "/" in name]
    assert run_file(tmp_path, "conv_1").name == "conv_1.json"
    for one in ids:
        run_file(tmp_path, one).touch()
    assert delete_run_file(tmp_path, "a/b") == 1
    assert run_file(tmp_path, "a_b").exists()


# What is taken out


def scrubbed(words: str, more: Any = None, caller: str | None = None, secrets: list[str] | None = None) -> str:
    """The caller's words, or JSON that a tool was given, afterwards."""
    run = runs.load_run(RUN)
    turn = run.turns[0]
    turn.webhook["text"] = words
    if caller:
        turn.webhook["caller"] = caller
    if more is not None:
        turn.webhook["metadata"] = more
    done = runs.scrubbed(run, secrets or []).turns[0].webhook
    return done.get("text", "") if more is None else json.dumps(done["metadata"])


@pytest.mark.parametrize(
    "private",
    [
        "030 9988 7766", "030/99887766", "(030) 9988-7766", "0044 20 7946 0958", "0049 30 99887766", "020 7946 0958",
        "+49 30 9988 7766", LUHN, LUHN.replace(" ", ""), LUHN.replace(" ", "-"), "378282246310005", IBAN,
        IBAN.replace(" ", ""), "GB82 WEST 1234 5698 7654 32", "ada.lovelace+x@mail.example.co.uk", "Ö_3@exämple.de",
    ],
)  # fmt: skip
def test_numbers_addresses_cards_and_accounts_are_taken_out(private: str) -> None:
    hidden = re.sub(r"[^\W\d_]", "x", re.sub(r"\d", "0", private))
    assert scrubbed(f"It is {private}, thanks.") == f"It is {hidden}, thanks."
    assert private not in scrubbed("", {"in": [f"<{private}>"]})


@pytest.mark.parametrize(
    "kept",
    [
        "on 2026-11-23 at 19:00", "01.02.2026 19:00", "01/02/2026 19:00", "booking 4711", "1,234,567 people",
        "0.000123456",
        "4539 1488 7343 6468", "DE88 3704 0044 0532 0130 00", "@home", "a@b", "007", "UNESCO2026", "order 20261123001",
    ],
)  # fmt: skip
def test_what_only_looks_like_them_stays(kept: str) -> None:
    assert scrubbed(f"It is {kept}, thanks.") == f"It is {kept}, thanks."


def test_numbers_and_cards_as_integers_are_taken_out() -> None:
    numbers = {"plain": 4155550123, "theirs": 493099887766, "card": 4539148803436467, "of": [14155550123]}
    kept = {"ms": 1763900000000, "at": 1763900000, "id": 4711, "yes": True, "big": 10**15, "half": 0.5}
    done = json.loads(scrubbed("", {**numbers, **kept}, caller="+14155550123"))
    assert done == {"plain": 0, "theirs": 0, "card": 0, "of": [0], **kept}


def test_a_long_text_takes_no_time() -> None:
    for words in ("a" * 60_000, "0 " * 30_000, "1" * 60_000, "AA00" * 15_000, "a." * 30_000, "+1" * 30_000):
        scrubbed(words)
    caller = "1" * 190  # as a SIP address may be
    assert scrubbed(f"{caller} and {'1' * 60_000}", caller=f"sip:{caller}@example.org").startswith("000")


def test_every_secret_of_the_settings_and_of_dot_env_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "METRICS_TOKEN=m-0123456789\nTWILIO_AUTH_TOKEN=t-0123456789\nMY_SERVICE_API_KEY=k-0123456789\n"
        "SMTP_PASSWORD=p-0123456789\nDATABASE_URL=postgresql://me:d%2F0123456789@host/db\nMODEL=demo\n"
    )
    for line in (tmp_path / ".env").read_text().splitlines():
        monkeypatch.setenv(line.partition("=")[0], "")  # and so taken back afterwards
        monkeypatch.delenv(line.partition("=")[0])
    monkeypatch.chdir(tmp_path)
    known = Settings.load().all_secrets()
    told = "m-0123456789 t-0123456789 k-0123456789 p-0123456789 d%2F0123456789 d/0123456789"
    assert re.fullmatch(r"[x ]+", scrubbed(told, secrets=known))
    assert "demo" not in known


# Files of somebody else's


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(RUN.read_text()), **fields})


def with_turn(**fields: Any) -> str:
    turn = json.loads(RUN.read_text())["turns"][0]
    return changed(turns=[{**turn, **fields}])


HI = {"kind": "message", "conversation_id": "c", "turn_id": "t", "text": "Hi"}
DEEP: dict[str, Any] = json.loads('{"a":' * 700 + "{}" + "}" * 700)  # less than what JSON's reader refuses
BAD: dict[str, str | bytes] = {
    "nothing": "",
    "no JSON": "{",
    "another kind": "[]",
    "no text": b"\xff\xfe\x00",
    "nested": "[" * 100_000,
    "nested objects": '{"a":' * 50_000,
    "long integer": '{"version": ' + "9" * 5000 + "}",
    "no turns": changed(turns=[]),
    "a later version": changed(version=99),
    "turns are a text": changed(turns="x"),
    "NaN": changed(turns=[]).replace("[]", "[NaN]"),
    "no conversation": with_turn(webhook={"kind": "message", "turn_id": "t", "text": "Hi"}),
    "no turn id": with_turn(webhook={"kind": "message", "conversation_id": "c", "text": "Hi"}),
    "kind": with_turn(webhook={"kind": "x", "conversation_id": "c", "turn_id": "t", "text": "Hi"}),
    "text is a number": with_turn(webhook={"kind": "message", "conversation_id": "c", "turn_id": "t", "text": 5}),
    "heard": with_turn(
        webhook={"kind": "message", "conversation_id": "c", "turn_id": "t", "text": "Hi", "heard": {"x": 1}}
    ),
    "chunk": with_turn(models=[{"chunks": [[0]]}]),
    "chunk of numbers": with_turn(models=[{"chunks": [[0, 5]]}]),
    "chunk fields": with_turn(models=[{"chunks": [[0, "x", {"tool_call_chunks": 5}]]}]),
    "chunk unknown": with_turn(models=[{"chunks": [[0, "x", {"type": "human", "id": []}]]}]),
    "chunks that do not fit": with_turn(
        models=[{"chunks": [[0, "x"], [1, [5]], [2, "", {"usage_metadata": {"a": 1}}]]}]
    ),
    "no models": with_turn(models=[]),
    "sent": with_turn(sent=[[0, "say"]]),
    "sent unknown": with_turn(sent=[[0, "sing", "la"]]),
    "tools": with_turn(tools=[{"key": 1}]),
    "nested metadata": with_turn(webhook={**HI, "metadata": DEEP}),
    "nested arguments": with_turn(tools=[{"key": "k", "name": "n", "arguments": DEEP}]),
    "nested frames": with_turn(frames=[[0, "in", DEEP]]),
    "surrogate": with_turn(webhook={"kind": "message", "conversation_id": "\ud800", "turn_id": "t", "text": "\ud800"}),
    "time": with_turn(at=10**400),
    "hung up": with_turn(hung_up={"events": -1, "ms": -1}),
    "settings": changed(settings={"turn_timeout": -5}),
    "today": changed(settings={"today": "no date"}),
}
OPTIONS: tuple[list[str], ...] = (
    [],
    ["--update"],
    ["--barge-in", "everywhere"],
    ["--live-tools"],
    ["--live-model"],
    ["--from-turn", "2"],
)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options[0] if options else "plain")
def test_a_bad_run_file_is_a_sentence_and_no_traceback(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL", "demo")
    monkeypatch.setenv("TOOLS_DIR", str(ROOT / "tools"))
    monkeypatch.setattr("api.settings.settings.load_dotenv", lambda _: None)
    crashed = []
    for name, content in BAD.items():
        path = tmp_path / f"{name}.json"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
        done = CliRunner().invoke(app, ["replay", str(path), *options])
        if done.exception and not isinstance(done.exception, SystemExit):
            crashed.append(f"{name}: {type(done.exception).__name__}: {done.exception}")
        elif done.exit_code not in (0, 1, 2) or not done.output.strip():
            crashed.append(f"{name}: {done.exit_code}, {done.output!r}")
    assert not crashed, "\n".join(crashed)


@pytest.mark.parametrize("command", [["replay", "there-is-none.json"], ["replay", "."]])
def test_a_file_that_is_none_too(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLS_DIR", str(ROOT / "tools"))
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
