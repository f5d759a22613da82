"""A farm that listens over TLS, with its authority and its join port, and real agents that dial it."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from hilnas.farm import Farm
from hilnas.farm.service import AgentServer
from hilnas.security.authority import Authority
from hilnas.security.credentials import ServerCertificate
from hilnas.security.enrol import EnrolService, JoinServer
from hilnas.security.peers import Role
from hilnas.security.tokens import JoinTokens
from hilnas.store import ModelFiles
from hilnas_agent import credentials, openssl
from hilnas_protos.v1 import enrol_pb2_grpc
from tests.unit.agent.fake_host import AgentProcess, wait_until

HERE = "127.0.0.2"


@dataclass
class TlsLab:
    """What a test needs of it."""

    folder: Path
    authority: Authority
    tokens: JoinTokens
    models: ModelFiles
    farm: Farm
    address: str
    join_address: str
    joined: list

    def identity(self, name="bench", role=Role.DEVICE, days=30.0, authority=None, folder="identity"):
        """An identity as if the device had joined."""
        return make_identity(
            self.folder / folder, authority or self.authority, name, role, days, self.authority
        )

    async def join(self, token, *more, address=None, pin=None, **environment):
        """Has a device join; the finished process."""
        command = [
            sys.executable, "-m", "hilnas_agent", "join", address or self.join_address,
            "--ca-fingerprint", pin or self.authority.fingerprint(),
            "--identity", str(self.folder / "identity"), *more,
        ]  # fmt: skip
        if "--token-file" not in more and "HILNAS_JOIN_TOKEN" not in environment:
            command += ["--token-file", "-"]
        return await asyncio.to_thread(
            subprocess.run, command, input=token, capture_output=True, text=True, timeout=60,
            env={**os.environ, **environment},
        )  # fmt: skip

    @asynccontextmanager
    async def agent(self, *arguments, address=None, identity=None):
        """A real agent; its loop of waiting must not stop the host's."""
        own = ("--identity", str(identity or self.folder / "identity"))
        with AgentProcess(address or self.address, self.folder, *own, *arguments) as agent:
            yield agent
            await asyncio.to_thread(agent.stop)


def make_identity(folder, authority, name, role, days, trusted):
    """A device's key and certificate in a folder, and the authority that it trusts."""
    place = credentials.begin(folder)
    request = openssl.make_request(place, name)
    credentials.finish(place, authority.sign(request.encode(), role, name, days), trusted.certificate_pem)
    return folder


@asynccontextmanager
async def tls_lab(folder, names=(HERE,), days=30.0):
    """A lab that listens; all of it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = Authority.create(folder / "ca", "lab")
    ServerCertificate(authority).make(list(names))
    tokens, models, joined = JoinTokens.beside(authority), ModelFiles(folder / "models"), []
    enrol = EnrolService(authority, tokens, lambda *who: joined.append(who), days)
    farm = Farm(models)
    farm.start()
    server, joins = AgentServer(farm, "token", authority), JoinServer(enrol, authority)
    add = enrol_pb2_grpc.add_EnrolServiceServicer_to_server
    address = await server.start_tls(f"{HERE}:0", [lambda grpc_server: add(enrol, grpc_server)])
    join_address = await joins.start(f"{HERE}:0")
    try:
        yield TlsLab(folder, authority, tokens, models, farm, address, join_address, joined)
    finally:
        await farm.close()
        await server.stop()
        await joins.stop()


async def until(condition, seconds=30):
    """Waits beside the host for a condition."""
    return await asyncio.to_thread(wait_until, condition, seconds)


def run(scenario, folder, seconds=120, **more):
    """Runs a coroutine function of a lab."""

    async def main():
        async with tls_lab(folder, **more) as lab:
            await asyncio.wait_for(scenario(lab), seconds)

    asyncio.run(main())
