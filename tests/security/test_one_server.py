"""One SQLite file, one server: a second would take the first's running actions for crashed ones, and run them again."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from agent.storage import DatabaseError, open_storage
from tests.support.backend import free_port, process, served


async def ended(command: list[str], **env: str) -> tuple[int, str]:
    """Exit status and output of a command that ends by itself."""
    with process(command, **env) as running:
        output, _ = await asyncio.to_thread(running.communicate, timeout=60)
        return running.returncode, output


async def test_a_second_server_on_one_file_is_refused_also_by_another_name_until_the_first_is_gone(
    tmp_path: Path,
) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "voice.db")
    environment = {"MODEL": "demo", "LAYERCODE_WEBHOOK_SECRET": "whsec_0123456789abcdef"}
    first = {**environment, "DATABASE_URL": f"sqlite:///{tmp_path}/voice.db"}
    second = {**environment, "DATABASE_URL": f"sqlite:///{tmp_path}/link.db"}
    async with served(**first) as server:
        for name in ("serve", "dev"):
            status, output = await ended([name, "--port", str(free_port())], **second)
            assert status == 2, output
            assert "is in use by another server" in output
            assert "Traceback" not in output
        for command in (["forget", "nobody", "--yes"], ["record", "--conversation", "nobody"]):
            status, output = await ended(command, **first)
            assert "in use" not in output, output
        assert (await server.caller().say("What time is it in Tokyo?")).ended_once
        assert server.process
        server.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(server.process.wait)
    async with served(**second) as server:
        assert (await server.caller().say("What time is it in Tokyo?")).ended_once


async def test_where_it_cannot_be_told_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file system without locks, such as some network mounts."""

    def no_locks(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", no_locks)
    async with open_storage(f"sqlite:///{tmp_path}/voice.db", alone=True):
        pass
    assert "cannot be locked" in caplog.text


async def test_in_one_process_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/voice.db"
    async with open_storage(url, alone=True), open_storage(url):
        with pytest.raises(DatabaseError, match="in use by another server"):
            async with open_storage(url, alone=True):
                pass
    async with open_storage(url, alone=True):
        pass
