"""`hilnas search`: searches on a daemon."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from hilnas.cli.where import Address, Identity, LabFolder
from hilnas.cli.words import Json, Set

app = typer.Typer(
    help="Searches on a daemon: they share its devices.", no_args_is_help=True,
    epilog="Example:  hilnas search submit fashion-mnist --watch",
)  # fmt: skip
Named = Annotated[str, typer.Argument(metavar="SEARCH", help="Name, id, or the beginning of one.")]


@app.command()
def submit(
    recipe: Annotated[str, typer.Argument(help="Path of a recipe, or the name of one that ships.")],
    set_: Set = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the search; else the recipe's.")] = None,
    priority: Annotated[str, typer.Option(help="high (admins), normal or low.")] = "normal",
    weight: Annotated[float, typer.Option(help="Share of device time against your other searches.")] = 1.0,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and watch it.")] = False,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Give a search to the daemon. It goes on whatever becomes of this command."""
    import getpass

    from hilnas.daemon.client import TIMEOUT_S, Where, daemon_at
    from hilnas.recipe import load_recipe
    from hilnas_protos.v1 import daemon_pb2 as api

    where = Where.of(lab, daemon, identity)
    data = load_recipe(recipe, set_ or [], seed).model_dump(mode="json", exclude_unset=True)
    if not where.address:
        _make_absolute(data)
    request = api.SubmitRequest(
        recipe=json.dumps(data), priority=priority, weight=weight, user=getpass.getuser()
    )
    with daemon_at(where) as stubs:
        found = stubs.searches.Submit(request, timeout=TIMEOUT_S)
    if json_:
        print(json.dumps(as_dict(found)))
    else:
        print(f"{found.name} is {found.id}, {found.status.lower()}: hilnas search watch {found.id[:8]}")
    if watch:
        from hilnas.cli.search_watch import watch_search

        raise typer.Exit(watch_search(where, found.id, as_json=json_))


@app.command("list")
def list_(
    lab: LabFolder = None, daemon: Address = None, identity: Identity = None, json_: Json = False
) -> None:
    """List all searches, the newest first."""
    from hilnas.daemon.client import TIMEOUT_S, Where, daemon_at
    from hilnas_protos.v1 import daemon_pb2 as api

    with daemon_at(Where.of(lab, daemon, identity)) as stubs:
        found = stubs.searches.ListSearches(api.ListSearchesRequest(), timeout=TIMEOUT_S).searches
    if json_:
        print(json.dumps([as_dict(search) for search in found]))
        return
    if not found:
        print("There are no searches yet: hilnas search submit RECIPE")
        return
    _print_table(found)


@app.command()
def show(
    search: Named,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Print where a search stands."""
    from hilnas.daemon.client import TIMEOUT_S, Where, daemon_at
    from hilnas_protos.v1 import daemon_pb2 as api

    with daemon_at(Where.of(lab, daemon, identity)) as stubs:
        found = stubs.searches.GetSearch(api.GetSearchRequest(search=search), timeout=TIMEOUT_S)
    _print(found, json_)


@app.command()
def watch(
    search: Named,
    after: Annotated[int, typer.Option(min=0, help="Leave out events up to this number.")] = 0,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Follow a search live, through restarts of the daemon too, until it ends. Ctrl-C ends the watching alone."""
    from hilnas.cli.search_watch import watch_search
    from hilnas.daemon.client import Where

    raise typer.Exit(watch_search(Where.of(lab, daemon, identity), search, after, json_))


@app.command()
def pause(
    search: Named,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Stop a search where it is; `resume` goes on from there."""
    _change(search, "pause", lab, daemon, identity, json_)


@app.command()
def resume(
    search: Named,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Go on with a search that is paused, or that has failed."""
    _change(search, "resume", lab, daemon, identity, json_)


@app.command()
def cancel(
    search: Named,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """End a search for good. What it found is kept."""
    _change(search, "cancel", lab, daemon, identity, json_)


@app.command()
def remove(
    search: Named,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Drop a search that has ended, with all that it found. What devices said of its models is kept."""
    _change(search, "remove", lab, daemon, identity, json_)


@app.command()
def fetch(
    search: Named,
    out: Annotated[Path | None, typer.Option(help="Folder for the files; else the search's name.")] = None,
    lab: LabFolder = None,
    daemon: Address = None,
    identity: Identity = None,
    json_: Json = False,
) -> None:
    """Bring a search's results here: result.json, report.html, the best model with its card."""
    from hilnas.cli.search_fetch import fetch_results
    from hilnas.daemon.client import Where

    folder = out or Path(Path(search).name)
    names = fetch_results(Where.of(lab, daemon, identity), search, folder)
    print(json.dumps({"folder": str(folder), "files": names}) if json_ else f"{folder}: {', '.join(names)}")


def _change(
    search: str, action: str, lab: Path | None, daemon: str | None, identity: Path | None, json_: bool
) -> None:
    from hilnas.daemon.client import Where, daemon_at
    from hilnas_protos.v1 import daemon_pb2 as api

    request = api.ChangeSearchRequest(search=search, action=action)
    with daemon_at(Where.of(lab, daemon, identity)) as stubs:
        _print(
            stubs.searches.ChangeSearch(request, timeout=60), json_
        )  # its process has half a minute to stop


def as_dict(message: Any) -> dict[str, Any]:
    """Return a search as JSON data, its recipe as an object."""
    from google.protobuf.json_format import MessageToDict

    told: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return told | {"recipe": json.loads(message.recipe)}


def _print(found: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(as_dict(found)))
        return
    print(f"{found.name}  {found.id}")
    print(
        f"{found.status.lower()}{', ' + found.phase if found.phase else ''}; {found.priority} priority, {found.user}"
    )
    print(
        f"{found.trials} of {found.trials_wanted} trials, {found.device_s:.0f} s of device time"
        + _best(found)
    )
    if found.message:
        print(found.message)


def _best(found: Any) -> str:
    return f", best reward {found.best_reward:.4g}" if found.HasField("best_reward") else ""


def _print_table(found: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("id", "name", "user", "status", "trials", "device s", "priority"):
        table.add_column(column)
    for search in found:
        table.add_row(
            search.id[:8], search.name, search.user, search.status + (f" ({search.phase})" if search.phase else ""),
            f"{search.trials}/{search.trials_wanted}", f"{search.device_s:.0f}", search.priority,
        )  # fmt: skip
    Console(highlight=False).print(table)


def _make_absolute(data: dict[str, Any]) -> None:
    """Make paths of a recipe hold from the daemon's own folder too."""
    from hilnas.recipe import LAB

    for section, key in (("task", "path"), ("estimator", "file"), ("strategy", "table")):
        named = data.get(section, {}).get(key)
        if isinstance(named, str) and Path(named).exists():
            data[section][key] = str(Path(named).resolve())
    for section, key in (("search", "warm_start"), ("estimator", "records")):
        folders = data.get(section, {}).get(key)
        if folders:
            data[section][key] = [
                folder if folder.startswith(LAB) else str(Path(folder).resolve()) for folder in folders
            ]
