"""A study of estimators in this process: what `hilnas estimate` calls."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilnas.daemon.phases import Phases
from hilnas.estimators import Estimator
from hilnas.executors import Executor
from hilnas.options import OptionsError
from hilnas.plugins import Axis, find, options_of
from hilnas.recipe import Recipe, check_recipe, settings_of
from hilnas.search.setup import make_space, make_task
from hilnas.search.study import Findings, Study
from hilnas.store import EventKind, Record
from hilnas.store.lock import exclusive
from hilnas.versions import versions


@dataclass(frozen=True)
class Wanted:
    """What a study is to hold."""

    estimators: tuple[str, ...]
    """Each a name, or `name:key=value,key=value`; that is also its label."""
    architectures: int
    repeats: int = 1
    """Full trainings of each architecture."""


def study_estimators(recipe: Recipe, folder: Path, wanted: Wanted, show: Phases) -> Findings:
    """Fill the study in a folder, and return what it holds. OptionsError when the folder is of another study."""
    estimators = {label: make_estimator(label, recipe) for label in wanted.estimators}
    settings = {label: _settings(label, recipe) for label in wanted.estimators}
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder), closing(Record.in_folder(folder)) as record:
        findings = Findings()
        search_id = _search(record, recipe, folder)
        for event in record.events(search_id):
            findings.add(event)
        _same_estimators(findings, settings, folder)
        record.listen(findings.add)
        record.append(
            search_id,
            EventKind.STUDY_STARTED,
            key=str(len(record.events(search_id))),
            payload={"estimators": settings},
        )
        asyncio.run(_fill(recipe, folder, wanted, estimators, findings, record, search_id, show))
    return findings


def make_estimator(label: str, recipe: Recipe) -> Estimator:
    """Return the estimator that `name` or `name:key=value,...` says; the recipe's settings hold for its own."""
    name = label.partition(":")[0]
    estimator: Estimator = find(Axis.ESTIMATOR, name)(
        options_of(Axis.ESTIMATOR, name, _settings(label, recipe))
    )
    return estimator


def _settings(label: str, recipe: Recipe) -> dict[str, Any]:
    name, _, text = label.partition(":")
    settings = dict(recipe.estimator.settings) if name == recipe.estimator.name else {}
    return {**settings, **settings_of(text, label)}


def _same_estimators(findings: Findings, settings: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """See that no label means something else than it did: what was answered would be told as the new one's."""
    for label, now in settings.items():
        before = findings.settings.get(label, now)
        if before != now:
            raise OptionsError(
                f"{label} has settings {dict(now)} now, and had {dict(before)} in the study in {folder}: say in the "
                f"label what is different, such as -e {label.partition(':')[0]}:epochs=3, or begin another with --out"
            )


async def _fill(
    recipe: Recipe,
    folder: Path,
    wanted: Wanted,
    estimators: Mapping[str, Estimator],
    findings: Findings,
    record: Record,
    search_id: str,
    show: Phases,
) -> None:
    show.phase = f"reading {recipe.task.name}"
    task = await asyncio.to_thread(make_task, recipe)
    space = make_space(recipe, task.shape, task.classes)
    executor: Executor = find(Axis.EXECUTOR, recipe.executor.name)(recipe.options(Axis.EXECUTOR), folder)

    def append(kind: EventKind, trial: int, key: str, payload: Mapping[str, Any]) -> None:
        record.append(search_id, kind, trial, key, payload)

    def done() -> None:
        show.done += 1

    study = Study(recipe, task, space, executor, folder, findings, append)
    show.inside = study.share
    try:
        study.draw(wanted.architectures)
        count = len(findings.architectures)
        show.total = count * (wanted.repeats + len(estimators))
        show.done = len(findings.truths) + sum(label in estimators for label, _ in findings.answers)
        for label, estimator in estimators.items():
            show.phase = f"asking {label}"
            await study.ask_all(label, estimator, done)
        show.phase = "training in full"
        await study.train_all(wanted.repeats, done)
    finally:
        await executor.close()


def _search(record: Record, recipe: Recipe, folder: Path) -> str:
    """Return the id of the study in a record, begun if need be; see that it is of the same kind."""
    data = recipe.model_dump(mode="json", exclude_unset=True)
    known = record.searches()
    if not known:
        return record.start_search(recipe.search.name, recipe.search.seed, data, versions()).id
    if any(event.kind is EventKind.SESSION_STARTED for event in record.events(known[-1].id)):
        raise OptionsError(f"{folder} holds a search: give the study a folder of its own with --out")
    before = check_recipe(known[-1].recipe)
    for section in ("task", "space", "final"):
        if getattr(before, section) != getattr(recipe, section):
            raise OptionsError(
                f"[{section}] is not what the study in {folder} began with: take that change back, "
                "or begin another with --out"
            )
    if before.search.seed != recipe.search.seed:
        raise OptionsError(
            f"the study in {folder} has seed {before.search.seed}, not {recipe.search.seed}: "
            "begin another with --out"
        )
    return known[-1].id


def labels_known(findings: Findings) -> Sequence[str]:
    """Return the labels of all estimators that a study holds answers of, in the order they were asked."""
    return list(dict.fromkeys(label for label, _ in findings.answers))
