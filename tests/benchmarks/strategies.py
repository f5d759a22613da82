"""Strategies on tables of known architectures: regret, targets, parallel devices, noise, time, ingredients.

    python -m tests.benchmarks.strategies --tables FOLDER [--seeds 100] [--only soft parallel …]

FOLDER holds nb201_public.npz (NAS-Bench-201) and nasbench_macro_cifar10.npz (NAS-Bench-Macro).
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hilnas.cli.bench import make_contest, parse_strategies
from hilnas.objectives import Figure, Objective
from hilnas.spaces.mbconv import MBConv, MBConvOptions
from hilnas.strategies import Problem
from hilnas.strategies.rl import Controller, ControllerOptions
from hilnas.testing.bench import Contest, Results, run_contest
from hilnas.testing.outcomes import concluded
from hilnas.testing.strategies import conduct
from hilnas.testing.tabular import TableSpace
from hilnas.testing.virtual import FarmConditions, VirtualFarm
from hilnas.trial import Architecture, Trial

PEERS = "random,evolution,multi-objective-evolution,local-search,tpe,nsga2:aim=reward,progressive,generative,netadapt"
PRIOR = 30
"""Updates of the policy by what an earlier search suggests."""
BUDGETS = (50, 100, 200)
ABLATION = (
    "rl:model=false:gradient=reinforce,rl:model=false:gradient=ppo,rl:local=0:imagine=false:corrections=false,"
    "rl:local=0,rl:imagine=false,rl:corrections=false,rl"
)


def nb201(tables: Path, form: str = "mnasnet", target: float | None = None) -> Contest:
    return make_contest(
        tables / "nb201_public.npz", "acc_cifar10_ptq", ["lat_ms_raspi4"], [], form, target, None, None, None
    )


def macro(tables: Path) -> Contest:
    path = tables / "nasbench_macro_cifar10.npz"
    return make_contest(path, "mean_acc", [], [], "mnasnet", None, None, None, None)


def show(title: str, results: Results) -> None:
    print(f"\n{title}\n")
    rows = results.to_json()["results"]
    print(
        "| strategy | "
        + " | ".join(f"after {b}" for b in results.budgets)
        + " | optimum | ms a proposal | hours |"
    )
    print("|---" * (len(results.budgets) + 4) + "|")
    for name in dict.fromkeys(row["strategy"] for row in rows):
        mine = [row for row in rows if row["strategy"] == name]
        cells = [f"{row['regret_percent_mean']:.3f} ± {row['regret_percent_se']:.3f}" for row in mine]
        last = mine[-1]
        print(
            f"| `{name}` | {' | '.join(cells)} | {last['optimum_share']:.0%} | "
            f"{1000 * last['seconds_per_proposal']:.0f} | {last['makespan_hours']:.2f} |",
            flush=True,
        )


def compare(
    title: str,
    contest: Contest,
    names: str,
    seeds: Sequence[int],
    budgets: Sequence[int] = BUDGETS,
    **farm: float,
) -> Results:
    conditions = FarmConditions.model_validate(farm)
    results = run_contest(contest, parse_strategies(names), budgets, seeds, conditions)
    show(title, results)
    return results


def soft(tables: Path, seeds: Sequence[int]) -> None:
    title = "NAS-Bench-201: int8 accuracy x latency on a Pi 4, soft, w = -0.07"
    compare(title, nb201(tables), f"rl,{PEERS}", seeds)


def accuracy(tables: Path, seeds: Sequence[int]) -> None:
    compare("NAS-Bench-Macro: accuracy alone", macro(tables), f"rl,{PEERS}", seeds)


def constrained(tables: Path, seeds: Sequence[int]) -> None:
    for form in ("hard", "absolute"):
        compare(f"NAS-Bench-201: {form}, target 10 ms", nb201(tables, form, 10.0), f"rl,{PEERS}", seeds)


def gaussian(tables: Path, seeds: Sequence[int]) -> None:
    """`gp` takes most of a second a proposal: few seeds, beside `rl` on the same ones."""
    compare("NAS-Bench-201 soft, gp", nb201(tables), "rl,gp", seeds)
    compare("NAS-Bench-Macro, gp", macro(tables), "rl,gp", seeds)


def front(tables: Path, seeds: Sequence[int]) -> None:
    """Share of the known front's hypervolume: nets by accuracy and latency, and by accuracy and MACs."""
    names = "rl:aim=front,rl,nsga2,nsga2:population=20,multi-objective-evolution,multi-objective-evolution:population=20,random"
    path = tables / "nasbench_macro_cifar10.npz"
    flops = make_contest(path, "mean_acc", ["flops"], [], "mnasnet", None, None, None, None)
    for title, contest in (("NAS-Bench-201, int8, Pi 4", nb201(tables)), ("NAS-Bench-Macro, FLOPs", flops)):
        results = run_contest(contest, parse_strategies(names), BUDGETS, seeds, FarmConditions())
        print(f"\nHypervolume, % of the known front's: {title}\n")
        print("| strategy | " + " | ".join(f"after {b}" for b in BUDGETS) + " |\n|---|---|---|---|")
        for name in names.split(","):
            volumes = [results.volumes(name, budget) for budget in BUDGETS]
            cells = [f"{v.mean():.2f} ± {v.std(ddof=1) / len(v) ** 0.5:.2f}" for v in volumes]
            print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


def head_start(tables: Path, seeds: Sequence[int]) -> None:
    """What static features bring, and what 100 trials of a search for another device bring."""
    path = tables / "nasbench_macro_cifar10.npz"
    for features in ((), ("flops", "params")):
        contest = make_contest(path, "mean_acc", [], [], "mnasnet", None, None, None, None, features)
        title = f"NAS-Bench-Macro, static features: {', '.join(features) or 'none'}"
        compare(title, contest, "rl", seeds, (10, 25, 50))
    here = nb201(tables)
    device = make_contest(
        here.table.path, "acc_cifar10_fp32", ["lat_ms_pixel3"], [], "mnasnet", None, None, None, None
    )
    data = make_contest(
        here.table.path, "acc12_cifar100_val", ["lat_ms_raspi4"], [], "mnasnet", None, None, None, None
    )
    print("\nNAS-Bench-201, CIFAR-10 in int8 on a Pi 4, after 100 trials of another search\n")
    print("| start | after 4 | after 10 | after 25 | after 50 |\n|---|---|---|---|---|")
    starts: tuple[tuple[str, Contest | None, int], ...] = (
        ("cold", None, 0),
        ("another device: Pixel 3, float32", device, 0),
        ("the same, and a prior for the policy", device, PRIOR),
        ("another data set: CIFAR-100, 12 epochs", data, 0),
        ("the same, and a prior for the policy", data, PRIOR),
    )
    for name, there, prior in starts:
        curves = np.array([_curve(here, there, seed, prior) for seed in seeds])
        cells = [
            f"{curves[:, b - 1].mean():.3f} ± {curves[:, b - 1].std(ddof=1) / len(curves) ** 0.5:.3f}"
            for b in (4, 10, 25, 50)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _curve(here: Contest, there: Contest | None, seed: int, prior: int) -> np.ndarray:
    """Return the regret in % of the best so far, after each of 50 trials."""
    earlier: tuple[Trial, ...] = ()
    if there is not None:
        earlier = tuple(
            _search(there, Problem(TableSpace(there.table), there.objectives), 100, 1000 + seed, 0)
        )
    space = TableSpace(here.table)
    trials = _search(here, Problem(space, here.objectives, earlier), 50, seed, prior)
    rewards = here.rewards[[space.row(trial.architecture) for trial in trials]]
    best = here.rewards.max()
    return 100 * (best - np.maximum.accumulate(rewards)) / best


def _search(contest: Contest, problem: Problem, count: int, seed: int, prior: int) -> list[Trial]:
    space = problem.space
    assert isinstance(space, TableSpace)

    def truth(architecture: Architecture) -> dict[str, float]:
        row = space.row(architecture)
        return {label: float(column[row]) for label, column in contest.values.items()}

    strategy = Controller(problem, ControllerOptions(prior=prior), seed)
    return VirtualFarm(strategy, contest.objectives, truth, FarmConditions(), seed).run(count).trials


def targets(tables: Path, seeds: Sequence[int]) -> None:
    """How far from the target is the latency of what one search finds?"""
    print("\nLatency of the architecture found, over the target (200 evaluations, each seed one search)\n")
    print("| form | target ms | median | worst |\n|---|---|---|---|")
    for form in ("hard", "absolute"):
        for target in (5.0, 10.0, 20.0):
            contest = nb201(tables, form, target)
            results = run_contest(contest, parse_strategies("rl"), [200], seeds, FarmConditions())
            costs = contest.table.columns["lat_ms_raspi4"]
            ratios = np.array([costs[seed.chosen[200]] / target for seed in results.seeds])
            worst = ratios[np.argmax(np.abs(ratios - 1))] if form == "absolute" else ratios.max()
            print(f"| {form} | {target:g} | {np.median(ratios):.3f} | {worst:.3f} |", flush=True)


def parallel(tables: Path, seeds: Sequence[int]) -> None:
    alone: float | None = None
    print("\nVirtual devices (200 evaluations, durations log-normal with sd 0.3)\n")
    print("| devices | hours | times faster | regret after 200 |\n|---|---|---|---|")
    for devices in (1, 2, 4, 8, 16, 32, 64):
        contest = nb201(tables)
        results = run_contest(contest, parse_strategies("rl"), [200], seeds, FarmConditions(devices=devices))
        row = results.to_json()["results"][0]
        alone = alone or row["makespan_hours"]
        print(
            f"| {devices} | {row['makespan_hours']:.2f} | {alone / row['makespan_hours']:.2f} | "
            f"{row['regret_percent_mean']:.3f} ± {row['regret_percent_se']:.3f} |",
            flush=True,
        )


def noise(tables: Path, seeds: Sequence[int]) -> None:
    names = f"rl,rl:repeats=0,{PEERS}"
    title = "NAS-Bench-201, noise of 5 % on latency and 0.5 point on accuracy: true regret of what is chosen"
    compare(title, nb201(tables), names, seeds, cost_noise=0.05, accuracy_noise=0.005)


def ablation(tables: Path, seeds: Sequence[int]) -> None:
    compare("What each ingredient brings, NAS-Bench-201 soft", nb201(tables), ABLATION, seeds)
    compare("The same, 8 devices", nb201(tables), ABLATION, seeds, devices=8)
    compare("The same, NAS-Bench-Macro", macro(tables), ABLATION, seeds)


def seconds(tables: Path, seeds: Sequence[int]) -> None:
    """Time a proposal takes with up to 1,000 trials behind it."""
    options = MBConvOptions(
        stage_widths=[[16, 24, 32], [24, 32, 48], [32, 48, 64], [64, 96, 128]],
        stage_depths=[[1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3]],
        stage_strides=[1, 2, 2, 2],
    )
    space = MBConv((3, 64, 64), 10, options)
    objectives = (
        Objective(quantity="accuracy"),
        Objective(quantity="latency", device_class="board", target=5),
    )
    generator = np.random.default_rng(0)
    weights = {(d.name, c): generator.normal(size=2) for d in space.decisions for c in d.choices}
    ended: list[float] = []

    def fate(trial):  # type: ignore[no-untyped-def]
        ended.append(time.perf_counter())
        total = sum(weights[decision] for decision in trial.architecture.decisions)
        figures = {
            "accuracy": Figure(1 / (1 + np.exp(-total[0] / 6))),
            "latency@board": Figure(np.exp(total[1] / 6)),
        }
        return concluded(trial, objectives, figures)

    conduct(Controller(Problem(space, objectives), ControllerOptions(), 0), 1000, 1, 1, fate)
    steps = 1000 * np.diff(ended)
    print(
        f"\nTime a proposal, mbconv with {space.size:.2g} architectures, {len(space.decisions)} decisions\n"
    )
    print("| trials behind it | mean ms | median ms |\n|---|---|---|")
    for start in range(0, 1000, 200):
        part = steps[start : start + 200]
        print(f"| {start} to {start + 200} | {part.mean():.0f} | {np.median(part):.0f} |", flush=True)


PARTS: dict[str, Callable[[Path, Sequence[int]], None]] = {
    "soft": soft,
    "accuracy": accuracy,
    "constrained": constrained,
    "gaussian": gaussian,
    "front": front,
    "head-start": head_start,
    "targets": targets,
    "parallel": parallel,
    "noise": noise,
    "ablation": ablation,
    "seconds": seconds,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    for part in arguments.only:
        PARTS[part](arguments.tables, range(arguments.seeds))
