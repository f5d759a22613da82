"""A daemon holds the way back for a board that only SSH reaches, and its key can do nothing else there."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from hilnas.cli.provision import INSTALLED
from hilnas.daemon.lab_tunnels import LabTunnels
from hilnas.provision import Connection, DeployOptions, Wheels, deploy
from tests.board.lab import CACHE
from tests.board.provision_lab import BareBoard, Ssh, powered, why_not
from tests.integration.labs import Lab
from tests.integration.searches import ROOT

pytestmark = pytest.mark.board

PORT = 50931
SETTINGS = f'listen_local = "127.0.0.1:{PORT}"\nmetrics = ""\ntunnel_silence_s = 4\n'


@pytest.fixture(scope="module")
def board():
    if why := why_not("amd64", "sshd"):
        pytest.skip(why)
    with powered(BareBoard("tun-1", 60)) as (made,):
        yield made


@pytest.fixture
def lab():
    with Lab(SETTINGS) as running:
        yield running


@pytest.fixture
def ssh(board, tmp_path):
    return Ssh(tmp_path, board)


def told(lab):
    """What `hilnas device tunnel --list` says."""
    return json.loads(lab.hilnas("device", "tunnel", "--list", "--json"))


def state(lab):
    (found,) = LabTunnels(lab.where).all()
    return found


def is_up(lab):
    return state(lab).state == "UP"


def is_connected(lab, name):
    found = lab.device(name)
    return found is not None and found.state not in ("OFFLINE", "SUSPECT", "NEW")


def start_agent(board, report):
    (command,) = (line.strip() for line in report.notes[0].splitlines() if "sudo sh -c" in line)
    board.exec(f"setsid {command} >/tmp/agent.log 2>&1 & sleep 0.1")


def test_a_device_stays_one_whatever_becomes_of_link_and_daemon(board, lab, ssh):
    target = ssh(board)
    tunnels = LabTunnels(lab.where)
    held = tunnels.keep(target, PORT, user="ada")
    assert (held.state, held.port, held.kept_by) == ("UP", PORT, "ada"), held.message
    # The host key that a person had confirmed is the one that the daemon insists on.
    assert [hop.host_key for hop in held.hops] == [board.host_key().partition(" ")[2]]
    options = DeployOptions(host=f"127.0.0.1:{PORT}", name="tn-1")
    start_agent(
        board, deploy(target, options, token=(lab.folder / "token").read_text().strip(), wheels=Wheels())
    )
    lab.wait_for(lambda: is_connected(lab, "tn-1"), 60, "the device")

    took, began = {}, time.monotonic()
    board.sh("cut")
    try:
        lab.wait_for(lambda: not is_up(lab), 30, "the end of the tunnel")
        took["cut noticed"] = time.monotonic() - began
        assert state(lab).message, "it says why"
        lab.wait_for(lambda: not is_connected(lab, "tn-1"), 30, "the daemon's noticing")
    finally:
        board.sh("restore")
    began = time.monotonic()
    lab.wait_for(lambda: is_up(lab), 60, "the tunnel after the cut")
    took["tunnel back"] = time.monotonic() - began
    lab.wait_for(lambda: is_connected(lab, "tn-1"), 60, "the device after the cut")
    took["device back"] = time.monotonic() - began

    lab.stop(signal.SIGKILL)
    lab.start()
    began = time.monotonic()
    lab.wait_for(lambda: is_up(lab), 30, "the tunnel of a daemon that was killed")
    took["tunnel of a killed daemon"] = time.monotonic() - began
    lab.wait_for(lambda: is_connected(lab, "tn-1"), 60, "the device after the daemon was killed")
    took["device of a killed daemon"] = time.monotonic() - began
    print("\n" + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in took.items()))
    (shown,) = told(lab)
    assert shown["board"] == f"pi@{board.address}" and shown["state"] == "UP"
    assert "up since" in lab.hilnas("device", "tunnel", "--list")
    logged = lab.log.read_text()
    assert "Traceback" not in logged and "PRIVATE KEY" not in logged

    gone = tunnels.forget(target)
    assert not gone.left and not tunnels.all()
    lab.wait_for(lambda: not is_connected(lab, "tn-1"), 60, "the end of the device")
    assert "hilnas" not in board.exec("cat /home/pi/.ssh/authorized_keys; ls -A /home/pi/.ssh")
    Connection.open(target).close()  # the person's own key is still there


@pytest.fixture
def kept(board, lab, ssh):
    """A tunnel that is up; the words of an ssh that has the lab's key."""
    tunnels = LabTunnels(lab.where)
    assert tunnels.keep(ssh(board), PORT).state == "UP"
    yield [
        "ssh", "-i", str(lab.folder / "ssh/id_ed25519"), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
        "-o", f"UserKnownHostsFile={ssh.known_hosts}", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes",
        "-F", "none",
    ]  # fmt: skip
    tunnels.forget(ssh(board))


def test_the_key_can_do_nothing_else(board, lab, kept, tmp_path):
    place = f"pi@{board.address}"

    def run(*words, seconds=20):
        return subprocess.run(
            [*kept, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    # No command of its own, no shell, no terminal, no files.
    board.exec("rm -f /tmp/was-here")
    for words in (
        (place, "touch /tmp/was-here"),
        (place, f"{PORT + 1}; touch /tmp/was-here"),
        (place,),
        ("-tt", place),
    ):
        done = run(*words)
        assert done.returncode and not done.stdout, (words, done)
    assert run("-s", place, "sftp").returncode
    assert "was-here" not in board.exec("ls /tmp")
    # No other port there, nor one for all the world, nor a socket.
    # OpenSSH knows no permission for sockets there short of its own settings, with which the tunnel does without them.
    board.exec("echo 'AllowStreamLocalForwarding no' >/etc/ssh/sshd_config.d/a.conf; kill -HUP 1; sleep 1")
    try:
        for forward in (f"127.0.0.1:{PORT + 1}:127.0.0.1:9", f"0.0.0.0:{PORT + 1}:127.0.0.1:9", "1:127.0.0.1:9",
                        "/tmp/was-here:127.0.0.1:9"):  # fmt: skip
            done = run("-N", "-R", forward, place)
            assert done.returncode and "forwarding" in done.stderr, (forward, done.stderr)
        assert "was-here" not in board.exec("ls /tmp")
        lab.stop()
        lab.start()
        lab.wait_for(lambda: is_up(lab), 30, "the tunnel")
    finally:
        board.exec("rm /etc/ssh/sshd_config.d/a.conf; kill -HUP 1; sleep 1")
    # No way through it: neither to itself nor beyond, neither to a port nor a socket.
    for goal in ("127.0.0.1:22", f"{board.address}:22", "10.77.0.1:22"):
        done = run("-W", goal, place)
        assert done.returncode and "SSH-2.0" not in done.stdout and "prohibited" in done.stderr, (goal, done)
    board.exec(
        'setsid python3 -c \'import socket; s = socket.socket(socket.AF_UNIX); s.bind("/tmp/open.sock"); s.listen(); '
        'import os; os.chmod("/tmp/open.sock", 0o777); c, _ = s.accept(); c.sendall(b"inside")\' >/dev/null 2>&1 & sleep 1'
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        local = free.getsockname()[1]
    way = subprocess.Popen([*kept, "-N", "-L", f"{local}:/tmp/open.sock", place], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", local), 5) as through:
                    through.settimeout(5)
                    assert through.recv(10) == b""
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline and way.poll() is None
                time.sleep(0.1)
    finally:
        way.terminate()
        way.wait()
    assert is_up(lab)


def test_an_end_left_over_on_the_board_is_freed_without_root_and_a_reboot_is_waited_for(board, lab, kept):
    """A daemon that vanished with its machine has said no farewell: an sshd there still holds the port."""
    farewells = [
        ["ip", "netns", "exec", f"hb-{board.name}", "iptables", what, "INPUT", "-p", "tcp", "--dport", "22",
         "--tcp-flags", flag, flag, "-j", "DROP"]
        for what in ("-I", "-D") for flag in ("FIN", "RST")
    ]  # fmt: skip
    for rule in farewells[:2]:
        subprocess.run(rule, check=True)
    try:
        lab.stop(signal.SIGKILL)
        time.sleep(2)
        assert f":{PORT:04X} " in board.exec("cat /proc/net/tcp"), "the board does not know yet"
        lab.start()
        lab.wait_for(lambda: is_up(lab), 40, "the tunnel")
    finally:
        for rule in farewells[2:]:
            subprocess.run(rule, check=True)
    # And over a power cut of the board.
    board.sh("off")
    lab.wait_for(lambda: not is_up(lab), 30, "the end of the tunnel")
    board.sh("on")
    lab.wait_for(lambda: is_up(lab), 60, "the tunnel after the power cut")


def test_a_board_with_another_host_key_is_not_logged_in_to(board, lab, kept):
    board.exec(
        "cp -a /etc/ssh /var/lib/ssh-before; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/new; "
        "mv /etc/ssh/new /etc/ssh/ssh_host_ed25519_key; mv /etc/ssh/new.pub /etc/ssh/ssh_host_ed25519_key.pub; kill -HUP 1"
    )
    try:
        lab.stop()
        lab.start()
        lab.wait_for(lambda: "is not the one that was kept" in state(lab).message, 30, "the refusal")
        assert not is_up(lab)
    finally:
        board.exec("cp -a /var/lib/ssh-before/. /etc/ssh/; rm -r /var/lib/ssh-before; kill -HUP 1; sleep 1")
    lab.wait_for(lambda: is_up(lab), 60, "the tunnel to the board itself")


def test_through_a_jump_host(board, lab, tmp_path):
    """The key is let through there to the board, and to nothing else."""
    with powered(BareBoard("tun-2", 61)) as (behind,):
        subprocess.run(
            ["ip", "netns", "exec", f"hb-{behind.name}", "iptables", "-A", "INPUT", "-s", "10.77.0.1", "-j", "DROP"],
            check=True,
        )  # fmt: skip
        ssh = Ssh(tmp_path, board, behind)
        target, tunnels = ssh(behind, jump=board.address), LabTunnels(lab.where)
        held = tunnels.keep(target, PORT)
        assert held.state == "UP", held.message
        line = board.exec("grep hilnas-tunnel /home/pi/.ssh/authorized_keys")
        assert f'permitopen="{behind.address}:22"' in line and str(PORT) not in line
        # The jump host becomes a device too: one line has both.
        assert tunnels.keep(ssh(board), PORT).state == "UP"
        line = board.exec("grep hilnas-tunnel /home/pi/.ssh/authorized_keys")
        assert f'permitopen="{behind.address}:22"' in line and f'permitlisten="127.0.0.1:{PORT}"' in line
        assert line.count("\n") == 1
        assert sorted(tunnel.state for tunnel in tunnels.all()) == ["UP", "UP"]
        # A person who cannot get there now is told where the key is left.
        behind.sh("cut")
        gone = tunnels.forget(ssh(behind, jump=board.address))
        (left,) = gone.left
        assert behind.address in left and "authorized_keys" in left
        line = board.exec("grep hilnas-tunnel /home/pi/.ssh/authorized_keys")
        assert behind.address not in line and f'permitlisten="127.0.0.1:{PORT}"' in line
        tunnels.forget(ssh(board))


def test_the_command_lines_words(board, lab, tmp_path, monkeypatch):
    """As a person types them, with a configuration and a fingerprint of their own."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(f"Host tn-1\n  HostName {board.address}\n  User pi\n")
    key, fingerprint = ("--key", str(CACHE / "keys/id_ed25519")), ("--fingerprint", board.fingerprint())
    monkeypatch.setenv("HOME", str(tmp_path))
    refused = lab.hilnas("device", "tunnel", "tn-1", "--keep", *key, code=1)
    assert "is not known" in refused and not LabTunnels(lab.where).all()
    kept = json.loads(lab.hilnas("device", "tunnel", "tn-1", "--keep", "--json", *key, *fingerprint))
    assert kept["state"] == "UP" and kept["hops"][0]["host"] == board.address
    told = lab.hilnas("device", "tunnel", "--forget", f"pi@{board.address}:22", *key, *fingerprint)
    assert "kept no more" in told and not LabTunnels(lab.where).all()
    assert "no tunnel to" in lab.hilnas("device", "tunnel", "--forget", "tn-1", *key, code=1)


def test_deploy_keeps_the_tunnel_and_remove_forgets_it(board, lab, tmp_path, monkeypatch):
    before = board.exec("cat /home/pi/.ssh/authorized_keys; ls -A /home/pi/.ssh")
    (tmp_path / ".ssh").mkdir()
    ssh = Ssh(tmp_path / ".ssh", board)
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    monkeypatch.delenv("HILNAS_TOKEN", raising=False)
    own = {
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": cache,
        "HILNAS_LAB": str(lab.folder),
    }
    place, tunnels = f"pi@{board.address}", LabTunnels(lab.where)

    def hilnas(*words, code):
        done = subprocess.run(
            [sys.executable, "-m", "hilnas", "device", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            env={**os.environ, **own}, cwd=ROOT, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, (done.stdout, done.stderr)
        return done.stdout + done.stderr

    assert "no tunnel is needed" in hilnas("deploy", place, "--tunnel", "--host", "192.0.2.1:50817", code=2)
    # Without systemd there, nothing starts the agent: exit code 3.
    told = hilnas("deploy", place, "--name", "tn-1", code=INSTALLED)
    assert f"hilnas device tunnel {place} --keep" in told and not tunnels.all()
    told = hilnas("deploy", place, "--name", "tn-1", "--tunnel", code=INSTALLED)
    assert "--keep" not in told and is_up(lab) and "nothing to change" in told
    report = deploy(
        ssh(board),
        DeployOptions(host=f"127.0.0.1:{PORT}", name="tn-1"),
        token=(lab.folder / "token").read_text().strip(),
        wheels=Wheels(),
    )
    assert report.changes == ()
    start_agent(board, report)
    lab.wait_for(lambda: is_connected(lab, "tn-1"), 60, "the device")
    # An upgrade knows which device it is, whatever the board is called here; it goes no further without systemd.
    assert "tn-1: failed" in hilnas("upgrade", place, "--fingerprint", board.fingerprint(), code=1)
    wrong = "SHA256:" + "A" * 43
    assert f"not {wrong} as you said" in hilnas("upgrade", place, "--fingerprint", wrong, code=1)
    assert "nothing of the agent is left" in hilnas("remove", place, code=0)
    assert not tunnels.all()
    assert board.exec("cat /home/pi/.ssh/authorized_keys; ls -A /home/pi/.ssh") == before
    lab.stop()
    assert "no daemon runs on this machine" in hilnas("deploy", place, "--tunnel", code=2)


@pytest.fixture
def host_board():
    """A board with systemd that has the host's software: the daemon's own unit runs there."""
    if why := why_not("amd64", "systemd"):
        pytest.skip(why)
    packages = Path(find_spec("paramiko").origin).parents[1]
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the board's Python is 3.11, and these packages are another one's")
    with powered(BareBoard("tun-3", 62, init="systemd")) as (made,):
        made.exec(
            "systemctl is-system-running --wait >/dev/null 2>&1 || true; python3 -m venv --without-pip /opt/hilnas/host"
        )

        def bring(content, command):
            options = (
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
            )
            subprocess.run(
                ["ssh", "-i", str(CACHE / "keys/id_ed25519"), *options, f"root@{made.address}", command],
                check=True, **({"input": content} if isinstance(content, bytes) else {"stdin": content}),
            )  # fmt: skip

        def copy(folder, to, *left_out):
            words = ["tar", "-C", str(folder), "-c", *(f"--exclude={name}" for name in left_out), "."]
            with subprocess.Popen(words, stdout=subprocess.PIPE) as sent:
                bring(sent.stdout, f"mkdir -p {to}; tar -C {to} -x --no-same-owner; chmod -R a+rX /opt")

        there = "/opt/hilnas/host/lib/python3.11/site-packages"
        copy(packages, there, "__pycache__", *(f"./{name}" for name in HEAVY))
        for part in ("host", "device_agent", "protos"):
            copy(ROOT / part, f"/opt/src/{part}", "__pycache__")
        bring(b"/opt/src/host\n/opt/src/device_agent\n/opt/src/protos\n", f"cat >{there}/src.pth")
        bring(LAUNCHER, "cat >/opt/hilnas/host/bin/hilnas; chmod 755 /opt/hilnas/host/bin/hilnas")
        bring(
            (ROOT / "deploy/systemd/hilnas-daemon.service").read_bytes(),
            "cat >/etc/systemd/system/hilnas-daemon.service",
        )
        made.exec(
            "useradd -m -s /bin/bash hilnas; install -d -o hilnas -m 700 /home/hilnas/.ssh /var/lib/hilnas"
        )
        bring(
            (CACHE / "keys/id_ed25519").read_bytes(),
            "install -o hilnas -m 600 /dev/stdin /home/hilnas/.ssh/id_ed25519",
        )
        bring((ROOT / "deploy/example-lab/daemon.toml").read_bytes(), "cat >/var/lib/hilnas/daemon.toml")
        yield made


HEAVY = ("torch", "torchgen", "functorch", "nvidia*", "triton*", "scipy*", "sklearn", "ai_edge_litert", "mypy*", "sympy",
         "tflite_runtime*", "*hilnas*", "__editable__*")  # fmt: skip
LAUNCHER = b"#!/opt/hilnas/host/bin/python\nimport sys\nfrom hilnas.cli import main\nsys.exit(main())\n"


@pytest.mark.slow
def test_the_daemons_own_unit_holds_one(board, host_board):
    """With the example lab's settings, and all that systemd takes from the daemon."""
    hilnas = "sudo -u hilnas env HILNAS_LAB=/var/lib/hilnas HOME=/home/hilnas /opt/hilnas/host/bin/hilnas"
    place, fingerprint = f"pi@{board.address}", board.fingerprint()
    host_board.exec(
        f"{hilnas} daemon init --name {host_board.address}; systemctl enable -q --now hilnas-daemon"
    )
    told = host_board.exec(f"{hilnas} device tunnel {place} --keep --fingerprint {fingerprint}")
    assert f"{place}: up since" in told
    host_board.exec("systemctl kill -s KILL hilnas-daemon")
    ends = time.monotonic() + 60
    while "up since" not in host_board.exec(f"{hilnas} device tunnel --list 2>/dev/null || true"):
        assert time.monotonic() < ends, host_board.exec("journalctl --no-pager -u hilnas-daemon | tail -30")
        time.sleep(1)
    assert "kept no more" in host_board.exec(
        f"{hilnas} device tunnel --forget {place} --fingerprint {fingerprint}"
    )
