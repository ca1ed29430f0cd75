"""Settings: every source, every mistake with its place, and no password in what is shown."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from nearhit.proxy.settings.address import AddressMap, Tcp, Unix, Upstream
from nearhit.proxy.settings.config import (
    ROWS,
    VERSION,
    Config,
    ConfigError,
    flag,
    load,
    retry_delay,
    variable,
)

NONE: Mapping[str, str] = {}


def loaded(
    flags: Mapping[str, str] = NONE, environ: Mapping[str, str] = NONE, file: str | None = None
) -> Config:
    """The settings with a nearhit.toml of that text, named by a flag."""

    def read(path: str) -> str:
        assert path == "nearhit.toml"
        return file or ""

    return load({**flags, "config": "nearhit.toml"} if file is not None else flags, environ, read)


def mistakes(
    flags: Mapping[str, str] = NONE, environ: Mapping[str, str] = NONE, file: str | None = None
) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(flags, environ, file)
    return caught.value.mistakes


# --- Values


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("listen", "127.0.0.1:6380", (Tcp("127.0.0.1", 6380),)),
        ("listen", "localhost:0", (Tcp("localhost", 0),)),
        ("listen", "my-host_1.example:65535", (Tcp("my-host_1.example", 65535),)),
        ("listen", "[::1]:6380", (Tcp("::1", 6380),)),
        ("listen", "[fe80::1%eth0]:6380", (Tcp("fe80::1%eth0", 6380),)),
        ("listen", "unix:///run/nearhit.sock", (Unix("/run/nearhit.sock"),)),
        ("listen", "0.0.0.0:1, unix:///s", (Tcp("0.0.0.0", 1), Unix("/s"))),
        ("http", "localhost:3000", (Tcp("localhost", 3000),)),
        ("http", "unix:///s,[::1]:1", (Unix("/s"), Tcp("::1", 1))),
        ("http", "off", ()),
        ("unix_mode", "0770", 0o770),
        ("unix_mode", "660", 0o660),
        ("http_hosts", "nearhit, cache.internal", ("nearhit", "cache.internal")),
        ("http_hosts", "*", ("*",)),
        ("http", " OFF ", ()),
        ("upstream", "redis://localhost", "redis://localhost"),
        ("upstream", "rediss://u:p@[::1]:7/2?ssl_cert_reqs=none", None),
        ("upstream", "unix://u:p@/run/redis.sock?db=3", None),
        ("upstream", "redis://h?socket_timeout=5&client_name=app", None),
        ("log_level", "debug", "debug"),
        ("log_level", "WARNING", "warning"),
        ("log_level", "log", "info"),
        ("log_level", "warn", "warning"),
        ("log_format", "JSON", "json"),
        ("slowlog", "off", 0.0),
        ("traces", "OTLP", "otlp"),
        ("slowlog", "250ms", 0.25),
        ("env", "production", "production"),
        ("workers", "1", 1),
        ("workers", " 64 ", 64),
        ("max_clients", "1000000", 1_000_000),
        ("upstream_timeout", "30", 30.0),
        ("upstream_timeout", "1500ms", 1.5),
        ("upstream_timeout", "1.5s", 1.5),
        ("upstream_timeout", "2m", 120.0),
        ("upstream_timeout", "1h", 3600.0),
        ("drain_timeout", "0", 0.0),
        ("hold_writes_on_failover", "off", 0.0),
        ("hold_writes_on_failover", "10s", 10.0),
        ("upstream", "redis-sentinel://a,b/m", "redis-sentinel://a,b/m"),
        ("offline_queue", "0", 0),
        ("offline_queue", "1000", 1000),
        ("offline_queue", "64b", 64),
        ("offline_queue", "1k", 1000),
        ("offline_queue", "1kb", 1024),
        ("offline_queue", "16MB", 16 << 20),
        ("offline_queue", "1 gb", 1 << 30),
        ("near_cache", "off", 0),
        ("near_cache", "1mb", 1 << 20),
        ("near_ttl", "10ms", 0.01),
        ("max_waiters", "1", 1),
        ("stats_key", "{app}:stats", "{app}:stats"),
        ("stats_key", "off", ""),
    ],
)
def test_a_value_is_read_from_text(name: str, text: str, value: object) -> None:
    assert getattr(loaded({name: text}), name) == (text if value is None else value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("listen", ""),
        ("listen", "6380"),
        ("listen", ":6380"),
        ("listen", "host"),
        ("listen", "host:"),
        ("listen", "host:x"),
        ("listen", "host:65536"),
        ("listen", "host:-1"),
        ("listen", "::1:6380"),
        ("listen", "[::1]"),
        ("listen", "unix://relative"),
        ("listen", "unix:///"),
        ("listen", "a:1,"),
        ("listen", "a:1,a:1"),
        ("http", ""),
        ("http", "3000"),
        ("http", "off,localhost:1"),
        ("upstream", ""),
        ("http_hosts", "a:3000"),
        ("unix_mode", "0o999"),
        ("unix_mode", "rwx"),
        ("http_hosts", "http://a"),
        ("upstream", "localhost:6379"),
        ("upstream", "http://localhost"),
        ("upstream", "redis://h:65536"),
        ("upstream", "redis://[::1"),
        ("upstream", "redis://h/x"),
        ("upstream", "redis://h?db=x"),
        ("upstream", "unix://run/redis.sock"),
        ("config", ""),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("slowlog", "9ms"),
        ("traces", "zipkin"),
        ("env", "staging"),
        ("workers", "x"),
        ("workers", ""),
        ("workers", "0"),
        ("workers", "65"),
        ("workers", "-1"),
        ("workers", "1.0"),
        ("workers", "٣"),
        ("workers", "9" * 5000),
        ("max_clients", "1k"),
        ("upstream_timeout", "9ms"),
        ("upstream_timeout", "61m"),
        ("upstream_timeout", "1 day"),
        ("upstream_timeout", "nan"),
        ("upstream_timeout", "1e1"),
        ("drain_timeout", "-1s"),
        ("hold_writes_on_failover", "0"),
        ("cluster", "on"),
        ("address_map", "a:1"),
        ("hold_writes_on_failover", "1h"),
        ("upstream", "redis-sentinel://a,b"),
        ("offline_queue", "-1"),
        ("offline_queue", "1.5mb"),
        ("offline_queue", "1tb"),
        ("offline_queue", "1073741825"),
        ("near_cache", "0"),
        ("near_cache", "7"),
        ("near_ttl", "0"),
        ("max_waiters", "0"),
        ("max_waiters", "1000001"),
        ("stats_key", ""),
    ],
)
def test_a_mistake_names_its_place_and_what_is_wanted(name: str, text: str) -> None:
    wanted = [f"{flag(name)}: {text!r} is not {ROWS[name].kind.wants}"]

    found = mistakes({name: text}) if name != "config" else mistakes_of_empty_path()

    assert [line[: len(wanted[0])] for line in found][-1:] == wanted


def mistakes_of_empty_path() -> list[str]:
    def read(path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    with pytest.raises(ConfigError) as caught:
        load({"config": ""}, {}, read)
    return caught.value.mistakes


def test_the_message_for_a_number_says_its_range() -> None:
    assert mistakes({"workers": "x"}) == ["--workers: 'x' is not a whole number from 1 to 64"]


def test_the_wrong_one_of_several_addresses_is_named() -> None:
    assert mistakes({"listen": "a:1,b,c:3"})[0].endswith("or unix:///path, or off: see 'b'")


def test_every_default_is_a_value_that_a_user_could_write() -> None:
    written = {name: row.default for name, row in ROWS.items() if row.default is not None}

    assert loaded(written) == loaded() == Config()


# --- Sources


def test_without_any_source_the_defaults_hold() -> None:
    config = loaded()

    assert config.listen == (Tcp("127.0.0.1", 6380),)
    assert config.upstream is None
    assert (config.workers, config.max_clients) == (1, 10000)
    assert (config.upstream_timeout, config.drain_timeout) == (30.0, 10.0)
    assert config.offline_queue == 16 << 20
    assert (config.log_level, config.env) == ("info", "development")
    assert config.http == (Tcp("127.0.0.1", 3000),)
    assert (config.max_waiters, config.stats_key) == (10000, "nearhit:stats")
    assert config.loaders == ()


@pytest.mark.parametrize("name", ROWS)
def test_every_setting_has_a_flag_a_variable_and_a_key(name: str) -> None:
    samples = {
        "listen": "[::1]:7",
        "http": "[::1]:8",
        "upstream": "redis://there",
        "config": "nearhit.toml",
        "log_level": "error",
        "log_format": "json",
        "traces": "otlp",
        "near_reads": "all",
        "env": "production",
        "near_cache": "7mb",
        "maxmemory_clients": "7mb",
        "client_output_buffer": "7mb 1mb 7s",
        "max_multi": "7mb",
        "read_from": "primary",
        "unix_mode": "0770",
        "cluster": "off",
        "address_map": "a:1=b:2",
        "lock_servers": "redis://a,redis://b,redis://c",
        "tls_listen": "[::1]:9",
        "tls_http": "[::1]:9",
        "tls_client_auth": "optional",
        "tls_verify": "none",
        "protected_mode": "off",
        "proxy_protocol": "on",
        "trusted_proxies": "10.0.0.7",
        "http_token": "0123456789abcdef",
        "http_metrics": "open",
    }
    needs = {
        "tls_listen": {"tls_cert": "c"},
        "tls_http": {"tls_cert": "c"},
        "tls_key": {"tls_cert": "c"},
        "proxy_protocol": {"trusted_proxies": "::1"},
        "trusted_proxies": {"proxy_protocol": "on"},
        "tls_client_ca": {"tls_client_auth": "required"},
        "tls_client_auth": {"tls_client_ca": "c"},
        "tls_client_key": {"tls_client_cert": "c"},
    }
    text, beside = samples.get(name, "7"), needs.get(name, {})
    value = getattr(loaded({**beside, name: text}, file=""), name)

    assert getattr(loaded(beside, {variable(name): text}, file=""), name) == value
    if ROWS[name].in_file:
        assert getattr(loaded(beside, file=f'{name} = "{text}"'), name) == value


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"upstream": "redis://there", "cluster": "off"},
        {"upstream": "redis-sentinel://there/name"},
    ],
)
def test_reads_from_replicas_need_a_cluster(flags: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--read-from: read_from needs a cluster"):
        loaded({"read_from": "nearest", **flags}, file="")


@pytest.mark.parametrize("upstream", ["redis-cluster://there:1", "redis://there"])
def test_reads_may_be_of_replicas_where_the_server_may_be_a_node(upstream: str) -> None:
    assert loaded({"read_from": "nearest", "upstream": upstream}, file="").read_from == "nearest"


def test_flags_beat_environment_beats_file_beats_default() -> None:
    flags, environ, file = {"workers": "2"}, {"NEARHIT_WORKERS": "3"}, "workers = 4"

    assert loaded(flags, environ, file).workers == 2
    assert loaded({}, environ, file).workers == 3
    assert loaded({}, {}, file).workers == 4
    assert loaded({}, {}, "").workers == 1


@pytest.mark.parametrize(
    ("shared", "name", "text", "own"),
    [
        ("REDIS_URL", "upstream", "redis://shared", "redis://own"),
        ("LOG_LEVEL", "log_level", "error", "debug"),
        ("NODE_ENV", "env", "production", "development"),
    ],
)
def test_the_name_with_our_prefix_beats_the_one_that_others_share(
    shared: str, name: str, text: str, own: str
) -> None:
    assert getattr(loaded({}, {shared: text}), name) == text
    assert getattr(loaded({}, {shared: text, variable(name): own}), name) == own


def test_a_default_of_an_image_is_beaten_by_the_file_and_all_else() -> None:
    environ = {"NEARHIT_DEFAULT_WORKERS": "2"}

    assert loaded({}, environ).workers == 2
    assert loaded({}, environ, "workers = 3").workers == 3
    assert loaded({}, {**environ, "NEARHIT_WORKERS": "4"}).workers == 4
    assert mistakes({}, {"NEARHIT_DEFAULT_WORKERS": "x"})
    assert mistakes({}, {"NEARHIT_DEFAULT_WORKER": "2"}) == [
        "NEARHIT_DEFAULT_WORKER: no such setting; did you mean NEARHIT_DEFAULT_WORKERS?"
    ]


def test_a_mode_is_text_in_the_file_for_a_number_would_be_read_in_another_base() -> None:
    assert loaded({}, {}, 'unix_mode = "0770"').unix_mode == 0o770
    assert "unix_mode: it is not in quotes" in mistakes({}, {}, "unix_mode = 770")[0]


def test_an_empty_variable_says_nothing() -> None:
    environ = {"REDIS_URL": "", "PORT": "", "NEARHIT_WORKERS": "", "NEARHIT_CONFIG": ""}

    assert loaded({}, environ) == Config()


@pytest.mark.parametrize(
    ("flags", "environ", "file", "listen"),
    [
        ({}, {}, None, "127.0.0.1:7000"),
        ({}, {"NEARHIT_LISTEN": "0.0.0.0:6380"}, None, "0.0.0.0:7000"),
        ({}, {}, "listen = '[::1]:1'", "[::1]:7000"),
        ({}, {}, "listen = ['unix:///s', 'a:1', 'b:2']", "unix:///s,a:7000,b:2"),
        ({}, {}, "listen = 'unix:///s'", "unix:///s,127.0.0.1:7000"),
        ({"listen": "a:1"}, {}, None, "a:1"),
    ],
)
def test_port_changes_just_the_port(
    flags: Mapping[str, str], environ: Mapping[str, str], file: str | None, listen: str
) -> None:
    config = loaded(flags, {**environ, "PORT": "7000"}, file)

    assert ",".join(map(str, config.listen)) == listen


@pytest.mark.parametrize(
    ("given", "http"),
    [
        ({}, "127.0.0.1:7000"),
        ({"NEARHIT_HTTP": "0.0.0.0:3000"}, "0.0.0.0:7000"),
        ({"NEARHIT_HTTP": "off"}, ""),
    ],
)
def test_http_port_changes_just_the_port_and_turns_nothing_on(
    given: Mapping[str, str], http: str
) -> None:
    config = loaded({"protected_mode": "off"}, {**given, "HTTP_PORT": "7000"})

    assert ",".join(map(str, config.http)) == http


def test_toml_values_are_taken_as_they_are_written() -> None:
    config = loaded(
        file="""
        workers = 3
        upstream_timeout = 1.5
        offline_queue = 65_536
        listen = ["127.0.0.1:1",
                  "unix:///s"]
        """
    )

    assert (config.workers, config.upstream_timeout, config.offline_queue) == (3, 1.5, 65536)
    assert config.listen == (Tcp("127.0.0.1", 1), Unix("/s"))


# --- Mistakes


def test_all_mistakes_are_told_at_once_each_with_its_place() -> None:
    found = mistakes(
        {"workers": "x"},
        {"NEARHIT_WORKERS": "99", "PORT": "abc", "LOG_LEVEL": "loud"},
        "# a comment\n\nenv = 'test'\nmax_clients = true\nlisten = [\n  'a'\n]\n",
    )

    assert [line.partition(" is not ")[0] for line in found] == [
        "nearhit.toml:5: listen: 'a'",
        "PORT: ':abc'",
        "LOG_LEVEL: 'loud'",
        "nearhit.toml:3: env: 'test'",
        "NEARHIT_WORKERS: '99'",
        "--workers: 'x'",
        "nearhit.toml:4: max_clients: 'true'",
    ]


def test_a_shared_variable_that_is_overruled_may_say_anything() -> None:
    environ = {"LOG_LEVEL": "loud", "PORT": "tcp://10.0.0.1:80", "REDIS_URL": "sentinel://x"}
    flags = {"log_level": "error", "listen": "a:1", "upstream": "redis://there"}

    assert loaded(flags, environ).log_level == "error"


@pytest.mark.parametrize(
    ("file", "mistake"),
    [
        ("\nworker = 1", "nearhit.toml:2: worker: no such setting; did you mean workers?"),
        (
            "max-clients = 1",
            "nearhit.toml:1: max-clients: no such setting; did you mean max_clients?",
        ),
        ("'Log_Level' = 1", "nearhit.toml:1: Log_Level: no such setting; did you mean log_level?"),
        ("zzz = 1", "nearhit.toml:1: zzz: no such setting"),
        ("a.b = 1", "nearhit.toml:1: [a]: no such table"),
        (
            "workers = 1\n\n[loader.x]\nttl = 1",
            "nearhit.toml:3: [loader]: no such table; did you mean loaders?",
        ),
        ("[[x]]\ny = 1", "nearhit.toml:1: x: no such setting"),
        (
            "config = 'x'",
            "nearhit.toml:1: config: not for the file itself: use --config or NEARHIT_CONFIG",
        ),
        ("[workers]\nx = 1", "nearhit.toml:1: workers: a table is not a whole number from 1 to 64"),
        ("workers = [1]", "nearhit.toml:1: workers: a list is not a whole number from 1 to 64"),
        ("workers = 1\nworkers = 2\n", "nearhit.toml:2: Cannot overwrite a value (column 12)"),
        (
            "\n\nworkers 1",
            "nearhit.toml:3: Expected '=' after a key in a key/value pair (column 9)",
        ),
        ("workers = 1\nlisten = [\n", "nearhit.toml:2: Invalid value (at end of document)"),
    ],
)
def test_a_mistake_in_the_file_has_its_line(file: str, mistake: str) -> None:
    assert mistakes(file=file) == [mistake]


def test_a_key_after_values_of_many_lines_has_its_own_line() -> None:
    file = 'env = """\ntest"""\nlisten = [ # workers = 1\n"a:1",\n\n]\n\n# workers = 2\nworkers = 0'

    assert mistakes(file=file)[-1].startswith("nearhit.toml:9: workers: '0'")


@pytest.mark.parametrize(
    ("error", "mistake"),
    [
        (
            FileNotFoundError(2, "No such file or directory"),
            "cannot read f: No such file or directory",
        ),
        (PermissionError(13, "Permission denied"), "cannot read f: Permission denied"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "f is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_mistake_of_who_named_it(
    error: Exception, mistake: str
) -> None:
    def read(path: str) -> str:
        raise error

    for place, flags, environ in (
        ("--config", {"config": "f"}, NONE),
        ("NEARHIT_CONFIG", NONE, {"NEARHIT_CONFIG": "f"}),
    ):
        with pytest.raises(ConfigError) as caught:
            load(flags, environ, read)
        assert caught.value.mistakes == [f"{place}: {mistake}"]


def test_a_misspelt_variable_is_a_mistake_and_what_kubernetes_adds_is_not() -> None:
    kubernetes = {"NEARHIT_SERVICE_HOST": "10.0.0.1", "NEARHIT_PORT": "tcp://10.0.0.1:6380"}

    assert loaded({}, kubernetes) == Config()
    assert mistakes({}, {**kubernetes, "NEARHIT_WORKER": "3"}) == [
        "NEARHIT_WORKER: no such setting; did you mean NEARHIT_WORKERS?"
    ]


# --- What is shown


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@h:1/0",
        "redis://:se/secret@h",
        "redis://:se@secret@h",
        "redis://h?password=secret",
        "redis://h:secret",
        "redis://secret@h:x",
        "http://u:secret@h",
        "u:secret@h",
        "rediss://u:secret@[h",
        "redis://u:secret\u2100@h",
        "redis://u:secret@h?zzz=1",
        "redis://h?pass=secret",
        "redis://h?secret",
        "redis://h?db=0&passwd=secret&x",
        "rediss://h?ssl_pasword=secret",
    ],
)
def test_no_password_is_ever_shown(url: str) -> None:
    try:
        config = loaded({"upstream": url})
        shown = repr(config) + "".join(config.describe()) + repr(Upstream.parse(url))
    except ConfigError as error:
        shown = str(error)

    assert "secret" not in shown
    assert "secret" not in "".join(mistakes(file=f"upstream = ['{url}', 'x']"))


def test_describe_tells_each_setting_and_where_it_came_from() -> None:
    config = loaded(
        {"drain_timeout": "500ms"},
        {"REDIS_URL": "redis://u:secret@h/3", "PORT": "7"},
        "\nworkers = 4\n",
    )

    assert [line.split() for line in config.describe()] == [
        ["listen", "=", "127.0.0.1:7", "#", "PORT"],
        ["http", "=", "127.0.0.1:3000", "#", "default"],
        ["unix_mode", "=", "0700", "#", "default"],
        ["http_hosts", "=", "localhost", "#", "default"],
        ["upstream", "=", "redis://u:***@h/3", "#", "REDIS_URL"],
        ["cluster", "=", "auto", "#", "default"],
        ["address_map", "=", "off", "#", "default"],
        ["embedded_cluster", "=", "no", "cluster", "#", "default"],
        ["config", "=", "nearhit.toml", "#", "--config"],
        ["log_level", "=", "info", "#", "default"],
        ["env", "=", "development", "#", "default"],
        ["workers", "=", "4", "#", "nearhit.toml:2"],
        ["max_clients", "=", "10000", "#", "default"],
        [
            "max_pinned",
            "=",
            *["3/4", "of", "the", "server's", "maxclients,", "else", "512"],
            "#",
            "default",
        ],
        ["pinned_wait", "=", "5s", "#", "default"],
        ["upstream_timeout", "=", "30s", "#", "default"],
        ["command_timeout", "=", "as", "long", "as", "it", "takes", "#", "default"],
        ["slow_command_timeout", "=", "command_timeout", "#", "default"],
        ["drain_delay", "=", "0s", "#", "default"],
        ["drain_timeout", "=", "500ms", "#", "--drain-timeout"],
        ["hold_writes_on_failover", "=", "off", "#", "default"],
        ["read_from", "=", "primary", "#", "default"],
        ["replica_max_lag", "=", "5s", "#", "default"],
        ["availability_zone", "=", "none", "#", "default"],
        ["offline_queue", "=", "16mb", "#", "default"],
        ["near_cache", "=", "64mb", "#", "default"],
        ["near_reads", "=", "strings", "#", "default"],
        ["near_ttl", "=", "60s", "#", "default"],
        ["stale_if_down", "=", "off", "#", "default"],
        ["max_waiters", "=", "10000", "#", "default"],
        ["lock_servers", "=", "off", "#", "default"],
        ["stats_key", "=", "nearhit:stats", "#", "default"],
        ["tls_listen", "=", "off", "#", "default"],
        ["tls_http", "=", "off", "#", "default"],
        ["tls_cert", "=", "none", "#", "default"],
        ["tls_key", "=", "in", "tls_cert", "#", "default"],
        ["tls_client_ca", "=", "none", "#", "default"],
        ["tls_client_auth", "=", "off", "#", "default"],
        ["tls_ca", "=", "the", "system's", "#", "default"],
        ["tls_client_cert", "=", "none", "#", "default"],
        ["tls_client_key", "=", "in", "tls_client_cert", "#", "default"],
        ["tls_server_name", "=", "the", "host", "of", "the", "URL", "#", "default"],
        ["tls_verify", "=", "full", "#", "default"],
        ["protected_mode", "=", "on", "#", "default"],
        ["http_token", "=", "none", "#", "default"],
        ["http_metrics", "=", "token", "#", "default"],
        ["proxy_protocol", "=", "off", "#", "default"],
        ["trusted_proxies", "=", "none", "#", "default"],
        ["timeout", "=", "off", "#", "default"],
        ["maxmemory_clients", "=", "off", "#", "default"],
        ["client_output_buffer", "=", "off", "#", "default"],
        ["max_multi", "=", "1gb", "#", "default"],
        ["max_subscriptions", "=", "100000", "#", "default"],
        ["log_format", "=", "text", "#", "default"],
        ["slowlog", "=", "100ms", "#", "default"],
        ["traces", "=", "off", "#", "default"],
    ]


# --- The rest


def test_the_retry_rule() -> None:
    assert [retry_delay(attempt) for attempt in (1, 2, 39, 40, 1000)] == pytest.approx(
        [0.05, 0.1, 1.95, 2, 2]
    )


def test_the_version_is_the_one_of_the_package() -> None:
    project = tomllib.loads(Path(__file__).parents[2].parent.joinpath("pyproject.toml").read_text())

    assert project["project"]["version"] == VERSION


def test_a_cluster_of_its_own_takes_the_place_of_an_upstream() -> None:
    assert loaded({"embedded_cluster": "3"}, {"NODE_ENV": "production"}).forgot_upstream is False
    assert loaded({"embedded_cluster": "3", "upstream": "embedded"}).embedded_cluster == 3
    assert mistakes({"embedded_cluster": "3"}, {"REDIS_URL": "redis://:secret@h"}) == [
        "--embedded-cluster: embedded_cluster takes the place of an upstream, and REDIS_URL names "
        "one: leave one of them out"
    ]


def test_addresses_are_mapped_by_a_table_of_the_file_as_by_a_flag() -> None:
    by_flag = loaded({"address_map": "10.0.0.1:6379=h:1,10.0.0.2=h"})
    by_file = loaded(file='[address_map]\n"10.0.0.1:6379" = "h:1"\n"10.0.0.2" = "h"\n')

    assert by_file.address_map == by_flag.address_map
    assert by_file.behind("redis://h").address_map == by_flag.address_map
    assert loaded().address_map == AddressMap()


def test_a_wrong_entry_of_the_map_is_named_with_its_setting() -> None:
    assert mistakes(file='[address_map]\n"10.0.0.1:6379" = "h"\n') == [
        "nearhit.toml:1: address_map: '10.0.0.1:6379=h' is not a table of announced=dialled, each "
        "host:port, or a host alone on both sides, or off: '10.0.0.1:6379=h' has a port on one "
        "side only"
    ]
