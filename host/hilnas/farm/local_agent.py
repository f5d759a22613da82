"""The agent on this very machine: a process that the host starts, and starts again when it dies."""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from hilnas.farm.base import FarmError

RESTARTS = 5
"""Restarts within one run, after which the farm gives up on it."""


class LocalAgent:
    """`hilnas-agent` as a child process, reached over the wire like any other."""

    def __init__(
        self,
        address: str,
        token: str,
        folder: Path,
        cpus: list[int],
        meters: Sequence[str] = (),
        name: str = "local",
    ) -> None:
        self.log = folder / "agent.log"
        self.restarts = 0
        self._token = token
        self._command = [
            sys.executable, "-m", "hilnas_agent", "--host", address, "--name", name,
            "--exit-with-parent", str(os.getpid()),
            "--cache-dir", str(folder / "agent-cache"), "--cpus", ",".join(map(str, cpus)),
            *(f"--meter={meter}" for meter in meters),
        ]  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and keep it running."""
        await self._spawn()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it, by force when it does not go within three seconds."""
        if self._keeper is not None:
            self._keeper.cancel()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 3)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def failed(self) -> None:
        """Return never; raise FarmError when the agent has died too often."""
        assert self._keeper is not None
        await asyncio.shield(self._keeper)

    async def _spawn(self) -> None:
        environment = {**os.environ, "HILNAS_TOKEN": self._token}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    async def _keep(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            self.restarts += 1
            if self.restarts > RESTARTS:
                raise FarmError(
                    f"the local agent ended {self.restarts} times, last with {code}; see {self.log}"
                )
            await asyncio.sleep(0.2 * self.restarts)
            await self._spawn()
