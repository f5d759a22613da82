"""Where a training computes and how precisely: a GPU in bfloat16 where there is one, else this processor in float32."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from hilnas.errors import HilnasError

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "float32", "bfloat16"]


class PlacementError(HilnasError, ValueError):
    """There is no such device here."""

    exit_code = 2


@dataclass(frozen=True)
class Placement:
    """`device` is auto, cpu, cuda or cuda:N; `precision` auto is bfloat16 on a GPU and float32 elsewhere."""

    device_name: str = "auto"
    precision: Precision = "auto"

    @cached_property
    def device(self) -> "torch.device":
        """Return the device. PlacementError when it is not there."""
        import torch

        if self.device_name == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            device = torch.device(self.device_name)
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise PlacementError(
                f'training on the device "{self.device_name}" is not possible here ({reason}): leave `device` out, or '
                'write "cpu"'
            ) from error
        return device

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which a net's outputs and its loss are computed.

        Weights stay float32: it is the products that are cheaper (Micikevicius et al. 2018); bfloat16 has the range of
        float32, so no loss needs to be scaled.
        """
        import torch

        wanted = self.precision
        if wanted == "auto":
            wanted = "bfloat16" if self.device.type == "cuda" else "float32"
        return torch.autocast(self.device.type, torch.bfloat16) if wanted == "bfloat16" else nullcontext()
