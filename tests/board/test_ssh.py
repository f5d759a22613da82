"""Getting in to real boards, and each thing that can be in the way; tunnels back."""

import socket
import subprocess
import threading
import time

import pytest

from hilnas.provision import Connection, ProvisionError, Tunnel, UnknownHostKeyError, remember
from hilnas.provision import dial as dialling
from hilnas.provision.errors import ChangedHostKeyError, LostLinkError
from tests.board.provision_lab import BareBoard, Ssh, powered, why_not

pytestmark = pytest.mark.board

PASSWORD = "correct horse 7"


@pytest.fixture(scope="module")
def board():
    if why := why_not("amd64", "sshd"):
        pytest.skip(why)
    with powered(BareBoard("ssh", 0)) as (made,):
        yield made


@pytest.fixture
def ssh(board, tmp_path):
    return Ssh(tmp_path, board)


@pytest.fixture
def link(board, ssh):
    with Connection.open(ssh(board)) as opened:
        yield opened


def test_an_unknown_host_key_is_shown_and_refused(board, tmp_path):
    target = Ssh(tmp_path)(board)
    with pytest.raises(UnknownHostKeyError) as raised:
        Connection.open(target)
    assert raised.value.fingerprint == board.fingerprint()
    assert "ssh_host_ed25519_key.pub" in str(raised.value)
    assert not target.known_hosts[0].read_text(), "nothing is ever accepted by itself"
    # A person has compared and said yes.
    remember(target, raised.value.line)
    Connection.open(target).close()


def test_an_exact_fingerprint_will_do(board, tmp_path):
    Connection.open(Ssh(tmp_path)(board, fingerprint=board.fingerprint())).close()


def test_another_fingerprint_will_not(board, ssh):
    wrong = "SHA256:" + "A" * 43
    with pytest.raises(ChangedHostKeyError, match=f"not {wrong}"):
        Connection.open(ssh(board, fingerprint=wrong))


def test_a_changed_host_key_is_a_hard_error(board, ssh, tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    kind, key, *_ = (tmp_path / "other.pub").read_text().split()
    ssh.known_hosts.write_text(f"{board.address} {kind} {key}\n")
    with pytest.raises(ChangedHostKeyError, match=f"ssh-keygen -R '{board.address}'") as raised:
        Connection.open(ssh(board))
    assert board.fingerprint() in str(raised.value)


def test_no_such_user(board, ssh):
    with pytest.raises(ProvisionError, match="ssh-copy-id ghost@"):
        Connection.open(ssh(f"ghost@{board.address}"))


def test_a_port_that_refuses(board, ssh):
    with pytest.raises(ProvisionError, match="refuses the connection: is sshd running"):
        Connection.open(ssh(f"pi@{board.address}:2222"))


def test_a_board_that_is_off(ssh):
    with pytest.raises(ProvisionError, match=r"10\.77\.0\.254.*(does not answer|cannot be reached)"):
        Connection.open(ssh("pi@10.77.0.254"), timeout_s=2)


def test_a_name_that_is_none(ssh):
    with pytest.raises(ProvisionError, match=r"there is no host nowhere\.invalid"):
        Connection.open(ssh("pi@nowhere.invalid"))


def test_something_that_is_not_ssh(ssh):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            accepted, _ = server.accept()
            accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            accepted.close()

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(ProvisionError, match="does not speak SSH"):
            Connection.open(ssh(f"pi@127.0.0.1:{server.getsockname()[1]}"), timeout_s=2)


def test_words_arrive_as_they_are(link):
    words = ["a b", "$HOME", "'", '"', "*", "", "a\nb", "`id`", "ö"]
    assert link.run(["printf", "<%s>", *words]).output == "".join(f"<{word}>" for word in words)


def test_input_output_and_exit_code(link):
    content = bytes(range(256)) * 8192
    assert link.run(["wc", "-c"], content=content).output.strip() == str(len(content))
    result = link.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.exit_code, result.output, result.errors) == (3, "out\n", "err\n")
    # A program that reads none of it, and one that says much on both.
    assert link.run(["true"], content=content).ok
    both = link.run(["sh", "-c", "seq 100000; seq 100000 >&2"])
    assert both.output == both.errors and both.output.endswith("100000\n")


def test_nobody_waits_for_what_a_program_leaves_running(link):
    began = time.monotonic()
    assert link.run(["sh", "-c", "sleep 30 & echo done"]).output == "done\n"
    assert time.monotonic() - began < 10


def test_everything_ends(link):
    with pytest.raises(ProvisionError, match="takes longer than 1 s"):
        link.run(["sleep", "20"], timeout_s=1)


def test_root_by_sudo_and_by_logging_in(board, ssh, link):
    assert link.run(["id", "-u"], sudo=True).output == "0\n"
    assert link.run(["cat"], sudo=True, content=b"given").output == "given"
    with Connection.open(ssh(f"root@{board.address}")) as root:
        assert root.run(["id", "-u"], sudo=True).output == "0\n"


@pytest.fixture
def with_password(board):
    """Pi's sudo wants a password."""
    board.exec(f"echo 'pi:{PASSWORD}' | chpasswd; mv /etc/sudoers.d/010_pi-nopasswd /var/lib/")
    yield
    board.exec("mv /var/lib/010_pi-nopasswd /etc/sudoers.d/; usermod -p '*' pi")


def test_sudo_with_a_password(board, ssh, with_password):
    with (
        Connection.open(ssh(board)) as link,
        pytest.raises(ProvisionError, match="sudo wants a password of pi"),
    ):
        link.run(["id", "-u"], sudo=True)
    with (
        Connection.open(ssh(board), lambda question: "wrong") as link,
        pytest.raises(ProvisionError, match="does not take the password"),
    ):
        link.run(["id", "-u"], sudo=True)
    asked = []
    with Connection.open(ssh(board), lambda question: asked.append(question) or PASSWORD) as link:
        for _ in range(2):
            done = link.run(["sh", "-c", "id -u; cat; cat /proc/*/cmdline"], sudo=True, content=b"given\n")
            assert done.output.startswith("0\ngiven\n")
            assert PASSWORD not in done.output
    assert len(asked) == 1


def test_a_user_who_may_not_become_root(board, ssh):
    board.exec(
        "id stranger >/dev/null 2>&1 || useradd -m -p '*' stranger; cp -r /home/pi/.ssh /home/stranger/; chown -R stranger: /home/stranger"
    )
    with (
        Connection.open(ssh(f"stranger@{board.address}"), lambda question: "x") as link,
        pytest.raises(ProvisionError, match=r"sudo (wants|does not take|refuses)"),
    ):
        link.run(["id", "-u"], sudo=True)


def test_a_password_to_log_in(board, ssh):
    board.exec(
        f"echo 'pi:{PASSWORD}' | chpasswd; mv /home/pi/.ssh /var/lib/pi-ssh; "
        "echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/a.conf; kill -HUP 1; sleep 1"
    )
    try:
        with pytest.raises(ProvisionError, match="ssh-copy-id"):
            Connection.open(ssh(board))
        with pytest.raises(ProvisionError, match="the password is wrong"):
            Connection.open(ssh(board), lambda question: "wrong")
        Connection.open(ssh(board), lambda question: PASSWORD).close()
    finally:
        board.exec(
            "mv /var/lib/pi-ssh /home/pi/.ssh; usermod -p '*' pi; rm /etc/ssh/sshd_config.d/a.conf; kill -HUP 1; sleep 1"
        )


def test_a_key_with_a_passphrase(board, ssh, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", PASSWORD, "-f", key], check=True)
    board.exec(f"echo '{(tmp_path / 'key.pub').read_text().strip()}' >>/home/pi/.ssh/authorized_keys")
    target = ssh(board, keys=[key])
    with pytest.raises(ProvisionError, match="ssh-add"):
        Connection.open(target)
    Connection.open(target, lambda question: PASSWORD).close()


def test_a_link_that_is_cut_is_told_within_seconds(board, ssh, monkeypatch):
    monkeypatch.setattr(dialling, "_SILENCE_MS", 3000)
    with Connection.open(ssh(board)) as link:
        board.sh("cut")
        try:
            with pytest.raises(LostLinkError, match="goes on where it stopped"):
                link.run(["sleep", "60"], timeout_s=50)
        finally:
            board.sh("restore")


def test_a_killed_program_is_not_a_broken_link(board, ssh):
    with Connection.open(ssh(board)) as link:
        with pytest.raises(ProvisionError, match="was killed there") as raised:
            link.run(["sh", "-c", "kill -9 $$"])
        assert not isinstance(raised.value, LostLinkError)
        assert link.run(["true"]).ok


def test_through_a_jump_host(board, tmp_path):
    with powered(BareBoard("behind", 1)) as (behind,):
        # Nobody reaches it from here.
        subprocess.run(
            ["ip", "netns", "exec", f"hb-{behind.name}", "iptables", "-A", "INPUT", "-s", "10.77.0.1", "-j", "DROP"],
            check=True,
        )  # fmt: skip
        ssh = Ssh(tmp_path, board, behind)
        with pytest.raises(ProvisionError, match="give --jump"):
            Connection.open(ssh(behind), timeout_s=2)
        with Connection.open(ssh(behind, jump=board.address)) as link:
            assert link.run(["hostname"]).output.strip() == behind.name
            big = tmp_path / "big"
            big.write_bytes(bytes(1 << 20))
            link.put(big, "/tmp/big")
            assert link.run(["stat", "-c", "%s", "/tmp/big"]).output.strip() == str(1 << 20)
        with pytest.raises(ProvisionError, match=f"the jump host pi@{board.address} does not get through"):
            Connection.open(ssh("pi@10.77.0.253", jump=board.address), timeout_s=8)
        # Each host on the way is known, or it is not passed.
        ssh.known_hosts.write_text(behind.host_key() + "\n")
        with pytest.raises(UnknownHostKeyError, match=board.address):
            Connection.open(ssh(behind, jump=board.address))
        ssh.known_hosts.write_text(board.host_key() + "\n")
        with pytest.raises(UnknownHostKeyError, match=behind.address):
            Connection.open(ssh(behind, jump=board.address))
        board.exec("echo 'AllowTcpForwarding no' >/etc/ssh/sshd_config.d/a.conf; kill -HUP 1; sleep 1")
        try:
            ssh = Ssh(tmp_path, board, behind)
            with pytest.raises(ProvisionError, match="AllowTcpForwarding yes"):
                Connection.open(ssh(behind, jump=board.address))
        finally:
            board.exec("rm /etc/ssh/sshd_config.d/a.conf; kill -HUP 1; sleep 1")


@pytest.fixture
def echo():
    """A server that says again what it is told; its address."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)

    def serve(accepted):
        with accepted:
            while block := accepted.recv(1 << 15):
                accepted.sendall(block)

    def accept():
        while True:
            try:
                accepted, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(accepted,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()
    server.shutdown(socket.SHUT_RDWR)
    server.close()


CALLER = """
import socket, sys, threading
def call(number):
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20)
    sock.settimeout(20)
    told = bytes([number]) * int(sys.argv[3])
    def tell():
        sock.sendall(told); sock.shutdown(socket.SHUT_WR)
    threading.Thread(target=tell, daemon=True).start()
    heard = b""
    while block := sock.recv(1 << 16): heard += block
    if heard == told: good.append(number)
good = []
threads = [threading.Thread(target=call, args=(number,)) for number in range(int(sys.argv[2]))]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
print(len(good))
"""


def calls(board, count, size, port=50816):
    """How many of `count` calls through the tunnel, of `size` bytes each, were answered rightly."""
    return int(board.exec(f"python3 -c '{CALLER}' {port} {count} {size} 2>/dev/null || echo 0"))


def test_a_tunnel_carries_many_connections(board, ssh, echo):
    tunnel = Tunnel(lambda: Connection.open(ssh(board)), 50816, echo)
    tunnel.start()
    try:
        tunnel.wait_up(20)
        assert calls(board, 20, 10_000) == 20
        assert calls(board, 2, 8 << 20) == 2
    finally:
        tunnel.stop()
    assert tunnel.state == "stopped"
    assert calls(board, 1, 10) == 0


def test_a_tunnel_comes_back_after_a_cut(board, ssh, echo, monkeypatch):
    """The board's half of the old one does not know yet that it is cut, and holds the port."""
    monkeypatch.setattr(dialling, "_SILENCE_MS", 2000)
    seen = []
    tunnel = Tunnel(
        lambda: Connection.open(ssh(board), timeout_s=3), 50816, echo, silence_s=3, changed=seen.append
    )
    tunnel.start()
    try:
        tunnel.wait_up(20)
        board.sh("cut")
        ends_at = time.monotonic() + 20
        while tunnel.state.startswith("up") and time.monotonic() < ends_at:
            time.sleep(0.1)
        assert not tunnel.state.startswith("up")
        board.sh("restore")
        time.sleep(0.5)
        tunnel.wait_up(40)
        assert calls(board, 3, 1000) == 3
    finally:
        board.sh("restore")
        tunnel.stop()


def test_a_tunnel_whose_host_is_down_says_so(board, ssh):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    tunnel = Tunnel(lambda: Connection.open(ssh(board)), 50816, address)
    tunnel.start()
    try:
        tunnel.wait_up(20)
        assert calls(board, 1, 10) == 0
        assert "is the host up?" in tunnel.state
    finally:
        tunnel.stop()


def test_a_port_that_another_program_has(board, ssh, echo):
    board.exec("setsid python3 -m http.server --bind 127.0.0.1 50817 >/dev/null 2>&1 & sleep 1")
    tunnel = Tunnel(lambda: Connection.open(ssh(board)), 50817, echo)
    tunnel.start()
    try:
        with pytest.raises(ProvisionError, match="another program listens there"):
            tunnel.wait_up(5)
    finally:
        tunnel.stop()
