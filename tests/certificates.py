"""Certificates for tests of TLS, made by the openssl command: skipped where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import HOST


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
