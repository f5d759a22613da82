"""Hub mode: each phone on adb as a device of its own, driven from this machine."""
