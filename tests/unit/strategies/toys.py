"""Small problems whose answers are known."""

from dataclasses import replace

from hilnas.objectives import Figure, Objective
from hilnas.spaces import Decision
from hilnas.strategies import Problem
from hilnas.testing.outcomes import concluded
from hilnas.testing.strategies import conduct
from hilnas.trial import Proposal, Score, Trial, TrialStatus
from tests.unit.test_spaces import Plain

ACCURACY = Objective(quantity="accuracy")
LATENCY = Objective(quantity="latency", device_class="board", target=4.0)
BOTH = (ACCURACY, LATENCY)


def block(number):
    live = frozenset(depth for depth in (1, 2, 3) if depth >= number)
    return Decision(f"block{number}.kernel", (3, 5, 7), "depth", live)


NETS = Plain(
    Decision("width", (8, 16, 32)), Decision("depth", (1, 2, 3)), block(1), block(2), block(3),
    Decision("se", (False, True)), Decision("activation", ("relu6", "hswish")),
)  # fmt: skip
"""468 nets, with decisions of every kind."""

LETTERS = Plain(*(Decision(f"d{number}", tuple("abcd")) for number in range(10)))
"""A million words, of which `letters` wants "dddddddddd"."""


WORDS = Problem(LETTERS, (ACCURACY,))


class Narrow(Plain):
    """Wide nets must be shallow."""

    def allowed(self, decision, chosen):
        if decision.name == "depth" and chosen["width"] == 32:
            return (1, 2)
        return decision.choices

    @property
    def is_free(self):
        return False


NARROW = Narrow(*NETS.decisions)


def scored(number, architecture, reward):
    return Trial(
        number, Proposal(architecture), TrialStatus.SCORED, score=Score(reward, 0.0, {"accuracy": reward})
    )


def invalid(number, architecture):
    return Trial(number, Proposal(architecture), TrialStatus.INVALID, "too large")


def failed(number, architecture):
    return Trial(number, Proposal(architecture), TrialStatus.FAILED, "the link was cut")


def letters(trial):
    reward = sum(value == "d" for _, value in trial.architecture.decisions) / len(LETTERS.decisions)
    return replace(trial, status=TrialStatus.SCORED, score=Score(reward, 0.0, {"accuracy": reward}))


def figures(architecture):
    """Accuracy and latency in ms of a net: more of anything is better and slower."""
    kernels = [value for name, value in architecture.decisions if name.endswith("kernel")]
    width, se = architecture["width"], architecture["se"]
    gain = sum(kernels) / 40 + width / 64 + 0.1 * se + 0.05 * (architecture["activation"] == "hswish")
    latency = width / 8 * sum(kernel**2 for kernel in kernels) / 16 * (1.2 if se else 1.0) + 0.5
    return {"accuracy": Figure(0.5 + 0.4 * gain / (1 + gain), 0.0), "latency@board": Figure(latency, 0.0)}


def measured(trial, objectives=BOTH):
    """End a trial of `NETS` on its figures."""
    return concluded(trial, objectives, figures(trial.architecture))


def search(kind, problem, count, fate, seed=0, in_flight=6, group=3, **options):
    """Return a strategy and its trials."""
    strategy = kind(problem, kind.Options(**options), seed)
    return strategy, conduct(strategy, count, in_flight, group, fate)


def best_reward(kind, count, seeds=(0, 1, 2), **options):
    """Return the mean over seeds of the best reward found among `LETTERS`."""
    found = [search(kind, WORDS, count, letters, seed, **options)[1] for seed in seeds]
    return sum(max(trial.score.reward for trial in trials) for trials in found) / len(seeds)
