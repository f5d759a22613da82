"""Warm start: what searches in other results folders have learned of this one's space."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hilnas.options import OptionsError
from hilnas.search.history import rebuild
from hilnas.spaces import Space, SpaceError
from hilnas.store import RECORD_FILE, Record, StoreError
from hilnas.trial import Proposal, Trial, TrialStatus


def read_earlier(folders: Sequence[str], space: Space) -> tuple[Trial, ...]:
    """Return the SCORED and INVALID trials in results folders whose architectures this space has.

    They are numbered anew and hold figures only. OptionsError names a folder that has none.
    """
    found: list[Trial] = []
    for folder in folders:
        found += _fitting(folder, _final(Path(folder)), space)
    return tuple(replace(trial, number=number) for number, trial in enumerate(found))


def _final(folder: Path) -> list[Trial]:
    if not (folder / RECORD_FILE).is_file():
        raise OptionsError(
            f"search.warm_start names {folder}, which holds no {RECORD_FILE}: name folders that "
            "`hilnas run` printed, from where it is started now"
        )
    try:
        record = Record.in_folder(folder)
        try:
            trials = [t for s in record.searches() for t in rebuild(record.events(s.id)).trials]
        finally:
            record.close()
    except StoreError as error:
        raise OptionsError(f"search.warm_start: {error}") from error
    return [trial for trial in trials if trial.status in (TrialStatus.SCORED, TrialStatus.INVALID)]


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
