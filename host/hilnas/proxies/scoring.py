"""Scores of architectures: each is built with fresh weights of its own, and sees the same training data."""

import json
import time
from collections.abc import Callable, Sequence

import numpy as np

from hilnas.proxies.base import ProxyScore
from hilnas.proxies.options import ProxyOptions
from hilnas.proxies.table import score
from hilnas.spaces import Space
from hilnas.tasks import Task
from hilnas.tasks.base import Split
from hilnas.tasks.training import Batch, prepare
from hilnas.trial import Architecture

Scores = dict[str, ProxyScore]
"""By proxy."""

_SAVE_EVERY_S = 1.0
_SAMPLE = 0x5A3B1E
"""Tells the draw of a sample from other draws by the same seed, such as a study's or a random strategy's."""


class Scorer:
    """Scores architectures of a space. The same seed gives the same scores on one machine; no test data is met."""

    def __init__(self, space: Space, task: Task, options: ProxyOptions, seed: int) -> None:
        self.space, self.task, self.options, self.seed = space, task, options, seed
        self._batches: dict[tuple[int, int], list[Batch]] = {}

    def scores(self, architecture: Architecture) -> Scores:
        """Return what each proxy says of one fresh module."""
        import torch

        batches = self._at(self.space.input_shape(architecture)[1:])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self.seed * 1_000_003 + int(architecture.digest[:8], 16)) % 2**31)
            module = self.space.build(architecture)
            return {name: score(name, module, batches) for name in self.options.proxy}

    def all_of(
        self,
        architectures: Sequence[Architecture],
        report: Callable[[float], object],
        save: Callable[[bytes], object],
        saved: bytes | None,
    ) -> list[Scores]:
        """Return the scores of each, telling `report` the share done; goes on from what was last `save`d."""
        key = self._key()
        done = _restored(saved, key)
        last = time.monotonic()
        for number, architecture in enumerate(architectures):
            if architecture.digest not in done:
                done[architecture.digest] = self.scores(architecture)
            if time.monotonic() - last > _SAVE_EVERY_S:
                save(_kept(done, key))
                last = time.monotonic()
            report((number + 1) / len(architectures))
        save(_kept(done, key))
        return [done[architecture.digest] for architecture in architectures]

    def _at(self, size: tuple[int, int]) -> list[Batch]:
        if size not in self._batches:
            options = self.options
            examples = self.task.split("train").subset(options.batch * options.batches, self.seed)
            self._batches[size] = [
                # Every so many: examples may be stored class by class.
                prepare(
                    self.task,
                    Split(examples.images[i :: options.batches], examples.labels[i :: options.batches]),
                    size,
                )
                for i in range(options.batches)
            ]
        return self._batches[size]

    def _key(self) -> str:
        """Name what scores depend on besides the architecture: what was saved of others is not for it."""
        task = (type(self.task).__name__, self.task.options.model_dump_json(), self.task.seed)
        return repr((self.space.settings, task, self.options.model_dump_json(), self.seed))


def sample(space: Space, count: int, seed: int) -> list[Architecture]:
    """Draw distinct architectures, the same for a seed; fewer than `count` where a space has hardly more."""
    generator = np.random.default_rng((seed, _SAMPLE))
    drawn: dict[Architecture, None] = {}
    for _ in range(20 * count):
        drawn[space.sample(generator)] = None
        if len(drawn) == count:
            break
    return list(drawn)


def told(scores: Scores) -> dict[str, float | str]:
    """Return scores for a record: each proxy's number, and why it is the worst where it is."""
    reasons = {f"{name}: why": score.reason for name, score in scores.items() if score.reason}
    return {**{name: score.value for name, score in scores.items()}, **reasons}


def _kept(done: dict[str, Scores], key: str) -> bytes:
    scores = {
        digest: {name: (each.value, each.reason) for name, each in found.items()}
        for digest, found in done.items()
    }
    return json.dumps({"key": key, "scores": scores}).encode()


def _restored(saved: bytes | None, key: str) -> dict[str, Scores]:
    """Return what was saved of the same work; nothing of other work, or where it is torn."""
    try:
        kept = json.loads(saved or b"{}")
        if kept["key"] != key:
            return {}
        return {
            digest: {name: ProxyScore(*each) for name, each in found.items()}
            for digest, found in kept["scores"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
