"""The way to the host: a channel that can be opened anew, and what is in the way when it does not lead there."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from hilnas_agent import credentials
from hilnas_agent.channel import AddressError, open_channel, split_address
from hilnas_agent.openssl import CertificateFacts
from hilnas_protos.v1 import agent_pb2_grpc, enrol_pb2, enrol_pb2_grpc

_log = logging.getLogger(__name__)

_REACH_S = 3.0
_LOOK_S = 30.0
_RENEW_S = 30.0


class Link:
    """Stands for an AgentServiceStub over one channel at a time. AddressError when it cannot lead there.

    `folder` holds this device's identity; None for a host on this machine, in clear.
    """

    def __init__(self, address: str, folder: Path | None = None) -> None:
        self.address, self.folder = address, folder
        self._channel = open_channel(address, folder)
        self._stub = agent_pb2_grpc.AgentServiceStub(self._channel)

    def Connect(self, *arguments: Any, **more: Any) -> Any:  # noqa: N802 - gRPC's name
        """Opens a control stream."""
        return self._stub.Connect(*arguments, **more)

    def FetchArtifact(self, *arguments: Any, **more: Any) -> Any:  # noqa: N802
        """Asks for a model."""
        return self._stub.FetchArtifact(*arguments, **more)

    def renew(self, request: str) -> enrol_pb2.Certificate:
        """Has a new key signed; RpcError when the host does not."""
        stub = enrol_pb2_grpc.EnrolServiceStub(self._channel)
        answer: enrol_pb2.Certificate = stub.Renew(enrol_pb2.RenewRequest(csr=request), timeout=_RENEW_S)
        return answer

    def facts(self) -> CertificateFacts | None:
        """What this device's certificate says; None where none is needed. CredentialsError when it is unreadable."""
        return None if self.folder is None else credentials.load(self.folder).facts()

    def reopen(self) -> Any:
        """Opens a channel with the identity as it is now, for all calls from here on; the one before, to be closed."""
        channel = open_channel(self.address, self.folder)
        before, self._channel = self._channel, channel
        self._stub = agent_pb2_grpc.AgentServiceStub(channel)
        return before

    def trouble(self) -> str:
        """Says what a person must do before the host can be dialled; empty when trying again may help.

        Over TLS gRPC says UNAVAILABLE of a wrong certificate, too.
        """
        if self.folder is None or not self._answers():
            return ""
        command = [sys.executable, "-P", "-m", "hilnas_agent.handshake", self.address, str(self.folder)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_LOOK_S, check=False)
            found = json.loads(done.stdout)
        except (OSError, subprocess.TimeoutExpired, ValueError) as error:
            _log.warning("why the host cannot be reached over TLS could not be found out: %s", error)
            return ""
        if found["text"] and not found["lasting"]:
            _log.info("%s", found["text"])
        return str(found["text"]) if found["lasting"] else ""

    def close(self) -> None:
        """Ends all calls."""
        self._channel.close()

    def _answers(self) -> bool:
        """True when something listens there: only then it can be a matter of certificates."""
        import socket  # here alone: most agents never need it

        try:
            host, port = split_address(self.address)
            socket.create_connection((host, port), _REACH_S).close()
        except (AddressError, OSError):
            return False
        return True
