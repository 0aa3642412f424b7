"""Certificates for TLS tests, made with openssl and valid for a day."""

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
    """A certificate authority; it writes all files into one folder."""

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
        """Issue a certificate; return its file and its key's.

        ``server`` is for 127.0.0.1, ``elsewhere`` for another host, ``client`` for a client.
        """
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

    def server_context(
        self, kind: str = "server", *, verify_clients: bool = False
    ) -> ssl.SSLContext:
        """Return the TLS context of a server with such a certificate.

        With ``verify_clients`` it accepts only clients with a certificate of this authority.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.certificate)
        context.load_cert_chain(*self.issue(kind))
        context.verify_mode = ssl.CERT_REQUIRED if verify_clients else ssl.CERT_NONE
        return context

    def encrypt_key(self, key: Path, passphrase: str) -> Path:
        """Write a copy of the key that is encrypted with a passphrase; return its path."""
        encrypted = key.with_suffix(".encrypted")
        self._openssl(
            "ec", "-in", key, "-aes256", "-passout", f"pass:{passphrase}", "-out", encrypted
        )
        return encrypted

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=30)
