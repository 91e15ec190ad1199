"""`voice dev --tunnel`: cloudflared, and the agent's webhook URL, which is put back whatever happens to us."""

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
from api.cli.tunnel import give_back_after_crash, tunnel
from api.platforms.layercode.rest import Layercode
from api.platforms.layercode.webhook_url import FILE, WebhookUrl, borrowed
from api.settings import NotConfigured, Settings
from tests.support.backend import ROOT, SECRET, free_port
from tests.support.layercode_api import FAILED, KEY, ORIGINAL, Account, FakeCloudflared, account, agent

ORIGIN = "http://127.0.0.1:9"
DEAD = "https://dead-dashed-words.trycloudflare.com/api/agent"

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


def test_the_agents_webhooks_come_here_while_it_runs_and_go_where_they_went_afterwards(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode), said):
        wait_for(said, "webhook URL is now")
        assert layercode.webhook() == cloudflared.webhook(1)
        assert [entry.original for entry in borrowed()] == [ORIGINAL]
    assert cloudflared.starts == [f"tunnel --config /dev/null --no-autoupdate --url {ORIGIN}"]
    assert layercode.posted == [("ag_1", cloudflared.webhook(1)), ("ag_1", ORIGINAL)]
    assert said[-1] == f"The agent's webhook URL is {ORIGINAL} again."
    assert not FILE.exists()
    assert not any(KEY in line or SECRET in line for line in said)


def test_an_older_agent_has_its_url_in_its_endpoint(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    installed()
    said = list[str]()
    layercode.agents["ag_1"] = agent(None, endpoint="https://old.example.com/hook")
    with opened(settings(layercode), said):
        wait_for(said, "webhook URL is now")
    assert layercode.webhook() == "https://old.example.com/hook"


def test_an_agent_without_a_url_cannot_get_none_back_and_that_is_said(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    installed()
    said = list[str]()
    layercode.agents["ag_1"] = agent(None)
    with opened(settings(layercode), said):
        wait_for(said, "Before, it was none")
    assert "had no webhook URL before" in said[-1]
    assert not FILE.exists()


def test_another_tunnels_url_is_not_taken_for_the_agents_own(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    """As one that was killed in another folder leaves it. It is told, also when the first try to set ours fails."""
    cloudflared, said = installed(), list[str]()
    layercode.agents["ag_1"] = agent(DEAD)
    with opened(settings(layercode), said):
        wait_for(said, "webhook URL is now")
        assert layercode.webhook() == cloudflared.webhook(1)
    assert any(f"webhook URL is {DEAD}, which another tunnel has set" in line for line in said)
    assert "It still is" in said[-1]
    assert "set another in the Layercode dashboard" in said[-1]
    assert not FILE.exists()


def left_behind(by: Account) -> None:
    """What a killed run leaves: the agent at a dead tunnel."""
    with Layercode(by.url, KEY) as client:
        WebhookUrl(client, "ag_1", print).point_to(DEAD)


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
        output = read_until(running, "webhook URL is now")
        assert f"{cloudflared.webhook(1)} leads here" in output
        assert layercode.webhook() == cloudflared.webhook(1)
        (origin,) = {start.rpartition(" ")[2] for start in cloudflared.starts}
        public = {"Host": httpx.URL(cloudflared.webhook(1)).host}
        authorized = httpx.post(f"{origin}/api/authorize", json={"agent_id": "ag_1"}, headers=public)
        assert authorized.json()["client_session_key"] == "lc_sesskey_1"
        assert [httpx.get(origin, headers=headers).status_code for headers in ({}, public)] == [200, 404]
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=30)
        assert running.returncode == 0, output
    assert f"is {ORIGINAL} again" in output
    assert "Traceback" not in output
    assert layercode.webhook() == ORIGINAL


def test_a_terminal_that_is_closed_ends_it_as_ctrl_c_does(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    installed()
    terminal, inside = os.openpty()
    take = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"  # to be its session's terminal
    with voice_dev(layercode, take, stdin=inside, stdout=inside, stderr=inside, start_new_session=True) as running:
        os.close(inside)
        output = b""
        while b"webhook URL is now" not in output:
            output += os.read(terminal, 10_000)
        os.close(terminal)
        assert running.wait(60) == 0
    assert layercode.webhook() == ORIGINAL
    assert not FILE.exists()


def test_after_kill_9_cloudflared_is_gone_and_the_next_start_puts_the_url_back(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    cloudflared, said = installed(), list[str]()
    with voice_dev(layercode) as running:
        read_until(running, "webhook URL is now")
        running.kill()
        running.wait()
    assert cloudflared.all_ended()
    assert layercode.webhook() == cloudflared.webhook(1)
    give_back_after_crash(settings(layercode), said.append)
    assert said == [f"The agent's webhook URL is {ORIGINAL} again."]
    assert layercode.webhook() == ORIGINAL
    assert not FILE.exists()


def test_a_tunnel_after_a_crash_still_knows_the_first_url(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    """Not the dead tunnel's, also when Layercode fails at the start of the second."""
    cloudflared, said = installed(), list[str]()
    left_behind(layercode)
    layercode.fail = 500
    with opened(settings(layercode), said, answers=lambda url: None if layercode.fail is None else "not yet"):
        wait_for(said, "could not be put back")
        layercode.fail = None
        wait_for(said, "webhook URL is now")
        assert layercode.webhook() == cloudflared.webhook(1)
    assert layercode.webhook() == ORIGINAL


def test_what_somebody_else_set_meanwhile_stays(layercode: Account, installed: Callable[..., FakeCloudflared]) -> None:
    """Also when our tunnel is opened again, twice."""
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode), said):
        wait_for(said, "webhook URL is now")
        layercode.agents["ag_1"] = agent("https://theirs.example.com")
        for number in (2, 3):
            cloudflared.end()
            wait_for(said, f"{cloudflared.webhook(number)} leads here")
    assert layercode.webhook() == "https://theirs.example.com"
    (line,) = [line for line in said if "changed meanwhile" in line]
    assert "https://theirs.example.com" in line
    assert ORIGINAL in line
    assert layercode.posted == [("ag_1", cloudflared.webhook(1))]


def test_what_somebody_else_set_after_a_crash_stays_too(layercode: Account) -> None:
    said = list[str]()
    left_behind(layercode)
    layercode.agents["ag_1"] = agent("https://theirs.example.com")
    give_back_after_crash(settings(layercode), said.append)
    give_back_after_crash(settings(layercode), said.append)
    assert len(said) == 1
    assert "changed meanwhile" in said[0]
    assert layercode.webhook() == "https://theirs.example.com"


def test_agents_of_one_folder_are_remembered_apart(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    cloudflared, said = installed(), list[str]()
    layercode.agents["ag_2"] = agent("https://two.example.com")
    left_behind(layercode)
    with account() as other, opened(settings(other), said):
        wait_for(said, "webhook URL is now")
        assert [entry.api for entry in borrowed()] == [layercode.url, other.url]
        assert other.webhook() == cloudflared.webhook(1)
        assert layercode.webhook() == DEAD
    with opened(settings(layercode, layercode_agent_id="ag_2"), said):
        wait_for(said, "Before, it was https://two.example.com")
    assert layercode.webhook("ag_1") == ORIGINAL
    assert layercode.webhook("ag_2") == "https://two.example.com"


def test_a_cloudflared_that_dies_is_started_again_and_its_new_url_set(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode), said):
        wait_for(said, "webhook URL is now")
        cloudflared.end()
        wait_for(said, f"webhook URL is now {cloudflared.webhook(2)}")
        assert layercode.webhook() == cloudflared.webhook(2)
    assert any(line.startswith("Tunnel: cloudflared ended with status -9") for line in said)
    assert layercode.webhook() == ORIGINAL


def test_after_five_tries_it_is_given_up_and_the_reason_told(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    """The address of Cloudflare's own API in an error is not taken for a tunnel's."""
    cloudflared, said = installed(seconds=0, log=FAILED), list[str]()
    with opened(settings(layercode), said):
        wait_for(said, "given up")
    assert len(cloudflared.starts) == 5
    assert sum("no such host" in line for line in said) == 5
    assert layercode.posted == []


def test_a_url_that_does_not_answer_is_not_set(
    layercode: Account, installed: Callable[..., FakeCloudflared], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for, with signs of life, for so long; then another one is asked for."""
    for name, seconds in (("_ANSWERS", 0.5), ("_TOLD", 0.0)):
        monkeypatch.setattr(f"api.cli.tunnel.{name}", seconds)
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode), said, answers=lambda url: None if "-2." in url else "it answers 530"):
        wait_for(said, "webhook URL is now")
    assert any(line.startswith("Tunnel: not yet, after") for line in said)
    assert any("does not answer after 0 s: it answers 530" in line for line in said)
    assert [url for _, url in layercode.posted] == [cloudflared.webhook(2), ORIGINAL]


@pytest.mark.parametrize(
    "changed",
    [{"layercode_api_key": None}, {"layercode_agent_id": None}, {"passing_secret": True}],
    ids=["key", "agent", "secret"],
)
def test_without_key_agent_or_secret_it_prints_the_url_to_set(
    layercode: Account, installed: Callable[..., FakeCloudflared], changed: dict[str, Any]
) -> None:
    """With a secret of this run's own, the agent's real calls would all be refused here."""
    cloudflared, said = installed(), list[str]()
    options = {"passing_secret": changed.pop("passing_secret", False)}
    with opened(settings(layercode, **changed), said, **options):
        wait_for(said, f"Set it yourself: {cloudflared.webhook(1)} as your agent's webhook URL")
    assert layercode.posted == []


def test_a_url_that_layercode_does_not_take_is_printed_to_set(
    layercode: Account, installed: Callable[..., FakeCloudflared]
) -> None:
    installed()
    said = list[str]()
    with opened(settings(layercode, layercode_agent_id="ag_9"), said):
        wait_for(said, "Set it yourself")
    assert any("this account has no agent ag_9" in line for line in said)


def test_one_folder_has_one_tunnel(layercode: Account, installed: Callable[..., FakeCloudflared]) -> None:
    """A second `voice dev` here neither opens another nor takes the first one's URL back."""
    cloudflared, said = installed(), list[str]()
    with opened(settings(layercode), said):
        wait_for(said, "webhook URL is now")
        with pytest.raises(NotConfigured, match="Another"), opened(settings(layercode), said):
            pass
        give_back_after_crash(settings(layercode), said.append)
        assert layercode.webhook() == cloudflared.webhook(1)


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
