import os
import stat
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from hilnas.security.authority import Authority
from hilnas.security.peers import Role
from hilnas_agent import credentials, openssl, renewal
from hilnas_agent.channel import AddressError, open_channel, split_address
from hilnas_agent.credentials import CredentialsError
from hilnas_agent.openssl import CertificateFacts, OpensslError
from hilnas_agent.renewal import due_at

FILES = ("cert.pem", "key.pem", "ca.pem")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.create(tmp_path_factory.mktemp("lab") / "ca", "lab")


def fresh(folder, authority, name="bench", days=30.0):
    """Puts a new identity into a folder."""
    place = credentials.begin(folder)
    request = openssl.make_request(place, "whoever")
    credentials.finish(
        place, authority.sign(request.encode(), Role.DEVICE, name, days), authority.certificate_pem
    )
    return place


def test_a_key_is_for_its_owner_alone_and_its_request_is_signed(tmp_path, authority):
    before = os.umask(0)
    try:
        place = fresh(tmp_path / "identity", authority)
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in place.iterdir()) == sorted(FILES)
    facts = credentials.load(tmp_path / "identity").facts()
    assert facts.name == "bench"
    assert abs(facts.ends - time.time() - 30 * 86_400) < 60


def test_a_new_identity_replaces_the_old_at_once_and_the_rest_goes_in_time(tmp_path, authority):
    folder = tmp_path / "identity"
    places = [fresh(folder, authority, f"n{number}") for number in range(4)]
    assert credentials.load(folder).facts().name == "n3"
    assert (folder / "current").resolve() == places[-1]
    assert [place.exists() for place in places] == [False, False, True, True]


def test_a_crash_before_the_end_leaves_the_old_identity(tmp_path, authority):
    folder = tmp_path / "identity"
    fresh(folder, authority, "old")
    place = credentials.begin(folder)
    openssl.make_request(place, "new")  # and here the power goes
    assert credentials.load(folder).facts().name == "old"
    fresh(folder, authority, "newer")
    assert credentials.load(folder).facts().name == "newer"
    assert not place.exists()


def test_a_certificate_of_another_key_is_not_taken(tmp_path, authority):
    folder = tmp_path / "identity"
    fresh(folder, authority, "old")
    first, second = credentials.begin(folder), credentials.begin(folder)
    openssl.make_request(first, "a")
    signed = authority.sign(openssl.make_request(second, "b").encode(), Role.DEVICE, "b")
    with pytest.raises(CredentialsError, match="another key"):
        credentials.finish(first, signed, authority.certificate_pem)
    with pytest.raises(CredentialsError, match="cannot be read"):
        credentials.finish(first, b"nonsense", authority.certificate_pem)
    credentials.discard(first)
    credentials.discard(second)
    assert credentials.load(folder).facts().name == "old"
    assert len(list(folder.iterdir())) == 2


def test_files_that_an_admin_put_there_count_until_they_are_renewed(tmp_path, authority):
    folder, elsewhere = tmp_path / "identity", tmp_path / "elsewhere"
    folder.mkdir()
    place = fresh(elsewhere, authority, "by-hand", days=5)
    for name in FILES:
        (folder / name).write_bytes((place / name).read_bytes())
    assert credentials.load(folder).facts().name == "by-hand"
    fresh(folder, authority, "renewed", days=30)
    assert credentials.load(folder).facts().name == "renewed"
    place = fresh(elsewhere, authority, "by-hand-again", days=60)
    for name in FILES:
        (folder / name).write_bytes((place / name).read_bytes())
    assert credentials.load(folder).facts().name == "by-hand-again"


def test_the_identity_in_use_is_never_discarded(tmp_path, authority):
    place = fresh(tmp_path / "identity", authority)
    credentials.discard(place)
    assert credentials.load(tmp_path / "identity").facts().name == "bench"


def test_a_key_does_not_show_in_words(tmp_path, authority):
    fresh(tmp_path / "identity", authority)
    assert "PRIVATE" not in repr(credentials.load(tmp_path / "identity"))


def test_no_identity_says_where_it_should_be(tmp_path):
    with pytest.raises(CredentialsError, match=f"no identity in {tmp_path}"):
        credentials.load(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CredentialsError, match="--identity"):
        credentials.begin(tmp_path / "file" / "x")


def test_without_openssl_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OpensslError, match="apt install openssl"):
        openssl.make_request(tmp_path, "bench")


def test_no_secret_is_on_a_command_line(tmp_path, monkeypatch):
    ran = []
    real = subprocess.run

    def run(command, **more):
        ran.append(command)
        return real(command, **more)

    monkeypatch.setattr(subprocess, "run", run)
    openssl.make_request(tmp_path, "bench")
    key = (tmp_path / "key.pem").read_text().splitlines()[1]
    assert ran
    assert all(key not in word for command in ran for word in command)


def test_renewal_is_due_at_two_thirds_and_a_little():
    facts = CertificateFacts("bench", 1000.0, 4000.0)
    assert due_at(facts, lambda low, high: low) == 3000
    assert due_at(facts, lambda low, high: high) == 3150


def test_a_clock_that_is_set_right_later_does_not_delay_a_renewal(monkeypatch):
    """A board without a clock of its own starts at the time at which it was switched off."""
    clock, tried = [0.0], threading.Event()
    facts = CertificateFacts("bench", 0.0, 30 * 86_400.0)
    monkeypatch.setattr(renewal, "time", SimpleNamespace(time=lambda: clock[0], strftime=time.strftime))
    monkeypatch.setattr(renewal, "_CLOCK_LOOK_S", 0.02)
    renewer = renewal.Renewer(SimpleNamespace(facts=lambda: facts), lambda: False, lambda: None)
    monkeypatch.setattr(renewer, "_try", lambda _: tried.set())
    renewer.start()
    try:
        assert not tried.wait(0.2), "it is not due yet"
        clock[0] = 25 * 86_400.0
        assert tried.wait(5)
    finally:
        renewer.stop()
        renewer.join(5)


@pytest.mark.parametrize("address", ["lab.example:50817", "10.0.0.5:7707"])
def test_a_host_elsewhere_needs_an_identity(tmp_path, address):
    with pytest.raises(AddressError, match="hilnas-agent join"):
        open_channel(address, tmp_path)


def test_a_socket_has_no_tls(tmp_path):
    with pytest.raises(AddressError, match="leave --identity out"):
        open_channel("unix:/run/h.sock", tmp_path)


def test_addresses_are_taken_apart():
    assert split_address("lab.example:50817") == ("lab.example", 50817)
    assert split_address("[2001:db8::7]:1") == ("2001:db8::7", 1)
    for wrong in ("lab.example", ":1", "lab:", "lab:0", "lab:70000", "unix:/x"):
        with pytest.raises(AddressError, match="no address"):
            split_address(wrong)
