"""What `netadapt` asks of costs: are their goals met, and how much does one architecture save over another?"""

from collections.abc import Sequence

from hilnas.objectives import Objective, figure_of
from hilnas.trial import Trial


class Costs:
    """The objectives besides accuracy. A goal is the target or the limit, whichever is lower."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = [objective for objective in objectives if not objective.maximise]
        self._goals = {
            objective.label: min(goals)
            for objective in self.objectives
            if (goals := [goal for goal in (objective.target, objective.limit) if goal is not None])
        }

    def unmet(self, trial: Trial) -> list[Objective]:
        """Return the costs that must still fall: those above their goal or unknown; all, where none has a goal."""
        if not self._goals:
            return self.objectives
        return [
            objective
            for objective in self.objectives
            if (goal := self._goals.get(objective.label)) is not None
            and ((value := value_of(objective, trial)) is None or value > goal)
        ]

    def saving(self, before: Trial, after: Trial) -> float | None:
        """Return the share of the unmet costs of `before` that `after` saves on average; None while unknown.

        All is saved where `before` has no figure: anything that was measured is a way on.
        """
        ratios = []
        for objective in self.unmet(before):
            old, new = value_of(objective, before), value_of(objective, after)
            if new is None:
                return None
            ratios.append(0.0 if old is None else new / max(old, 1e-12))
        return 1.0 - sum(ratios) / len(ratios) if ratios else None


def value_of(objective: Objective, trial: Trial) -> float | None:
    """Return what is known of a cost, also of an INVALID trial."""
    if trial.score is not None and objective.label in trial.score.values:
        return trial.score.values[objective.label]
    figure = figure_of(objective, trial)
    return figure.value if figure is not None else None
