"""Trials brought to their end without a device: figures go in, a Trial as a search records it comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

from hilnas.farm.protocol import CONFIDENCE
from hilnas.objectives import STATIC, Figure, Objective, Quantity, broken_limit, score
from hilnas.trial import (
    NOT_ASKED,
    Energy,
    EnergyVerdict,
    Estimate,
    Latency,
    Measurement,
    ModelFacts,
    Trial,
    TrialStatus,
    Verdict,
)

_HALF_INTERVAL_SES = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)


def concluded(trial: Trial, objectives: Sequence[Objective], figures: Mapping[str, Figure]) -> Trial:
    """Return `trial` SCORED on figures by objective label, or INVALID where one breaks a limit.

    Accuracy, latency, energy, model size and MACs are told with their errors; ValueError for others.
    """
    accuracy = figures[Quantity.ACCURACY]
    trial = replace(trial, estimate=Estimate("table", accuracy.value, accuracy.se))
    for objective in objectives:
        if objective.quantity in STATIC:
            trial = replace(trial, model=_model(trial, objective, figures[objective.label]))
        elif objective.quantity is not Quantity.ACCURACY:
            measurement = _measurement(trial, objective, figures[objective.label])
            trial = replace(trial, measurements=(*trial.measurements, measurement))
    reason = broken_limit(objectives, trial)
    if reason is not None:
        return replace(trial, status=TrialStatus.INVALID, reason=reason)
    return replace(trial, status=TrialStatus.SCORED, score=score(objectives, trial))


def _model(trial: Trial, objective: Objective, figure: Figure) -> ModelFacts:
    model = trial.model or ModelFacts(trial.architecture.digest, 0, 0, 0)
    if objective.quantity is Quantity.MACS:
        return replace(model, macs=round(figure.value * 1e6))
    return replace(model, bytes=round(figure.value * 1024))


def _measurement(trial: Trial, objective: Objective, figure: Figure) -> Measurement:
    latency, energy = None, NOT_ASKED
    if objective.quantity is Quantity.LATENCY:
        latency = _latency(figure)
    elif objective.quantity is Quantity.ENERGY:
        half = figure.se * _HALF_INTERVAL_SES
        energy = Energy(
            EnergyVerdict.TRUSTED,
            boundary="table",
            net_mj=figure.value,
            low_mj=figure.value - half,
            high_mj=figure.value + half,
        )
    else:
        raise ValueError(f"no outcome can be made for {objective.label}")
    return Measurement(
        device=f"{objective.device_class}-0",
        device_class=objective.device_class or "",
        model_sha256=trial.architecture.digest,
        protocol_hash="table",
        runtime="table",
        verdict=Verdict.TRUSTED,
        latency=latency,
        energy=energy,
    )


def _latency(figure: Figure) -> Latency:
    value, half = figure.value, figure.se * _HALF_INTERVAL_SES
    return Latency(
        median_ms=value,
        low_ms=value - half,
        high_ms=value + half,
        p5_ms=value,
        p90_ms=value,
        p95_ms=value,
        mad_ms=figure.se,
        load_ms=0.0,
        first_ms=value,
        inner_loops=1,
    )
