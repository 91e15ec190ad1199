"""What the tests share: Gemini's stand-in, and our backend on a real socket, here or in a process of its own."""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest
from blockbuster import BlockingError, blockbuster_ctx
from hypothesis import settings

from api.app import _tune_collector
from tests.support.backend import Backend, backend
from tests.support.conversation import Tools
from tests.support.gemini import Gemini
from tests.support.postgres import Server, postgres

# On shared cores a single example may take long through no fault of the code.
settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")

TOOLS = Path(__file__).parent.parent / "tools"
_PRODUCT = tuple(f"{TOOLS.parent / room}/" for room in ("agent", "api", "tools"))


@pytest.fixture(autouse=True)
def _no_real_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key or `.env` of the developer's must not reach a test, nor a test the developer's database."""
    for name in ("GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "MODEL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _collector() -> Iterator[None]:
    """Tuned once, as a server tunes it at its start: each test's server would else keep for ever what the tests before
    it have left."""
    _tune_collector()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.app._tune_collector", lambda: None)
        yield


_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
_live = {"allowed": False}


def _refuse_the_world(event: str, arguments: tuple[Any, ...]) -> None:
    """No test leaves this machine, so none can ask a live model, unless it is marked `live`."""
    if event not in ("socket.connect", "socket.getaddrinfo") or _live["allowed"]:
        return
    host = arguments[1][0] if event == "socket.connect" and isinstance(arguments[1], tuple) else arguments[0]
    if isinstance(host, bytes | str) and not str(host if isinstance(host, str) else host.decode()).startswith(
        _LOOPBACK
    ):
        raise ConnectionRefusedError(f"a test tried to reach {host!r}; mark it `live` if it must")


sys.addaudithook(_refuse_the_world)


@pytest.fixture(autouse=True)
def _only_loopback(request: pytest.FixtureRequest) -> Iterator[None]:
    _live["allowed"] = request.node.get_closest_marker("live") is not None
    yield
    _live["allowed"] = False


# What may block: a library's late import or first use; a line of the log; a start, for which nobody waits yet; a
# command that does one thing; the database in memory and
# tools in virtual time, which are in the loop's thread by design; a tool of the tests.
_MAY_BLOCK = [
    ("<frozen importlib._bootstrap>", {"_find_and_load"}),
    ("logging/__init__.py", {"emit"}),
    ("mimetypes.py", {"init"}),
    ("fastapi/routing.py", {"_extract_endpoint_context"}),
    ("agent/config.py", {"<lambda>"}),
    ("agent/llm/load.py", {"load_model"}),
    ("agent/tooling/folder.py", {"load"}),
    ("agent/tooling/mcp_config.py", {"load_servers"}),
    ("api/app.py", {"create_app"}),
    ("api/cli/replay.py", {"project_of"}),
    ("api/playground/__init__.py", {"add_playground"}),
    ("api/wiring.py", {"load_parts"}),
    ("api/cli/forget.py", {"forget"}),
    ("agent/replay/run_file.py", {"load_run", "save_run"}),
    ("agent/replay/simulated_tools.py", {"call"}),
    ("agent/replay/virtual_time.py", {"run_in_executor"}),
    ("agent/storage/sqlite.py", {"visit"}),
    ("deeds/tools.py", {"record"}),
]


class _Seen(BlockingError):
    """Kept too: what swallows the error does not make the test green."""

    calls: ClassVar[list[str]] = []

    def __init__(self, func: str) -> None:
        super().__init__(func)
        stack = traceback.extract_stack()[:-2]
        ours = [frame for frame in stack[:-1] if frame.filename.startswith(_PRODUCT)]
        self.calls.append(f"{func}\n{''.join(traceback.format_list([*ours, stack[-1]]))}")


@pytest.fixture(scope="session", autouse=True)
def _blockbuster() -> Iterator[None]:
    """A blocking call under a function of ours raises in a thread that runs an event loop."""
    with blockbuster_ctx(["agent", "api", "tools"]) as blockbuster, pytest.MonkeyPatch.context() as patch:
        for function in blockbuster.functions.values():
            for filename, functions in _MAY_BLOCK:
                function.can_block_in(filename, functions)
        for name in ("threading.Lock.acquire", "threading.Lock.acquire_lock"):  # held for a moment only
            blockbuster.functions[name].deactivate()
        patch.setattr("blockbuster.blockbuster.BlockingError", _Seen)
        yield


@pytest.fixture(autouse=True)
def blocking_calls() -> Iterator[list[str]]:
    """Those seen in an event loop, with where. What is in it at the end fails the test."""
    _Seen.calls.clear()
    yield _Seen.calls
    assert not _Seen.calls, "blocking calls in the event loop:\n" + "\n".join(_Seen.calls)


@pytest.fixture
def gemini() -> Iterator[Gemini]:
    """Gemini's stand-in; at the end of the test it has had no request that the real one would refuse."""
    with Gemini() as gemini:
        yield gemini
        gemini.verify()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    with postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> str:
    return postgres_server.new()


Start = Callable[..., AbstractAsyncContextManager[Backend]]


@pytest.fixture
async def start(gemini: Gemini, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """`await start(max_tool_steps=2, …)`: a backend in this event loop, on a real socket, talking to `gemini`. The one
    before it on the same SQLite database is stopped first: that serves one server."""
    async with AsyncExitStack() as stack:
        alone = await stack.enter_async_context(AsyncExitStack())

        async def started(**settings: Any) -> Backend:
            defaults: dict[str, Any] = {
                "google_api_key": "test-key",
                "google_gemini_base_url": gemini.url,
                "database_url": f"sqlite:///{tmp_path}/voice.db",
                "tools_dir": TOOLS,
            }
            wanted = {**defaults, **settings}
            if wanted["database_url"] != defaults["database_url"]:
                return await stack.enter_async_context(backend(**wanted))
            await alone.aclose()
            return await alone.enter_async_context(backend(**wanted))

        yield started


@pytest.fixture
def deeds(tmp_path: Path) -> Tools:
    """A folder of tools that write down what they do: `await start(tools_dir=deeds.folder)`."""
    return Tools(tmp_path / "deeds")
