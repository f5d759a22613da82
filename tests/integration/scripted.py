"""An agent whose every message is the test's."""

import asyncio

import grpc

from hilnas_protos.v1 import PROTOCOL_VERSION, agent_pb2, agent_pb2_grpc, device_pb2, measurement_pb2

CLASS = "toy"


class ScriptedAgent:
    """An agent whose every message is the test's."""

    def __init__(
        self, address, name="one", epoch=1, boot_id="boot", token="", running=(), channel=None, **hello
    ):
        self.channel = channel or grpc.aio.insecure_channel(address)
        self.stub = agent_pb2_grpc.AgentServiceStub(self.channel)
        self.call = self.stub.Connect(metadata=(("hilnas-token", token),))
        fields = {
            "agent_version": "0.0", "protocol_min": 1, "protocol_max": PROTOCOL_VERSION, "device_name": name,
            "device_class": CLASS, "session_epoch": epoch, "boot_id": boot_id, "running_job_ids": running,
            "device": device_pb2.DeviceInfo(runtimes=[device_pb2.RuntimeInfo(name="toy", version="1")]), **hello,
        }  # fmt: skip
        self.hello = agent_pb2.Hello(**fields)

    async def connect(self):
        await self.call.write(agent_pb2.ConnectRequest(hello=self.hello))
        response = await self.read()
        assert response.WhichOneof("message") == "welcome"
        return self

    async def read(self):
        return await asyncio.wait_for(self.call.read(), 10)

    async def job(self):
        response = await self.read()
        assert response.WhichOneof("message") == "measure_job"
        return response.measure_job

    async def answer(self, job, verdict=measurement_pb2.VERDICT_TRUSTED, **changes):
        fields = {
            "job_id": job.job_id, "attempt": job.attempt, "fence": job.fence, "model_sha256": job.model.sha256,
            "protocol_hash": job.protocol_hash, "verdict": verdict, "total_ms": 5,
            "latency": measurement_pb2.Latency(median_ms=1, low_ms=0.9, high_ms=1.1, samples_ns=[1, 2, 3]),
            "memory": measurement_pb2.Memory(load_peak_kib=10, run_peak_kib=20), **changes,
        }  # fmt: skip
        if fields["latency"] is None:
            del fields["latency"]
        await self.call.write(
            agent_pb2.ConnectRequest(measure_result=measurement_pb2.MeasureResult(**fields))
        )

    async def start(self, job):
        """Say that a job's worker has started."""
        started = agent_pb2.JobStarted(job_id=job.job_id, attempt=job.attempt)
        await self.call.write(agent_pb2.ConnectRequest(job_started=started))

    async def hang_up(self):
        self.call.cancel()
        await self.channel.close()
