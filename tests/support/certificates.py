"""Certificates for a day, made with openssl."""

import ssl
import subprocess
from pathlib import Path

EXTENSIONS = """
[req]
distinguished_name = dn
prompt = no
[dn]
CN = relay's tests
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = CA:FALSE
subjectAltName = IP:127.0.0.1
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[elsewhere]
basicConstraints = CA:FALSE
subjectAltName = DNS:elsewhere.example
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Authority:
    """A certificate authority for a day, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._extensions = folder / "extensions.cnf"
        self._extensions.write_text(EXTENSIONS)
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        self._openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "1", "-config", self._extensions, "-extensions", "ca"),
            *("-subj", "/CN=authority", "-keyout", self._key, "-out", self.certificate),
        )

    def issue(self, kind: str) -> tuple[Path, Path]:
        """A certificate and its key, for a ``server`` here or ``elsewhere``, or a ``client``."""
        certificate, key = self._folder / f"{kind}.pem", self._folder / f"{kind}.key"
        request = self._folder / f"{kind}.csr"
        self._openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-config", self._extensions, "-subj", f"/CN={kind}"),
            *("-keyout", key, "-out", request),
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-days", "1", "-CAcreateserial"),
            *("-CA", self.certificate, "-CAkey", self._key),
            *("-extfile", self._extensions, "-extensions", kind, "-out", certificate),
        )
        return certificate, key

    def server(self, kind: str = "server", *, known: bool = False) -> ssl.SSLContext:
        """What a server takes connections with; ``known`` means only from its own clients."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.certificate)
        context.load_cert_chain(*self.issue(kind))
        context.verify_mode = ssl.CERT_REQUIRED if known else ssl.CERT_NONE
        return context

    def lock(self, key: Path, passphrase: str) -> Path:
        """The same key behind a passphrase."""
        locked = key.with_suffix(".locked")
        self._openssl("ec", "-in", key, "-aes256", "-passout", f"pass:{passphrase}", "-out", locked)
        return locked

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
