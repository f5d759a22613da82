"""Certificates as this lab makes them: what is in one comes from the lab, nothing from who asks for it."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hilnas.security.errors import SecurityError

MAX_PEM = 16 * 2**10
"""Bytes of a request or a certificate, at most."""

_PURPOSE = {
    True: ExtendedKeyUsageOID.SERVER_AUTH,
    False: ExtendedKeyUsageOID.CLIENT_AUTH,
}


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key as PEM (PKCS #8, not encrypted)."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def requested_key(csr_pem: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of a signing request, whose sender has shown to hold it. SecurityError otherwise."""
    if len(csr_pem) > MAX_PEM:
        raise SecurityError(f"the signing request has {len(csr_pem)} bytes, more than any that is one")
    try:
        request = x509.load_pem_x509_csr(csr_pem)
        key, signed = request.public_key(), request.is_signature_valid
    except Exception as error:  # the parser has many ways to refuse what it was sent
        raise SecurityError(
            f"that is no signing request (PEM): {error}; make it with `openssl req -new`"
        ) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SecurityError(
            "the request's key is not one on the curve P-256: make it with "
            "`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`"
        )
    if not signed:
        raise SecurityError("the signing request is not signed by its own key: make it anew")
    return key


def subject_of(role: str, name: str) -> x509.Name:
    """Return a subject: the role as organizational unit, the name as common name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def alternatives_of(names: Sequence[str]) -> list[x509.GeneralName]:
    """Return names and addresses of a server as a certificate has them. SecurityError for what is neither."""
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name.strip("[]"))))
            continue
        except ValueError:
            pass
        plain = name.replace("-", "").replace(".", "").replace("_", "")
        if not (plain.isalnum() and name.isascii() and len(name) <= 253):
            raise SecurityError(f"{name!r} is neither a host's name nor an address: give it without a port")
        found.append(x509.DNSName(name.lower()))
    if not found:
        raise SecurityError("a server needs a name or an address by which it is dialled: give one")
    return found


def authority_certificate(
    key: ec.EllipticCurvePrivateKey, name: str, begins: float, ends: float
) -> x509.Certificate:
    """Return the certificate of an authority that signs others but no further authorities."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "hilnas"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    builder = _builder(subject, subject, key.public_key(), begins, ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
    )
    return builder.sign(key, hashes.SHA256())


def signed(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begins: float,
    ends: float,
    alternatives: Sequence[x509.GeneralName] = (),
) -> x509.Certificate:
    """Return a certificate of a client, or of a server that has the `alternatives` as names."""
    builder = _builder(subject, authority.subject, key, begins, ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([_PURPOSE[bool(alternatives)]]), critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begins: float, ends: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_date(begins))
        .not_valid_after(_date(ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _date(unix: float) -> datetime:
    # Certificates know whole seconds.
    return datetime.fromtimestamp(int(unix), UTC)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
