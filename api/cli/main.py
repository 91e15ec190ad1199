"""The `voice` command. Imports are inside the commands: `voice --help` must not load a language model's client."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from api.cli.printing import echo
from api.settings import NotConfigured, Settings, collected

app = typer.Typer(
    help="A voice agent that does things.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would take a third of the time of --help
)

Host = Annotated[str, typer.Option(help="The address to listen on.")]
Port = Annotated[int, typer.Option(help="The port to listen on.")]


@app.command()
def chat(
    demo: Annotated[bool, typer.Option("--demo", help="Without a language model.")] = False,
    record: Annotated[Path | None, typer.Option(help="Write the conversation to this run file.")] = None,
) -> None:
    """Talk to the agent here in the terminal. Ctrl-C interrupts it, Ctrl-D leaves."""
    from api.cli.chat import chat as run_chat
    from api.operations import configure_logging
    from api.wiring import load_parts

    with _explained():
        settings = _or_demo(Settings.load(), demo=demo)
        configure_logging("warning" if settings.log_level == "info" else settings.log_level, settings.log_format)
        asyncio.run(run_chat(settings, load_parts(settings, reload_tools=True), record))


@app.command()
def record(
    conversation: Annotated[str, typer.Option(help="The conversation, as its platform names it.")],
    out: Annotated[Path | None, typer.Option(help="The file. Default: tests/runs/CONVERSATION.json")] = None,
) -> None:
    """Make a run file of a finished conversation in the database."""
    from api.cli.replay import record_conversation
    from api.operations import run_file

    with _explained():
        path = out or run_file(Path("tests/runs"), conversation)
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
    from api.cli.replay import Options, replay_files

    with _explained():
        if barge_in not in (None, "everywhere"):
            raise NotConfigured("--barge-in takes one value: everywhere.")
        if sum([update, from_turn > 1, barge_in is not None, live_tools, live_model]) > 1:
            raise NotConfigured("--update, --from-turn, --barge-in, --live-tools and --live-model exclude each other.")
        options = Options(update, from_turn, barge_in is not None, live_tools, live_model)
        raise typer.Exit(replay_files(files, options, Settings.load()))


@app.command()
def simulate(
    files: Annotated[list[Path] | None, typer.Argument(help="Scenarios, or folders. Default: scenarios/")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Save what fails to tests/runs/.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Ask the configured model, not the scripted ones.")] = False,
    parallel: Annotated[int | None, typer.Option(min=1, help="How many processes.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write JSON to this file.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Hold each so often, and tell the rate of those that pass.")] = 1,
    prompt: Annotated[Path | None, typer.Option(help="Compare with this prompt.")] = None,
    model: Annotated[str | None, typer.Option(help="Compare with this model.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.")] = None,
    check_judge: Annotated[
        bool, typer.Option("--check-judge", help="Have the judge judge calls that are good and bad for certain.")
    ] = False,
) -> None:
    """Hold calls with simulated callers, and check what must hold."""
    from api.cli.simulate import Options, run_judge_check, simulate_files

    with _explained():
        if check_judge:
            raise typer.Exit(run_judge_check(Settings.load()))
        options = Options(keep, live, parallel, junit, json, runs, prompt, model, html)
        raise typer.Exit(simulate_files(files or [], options, Settings.load()))


@app.command()
def scenario(
    from_run: Annotated[Path | None, typer.Option(help="A run file.")] = None,
    conversation: Annotated[str | None, typer.Option(help="A finished conversation in the database.")] = None,
    out: Annotated[Path | None, typer.Option(help="The file. Default: scenarios/NAME.yaml")] = None,
) -> None:
    """Draft a scenario from a recorded conversation, without phone numbers and secrets."""
    from api.cli.scenario import draft_scenario

    with _explained():
        raise typer.Exit(draft_scenario(from_run, conversation, out, Settings.load()))


@app.command()
def dev(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    webhook: Annotated[str | None, typer.Option(help="Talk to another backend: its webhook's URL.")] = None,
    tunnel: Annotated[bool, typer.Option("--tunnel", help="Open a public URL for Layercode's webhooks.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name or address to which the playground answers.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Say what is missing for real calls, and end.")] = False,
) -> None:
    """Talk to the agent in the browser: a local stand-in for Layercode, and tools that reload when saved."""
    with _explained():
        if check:
            from api.cli.check import check as run_check

            raise typer.Exit(run_check(Settings.load()))
        if not find_spec("api.playground"):
            raise NotConfigured("This is an image for production, without the playground: run voice dev in a clone.")
        from api.cli.dev import Options
        from api.cli.dev import dev as serve_for_development

        settings = _or_demo(Settings.load(), demo=webhook is not None)  # for another backend no model is needed here
        serve_for_development(settings, Options(host, port, webhook, tunnel, tuple(allow_host or ())))


@app.command()
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1, help="How many processes; more than one needs Postgres.")] = 1,
) -> None:
    """Serve in production. Refuses to start when something is missing."""
    from api.operations import server
    from api.platforms.registry import configured_platforms
    from api.wiring import check_database, check_servers, check_workers, load_parts

    with _explained():
        settings = Settings.load()
        problems: list[str] = []
        with collected(problems):
            configured_platforms(settings)
        with collected(problems):
            parts = load_parts(settings)
            asyncio.run(check_servers(parts.servers, parts.folder))
        with collected(problems):
            check_workers(settings, workers)
            asyncio.run(check_database(settings, to_serve=True))
        if problems:
            raise NotConfigured(*problems)
        with server.listen(host, port) as listener:
            if workers == 1:
                from api.app import create_app

                server.run(create_app(settings, parts), listener, settings)
            else:
                from api.operations import serve as serve_with

                serve_with(settings, listener, workers)


@app.command()
def say(
    texts: Annotated[list[str], typer.Argument(help="What is said, one turn for each.")],
    url: Annotated[
        str, typer.Option(help="The webhook; of other platforms only the server counts.")
    ] = "http://127.0.0.1:8000/api/agent",
    conversation: Annotated[str | None, typer.Option(help="Go on with this conversation.")] = None,
    hang_up_after: Annotated[int | None, typer.Option(min=1, help="Drop the line after so many events.")] = None,
    interrupted: Annotated[str | None, typer.Option(help="The turn that was interrupted.")] = None,
    heard: Annotated[str, typer.Option(help="What was heard of it.")] = "",
    platform: Annotated[
        str, typer.Option(help="Over whose wire: layercode, relay (Twilio), speech-engine, completions.")
    ] = "layercode",
) -> None:
    """Say something to a running server as a platform would, signed, and show what it answers, when."""
    from api.cli.say import Spoken
    from api.cli.say import say as send

    with _explained():
        if platform != "layercode" or len(texts) > 1:
            raise typer.Exit(_say_over(platform, texts, conversation, url, hang_up_after, interrupted or heard))
        text = texts[0]
        secret = Settings.load().webhook_secret
        spoken = Spoken(text, conversation or f"conv_{uuid.uuid4().hex[:12]}", interrupted, heard)
        raise typer.Exit(send(spoken, url=url, secret=secret, hang_up_after=hang_up_after))


def _say_over(
    platform: str,
    texts: list[str],
    conversation: str | None,
    url: str,
    hang_up_after: int | None,
    reported: str | None,
) -> int:
    from api.cli.say_over import say_over
    from api.platforms import CLIENTS

    if platform not in CLIENTS:
        raise NotConfigured(f"--platform takes one of {', '.join(CLIENTS)}.")
    if reported:
        raise NotConfigured(
            "--interrupted is for one webhook, and so is --heard: say several things in a call, and use"
            " --hang-up-after."
        )
    if conversation is not None and platform in ("speech-engine", "completions"):
        raise NotConfigured(f"Over {platform} a call is held in one command: give all that is said in it.")
    conversation = conversation or f"conv_{uuid.uuid4().hex[:12]}"
    return say_over(
        platform, texts, conversation=conversation, url=url, settings=Settings.load(), hang_up_after=hang_up_after
    )


@app.command()
def forget(
    target: Annotated[str, typer.Argument(help="A conversation, or a phone number such as +4930123456.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Delete a conversation, or all of a phone number: in the database, the recorded runs, and what tools keep."""
    from api.cli.forget import forget as run

    with _explained():
        raise typer.Exit(asyncio.run(run(target, Settings.load(), yes=yes)))


@app.command()
def tools(
    schema: Annotated[str | None, typer.Option(help="Show this tool as the model is told of it, in JSON.")] = None,
) -> None:
    """List the tools found, and what each says and how long it may take. What is wrong with others comes after it."""
    from api.cli.tools import list_tools, show_schema

    with _explained():
        if schema is None:
            list_tools(Settings.load())
        else:
            show_schema(schema, Settings.load())


def _or_demo(settings: Settings, *, demo: bool = False) -> Settings:
    """Without a key, the demo, and a line that nobody can miss."""
    keyless = settings.model.startswith(("google_genai:", "gemini-")) and not settings.google_key
    if not demo and not keyless:
        return settings
    if not demo:
        echo(
            "*** DEMO: no model key is set, so there is no language model, only a stand-in that calls your tools."
            " Set GOOGLE_GENERATIVE_AI_API_KEY in .env for the real thing. ***",
            fg="yellow", bold=True, err=True,
        )  # fmt: skip
    return settings.model_copy(update={"model": "demo", "model_fallback": None})


@contextmanager
def _explained() -> Iterator[None]:
    """A problem of configuration: its sentences, and exit status 2."""
    try:
        yield
    except NotConfigured as error:
        for problem in error.problems:
            echo(problem, fg="red", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    app()
