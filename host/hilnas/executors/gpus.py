"""Which GPU a local worker sees: with several, one each, in turn."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_NODE = re.compile(r"nvidia\d+")


def visible_gpus(environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; without asking CUDA."""
    if _VISIBLE in environment:
        names = [name.strip() for name in environment[_VISIBLE].split(",")]
        return [name for name in names if name and name != "-1"]
    return [str(number) for number in range(sum(bool(_NODE.fullmatch(p.name)) for p in devices.iterdir()))]


def own_gpu(gpus: Sequence[str], worker: int) -> dict[str, str]:
    """Return the variables that show worker `worker` a GPU of its own; none where there is nothing to choose."""
    return {_VISIBLE: gpus[worker % len(gpus)]} if len(gpus) > 1 else {}
