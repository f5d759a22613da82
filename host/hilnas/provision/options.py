"""What a board is to become."""

from pydantic import Field, field_validator

from hilnas.options import Options

_NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"


class DeployOptions(Options):
    """What an agent on a board is told."""

    host: str
    """Where it dials: 127.0.0.1:PORT through a tunnel, else the host's address and port."""
    name: str = Field("", pattern=rf"^({_NAME})?$")
    """Its name as a device; the board's host name when empty."""
    device_class: str = Field("", pattern=rf"^({_NAME})?$")
    """Class of interchangeable devices; from board and processor when empty."""
    cpus: str = Field("", pattern=r"^[0-9,-]*$")
    """Processors that measure, such as 2,3; the fastest kind when empty."""
    meters: tuple[str, ...] = ()
    """Energy meters that are not found by themselves."""
    governor: bool = True
    """Have the processors run at one speed."""
    set_clock: bool = False
    """Give the board this host's time, where it is off by more than a minute."""

    @field_validator("host")
    @classmethod
    def _address(cls, host: str) -> str:
        name, colon, port = host.rpartition(":")
        if not (name and colon and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError("write an address and a port, such as 127.0.0.1:50816")
        return host

    def arguments(self, name: str, identity: str = "") -> list[str]:
        """Return the agent's command line, for a device of that name, with the folder of its identity if it has one."""
        words = [f"--host={self.host}", f"--name={name}"]
        words += [f"--device-class={self.device_class}"] if self.device_class else []
        words += [f"--cpus={self.cpus}"] if self.cpus else []
        words += [f"--meter={meter}" for meter in self.meters]
        return [*words, f"--identity={identity}"] if identity else words
