"""What others have written is printed, logged and reported as text: no terminal obeys it, every reader can read it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from api.cli.main import app
from tests.support.backend import ROOT, SECRET

HOSTILE = "\x1b]52;c;ZXZpbA==\x07 \x1b[31mred \x9b2J \x08 \x00 \u202etxt"
OBEYED = ("\x1b", "\x07", "\x9b", "\x08", "\x00", "\u202e")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOOLS_DIR", str(ROOT / "tools"))
    monkeypatch.setenv("MODEL", "demo")
    monkeypatch.setenv("LAYERCODE_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/voice.db")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def assert_harmless(result: Result) -> None:
    assert "red" in result.output, "it was not printed at all"
    assert not [each for each in OBEYED if each in result.output]


def run_file(path: Path, **changed: object) -> Path:
    fields = json.loads((ROOT / "tests/runs/weather.json").read_text())
    path.write_text(json.dumps({**fields, **changed}))
    return path


def test_a_run_file_does_not_write_to_the_terminal(tmp_path: Path) -> None:
    assert_harmless(run("replay", str(run_file(tmp_path / "a.json", version=HOSTILE))))
    assert_harmless(run("replay", str(run_file(tmp_path / "b.json", prompt=[HOSTILE]))))
    assert_harmless(run("replay", str(run_file(tmp_path / "c.json", **{HOSTILE: 1}))))


SCENARIO = """
caller:
  - say: "hello \\e]52;c;ZXZpbA==\\a \\e[31mred \\x9b2J \\b \\0 \\u202e"
model:
  - say: "answer \\e]0;title\\a <script>alert(1)</script> \\x0b"
expect:
  heard: ["never \\e[31m \\x0b"]
"""


def test_a_scenario_does_not_write_to_the_terminal_nor_break_the_reports(tmp_path: Path) -> None:
    file = tmp_path / "<b>.yaml"
    file.write_text(SCENARIO)
    result = run("simulate", str(file), "--junit", "o.xml", "--html", "o.html", "--json", "o.json")
    assert_harmless(result)
    case = ElementTree.parse(tmp_path / "o.xml").find("testcase")
    assert case is not None
    assert "never" in case[0].attrib["message"]
    assert case.attrib["name"] == "<b>"
    page = (tmp_path / "o.html").read_text()
    assert "red" in page
    assert not [each for each in ("<script", "<b>.yaml", *OBEYED) if each in page]
    assert json.loads((tmp_path / "o.json").read_text())["scenarios"][0]["status"] == "failed"


def test_half_a_character_in_a_scenario_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "half.yaml"
    file.write_text('caller:\n  - say: "\\uD800 red"\nmodel:\n  - say: hello\n')
    result = run("simulate", str(file), "--junit", "o.xml", "--html", "o.html", "--json", "o.json")
    assert result.exit_code == 2
    assert "half.yaml:2: " in result.output
    assert "half of a character" in result.output


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that answers so, whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 500])
def test_a_server_does_not_write_to_the_terminal(status: int) -> None:
    event = json.dumps({"type": f"x{HOSTILE}", "content": HOSTILE})
    body = f'data: {event}\n\ndata: {{"type":"response.end"}}\n\n' if status == 200 else f"red {HOSTILE}"
    with answering(status, body) as url:
        assert_harmless(run("say", "hello", "--url", url))
