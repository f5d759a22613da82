"""Settings of the farm and of the measurement protocol."""

import hashlib
import ipaddress
import json

from pydantic import Field, field_validator

from hilnas.options import Options

CONFIDENCE = 0.95
"""Confidence of every interval around a median."""


class FarmOptions(Options):
    """`[farm]` of a recipe: where agents dial in, and whether this machine is a device itself."""

    listen: str = "127.0.0.1:0"
    """Loopback address for agents; port 0 takes a free one. Boards elsewhere come by an SSH tunnel."""
    local_agent: bool = True
    """Start an agent on this machine."""
    local_cpus: list[int] = Field(default=[])
    """Processors that the local agent's workers are pinned to; the last one when empty."""
    quiet: bool = True
    """Hold training on this machine still while an agent on it measures, so that it is timed undisturbed."""
    devices: int = Field(1, ge=1)
    """Devices to wait for before the search starts."""
    wait_s: float = Field(60, gt=0)
    """How long to wait for them, in seconds."""

    @field_validator("listen")
    @classmethod
    def _loopback(cls, listen: str) -> str:
        host, colon, port = listen.rpartition(":")
        try:
            address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
        except ValueError:
            raise ValueError("write an address and a port, such as 127.0.0.1:50817") from None
        if not colon or not port.isdigit() or int(port) > 65535:
            raise ValueError("write an address and a port, such as 127.0.0.1:50817")
        if not address.is_loopback:
            raise ValueError(
                "agents are not authenticated off this machine: listen on 127.0.0.1 and reach boards with "
                f"`ssh -R {port}:127.0.0.1:{port} BOARD hilnas-agent --host 127.0.0.1:{port}`"
            )
        return listen


class MeasurementOptions(Options):
    """`[measurement]` of a recipe: the runtime and the measurement protocol."""

    runtime: str = ""
    """"ai-edge-litert" or "tflite-runtime"; the device's preferred one when left out."""
    threads: int = Field(1, ge=1, le=64)
    """Inference threads."""
    warmup_runs: int = Field(20, ge=1, le=1_000_000)
    """Inferences before sampling, at least."""
    warmup_ms: int = Field(150, ge=0, le=3_600_000)
    """Time of warm-up, at least."""
    min_samples: int = Field(100, ge=100, le=65_536)
    """Samples, at least."""
    min_sample_ms: float = Field(2.0, ge=0, le=3_600_000)
    """Length of a sample, at least: short models are looped inside it."""
    min_sampling_ms: int = Field(400, ge=0, le=3_600_000)
    """Time spent sampling, at least."""
    max_sampling_ms: int = Field(10_000, ge=100, le=3_600_000)
    """Time spent on more than `min_samples`, at most: it caps `min_sampling_ms`."""
    bootstrap_resamples: int = Field(1000, ge=100, le=1_000_000)
    """Resamples behind the interval."""
    max_half_width: float = Field(0.05, gt=0)
    """Half-width of the interval over the median, beyond which a figure is UNSTABLE."""
    deadline_s: float = Field(60, gt=0, le=86_400)
    """Execution time of a worker, at most; a model of t seconds needs more than 100 t."""
    address_space_mib: int = Field(0, ge=0, le=2**24)
    """Address space of a worker, at most; 0 leaves it to the agent."""

    @property
    def protocol_hash(self) -> str:
        """Hash of what shapes a figure: the first 16 hexadecimal digits of a SHA-256."""
        shaping = self.model_dump(exclude={"runtime", "deadline_s", "address_space_mib"})
        canonical = json.dumps({"version": 1, "confidence": CONFIDENCE, **shaping}, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def runtime_asked(self) -> str:
        """Name what is asked for, as part of a measurement's key."""
        return f"{self.runtime or 'default'} x{self.threads}"
