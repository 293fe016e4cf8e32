"""PyKMIP's server on loopback, for as long as somebody holds its standard input open.

    serve.py FOLDER PORT

Everything stands in FOLDER: the keys (keys.db), who may do what (policies/*.json, read anew each second), and certificates, which are made at the first
start: ca.pem, and for `server`, `palladium`, `owner` and `stranger` NAME.pem and NAME.key. PyKMIP runs in several processes; all of them end together when
the standard input ends, so that nothing outlives a test that is killed.

PyKMIP offers AES-GCM in TLS only with ECDSA, and rustls offers nothing older than GCM: so the certificates hold keys on P-256.
"""

import datetime
import ipaddress
import os
import pathlib
import signal
import sys
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kmip.services.server.server import KmipServer

CLIENTS = ("palladium", "owner", "stranger")


def certificate(name, key, issuer, issuer_key, usage=None):
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
    )
    if usage is not None:
        here = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name), here]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def write(folder, name, key, made):
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (folder / f"{name}.key").touch(0o600)
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / f"{name}.pem").write_bytes(made.public_bytes(pem))


def make_certificates(folder):
    root_key = ec.generate_private_key(ec.SECP256R1())
    root = certificate("test root", root_key, None, root_key)
    for name in ("server", *CLIENTS):
        usage = ExtendedKeyUsageOID.SERVER_AUTH if name == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        key = ec.generate_private_key(ec.SECP256R1())
        write(folder, name, key, certificate(name, key, root.subject, root_key, usage))
    write(folder, "ca", root_key, root)


def end_with_input():
    # Not sys.stdin, whose lock PyKMIP's other processes would inherit, held.
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def main():
    folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    # All of PyKMIP's processes are one group, and nobody else is in it.
    os.setpgid(0, 0)
    (folder / "policies").mkdir(exist_ok=True)
    if not (folder / "ca.pem").exists():
        make_certificates(folder)
    threading.Thread(target=end_with_input, daemon=True).start()
    server = KmipServer(
        hostname="127.0.0.1",
        port=port,
        certificate_path=str(folder / "server.pem"),
        key_path=str(folder / "server.key"),
        ca_path=str(folder / "ca.pem"),
        auth_suite="TLS1.2",
        config_path=None,
        log_path=str(folder / "server.log"),
        policy_path=str(folder / "policies"),
        enable_tls_client_auth=True,
        logging_level="INFO",
        live_policies=True,
        database_path=str(folder / "keys.db"),
    )
    with server:
        # The port opens in `serve`: not before every policy counts, or a client would be denied what is only not known yet.
        while not all(file.stem in server.policies.keys() for file in (folder / "policies").glob("*.json")):
            time.sleep(0.1)
        server.serve()


if __name__ == "__main__":
    main()
