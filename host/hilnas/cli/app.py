"""The commands, and how their errors reach a person. Heavy imports wait until a command needs them."""

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from hilnas import __version__
from hilnas.cli import daemon, device, devices, scale, search, supernets
from hilnas.cli.words import Json, Set
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
    short_help="How well do estimators rank? Train a sample in full and compare.",
    epilog="Examples:  hilnas estimate fashion-mnist -e supernet -e train:epochs=1 -e zero-cost:proxy=synflow  |  "
    "hilnas estimate mine.toml --architectures 20 --repeats 2 --out study",
)
def estimate(
    recipe: Annotated[
        str | None,
        typer.Argument(help="Path of a recipe, or the name of one that ships; else the quickstart."),
    ] = None,
    estimators: Annotated[
        list[str] | None,
        typer.Option(
            "--estimator", "-e", help="name, or name:key=value,key=value; again for more. Else the recipe's."
        ),
    ] = None,
    architectures: Annotated[int, typer.Option(min=3, help="Architectures to train in full.")] = 40,
    repeats: Annotated[int, typer.Option(min=1, help="Full trainings of each, with seeds of their own.")] = 1,
    top: Annotated[int, typer.Option(min=1, help="How many of its best an estimator may offer.")] = 3,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; it goes on there. Else estimates/NAME.")
    ] = None,
    set_: Set = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the study; else the recipe's.")] = None,
    json_: Json = False,
) -> None:
    """Train a sample of architectures as [final] says, ask estimators about them, and report how well each ranks.

    Kendall's tau, Spearman's rho and the regret of each estimator's best, with what an answer costs.
    """
    from hilnas.cli.estimate import estimate_command
    from hilnas.daemon.estimate import Wanted

    wanted = Wanted(tuple(estimators or ()), architectures, repeats)
    raise typer.Exit(estimate_command(recipe, out, wanted, top, set_ or [], seed, json_))


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


app.command(short_help="Measure .tflite models on a device.", epilog=devices.MEASURE_EXAMPLES)(
    devices.measure
)
app.command(
    short_help="Measure a model's operators one by one, or fill a latency table.",
    epilog=devices.PROFILE_EXAMPLES,
)(devices.profile)

app.command(
    short_help="Train a net that holds all architectures of a space.", epilog=supernets.SUPERNET_EXAMPLES
)(supernets.supernet)
app.command(
    short_help="Take the best nets for devices out of a trained supernet.",
    epilog=supernets.SPECIALISE_EXAMPLES,
)(supernets.specialise)

app.command(
    short_help="Scale a net to latency targets: a family, each member measured.", epilog=scale.EXAMPLES
)(scale.scale)

app.add_typer(daemon.app, name="daemon")
app.add_typer(search.app, name="search")
app.add_typer(device.app, name="device")

bench = typer.Typer(help="Compare strategies in simulated searches.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.command(
    short_help="Compare strategies on a table of architectures.",
    epilog="Examples:  hilnas bench strategies --table nb201.npz --accuracy acc --cost lat_ms --seeds 20  |  "
    "hilnas bench strategies --table mine.csv --arch depth,width,kernel --accuracy top1 --cost ms "
    "--strategies rl,tpe,evolution:population=20 --devices 8 --json",
)
def strategies(
    table: Annotated[
        Path, typer.Option(help="An .npz with `arch`, whole numbers [N, L], and columns [N]; or a .csv.")
    ],
    accuracy: Annotated[str, typer.Option(help="Column of accuracies: shares, or percent.")],
    cost: Annotated[
        list[str] | None, typer.Option(help="Column of a cost; repeatable. Without one, accuracy alone.")
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(help="Columns of a .csv that are decisions, with commas; else those of few values."),
    ] = None,
    feature: Annotated[
        list[str] | None,
        typer.Option(help="Column that is known before measuring, such as MACs; repeatable."),
    ] = None,
    reward: Annotated[str, typer.Option(help="mnasnet (soft), hard or absolute.")] = "mnasnet",
    target: Annotated[float | None, typer.Option(help="Target of the cost; else its median.")] = None,
    weight: Annotated[
        float | None,
        typer.Option(help="Exponent (mnasnet -0.07, hard -1) or slope (absolute -0.1) of the cost."),
    ] = None,
    cost_floor: Annotated[float | None, typer.Option(help="A cost below counts as this much.")] = None,
    accuracy_floor: Annotated[float | None, typer.Option(help="Share below which a net is INVALID.")] = None,
    strategies: Annotated[
        str, typer.Option(help="Names with commas; settings as name:key=value.")
    ] = "rl,evolution,tpe,random",
    budgets: Annotated[
        str, typer.Option(help="Evaluations after which to look, with commas.")
    ] = "50,100,200",
    seeds: Annotated[int, typer.Option(min=1, help="Searches of each strategy.")] = 10,
    devices: Annotated[int, typer.Option(min=1, help="Virtual devices that work at once.")] = 1,
    noise: Annotated[
        str | None,
        typer.Option(help="Standard errors, e.g. cost=5,accuracy=0.5: % of the cost, points of accuracy."),
    ] = None,
    stragglers: Annotated[
        float, typer.Option(min=0, max=1, help="Share of trials that take 10 times as long.")
    ] = 0.0,
    failures: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of trials that a device fails.")
    ] = 0.0,
    in_flight: Annotated[
        int | None, typer.Option(min=1, help="Trials under way; else what keeps devices busy.")
    ] = None,
    group: Annotated[int, typer.Option(min=1, help="Trials that a strategy observes at a time.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 for one a core.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(help="Write mean regret over evaluations to this .svg.")
    ] = None,
    json_: Json = False,
) -> None:
    """Search a table of known architectures with several strategies and many seeds; print their regrets."""
    from hilnas.cli.bench import bench_command, make_contest, parse_noise, parse_strategies, whole_numbers
    from hilnas.testing.virtual import FarmConditions

    contest = make_contest(
        table,
        accuracy,
        cost or [],
        [name.strip() for name in arch.split(",")] if arch else [],
        reward,
        target,
        weight,
        cost_floor,
        accuracy_floor,
        feature or [],
    )
    conditions = FarmConditions(
        devices=devices,
        straggler_share=stragglers,
        failure_share=failures,
        in_flight=in_flight,
        group=group,
        **parse_noise(noise),
    )
    chosen = parse_strategies(strategies)
    bench_command(
        contest, chosen, whole_numbers("--budgets", budgets), seeds, conditions, workers, plot, json_
    )


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
