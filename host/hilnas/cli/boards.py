"""How commands reach boards: the options that all of them take, and what a person at a terminal is asked."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from hilnas.options import OptionsError

if TYPE_CHECKING:
    from hilnas.provision import Target

Where = Annotated[
    str, typer.Argument(help="The board: user@host, user@host:port, or a Host of ~/.ssh/config.")
]
Fingerprint = Annotated[
    str, typer.Option(help="Fingerprint of the board's host key, SHA256:…; else known_hosts must have it.")
]
Fingerprints = Annotated[
    list[str] | None,
    typer.Option(
        "--fingerprint",
        help="Fingerprint of a board's host key, SHA256:…, once for each board in their order; else known_hosts must "
        "have them.",
    ),
]
Jump = Annotated[str, typer.Option(help="Hosts to jump through, with commas; else as ~/.ssh/config says.")]
Key = Annotated[list[Path] | None, typer.Option(help="Private key to log in with; repeatable.")]
Done = TypeVar("Done")


def targets(
    boards: Sequence[str], jump: str, keys: Sequence[Path] | None, fingerprints: Sequence[str] | None
) -> "list[Target]":
    """Return how each board is reached. OptionsError when there are other than one fingerprint for each, or none."""
    from hilnas.provision import resolve

    found = list(fingerprints or [])
    if found and len(found) != len(boards):
        raise OptionsError(
            f"--fingerprint is given {len(found)} times for {len(boards)} boards: give one for each, in their order, or none"
        )
    return [
        resolve(board, jump=jump, keys=keys or (), fingerprint=fingerprint)
        for board, fingerprint in zip(boards, found or [""] * len(boards), strict=True)
    ]


def known(target: "Target", work: "Callable[[Target], Done]") -> Done:
    """Do something with a board whose host key may be new: a person at the terminal is shown it, and confirms.

    Without anybody at a terminal the error stands.
    """
    from hilnas.provision import UnknownHostKeyError, remember

    while True:
        try:
            return work(target)
        except UnknownHostKeyError as error:
            if not sys.stdin.isatty():
                raise
            typer.echo(str(error), err=True)
            answer = typer.prompt("The same? Type yes, or paste the fingerprint", default="no", err=True)
            if answer.strip() not in ("yes", error.fingerprint):
                raise
            typer.echo(f"kept in {remember(target, error.line)}", err=True)


def device_names(found: "Sequence[Target]") -> list[str]:
    """Return the device that each board is, as its agent is told there; a person confirms host keys that are new.

    A board that cannot be asked goes by its own name: what is wrong is told when its turn comes.
    """
    from hilnas.provision import Connection, ProvisionError, state

    def name(target: "Target") -> str:
        with Connection.open(target, ask) as board:
            return state.read(board).device or target.name

    names = []
    for target in found:
        try:
            names.append(known(target, name))
        except ProvisionError:
            names.append(target.name)
    return names


def ask(question: str) -> str | None:
    """Ask for a secret at the terminal; None when nobody is there."""
    if not sys.stdin.isatty():
        return None
    answer: str = typer.prompt(
        question.rstrip(": "), hide_input=True, default="", show_default=False, err=True
    )
    return answer or None


def say(text: str) -> None:
    """Tell how work goes on."""
    typer.echo(text, err=True)
