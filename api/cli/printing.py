"""Printing to the terminal. What is printed may come from a server, a model, or somebody else's file: a terminal gets
nothing from it to obey."""

from __future__ import annotations

from typing import Any

import typer

from api.printable import printable


def echo(text: object = "", *, nl: bool = True, err: bool = False, **style: Any) -> None:
    """Print it, in a style as `typer.style` takes it."""
    shown = printable(str(text))
    typer.echo(typer.style(shown, **style) if style else shown, nl=nl, err=err)  # noqa: TID251 - the one place
