"""The commands, and how their errors reach a person. Heavy imports wait until a command needs them."""

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from hilnas import __version__
from hilnas.errors import HilnasError

app = typer.Typer(
    name="hilnas",
    help="Finds the neural network that is best on your boards: searches, measures on real devices, reports.",
    epilog="Start with:  hilnas run",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe; repeatable."),
]


@app.command(
    short_help="Run a search to its end, or go on with one.",
    epilog="Examples:  hilnas run  |  hilnas run fashion-mnist --out results --seed 1  |  "
    "hilnas run mine.toml --set search.trials=100 --set objective.latency.target='4 ms'",
)
def run(
    recipe: Annotated[
        str | None,
        typer.Argument(help="Path of a recipe, or the name of one that ships; else the quickstart."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Results folder; else runs/NAME, numbered when taken.")
    ] = None,
    set_: Set = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the search; else the recipe's.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in the folder.")] = False,
    json_: Json = False,
) -> None:
    """Run a search to its end: live progress, then the Pareto front and the place of the results."""
    from hilnas.cli.run import run_command

    raise typer.Exit(run_command(recipe, out, set_ or [], seed, resume, json_))


@app.command(
    short_help="Write the results of a search again.", epilog="Example:  hilnas report runs/quickstart"
)
def report(
    folder: Annotated[Path, typer.Argument(help="Results folder of a search.")],
    json_: Json = False,
) -> None:
    """Write result.json, the model card and report.html of a search again, from its record."""
    from hilnas.cli.run import print_results
    from hilnas.report.results import report_folder

    print_results(report_folder(folder), folder, json_)


@app.command(
    short_help="Turn an architecture into an int8 .tflite file.",
    epilog="Examples:  hilnas export runs/quickstart/architecture.json  |  "
    "hilnas export arch.json --recipe fashion-mnist --weights weights.pt -o net.tflite",
)
def export(
    architecture: Annotated[
        Path, typer.Argument(help="Architecture as JSON, such as architecture.json of a run.")
    ],
    recipe: Annotated[
        str | None, typer.Option(help="Recipe that says task and space; else the quickstart.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="State of the torch module (.pt); else fresh weights.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("model.tflite"),
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Turn a saved architecture, and weights if there are any, into an int8 .tflite file."""
    from hilnas.cli.export import export_command

    export_command(architecture, recipe, weights, output, set_ or [], json_)


@app.command(
    short_help="Print a space's decisions and its size.",
    epilog="Examples:  hilnas space  |  hilnas space keyword-spotting --set task.path=clips.npz",
)
def space(
    recipe: Annotated[
        str | None, typer.Argument(help="Recipe that says task and space; else the quickstart.")
    ] = None,
    set_: Set = None,
    json_: Json = False,
) -> None:
    """Print the decisions of a recipe's space, and how many architectures it holds."""
    from hilnas.cli.space import space_command

    space_command(recipe, set_ or [], json_)


@app.command(epilog="Example:  hilnas recipes")
def recipes(json_: Json = False) -> None:
    """List the recipes that ship."""
    import json

    from hilnas.recipe import shipped

    typer.echo(json.dumps(shipped()) if json_ else "\n".join(shipped()))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"hilnas {__version__}")
        raise typer.Exit


def main() -> int:
    """Run the command line. What a person can mend is one message and exit code 1 or 2, no traceback."""
    try:
        app(standalone_mode=True)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        cause = error
        while isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
        if not isinstance(cause, HilnasError | OSError):
            raise  # a defect of ours
        print(f"hilnas: {_in_words(cause)}", file=sys.stderr)
        return cause.exit_code if isinstance(cause, HilnasError) else 1
    return 0


def _in_words(error: Exception) -> str:
    """Return an error as a person should read it: a system's with its path and what to do."""
    if not isinstance(error, OSError) or error.errno is None or error.filename is None:
        return str(error)
    remedy = {
        errno.ENOSPC: "free space there, then go on with --resume",
        errno.EDQUOT: "free space there, then go on with --resume",
        errno.ENOENT: "is its folder there?",
        errno.EEXIST: "a file stands where a folder is wanted; choose another place",
        errno.ENOTDIR: "a file stands where a folder is wanted; choose another place",
        errno.EACCES: "choose a place that you may write to",
        errno.EROFS: "choose a place that you may write to",
    }.get(error.errno)
    return f"{error.filename}: {error.strerror}" + (f": {remedy}" if remedy else "")
