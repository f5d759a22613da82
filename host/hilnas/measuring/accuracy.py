"""Accuracy on the device: examples shipped once, outputs compared with the host's, sample by sample."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilnas.farm import AnyFarm, Ask, MeasurementOptions
from hilnas.store import ModelFiles
from hilnas.trial import Agreement, DeviceOutputs, Verdict

SHOWN = 20
"""Places of differing examples that are kept."""


MOST_EXAMPLES_BYTES = 60 << 20
"""An agent takes no larger file."""
MOST_OUTPUT_BYTES = 1 << 20
"""A worker's answer may hold no more."""


def most_examples(input_bytes: int, output_bytes: int) -> int:
    """Return how many examples of so many bytes, each with outputs of so many, one evaluation can take."""
    return max(1, min(MOST_EXAMPLES_BYTES // max(1, input_bytes), MOST_OUTPUT_BYTES // max(1, output_bytes)))


def examples_file(levels: NDArray[np.generic]) -> bytes:
    """Return inputs [N, …] as the .npy file that agents take; equal inputs give equal bytes."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(levels), allow_pickle=False)
    return file.getvalue()


async def outputs_on_device(
    farm: AnyFarm,
    options: MeasurementOptions,
    model_sha256: str,
    levels: NDArray[np.generic],
    output_bytes: int,
    files: ModelFiles,
    device_class: str,
    device: str = "",
) -> DeviceOutputs:
    """Return what a stored model makes of inputs [N, …] on a device of a class, or on the one named.

    They go as files into `files`, the farm's examples, in parts that an agent takes and that a worker can
    answer, all to one device; `output_bytes` is the size of one output.
    """
    size = most_examples(levels[0].nbytes, output_bytes)
    parts: list[DeviceOutputs] = []
    for start in range(0, len(levels), size):
        some = levels[start : start + size]
        ask = Ask(
            model_sha256,
            device_class,
            options,
            device=parts[0].device if parts else device,
            examples=files.put(examples_file(some)),
            count=len(some),
        )
        parts.append(await farm.evaluate(ask))
        if parts[-1].verdict is not Verdict.TRUSTED:
            return parts[-1]
    return replace(
        parts[0],
        count=sum(part.count for part in parts),
        content=b"".join(part.content for part in parts),
    )


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
