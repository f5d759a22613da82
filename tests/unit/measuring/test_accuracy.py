import asyncio
import hashlib
import io

import numpy as np
import pytest

from hilnas.farm import Farm, MeasurementOptions
from hilnas.farm.service import AgentServer
from hilnas.measuring.accuracy import (
    MOST_OUTPUT_BYTES,
    agreement,
    as_array,
    examples_file,
    outputs_on_device,
)
from hilnas.store import ModelFiles
from hilnas.trial import DeviceOutputs, Verdict
from hilnas_protos.v1 import measurement_pb2
from tests.integration.scripted import CLASS, ScriptedAgent

HOST = np.array([[1, 5, 2], [9, 3, 1], [0, 0, 7], [4, 1, 3]], np.int8)


def outputs(array, **changes):
    fields = {
        "shape": array.shape[1:],
        "dtype": array.dtype.name,
        "count": len(array),
        "content": array.tobytes(),
    }
    known = {"verdict": Verdict.TRUSTED, **fields, **changes}
    return DeviceOutputs("one", "toy", "m", "e", "toy 1 x1", **known)


def test_examples_are_a_plain_npy_file_with_a_digest_of_its_content():
    file = examples_file(HOST)
    assert (np.load(io.BytesIO(file), allow_pickle=False) == HOST).all()
    assert file == examples_file(HOST.copy(order="F"))


def test_a_device_that_computes_the_same():
    found = agreement(outputs(HOST), HOST, np.array([1, 0, 2, 1]))
    assert (found.same_class, found.identical, found.largest_step) == (1, 1, 0)
    assert (found.device_accuracy, found.host_accuracy) == (0.75, 0.75)
    assert found.differing == ()


def test_a_device_that_differs_is_told_sample_by_sample():
    theirs = HOST.copy()
    theirs[0] = [1, 4, 2]  # a step off, the same class
    theirs[3] = [2, 1, 3]  # another class
    found = agreement(outputs(theirs), HOST, np.array([1, 0, 2, 2]))
    assert (found.same_class, found.identical, found.largest_step) == (0.75, 0.5, 2)
    assert (found.device_accuracy, found.host_accuracy) == (1.0, 0.75)
    assert found.differing == (3,)


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="TIMEOUT on one: too slow"):
        as_array(outputs(HOST, verdict=Verdict.TIMEOUT, message="too slow"))
    with pytest.raises(ValueError, match="the device gave outputs"):
        agreement(outputs(HOST[:3]), HOST)


def test_what_one_answer_cannot_hold_goes_in_parts(tmp_path):
    async def main():
        models, examples = ModelFiles(tmp_path), ModelFiles(tmp_path, ".npy")
        model = models.put(b"model")
        farm = Farm(models, examples=examples)
        server = AgentServer(farm)
        address = await server.start("127.0.0.1:0")
        try:
            agent = await ScriptedAgent(address).connect()
            half = MOST_OUTPUT_BYTES // 2
            asking = asyncio.ensure_future(
                outputs_on_device(farm, MeasurementOptions(), model, HOST, half, examples, CLASS)
            )
            for some in (HOST[:2], HOST[2:]):
                job = await agent.job()
                assert job.evaluation.examples.sha256 == hashlib.sha256(examples_file(some)).hexdigest()
                assert job.limits.deadline_ms > 60_000
                sent = measurement_pb2.Outputs(shape=[3], dtype="int8", count=2, content=some.tobytes())
                await agent.answer(job, outputs=sent)
            return await asking
        finally:
            await farm.close()
            await server.stop()

    assert (as_array(asyncio.run(main())) == HOST).all()


@pytest.mark.parametrize("content", [HOST.tobytes(), b"short", None])
def test_over_the_wire(tmp_path, content):
    """An agent that knows no evaluations answers without outputs, a lying one with too few."""

    async def main():
        models, examples = ModelFiles(tmp_path), ModelFiles(tmp_path, ".npy")
        model, file = models.put(b"model"), examples.put(examples_file(HOST))
        farm = Farm(models, examples=examples)
        server = AgentServer(farm)
        address = await server.start("127.0.0.1:0")
        try:
            agent = await ScriptedAgent(address).connect()
            asking = asyncio.ensure_future(
                outputs_on_device(farm, MeasurementOptions(), model, HOST, 3, examples, CLASS)
            )
            for _ in range(1 if content == HOST.tobytes() else 3):
                job = await agent.job()
                assert job.evaluation.examples.sha256 == file
                sent = {"shape": [3], "dtype": "int8", "count": 4, "content": content} if content else None
                answer = measurement_pb2.Outputs(**sent) if sent else None
                await agent.answer(job, outputs=answer)
            return await asking
        finally:
            await farm.close()
            await server.stop()

    found = asyncio.run(main())
    if content == HOST.tobytes():
        assert (as_array(found) == HOST).all()
    else:
        assert found.verdict is Verdict.DEVICE_FAULT
        assert "Upgrade it" in found.message
