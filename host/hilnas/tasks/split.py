"""Seeded splits in which equal pictures never stand on two sides."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CODES: Final = {"train": 0, "validation": 1, "test": 2}
"""Code of each split in an array of splits."""

OPEN = -1
"""Code of training data from which validation data may be drawn."""

LEFT_OUT = -2
"""Code of data in no split: copies of pictures that an official split holds, and what is not to be used."""


def assign_splits(
    images: NDArray[Any],
    labels: NDArray[Any],
    official: NDArray[Any] | None,
    validation_share: float,
    test_share: float,
    seed: int,
) -> NDArray[Any]:
    """Return a split code for each example [N], int8.

    What `official` fixes stays. The rest is drawn class by class, so every split sees each class
    in proportion; copies of one picture go where its first copy goes, and a copy of a picture
    that `official` fixes elsewhere is left out.
    """
    codes = np.full(len(labels), OPEN, np.int8) if official is None else official.astype(np.int8)
    undecided = np.flatnonzero(codes == OPEN)
    if len(undecided) == 0:
        return codes
    digests = _digests(images)
    fixed = {digests[i]: np.int8(LEFT_OUT) for i in np.flatnonzero(codes != OPEN)}
    generator = np.random.default_rng(seed)
    shares = {"validation": validation_share}
    if official is None:
        shares["test"] = test_share
    groups: dict[int, list[str]] = {}
    seen: set[str] = set()
    for i in undecided:
        if digests[i] not in fixed and digests[i] not in seen:
            seen.add(digests[i])
            groups.setdefault(int(labels[i]), []).append(digests[i])
    for label in sorted(groups):
        members = [groups[label][i] for i in generator.permutation(len(groups[label]))]
        start = 0
        for name, share in shares.items():
            count = round(share * len(members))
            fixed.update(dict.fromkeys(members[start : start + count], np.int8(CODES[name])))
            start += count
        fixed.update(dict.fromkeys(members[start:], np.int8(CODES["train"])))
    codes[undecided] = [fixed[digests[i]] for i in undecided]
    return codes


def _digests(images: NDArray[Any]) -> list[str]:
    from hashlib import blake2b

    return [blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images]
