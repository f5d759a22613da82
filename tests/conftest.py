"""Settings of the whole suite."""

import os

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny tensors: threads only cost, most of all on a busy machine


def pytest_collection_modifyitems(items):
    """With `-n`, keep a file's tests in one process, which makes its fixtures once; and all that need boards."""
    for item in items:
        group = "board" if item.get_closest_marker("board") else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
