"""`surrogate`: a predictor that has learned from records what architectures come to; nothing is trained.

It learns from one kind of figure only: full trainings, where a study or studies hold enough of them, else the answers
of the one estimator that the records hold most of. Its error is what the predictor does not know.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from hilnas.estimators.base import EstimateResult
from hilnas.options import Options, OptionsError
from hilnas.predictors.base import Floats, Predictor
from hilnas.predictors.encodings import Encoder, one_hot
from hilnas.predictors.static_features import StaticFeatures
from hilnas.spaces import Space, SpaceError
from hilnas.store import RECORD_FILE, EventKind, Record
from hilnas.store.codec import load
from hilnas.tasks import Task
from hilnas.trial import Architecture, Estimate, Proposal

FULL = "full"
"""Kind of the figures of full trainings."""


class SurrogateOptions(Options):
    """Settings of `surrogate`."""

    records: tuple[Path, ...] = Field(min_length=1)
    """Results folders of searches, and of studies (`hilnas estimate`), of the same space and task."""
    predictor: Literal["gp", "ensemble"] = "gp"
    """A Gaussian process with choice embeddings, or an ensemble of perceptrons."""
    least: int = Field(8, ge=3)
    """Architectures to learn from, at least."""


@dataclass(frozen=True)
class _Row:
    architecture: Architecture
    kind: str
    accuracy: float
    variance: float


class Surrogate:
    """Foretells accuracies; no int8 file comes of it."""

    Options: ClassVar[type[Options]] = SurrogateOptions

    def __init__(self, options: SurrogateOptions, content: bytes = b"") -> None:
        self.options = options
        self.content = content

    def check(self, space: Space, origin: Mapping[str, Any]) -> None:
        """See that the records hold enough. OptionsError otherwise."""
        self._read(space, origin)

    def prepare(self, space: Space, task: Task, seed: int, threads: int, origin: Mapping[str, Any]) -> bytes:
        """Read the records, and return what there is to learn; JSON. OptionsError when that is too little."""
        return self._read(space, origin)

    def _read(self, space: Space, origin: Mapping[str, Any]) -> bytes:
        task_name = origin["task"]["name"] if "task" in origin else ""
        rows = [row for folder in self.options.records for row in _read(folder, space, task_name)]
        counts = Counter(kind for kind, _ in {(row.kind, row.architecture) for row in rows})
        kind = FULL if counts[FULL] >= self.options.least else next(iter(dict(counts.most_common(1))), "")
        if counts[kind] < self.options.least:
            raise OptionsError(
                f"estimator.records hold {counts[kind]} architectures of this space and task with figures of one kind, "
                f"{self.options.least} are needed: name more folders, or lower estimator.least"
            )
        return json.dumps({"kind": kind, "rows": _merged(row for row in rows if row.kind == kind)}).encode()

    def prepared(self, content: bytes) -> "Surrogate":
        """Return the estimator that has learned from what was read."""
        return Surrogate(self.options, content)

    def knows(self, architecture: Architecture) -> bool:
        """Is a figure of this architecture among what it has learned from?"""
        return architecture in _nets(self.content)

    def estimate(self, architecture: Architecture, space: Space, task: Task, seed: int) -> EstimateResult:
        """Foretell an accuracy with its error."""
        learned = _learned(self.content, self.options.predictor, _Spaced(space, self.content))
        mean, deviation = learned.predict(architecture)
        return EstimateResult(
            Estimate(
                estimator="surrogate",
                accuracy=min(max(mean, 0.0), 1.0),
                accuracy_se=max(deviation, 1e-4),
                details={"learned_from": float(learned.count), "figures": learned.kind},
            )
        )


class _Learned:
    """A predictor that has learned."""

    def __init__(self, content: bytes, name: str, space: Space) -> None:
        data = json.loads(content)
        nets = [space.check(Architecture.from_json(net)) for net, _, _ in data["rows"]]
        self.kind, self.count, self._name = str(data["kind"]), len(nets), name
        self._encoder = Encoder(space)
        self._features = StaticFeatures(space, nets) if space.features(nets[0]) else None
        width = len(self._features.names) if self._features is not None else 0
        self._predictor: Predictor
        if name == "gp":
            from hilnas.predictors.gp_predictor import GpPredictor

            self._predictor = GpPredictor(self._encoder, width)
        else:
            from hilnas.predictors.ensemble import Ensemble

            self._predictor = Ensemble(seed=0)
        accuracies, variances = (np.array([row[i] for row in data["rows"]], np.float64) for i in (1, 2))
        self._predictor.fit(self._inputs(nets), accuracies, variances)

    def predict(self, architecture: Architecture) -> tuple[float, float]:
        """Return mean and standard deviation."""
        mean, deviation = self._predictor.predict(self._inputs([architecture]))
        return float(mean[0]), float(deviation[0])

    def _inputs(self, nets: list[Architecture]) -> Floats:
        rows = self._encoder.encode(nets)
        points: Floats = (
            rows.astype(np.float64) if self._name == "gp" else one_hot(rows, self._encoder.choices)
        )
        if self._features is None:
            return points
        return np.concatenate([points, self._features.encode(nets)], 1)


@dataclass(frozen=True)
class _Spaced:
    """A space that goes by what was learned in it: one process asks about one space."""

    space: Space
    content: bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Spaced) and self.content == other.content

    def __hash__(self) -> int:
        return hash(self.content)


@lru_cache(maxsize=2)
def _nets(content: bytes) -> frozenset[Architecture]:
    return frozenset(Architecture.from_json(net) for net, _, _ in json.loads(content)["rows"])


@lru_cache(maxsize=2)
def _learned(content: bytes, name: str, spaced: _Spaced) -> _Learned:
    return _Learned(content, name, spaced.space)


def _read(folder: Path, space: Space, task_name: str) -> Iterator[_Row]:
    """Yield the figures in a folder whose architectures are of this space, and which are of this task if it is known."""
    place = folder.expanduser()
    if not (place / RECORD_FILE).is_file():
        raise OptionsError(
            f"estimator.records names {folder}, which holds no {RECORD_FILE}: name results folders of `hilnas run` "
            "or `hilnas estimate`, from where this search is started"
        )
    with closing(Record.in_folder(place)) as record:
        for search in record.searches():
            if task_name and search.recipe.get("task", {}).get("name", task_name) != task_name:
                continue
            nets: dict[int, Architecture] = {}
            for event in record.events(search.id):
                if event.kind is EventKind.PROPOSED:
                    try:
                        nets[event.trial] = space.check(load(Proposal, event.payload).architecture)
                    except SpaceError:
                        continue
                elif event.kind in (EventKind.ESTIMATED, EventKind.TRAINED_IN_FULL) and event.trial in nets:
                    found = load(Estimate, event.payload["estimate"])
                    full = event.kind is EventKind.TRAINED_IN_FULL
                    kind = FULL if full else event.key or found.estimator
                    yield _Row(nets[event.trial], kind, found.accuracy, found.accuracy_se**2)


def _merged(rows: Iterator[_Row]) -> list[Any]:
    """Return a row for each architecture: the mean of its figures and the variance of that."""
    by_net: dict[Architecture, list[_Row]] = {}
    for row in rows:
        by_net.setdefault(row.architecture, []).append(row)
    return [
        [
            net.to_json(),
            float(np.mean([row.accuracy for row in some])),
            float(np.mean([row.variance for row in some])) / len(some),
        ]
        for net, some in by_net.items()
    ]
