"""Brings a model from the host into the cache: in chunks, resumed after a cut, verified."""

import logging
import random
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc

from hilnas_agent.cache import Held, ModelCache, Partial, WrongContentError
from hilnas_protos.v1 import agent_pb2, measurement_pb2

_log = logging.getLogger(__name__)

_TRIES_WITHOUT_PROGRESS = 6
_PAUSE_S = (0.2, 5.0)
_SLOWEST_BYTES_PER_S = 32 * 1024
_PATIENCE_S = 30.0
_FINAL = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
)


class FetchError(Exception):
    """A model could not be had; the message says why. Never the model's fault."""


class Cancellation(Protocol):
    """Says whether the work is still wanted, and ends what is registered when it is not."""

    def is_cancelled(self) -> bool:
        """True once the work is no longer wanted."""

    def wait(self, seconds: float) -> object:
        """Sleeps, but not beyond a cancellation."""

    def on_cancel(self, stop: Callable[[], object]) -> None:
        """Has `stop` called on cancellation; at once if that was before."""


class Fetcher:
    """Fetches models by digest over one channel. `max_bytes` is the host's own bound."""

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...], cache: ModelCache) -> None:
        self._stub, self._metadata, self._cache = stub, metadata, cache
        self.max_bytes = 64 << 20

    def cached(self, artifact: measurement_pb2.Artifact) -> Held | None:
        """The model if the cache holds it."""
        return self._cache.hold(artifact.sha256, artifact.size_bytes)

    def fetch(self, artifact: measurement_pb2.Artifact, cancellation: Cancellation) -> Held | None:
        """The model, held in the cache; None when cancelled. FetchError or CacheError when out of reach."""
        if artifact.size_bytes > self.max_bytes:
            raise FetchError(
                f"model {artifact.sha256} is declared as {artifact.size_bytes} bytes, "
                f"over the host's own bound of {self.max_bytes} bytes"
            )
        try:
            self._transfer(artifact, cancellation)
        except WrongContentError as error:
            # The kept part of an earlier cut may have been bad: once more, from zero.
            _log.warning("%s; fetching it once more", error)
            self._transfer(artifact, cancellation)
        if cancellation.is_cancelled():
            return None
        held = self.cached(artifact)
        if held is None:
            raise FetchError(
                f"model {artifact.sha256} vanished from {self._cache.root} as soon as it was there"
            )
        return held

    def _transfer(self, artifact: measurement_pb2.Artifact, cancellation: Cancellation) -> None:
        partial = self._cache.begin(artifact.sha256, artifact.size_bytes)
        tries = 0
        try:
            while not cancellation.is_cancelled():
                before = partial.offset
                cut = self._receive(artifact, partial, cancellation)
                if cut is None:
                    partial.commit()
                    return
                tries = 1 if partial.offset > before else tries + 1
                at = f"{partial.offset} of {artifact.size_bytes} bytes: {cut}"
                if tries >= _TRIES_WITHOUT_PROGRESS:
                    raise FetchError(f"the transfer of model {artifact.sha256} stopped at {at}")
                _log.info("transfer cut at %s", at)
                pause_s = min(_PAUSE_S[1], _PAUSE_S[0] * 2 ** (tries - 1))
                cancellation.wait(pause_s * random.uniform(0.5, 1))
        finally:
            partial.close()

    def _receive(
        self, artifact: measurement_pb2.Artifact, partial: Partial, cancellation: Cancellation
    ) -> str | None:
        """Appends what arrives; why the link was cut, or None when the model is complete."""
        try:
            for chunk in self._chunks(artifact, partial.offset, cancellation):
                partial.write(chunk)
        except grpc.RpcError as error:
            if error.code() in _FINAL:
                raise FetchError(f"the host refused model {artifact.sha256}: {error.details()}") from error
            return f"{error.code().name}: {error.details()}"
        return None if partial.offset == artifact.size_bytes else "the host ended it early"

    def _chunks(
        self, artifact: measurement_pb2.Artifact, offset: int, cancellation: Cancellation
    ) -> Iterator[bytes]:
        """Chunks from the offset on; RpcError from gRPC, FetchError when the host offers another size."""
        call = self._stub.FetchArtifact(
            agent_pb2.FetchArtifactRequest(sha256=artifact.sha256, offset=offset),
            metadata=self._metadata,
            timeout=_PATIENCE_S + (artifact.size_bytes - offset) / _SLOWEST_BYTES_PER_S,
            wait_for_ready=True,
        )
        cancellation.on_cancel(call.cancel)
        try:
            first = True
            for response in call:
                if first and response.size_bytes != artifact.size_bytes:
                    raise FetchError(
                        f"the host offers {response.size_bytes} bytes as {artifact.sha256}, "
                        f"the job declares {artifact.size_bytes}"
                    )
                first = False
                yield response.chunk
        finally:
            call.cancel()
