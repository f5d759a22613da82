"""Shared weights: nets of a space as pieces of one set of tensors, for training and for taking out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch.func import functional_call

from hilnas.spaces import Space
from hilnas.trial import Architecture

if TYPE_CHECKING:
    from torch import nn

_SKELETONS = 8
"""Nets kept between steps."""


class SharedWeights:
    """A space's supernet: runs any of its nets on the shared tensors, and takes any of them out.

    What it runs is what `Space.build` makes, with pieces of the shared tensors in place of its own: a net that is
    taken out computes what it computed here, and gradients, and running statistics, land in the shared tensors.
    """

    def __init__(
        self,
        space: Space,
        state: Mapping[str, torch.Tensor] | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Begin with fresh weights by torch's random state, or with those of a `state_dict`; on a `device`."""
        self.space = space
        self.module: nn.Module = space.supernet().to(device)
        if state is not None:
            self.module.load_state_dict(dict(state))
        self._tensors: dict[str, torch.Tensor] = {
            **dict(self.module.named_parameters()),
            **dict(self.module.named_buffers()),
        }
        self._skeletons: dict[Architecture, nn.Module] = {}

    def run(self, architecture: Architecture, images: torch.Tensor, dropout: bool = True) -> torch.Tensor:
        """Return logits [N, classes] of a net in training mode; `images` [N, C, H, W] are of its own input size."""
        net = self._skeleton(architecture)
        for module in net.modules():
            module.training = dropout or not isinstance(module, torch.nn.modules.dropout._DropoutNd)
        # A convolution of a piece with gaps between its rows takes a slow path: gather it first.
        pieces = {name: _gathered(piece) for name, piece in self._pieces(architecture).items()}
        logits: torch.Tensor = functional_call(net, pieces, (images,))
        return logits

    def extract(self, architecture: Architecture) -> "nn.Module":
        """Return a net with copies of its pieces, in evaluation mode, on the processor.

        Its batch-norm statistics are the mixture that nets of all kinds left behind: recalibrate them.
        """
        with torch.device("meta"):
            net = self.space.build(architecture)
        net = net.to_empty(device="cpu")
        with torch.no_grad():
            state = {name: piece.detach().cpu().clone() for name, piece in self._pieces(architecture).items()}
        missing = net.load_state_dict(state, strict=False).missing_keys
        for name in missing:  # how many batches a batch-norm has seen
            net.get_buffer(name).zero_()
        return net.eval()

    def _skeleton(self, architecture: Architecture) -> "nn.Module":
        """Return a net without weights; the last few are kept, since some nets run at every step."""
        net = self._skeletons.pop(architecture, None)
        if net is None:
            with torch.device("meta"):
                net = self.space.build(architecture)
            while len(self._skeletons) >= _SKELETONS:
                del self._skeletons[next(iter(self._skeletons))]
        self._skeletons[architecture] = net
        return net

    def _pieces(self, architecture: Architecture) -> dict[str, torch.Tensor]:
        return {
            name: self._tensors[share.tensor][share.piece] if share.piece else self._tensors[share.tensor]
            for name, share in self.space.shares(architecture).items()
        }


def _gathered(piece: torch.Tensor) -> torch.Tensor:
    return piece.contiguous(memory_format=torch.channels_last) if piece.ndim == 4 else piece
