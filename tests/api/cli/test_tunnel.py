"""`voice dev --tunnel`: cloudflared, and the URL to be pasted into the Layercode dashboard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from api.cli.main import app
from api.cli.tunnel import tunnel
from api.settings import Settings
from tests.support.backend import ROOT, SECRET, free_port
from tests.support.layercode_api import FAILED, KEY, Account, FakeCloudflared, account

ORIGIN = "http://127.0.0.1:9"
PASTE = "Paste it into the Layercode dashboard, as your agent's webhook URL"

# Public URLs lead to the server on this machine: what a tunnel is for.
DRIVER = """
import sys
import api.cli.tunnel
from api.cli.main import app
from api.cli.probe import probe
api.cli.tunnel._SETTLES = 0
api.cli.tunnel.probe = lambda url, secret: probe("http://127.0.0.1:" + sys.argv[-1] + "/api/agent", secret)
app()
"""


@pytest.fixture
def layercode() -> Iterator[Account]:
    with account() as state:
        yield state


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeCloudflared]]:
    """`installed()`: a cloudflared on PATH, of which no process is left at the end."""
    made: list[FakeCloudflared] = []
    monkeypatch.setattr("api.cli.tunnel._SETTLES", 0)
    monkeypatch.setattr("api.cli.tunnel._PAUSE", 0.01)

    def install(**options: Any) -> FakeCloudflared:
        made.append(FakeCloudflared(tmp_path / "bin", **options))
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        return made[0]

    yield install
    assert all(cloudflared.all_ended() for cloudflared in made)


def settings(layercode: Account, **changed: Any) -> Settings:
    defaults = {
        "_env_file": None, "layercode_api_url": layercode.url, "layercode_api_key": SecretStr(KEY),
        "layercode_agent_id": "ag_1", "layercode_webhook_secret": SecretStr(SECRET),
    }  # fmt: skip
    return Settings(**{**defaults, **changed})


def opened(of: Settings, said: list[str], **options: Any) -> AbstractContextManager[None]:
    return tunnel(of, ORIGIN, say=said.append, **{"answers": lambda url: None, **options})


def wait_for(said: list[str], words: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not any(words in line for line in said):
        assert time.monotonic() < until, said
        time.sleep(0.01)


def test_the_url_is_printed_to_be_pasted_once_it_answers(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode), said):
        wait_for(said, PASTE)
        assert said[-2:] == [f"Tunnel: {cloudflared.webhook(1)} leads here.", f"{PASTE}: {cloudflared.webhook(1)}"]
    (start,) = cloudflared.starts
    assert start.startswith("tunnel --config /dev/null --no-autoupdate --loglevel error --metrics 127.0.0.1:")
    assert start.endswith(f" --url {ORIGIN}")
    assert not any(KEY in line or SECRET in line for line in said)


@contextmanager
def voice_dev(layercode: Account, before: str = "", **options: Any) -> Iterator[subprocess.Popen[str]]:
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "TOOLS_DIR": str(ROOT / "tools"),
        "MODEL": "demo", "LAYERCODE_API_URL": layercode.url, "LAYERCODE_API_KEY": KEY, "LAYERCODE_AGENT_ID": "ag_1",
        "LAYERCODE_WEBHOOK_SECRET": SECRET,
    }  # fmt: skip
    command = [sys.executable, "-c", before + DRIVER, "dev", "--tunnel", "--port", str(free_port())]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
    running = subprocess.Popen(command, env=env, text=True, **options)
    too_long = threading.Timer(120, running.kill)
    too_long.start()
    try:
        yield running
    finally:
        too_long.cancel()
        running.kill()
        running.communicate()


def read_until(running: subprocess.Popen[str], words: str) -> str:
    read = ""
    assert running.stdout
    for line in running.stdout:
        read += line
        if words in line:
            return read
    raise AssertionError(f"it ended before it said {words!r}: {read}")


def test_voice_dev_tunnels_until_ctrl_c_and_leaves_nothing_behind(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    """The whole command: the tunnel's URL counts as open once the server behind it has answered a signed webhook.
    Meanwhile session keys are Layercode's own, and by the tunnel's name nobody gets at the playground."""
    cloudflared = installed()
    with voice_dev(layercode) as running:
        output = read_until(running, PASTE)
        assert f"{cloudflared.webhook(1)} leads here" in output
        assert f"{PASTE}: {cloudflared.webhook(1)}" in output
        (origin,) = {start.rpartition(" ")[2] for start in cloudflared.starts}
        public = {"Host": httpx.URL(cloudflared.webhook(1)).host}
        authorized = httpx.post(f"{origin}/api/authorize", json={"agent_id": "ag_1"}, headers=public)
        assert authorized.json()["client_session_key"] == "lc_sesskey_1"
        assert [httpx.get(origin, headers=headers).status_code for headers in ({}, public)] == [200, 404]
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=30)
        assert running.returncode == 0, output
    assert "Traceback" not in output


def test_a_terminal_that_is_closed_ends_it_as_ctrl_c_does(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    installed()
    terminal, inside = os.openpty()
    take = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"  # to be its session's terminal
    with voice_dev(layercode, take, stdin=inside, stdout=inside, stderr=inside, start_new_session=True) as running:
        os.close(inside)
        output = b""
        while PASTE.encode() not in output:
            output += os.read(terminal, 10_000)
        os.close(terminal)
        assert running.wait(60) == 0


def test_after_kill_9_cloudflared_is_gone(layercode: Account, installed: Callable[..., FakeCloudflared]) -> None:
    cloudflared = installed()
    with voice_dev(layercode) as running:
        read_until(running, PASTE)
        running.kill()
        running.wait()
    assert cloudflared.all_ended()


def test_a_cloudflared_that_dies_is_started_again_and_its_new_url_printed(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode), said):
        wait_for(said, PASTE)
        cloudflared.end()
        wait_for(said, f"{PASTE}: {cloudflared.webhook(2)}")
    assert any(line.startswith("Tunnel: cloudflared ended with status -9") for line in said)


def test_after_five_tries_it_is_given_up_and_the_reason_told(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    """The address of Cloudflare's own API in an error is not taken for a tunnel's."""
    cloudflared, said = installed(fails=True, log=FAILED), list[str]()
    with opened(settings(layercode), said):
        wait_for(said, "given up")
    assert len(cloudflared.starts) == 5
    assert sum("no such host" in line for line in said) == 5
    assert not any(PASTE in line for line in said)


def test_a_url_that_does_not_answer_is_not_printed_to_be_pasted(
    layercode: Account, installed: Callable[..., FakeCloudflared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, with signs of life, for so long; then another one is asked for."""
    for name, seconds in (("_ANSWERS", 0.5), ("_TOLD", 0.0)):
        monkeypatch.setattr(f"api.cli.tunnel.{name}", seconds)
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode), said, answers=lambda url: None if "-2." in url else "it answers 530"):
        wait_for(said, PASTE)
    assert any(line.startswith("Tunnel: not yet, after") for line in said)
    assert any("does not answer after 0 s: it answers 530" in line for line in said)
    assert [line for line in said if PASTE in line] == [f"{PASTE}: {cloudflared.webhook(2)}"]


def test_without_a_key_it_prints_the_url_too(layercode: Account, installed: Callable[..., FakeCloudflared]) -> None:
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode, layercode_api_key=None), said):
        wait_for(said, f"{PASTE}: {cloudflared.webhook(1)}")


def test_it_leads_to_no_other_backend() -> None:
    result = CliRunner().invoke(app, ["dev", "--tunnel", "--webhook", "http://localhost:3000/api/agent"])
    assert result.exit_code == 2
    assert "leave one of them out" in result.stderr


def test_without_cloudflared_it_says_how_to_get_it(layercode: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PATH", "/nowhere"), ("MODEL", "demo"), ("TOOLS_DIR", str(ROOT / "tools"))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("api.operations.server.run", partial(pytest.fail, "it served"))
    result = CliRunner().invoke(app, ["dev", "--tunnel", "--port", "0"])
    assert result.exit_code == 2
    assert "brew install cloudflared" in result.stderr
    assert "Linux" in result.stderr
