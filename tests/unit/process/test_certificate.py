"""The certificate for clients: read, renewed when its files change, kept when they are wrong."""

from __future__ import annotations

import logging
import shutil
import ssl
from pathlib import Path

import pytest
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.process.certificate import Certificate
from nearhit.proxy.settings.config import load
from nearhit.proxy.upstream.tls_files import renew

from tests.certificates import openssl, self_signed


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem with key.pem, new.pem with new-key.pem, locked.pem: key.pem encrypted."""
    folder = self_signed(tmp_path_factory.mktemp("tls"))
    self_signed(folder, "new.pem", "new-key.pem")
    openssl(
        folder, *("rsa", "-aes128", "-passout", "pass:pw", "-in", "key.pem"), "-out", "locked.pem"
    )
    return folder


@pytest.fixture
def files(made: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    for path in made.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def certificate(files: Path, **more: str) -> Certificate:
    return Certificate(f"{files}/cert.pem", f"{files}/key.pem", **more)


def test_nothing_is_read_where_no_certificate_is_named() -> None:
    assert Certificate.of(load({}, {}, lambda path: "")) is None


def test_the_settings_name_the_files(files: Path) -> None:
    given = {
        "tls_listen": "127.0.0.1:0",
        "tls_cert": f"{files}/cert.pem",
        "tls_key": f"{files}/key.pem",
        "tls_client_ca": f"{files}/cert.pem",
        "tls_client_auth": "required",
    }

    found = Certificate.of(load(given, {}, lambda path: ""))

    assert found is not None
    assert found.context.verify_mode is ssl.CERT_REQUIRED
    assert found.context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert repr(found) == f"<Certificate {files}/cert.pem clients' required>"


@pytest.mark.parametrize(
    ("auth", "verify"), [("off", ssl.CERT_NONE), ("optional", ssl.CERT_OPTIONAL)]
)
def test_clients_are_asked_for_a_certificate_as_set(
    files: Path, auth: str, verify: ssl.VerifyMode
) -> None:
    assert certificate(files, client_auth=auth).context.verify_mode is verify


@pytest.mark.parametrize(
    ("cert", "key", "authorities", "why"),
    [
        ("none.pem", "key.pem", None, "tls_cert: cannot use {}/none.pem: no such file"),
        ("cert.pem", "none.pem", None, "tls_key: cannot use {}/none.pem: no such file"),
        ("cert.pem", "new-key.pem", None, "tls_key: cannot use {}/new-key.pem: key values mis"),
        ("cert.pem", "locked.pem", None, "tls_key: cannot use {}/locked.pem: it is encrypted: "),
        ("cert.pem", "key.pem", "none.pem", "tls_client_ca: cannot use {}/none.pem: no such"),
        ("cert.pem", "key.pem", "key.pem", "tls_client_ca: cannot use {}/key.pem: "),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    files: Path, cert: str, key: str, authorities: str | None, why: str
) -> None:
    with pytest.raises(StartError) as caught:
        Certificate(
            f"{files}/{cert}",
            f"{files}/{key}",
            None if authorities is None else f"{files}/{authorities}",
        )

    assert str(caught.value).startswith(why.format(files))
    assert caught.value.exit_code == ExitCode.BAD_SETTINGS


def test_new_files_are_taken_once_they_are_at_rest(files: Path) -> None:
    shown = certificate(files)
    first = shown.context
    shown.look()
    (files / "new.pem").rename(files / "cert.pem")

    shown.look()
    assert shown.context is first
    (files / "new-key.pem").rename(files / "key.pem")
    shown.look()
    assert shown.context is first
    shown.look()

    assert shown.context is not first


def test_they_are_taken_at_once_where_that_is_asked_for(
    files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shown = certificate(files)
    first = shown.context
    with caplog.at_level(logging.INFO):
        renew([shown])
        assert caplog.records == []
        shutil.copy(files / "new.pem", files / "cert.pem")
        with pytest.raises(StartError, match="tls_key: cannot use"):
            renew([shown])
        second = shown.context
        shutil.copy(files / "new-key.pem", files / "key.pem")
        renew([shown])

    assert [one.getMessage() for one in caplog.records] == ["certificate renewed"]
    assert len({id(one) for one in (first, second, shown.context)}) == 3


@pytest.mark.parametrize("text", ["garbage", None], ids=["garbage", "gone"])
def test_wrong_files_change_nothing_and_are_told_once(
    files: Path, caplog: pytest.LogCaptureFixture, text: str | None
) -> None:
    shown = certificate(files)
    first = shown.context
    if text is None:
        (files / "cert.pem").unlink()
    else:
        (files / "cert.pem").write_text(text)

    with caplog.at_level(logging.INFO):
        for _ in range(5):
            shown.look()

    assert shown.context is first
    assert [one.getMessage() for one in caplog.records] == ["certificate unusable"]
    shutil.copy(files / "new.pem", files / "cert.pem")
    shutil.copy(files / "new-key.pem", files / "key.pem")
    shown.look()
    shown.look()
    assert shown.context is not first
