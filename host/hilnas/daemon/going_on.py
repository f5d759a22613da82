"""What must be as it was when a search goes on."""

from pathlib import Path

from hilnas.daemon.place import Place
from hilnas.options import OptionsError
from hilnas.recipe import Recipe, check_recipe
from hilnas.search.errors import SearchError
from hilnas.search.history import History
from hilnas.search.meters import energy_boundaries
from hilnas.search.setup import Setup, task_facts
from hilnas.store import Record, SearchRow


def known_search(
    record: Record, recipe: Recipe, resume: bool, place: Place, history: History
) -> SearchRow | None:
    """Return the search at a place with its history, None when none was begun there."""
    known = [search for search in record.searches() if place.search_id in ("", search.id)]
    if not known:
        return None
    if not resume:
        raise SearchError(
            f"{place.folder} holds a search already: add --resume to go on with it, or choose another --out"
        )
    search = known[-1]
    _same_search(check_recipe(search.recipe), recipe, place.folder)
    for event in record.events(search.id):
        history.add(event)
    return search


def _same_search(recorded: Recipe, wanted: Recipe, folder: Path) -> None:
    """See that a search goes on as it began: what shapes proposals and figures must not change."""
    for section in ("task", "space", "strategy", "estimator", "filter", "objective", "measurement"):
        if getattr(recorded, section) != getattr(wanted, section):
            raise OptionsError(
                f"[{section}] is not what the search in {folder} began with: take that change back, "
                "or start anew with another --out"
            )
    for key in ("seed", "in_flight", "group", "warm_start", "warm_start_proxy"):
        before, after = getattr(recorded.search, key), getattr(wanted.search, key)
        if before != after:
            raise OptionsError(
                f"search.{key} is {after}, but the search in {folder} began with {before}: "
                "take that change back, or start anew with another --out"
            )


def same_world(history: History, setup: Setup, folder: Path) -> None:
    """See that a search goes on with the data and the devices that it began with."""
    if not history.sessions:
        return
    before = history.sessions[0]
    facts = task_facts(setup.task)
    if any(facts.get(key) != value for key, value in before.task.items()):
        raise SearchError(
            f"the data of task {setup.task.name} is not what the search in {folder} began with: "
            "put it back, or start anew with another --out"
        )
    metered = energy_boundaries(setup.recipe.measurement.energy, before.devices, setup.boundaries)
    for name, boundary in metered.items():
        if setup.boundaries[name] != boundary:
            raise SearchError(
                f"the search in {folder} measured energy of {name} at the boundary {boundary}, its meters now see "
                f"{setup.boundaries[name]}, and such figures don't compare: name the meter it began with in "
                "measurement.energy.meter, or start anew with another --out"
            )
    known = {device.device_class for device in before.devices}
    strange = [name for name in setup.device_classes if name not in known]
    if strange:
        raise SearchError(
            f"the search in {folder} measured on {', '.join(sorted(known))}, not on {', '.join(strange)}: "
            "connect such a device, or start anew with another --out"
        )
