"""Seconds a model and int8 error: hilnas.export against litert-torch + ai-edge-quantizer.

    python -m tests.benchmarks.export_speed --peer-python PEER/bin/python

Five networks, trained a little on digits so that errors are those of real weights. Both exporters get
the same weights and the same 32 calibration images; both write full int8 with int8 input and output
and weights per channel. The peer runs in an interpreter of its own that lives through the whole run,
so its imports are not counted. Every error is relative RMSE of logits against torch on held-out images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

CALIBRATION, REPEATS, PEER_REPEATS = 32, 5, 2
PEER_PACKAGES = "torch==2.13.0 'numpy<2' litert-torch==0.10.0 ai-edge-quantizer==0.10.0"


def conv_bn(i: int, o: int, k: int = 3, s: int = 1, *, groups: int = 1, act: Any = nn.ReLU6) -> nn.Sequential:
    """Convolution, batch normalization and activation."""
    layers = [nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
    return nn.Sequential(*layers, *([act()] if act else []))


class SqueezeExcite(nn.Module):
    """A gate per channel from the global mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(8, channels // 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Inverted(nn.Module):
    """An inverted residual with `h` hidden channels."""

    def __init__(self, i: int, h: int, o: int, k: int, s: int, act: Any = nn.ReLU6, se: bool = False) -> None:
        super().__init__()
        layers = [conv_bn(i, h, 1, act=act)] if h != i else []
        layers.append(conv_bn(h, h, k, s, groups=h, act=act))
        if se:
            layers.append(nn.Sequential(SqueezeExcite(h)))
        layers.append(conv_bn(h, o, 1, act=None))
        self.body = nn.Sequential(*layers)
        self.residual = s == 1 and i == o

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def _head(features: list[nn.Module], channels: int, hidden: tuple[int, Any] | None = None) -> nn.Sequential:
    pooled = [*features, nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    if hidden is None:
        return nn.Sequential(*pooled, nn.Linear(channels, 10))
    return nn.Sequential(*pooled, nn.Linear(channels, hidden[0]), hidden[1](), nn.Linear(hidden[0], 10))


def mobilenet_v2(width: float) -> nn.Sequential:
    """MobileNetV2 (Sandler et al. 2018) at a width."""

    def scaled(channels: int) -> int:
        return max(8, int(channels * width + 4) // 8 * 8)

    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
    features, i = [conv_bn(3, scaled(32), 3, 2)], scaled(32)
    for expand, channels, count, stride in [*rows, (6, 320, 1, 1)]:
        for index in range(count):
            features.append(Inverted(i, i * expand, scaled(channels), 3, stride if index == 0 else 1))
            i = scaled(channels)
    last = max(1280, scaled(1280)) if width > 1 else 1280
    return _head([*features, conv_bn(i, last, 1)], last)


def mobilenet_v3_small() -> nn.Sequential:
    """MobileNetV3-small (Howard et al. 2019)."""
    hard, relu = nn.Hardswish, nn.ReLU
    rows = [
        (16, 16, 16, 3, 2, relu, True), (16, 72, 24, 3, 2, relu, False), (24, 88, 24, 3, 1, relu, False),
        (24, 96, 40, 5, 2, hard, True), (40, 240, 40, 5, 1, hard, True), (40, 240, 40, 5, 1, hard, True),
        (40, 120, 48, 5, 1, hard, True), (48, 144, 48, 5, 1, hard, True), (48, 288, 96, 5, 2, hard, True),
        (96, 576, 96, 5, 1, hard, True), (96, 576, 96, 5, 1, hard, True),
    ]  # fmt: skip
    features = [
        conv_bn(3, 16, 3, 2, act=hard),
        *(Inverted(*row) for row in rows),
        conv_bn(96, 576, 1, act=hard),
    ]
    return _head(features, 576, (1024, hard))


def mbconv() -> nn.Sequential:
    """Inverted residuals with squeeze-and-excitation for 32 x 32 images, as a search space has them."""
    rows = [
        (16, 48, 24, 3, 1),
        (24, 96, 24, 5, 1),
        (24, 96, 40, 3, 2),
        (40, 160, 40, 5, 1),
        (40, 160, 80, 3, 2),
    ]
    blocks = [Inverted(*row, nn.ReLU6, index % 2 == 1) for index, row in enumerate(rows)]
    return _head([conv_bn(3, 16), *blocks, conv_bn(80, 160, 1)], 160)


def plain() -> nn.Sequential:
    """Convolutions and max-pooling."""
    sizes = [(3, 32), (32, 64), (64, 128), (128, 128)]
    features = [nn.Sequential(conv_bn(i, o, act=nn.ReLU), nn.MaxPool2d(2)) for i, o in sizes]
    return _head(features, 128)


NETS: dict[str, tuple[Any, int, int]] = {  # name: (network, image side, epochs)
    "MobileNetV2-0.35 @ 96": (lambda: mobilenet_v2(0.35), 96, 2),
    "MobileNetV3-small @ 96": (mobilenet_v3_small, 96, 3),
    "mbconv @ 32": (mbconv, 32, 4),
    "plain CNN @ 32": (plain, 32, 3),
    "MobileNetV2-1.0 @ 96": (lambda: mobilenet_v2(1.0), 96, 2),
}


def digits(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Training images and labels, and held-out images, [N, 3, side, side] in about [−1, 1]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
    images = functional.interpolate(images, (side, side), mode="bilinear", align_corners=False)
    images = images.repeat(1, 3, 1, 1)
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(images)))
    images, labels = images[order], torch.tensor(data.target)[order]
    return images[:1400], labels[:1400], images[1400:1656]


def trained(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network after a few epochs, its calibration images and its held-out images."""
    build, side, epochs = NETS[name]
    torch.manual_seed(0)
    net = build()
    images, labels, held_out = digits(side)
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(70):
            optimizer.zero_grad()
            functional.cross_entropy(net.train()(images[batch]), labels[batch]).backward()
            optimizer.step()
    # So few steps leave running statistics behind the weights: take them anew.
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    with torch.no_grad():
        for batch in images[:700].split(70):
            net.train()(batch)
    return net.eval(), images[:CALIBRATION].clone(), held_out


def peer_convert(path: Path) -> float:
    """Convert the network saved at `path` to `path`.tflite; the seconds it took. Runs in the peer."""
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    saved = torch.load(path, weights_only=True)
    net = NETS[saved["name"]][0]()
    net.load_state_dict(saved["weights"])
    images = saved["calibration"].permute(0, 2, 3, 1).contiguous()
    floating, written = path.with_suffix(".float.tflite"), path.with_suffix(".tflite")
    start = time.perf_counter()
    channels_last = litert_torch.to_channel_last_io(net.eval(), args=[0]).eval()
    litert_torch.convert(channels_last, (images[:1],)).export(str(floating))
    ((key, ends),) = Interpreter(str(floating)).get_signature_list().items()
    rows = [{ends["inputs"][0]: image[None].numpy()} for image in images]
    quantized = quantizer.Quantizer(str(floating), recipe.static_wi8_ai8())
    result = quantized.quantize(quantized.calibrate({key: rows}, num_threads=1))
    written.write_bytes(bytes(result.quantized_model))
    return time.perf_counter() - start


def peer_serve() -> None:
    """Answer paths on standard input with seconds on standard output, until it closes."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # the peer's libraries print progress
    import ai_edge_quantizer  # noqa: F401 (imports are not to be timed)
    import litert_torch  # noqa: F401

    versions = [f"{package} {version(package)}" for package in ("litert-torch", "ai-edge-quantizer")]
    print(" + ".join(versions), file=answers)
    for line in sys.stdin:
        print(peer_convert(Path(line.strip())), file=answers)


class Peer:
    """The peer's interpreter, alive for the whole run."""

    def __init__(self, python: str) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the peer)
        command = [python, str(Path(__file__).resolve()), "--peer-serve"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self.name = self._answer()

    def convert(self, path: Path) -> float:
        """Seconds to convert the network saved at `path`."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the peer."""
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line:
            self._log.seek(0)
            sys.exit(
                f"the peer ended: {self._log.read()[-1500:]}\nIt needs an environment of its own (Python "
                f"3.11): pip install {PEER_PACKAGES}; then pass it with --peer-python"
            )
        return line


def ours_convert(net: nn.Module, calibration: Tensor) -> tuple[bytes, float]:
    """The model of hilnas.export and the median of its seconds."""
    from hilnas.export import export_int8

    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        model = export_int8(net, calibration)
        seconds.append(time.perf_counter() - start)
    return model, median(seconds)


def compare(names: list[str], peer: Peer | None) -> None:
    """Train, export and print a row a network."""
    from hilnas.export import Int8Model, agreement

    header = (
        "network",
        "ours s",
        "peer s",
        "faster",
        "ours error",
        "peer error",
        "ours/peer",
        "XNNPACK parts",
    )
    print("{:24}{:>9}{:>9}{:>9}{:>12}{:>12}{:>11}{:>15}".format(*header), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            net, calibration, held_out = trained(name)
            model, seconds = ours_convert(net, calibration)
            error = agreement(net, model, held_out).relative_rmse
            row, parts = f"{name:24}{seconds:9.3f}", f"{Int8Model(model).delegate_partitions}"
            if peer is None:
                print(f"{row}{'-':>9}{'-':>9}{error:12.4f}{'-':>12}{'-':>11}{parts:>15}", flush=True)
                continue
            path = Path(folder) / "net.pt"
            torch.save({"name": name, "weights": net.state_dict(), "calibration": calibration}, path)
            theirs = min(peer.convert(path) for _ in range(PEER_REPEATS))
            written = path.with_suffix(".tflite").read_bytes()
            their_error = agreement(net, written, held_out).relative_rmse
            parts += f" : {Int8Model(written).delegate_partitions}"
            print(
                f"{row}{theirs:9.2f}{theirs / seconds:8.0f}x{error:12.4f}{their_error:12.4f}"
                f"{error / their_error:11.2f}{parts:>15}",
                flush=True,
            )


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has the peer installed")
    parser.add_argument("--no-peer", action="store_true", help="measure hilnas.export alone")
    parser.add_argument("--net", action="append", choices=list(NETS), help="only this network; repeatable")
    parser.add_argument("--peer-serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.peer_serve:
        peer_serve()
        return
    peer = None if arguments.no_peer else Peer(arguments.peer_python)
    print(
        f"one thread, torch {torch.__version__}, {CALIBRATION} calibration images\n"
        f"ours: hilnas, median of {REPEATS}; "
        f"peer: {'none' if peer is None else peer.name}, best of {PEER_REPEATS}, imports not counted"
    )
    compare(arguments.net or list(NETS), peer)
    if peer is not None:
        peer.close()


if __name__ == "__main__":
    main()
