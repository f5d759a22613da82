"""What a search's events come to: its trials, how far the strategy has learned, its winners."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hilnas.farm.devices import DeviceFacts
from hilnas.search.errors import SearchError
from hilnas.store import Event, EventKind
from hilnas.store.codec import load
from hilnas.trial import (
    Agreement,
    CanaryReading,
    Estimate,
    Measurement,
    ModelFacts,
    Proposal,
    ProxyRank,
    Score,
    Trial,
    TrialStatus,
)


@dataclass(frozen=True)
class Winner:
    """A trial's architecture, retrained at length, and what its final file can do."""

    trial: int
    model: ModelFacts
    accuracies: dict[str, float]
    """Shares of validation and test examples that the int8 file and the float module get right."""
    measurements: tuple[Measurement, ...]
    weights_sha256: str
    seconds: float
    training: Mapping[str, Any] = field(default_factory=dict)
    """[final] of the recipe it was trained by."""
    agreements: tuple[Agreement, ...] = ()
    """How devices agree with the host on it, where that was asked for."""
    quantization: str = ""
    """How its file was made int8; unknown of a winner from before there was a choice."""
    quantization_accuracies: Mapping[str, float] = field(default_factory=dict)
    """Validation accuracy of every way that was tried, the simplest first."""


@dataclass(frozen=True)
class RungReached:
    """A stage of a trial's training that is done."""

    rung: int
    estimate: Estimate
    checkpoint_sha256: str


@dataclass(frozen=True)
class SessionSpan:
    """One run of a host on the search, from its first to its last event."""

    started_unix: float
    ended_unix: float
    devices: tuple[DeviceFacts, ...]
    task: Mapping[str, Any]
    """What `task_facts` said of the task."""
    recipe: Mapping[str, Any]
    versions: Mapping[str, Any]
    host_energy: Mapping[str, Any] = field(default_factory=dict)
    """What the host took meanwhile: joules, source, reason; empty while that is not told."""


@dataclass
class History:
    """A search as its events tell it."""

    trials: list[Trial] = field(default_factory=list)
    earlier: tuple[Trial, ...] | None = None
    """Trials of other searches that this one began with; None while it has not asked for any."""
    rungs: dict[int, list[RungReached]] = field(default_factory=dict)
    """Stages of staged trainings that are done, by trial."""
    prepared: dict[str, str] = field(default_factory=dict)
    """SHA-256 of what was prepared once for the whole search, by who asked for it."""
    preparing_s: float = 0.0
    """How long that took."""
    observations: list[tuple[int, list[int]]] = field(default_factory=list)
    """(Trials proposed before, numbers of the trials) of each group that the strategy learned from, in order."""
    diagnostics: dict[str, float] = field(default_factory=dict)
    """What the strategy last said of itself."""
    winners: list[Winner] = field(default_factory=list)
    sessions: list[SessionSpan] = field(default_factory=list)
    canaries: list[CanaryReading] = field(default_factory=list)
    """What the reference model said of the devices, in order."""
    finished: bool = False

    def add(self, event: Event) -> None:
        """Take the next event."""
        payload = event.payload
        match event.kind:
            case EventKind.SESSION_STARTED | EventKind.SEARCH_FINISHED | EventKind.SESSION_ENDED:
                self._session_changed(event)
            case EventKind.EARLIER:
                self.earlier = tuple(load(Trial, trial) for trial in payload["trials"])
            case EventKind.PREPARED:
                self._prepared(event.key.split(" ")[0], payload)
            case EventKind.RUNG:
                self.rungs.setdefault(event.trial, []).append(load(RungReached, payload["reached"]))
            case EventKind.PROPOSED:
                self.trials.append(Trial(event.trial, load(Proposal, payload)))
            case EventKind.OBSERVED:
                self.observations.append((len(self.trials), [int(number) for number in payload["trials"]]))
                self.diagnostics = dict(payload.get("diagnostics", {}))
            case EventKind.CANARY:
                self.canaries.append(load(CanaryReading, payload))
            case EventKind.WINNER_TRAINED:
                winner = load(Winner, payload)
                self.winners = [known for known in self.winners if known.trial != winner.trial] + [winner]
            case EventKind.WINNER_MEASURED | EventKind.WINNER_CHECKED:
                self._tried(event)
            case EventKind.STUDY_STARTED:
                raise SearchError(
                    "this record is of a study of estimators (`hilnas estimate`), not of a search: name a search's folder"
                )
            case _ if event.trial >= 0:
                self.trials[event.trial] = advance(self.trials[event.trial], event)
        if self.sessions:
            self.sessions[-1] = replace(self.sessions[-1], ended_unix=event.at_unix)

    def _session_changed(self, event: Event) -> None:
        if event.kind is EventKind.SESSION_STARTED:
            self.sessions.append(_session(event))
            self.finished = False
        elif event.kind is EventKind.SEARCH_FINISHED:
            self.finished = True
        elif self.sessions:
            taken = event.payload.get("host_energy", {})
            self.sessions[-1] = replace(self.sessions[-1], host_energy=taken)

    def _prepared(self, what: str, payload: Mapping[str, Any]) -> None:
        self.prepared[what] = payload["content_sha256"]
        self.preparing_s += float(payload["seconds"])

    def _tried(self, event: Event) -> None:
        if event.kind is EventKind.WINNER_MEASURED:
            self._measured(event.trial, load(Measurement, event.payload))
        else:
            self._checked(event.trial, load(Agreement, event.payload))

    def _measured(self, trial: int, measurement: Measurement) -> None:
        for place, winner in enumerate(self.winners):
            if winner.trial == trial:
                self.winners[place] = replace(winner, measurements=(*winner.measurements, measurement))

    def _checked(self, trial: int, agreement: Agreement) -> None:
        for place, winner in enumerate(self.winners):
            if winner.trial == trial:
                self.winners[place] = replace(winner, agreements=(*winner.agreements, agreement))


def rebuild(events: Iterable[Event]) -> History:
    """Fold events into a history."""
    history = History()
    for event in events:
        history.add(event)
    return history


def advance(trial: Trial, event: Event) -> Trial:
    """Return a trial after one more event of its own."""
    payload = event.payload
    match event.kind:
        case EventKind.EXPORTED:
            return replace(
                trial, model=load(ModelFacts, payload["model"]), timings=_timed(trial, "export", payload)
            )
        case EventKind.RANKED:
            return replace(
                trial, proxy_rank=load(ProxyRank, payload["rank"]), timings=_timed(trial, "filter", payload)
            )
        case EventKind.MEASURED:
            measurement = load(Measurement, payload)
            timings = {**trial.timings, f"measure@{event.key}": measurement.device_ms / 1000}
            return replace(trial, measurements=(*trial.measurements, measurement), timings=timings)
        case EventKind.ESTIMATED:
            return replace(
                trial,
                estimate=load(Estimate, payload["estimate"]),
                timings=_timed(trial, "estimate", payload),
            )
        case EventKind.SCORED:
            return replace(trial, score=load(Score, payload), status=TrialStatus.SCORED)
        case EventKind.INVALID | EventKind.FAILED:
            return replace(trial, status=TrialStatus[event.kind.name], reason=payload["reason"])
        case _:
            raise ValueError(f"{event.kind} is not about a trial")


def _session(event: Event) -> SessionSpan:
    devices = tuple(DeviceFacts.from_json(device) for device in event.payload["devices"])
    payload = event.payload
    return SessionSpan(
        event.at_unix, event.at_unix, devices, payload["task"], payload["recipe"], payload["versions"]
    )


def _timed(trial: Trial, stage: str, payload: Any) -> dict[str, float]:
    return {**trial.timings, stage: float(payload["seconds"])}
