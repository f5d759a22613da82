"""What adb says of a phone's connection, and what to do about it."""

from dataclasses import asdict, dataclass

READY = "device"

_REMEDIES = {
    READY: "",
    "unauthorized": "unlock the phone and accept the dialog that asks to allow USB debugging by this "
    "computer's key; when no dialog comes, unplug it, revoke USB debugging authorizations in the developer "
    "options, and plug it in again (keys of this hub: ~/.android/adbkey.pub)",
    "authorizing": "wait, or unlock the phone and accept the dialog that asks to allow USB debugging",
    "connecting": "wait; when it stays so, unplug the phone and plug it in again",
    "offline": "unplug the phone and plug it in again, or run: adb reconnect offline",
    "bootloader": "the phone is in its bootloader: run fastboot reboot",
    "recovery": "the phone is in recovery mode: run adb reboot",
    "rescue": "the phone is in rescue mode: run adb reboot",
    "sideload": "the phone waits for a sideload: leave that on the phone, then run adb reboot",
    "host": "the phone acts as a USB host: set its USB mode to file transfer or charging",
}
_NO_PERMISSIONS = (
    "this user may not open the phone's USB device: install Debian's package android-sdk-platform-tools-common "
    "(udev rules), join the group plugdev, plug the phone in again, and run adb kill-server"
)


@dataclass(frozen=True)
class Seen:
    """One phone as the adb server lists it."""

    serial: str
    state: str
    model: str = ""

    @property
    def ready(self) -> bool:
        """True when it can be used."""
        return self.state == READY

    @property
    def remedy(self) -> str:
        """What to do so that it can be used; empty when it can."""
        return remedy(self.state)

    def to_json(self) -> dict[str, str]:
        """Its fields, and the remedy."""
        return {**asdict(self), "remedy": self.remedy}


def remedy(state: str) -> str:
    """What to do about a phone in that state; empty for one that can be used."""
    if state.startswith("no permissions"):
        return _NO_PERMISSIONS
    return _REMEDIES.get(state, "unplug the phone and plug it in again; adb devices -l may say more")
