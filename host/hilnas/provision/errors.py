"""What can go wrong on the way to a board, each with its remedy in the message."""

from hilnas.errors import HilnasError


class ProvisionError(HilnasError):
    """Something about a board or the way to it is wrong; the message names it and the remedy."""


class TargetError(ProvisionError):
    """What was given as a board is none, or SSH's configuration does not lead there."""

    exit_code = 2


class HostKeyError(ProvisionError):
    """A host's key is not the one that is known."""


class UnknownHostKeyError(HostKeyError):
    """A host's key is not known yet; `fingerprint` is what it offered, `line` its line for known_hosts."""

    def __init__(self, host: str, kind: str, fingerprint: str, line: str) -> None:
        self.host, self.fingerprint, self.line = host, fingerprint, line
        super().__init__(
            f"the host key of {host} is not known. It offers an {kind} key with the fingerprint\n  {fingerprint}\n"
            f"Compare it with what the board itself says, at its console or over a way that you trust:\n"
            f"  ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub\n"
            f"When they are the same, give --fingerprint {fingerprint}, or log in once with ssh {host}."
        )


class ChangedHostKeyError(HostKeyError):
    """A host's key is another one than before: a new installation, or somebody in between."""


class LostLinkError(ProvisionError):
    """The connection broke off; the same command goes on where it stopped."""


class UnfitBoardError(ProvisionError):
    """The board lacks what an agent needs."""
