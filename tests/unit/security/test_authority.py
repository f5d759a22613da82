import base64
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from hilnas.security.authority import Authority
from hilnas.security.bundles import make_bundle
from hilnas.security.certificates import requested_key
from hilnas.security.credentials import ServerCertificate, channel_credentials
from hilnas.security.errors import SecurityError
from hilnas.security.names import check_name, speaks_for
from hilnas.security.peers import Role, objection, peer_of
from tests.unit.security.signing import csr

DAY_S = 86_400


class Clock:
    def __init__(self):
        self.now = datetime.now(UTC).timestamp()

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def authority(tmp_path, clock):
    return Authority.create(tmp_path / "ca", "lab", clock)


def mode(path):
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_an_authority_is_made_once_and_its_key_is_secret(tmp_path, authority):
    assert mode(authority.folder) == 0o700
    assert mode(authority.folder / "ca.key") == 0o600
    before = (authority.folder / "ca.key").read_bytes()
    with pytest.raises(SecurityError, match="holds an authority already"):
        Authority.create(authority.folder, "again")
    assert (authority.folder / "ca.key").read_bytes() == before
    assert Authority.open(authority.folder).fingerprint() == authority.fingerprint()
    assert not list(authority.folder.glob(".*pem*"))


def test_what_an_authority_is(authority):
    found = x509.load_pem_x509_certificate(authority.certificate_pem)
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca, constraints.value.path_length) == (True, True, 0)
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature
    assert timedelta(days=3650) < found.not_valid_after_utc - found.not_valid_before_utc
    found.verify_directly_issued_by(found)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "ca.key").unlink(), "hilnas daemon init"),
        (lambda folder: (folder / "ca.key").write_text("torn"), "backup"),
        (lambda folder: (folder / "ca.pem").write_text("torn"), "backup"),
    ],
)
def test_an_authority_that_cannot_be_used_says_what_to_do(authority, spoil, words):
    spoil(authority.folder)
    with pytest.raises(SecurityError, match=words):
        Authority.open(authority.folder)


def test_a_key_of_another_authority_is_noticed(tmp_path, authority):
    other = Authority.create(tmp_path / "other", "other")
    (authority.folder / "ca.key").write_bytes((other.folder / "ca.key").read_bytes())
    with pytest.raises(SecurityError, match="not that of"):
        Authority.open(authority.folder)


def test_no_authority_no_signature(tmp_path):
    with pytest.raises(SecurityError, match="hilnas daemon init"):
        Authority.open(tmp_path)


def test_only_the_key_of_a_request_counts(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    forged = csr(
        key,
        name="somebody-else",
        role="admin",
        extensions=[
            x509.BasicConstraints(ca=True, path_length=None),
            x509.SubjectAlternativeName([x509.DNSName("lab.example")]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        ],
    )
    pem = authority.sign(forged, Role.DEVICE, "kitchen")
    found = x509.load_pem_x509_certificate(pem)
    assert peer_of(pem).name == "kitchen"
    assert peer_of(pem).role is Role.DEVICE
    assert found.public_key() == key.public_key()
    assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert "somebody-else" not in found.subject.rfc4514_string()
    found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_pem))


def test_a_certificate_begins_an_hour_ago_and_lasts_as_asked(authority, clock):
    found = x509.load_pem_x509_certificate(authority.sign(csr(), Role.DEVICE, "one"))
    assert found.not_valid_before_utc.timestamp() == int(clock.now - 3600)
    assert found.not_valid_after_utc.timestamp() == int(clock.now + 30 * DAY_S)
    short = x509.load_pem_x509_certificate(authority.sign(csr(), Role.DEVICE, "one", days=100 / DAY_S))
    assert short.not_valid_before_utc.timestamp() == int(clock.now - 10)
    with pytest.raises(SecurityError, match="days"):
        authority.sign(csr(), Role.DEVICE, "one", days=0)


def test_no_certificate_outlasts_its_authority(authority, clock):
    clock.now += 3650 * DAY_S
    found = x509.load_pem_x509_certificate(authority.sign(csr(), Role.DEVICE, "one"))
    assert found.not_valid_after_utc.timestamp() == authority.ends_unix


def flipped(pem):
    """A request whose signature is another's."""
    lines = pem.decode().strip().splitlines()
    der = bytearray(base64.b64decode("".join(lines[1:-1])))
    der[-3] ^= 1
    return f"{lines[0]}\n{base64.b64encode(der).decode()}\n{lines[-1]}\n".encode()


@pytest.mark.parametrize(
    ("request_pem", "words"),
    [
        (b"", "no signing request"),
        (
            b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
            "no signing request",
        ),
        (b"x" * 20_000, "20000 bytes"),
        (csr(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (csr(rsa.generate_private_key(65537, 2048)), "P-256"),
        (flipped(csr()), "not signed by its own key"),
    ],
)
def test_requests_that_are_none(authority, request_pem, words):
    with pytest.raises(SecurityError, match=words):
        authority.sign(request_pem, Role.DEVICE, "one")
    assert authority.issued() == []


@given(st.binary(max_size=2000))
def test_whatever_comes_as_a_request_is_refused_in_words(content):
    with pytest.raises(SecurityError):
        requested_key(content)


@given(st.text(max_size=80))
def test_a_name_is_plain_or_refused(name):
    try:
        check_name(name)
    except SecurityError:
        return
    assert 0 < len(name) <= 64
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set("/\\,=+\"<>#; '")


def test_a_hub_speaks_for_what_is_behind_it_and_nobody_else_does():
    assert speaks_for("hub", "hub")
    assert speaks_for("hub", "hub/0123")
    assert not speaks_for("hub", "hub2")
    assert not speaks_for("hub", "hubby/0123")
    assert not speaks_for("hub", "")
    with pytest.raises(SecurityError):
        check_name("hub/0123")


def test_roles_that_are_none_are_not_signed(authority):
    with pytest.raises(ValueError, match="king"):
        authority.sign(csr(), "king", "one")


def test_a_servers_certificate(authority):
    certificate, key = authority.server_certificate(["Lab.example", "192.0.2.7", "[::1]"])
    found = x509.load_pem_x509_certificate(certificate)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["lab.example", "192.0.2.7", "::1"]
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert b"PRIVATE KEY" in key
    with pytest.raises(SecurityError, match="no role"):
        peer_of(certificate)
    for wrong in ([], ["a b"], ["lab.example:50817"], [""], ["*.example"]):
        with pytest.raises(SecurityError):
            authority.server_certificate(wrong)


def test_what_was_signed_is_kept(tmp_path, authority):
    pems = [authority.sign(csr(), role, name) for role, name in ((Role.DEVICE, "one"), (Role.ADMIN, "ada"))]
    found = Authority.open(authority.folder).issued()
    assert [(one.role, one.name, one.serial) for one in found] == [
        (peer_of(pem).role.value, peer_of(pem).name, peer_of(pem).serial) for pem in pems
    ]


def test_a_torn_line_costs_nothing_but_itself(authority):
    authority.sign(csr(), Role.DEVICE, "one")
    with (authority.folder / "issued.jsonl").open("a") as file:
        file.write('{"serial": "12", "na')
    authority.sign(csr(), Role.DEVICE, "two")
    assert [one.name for one in authority.issued()] == ["one", "two"]


def test_revoking_by_name_and_by_serial(authority, clock):
    first, second, other = (
        peer_of(authority.sign(csr(), Role.DEVICE, name)) for name in ("one", "one", "two")
    )
    watching = Authority.open(authority.folder, clock)  # a daemon that runs meanwhile
    assert not watching.is_revoked(first.serial)
    assert {one.serial for one in authority.revoke("one", "lost")} == {first.serial, second.serial}
    assert watching.is_revoked(first.serial)
    assert watching.is_revoked(second.serial)
    assert not watching.is_revoked(other.serial)
    assert "lost" in objection(first, watching, clock.now)
    assert "join again" in objection(first, watching, clock.now)
    assert objection(other, watching, clock.now) == ""
    authority.revoke(other.serial)
    assert watching.is_revoked(other.serial)
    with pytest.raises(SecurityError, match="nothing to do"):
        authority.revoke("one")
    with pytest.raises(SecurityError, match="was ever signed"):
        authority.revoke("three")


def test_a_certificate_that_has_ended_is_objected_to(authority, clock):
    peer = peer_of(authority.sign(csr(), Role.USER, "ada", days=1))
    assert objection(peer, authority, clock.now) == ""
    assert "has ended" in objection(peer, authority, clock.now + 2 * DAY_S)
    clock.now += 2 * DAY_S
    with pytest.raises(SecurityError, match="nothing to do"):
        authority.revoke("ada")


@pytest.mark.parametrize("content", ["torn", None])
def test_nobody_is_let_in_when_it_cannot_be_told_who_is_revoked(authority, clock, content):
    peer = peer_of(authority.sign(csr(), Role.DEVICE, "one"))
    path = authority.folder / "revoked.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(SecurityError, match="backup"):
        authority.is_revoked(peer.serial)
    assert "backup" in objection(peer, authority, clock.now)


def test_the_hosts_certificate_renews_itself_under_the_same_names(authority, clock):
    certificate = ServerCertificate(authority)
    with pytest.raises(SecurityError, match="hilnas daemon names"):
        certificate.pair()
    certificate.make(["lab.example", "192.0.2.7"])
    assert mode(certificate.path) == 0o600
    key, chain = certificate.pair()
    assert chain.endswith(authority.certificate_pem)
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert certificate.pair() == (key, chain)
    clock.now += 250 * DAY_S
    renewed = certificate.pair()
    assert renewed != (key, chain)
    assert certificate.names() == ["lab.example", "192.0.2.7"]
    # Another process, such as `hilnas daemon names`, has changed it.
    ServerCertificate(authority).make(["other.example"])
    assert certificate.pair() != renewed
    assert certificate.names() == ["other.example"]


def test_a_bundle_is_for_its_owner_alone_and_never_replaced(tmp_path, authority):
    folder = tmp_path / "deep" / "ada"
    make_bundle(authority, Role.ADMIN, "ada", folder)
    assert mode(folder) == 0o700
    assert mode(folder / "key.pem") == 0o600
    assert peer_of((folder / "cert.pem").read_bytes()).role is Role.ADMIN
    assert channel_credentials(folder) is not None
    with pytest.raises(SecurityError, match="there already"):
        make_bundle(authority, Role.ADMIN, "ada", folder)
    with pytest.raises(SecurityError, match="name in a certificate"):
        make_bundle(authority, Role.USER, "a/b", tmp_path / "ab")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca", "deep"]


def test_an_identity_that_is_none_says_what_to_do(tmp_path, authority, clock):
    with pytest.raises(SecurityError, match="hilnas daemon user"):
        channel_credentials(tmp_path)
    clock.now -= 10 * DAY_S
    make_bundle(authority, Role.USER, "ada", tmp_path / "ada", days=1)
    with pytest.raises(SecurityError, match="ended on"):
        channel_credentials(tmp_path / "ada")
    (tmp_path / "ada" / "cert.pem").write_text("torn")
    with pytest.raises(SecurityError, match="no certificate"):
        channel_credentials(tmp_path / "ada")


def test_what_is_kept_of_revocations_can_be_read(authority):
    peer = peer_of(authority.sign(csr(), Role.DEVICE, "one"))
    authority.revoke("one", "lost")
    data = json.loads((authority.folder / "revoked.json").read_text())
    assert data[f"{peer.serial:x}"]["reason"] == "lost"


def test_certificates_without_a_role_are_nobody(authority):
    found = x509.load_pem_x509_certificate(authority.certificate_pem)
    assert found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    for pem in (authority.certificate_pem, b"", b"nonsense"):
        with pytest.raises(SecurityError, match="no role"):
            peer_of(pem)
