"""What a job comes to that no device has answered."""

from hilnas.farm.jobs import Answer, Ask
from hilnas.trial import DeviceEnergy, DeviceOutputs, Energy, EnergyVerdict, Measurement, Verdict


def without_answer(ask: Ask, device: str, verdict: Verdict, why: str, attempt: int) -> Answer:
    """Return what a job comes to that no device has answered."""
    if ask.examples:
        return DeviceOutputs(
            device, ask.device_class, ask.model_sha256, ask.examples, ask.options.runtime_asked,
            verdict, why, attempt=attempt,
        )  # fmt: skip
    if ask.energy:
        return DeviceEnergy(device, verdict, Energy(EnergyVerdict.UNAVAILABLE, why), (), why)
    return Measurement(
        device=device,
        device_class=ask.device_class,
        model_sha256=ask.model_sha256,
        protocol_hash=ask.protocol.hash,
        runtime=ask.options.runtime_asked,
        verdict=verdict,
        message=why,
        fidelity=ask.fidelity,
        attempt=attempt,
    )
