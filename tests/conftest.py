"""What the tests share: Gemini's stand-in, and our backend on a real socket, here or in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.backend import Backend, backend
from tests.support.conversation import Tools
from tests.support.gemini import Gemini
from tests.support.postgres import Server, postgres

# On shared cores a single example may take long through no fault of the code.
settings.register_profile("shared cores", deadline=None)
settings.load_profile("shared cores")

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.fixture(autouse=True)
def _no_real_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A key or `.env` of the developer's must not reach a test, nor a test the developer's database."""
    for name in ("GOOGLE_GENERATIVE_AI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY", "MODEL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


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
    """`await start(max_tool_steps=2, …)`: a backend in this event loop, on a real socket, talking to `gemini`."""
    async with AsyncExitStack() as stack:

        async def started(**settings: Any) -> Backend:
            defaults: dict[str, Any] = {
                "google_api_key": "test-key",
                "google_gemini_base_url": gemini.url,
                "database_url": f"sqlite:///{tmp_path}/voice.db",
                "tools_dir": TOOLS,
            }
            return await stack.enter_async_context(backend(**{**defaults, **settings}))

        yield started


@pytest.fixture
def deeds(tmp_path: Path) -> Tools:
    """A folder of tools that write down what they do: `await start(tools_dir=deeds.folder)`."""
    return Tools(tmp_path / "deeds")
