"""`RECORD_RUNS`: a server that stops does not wait for ever for what is still to be written."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from api.operations import recorder
from api.operations.recorder import Recorder
from tests.api.operations.test_fleet import alive


async def test_a_recording_that_does_not_end_is_given_up_at_the_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = tmp_path / "python"
    stuck.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    stuck.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stuck))
    monkeypatch.setattr(recorder, "_LAST", 1.0)
    writing = Recorder(tmp_path)
    for conversation in ("c1", "c2"):
        writing._begin(conversation)
    began = time.monotonic()
    await writing.close()
    assert time.monotonic() - began < 20
    assert "the server stops, and 2 conversations are not recorded" in caplog.messages
    assert not alive(int((tmp_path / "pid").read_text())), "killed, and not waited for"
