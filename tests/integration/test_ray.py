"""A real Ray cluster, a head and two nodes, in a network namespace of its own: the executor `ray` and a search on it."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from hilnas.executors.ray_cluster import RayCluster, RayOptions
from hilnas.testing import ExecutorContract
from tests.integration.ray_lab import RayLab, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why := missing()), reason=f"no Ray cluster here: {why}"),
]


@pytest.fixture(scope="module")
def lab():
    """The cluster; this thread is in its network meanwhile."""
    lab = RayLab()
    try:
        lab.start(nodes=2)
        with lab.entered():
            yield lab
    finally:
        lab.close()


class TestRayCluster(ExecutorContract):
    @pytest.fixture
    def make(self, lab):
        return lambda folder: RayCluster(RayOptions(address=lab.address, retries=1), folder)
