"""Accuracy on the device: examples shipped once, outputs compared with the host's, sample by sample."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.farm import Ask, Farm, MeasurementOptions
from hilnas.trial import Agreement, DeviceOutputs, Verdict

SHOWN = 20
"""Places of differing examples that are kept."""


def examples_file(levels: NDArray[np.generic]) -> bytes:
    """Return inputs [N, …] as the .npy file that agents take; equal inputs give equal bytes."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(levels), allow_pickle=False)
    return file.getvalue()


async def outputs_on_device(
    farm: Farm,
    options: MeasurementOptions,
    model_sha256: str,
    examples_sha256: str,
    device_class: str,
    device: str = "",
) -> DeviceOutputs:
    """Return what a stored model makes of stored examples on a device of a class, or on the one named."""
    ask = Ask(model_sha256, device_class, options, device=device, examples=examples_sha256)
    return await farm.evaluate(ask)


def as_array(outputs: DeviceOutputs) -> NDArray[np.generic]:
    """Return outputs as an array [N, …]. ValueError when the device gave none."""
    if outputs.verdict is not Verdict.TRUSTED:
        raise ValueError(f"{outputs.verdict} on {outputs.device}: {outputs.message}")
    flat = np.frombuffer(outputs.content, np.dtype(outputs.dtype).newbyteorder("<"))
    return flat.reshape(outputs.count, *outputs.shape)


def agreement(
    outputs: DeviceOutputs, host: NDArray[np.generic], labels: NDArray[np.integer[Any]] | None = None
) -> Agreement:
    """Return how a device's outputs agree with the host's [N, …] of the same examples."""
    theirs, ours = np.asarray(as_array(outputs), np.float64), np.asarray(host, np.float64)
    if theirs.size != ours.size or len(theirs) != len(ours):
        raise ValueError(f"the device gave outputs {theirs.shape}, the host {ours.shape}")
    theirs, ours = theirs.reshape(len(host), -1), ours.reshape(len(host), -1)
    classes = theirs.argmax(axis=1)
    same = classes == ours.argmax(axis=1)
    return Agreement(
        device=outputs.device,
        device_class=outputs.device_class,
        runtime=outputs.runtime,
        examples=len(host),
        same_class=float(same.mean()),
        identical=float((theirs == ours).all(axis=1).mean()),
        largest_step=float(np.abs(theirs - ours).max(initial=0.0)),
        device_accuracy=float((classes == labels).mean()) if labels is not None else None,
        host_accuracy=float((ours.argmax(axis=1) == labels).mean()) if labels is not None else None,
        differing=tuple(int(place) for place in np.flatnonzero(~same)[:SHOWN]),
    )
