"""The image and the compose file: what must hold of them, as far as it shows without an engine to build them."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from api.settings import Settings
from tests.support.backend import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def instructions(stage: str) -> list[tuple[str, str]]:
    """(name, arguments) of each line of a stage."""
    found = re.findall(r"^([A-Z]+) +(.*)$", stage, re.MULTILINE)
    return [(str(name), str(arguments)) for name, arguments in found]


FINAL = instructions(DOCKERFILE.split("\nFROM ")[-1])


def last(name: str) -> str:
    return [arguments for found, arguments in FINAL if found == name][-1]


def test_the_image_runs_the_server_itself_as_nobody_in_particular_and_without_uv() -> None:
    """In exec form, or SIGTERM would end in a shell; by number, as Kubernetes wants it."""
    assert json.loads(last("ENTRYPOINT")) + json.loads(last("CMD"))[:3] == ["voice", "serve", "--host", "0.0.0.0"]
    assert int(last("USER")) > 0
    assert not [
        arguments for name, arguments in FINAL if name == "RUN" and re.search(r"\b(pip|uv|apt-get)\b", arguments)
    ]
    assert f"install --directory --owner=voice {last('VOLUME')}" in last("RUN")
    assert f"sqlite:///{last('VOLUME')}/" in last("ENV")


def test_everything_that_is_copied_is_there_and_nothing_else_gets_in() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {path for name, args in instructions(DOCKERFILE) if name == "COPY" and "--from" not in args
              for path in args.split()[:-1]}  # fmt: skip
    assert rules[0] == "*"
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)
    assert any(fnmatch.fnmatch("agent/.env", rule) for rule in rules if not rule.startswith("!"))


def test_the_image_serves_without_the_playground_which_is_not_in_it(tmp_path: Path) -> None:
    assert "api/playground" in (ROOT / ".dockerignore").read_text().splitlines()
    for folder in ("agent", "api", "tools"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("playground", "__pycache__"))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        python = [sys.executable, *command]
        return subprocess.run(python, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)

    modules = "api.app, api.cli.check, api.cli.main, api.operations.server, api.operations.workers"
    served = run("-c", f"import {modules}; print(api.app.__file__)")
    assert served.stdout == f"{tmp_path}/api/app.py\n", served.stderr
    developed = run("-m", "api.cli.main", "dev")
    assert (developed.returncode, developed.stdout) == (2, "")
    assert developed.stderr == "This is an image for production, without the playground: run voice dev in a clone.\n"


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_health_check_tells_whether_it_is_ready(status: int | None, healthy: bool) -> None:
    asked = []

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status or 0)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        _, *command = json.loads(last("HEALTHCHECK").partition("CMD ")[2])
        code = command[1].replace("8000", str(server.server_port))
        if status is None:
            server.server_close()
        else:
            Thread(target=server.handle_request, daemon=True).start()
        done = subprocess.run([sys.executable, command[0], code], capture_output=True, timeout=30)
    assert (done.returncode == 0) is healthy
    assert asked == (["/readyz"] if status else [])


def test_the_services_wait_for_each_other_and_keep_what_they_hold() -> None:
    backend, postgres = COMPOSE["services"]["backend"], COMPOSE["services"]["postgres"]
    assert backend["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert "--host=127.0.0.1" in postgres["healthcheck"]["test"], "its first start is ready on a socket too early"
    patience = float(backend["stop_grace_period"].removesuffix("s"))
    assert patience > 2 * Settings.model_fields["drain_seconds"].default + 10, "turns, then tools, then the rest"
    for service in (backend, postgres):
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in COMPOSE["volumes"]


def test_no_secret_stands_in_them() -> None:
    both = re.sub(r"\$\{.*?\}", "", DOCKERFILE + (ROOT / "compose.yaml").read_text())
    assert not re.findall(r"(?:PASSWORD|SECRET|KEY)\w*[:=] *\S+|//\w+:[^@\s]+@", both)
