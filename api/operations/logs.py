"""The log: how its lines look, and the line that every turn gets.

What a record has in `extra={"fields": {…}}` becomes key=value, or fields of the JSON object (LOG_FORMAT=json). An
exception's text may hold a caller's words: above the debug level only its kind and place are shown.
"""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent.turns import Observer, ToolCallStatus, Turn
from api.operations.rate import Rate
from api.printable import printable

log = logging.getLogger("voice")

# At `info` these would log every URL, with what the caller asked for in it.
_TALKATIVE = ("httpx", "httpx2", "google_genai", "asyncio", "opentelemetry")
# These put the texts of errors and messages into their lines: only for `debug`. `root` is the MCP client's too.
_INDISCREET = ("mcp", "langchain_mcp_adapters")
_A_MINUTE = 60
_WORD = re.compile(r"[\w.:/+-]+", re.ASCII)


def configure_logging(level: str, form: str = "plain") -> None:
    handler = logging.StreamHandler()
    handler.addFilter(Sparing())
    handler.setFormatter((Lines if form == "plain" else JsonLines)(tell_all=level == "debug"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
    if level != "debug":
        for name in _INDISCREET:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # below, it logs the URL of each WebSocket
        logging.getLogger().addFilter(lambda record: record.name != "root")
    logging.getLogger("psycopg.pool").setLevel(
        logging.ERROR
    )  # agent/storage/workers.py says once that the database is away


class Sparing(logging.Filter):
    """Lets through at most 60 warnings and errors of a kind in a minute: strangers can cause some. The next one says
    how many were left out."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._rate = Rate(_A_MINUTE, clock=clock)
        self._left_out: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = f"{record.name}: {record.msg}"
        if self._rate.wait(kind):
            self._left_out[kind] += 1
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.fields = {**fields_of(record), "left_out": left_out}
        return True


class Lines(logging.Formatter):
    """For people: time, level, logger, message, key=value."""

    def __init__(self, *, tell_all: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._tell_all = tell_all

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_word(value)}" for name, value in fields_of(record).items())
        message = self.message(record) if self._tell_all else printable(self.message(record), keep="")
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {message}{fields}"
        error = self.error(record)
        return f"{line}: {error}" if error else line

    def message(self, record: logging.LogRecord) -> str:
        """With an exception asyncio's has more lines, and the exception's text in them."""
        message = record.getMessage()
        return message if self._tell_all or not record.exc_info else message.partition("\n")[0]

    def error(self, record: logging.LogRecord) -> str:
        if not record.exc_info or not record.exc_info[1]:
            return ""
        if self._tell_all:
            return self.formatException(record.exc_info)
        frames = traceback.extract_tb(record.exc_info[2])
        place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        return f"{type(record.exc_info[1]).__name__}{place}"


class JsonLines(Lines):
    """For machines: an object in each line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": at, "level": record.levelname.lower(), "logger": record.name, "message": self.message(record)}
        if error := self.error(record):
            line["error"] = error
        return json.dumps({**line, **fields_of(record)}, ensure_ascii=False, default=str)


def fields_of(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}


class TurnLines(Observer):
    """A line when a turn is over, and one for a tool that outlived it. No words of the caller's, and no number.

    At the debug level a second line has the turn's transcript.
    """

    def turn_over(self, turn: Turn) -> None:
        fields = {
            "conversation": turn.request.conversation_id,
            "turn": turn.request.turn_id,
            "kind": turn.request.kind,
            "outcome": turn.outcome,
            "first_token_ms": turn.first_token_ms,
            "first_words_ms": turn.first_words_ms,
            "model_calls": len(turn.model_calls),
            "tools": [_described(tool) for tool in turn.tools] or None,
            "joined": turn.joined or None,
            "repaired": turn.repaired or None,
            "ms": turn.ended_ms,
        }
        log.info("turn", extra={"fields": fields})
        if log.isEnabledFor(logging.DEBUG):
            log.debug("transcript", extra={"fields": _transcript(turn)})

    def tool_over(self, turn: Turn, tool: ToolCallStatus) -> None:
        if tool.late:
            about = {"conversation": turn.request.conversation_id, "turn": turn.request.turn_id}
            log.info("tool after its turn", extra={"fields": {**about, **_described(tool)}})


def _transcript(turn: Turn) -> dict[str, Any]:
    about = {"conversation": turn.request.conversation_id, "turn": turn.request.turn_id}
    return {**about, "caller": turn.request.text, "agent": turn.spoken}


def _described(tool: ToolCallStatus) -> dict[str, Any]:
    ms = None if tool.seconds is None else round(tool.seconds * 1000)
    return {"tool": tool.name, "ms": ms, "ended": tool.ended}


def _word(value: Any) -> str:
    """A value in one word. Whatever could be taken for something else, such as a second line, is quoted."""
    if isinstance(value, list):
        return ",".join(_word(":".join(str(v).replace(" ", "_") for v in item.values())) for item in value)
    text = str(value)
    return text if _WORD.fullmatch(text) else json.dumps(text)
