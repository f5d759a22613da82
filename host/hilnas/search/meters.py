"""Whose energy a search can measure, and that no two boundaries meet on one axis."""

from collections.abc import Iterable, Sequence

from hilnas.energy import one_boundary
from hilnas.farm.devices import DeviceFacts
from hilnas.farm.protocol import EnergyOptions


def energy_boundaries(
    options: EnergyOptions, devices: Sequence[DeviceFacts], classes: Iterable[str]
) -> dict[str, str]:
    """Return the boundary of the meters of each class of device of which every one has the meter asked for.

    BoundaryError where devices of one class are metered at different boundaries: their figures don't compare.
    """
    found: dict[str, str] = {}
    for name in dict.fromkeys(classes):
        of_class = [device for device in devices if device.device_class == name]
        meters = {device.name: device.meter(options.meter) for device in of_class}
        seen = {device: meter.boundary for device, meter in meters.items() if meter is not None}
        if of_class and len(seen) == len(of_class):
            found[name] = one_boundary(seen)
    return found


def unmetered(options: EnergyOptions, device_class: str, devices: Sequence[DeviceFacts]) -> str:
    """Say which devices of a class lack the meter asked for, and the remedy."""
    of_class = [device for device in devices if device.device_class == device_class]
    without = [device for device in of_class if device.meter(options.meter) is None]
    names = ", ".join(device.name for device in without)
    if not options.meter:
        return (
            f'{names} of class "{device_class}" has no energy meter that can be read. Take the objective out, '
            "or give the device a meter: `hilnas-agent check` there says what it could use"
        )
    offered = sorted({meter.name for device in without for meter in device.meters})
    return (
        f'{names} of class "{device_class}" has no meter "{options.meter}", but {", ".join(offered) or "none"}: '
        "change measurement.energy.meter"
    )
