"""The `voice` command. Imports are inside the commands: `voice --help` must not load a language model's client."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.settings import NotConfigured, Settings, new_secret

if TYPE_CHECKING:
    from api.wiring import Parts

app = typer.Typer(
    help="A voice agent that does things.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port to listen on.")]


@app.command()
def chat(
    demo: Annotated[bool, typer.Option("--demo", help="Without a language model.")] = False,
    record: Annotated[Path | None, typer.Option(help="Write the conversation to this run file.")] = None,
) -> None:
    """Talk to the agent here in the terminal. Ctrl-C interrupts it, Ctrl-D leaves."""
    from api.chat import chat as run_chat
    from api.server import configure_logging
    from api.wiring import load_parts

    with _explained():
        settings = _or_demo(Settings.load(), demo=demo)
        configure_logging("warning" if settings.log_level == "info" else settings.log_level)
        asyncio.run(run_chat(settings, load_parts(settings, reload_tools=True), record))


@app.command()
def record(
    conversation: Annotated[str, typer.Option(help="The conversation, as Layercode names it.")],
    out: Annotated[Path | None, typer.Option(help="The file. Default: tests/runs/CONVERSATION.json")] = None,
) -> None:
    """Make a run file of a finished conversation in the database."""
    from api.replay_command import record_conversation

    with _explained():
        path = out or Path("tests/runs") / f"{conversation}.json"
        raise typer.Exit(asyncio.run(record_conversation(conversation, path, Settings.load())))


@app.command()
def replay(
    files: Annotated[list[Path], typer.Argument(help="Run files.")],
    update: Annotated[bool, typer.Option("--update", help="Rewrite what the files expect.")] = False,
    from_turn: Annotated[int, typer.Option(min=1, help="Compare from this turn on.")] = 1,
    barge_in: Annotated[str | None, typer.Option(help="`everywhere`: hang up after each event.")] = None,
    live_tools: Annotated[bool, typer.Option("--live-tools", help="Really run the tools.")] = False,
    live_model: Annotated[bool, typer.Option("--live-model", help="Ask the configured model again.")] = False,
) -> None:
    """Replay recorded conversations, and show what has changed."""
    from api.replay_command import Options, replay_files

    with _explained():
        if barge_in not in (None, "everywhere"):
            raise NotConfigured("--barge-in takes one value: everywhere.")
        if sum([update, from_turn > 1, barge_in is not None, live_tools, live_model]) > 1:
            raise NotConfigured("--update, --from-turn, --barge-in, --live-tools and --live-model exclude each other.")
        options = Options(update, from_turn, barge_in is not None, live_tools, live_model)
        raise typer.Exit(replay_files(files, options, Settings.load()))


@app.command()
def dev(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve for development: tools reload when saved, and you are told what to do next."""
    from api.wiring import check_database, load_parts

    with _explained():
        settings = _or_demo(Settings.load())
        missing, shown = _missing_for_calls(settings), ""
        if not settings.layercode_webhook_secret:
            settings = settings.model_copy(update={"layercode_webhook_secret": new_secret()})
            shown = f"LAYERCODE_WEBHOOK_SECRET={settings.webhook_secret} "
            typer.echo(f"No LAYERCODE_WEBHOOK_SECRET is set. For this run it is {settings.webhook_secret}")
        parts = load_parts(settings, reload_tools=True)
        asyncio.run(check_database(settings))
        _serve(settings, parts, host, port, lambda url: _say_what_next(settings, url, missing, shown))


@app.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000) -> None:
    """Serve in production. Refuses to start when something is missing."""
    from api.wiring import check_database, load_parts

    with _explained():
        settings = Settings.load()
        problems: list[str] = []
        with _collected(problems):
            _ = settings.webhook_secret
        with _collected(problems):
            parts = load_parts(settings)
        with _collected(problems):
            asyncio.run(check_database(settings))
        if problems:
            raise NotConfigured(*problems)
        _serve(settings, parts, host, port)


@app.command()
def say(
    text: str,
    url: Annotated[str, typer.Option(help="The webhook.")] = "http://127.0.0.1:8000/api/agent",
    conversation: Annotated[str | None, typer.Option(help="Go on with this conversation.")] = None,
    hang_up_after: Annotated[int | None, typer.Option(min=1, help="Drop the line after so many events.")] = None,
    interrupted: Annotated[str | None, typer.Option(help="The turn that was interrupted.")] = None,
    heard: Annotated[str, typer.Option(help="What was heard of it.")] = "",
) -> None:
    """Send one signed webhook to a running server, and show what it answers, when."""
    from api.say import Spoken
    from api.say import say as send

    with _explained():
        secret = Settings.load().webhook_secret
        spoken = Spoken(text, conversation or f"conv_{uuid.uuid4().hex[:12]}", interrupted, heard)
        raise typer.Exit(send(spoken, url=url, secret=secret, hang_up_after=hang_up_after))


@app.command()
def tools() -> None:
    """List the tools found, and what each says and how long it may take."""
    from agent.tool_files import ToolFileError, ToolFolder
    from agent.toolbox import manners_of

    with _explained():
        folder = ToolFolder(Settings.load().tools_dir)
        try:
            folder.load()
        except ToolFileError as error:
            raise NotConfigured(*str(error).splitlines()) from error
        if not folder.tools:
            typer.echo(f"There are no tools in {folder.path}/.")
        for name, tool in folder.tools.items():
            manners = manners_of(tool)
            typer.secho(f"{name}({', '.join(tool.args)})", bold=True, nl=False)
            typer.echo(f"  {folder.file_of(name)}")
            for label, line in (
                ("does", tool.description.strip().partition("\n")[0]),
                ("says", manners.say),
                ("when slow", manners.slow),
                ("asks", manners.confirm),
            ):
                if line:
                    typer.echo(f"    {label}: {line}")
            typer.echo(f"    time limit: {manners.timeout:g} s; on barge-in: {manners.on_barge_in}")


def _serve(
    settings: Settings, parts: Parts, host: str, port: int, listening: Callable[[str], None] = lambda url: None
) -> None:
    """`listening` is told the webhook's URL when it can be called."""
    from api.app import create_app
    from api.server import listen, run

    application = create_app(settings, parts)
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        listening(f"http://{shown}:{listener.getsockname()[1]}/api/agent")
        run(application, listener, log_level=settings.log_level, drain_seconds=settings.drain_seconds)


def _missing_for_calls(settings: Settings) -> list[str]:
    missing = {
        "LAYERCODE_WEBHOOK_SECRET": not settings.layercode_webhook_secret,
        "LAYERCODE_API_KEY": not settings.layercode_api_key,
        "GOOGLE_GENERATIVE_AI_API_KEY": settings.model == "demo",
    }
    return [name for name, is_missing in missing.items() if is_missing]


def _say_what_next(settings: Settings, url: str, missing: list[str], secret: str) -> None:
    """`secret`: what must stand before a command in another terminal, when the secret is this run's only."""
    typer.echo(f"Model: {settings.model}. Tools: {settings.tools_dir}/ (read again when saved).")
    typer.echo(f"Webhook: {url}. Try, in another terminal:")
    typer.echo(f"  {secret}uv run voice say 'What time is it in Tokyo?' --url {url}")
    typer.echo(
        "For real calls: a tunnel to this port, and its URL with /api/agent as your agent's webhook in the Layercode"
        " dashboard."
    )
    if missing:
        typer.secho(f"Missing in .env for that: {', '.join(missing)}.", fg="yellow")


def _or_demo(settings: Settings, *, demo: bool = False) -> Settings:
    """Without a key, the demo, and a line that nobody can miss."""
    keyless = settings.model.startswith(("google_genai:", "gemini-")) and not settings.google_key
    if not demo and not keyless:
        return settings
    if not demo:
        typer.secho(
            "*** DEMO: no model key is set, so there is no language model, only a stand-in that calls your tools."
            " Set GOOGLE_GENERATIVE_AI_API_KEY in .env for the real thing. ***",
            fg="yellow", bold=True, err=True,
        )  # fmt: skip
    return settings.model_copy(update={"model": "demo", "model_fallback": None})


@contextmanager
def _collected(problems: list[str]) -> Iterator[None]:
    try:
        yield
    except NotConfigured as error:
        problems += error.problems


@contextmanager
def _explained() -> Iterator[None]:
    """A problem of configuration: its sentences, and exit status 2."""
    try:
        yield
    except NotConfigured as error:
        for problem in error.problems:
            typer.secho(problem, fg="red", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
