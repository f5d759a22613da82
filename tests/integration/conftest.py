"""A scripted host and a real agent process that has dialled it."""

import pytest

from tests.unit.agent.fake_host import AgentProcess, FakeHost


@pytest.fixture
def host():
    with FakeHost() as host:
        yield host


@pytest.fixture
def agent(host, tmp_path):
    with AgentProcess(host.address, tmp_path) as agent:
        host.wait_stream()
        yield agent
