"""Warm start: what searches in other results folders have learned of this one's space."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hilnas.options import OptionsError
from hilnas.recipe import LAB
from hilnas.search.errors import SearchError
from hilnas.search.history import rebuild
from hilnas.spaces import Space, SpaceError
from hilnas.store import RECORD_FILE, Record, StoreError
from hilnas.trial import Proposal, Trial, TrialStatus


def read_earlier(folders: Sequence[str], space: Space, store: Record | None = None) -> tuple[Trial, ...]:
    """Return the SCORED and INVALID trials in results folders whose architectures this space has.

    `lab:NAME` and `lab:ID` are searches in the `store` that this one is in. Trials are numbered anew and hold figures
    only. OptionsError names a folder, or a search, that has none.
    """
    found: list[Trial] = []
    for folder in folders:
        lab = folder.startswith(LAB)
        trials = _of_lab(folder.removeprefix(LAB), store) if lab else _of_folder(Path(folder))
        final = [trial for trial in trials if trial.status in (TrialStatus.SCORED, TrialStatus.INVALID)]
        found += _fitting(folder, final, space)
    return tuple(replace(trial, number=number) for number, trial in enumerate(found))


def _of_lab(named: str, store: Record | None) -> list[Trial]:
    searches = store.searches() if store is not None else []
    matching = [s for s in searches if s.name == named or (len(named) >= 4 and s.id.startswith(named))]
    if store is None or not matching:
        raise OptionsError(
            f'search.warm_start names the search "{named}" of a lab: '
            + (
                "this search is in none; submit it to one, or name a results folder"
                if store is None
                else "there is none of that name or id; `hilnas search list` shows them"
            )
        )
    return rebuild(store.events(matching[-1].id)).trials


def _of_folder(folder: Path) -> list[Trial]:
    if not (folder / RECORD_FILE).is_file():
        raise OptionsError(
            f"search.warm_start names {folder}, which holds no {RECORD_FILE}: name folders that "
            "`hilnas run` printed, from where it is started now"
        )
    try:
        record = Record.in_folder(folder)
        try:
            return [t for s in record.searches() for t in rebuild(record.events(s.id)).trials]
        finally:
            record.close()
    except StoreError as error:
        raise OptionsError(f"search.warm_start: {error}") from error
    except SearchError as error:
        raise OptionsError(f"search.warm_start names {folder}: {error}") from error


def _fitting(folder: str, trials: Sequence[Trial], space: Space) -> list[Trial]:
    fitting, misfit = [], "it has no trial that ended with figures"
    for trial in trials:
        try:
            architecture = space.check(trial.architecture)
        except SpaceError as error:
            misfit = f"none of its {len(trials)} trials is of this search's space, for one of them {error}"
            continue
        fitting.append(replace(trial, proposal=Proposal(architecture), timings={}, reason=""))
    if not fitting:
        raise OptionsError(
            f"search.warm_start names {folder}, which teaches nothing here: {misfit}. "
            "Take it out, or search the same space"
        )
    return fitting
