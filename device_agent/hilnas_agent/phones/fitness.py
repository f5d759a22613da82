"""What about a phone would spoil a figure, beyond what is looked at on any board."""

from hilnas_agent.evidence import Evidence, at_least, at_most
from hilnas_agent.phones.mirror import Battery, State

_LEAST_PERCENT = 20
_WARMEST_C = 40.0
_STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")


def checks(state: State) -> list[Evidence]:
    """Heat as Android judges it, charging, the battery's level and temperature."""
    battery = state.battery
    return [
        _throttling(state.thermal_status),
        _charging(battery),
        at_least(
            "battery",
            battery.level_percent,
            _LEAST_PERCENT,
            f"the battery is at {battery.level_percent} %",
            "charge it, or the phone will save power",
            missing="Android tells no battery level",
        ),
        at_most(
            "battery-temperature",
            battery.temperature_c,
            _WARMEST_C,
            f"the battery is at {battery.temperature_c} °C",
            "take the phone out of its case and give it air",
            missing="Android tells no battery temperature",
        ),
    ]


def _throttling(status: int | None) -> Evidence:
    if status is None:
        return Evidence("throttled", True, "not checked: Android does not tell of throttling")
    name = _STATUSES[status] if status < len(_STATUSES) else str(status)
    text = f"Android's thermal status is {name}"
    remedy = ": let the phone cool, without case and with the screen off" if status else ""
    return Evidence("throttled", status == 0, text + remedy, float(status), 0.0)


def _charging(battery: Battery) -> Evidence:
    if battery.charging is None:
        return Evidence("charging", True, "not checked: Android does not tell whether it charges")
    if not battery.charging:
        return Evidence("charging", True, "the battery does not charge")
    source = " and ".join(battery.powered_by) or "an unknown source"
    return Evidence(
        "charging",
        False,
        f"the battery charges (from {source}), which heats the phone: let it charge first, or stop it by a hub "
        "that can cut power",
    )
