"""Boards over SSH: install an agent, enrol it, keep a way back for it, upgrade it, remove it."""

from hilnas.provision.connection import Connection
from hilnas.provision.deploy import Ready, Report, deploy
from hilnas.provision.dial import Ask, remember
from hilnas.provision.enrol import Enrolment, Signed
from hilnas.provision.errors import (
    ChangedHostKeyError,
    LostLinkError,
    ProvisionError,
    UnfitBoardError,
    UnknownHostKeyError,
)
from hilnas.provision.kept import Kept
from hilnas.provision.options import DeployOptions
from hilnas.provision.remove import remove
from hilnas.provision.target import Target, resolve
from hilnas.provision.tunnel import Tunnel
from hilnas.provision.upgrade import Alone, Board, Fleet, Outcome, Upgrade, upgrade
from hilnas.provision.wheels import Wheels

__all__ = [
    "Alone",
    "Ask",
    "Board",
    "ChangedHostKeyError",
    "Connection",
    "DeployOptions",
    "Enrolment",
    "Fleet",
    "Kept",
    "LostLinkError",
    "Outcome",
    "ProvisionError",
    "Ready",
    "Report",
    "Signed",
    "Target",
    "Tunnel",
    "UnfitBoardError",
    "UnknownHostKeyError",
    "Upgrade",
    "Wheels",
    "deploy",
    "remember",
    "remove",
    "resolve",
    "upgrade",
]
