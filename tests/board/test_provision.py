"""Real boards become devices, are upgraded, rolled back and left as they were."""

import asyncio
import json
import os
import shutil
import subprocess
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from hilnas.daemon.measure import bench
from hilnas.export import export_int8
from hilnas.farm import FarmOptions, Fidelity
from hilnas.provision import (
    Board,
    Connection,
    DeployOptions,
    Enrolment,
    LostLinkError,
    Outcome,
    ProvisionError,
    Signed,
    Tunnel,
    UnfitBoardError,
    Wheels,
    deploy,
    facts,
    install,
    layout,
    remove,
    upgrade,
)
from hilnas.provision import dial as dialling
from hilnas.provision.platforms import Platform
from hilnas.recipe import measurement_options
from hilnas.security.authority import Authority
from hilnas.security.credentials import ServerCertificate
from hilnas.security.peers import Role
from hilnas.spaces.mbconv import MBConv
from tests.board.provision_lab import HOST, TOKEN, BareBoard, Host, Lab, OffFleet, Ssh, powered, why_not

pytestmark = pytest.mark.board

PORT = 50816
OPTIONS = DeployOptions(host=f"127.0.0.1:{PORT}", name="prov")
PLACES = f"{layout.ROOT} {layout.CONFIG} /etc/systemd/system /etc/passwd /etc/group {layout.STATE}/identity"
STAMPS = f"find {PLACES} -printf '%p %T@ %C@ %s %m %u\\n' 2>/dev/null | sort"
# Not in it: what a running system writes anyway, and the account database's own copies and lock.
FILES = (
    (
        "find / -xdev ( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path '/var/log/*' "
        "-o -path '/var/lib/systemd/*' -o -path '/var/tmp/systemd-private*' -o -path '/home/*/.sudo*' ) -prune -o -print"
    )
    .replace("(", "\\(")
    .replace(")", "\\)")
)
BACKUPS = {
    "/etc/.pwd.lock",
    *(f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")),
}


def files(board):
    return set(board.exec(FILES).splitlines()) - BACKUPS


@pytest.fixture(scope="module")
def wheels():
    return Wheels()


@pytest.fixture
def host(tmp_path):
    with Host(tmp_path) as listening:
        yield listening


def tunnel_to(board, ssh, port):
    return Tunnel(lambda: Connection.open(ssh(board)), PORT, ("127.0.0.1", port))


@pytest.fixture
def plain(request):
    """A board without systemd, fresh."""
    if why := why_not("amd64", "sshd"):
        pytest.skip(why)
    with powered(BareBoard("plain", 2)) as (board,):
        yield board


def test_without_systemd_it_says_how_to_start(plain, tmp_path, wheels, host):
    ssh, before, said = Ssh(tmp_path, plain), files(plain), []
    report = deploy(ssh(plain), OPTIONS, token=TOKEN, wheels=wheels, progress=said.append)
    assert not report.running and report.changes
    (note,) = report.notes
    assert TOKEN not in " ".join([*said, *report.changes, *report.notes])
    (command,) = (line.strip() for line in note.splitlines() if "sudo sh -c" in line)
    tunnel = tunnel_to(plain, ssh, host.port)
    tunnel.start()
    try:
        plain.exec(f"setsid {command} >/tmp/agent.log 2>&1 & sleep 0.1")
        host.ready("prov")
        assert plain.exec("ps -o user= -C python | sort -u").strip() == layout.USER
        stamps = plain.exec(STAMPS)
        again = deploy(ssh(plain), OPTIONS, token=TOKEN, wheels=wheels)
        assert again.changes == ()
        assert plain.exec(STAMPS) == stamps, "a second run changes nothing, not even a time stamp"
        assert host.connected("prov")
        assert remove(ssh(plain))
        assert files(plain) == before
        assert "hilnas" not in plain.exec("cat /etc/passwd /etc/group /etc/shadow")
        assert not plain.exec("ps -o user= -C python || true").strip()
        assert not remove(ssh(plain)), "there is nothing left to remove"
    finally:
        tunnel.stop()


def test_a_full_disk_is_told_before_and_after(plain, tmp_path, wheels):
    ssh = Ssh(tmp_path, plain)
    plain.exec("mount -t tmpfs -o size=60m tmpfs /opt")
    with pytest.raises(UnfitBoardError, match="MiB are free there: make room"):
        deploy(ssh(plain), OPTIONS, token=TOKEN, wheels=wheels)
    with Connection.open(ssh(plain)) as board:
        found = facts.look(board)
        bundle = wheels.gather(Platform.of(found))
        with pytest.raises(ProvisionError, match="make room"):
            install.install(board, found, bundle, lambda text: None)
        plain.exec("mount -o remount,size=80m /opt")
        with pytest.raises(ProvisionError, match=r"make room|No space left"):
            install.install(board, found, bundle, lambda text: None)
    plain.exec("mount -o remount,size=4g /opt")
    assert deploy(ssh(plain), OPTIONS, token=TOKEN, wheels=wheels).changes


def test_a_read_only_root_is_told(plain, tmp_path, wheels):
    plain.exec("mount -t tmpfs -o ro tmpfs /opt")
    with pytest.raises(UnfitBoardError, match="read-only"):
        deploy(Ssh(tmp_path, plain)(plain), OPTIONS, token=TOKEN, wheels=wheels)


def test_a_link_that_breaks_in_the_middle_and_again(plain, tmp_path, wheels, monkeypatch):
    monkeypatch.setattr(dialling, "_SILENCE_MS", 3000)
    ssh, said = Ssh(tmp_path, plain), []
    # 7 s for numpy alone, so the cut hits it. `rate` slows only what the board sends.
    to_board = ["tc", "qdisc", "replace", "dev", f"hb-{plain.name}", "root", "tbf"]
    subprocess.run([*to_board, "rate", "20mbit", "burst", "16kb", "latency", "300ms"], check=True)

    def progress(text):
        said.append(text)
        if text.startswith("bringing numpy"):
            threading.Timer(0.3, plain.sh, ("cut",)).start()

    with pytest.raises(LostLinkError, match="goes on there"):
        deploy(ssh(plain), OPTIONS, token=TOKEN, wheels=wheels, progress=progress)
    plain.sh("restore")
    subprocess.run(["tc", "qdisc", "del", "dev", f"hb-{plain.name}", "root"], check=True)
    sent = {text.split()[1] for text in said if text.startswith("bringing ")}
    again = []
    deploy(ssh(plain), OPTIONS, token=TOKEN, wheels=wheels, progress=again.append)
    resent = {text.split()[1] for text in again if text.startswith("bringing ")}
    assert len(sent & resent) == 1, "what had arrived is not sent again"


def test_a_certificate_for_a_key_that_never_left(plain, tmp_path, wheels):
    """It lets the agent in over TLS, under its name."""
    ssh, names = Ssh(tmp_path, plain), []
    authority = Authority.create(tmp_path / "ca", "lab")
    ServerCertificate(authority).make([HOST])

    def sign(request, name):
        names.append(name)
        return Signed(authority.sign(request, Role.DEVICE, name), authority.certificate_pem)

    enrolment = Enrolment(sign, authority.certificate_pem)
    with Host(tmp_path, authority) as host:
        options = DeployOptions(host=host.address)
        report = deploy(ssh(plain), options, enrolment=enrolment, wheels=wheels)
        (command,) = (line.strip() for line in report.notes[0].splitlines() if "sudo sh -c" in line)
        plain.exec(f"setsid {command} >/tmp/agent.log 2>&1 & sleep 0.1")
        host.ready(plain.name)
    assert report.device == plain.name and names == [plain.name]
    place = f"{layout.IDENTITY}/current"
    assert plain.exec(f"stat -L -c '%a %U' {place}/key.pem {place} {layout.IDENTITY}").split() == [
        *("600", layout.USER), *("700", layout.USER), *("700", layout.USER)
    ]  # fmt: skip
    check = f"cd {place}; openssl verify -CAfile ca.pem cert.pem; openssl x509 -in cert.pem -noout -subject; ls -A"
    assert plain.exec(check).split("\n")[:2] == ["cert.pem: OK", f"subject=OU = device, CN = {plain.name}"]
    pair = f"cd {place}; openssl x509 -in cert.pem -noout -pubkey; openssl pkey -in key.pem -pubout"
    public = plain.exec(pair).split("-----BEGIN PUBLIC KEY-----")
    assert public[1] == public[2]
    assert f"--identity={layout.IDENTITY}" in plain.exec(f"cat {layout.ENVIRONMENT}")
    assert deploy(ssh(plain), options, enrolment=enrolment, wheels=wheels).changes == ()
    assert len(names) == 1
    # Another name is another certificate.
    changes = deploy(
        ssh(plain), DeployOptions(host=options.host, name="other"), enrolment=enrolment, wheels=wheels
    ).changes
    assert "as other" in " ".join(changes) and names[1:] == ["other"]
    assert len(plain.exec(f"ls {layout.IDENTITY}").split()) == 2


@pytest.fixture(scope="module")
def device(tmp_path_factory, wheels):
    """A board with systemd on which an agent was deployed; what it was like before."""
    if why := why_not("amd64", "systemd"):
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("device")
    with powered(BareBoard("systemd", 3, init="systemd")) as (board,), Host(folder) as host:
        board.exec("systemctl is-system-running --wait >/dev/null 2>&1 || true")
        ssh, before = Ssh(folder, board), files(board)
        tunnel = tunnel_to(board, ssh, host.port)
        tunnel.start()
        try:
            report = deploy(ssh(board), OPTIONS, token=TOKEN, wheels=wheels, ready=host.ready)
            yield board, ssh, host, report, before
        finally:
            tunnel.stop()


def test_a_fresh_board_becomes_a_device(device):
    board, _, host, report, _ = device
    print(f"\nfresh deploy: {report.seconds} s")
    assert report.running and host.connected("prov")
    assert board.exec("systemctl is-enabled hilnas-agent").strip() == "enabled"
    assert board.exec("ps -o user= -C python | sort -u").strip() == layout.USER
    assert board.exec(f"stat -c '%a %U' {layout.ENVIRONMENT}").split() == ["600", "root"]
    shown = board.exec(
        "cat /proc/[0-9]*/cmdline; journalctl --no-pager -u hilnas-agent; systemctl show hilnas-agent"
    )
    assert TOKEN not in shown


def test_a_second_deploy_changes_nothing(device, wheels):
    board, ssh, host, _, _ = device
    stamps = board.exec(STAMPS) + board.exec(
        "systemctl show -p MainPID -p ExecMainStartTimestamp hilnas-agent"
    )
    report = deploy(ssh(board), OPTIONS, token=TOKEN, wheels=wheels, ready=host.ready)
    print(f"\nsecond deploy: {report.seconds} s")
    assert report.changes == ()
    after = board.exec(STAMPS) + board.exec(
        "systemctl show -p MainPID -p ExecMainStartTimestamp hilnas-agent"
    )
    assert after == stamps


def test_changed_options_change_what_they_concern(device, wheels):
    board, ssh, host, _, _ = device
    other = OPTIONS.model_copy(update={"device_class": "mine"})
    changes = deploy(ssh(board), other, token=TOKEN, wheels=wheels, ready=host.ready).changes
    assert changes == (f"write {layout.ENVIRONMENT}", "start the agent anew")
    deploy(ssh(board), OPTIONS, token=TOKEN, wheels=wheels, ready=host.ready)


def test_the_hardened_agent_measures(device, wheels):
    """Pinning, sensors and the workers' own filter of system calls work inside the unit."""
    board, ssh, _, _, _ = device
    space = MBConv((1, 28, 28), 10)
    architecture = space.sample(np.random.default_rng(0))
    torch.manual_seed(0)
    model = export_int8(space.build(architecture).eval(), torch.randn(8, *space.input_shape(architecture)))
    quick = {"warmup_runs": 1, "warmup_ms": 0, "max_warmup_ms": 0, "min_sampling_ms": 0, "min_samples": 10,
             "max_sampling_ms": 500, "remeasures": 0}  # fmt: skip
    options = measurement_options({"screen": quick, "deadline_s": 120, "preflight": {"max_cooldown_ms": 0}})
    tunnel = None

    async def run(port):
        farm = FarmOptions(listen=f"127.0.0.1:{port}", local_agent=False, wait_s=60)
        async with bench(farm, options, "measuring") as place:
            return await place.measure([model], Fidelity.SCREEN)

    import socket

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tunnel = Tunnel(lambda: Connection.open(ssh(board)), PORT + 1, ("127.0.0.1", port))
    tunnel.start()
    os.environ["HILNAS_TOKEN"] = TOKEN
    try:
        tunnel.wait_up(20)
        deploy(
            ssh(board),
            DeployOptions(host=f"127.0.0.1:{PORT + 1}", name="measuring"),
            token=TOKEN,
            wheels=wheels,
        )
        (measured,) = asyncio.run(run(port))
    finally:
        del os.environ["HILNAS_TOKEN"]
        tunnel.stop()
        deploy(ssh(board), OPTIONS, token=TOKEN, wheels=wheels)
    assert measured.latency is not None, f"{measured.verdict}: {measured.message}"


@pytest.fixture
def broken(tmp_path):
    """Wheels of an agent in which a text of a file has been replaced."""

    def make(file, old, new):
        packages = {}
        for name in ("hilnas_agent", "hilnas_protos"):
            place = Path(next(iter(find_spec(name).submodule_search_locations)))
            shutil.copytree(place, tmp_path / name, dirs_exist_ok=True)
            packages[name] = tmp_path / name
        path = tmp_path / "hilnas_agent" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        return Wheels(packages=packages)

    return make


CRASHES = ("session.py", '"""The connection', 'raise SystemExit("broken on purpose")\n"""The connection')
MUTE = (
    "session.py",
    "        while True:\n            pause, code = self._serve_stream()",
    "        while not self._over.wait(1):\n            continue\n        while True:\n            pause, code = self._serve_stream()",
)
HARMLESS = ("session.py", '"""The connection', '# Another release.\n"""The connection')


@pytest.mark.parametrize(("fault", "words"), [(CRASHES, "broken on purpose"), (MUTE, "waited 20 s")])
def test_a_release_that_fails_is_rolled_back(device, broken, fault, words):
    board, ssh, host, _, _ = device
    host.ready("prov")
    earlier = board.exec(f"readlink {layout.CURRENT}")
    fleet = Lab(host)
    boards = [Board(ssh(board), "prov", "pc"), Board(ssh("pi@10.77.0.254"), "sister", "pc")]
    first, second = upgrade(boards, fleet, wheels=broken(*fault))
    assert first.outcome is Outcome.ROLLED_BACK and words in first.message, first.message
    assert second.outcome is Outcome.NOT_TRIED and "prov" in second.message
    assert board.exec(f"readlink {layout.CURRENT}") == earlier
    assert host.connected("prov")
    assert fleet.calls[0] == ("drain", "prov") and fleet.calls[-1] == ("release", "prov")


def test_a_canary_that_is_off_rolls_back(device, broken):
    board, ssh, host, _, _ = device
    host.ready("prov")
    earlier = board.exec(f"readlink {layout.CURRENT}")
    (done,) = upgrade([Board(ssh(board), "prov")], OffFleet(host), wheels=broken(*HARMLESS))
    assert done.outcome is Outcome.ROLLED_BACK and "12 % longer" in done.message
    assert board.exec(f"readlink {layout.CURRENT}") == earlier


def test_a_good_release_stays_and_the_one_before_is_kept(device, broken, wheels):
    board, ssh, host, _, _ = device
    host.ready("prov")
    fleet, newer = Lab(host), broken(*HARMLESS)
    (done,) = upgrade([Board(ssh(board), "prov")], fleet, wheels=newer)
    assert done.outcome is Outcome.UPGRADED, done.message
    assert [what for what, _ in fleet.calls] == ["drain", "wait_ready", "canary", "release"]
    assert len(board.exec(f"ls {layout.RELEASES}").split()) == 2
    (again,) = upgrade([Board(ssh(board), "prov")], fleet, wheels=newer)
    assert again.outcome is Outcome.UNCHANGED and len(fleet.calls) == 4
    # Back to ours: that release is there still, so nothing is brought.
    said = []
    (back,) = upgrade([Board(ssh(board), "prov")], fleet, wheels=wheels, progress=said.append)
    assert back.outcome is Outcome.UPGRADED and not [text for text in said if "bringing" in text]


def test_it_is_back_after_a_power_cut(device):
    board, _, host, _, _ = device
    board.sh("off")
    board.sh("on")
    host.ready("prov", 90)


def test_its_exposure_by_the_boards_own_systemd(device):
    board, *_ = device
    text = board.exec("systemd-analyze security --no-pager hilnas-agent.service | tail -1")
    print(f"\n{text}")
    assert any(word in text for word in ("OK", "SAFE"))


def test_remove_leaves_nothing(device):
    board, ssh, host, _, before = device
    assert remove(ssh(board))
    assert files(board) == before
    assert "hilnas" not in board.exec(
        "cat /etc/passwd /etc/group /etc/shadow; systemctl list-unit-files --no-pager"
    )
    assert not host.connected("prov")


@pytest.mark.skipif(
    "arm64" not in os.environ.get("HILNAS_BOARDS", ""), reason="HILNAS_BOARDS=arm64 takes minutes"
)
def test_a_fresh_arm64_board(tmp_path, wheels):
    """The figures of the changelog: seconds of a deploy, and of a second one."""
    if why := why_not("arm64", "sshd"):
        pytest.skip(why)
    with powered(BareBoard("arm64", 4, "arm64")) as (board,):
        ssh = Ssh(tmp_path, board)
        first = deploy(ssh(board), OPTIONS, token=TOKEN, wheels=wheels)
        second = deploy(ssh(board), OPTIONS, token=TOKEN, wheels=wheels)
        print(f"\narm64: {json.dumps([first.seconds, second.seconds])} s")
        assert second.changes == ()
