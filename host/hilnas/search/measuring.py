"""Measuring through the record: what is known of a model is not measured again."""

from hilnas.farm import Farm
from hilnas.store import EventKind, Record
from hilnas.trial import Measurement, Verdict


async def measure_once(
    record: Record,
    farm: Farm,
    search_id: str,
    trial: int,
    model_sha256: str,
    device_class: str,
    kind: EventKind,
) -> Measurement:
    """Return what a device class says of a stored model, from the record or anew, as an event of `kind`.

    A DEVICE_FAULT is returned and not recorded: it says nothing of the model.
    """
    options = farm.options
    known = record.find_measurement(model_sha256, device_class, options.protocol_hash, options.runtime_asked)
    measurement = known or await farm.measure(model_sha256, device_class)
    if measurement.verdict is not Verdict.DEVICE_FAULT:
        record.append_measurement(search_id, trial, measurement, options.runtime_asked, kind)
    return measurement
