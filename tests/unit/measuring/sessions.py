"""Sessions as a device would report them."""

from hilnas.farm import Fidelity, MeasurementOptions
from hilnas.trial import Evidence, Latency, Measurement, Verdict

OPTIONS = MeasurementOptions()
FULL, SCREEN = OPTIONS.protocol(Fidelity.FULL), OPTIONS.protocol(Fidelity.SCREEN)
DIGEST = "ab" * 32


def session(median_ms=2.0, half_width=0.002, broken=(), verdict=Verdict.TRUSTED, device="one", **changes):
    """A session of a median and a half-width (a share of it) that broke some rules."""
    evidence = tuple(Evidence(rule, False, f"{rule} went wrong", 9.0, 1.0) for rule in broken)
    width = median_ms * half_width
    latency = Latency(
        median_ms, median_ms - width, median_ms + width, 0.98 * median_ms, 1.04 * median_ms, 1.05 * median_ms,
        0.01 * median_ms, 5.0, 3.0, 4, tuple(round(median_ms * 1e6 * (0.99 + 0.001 * i)) for i in range(20)), (0,),
    )  # fmt: skip
    measured = {"latency": latency, "peak_memory_kib": 100, "load_memory_kib": 90, "run_memory_kib": 100}
    if verdict not in (Verdict.TRUSTED, Verdict.UNSTABLE):
        measured = {}
    return Measurement(
        device, "toy", DIGEST, FULL.hash, "toy 1 x1", verdict, evidence=(Evidence("quiet", True, "quiet"), *evidence),
        device_ms=10.0, **(measured | changes),
    )  # fmt: skip
