"""A table of architectures and what was measured of them, as a task, a space and an estimator.

A table is an .npz with `arch`, whole numbers [N, L], and named columns [N]; or a .csv in which some
columns are decisions. Rows need not be every combination of choices.
"""

import csv
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hilnas.errors import HilnasError
from hilnas.estimators import EstimateResult
from hilnas.options import Options, nearest
from hilnas.spaces import BlockSummary, Decision, Space
from hilnas.tasks import Task
from hilnas.tasks.base import Arrays, TaskOptions
from hilnas.trial import Architecture, Choice, Estimate

if TYPE_CHECKING:
    from torch import nn


class TableError(HilnasError, ValueError):
    """A table cannot be used; the message names the file or column and the remedy."""

    exit_code = 2


@dataclass(frozen=True, eq=False)
class Table:
    """Architectures as rows of choice indices, and their figures."""

    path: Path
    names: tuple[str, ...]
    """Of the decisions."""
    choices: tuple[tuple[Choice, ...], ...]
    """Of each decision, sorted."""
    rows: NDArray[np.int64]
    """Choice indices [N, L]."""
    lines: NDArray[np.int64]
    """Place of each row in the file [N], from 0."""
    columns: Mapping[str, NDArray[np.float64]] = field(repr=False)
    """Figures [N] by name."""

    def __len__(self) -> int:
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self.path == other.path and np.array_equal(self.rows, other.rows)

    def __hash__(self) -> int:
        return hash((self.path, self.names))

    def values(self, row: int) -> list[Choice]:
        """Return the choices of a row, in the table's own terms."""
        return [choices[index] for choices, index in zip(self.choices, self.rows[row], strict=True)]


def read_table(path: Path, columns: Sequence[str], arch: Sequence[str] = ()) -> Table:
    """Read the decisions and the figures named `columns`; `arch` names the decisions of a .csv.

    Rows whose figures are not finite are left out, and of equal architectures the first is kept.
    TableError says what is wrong.
    """
    if not path.is_file():
        raise TableError(f"there is no table {path}: give the path of an .npz or .csv file")
    try:
        raw = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
    except (OSError, ValueError, KeyError, csv.Error, EOFError, zipfile.BadZipFile) as error:
        raise TableError(f"{path} cannot be read as a table: {error}") from error
    names, cells = _decisions(path, raw, arch, columns)
    figures = {name: _figures(path, raw, name, len(cells)) for name in columns}
    keep = np.ones(len(cells), bool)
    for column in figures.values():
        keep &= np.isfinite(column)
    indices, choices = _indexed(cells)
    lines = np.flatnonzero(keep)
    _, first = np.unique(indices[lines], axis=0, return_index=True)
    lines = lines[np.sort(first)]
    if len(lines) < 2:
        raise TableError(
            f"{path} holds {len(lines)} architectures with finite {', '.join(columns)}: 2 at least"
        )
    kept = {name: column[lines] for name, column in figures.items()}
    return Table(path, names, choices, indices[lines], lines, kept)


def shares(accuracy: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return accuracies as shares: a column that goes beyond 1 is taken for percent."""
    if accuracy.min() < 0 or accuracy.max() > 100:
        raise TableError(
            f"column {name} runs from {accuracy.min():g} to {accuracy.max():g}, which is no accuracy: "
            "shares from 0 to 1, or percent"
        )
    return accuracy / 100 if accuracy.max() > 1 else accuracy


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_csv(path: Path) -> dict[str, NDArray[Any]]:
    with path.open(newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        lines = [line for line in reader if line]
    for number, line in enumerate(lines, start=2):
        if len(line) != len(header):
            raise ValueError(f"line {number} has {len(line)} fields, the header {len(header)}")
    if len(set(header)) != len(header):
        raise ValueError("two columns have one name")
    return {name: _column([line[i].strip() for line in lines]) for i, name in enumerate(header)}


def _column(texts: list[str]) -> NDArray[Any]:
    """Return whole numbers, numbers or texts, whichever all of them are."""
    for kind in (int, float):
        try:
            return np.array([kind(text) for text in texts])
        except (ValueError, OverflowError):
            continue
    return np.array(texts, dtype=str)


def _decisions(
    path: Path, raw: Mapping[str, NDArray[Any]], arch: Sequence[str], figures: Sequence[str]
) -> tuple[tuple[str, ...], list[list[Choice]]]:
    """Return the decisions' names and their values row by row."""
    whole = raw.get("arch")
    if not arch and whole is not None and whole.ndim == 2:
        if not np.issubdtype(whole.dtype, np.integer):
            raise TableError(f"{path}: arch is {whole.dtype}; give whole numbers [N, L]")
        return tuple(f"d{i}" for i in range(whole.shape[1])), whole.tolist()
    names = tuple(arch) or tuple(
        name
        for name, column in raw.items()
        if name not in figures and column.ndim == 1 and _looks_like_a_decision(column)
    )
    for name in names:
        if name not in raw or raw[name].ndim != 1:
            raise TableError(f'{path} has no column "{name}": {nearest(name, raw)}')
    if not names:
        raise TableError(
            f"{path} has no decisions: name its columns with --arch a,b,c; there are {', '.join(raw)}"
        )
    return names, [list(row) for row in zip(*(raw[name].tolist() for name in names), strict=True)]


def _looks_like_a_decision(column: NDArray[Any]) -> bool:
    """Whole numbers or texts, of few values."""
    return column.dtype.kind in "iubU" and len(np.unique(column)) <= min(64, max(2, len(column) // 2))


def _figures(path: Path, raw: Mapping[str, NDArray[Any]], name: str, count: int) -> NDArray[np.float64]:
    if name not in raw:
        raise TableError(f'{path} has no column "{name}": {nearest(name, [n for n in raw if n != "arch"])}')
    column = raw[name]
    if column.shape != (count,) or column.dtype.kind not in "iufb":
        raise TableError(
            f"{path}: {name} is {column.dtype} {list(column.shape)}; a column is numbers [{count}]"
        )
    return column.astype(np.float64)


def _indexed(cells: list[list[Choice]]) -> tuple[NDArray[np.int64], tuple[tuple[Choice, ...], ...]]:
    """Return values as indices [N, L] into each decision's sorted choices, and those."""
    choices = tuple(tuple(sorted(set(column))) for column in zip(*cells, strict=True))
    places = [{value: i for i, value in enumerate(values)} for values in choices]
    indices = [[place[value] for place, value in zip(places, row, strict=True)] for row in cells]
    return np.array(indices, np.int64), choices


class TableSpace(Space):
    """The architectures of a table. Where they are not all combinations, choices narrow as one decides.

    Modules stand in for the real ones: they map pictures to logits and export, and mean nothing.
    """

    def __init__(
        self,
        table: Table,
        features: Sequence[str] = (),
        shape: tuple[int, int, int] = (1, 8, 8),
        classes: int = 2,
    ) -> None:
        self.table = table
        self._features = tuple(features)
        self.shape = shape
        self.classes = classes
        decisions = zip(table.names, table.choices, strict=True)
        super().__init__("table", tuple(Decision(name, choices) for name, choices in decisions))
        self._rows = {tuple(row): number for number, row in enumerate(table.rows.tolist())}

    @cached_property
    def is_free(self) -> bool:
        """Are the rows all combinations?"""
        return math.prod(len(choices) for choices in self.table.choices) == len(self.table)

    @cached_property
    def size(self) -> int:
        """Number of rows."""
        return len(self.table)

    def row(self, architecture: Architecture) -> int:
        """Return the table's row of an architecture."""
        values = zip(architecture.decisions, self.table.choices, strict=True)
        return self._rows[tuple(choices.index(value) for (_, value), choices in values)]

    def of_row(self, row: int) -> Architecture:
        """Return the architecture of a row."""
        return Architecture(self.name, tuple(zip(self.table.names, self.table.values(row), strict=True)))

    def allowed(self, decision: Decision, chosen: Mapping[str, Choice]) -> tuple[Choice, ...]:
        """Return the choices that a row has after those made before."""
        if self.is_free:
            return decision.choices
        place = self.table.names.index(decision.name)
        before = tuple(
            self.table.choices[i].index(chosen[name]) for i, name in enumerate(self.table.names[:place])
        )
        return tuple(decision.choices[i] for i in self._continuations.get(before, ()))

    @cached_property
    def _continuations(self) -> dict[tuple[int, ...], list[int]]:
        """Choice indices that follow each beginning of a row."""
        found: dict[tuple[int, ...], set[int]] = {}
        for row in self._rows:
            for place, index in enumerate(row):
                found.setdefault(row[:place], set()).add(index)
        return {beginning: sorted(indices) for beginning, indices in found.items()}

    def features(self, architecture: Architecture) -> Mapping[str, float]:
        """Return the columns that stand for what a space tells without building."""
        row = self.row(architecture)
        return {name: float(self.table.columns[name][row]) for name in self._features}

    def sample(self, generator: np.random.Generator) -> Architecture:
        """Draw a row uniformly."""
        return self.of_row(int(generator.integers(len(self.table))))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield the rows that differ in one decision, or in as few as any does."""
        apart = (self.table.rows != self.table.rows[self.row(architecture)]).sum(1)
        for row in np.flatnonzero(apart == apart[apart > 0].min()):
            yield self.of_row(int(row))

    def mutate(self, architecture: Architecture, generator: np.random.Generator) -> Architecture:
        """Draw one of the neighbours."""
        near = list(self.neighbours(architecture))
        return near[int(generator.integers(len(near)))]

    @property
    def settings(self) -> dict[str, Any]:
        """Shape and classes."""
        return {"shape": list(self.shape), "classes": self.classes}

    def input_shape(self, architecture: Architecture) -> tuple[int, int, int]:
        """Return the task's shape."""
        return self.shape

    def build(self, architecture: Architecture) -> "nn.Module":
        """Return a stand-in."""
        from torch import nn

        return nn.Sequential(
            nn.Conv2d(self.shape[0], 8, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, self.classes),
        )

    def describe(self, architecture: Architecture) -> list[BlockSummary]:
        """Return the row's decisions, and the stand-in's output."""
        details = {name: str(value) for name, value in architecture.decisions}
        return [BlockSummary("row", "table", (self.classes, 1, 1), details)]


class TableTask(Task):
    """Pictures for the stand-ins: two brightnesses to tell apart."""

    name = "table"
    Options = TaskOptions

    def read(self) -> Arrays:
        """Return 64 grey pictures, dark and bright."""
        labels = np.arange(64) % 2
        noise = np.random.default_rng(self.seed).integers(0, 64, (64, 1, 8, 8))
        return Arrays(
            (noise + 128 * labels[:, None, None, None]).astype(np.uint8), labels, ("dark", "bright")
        )


class TableEstimatorOptions(Options):
    """Where accuracies are read."""

    path: Path
    """The table."""
    accuracy: str
    """Its column of accuracies."""
    arch: list[str] = Field(default_factory=list)
    """Columns of a .csv that are decisions."""
    noise: float = Field(0.0, ge=0, lt=1)
    """Standard deviation of what is added to an accuracy, as a share: another draw for another seed."""


class TableEstimator:
    """Reads an accuracy in a table."""

    Options = TableEstimatorOptions

    def __init__(self, options: TableEstimatorOptions) -> None:
        self.options = options

    def estimate(self, architecture: Architecture, space: Space, task: Task, seed: int) -> EstimateResult:
        """Return the row's accuracy, noise added. ValueError for what is no row of the table."""
        options = self.options
        space = _space(options.path, options.accuracy, tuple(options.arch))
        row = space.row(architecture)
        accuracy = float(shares(space.table.columns[options.accuracy], options.accuracy)[row])
        noise = options.noise * np.random.default_rng([seed, row]).normal()
        return EstimateResult(Estimate("table", min(1.0, max(0.0, accuracy + float(noise))), options.noise))


@lru_cache(maxsize=4)
def _space(path: Path, accuracy: str, arch: tuple[str, ...]) -> TableSpace:
    return TableSpace(read_table(path, [accuracy], arch))
