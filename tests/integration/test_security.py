"""Devices over TLS: real agents, a real farm, and certificates that are good, foreign, old, revoked or missing."""

import asyncio
import json
import os
import shutil
import stat
import time
from pathlib import Path

import grpc
import pytest

from hilnas.farm import Ask, MeasurementOptions
from hilnas.farm import gates as gates_module
from hilnas.farm import service as service_module
from hilnas.farm.quotas import MAX_FETCHES, MESSAGES_AT_ONCE
from hilnas.farm.service import AgentServer
from hilnas.security.authority import Authority
from hilnas.security.credentials import ServerCertificate, channel_credentials
from hilnas.security.enrol import PER_ADDRESS
from hilnas.security.peers import Role, peer_of
from hilnas.trial import Verdict
from hilnas_agent import credentials, handshake
from hilnas_agent.channel import split_address
from hilnas_protos.v1 import agent_pb2, agent_pb2_grpc, device_pb2, enrol_pb2, enrol_pb2_grpc, measurement_pb2
from tests.integration.scripted import ScriptedAgent
from tests.integration.searches import QUICK
from tests.integration.tls_lab import HERE, make_identity, run, until
from tests.unit.agent import tiny_models
from tests.unit.agent.fake_host import AgentProcess
from tests.unit.security.signing import csr

SECOND = 1 / 86_400
DENIED = 4
OPTIONS = MeasurementOptions(screen=QUICK)


async def measured(lab):
    """Has a model measured by whoever is there."""
    (facts,) = await lab.farm.wait_for(1, 30)
    digest = lab.models.put(tiny_models.good())
    return await lab.farm.measure(Ask(digest, facts.device_class, OPTIONS))


def dial(lab, identity, name="bench", **hello):
    """A scripted agent over TLS."""
    channel = grpc.aio.secure_channel(lab.address, channel_credentials(identity / "current"))
    return ScriptedAgent(lab.address, name, channel=channel, **hello)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value


async def denied(lab, *arguments, seconds=40, **more):
    """What an agent that is not let in says as it ends."""
    async with lab.agent(*arguments, **more) as agent:
        code = await asyncio.to_thread(agent.process.wait, seconds)
        assert code == DENIED, agent.logged()
        return agent.logged()


# --- joining ---------------------------------------------------------------------------------------------------


def test_a_device_joins_and_measures(tmp_path):
    async def scenario(lab):
        token = lab.tokens.create("bench", "my-class")
        done = await lab.join(token + "\n")
        assert done.returncode == 0, done.stderr
        assert "This device is bench" in done.stdout
        assert lab.joined == [("bench", "my-class")]
        folder = tmp_path / "identity"
        key = (folder / "current" / "key.pem").resolve()
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        async with lab.agent("--log-level", "debug") as agent:
            found = await measured(lab)
            assert found.verdict in (Verdict.TRUSTED, Verdict.UNSTABLE), found.message
            assert found.device == "bench"
            secrets = [token, *key.read_text().splitlines()[1:-1]]
            await nowhere(secrets, agent)
        await nowhere(
            secrets, None, lab.authority.folder / "tokens.json", lab.authority.folder / "issued.jsonl"
        )

    run(scenario, tmp_path)


async def nowhere(secrets, agent, *files):
    """No secret is in a log, nor where other processes of this user can read it."""
    texts = [path.read_text() for path in files]
    if agent is not None:
        texts.append(agent.logged())
        for process in (agent.pid, *await until(agent.workers)):
            texts += [
                Path(f"/proc/{process}/{name}").read_bytes().decode(errors="replace")
                for name in ("cmdline", "environ")
            ]
    assert texts
    assert not [secret for secret in secrets for text in texts if secret in text]


def test_a_token_is_read_from_a_file_or_the_environment(tmp_path):
    async def scenario(lab):
        path = tmp_path / "token"
        path.write_text(lab.tokens.create("one").upper())
        assert (await lab.join("", "--token-file", str(path))).returncode == 0
        done = await lab.join("", HILNAS_JOIN_TOKEN=lab.tokens.create("two"))
        assert done.returncode == 0, done.stderr
        assert credentials.load(tmp_path / "identity").facts().name == "two"
        assert (await lab.join("", "--token-file", str(tmp_path / "none"))).returncode == 5
        assert (await lab.join("\n")).returncode == 5
        assert credentials.load(tmp_path / "identity").facts().name == "two"

    run(scenario, tmp_path)


def test_tokens_that_are_no_good(tmp_path):
    async def scenario(lab):
        used = lab.tokens.create("one")
        assert (await lab.join(used)).returncode == 0
        lab.tokens._clock = lambda: time.time() - 3600
        late = lab.tokens.create("two")
        lab.tokens._clock = time.time
        for token, word in ((used, "used already"), (late, "expired"), ("0000-1111", "unknown")):
            done = await lab.join(token)
            assert done.returncode == DENIED
            assert word in done.stderr
            assert "hilnas daemon token" in done.stderr
            assert token not in done.stderr + done.stdout
        assert [one.name for one in lab.authority.issued() if one.role == "device"] == ["one"]

    run(scenario, tmp_path)


def test_a_host_with_another_authority_never_sees_the_token(tmp_path):
    async def scenario(lab):
        token = lab.tokens.create("bench")
        other = Authority.create(tmp_path / "other", "lab")
        done = await lab.join(token, pin=other.fingerprint())
        assert done.returncode == DENIED
        assert other.fingerprint() in done.stderr
        assert lab.authority.fingerprint() in done.stderr
        assert "Nothing was sent" in done.stderr
        assert lab.tokens.redeem(token)  # still good
        assert not (tmp_path / "identity").exists()

    run(scenario, tmp_path)


def test_a_host_under_a_name_that_is_not_its_own_never_sees_the_token(tmp_path):
    async def scenario(lab):
        token = lab.tokens.create("bench")
        done = await lab.join(token, address=lab.join_address)
        assert done.returncode == DENIED
        assert "hilnas daemon names" in done.stderr
        assert lab.tokens.redeem(token)
        assert list((tmp_path / "identity").iterdir()) == []

    run(scenario, tmp_path, names=["lab.example"])


@pytest.mark.parametrize(("days_ago", "word"), [(-3, "begins on"), (400, "ended on")])
def test_a_clock_that_is_far_off_is_told_with_both_times(tmp_path, days_ago, word):
    async def scenario(lab):
        shifted = Authority.open(lab.authority.folder, lambda: time.time() - days_ago * 86_400)
        ServerCertificate(shifted).make([HERE])
        certificate, key = shifted.server_certificate([HERE])
        (lab.authority.folder / "server.pem").write_bytes(key + certificate)
        lab.authority.clock = shifted.clock
        done = await lab.join(lab.tokens.create("bench"))
        assert done.returncode == 5
        assert word in done.stderr
        assert time.strftime("clock says %Y-%m-%d", time.gmtime()) in done.stderr
        assert "timedatectl" in done.stderr

    run(scenario, tmp_path)


def test_where_no_host_is_there_is_no_joining(tmp_path):
    async def scenario(lab):
        done = await lab.join("token", address=f"{HERE}:1")
        assert (done.returncode, "listen_join" in done.stderr) == (5, True)
        clear = AgentServer(lab.farm, "token")
        address = await clear.start("127.0.0.1:0")
        done = await lab.join("token", address=address)
        assert (done.returncode, "does not speak TLS" in done.stderr) == (5, True)
        await clear.stop()
        done = await lab.join("token", pin="sha256:12")
        assert (done.returncode, "64 hexadecimal digits" in done.stderr) == (2, True)

    run(scenario, tmp_path)


def test_tokens_cannot_be_guessed_in_bulk(tmp_path):
    async def scenario(lab):
        channel = grpc.aio.secure_channel(
            lab.join_address, grpc.ssl_channel_credentials(lab.authority.certificate_pem)
        )
        stub, request = enrol_pb2_grpc.EnrolServiceStub(channel), csr().decode()
        for _ in range(PER_ADDRESS + 2):  # what succeeds is no guess
            await stub.Join(enrol_pb2.JoinRequest(token=lab.tokens.create("bench"), csr=request))
        # A request that is no good does not use a token up, but counts.
        token = lab.tokens.create("bench")
        error = await refused(stub.Join(enrol_pb2.JoinRequest(token=token, csr="nonsense")))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        codes = [
            (await refused(stub.Join(enrol_pb2.JoinRequest(token=f"{number}", csr=request)))).code()
            for number in range(PER_ADDRESS)
        ]
        assert codes == [grpc.StatusCode.UNAUTHENTICATED] * (PER_ADDRESS - 1) + [
            grpc.StatusCode.RESOURCE_EXHAUSTED
        ]
        error = await refused(stub.Join(enrol_pb2.JoinRequest(token=token, csr=request)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert lab.tokens.redeem(token)
        # Nobody gets a certificate renewed who has none.
        error = await refused(stub.Renew(enrol_pb2.RenewRequest(csr=request)))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        await channel.close()

    run(scenario, tmp_path)


# --- being let in ----------------------------------------------------------------------------------------------


def test_an_agent_without_an_identity_says_how_to_get_one(tmp_path):
    with AgentProcess("192.0.2.7:50817", tmp_path, "--identity", str(tmp_path / "none")) as agent:
        assert agent.wait() == 5
        assert "hilnas-agent join" in agent.logged()


def test_a_revoked_certificate_ends_the_stream_and_is_not_let_in_again(tmp_path, monkeypatch):
    monkeypatch.setattr(gates_module, "_LOOK_EVERY_S", 0.2)

    async def scenario(lab):
        lab.identity()
        async with lab.agent() as agent:
            await lab.farm.wait_for(1, 30)
            Authority.open(lab.authority.folder).revoke("bench", "stolen")  # as another process does
            assert await asyncio.to_thread(agent.process.wait, 20) == DENIED
            assert "was revoked (stolen)" in agent.logged()
            assert "hilnas-agent join" in agent.logged()
        assert lab.farm.connected() == []
        assert "was revoked (stolen)" in await denied(lab)

    run(scenario, tmp_path)


def test_a_revoked_certificate_fetches_and_renews_nothing(tmp_path):
    async def scenario(lab):
        identity = lab.identity()
        digest = lab.models.put(b"m")
        agent = dial(lab, identity)
        lab.authority.revoke("bench")
        fetch = agent.stub.FetchArtifact(agent_pb2.FetchArtifactRequest(sha256=digest))
        assert (await refused(fetch.read())).code() is grpc.StatusCode.PERMISSION_DENIED
        stub = enrol_pb2_grpc.EnrolServiceStub(agent.channel)
        error = await refused(stub.Renew(enrol_pb2.RenewRequest(csr=csr().decode())))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "revoked" in error.details()
        await agent.hang_up()

    run(scenario, tmp_path)


def test_a_certificate_that_ended_is_told_at_once(tmp_path):
    async def scenario(lab):
        lab.authority.clock = lambda: time.time() - 10 * 86_400
        lab.identity(days=5)
        lab.authority.clock = time.time
        assert "certificate ended on" in await denied(lab)

    run(scenario, tmp_path)


def test_a_certificate_of_another_lab_is_told_at_once(tmp_path):
    async def scenario(lab):
        other = Authority.create(tmp_path / "other", "lab")
        lab.identity(authority=other)
        text = await denied(lab)
        assert "are of two labs" in text
        assert "hilnas-agent join" in text

    run(scenario, tmp_path)


def test_a_host_that_takes_this_devices_certificate_for_old_is_told_soon(tmp_path):
    async def scenario(lab):
        # The device's clock is wrong by a year, and so it finds nothing wrong with what it has.
        lab.authority.clock = lambda: time.time() - 400 * 86_400
        lab.identity(days=30)
        lab.authority.clock = time.time
        found = await asyncio.to_thread(with_old_clock, lab, tmp_path / "identity")
        assert found.lasting
        assert "is the host's clock right?" in found.text

    run(scenario, tmp_path)


def with_old_clock(lab, identity):
    """What the handshake of a device finds that does not look at its own certificate's dates."""
    host, port = split_address(lab.address)
    found = credentials.load(identity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake, "_own", lambda identity: None)
        patch.setattr(handshake, "_PAUSE_S", 0.1)
        return handshake.look(host, port, found.authority, found)


def test_a_host_of_another_lab_is_told_at_once(tmp_path):
    async def scenario(lab):
        other = Authority.create(tmp_path / "other", "lab")
        make_identity(tmp_path / "identity", other, "bench", Role.DEVICE, 30, other)
        assert "not of the lab that this device has joined" in await denied(lab)

    run(scenario, tmp_path)


def test_a_host_under_a_name_that_is_not_its_own_is_told_at_once(tmp_path):
    async def scenario(lab):
        lab.identity()
        assert "hilnas daemon names" in await denied(lab)
        # The remedy works without starting the daemon anew.
        ServerCertificate(Authority.open(lab.authority.folder)).make([HERE, "lab.example"])
        async with lab.agent():
            await lab.farm.wait_for(1, 30)

    run(scenario, tmp_path, names=["lab.example"])


def test_a_port_without_tls_is_told_at_once(tmp_path):
    async def scenario(lab):
        lab.identity()
        clear = AgentServer(lab.farm, "token")
        text = await denied(lab, address=await clear.start("127.0.0.1:0"))
        assert "does not speak TLS" in text
        await clear.stop()

    run(scenario, tmp_path)


def test_no_certificate_is_no_way_in(tmp_path):
    async def scenario(lab):
        channel = grpc.aio.secure_channel(
            lab.address, grpc.ssl_channel_credentials(lab.authority.certificate_pem)
        )
        stub = agent_pb2_grpc.AgentServiceStub(channel)
        error = await refused(stub.Connect(metadata=(("hilnas-token", "token"),)).read())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        await channel.close()

    run(scenario, tmp_path)


def test_the_hosts_own_certificate_lets_nobody_in(tmp_path):
    async def scenario(lab):
        key, chain = ServerCertificate(lab.authority).pair()
        secret = grpc.ssl_channel_credentials(lab.authority.certificate_pem, key, chain)
        channel = grpc.aio.secure_channel(lab.address, secret)
        error = await refused(agent_pb2_grpc.AgentServiceStub(channel).Connect().read())
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED)
        await channel.close()

    run(scenario, tmp_path)


@pytest.mark.parametrize("role", [Role.USER, Role.ADMIN])
def test_a_persons_certificate_is_no_devices(tmp_path, role):
    async def scenario(lab):
        identity = lab.identity("ada", role)
        assert f"{role} ada is no device" in await denied(lab, "--name", "ada")
        agent = dial(lab, identity)
        fetch = agent.stub.FetchArtifact(agent_pb2.FetchArtifactRequest(sha256="0" * 64))
        assert (await refused(fetch.read())).code() is grpc.StatusCode.PERMISSION_DENIED
        stub = enrol_pb2_grpc.EnrolServiceStub(agent.channel)
        error = await refused(stub.Renew(enrol_pb2.RenewRequest(csr=csr().decode())))
        assert "no device" in error.details()
        await agent.hang_up()

    run(scenario, tmp_path)


def test_a_device_has_its_certificates_name_and_no_other(tmp_path):
    async def scenario(lab):
        lab.identity("kitchen")
        text = await denied(lab)  # AgentProcess asks for "bench"
        assert 'of "kitchen", not of "bench"' in text
        assert "--name kitchen" in text
        async with lab.agent("--name", ""):
            (facts,) = await lab.farm.wait_for(1, 30)
            assert facts.name == "kitchen"

    run(scenario, tmp_path)


def test_a_hub_speaks_for_the_phones_behind_it(tmp_path):
    async def scenario(lab):
        identity = lab.identity("hub")
        await dial(lab, identity, name="hub/0123").connect()
        assert [facts.name for facts in lab.farm.connected()] == ["hub/0123"]
        error = await refused(dial(lab, identity, name="hub2/0123").connect())
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED

    run(scenario, tmp_path)


def test_a_restart_of_the_host_is_no_matter_of_certificates(tmp_path):
    async def scenario(lab):
        lab.identity()
        other = AgentServer(lab.farm, "token", lab.authority)
        address = await other.start_tls(f"{HERE}:0")
        async with lab.agent(address=address) as agent:
            await lab.farm.wait_for(1, 30)
            await other.stop()
            assert await until(lambda: "no connection to the host" in agent.logged())
            again = AgentServer(lab.farm, "token", lab.authority)
            await again.start_tls(address)
            await lab.farm.wait_for(1, 30)
            assert agent.process.poll() is None
            await asyncio.to_thread(agent.stop)
            await again.stop()

    run(scenario, tmp_path)


# --- renewal ---------------------------------------------------------------------------------------------------


def test_a_certificate_renews_itself_while_the_agent_works(tmp_path):
    async def scenario(lab):
        lab.identity(days=18 * SECOND)
        first = (tmp_path / "identity" / "current" / "cert.pem").read_bytes()
        async with lab.agent() as agent:
            assert (await measured(lab)).verdict in (Verdict.TRUSTED, Verdict.UNSTABLE)
            assert await until(lambda: agent.logged().count("has a new certificate") >= 2, 60), agent.logged()
            assert agent.process.poll() is None
            await lab.farm.wait_for(1, 30)
            lab.models.put(b"other")
            assert lab.farm.devices["bench"].session is not None
            assert agent.logged().count("connected to host") >= 3
        place = (tmp_path / "identity" / "current").resolve()
        certificate = (place / "cert.pem").read_bytes()
        assert certificate != first
        assert (peer_of(certificate).name, peer_of(certificate).role) == ("bench", Role.DEVICE)
        assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
        assert len(list((tmp_path / "identity").glob("identity-*"))) == 2
        # Every one is on record, so that all of them can be revoked.
        assert len(lab.authority.revoke("bench")) >= 1

    run(scenario, tmp_path, days=12 * SECOND)


def test_a_name_and_a_role_in_a_request_for_renewal_count_for_nothing(tmp_path):
    async def scenario(lab):
        agent = dial(lab, lab.identity())
        stub = enrol_pb2_grpc.EnrolServiceStub(agent.channel)
        request = csr(name="root", role="admin").decode()
        answer = await stub.Renew(enrol_pb2.RenewRequest(csr=request))
        peer = peer_of(answer.certificate.encode())
        assert (peer.name, peer.role, answer.device_name) == ("bench", Role.DEVICE, "bench")
        for _ in range(PER_ADDRESS - 1):
            await stub.Renew(enrol_pb2.RenewRequest(csr=request))
        error = await refused(stub.Renew(enrol_pb2.RenewRequest(csr=request)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await agent.hang_up()

    run(scenario, tmp_path)


def test_a_stream_ends_with_its_certificate(tmp_path, monkeypatch):
    monkeypatch.setattr(gates_module, "_LOOK_EVERY_S", 0.2)

    async def scenario(lab):
        agent = await dial(lab, lab.identity(days=3 * SECOND)).connect()
        error = await refused(agent.read())
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "has ended" in error.details()
        await agent.hang_up()

    run(scenario, tmp_path)


# --- quotas ----------------------------------------------------------------------------------------------------


def flood(address, identity, hello):
    """Sends Hello and then far too much; how the stream ended."""

    def messages():
        yield agent_pb2.ConnectRequest(hello=hello)
        for _ in range(MESSAGES_AT_ONCE * 10):
            yield agent_pb2.ConnectRequest(heartbeat=agent_pb2.Heartbeat())

    with (
        grpc.secure_channel(address, channel_credentials(identity / "current")) as channel,
        pytest.raises(grpc.RpcError) as error,
    ):
        list(agent_pb2_grpc.AgentServiceStub(channel).Connect(messages()))
    return error.value


def test_a_device_that_floods_the_host_is_sent_away(tmp_path):
    async def scenario(lab):
        identity = lab.identity()
        hello = dial(lab, identity).hello
        error = await asyncio.to_thread(flood, lab.address, identity, hello)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "messages a second" in error.details()
        events = lab.farm.registry.history("bench", 20)
        assert any("messages a second" in event.text for event in events)

    run(scenario, tmp_path)


def test_a_message_over_the_bound_ends_the_stream_even_where_other_services_may_have_larger_ones(tmp_path):
    async def scenario(lab):
        server = AgentServer(lab.farm, "token", lab.authority)
        address = await server.start_tls(f"{HERE}:0", max_message_bytes=64 << 20)
        channel = grpc.aio.secure_channel(address, channel_credentials(lab.identity() / "current"))
        agent = await ScriptedAgent(address, "bench", channel=channel).connect()
        result = measurement_pb2.MeasureResult(message="x" * (5 << 20))
        await agent.call.write(agent_pb2.ConnectRequest(measure_result=result))
        error = await refused(agent.read())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "over the bound" in error.details()
        await agent.hang_up()
        await server.stop()

    run(scenario, tmp_path)


def test_a_device_has_few_transfers_at_once(tmp_path):
    async def scenario(lab):
        digest = lab.models.put(os.urandom(32 << 20))
        agent = dial(lab, lab.identity())
        ask = agent_pb2.FetchArtifactRequest(sha256=digest)
        calls = [agent.stub.FetchArtifact(ask) for _ in range(MAX_FETCHES)]
        for call in calls:
            assert (await call.read()).size_bytes == 32 << 20
        error = await refused(agent.stub.FetchArtifact(ask).read())
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        calls[0].cancel()
        await asyncio.sleep(0.5)
        assert (await agent.stub.FetchArtifact(ask).read()).size_bytes == 32 << 20
        await agent.hang_up()

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("hello", "word"),
    [
        ({"device_class": "x" * 300}, "--device-class"),
        ({"device_class": "a\x1b[2Jb"}, "cannot be shown"),
        ({"boot_id": "x" * 2000}, "boot_id"),
        ({"running": ["job"] * 500}, "running_job_ids"),
        ({"device": device_pb2.DeviceInfo(cpu_model="x" * 2000)}, "device.cpu_model"),
        ({"device": device_pb2.DeviceInfo(runtimes=[device_pb2.RuntimeInfo()] * 500)}, "device.runtimes"),
    ],
)
def test_a_hello_has_its_bounds(tmp_path, hello, word):
    async def scenario(lab):
        error = await refused(dial(lab, lab.identity(), **hello).connect())
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert word in error.details()

    run(scenario, tmp_path)


def test_whoever_does_not_say_hello_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(service_module, "HELLO_WITHIN_S", 0.3)

    async def scenario(lab):
        agent = dial(lab, lab.identity())
        error = await refused(agent.read())
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await agent.hang_up()

    run(scenario, tmp_path)


def test_without_tls_a_farm_listens_on_this_machine_alone(tmp_path):
    async def scenario(lab):
        for listen in ("0.0.0.0:0", "[::]:0", "192.0.2.7:0"):
            with pytest.raises(OSError, match="over TLS"):
                await AgentServer(lab.farm, "token").start(listen)

    run(scenario, tmp_path)


# --- the command line ------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(monkeypatch, tmp_path):
    """Runs a command of `hilnas daemon` on a lab of the test's own; its output."""
    import typer
    from typer.testing import CliRunner

    from hilnas.cli import lab as commands

    group = typer.Typer()
    commands.add_to(group)
    monkeypatch.setenv("HILNAS_LAB", str(tmp_path / "lab"))

    def invoke(*arguments):
        done = CliRunner().invoke(group, list(arguments))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    return invoke


def test_a_lab_from_its_beginning_to_a_revocation(daemon, tmp_path):
    from hilnas.security.errors import SecurityError
    from hilnas.security.tokens import JoinTokens

    folder = tmp_path / "lab"
    with pytest.raises(SecurityError, match="hilnas daemon init"):
        daemon("token", "kitchen")
    with pytest.raises(SecurityError, match="without a port"):
        daemon("init", "--name", "lab.example:1")
    assert not folder.exists()
    told = daemon("init", "--name", "lab.example", "--name", "192.0.2.7")
    authority = Authority.open(folder / "ca")
    assert authority.fingerprint() in told
    assert "listen_join" in told
    assert peer_of((folder / "admin" / "cert.pem").read_bytes()).role is Role.ADMIN
    with pytest.raises(SecurityError, match="holds an authority already"):
        daemon("init")
    assert Authority.open(folder / "ca").fingerprint() == authority.fingerprint()

    data = json.loads(daemon("token", "kitchen", "--device-class", "pixel", "--json"))
    assert data["command"].startswith("hilnas-agent join lab.example:50818 --ca-fingerprint sha256:")
    assert data["token"] not in data["command"]
    assert JoinTokens.beside(authority).redeem(data["token"]) == ("kitchen", "pixel")
    (folder / "daemon.toml").write_text('listen_join = "0.0.0.0:4711"\n')
    told = daemon("token", "kitchen")
    assert "lab.example:4711" in told
    assert "Warning" not in told

    daemon("user", "ada", "--admin", "-o", str(tmp_path / "ada"))
    assert peer_of((tmp_path / "ada" / "cert.pem").read_bytes()).role is Role.ADMIN
    rows = json.loads(daemon("certificates", "--json"))
    assert [(row["name"], row["role"], row["state"]) for row in rows] == [
        ("lab.example", "server", "good"), ("admin", "admin", "good"), ("ada", "admin", "good")
    ]  # fmt: skip
    assert "ada" in daemon("certificates")

    revoked = json.loads(daemon("revoke", "ada", "--reason", "left", "--json"))
    assert [one["serial"] for one in revoked["revoked"]] == [rows[2]["serial"]]
    assert "Join tokens made worthless: 1" in daemon("revoke", "kitchen")
    states = {row["name"]: row["state"] for row in json.loads(daemon("certificates", "--all", "--json"))}
    assert states["ada"] == "revoked"
    assert rows[1]["serial"] in daemon("revoke", rows[1]["serial"])
    with pytest.raises(SecurityError, match="was ever signed"):
        daemon("revoke", "nobody")

    assert daemon("names").split() == ["lab.example", "192.0.2.7"]
    assert "other.example" in daemon("names", "other.example")


def test_a_lab_is_known_by_all_names_of_its_machine(daemon):
    names = json.loads(daemon("init", "--json"))["names"]
    assert {"localhost", "127.0.0.1"} <= set(names)
    assert not names[0].startswith("127.")


def test_openssl_is_there():
    """Without it no device makes a key; CI must not pass by leaving all of this out."""
    assert shutil.which("openssl")
