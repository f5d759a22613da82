"""How well predictors order what they have not seen, and few-shot transfer to a new device.

    python -m tests.benchmarks.predictors --tables FOLDER [--seeds 3]

FOLDER holds nb201_public.npz (NAS-Bench-201) and nasbench_macro_cifar10.npz (NAS-Bench-Macro); a table
that is not there is skipped. First: each predictor with each encoding learns rows drawn at random and
orders 2,000 others. Then each device of NAS-Bench-201 in turn is new and the others are known.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from hilnas.predictors.base import Predictor, rank_correlation
from hilnas.predictors.encodings import Encoder, one_hot
from hilnas.predictors.ensemble import Ensemble
from hilnas.predictors.gp_predictor import GpPredictor
from hilnas.predictors.paths import PathEncoding
from hilnas.predictors.ridge import BayesianRidge
from hilnas.predictors.transfer import FewShotTransfer
from hilnas.testing.tabular import TableSpace, read_table

Floats = NDArray[np.float64]

EDGES = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
DEVICES = [
    "raspi4",
    "pixel3",
    "pixel2",
    "samsung_a50",
    "samsung_s7",
    "essential_ph_1",
    "eyeriss",
    "fpga",
    "gold_6226",
]
FIGURES = [("nb201_public", "acc_cifar10_ptq"), ("nb201_public", "lat_ms_raspi4"),
           ("nasbench_macro_cifar10", "mean_acc")]  # fmt: skip
SIZES = (25, 100, 200)
SHOTS = (5, 10, 20)
HELD_OUT = 2000
POOL = 2000
"""Architectures of which those to measure are chosen."""


class OfRanks:
    """Learns normal scores of the values' ranks, so that a few that fail altogether do not tell all."""

    def __init__(self, inner: Predictor) -> None:
        self.inner = inner

    def fit(self, inputs: Floats, values: Floats, variances: Floats | None = None) -> None:
        self.inner.fit(inputs, ndtri((rankdata(values) - 0.5) / len(values)))

    def predict(self, inputs: Floats) -> tuple[Floats, Floats]:
        return self.inner.predict(inputs)


def regressors(seed: int) -> dict[str, Callable[[], Predictor]]:
    """Return the predictors that take any encoding."""
    return {
        "Bayesian ridge": BayesianRidge,
        "MLP ensemble, mse": lambda: Ensemble(seed),
        "MLP ensemble, ranking": lambda: Ensemble(seed, "ranking"),
    }


def competitors(table: Any, seed: int) -> Iterator[tuple[str, str, Callable[[], Predictor], Floats]]:
    """Yield predictor, encoding, how to make the one, and the other of the whole table."""
    encoder = Encoder(TableSpace(table))
    flat = one_hot(table.rows, encoder.choices)
    encodings = {"one-hot": flat}
    if len(encoder.choices) == len(EDGES):
        encodings["paths"] = PathEncoding(EDGES, 5, absent=0).encode(table.rows)
        encodings["both"] = np.hstack([flat, encodings["paths"]])
    for predictor, make in regressors(seed).items():
        for encoding, inputs in encodings.items():
            yield predictor, encoding, make, inputs
    rows = table.rows.astype(float)
    yield "Gaussian process", "choices", lambda: GpPredictor(encoder), rows
    yield "Gaussian process, of ranks", "choices", lambda: OfRanks(GpPredictor(encoder)), rows
    if "paths" in encodings:
        yield "Bayesian ridge, of ranks", "paths", lambda: OfRanks(BayesianRidge()), encodings["paths"]


def orders(path: Path, figure: str, seeds: int) -> None:
    """Print held-out Spearman and Kendall by predictor, encoding and rows learned."""
    table = read_table(path, [figure])
    values = table.columns[figure]
    if figure.startswith("lat"):
        values = np.log(values)
    print(f"\n{path.stem}, {figure}: held-out Spearman / Kendall after {', '.join(map(str, SIZES))} rows")
    found: dict[tuple[str, str], list[list[tuple[float, float]]]] = {}
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(table))
        unseen = order[-HELD_OUT:]
        for predictor, encoding, make, inputs in competitors(table, seed):
            line = []
            for size in SIZES:
                model = make()
                model.fit(inputs[order[:size]], values[order[:size]])
                ranks = rank_correlation(model.predict(inputs[unseen])[0], values[unseen])
                line.append((ranks.spearman, ranks.kendall))
            found.setdefault((predictor, encoding), []).append(line)
    for (predictor, encoding), lines in found.items():
        means = np.mean(lines, axis=0)
        print(f"| {predictor} | {encoding} | " + " | ".join(f"{s:.3f} / {k:.3f}" for s, k in means) + " |")


def transferred(known: Floats, new: Floats, encoding: Floats, rows: Any, gp: Any, seed: int) -> Any:
    """Return the held-out Spearman of each method [shots] after measurements on the new device."""
    pool = np.random.default_rng(seed).choice(len(new), POOL, replace=False)
    ways = {}
    for name, inputs in (("transfer", np.hstack([known, encoding])), ("transfer, latencies alone", known)):
        ways[name] = FewShotTransfer(inputs[pool], known.shape[1], seed), inputs
    designed, _ = ways["transfer, latencies alone"]
    telling = pool[designed.choose(max(SHOTS))]
    found: dict[str, list[float]] = {}
    for shots in SHOTS:
        guesses: list[tuple[str, Any, Floats]] = []
        for name, (transfer, inputs) in ways.items():
            for way, chosen in (("", pool[transfer.choose(shots)]), (", measured at random", pool[:shots])):
                transfer.fit(inputs[chosen], new[chosen])
                guesses.append((name + way, chosen, transfer.predict(inputs)[0]))
        chosen = telling[:shots]
        alike = [rank_correlation(column[chosen], new[chosen]).spearman for column in known.T]
        guesses.append(("the known device most like it", chosen, known[:, int(np.nanargmax(alike))]))
        guesses.append(("mean of the known devices", chosen, np.log(known).mean(1)))
        macs = encoding[:, [3 + 5 * edge for edge in range(6)]].sum(1) * 9
        macs += encoding[:, [2 + 5 * edge for edge in range(6)]].sum(1)
        scratch = {"ridge on MACs": (BayesianRidge(), macs[:, None] / 9),
                   "from scratch, ridge": (BayesianRidge(), encoding),
                   "from scratch, Gaussian process": (gp(), rows)}  # fmt: skip
        for name, (predictor, inputs) in scratch.items():
            predictor.fit(inputs[chosen], np.log(new[chosen]))
            guesses.append((name, chosen, predictor.predict(inputs)[0]))
        for name, measured, guess in guesses:
            rest = np.setdiff1d(np.arange(len(new)), measured)
            found.setdefault(name, []).append(rank_correlation(guess[rest], new[rest]).spearman)
    return found


def few_shots(path: Path, seeds: int) -> None:
    """Print held-out Spearman on a device left out, by method and measurements, mean over devices and seeds."""
    columns = [f"lat_ms_{device}" for device in DEVICES]
    table = read_table(path, columns)
    latencies = np.stack([table.columns[column] for column in columns], 1)
    encoder = Encoder(TableSpace(table))
    paths = PathEncoding(EDGES, 5, absent=0).encode(table.rows)
    encoding = np.hstack([one_hot(table.rows, encoder.choices), paths])
    found: dict[str, list[list[list[float]]]] = {}
    for device in range(len(DEVICES)):
        known, new = np.delete(latencies, device, 1), latencies[:, device]
        runs = [
            transferred(known, new, encoding, table.rows.astype(float), lambda: GpPredictor(encoder), seed)
            for seed in range(seeds)
        ]
        for name in runs[0]:
            found.setdefault(name, []).append([run[name] for run in runs])
    print(f"\n{path.stem}, lat_ms_*: held-out Spearman on a device left out, {len(DEVICES)} in turn,")
    print(f"after {', '.join(map(str, SHOTS))} measurements; then the worst device after 10")
    for name, numbers in found.items():
        every = np.array(numbers).mean(1)  # [devices, shots]
        worst = int(every[:, 1].argmin())
        means = " | ".join(f"{mean:.3f}" for mean in every.mean(0))
        print(f"| {name} | {means} | {every[worst, 1]:.3f} ({DEVICES[worst]}) |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with threadpool_limits(1):
        for name, figure in FIGURES:
            if (path := options.tables / f"{name}.npz").is_file():
                orders(path, figure, options.seeds)
            else:
                print(f"\nskipped {figure}: there is no {path}")
        if (path := options.tables / "nb201_public.npz").is_file():
            few_shots(path, options.seeds)
        else:
            print(f"\nskipped few-shot transfer: there is no {path}")


if __name__ == "__main__":
    main()
