"""The agent on emulated boards: it dials through an SSH tunnel, measures, and computes what the host computes."""

import asyncio
import os
import socket
import subprocess

import numpy as np
import pytest
import torch

from hilnas.daemon.measure import Examples, bench
from hilnas.export import Int8Model, export_int8
from hilnas.farm import FarmOptions, Fidelity, MeasurementOptions
from hilnas.recipe import measurement_options
from hilnas.spaces.mbconv import MBConv
from tests.board.lab import MACHINES, Board, missing

pytestmark = pytest.mark.board

RUNTIMES = {"amd64": "ai-edge-litert", "arm64": "ai-edge-litert", "armhf": "tflite-runtime"}
CPUS = {"amd64": "max", "arm64": "cortex-a72", "armhf": "max"}
QUICK = {
    "warmup_runs": 1, "warmup_ms": 0, "max_warmup_ms": 0, "min_sampling_ms": 0, "min_samples": 10,
    "max_sampling_ms": 500, "remeasures": 0,
}  # fmt: skip
_TOKEN = "of-the-boards"


@pytest.fixture(scope="module", params=list(MACHINES))
def board(request):
    why = missing(request.param)
    if why:
        pytest.skip(why)
    board = Board(request.param, list(MACHINES).index(request.param))
    try:
        board.bring_agent()
        yield board
    finally:
        board.off()


@pytest.fixture(scope="module")
def model():
    space = MBConv((1, 28, 28), 10)
    architecture = space.sample(np.random.default_rng(0))
    torch.manual_seed(0)
    return export_int8(space.build(architecture).eval(), torch.randn(8, *space.input_shape(architecture)))


@pytest.fixture
def agent(board):
    """A port of loopback at which the board's agent dials in through a tunnel."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = (
        # The emulator's default processor has SVE, by which XNNPACK computes something else.
        f"read -r HILNAS_TOKEN; export HILNAS_TOKEN; export QEMU_CPU={CPUS[board.architecture]}; PYTHONPATH=agent/device_agent:agent/protos "
        f"exec {board.python} -m hilnas_agent --host 127.0.0.1:{port} --name {board.name}"
        + " --runtime hilnas_agent.runtimes.litert:LiteRt --runtime hilnas_agent.runtimes.tflite:TfliteRuntime"
    )
    started = subprocess.Popen(
        board.command(script, forward=port),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    started.stdin.write(f"{_TOKEN}\n".encode())
    started.stdin.flush()
    yield port
    started.terminate()
    started.wait(20)


def _on(board, port, options, work):
    os.environ["HILNAS_TOKEN"] = _TOKEN
    farm = FarmOptions(listen=f"127.0.0.1:{port}", local_agent=False, wait_s=120)

    async def run():
        async with bench(farm, options, board.name) as place:
            found, device = await work(place), place.measurer.farm.devices[board.name]
            for _ in range(60):
                if device.resident_kib:
                    break
                await asyncio.sleep(1)  # its next heartbeat tells
            return found, device

    try:
        return asyncio.run(run())
    finally:
        del os.environ["HILNAS_TOKEN"]


def test_a_board_measures_and_computes_what_the_host_computes(board, agent, model):
    runtime = RUNTIMES[board.architecture]
    options: MeasurementOptions = measurement_options(
        {"runtime": runtime, "screen": QUICK, "deadline_s": 300, "preflight": {"max_cooldown_ms": 0}}
    )
    inputs = np.random.default_rng(1).standard_normal((16, *_images(model))).astype(np.float32)

    async def work(place):
        return await place.measure([model], Fidelity.SCREEN), await place.agree(model, Examples(inputs))

    ((measured,), agreed), device = _on(board, agent, options, work)
    assert device.facts.machine == MACHINES[board.architecture]
    assert measured.latency is not None, f"{measured.verdict}: {measured.message}"
    assert measured.runtime.startswith(runtime)
    assert measured.peak_memory_kib > measured.baseline_memory_kib > 0
    assert device.facts.board_model.startswith("Raspberry Pi 4")
    assert device.facts.device_class.startswith("raspberrypi4-")
    assert device.resident_kib > 1000
    print(
        f"\n{board.architecture}: {agreed.examples} examples, {agreed.identical:.0%} identical, "
        f"{agreed.same_class:.0%} of the same class, {agreed.largest_step:.0f} steps apart at most; "
        f"{measured.runtime}; agent {device.resident_kib} KiB, the emulator's own included"
    )
    if runtime == "ai-edge-litert":
        assert measured.graph.delegated_nodes > 0
        assert agreed.identical == 1.0, "int8 CNNs are bit-identical between x86 and ARM with ai-edge-litert"
    else:
        assert agreed.same_class >= 0.8
        assert agreed.largest_step <= 15
    assert Int8Model(model).classes == 10


def _images(model):
    _, height, width, channels = Int8Model(model).input_shape
    return channels, height, width


def test_a_board_is_looked_over_before_it_measures(board):
    done = subprocess.run(
        board.command(f"PYTHONPATH=agent/device_agent:agent/protos {board.python} -m hilnas_agent check --json"),
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "ondemand" in done.stdout, "the board's governor would spoil figures, and check says so"
    assert "performance" in done.stdout
