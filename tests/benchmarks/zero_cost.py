"""How well zero-cost proxies rank, beside the number of parameters and of operations, and whether they help `rl`.

    python -m tests.benchmarks.zero_cost rank --study FOLDER
    python -m tests.benchmarks.zero_cost rank [--architectures 24] [--seed 0]
    python -m tests.benchmarks.zero_cost head-start [--seeds 40] [--epochs 8] [--cost] [--only naswot …]

`rank` takes the architectures of a study that `hilnas estimate` has made or is making (it is read, never written
to), or trains some of its own on the digits. The truth is a full training; of a study without any, what
`train:epochs=1` said. `head-start` trains every net of a small space of digits, and lets `rl` search it with the
truth as a table: cold, and warmed by ranks.
"""

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hilnas.estimators.quality import rank_quality
from hilnas.estimators.train import full_accuracy
from hilnas.objectives import Objective, Quantity, score
from hilnas.proxies import PROXIES, ProxyScore, Reference, Scorer, sample
from hilnas.proxies.options import ProxyOptions
from hilnas.recipe import check_recipe
from hilnas.search.hints import as_trials
from hilnas.search.setup import make_space, make_task
from hilnas.search.study import Findings
from hilnas.spaces import Space
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.store import RECORD_FILE, Record
from hilnas.strategies import Problem
from hilnas.strategies.rl import Controller, ControllerOptions
from hilnas.tasks import Task
from hilnas.tasks.digits import Digits, DigitsOptions
from hilnas.tasks.training import TrainingOptions
from hilnas.trial import Architecture, Estimate, ModelFacts, Proposal, Trial, TrialStatus

FALLBACK = "train:epochs=1"
BASELINES = ("parameters", "macs")
VOTES = ("synflow+jacob_cov+snip", "synflow+naswot+zico")
"""The first is the vote of Abdelfattah et al. (2021)."""
AFTER = (2, 4, 8, 12, 16, 24)


def main() -> None:
    """Print the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["rank", "head-start"])
    parser.add_argument("--study", type=Path, help="results folder of `hilnas estimate`")
    parser.add_argument("--architectures", type=int, default=24, help="without a study: nets to train")
    parser.add_argument("--epochs", type=int, default=8, help="of trainings on the digits")
    parser.add_argument("--batch", type=int, default=64, help="examples that a proxy sees at a time")
    parser.add_argument("--top", type=int, default=3, help="best ones among which the regret is taken")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=40, help="searches of a kind")
    parser.add_argument("--only", nargs="+", help="hints of `head-start`, such as truth naswot; else all")
    parser.add_argument("--cost", action="store_true", help="searches with a cost beside the accuracy")
    parser.add_argument("--truths", type=Path, help="file that keeps trainings of `head-start`")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "head-start":
        head_start(arguments)
        return
    if arguments.study is not None:
        task, space, architectures, seed, kinds = of_study(arguments.study)
    else:
        task, space, architectures, seed, kinds = of_digits(arguments)
    scores, seconds = scored(task, space, architectures, seed, arguments.batch)
    for name, truths in kinds.items():
        print_ranks(name, truths, scores, seconds, arguments.top)
    full, cheap = list(kinds.values()) if len(kinds) == 2 else ([], [])
    both = [(said, true) for said, true in zip(cheap, full, strict=True) if said and true]
    if len(both) > 2:
        said = rank_quality([pair[0] for pair in both], [pair[1] for pair in both], arguments.top)
        print(f"\n{FALLBACK} against the full trainings: Kendall {_short(said.kendall)} ", end="")
        print(f"({_short(said.kendall_low)} to {_short(said.kendall_high)}), {said.count} architectures")


def of_study(
    folder: Path,
) -> tuple[Task, Space, list[Architecture], int, dict[str, list[float | None]]]:
    """Return a study's task, space, architectures, seed and truths, from a copy of its record."""
    with tempfile.TemporaryDirectory() as place:
        copied = sqlite3.connect(Path(place) / RECORD_FILE)
        with (
            closing(sqlite3.connect(f"file:{folder / RECORD_FILE}?mode=ro", uri=True)) as source,
            closing(copied),
        ):
            source.backup(copied)
        with closing(Record.in_folder(Path(place))) as record:
            row = record.searches()[-1]
            findings = Findings()
            for event in record.events(row.id):
                findings.add(event)
    recipe = check_recipe(row.recipe)
    task = make_task(recipe)
    numbers = range(len(findings.architectures))
    answers = [findings.answers.get((FALLBACK, number)) for number in numbers]
    kinds = {
        f"trained in full ({recipe.final.epochs} epochs)": [findings.truth(number) for number in numbers],
        FALLBACK: [answer.estimate.accuracy if answer else None for answer in answers],
    }
    space = make_space(recipe, task.shape, task.classes)
    return task, space, findings.architectures, recipe.search.seed, kinds


def of_digits(
    arguments: argparse.Namespace,
) -> tuple[Task, Space, list[Architecture], int, dict[str, list[float | None]]]:
    """Train some nets on the digits, and return the same of them."""
    task = Digits(DigitsOptions(size=16))
    space = MBConv(task.shape, task.classes, MBConvOptions(resolutions=[1.0]))
    architectures = sample(space, arguments.architectures, arguments.seed)
    options = TrainingOptions(epochs=arguments.epochs, batch=32, learning_rate=0.01)
    truths: list[float | None] = [
        full_accuracy(architecture, space, task, options, arguments.seed).accuracy
        for architecture in architectures
    ]
    return task, space, architectures, arguments.seed, {f"digits, {arguments.epochs} epochs": truths}


def scored(
    task: Task, space: Space, architectures: Sequence[Architecture], seed: int, batch: int
) -> tuple[dict[str, list[ProxyScore]], dict[str, float]]:
    """Return each proxy's scores and the median seconds that one took, building the net included."""
    found: dict[str, list[ProxyScore]] = {}
    seconds: dict[str, float] = {}
    for name in PROXIES:
        scorer = Scorer(space, task, ProxyOptions(proxy=(name,), batch=batch), seed)
        scorer.scores(architectures[0])  # imports, and the data
        taken, found[name] = [], []
        for architecture in architectures:
            began = time.perf_counter()
            found[name].append(scorer.scores(architecture)[name])
            taken.append(time.perf_counter() - began)
        seconds[name] = float(np.median(taken))
    return found, seconds


def print_ranks(
    what: str,
    truths: Sequence[float | None],
    scores: Mapping[str, Sequence[ProxyScore]],
    seconds: Mapping[str, float],
    top: int,
) -> None:
    """Print how each proxy, each vote and each baseline orders those with a truth."""
    known = [number for number, truth in enumerate(truths) if truth is not None]
    true = [truth for truth in truths if truth is not None]
    print(f"\n{what}: {len(known)} architectures", end="")
    if len(known) < 3:
        print(", too few to rank")
        return
    print(
        f", {100 * min(true):.2f} to {100 * max(true):.2f} %; regret in points, of the best {top} and of the best half"
    )
    print(
        f"{'proxy':24} {'kendall':>8} {'95 %':>16} {'spearman':>9} {'regret':>7} {'half':>7} {'seconds':>8}"
    )
    rows = [name for name in PROXIES if name not in BASELINES]
    for label in [*rows, *VOTES, *BASELINES]:
        names = label.split("+")
        of_each = [{name: scores[name][number] for name in names} for number in known]
        reference = Reference.of(of_each)
        ranks = [reference.rank(each) for each in of_each]
        said = rank_quality(ranks, true, top)
        kept = max(truth for rank, truth in zip(ranks, true, strict=True) if rank > 0.5)
        cost = sum(seconds[name] for name in names)
        interval = f"{_short(said.kendall_low)} to {_short(said.kendall_high)}"
        regret = "–" if said.regret is None else f"{100 * said.regret:.2f}"
        print(
            f"{label:24} {_short(said.kendall):>8} {interval:>16} {_short(said.spearman):>9} {regret:>7} "
            f"{100 * (max(true) - kept):7.2f} {cost:8.3f}"
        )


def head_start(arguments: argparse.Namespace) -> None:
    """Print the regret of `rl` on a table of digits, cold and warm, and how well the hints rank."""
    task = Digits(DigitsOptions(size=16))
    space = small_space(task)
    architectures = every(space)
    table = Table(space, trained(task, space, architectures, arguments), arguments.cost)
    true = [table.truths[architecture] for architecture in architectures]
    print(f"{len(true)} nets of digits, {100 * min(true):.2f} to {100 * max(true):.2f} %", end="")
    print("; the reward has MACs with a hard target" if arguments.cost else "; the reward is the accuracy")
    print(f"100 x regret of the reward (standard error), {arguments.seeds} seeds, after ", end="")
    print(f"{' · '.join(map(str, AFTER))} trials; Kendall of the hints with the accuracy")
    scores, _ = scored(task, space, architectures, arguments.seed, arguments.batch)
    print(row("cold", table.regrets((), arguments.seeds), ""), flush=True)
    told: dict[str, Sequence[ProxyScore]] = {**scores, "truth": [ProxyScore(value) for value in true]}
    everything = ["truth", *(name for name in PROXIES if name not in BASELINES), *VOTES, *BASELINES]
    for label in arguments.only or everything:
        of_each = [{name: told[name][n] for name in label.split("+")} for n in range(len(architectures))]
        hints = as_trials(architectures, of_each, ())
        said = rank_quality([hint.estimate.accuracy for hint in hints if hint.estimate], true)
        print(row(label, table.regrets(hints, arguments.seeds), _short(said.kendall)), flush=True)


def small_space(task: Task) -> MBConv:
    """Return a space of 96 nets that differ in widths, expansions and activations."""
    options = MBConvOptions(
        resolutions=[1.0], stem_widths=[8], stage_widths=[[4, 8, 16], [8, 16]], stage_depths=[[1], [1]],
        stage_strides=[1, 2], kernels=[3], expansions=[1, 3], squeeze_excite=[False],
        activations=["relu6", "hswish"], head_width=16,
    )  # fmt: skip
    return MBConv(task.shape, task.classes, options)


def every(space: Space) -> list[Architecture]:
    """Return all architectures of a space."""
    generator, found = np.random.default_rng(0), dict[Architecture, None]()
    while len(found) < space.size:
        found[space.sample(generator)] = None
    return list(found)


def trained(
    task: Task, space: Space, architectures: Sequence[Architecture], arguments: argparse.Namespace
) -> dict[Architecture, float]:
    """Return what each net reaches on validation data; trainings that a file keeps are not done again."""
    options = TrainingOptions(epochs=arguments.epochs, batch=32, learning_rate=0.01)
    kept = json.loads(arguments.truths.read_text()) if arguments.truths and arguments.truths.exists() else {}
    for architecture in architectures:
        if architecture.digest not in kept:
            found = full_accuracy(architecture, space, task, options, arguments.seed)
            kept[architecture.digest] = found.accuracy
            if arguments.truths:
                arguments.truths.write_text(json.dumps(kept))
    return {architecture: kept[architecture.digest] for architecture in architectures}


class Table:
    """Nets whose accuracies are known, and searches among them."""

    def __init__(self, space: Space, truths: Mapping[Architecture, float], cost: bool) -> None:
        """With a `cost` half of the nets are beyond a hard target of MACs."""
        self.space, self.truths = space, truths
        self._macs = {architecture: space.features(architecture)["macs"] for architecture in truths}
        middle = float(np.median(list(self._macs.values()))) / 1e6
        costs = [Objective(quantity=Quantity.MACS, target=middle, kind="hard")] if cost else []
        self._objectives = (Objective(quantity=Quantity.ACCURACY), *costs)
        self._best = max(self._trial(0, Proposal(architecture)).score.reward for architecture in truths)

    def regrets(self, hints: Sequence[Trial], seeds: int) -> NDArray[np.float64]:
        """Return the regret [seeds, AFTER] of searches by `rl`, one trial after the other."""
        found = np.zeros((seeds, len(AFTER)))
        for seed in range(seeds):
            problem = Problem(self.space, self._objectives, tuple(hints))
            strategy = Controller(problem, ControllerOptions(), seed)
            trials: list[Trial] = []
            for number in range(max(AFTER)):
                trials.append(self._trial(number, strategy.propose([])))
                strategy.observe(trials[-1:])
            rewards = np.maximum.accumulate([trial.score.reward for trial in trials])
            found[seed] = [self._best - rewards[count - 1] for count in AFTER]
        return found

    def _trial(self, number: int, proposal: Proposal) -> Trial:
        architecture = proposal.architecture
        trial = Trial(
            number,
            proposal,
            TrialStatus.SCORED,
            model=ModelFacts("", 0, int(self._macs[architecture]), 0),
            estimate=Estimate("table", self.truths[architecture], 0.005),
        )
        return replace(trial, score=score(self._objectives, trial))


def row(label: str, regrets: NDArray[np.float64], kendall: str) -> str:
    """Return a line of the table."""
    means, errors = 100 * regrets.mean(0), 100 * regrets.std(0, ddof=1) / len(regrets) ** 0.5
    told = " · ".join(f"{mean:.2f} ({error:.2f})" for mean, error in zip(means, errors, strict=True))
    return f"{label:24} {told}  {kendall}"


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
