"""A space as an Optuna study: decisions are categorical parameters, trials are asked for and told.

Optuna (Akiba et al. 2019) is quiet here: it logs to the whole process and warns of what is experimental.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from hilnas.spaces import Decision, Space
from hilnas.trial import Architecture, Choice

if TYPE_CHECKING:
    import optuna

Dead = Literal["absent", "first", "drawn"]
"""What a decision that is not live is told as: not at all, by its first choice, or by what was suggested."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's messages and warnings from the reader, and leave its settings as they were."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


class SpaceStudy:
    """Asks a sampler for architectures and tells it what became of them: so many `losses` each."""

    def __init__(self, space: Space, sampler: "optuna.samplers.BaseSampler", losses: int, dead: Dead) -> None:
        import optuna

        self.space = space
        self.dead = dead
        with quiet():
            self.study = optuna.create_study(sampler=sampler, directions=["minimize"] * losses)
        self._distributions = {
            decision.name: optuna.distributions.CategoricalDistribution(decision.choices)
            for decision in space.decisions
        }
        self._asked: tuple[optuna.Trial, Architecture] | None = None
        self._numbers: dict[Architecture, int] = {}

    def ask(self) -> Architecture:
        """Return what the sampler suggests; a choice that is not allowed gives way to the nearest."""
        with quiet():
            self._withdraw()
            trial = self.study.ask()
            chosen: dict[str, Choice] = {}
            for decision in self.space.decisions:
                live = self.space.is_live(decision, chosen)
                if live or self.dead != "absent":
                    place = decision.choices.index(trial.suggest_categorical(decision.name, decision.choices))
                if live:
                    allowed = self.space.allowed(decision, chosen)
                    chosen[decision.name] = nearest_allowed(decision, place, allowed)
        architecture = self.space.architecture(chosen)
        self._asked = (trial, architecture)
        return architecture

    def take(self, architecture: Architecture) -> None:
        """Have `architecture` run: the one that was asked for, or another in its stead."""
        import optuna

        assert self._asked is not None, "ask first"
        trial, _ = self._asked
        parameters = self._parameters(architecture, trial.params)
        with quiet():
            if parameters == trial.params:
                self._numbers[architecture] = trial.number
                self._asked = None
                return
            # What the sampler needs to place the trial stays; what it had suggested does not.
            attributes = self.study.get_trials(deepcopy=False)[trial.number].system_attrs
            kept = {key: value for key, value in attributes.items() if key.endswith("generation")}
            self._withdraw()
            self.study.add_trial(
                optuna.create_trial(
                    state=optuna.trial.TrialState.RUNNING,
                    params=parameters,
                    distributions={name: self._distributions[name] for name in parameters},
                    system_attrs=kept,
                )
            )
        self._numbers[architecture] = len(self.study.get_trials(deepcopy=False)) - 1

    def tell(self, architecture: Architecture, values: Sequence[float] | None) -> None:
        """Tell the values of an architecture that ran, or None that there are none."""
        import optuna

        number = self._numbers.pop(architecture, None)
        if number is None:
            return
        with quiet():
            if values is None:
                self.study.tell(number, state=optuna.trial.TrialState.FAIL)
            else:
                self.study.tell(number, list(values))

    def _withdraw(self) -> None:
        """Give up what was asked for and not taken."""
        import optuna

        if self._asked is not None:
            self.study.tell(self._asked[0], state=optuna.trial.TrialState.FAIL)
            self._asked = None

    def _parameters(self, architecture: Architecture, suggested: dict[str, Choice]) -> dict[str, Choice]:
        parameters = dict(architecture.decisions)
        for decision in self.space.decisions:
            if decision.name not in parameters and self.dead != "absent":
                first = self.dead == "first"
                parameters[decision.name] = decision.choices[0] if first else suggested[decision.name]
        return parameters


def nearest_allowed(decision: Decision, place: int, allowed: Sequence[Choice]) -> Choice:
    """Return the allowed choice that stands nearest to `place` among all choices, the earlier of two."""
    return min(allowed, key=lambda choice: abs(decision.choices.index(choice) - place))
