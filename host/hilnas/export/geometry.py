"""Windows over images: output sizes, and which torch paddings TFLite's SAME and VALID can express."""

from __future__ import annotations

from dataclasses import dataclass

from hilnas.export.ir import Shape


@dataclass(frozen=True)
class Padding:
    """Zeros (for max-pooling: nothing) around an image, in pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __add__(self, other: Padding) -> Padding:
        return Padding(
            self.top + other.top, self.bottom + other.bottom, self.left + other.left, self.right + other.right
        )

    def __bool__(self) -> bool:
        return any((self.top, self.bottom, self.left, self.right))

    def nhwc(self) -> list[list[int]]:
        """The rows of TFLite's paddings tensor."""
        return [[0, 0], [self.top, self.bottom], [self.left, self.right], [0, 0]]


@dataclass(frozen=True)
class Window:
    """A kernel that slides over (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)

    @property
    def extent(self) -> tuple[int, int]:
        """The kernel's size with its gaps."""
        return (
            (self.kernel[0] - 1) * self.dilation[0] + 1,
            (self.kernel[1] - 1) * self.dilation[1] + 1,
        )

    def output(self, shape: Shape, padding: Padding) -> tuple[int, int]:
        """(height, width) after the window went over an NCHW `shape`; below 1 if it does not fit."""
        height = shape[2] + padding.top + padding.bottom - self.extent[0]
        width = shape[3] + padding.left + padding.right - self.extent[1]
        return height // self.stride[0] + 1, width // self.stride[1] + 1

    def fitted(self, shape: Shape, before: tuple[int, int], output: tuple[int, int]) -> Padding:
        """The padding that starts with `before` (top, left) and ends exactly where `output` needs it."""
        ends = [
            max((count - 1) * stride + extent - size - start, 0)
            for count, stride, extent, size, start in zip(
                output, self.stride, self.extent, shape[2:], before, strict=True
            )
        ]
        return Padding(before[0], ends[0], before[1], ends[1])

    def is_same(self, shape: Shape, before: tuple[int, int], output: tuple[int, int]) -> bool:
        """Whether TFLite's SAME puts every window where torch has it: equal count and equal start."""
        for size, stride, extent, start, count in zip(
            shape[2:], self.stride, self.extent, before, output, strict=True
        ):
            total = max((count - 1) * stride + extent - size, 0)
            if count != -(-size // stride) or start != total // 2:
                return False
        return True
