"""What a lab's key is let do, line by line of authorized_keys, and the ways that a lab keeps."""

import re
import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hilnas.options import OptionsError, parse_options
from hilnas.provision.connection import Connection
from hilnas.provision.kept import Hop, Kept, stops_of, way_of
from hilnas.provision.target import Target
from hilnas.provision.tunnel_key import Grants, authorize, grants, line


def public_key():
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


PUBLIC, KITCHEN, CELLAR, GATE = (public_key() for _ in range(4))


def hop(user, host, key, port=22):
    return Hop(user=user, host=host, port=port, host_key=key)


kitchen = Kept(port=50816, hops=(hop("pi", "kitchen", KITCHEN),))
cellar = Kept(port=50816, hops=(hop("ann", "gate.lab", GATE), hop("pi", "10.0.0.7", CELLAR)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"hops": []}, "hops"),
        ({"hops": [{"user": "pi", "host": "a b", "host_key": KITCHEN}]}, "hops.0.host"),
        ({"hops": [{"user": "pi", "host": "-oProxyCommand=x", "host_key": KITCHEN}]}, "hops.0.host"),
        ({"hops": [{"user": 'p"i', "host": "kitchen", "host_key": KITCHEN}]}, "hops.0.user"),
        ({"hops": [{"user": "pi", "host": "kitchen", "host_key": "ssh-ed25519"}]}, "write a host key"),
        ({"hops": [{"user": "pi", "host": "kitchen", "host_key": "ssh-ed25519 AAAA"}]}, "write a host key"),
        ({"hops": [{"user": "pi", "host": "kitchen", "host_key": "no key at all"}]}, "write a host key"),
        ({"hops": [hop("pi", "kitchen", KITCHEN).model_dump()] * 2}, "twice"),
        ({"prot": 1}, 'did you mean "port"'),
    ],
)
def test_what_is_no_tunnel(change, words):
    data = kitchen.model_dump() | change
    with pytest.raises(OptionsError, match=re.escape(words)):
        parse_options(Kept, data, "")


def test_the_lab_logs_in_with_its_key_alone_to_the_host_keys_that_were_seen(tmp_path):
    target = cellar.target(tmp_path / "key")
    stops = stops_of(target)
    assert [str(stop) for stop in stops] == ["ann@gate.lab", "pi@10.0.0.7"]
    for stop, key in zip(stops, (GATE, CELLAR), strict=True):
        assert (stop.keys, stop.only_keys, stop.host_key) == ((tmp_path / "key",), True, key)
        assert not stop.fingerprint and not stop.known_hosts
    assert way_of(target) == cellar.way
    assert cellar.told == "pi@10.0.0.7 (by way of ann@gate.lab)"


def test_each_tunnel_has_a_number_of_its_own():
    others = [kitchen, cellar, kitchen.model_copy(update={"port": 50817})]
    assert len({kept.number for kept in others}) == 3
    assert kitchen.model_copy(update={"by": "ann"}).number == kitchen.number


def test_each_place_is_granted_what_its_tunnels_need():
    board = grants([kitchen, cellar], cellar.hops)
    assert board == Grants(listens=(50816,))
    assert grants([kitchen, cellar], cellar.hops[:1]) == Grants(opens=("10.0.0.7:22",))
    assert not grants([kitchen], cellar.hops)
    # A device that others lie behind: one line has both.
    beyond = Kept(port=50816, hops=(*kitchen.hops, hop("pi", "fe80::7", CELLAR, 2222)))
    assert grants([kitchen, beyond], kitchen.hops) == Grants((50816,), ("[fe80::7]:2222",))
    # The same host under another name has the same file.
    other = Kept(port=50999, hops=(hop("pi", "10.0.0.3", KITCHEN),))
    assert grants([kitchen, other], kitchen.hops) == Grants(listens=(50816, 50999))
    # Another user there has a file of their own.
    assert not grants([Kept(port=1, hops=(hop("ann", "kitchen", KITCHEN),))], kitchen.hops)


def options_of(text):
    """The options of a line, unquoted as sshd does it."""
    found, rest = {}, text
    while not rest.startswith(" "):
        option = re.match(r',?([a-z-]+)(="((?:[^"\\]|\\"|\\(?!"))*)")?', rest)
        assert option, rest
        found.setdefault(option[1], []).append((option[3] or "").replace('\\"', '"'))
        rest = rest[option.end() :]
    return found, rest.split()


def test_a_line_restricts_all_that_is_not_granted():
    options, words = options_of(line(PUBLIC, Grants((50816,))))
    assert words[:2] == PUBLIC.split() and words[2].startswith("hilnas-tunnel-")
    assert list(options) == ["restrict", "port-forwarding", "permitlisten", "permitopen", "command"]
    assert options["permitlisten"] == ["127.0.0.1:50816"]
    assert options["permitopen"] == ["nowhere.invalid:1"], "without any, sshd would let it open all"
    options, _ = options_of(line(PUBLIC, Grants((), ("10.0.0.7:22", "10.0.0.8:22"))))
    assert options["permitopen"] == ["10.0.0.7:22", "10.0.0.8:22"]
    assert options["permitlisten"] == ["nowhere.invalid:1"]
    assert line(PUBLIC, Grants()) == ""


def test_the_forced_command_is_a_shells_and_takes_a_number_alone(tmp_path):
    (command,) = options_of(line(PUBLIC, Grants((50816,))))[0]["command"]
    (tmp_path / ".ssh").mkdir()

    def run(asked):
        done = subprocess.run(
            ["sh", "-c", command], env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SSH_ORIGINAL_COMMAND": asked},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not list((tmp_path / ".ssh").iterdir())
        return done.returncode, done.stdout + done.stderr

    for asked in ("", "sh", "50816; id", "50816000000", "-1", "$(id)", "1 2"):
        assert run(asked) == (2, ""), asked
    # No sshd has started it, so there is none to note.
    assert run(str(kitchen.number)) == (1, "")


class Here(Connection):
    """This machine as a host that somebody is logged in to, with a home of its own."""

    def __init__(self, home):
        self.home, self.target = home, Target("here", "here", 22, "pi")

    def check(self, words, what, **_):
        done = subprocess.run(
            list(words), env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, (what, done.stderr)
        return done.stdout


def test_a_persons_own_keys_stay_as_they_are(tmp_path):
    host, file = Here(tmp_path), tmp_path / ".ssh/authorized_keys"
    mine = f"{public_key()} ann@laptop\n# a remark\n{public_key()} without an end of line"
    file.parent.mkdir(mode=0o700)
    file.write_text(mine)
    file.chmod(0o640)
    assert authorize(host, PUBLIC, Grants((50816,)))
    assert file.read_text() == f"{mine}\n{line(PUBLIC, Grants((50816,)))}\n"
    assert file.stat().st_mode & 0o777 == 0o640
    stamp = file.stat().st_mtime_ns
    assert not authorize(host, PUBLIC, Grants((50816,))), "nothing is to be changed"
    assert file.stat().st_mtime_ns == stamp
    # Another grant takes the place of the one before; another lab's key has its own line.
    assert authorize(host, PUBLIC, Grants((50817,)))
    assert authorize(host, GATE, Grants((1,)))
    assert file.read_text().count(PUBLIC) == 1 and "50816" not in file.read_text()
    for left in (PUBLIC, GATE):
        (file.parent / f"hilnas-tunnel-{line(left, Grants((1,)))[-8:]}-50816").write_text("1 2\n")
        authorize(host, left, Grants())
    assert file.read_text() == f"{mine}\n"
    assert [path.name for path in file.parent.iterdir()] == ["authorized_keys"]


def test_where_nobody_had_a_key(tmp_path):
    host, file = Here(tmp_path), tmp_path / ".ssh/authorized_keys"
    authorize(host, PUBLIC, Grants())
    assert not list(tmp_path.iterdir())
    authorize(host, PUBLIC, Grants((50816,)))
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    if shutil.which("ssh-keygen"):
        done = subprocess.run(["ssh-keygen", "-lf", file], capture_output=True, text=True, check=True)
        assert "hilnas-tunnel-" in done.stdout and "ED25519" in done.stdout, "OpenSSH reads the line as a key"
    authorize(host, PUBLIC, Grants())
    assert not file.exists()


def test_a_linked_file_stays_a_link(tmp_path):
    real, folder = tmp_path / "keys", tmp_path / ".ssh"
    folder.mkdir()
    real.write_text("")
    (folder / "authorized_keys").symlink_to(real)
    authorize(Here(tmp_path), PUBLIC, Grants((50816,)))
    assert (folder / "authorized_keys").is_symlink() and PUBLIC in real.read_text()
