"""TLS to a server: which checks a URL asks for, and files of it that cannot be used."""

from __future__ import annotations

import ctypes
import shutil
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from nearhit.proxy.errors import ExitCode, StartError
from nearhit.proxy.settings.address import Upstream
from nearhit.proxy.upstream.tls import context_of, server_name, tls_of

from tests.certificates import openssl, self_signed


def context(options: str) -> ssl.SSLContext:
    return context_of(Upstream.parse(f"rediss://h/?{options}"))


@pytest.mark.parametrize(
    ("options", "verify", "host"),
    [
        ("", ssl.CERT_REQUIRED, True),
        ("ssl_cert_reqs=Optional", ssl.CERT_OPTIONAL, True),
        ("ssl_cert_reqs=none", ssl.CERT_NONE, False),
        *((f"ssl_check_hostname={no}", ssl.CERT_REQUIRED, False) for no in ("n", "F", "No", "0")),
        *((f"ssl_check_hostname={yes}", ssl.CERT_REQUIRED, True) for yes in ("y", "T", "YES", "1")),
    ],
)
def test_the_options_of_the_url_set_the_checks(
    options: str, verify: ssl.VerifyMode, host: bool
) -> None:
    made = context(options)

    assert made.verify_mode is verify
    assert made.check_hostname is host
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cert.pem with key.pem, other.pem of another key, locked.pem: key.pem encrypted, by "pw"."""
    folder = self_signed(tmp_path_factory.mktemp("tls"))
    self_signed(folder, "stranger.pem", "other.pem")
    openssl(
        folder, *("rsa", "-aes128", "-passout", "pass:pw", "-in", "key.pem"), "-out", "locked.pem"
    )
    (folder / "garbage.pem").write_text("garbage")
    return folder


def test_files_that_fit_are_used(files: Path) -> None:
    context(f"ssl_ca_certs={files}/cert.pem")
    context(f"ssl_certfile={files}/cert.pem&ssl_keyfile={files}/key.pem")
    context(f"ssl_certfile={files}/cert.pem&ssl_keyfile={files}/locked.pem&ssl_password=pw")


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ("ssl_ca_certs={}/none.pem", "ssl_ca_certs: cannot use {}/none.pem: no such file"),
        ("ssl_ca_certs={}/garbage.pem", "ssl_ca_certs: cannot use {}/garbage.pem: no cert"),
        ("ssl_ca_certs={}", "ssl_ca_certs: cannot use {}: "),
        ("ssl_certfile={}/none.pem", "ssl_certfile: cannot use {}/none.pem: no such file"),
        ("ssl_certfile={}/cert.pem", "ssl_certfile: cannot use {}/cert.pem: "),
        (
            "ssl_certfile={}/cert.pem&ssl_keyfile={}/none.pem",
            "ssl_keyfile: cannot use {}/none.pem: no such file",
        ),
        (
            "ssl_certfile={}/cert.pem&ssl_keyfile={}/other.pem",
            "ssl_keyfile: cannot use {}/other.pem: key values mismatch",
        ),
        (
            "ssl_certfile={}/cert.pem&ssl_keyfile={}/locked.pem",
            "ssl_keyfile: cannot use {}/locked.pem: it is encrypted: see ssl_password",
        ),
        (
            "ssl_certfile={}/cert.pem&ssl_keyfile={}/locked.pem&ssl_password=hidden",
            "ssl_keyfile: cannot use {}/locked.pem: ssl_password does not open it",
        ),
        ("ssl_keyfile={}/key.pem", "ssl_keyfile: it needs ssl_certfile beside it"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(files: Path, options: str, mistake: str) -> None:
    with pytest.raises(StartError) as caught:
        context(options.replace("{}", str(files)))

    assert str(caught.value).startswith(mistake.replace("{}", str(files)))
    assert "hidden" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.BAD_SETTINGS


# --- Settings


def by_settings(options: str = "", **settings: str) -> ssl.SSLContext:
    upstream = Upstream.parse(f"rediss://h/?{options}")
    return context_of(replace(upstream, options={**settings, **upstream.options}))


@pytest.mark.parametrize(
    ("options", "setting", "verify", "host"),
    [
        ("", "full", ssl.CERT_REQUIRED, True),
        ("", "ca", ssl.CERT_REQUIRED, False),
        ("", "none", ssl.CERT_NONE, False),
        ("ssl_cert_reqs=required", "none", ssl.CERT_REQUIRED, True),
        ("ssl_check_hostname=yes", "ca", ssl.CERT_REQUIRED, True),
    ],
)
def test_tls_verify_sets_the_checks_that_the_url_leaves_open(
    options: str, setting: str, verify: ssl.VerifyMode, host: bool
) -> None:
    made = by_settings(options, tls_verify=setting)

    assert (made.verify_mode, made.check_hostname) == (verify, host)


def test_files_of_settings_are_used_and_named(files: Path) -> None:
    good = {"tls_client_cert": f"{files}/cert.pem", "tls_client_key": f"{files}/key.pem"}
    by_settings(**good, tls_ca=f"{files}/cert.pem")

    for setting, name, why in (
        ("tls_ca", "none.pem", "no such file or directory"),
        ("tls_client_cert", "garbage.pem", ""),
        ("tls_client_key", "other.pem", "key values mismatch"),
        ("tls_client_key", "locked.pem", "it is encrypted: give it without a password"),
    ):
        with pytest.raises(StartError) as caught:
            by_settings(**{**good, setting: f"{files}/{name}"})
        assert str(caught.value).startswith(f"{setting}: cannot use {files}/{name}: {why}")


def test_a_pair_of_the_url_is_not_mixed_with_one_of_the_settings(files: Path) -> None:
    url = f"ssl_certfile={files}/cert.pem&ssl_keyfile={files}/key.pem"

    by_settings(url, tls_client_cert=f"{files}/stranger.pem", tls_client_key=f"{files}/other.pem")


def test_the_name_of_a_server_is_its_host_unless_it_is_set() -> None:
    upstream = Upstream.parse("rediss://h")

    assert server_name(upstream, "10.0.0.1") == "10.0.0.1"
    named = replace(upstream, options={"tls_server_name": "redis.example"})
    assert server_name(named, "10.0.0.1") == "redis.example"


# --- New files


def test_what_a_url_or_the_settings_name_is_read_again(files: Path, tmp_path: Path) -> None:
    assert tls_of(Upstream.parse("redis://h")) is None
    for name in ("cert.pem", "key.pem"):
        shutil.copy(files / name, tmp_path)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    by_url = Upstream.parse(f"rediss://h/?ssl_certfile={cert}&ssl_keyfile={key}")
    settings = {"tls_client_cert": f"{cert}", "tls_client_key": f"{key}"}
    by_settings = replace(Upstream.parse("rediss://h"), options=settings)
    authorities = replace(Upstream.parse("rediss://h"), options={"tls_ca": f"{cert}"})
    every = [tls_of(one) for one in (by_url, by_settings, authorities)]
    before = [one and one.context for one in every]

    shutil.copy(files / "stranger.pem", cert)
    shutil.copy(files / "other.pem", key)

    for one, context in zip(every, before, strict=True):
        assert one is not None
        one.look()
        one.look()
        assert one.context is not context


# --- Memory

# The blocks that are mapped while TLS reads: as uvloop does, into 256 KB which are then cut.
MAPPED = """
import ctypes, sys
from nearhit.proxy.upstream.tls import keep_blocks
libc = ctypes.CDLL(None)
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd",
        "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]
libc.mallinfo2.restype = Info
keep_blocks()
before = libc.mallinfo2().hblks
block = b" " * (256 << 10)
print(libc.mallinfo2().hblks - before)
"""


def test_what_tls_is_read_into_is_not_got_from_the_system_each_time() -> None:
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("no glibc")

    done = subprocess.run([sys.executable, "-c", MAPPED], capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("0\n", "")
