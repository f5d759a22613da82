"""The file of a trained supernet: weights, the space that they are of, and where they come from."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hilnas.errors import HilnasError
from hilnas.spaces import Space

if TYPE_CHECKING:
    import torch

    from hilnas.supernet.shared import SharedWeights

FORMAT = 1
"""Version of the file."""


class SupernetError(HilnasError, ValueError):
    """A supernet cannot be used; the message says why and what to do."""

    exit_code = 2


@dataclass(frozen=True)
class SupernetFile:
    """What is in the file."""

    space: str
    """What `space_key` says of its space."""
    origin: Mapping[str, Any]
    """The recipe's sections [task], [space] and [search] seed, as far as they are known."""
    training: Mapping[str, Any]
    """How it was trained."""
    weights: Mapping[str, "torch.Tensor"]

    @classmethod
    def of(
        cls, shared: "SharedWeights", origin: Mapping[str, Any], training: Mapping[str, Any]
    ) -> "SupernetFile":
        """Return the file of trained weights."""
        weights = {name: tensor.cpu() for name, tensor in shared.module.state_dict().items()}
        return cls(space_key(shared.space), origin, training, weights)

    def to_bytes(self) -> bytes:
        """Return the file."""
        import torch

        content = io.BytesIO()
        torch.save(
            {
                "format": FORMAT,
                "space": self.space,
                "origin": json.dumps(dict(self.origin)),
                "training": json.dumps(dict(self.training)),
                "weights": dict(self.weights),
            },
            content,
        )
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "SupernetFile":
        """Read a file; only tensors and text are read, never code. SupernetError names it where it is none."""
        import torch

        try:
            found = torch.load(io.BytesIO(content), weights_only=True)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}")  # noqa: TRY301
            json.loads(str(found["space"]))["space"]
            return cls(
                str(found["space"]),
                dict(json.loads(found["origin"])),
                dict(json.loads(found["training"])),
                dict(found["weights"]),
            )
        except Exception as error:
            raise SupernetError(
                f"{name} is no supernet that this version reads ({type(error).__name__}: "
                f"{str(error).splitlines()[0] if str(error) else ''}): copy it again, or train it with "
                "`hilnas supernet`"
            ) from error

    def check(self, space: Space, name: str) -> None:
        """See that it is of this space, and whole. SupernetError names the first thing that differs."""
        ours, theirs = json.loads(space_key(space)), json.loads(self.space)
        for what in sorted(ours.keys() | theirs.keys()):
            if ours.get(what) != theirs.get(what):
                raise SupernetError(
                    f"{name} is of another space: its {what} is {theirs.get(what)}, the recipe's {ours.get(what)}. "
                    "Take the recipe that it was trained with, or train another"
                )
        wanted = {key: tensor.shape for key, tensor in space.supernet().state_dict().items()}
        found = {key: getattr(tensor, "shape", None) for key, tensor in self.weights.items()}
        for key in sorted(wanted.keys() | found.keys()):
            if wanted.get(key) != found.get(key):
                raise SupernetError(
                    f"{name} is not whole: its tensor {key} is {found.get(key)}, and should be {wanted.get(key)}: "
                    "copy it again, or train it with `hilnas supernet`"
                )

    def check_origin(self, origin: Mapping[str, Any], name: str) -> None:
        """See that it learned from the same training split. SupernetError, since another one leaks what scores nets.

        Where the data lie may differ, and an origin that is not known is not judged.
        """
        for what in ("task", "seed"):
            theirs, ours = self.origin.get(what), origin.get(what)
            if theirs is None or ours is None:
                continue
            if _about_data(theirs) != _about_data(ours):
                raise SupernetError(
                    f"{name} was trained with {_said(what, theirs)}, not {_said(what, ours)}: it may have learned from "
                    "the examples that nets are scored on. Take that over, or train another"
                )


_PLACES = {"path", "folder"}
"""Settings of tasks that say where data lie, not what they are."""


def _about_data(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: each for key, each in value.items() if key not in _PLACES}


def _said(what: str, value: Any) -> str:
    return f"search.seed {value}" if what == "seed" else f"[task] {_about_data(value)}"


def space_key(space: Space) -> str:
    """Name all that the tensors of a supernet depend on; JSON."""
    decisions = {decision.name: list(decision.choices) for decision in space.decisions}
    return json.dumps({"space": space.name, **space.settings, **decisions}, sort_keys=True)
