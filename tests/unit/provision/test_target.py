"""What names a board, and what SSH's configuration adds."""

import getpass
from pathlib import Path

import pytest

from hilnas.provision.errors import TargetError
from hilnas.provision.target import resolve

CONFIG = """\
Host kitchen
  HostName 10.0.0.7
  User pi
  Port 2222
  IdentityFile ~/.ssh/kitchen
  ProxyJump gate
Host gate
  HostName gate.lab
  User guard
  ProxyJump outer:2200
Host cellar
  ProxyJump none
Host roundabout
  ProxyJump roundabout
Host programmed
  ProxyCommand nc %h %p
Host *
  UserKnownHostsFile /tmp/known
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize(
    ("text", "user", "host", "port"),
    [
        ("pi@10.0.0.8", "pi", "10.0.0.8", 22),
        ("pi@board.lab:2022", "pi", "board.lab", 2022),
        ("pi@[fe80::1]:2022", "pi", "fe80::1", 2022),
        ("first.last@corp@board", None, None, None),
    ],
)
def test_user_host_port(config, text, user, host, port):
    if user is None:
        with pytest.raises(TargetError, match="names no board"):
            resolve(text, config=config)
        return
    target = resolve(text, config=config)
    assert (target.user, target.host, target.port) == (user, host, port)


def test_a_host_of_the_configuration_with_all_that_it_says(config):
    target = resolve("kitchen", config=config)
    assert str(target) == "pi@10.0.0.7:2222"
    assert target.keys == (Path("~/.ssh/kitchen").expanduser(),)
    assert [str(jump) for jump in target.jumps] == [f"{getpass.getuser()}@outer:2200", "guard@gate.lab"]
    assert target.known_hosts[0] == Path("/tmp/known")
    assert target.known_name == "[10.0.0.7]:2222"


def test_what_is_given_beats_the_configuration(config):
    target = resolve("root@kitchen:22", jump="me@a,b:23", keys=[Path("/k")], config=config)
    assert str(target) == "root@10.0.0.7"
    assert [str(jump) for jump in target.jumps] == ["me@a", f"{getpass.getuser()}@b:23"]
    assert target.keys == (Path("/k"),)


def test_no_jump_where_none_is_configured(config):
    assert resolve("cellar", config=config).jumps == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no board"),
        ("-oProxyCommand=x", "names no board"),
        ("a b", "names no board"),
        ("board:0", "port"),
        ("board:70000", "port"),
        ("roundabout", "circles"),
        ("programmed", "ProxyJump"),
    ],
)
def test_what_names_no_board_is_an_error(config, text, words):
    with pytest.raises(TargetError, match=words):
        resolve(text, config=config)


@pytest.mark.parametrize("fingerprint", ["SHA256:short", "MD5:aa:bb", "x" * 43])
def test_a_fingerprint_is_exact(config, fingerprint):
    with pytest.raises(TargetError, match="ssh-keygen"):
        resolve("kitchen", fingerprint=fingerprint, config=config)


def test_without_a_configuration_file_a_name_is_a_host_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(resolve("pi@kitchen")) == "pi@kitchen"


def test_a_configuration_that_was_named_must_be_there(tmp_path):
    with pytest.raises(TargetError, match="cannot be read"):
        resolve("kitchen", config=tmp_path / "none")
