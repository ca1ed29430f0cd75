"""[loaders.<name>] tables: what they come to, and each mistake with its place."""

from __future__ import annotations

import pytest
from nearhit.proxy.keys.captures import Pattern, UrlTemplate
from nearhit.proxy.settings.config import Config, ConfigError, load
from nearhit.proxy.settings.headers import Headers
from nearhit.proxy.settings.loaders import DEMO, LOADER_ROWS, SOURCES, LoaderSettings


def loaded(file: str) -> Config:
    return load({"config": "nearhit.toml"}, {}, lambda path: file)


def one(file: str) -> LoaderSettings:
    (loader,) = loaded(f'[loaders.x]\nmatch = "x:{{id}}"\n{file}').loaders
    return loader


def mistakes(file: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(file)
    return caught.value.mistakes


def test_a_loader_has_defaults_for_all_but_its_keys_and_its_source() -> None:
    loader = one("call = 'app.users:load'")

    assert loader == LoaderSettings(name="x", match=Pattern.parse("x:{id}"), call="app.users:load")
    assert (loader.ttl, loader.negative_ttl, loader.timeout, loader.lease) == (60, 5, 5, 7)
    assert (loader.concurrency, loader.backoff) == (16, 1)
    assert (loader.read_through, loader.honour_cache_control) == (False, False)


def test_every_option_can_be_given() -> None:
    loader = one(
        """
        url = "https://u:p@h:8000/{id}?{{"
        ttl = "2m"
        negative_ttl = 1.5
        timeout = "250ms"
        concurrency = 3
        batch = 7
        batch_url = "http://h/many"
        lease = 1
        backoff = "2s"
        read_through = true
        fail_open = false
        honour_cache_control = true
        conditional = false
        headers = { X-Key = "v" }
        """
    )

    assert loader == LoaderSettings(
        name="x",
        match=Pattern.parse("x:{id}"),
        url=UrlTemplate.parse("https://u:p@h:8000/{id}?{{"),
        ttl=120,
        negative_ttl=1.5,
        timeout=0.25,
        concurrency=3,
        batch=7,
        batch_url=UrlTemplate.parse("http://h/many"),
        lease=1,
        backoff=2,
        read_through=True,
        fail_open=False,
        honour_cache_control=True,
        conditional=False,
        headers=Headers((("X-Key", "v"),)),
    )


def test_a_batch_url_has_a_hundred_keys_unless_it_is_told_otherwise() -> None:
    assert one("url = 'http://h'\nbatch_url = 'http://h/many'").batch == 100
    assert one("call = 'a:b'\nbatch = 5").batch == 5


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("url = 'http://h/{id}'", "url"),
        ("call = 'a.b:c.d'", "call"),
        ("redis = 'rediss://u:p@h:1/2'", "redis"),
        ("demo = true", "demo"),
    ],
)
def test_a_loader_has_one_source(file: str, source: str) -> None:
    assert one(file).source == source
    assert source in SOURCES


def test_what_is_not_given_follows_what_is() -> None:
    short = one("demo = true\nttl = '3s'\ntimeout = '500ms'")

    assert (short.negative_ttl, short.lease) == (3, 2.5)


def test_the_rows_are_the_fields() -> None:
    assert [name for name in LoaderSettings.__dataclass_fields__ if name not in LOADER_ROWS] == [
        "name",
        "given",
    ]
    for name, about in LOADER_ROWS.items():
        if about.default is not None:
            assert getattr(DEMO, name) == about.kind.parse(about.default) or name == "demo"


def test_loaders_stand_in_the_order_of_the_file() -> None:
    file = """
        [loaders]
        b = { match = "b", demo = true }
        [loaders."a.1"]
        match = "a"
        demo = true
    """

    assert [loader.name for loader in loaded(file).loaders] == ["b", "a.1"]


HEAD = "[loaders.x]\nmatch = 'x:{id}'\n"
GOOD = f"{HEAD}demo = true\n"


@pytest.mark.parametrize(
    ("file", "mistake"),
    [
        (f"{GOOD}tll = 1", "4: [loaders.x] tll: no such option; did you mean ttl?"),
        (f"{GOOD}zzz = 1", "4: [loaders.x] zzz: no such option"),
        (f"{GOOD}[loaders.x.ttl]", "4: [loaders.x] ttl: a table is not a duration"),
        (HEAD, "1: [loaders.x]: its source is missing: one of url, call, redis, demo"),
        (f"{GOOD}call = 'a:b'", "3: [loaders.x] demo: it has a source already, call"),
        (
            f"{HEAD}url = 'http://h'\nredis = 'redis://h'",
            "4: [loaders.x] redis: it has a source already, url",
        ),
        (f"{HEAD}demo = false", "3: [loaders.x] demo: false is no source"),
        ("[loaders.x]\ndemo = true", "1: [loaders.x]: match is missing"),
        (
            "[loaders.x]\ndemo = true\nmatch = ''",
            "3: [loaders.x] match: '' is not a text with captures, as user:{id}: it is empty",
        ),
        (
            "[loaders.x]\ndemo = true\nmatch = '{a}{b}'",
            "3: [loaders.x] match: '{a}{b}' is not a text with captures, as user:{id}: "
            "no text between {a} and {b} tells them apart",
        ),
        (f"{HEAD}url = 'http://h/{{name}}'", "3: [loaders.x] url: {name} is no capture of match"),
        (
            f"{HEAD}url = 'http://h/{{id'",
            "3: [loaders.x] url: 'http://h/{id' is not an http:// or https:// URL: "
            "a brace is opened and not closed at character 10 ({{ is a literal one)",
        ),
        (
            f"{HEAD}url = 'ftp://h/{{id}}'",
            "3: [loaders.x] url: 'ftp://h/{id}' is not an http:// or https:// URL",
        ),
        (
            f"{HEAD}call = 'app.users.load'",
            "3: [loaders.x] call: 'app.users.load' is not package.module:function",
        ),
        (f"{HEAD}call = 'app users:load'", "3: [loaders.x] call: 'app users:load' is not"),
        (f"{HEAD}call = ':load'", "3: [loaders.x] call: ':load' is not"),
        (
            f"{HEAD}redis = 'redis://u:secret@h:x'",
            "3: [loaders.x] redis: 'redis://u:***@h:x' is not a redis://, rediss:// or unix:// "
            "URL: its port is not a number from 0 to 65535",
        ),
        (
            f"{GOOD}timeout = '10s'\nlease = '9s'",
            "5: [loaders.x] lease: it is shorter than the timeout, 10s",
        ),
        (f"{GOOD}lease = 4", "4: [loaders.x] lease: it is shorter than the timeout, 5s"),
        (
            f"{GOOD}negative_ttl = '61s'",
            "4: [loaders.x] negative_ttl: it is longer than the ttl, 60s",
        ),
        (f"{GOOD}ttl = 0", "4: [loaders.x] ttl: '0' is not a duration from 1ms to 8760h"),
        (f"{GOOD}ttl = -1", "4: [loaders.x] ttl: '-1' is not a duration"),
        (f"{GOOD}ttl = true", "4: [loaders.x] ttl: 'true' is not a duration"),
        (f"{GOOD}ttl = inf", "4: [loaders.x] ttl: 'inf' is not a duration"),
        (f"{GOOD}ttl = [1]", "4: [loaders.x] ttl: a list is not a duration"),
        (f"{GOOD}ttl = 2026-01-01", "4: [loaders.x] ttl: '2026-01-01' is not a duration"),
        (f"{GOOD}concurrency = 0", "4: [loaders.x] concurrency: '0' is not a whole number"),
        (f"{GOOD}concurrency = 1.5", "4: [loaders.x] concurrency: '1.5' is not a whole number"),
        (f"{GOOD}read_through = 1", "4: [loaders.x] read_through: '1' is not true or false"),
        (f"{GOOD}batch = 0", "4: [loaders.x] batch: '0' is not a whole number"),
        (f"{GOOD}batch = 2", "4: [loaders.x] batch: demo makes its values one by one"),
        (f"{GOOD}batch_url = 'http://h/'", "4: [loaders.x] batch_url: only a url has one"),
        (f"{HEAD}url = 'http://h'\nbatch = 2", "4: [loaders.x] batch: a url needs a batch_url"),
        (
            f"{HEAD}url = 'http://h'\nbatch_url = 'http://h/{{id}}'",
            "4: [loaders.x] batch_url: it is for all keys: no captures",
        ),
        (f"{GOOD}honour_cache_control = true", "4: [loaders.x] honour_cache_control: only a url"),
        (
            "[loaders.x]\ndemo = true\nmatch = 5",
            "3: [loaders.x] match: '5' is not a text with captures, as user:{id}: it is not in quo",
        ),
        ("[loaders.'a b']\nmatch = 'x'\ndemo = true", "1: [loaders.a b]: a loader's name is 1 to"),
        (f"[loaders.{'x' * 65}]\nmatch = 'x'\ndemo = true", f"1: [loaders.{'x' * 65}]: a loader's"),
        ("[loaders.\"\\n\"]\nmatch = 'x'\ndemo = true", "1: [loaders.'\\n']: a loader's name is"),
        (
            f"{GOOD}[loaders.y]\nmatch = 'x:{{other}}'\ndemo = true",
            "5: [loaders.y] match: [loaders.x] matches the same keys",
        ),
        ("loaders = 3", "1: loaders: it is not a table [loaders.<name>]"),
        ("[[loaders]]\nmatch = 'x'", "1: loaders: it is not a table [loaders.<name>]"),
        ("[loaders]\nx = 3", "2: [loaders.x]: it is not a table"),
        ("[loader.x]", "1: [loader]: no such table; did you mean loaders?"),
        ("loaders.x = { demo = true }", "1: [loaders.x]: match is missing"),
    ],
)
def test_a_mistake_has_its_place(file: str, mistake: str) -> None:
    (found,) = mistakes(file)

    assert found.startswith(f"nearhit.toml:{mistake}")


def test_all_mistakes_are_told_at_once() -> None:
    found = mistakes(
        """workers = 0
[loaders.a]
ttl = 'x'
lease = 1
[loaders.b]
match = '{'
url = 'x'
"""
    )

    assert [line.partition(" is not ")[0] for line in found] == [
        "nearhit.toml:3: [loaders.a] ttl: 'x'",
        "nearhit.toml:2: [loaders.a]: match is missing: the keys it is for",
        "nearhit.toml:2: [loaders.a]: its source is missing: one of url, call, redis, demo",
        "nearhit.toml:4: [loaders.a] lease: it is shorter than the timeout, 5s",
        "nearhit.toml:6: [loaders.b] match: '{'",
        "nearhit.toml:7: [loaders.b] url: 'x'",
        "nearhit.toml:1: workers: '0'",
    ]


def test_describe_tells_each_loaders_settings_and_where_they_came_from() -> None:
    config = loaded(
        "[loaders.users]\nmatch = 'user:{id}'\nurl = 'http://u:secret@h/{id}'\nttl = '4s'\n"
        "[loaders.old]\nmatch = 'old:{id}'\nredis = 'redis://:secret@h'\nread_through = true\n"
    )

    lines = [line.split() for line in config.describe() if line.startswith("loaders.")]

    assert lines == [
        ["loaders.users.match", "=", "user:{id}", "#", "nearhit.toml:2"],
        ["loaders.users.url", "=", "http://u:***@h/{id}", "#", "nearhit.toml:3"],
        ["loaders.users.batch_url", "=", "none", "#", "default"],
        ["loaders.users.headers", "=", "none", "#", "default"],
        ["loaders.users.ttl", "=", "4s", "#", "nearhit.toml:4"],
        ["loaders.users.negative_ttl", "=", "4s", "#", "default"],
        ["loaders.users.timeout", "=", "5s", "#", "default"],
        ["loaders.users.concurrency", "=", "16", "#", "default"],
        ["loaders.users.batch", "=", "1", "#", "default"],
        ["loaders.users.lease", "=", "7s", "#", "default"],
        ["loaders.users.backoff", "=", "1s", "#", "default"],
        ["loaders.users.grace", "=", "0s", "#", "default"],
        ["loaders.users.read_through", "=", "false", "#", "default"],
        ["loaders.users.tags", "=", "none", "#", "default"],
        ["loaders.users.fail_open", "=", "true", "#", "default"],
        ["loaders.users.honour_cache_control", "=", "false", "#", "default"],
        ["loaders.users.conditional", "=", "true", "#", "default"],
        ["loaders.old.match", "=", "old:{id}", "#", "nearhit.toml:6"],
        ["loaders.old.redis", "=", "redis://:***@h", "#", "nearhit.toml:7"],
        ["loaders.old.ttl", "=", "60s", "#", "default"],
        ["loaders.old.negative_ttl", "=", "5s", "#", "default"],
        ["loaders.old.timeout", "=", "5s", "#", "default"],
        ["loaders.old.concurrency", "=", "16", "#", "default"],
        ["loaders.old.batch", "=", "1", "#", "default"],
        ["loaders.old.lease", "=", "7s", "#", "default"],
        ["loaders.old.backoff", "=", "1s", "#", "default"],
        ["loaders.old.grace", "=", "0s", "#", "default"],
        ["loaders.old.read_through", "=", "true", "#", "nearhit.toml:8"],
        ["loaders.old.tags", "=", "none", "#", "default"],
        ["loaders.old.fail_open", "=", "true", "#", "default"],
    ]
    assert "secret" not in repr(config)


# --- Headers ----------------------------------------------------------------------------------

WEB = "[loaders.x]\nmatch = 'x:{id}'\nurl = 'http://h/{id}'\n"
SECRETS = {"TOKEN": "s3cret"}


def with_headers(file: str, environ: dict[str, str] = SECRETS) -> Config:
    return load({"config": "nearhit.toml"}, environ, lambda path: WEB + file)


def test_headers_are_a_table_and_may_have_values_from_the_environment() -> None:
    inline = with_headers("headers = { Authorization = 'Bearer ${TOKEN}', X-Key = 'v' }")
    apart = with_headers("[loaders.x.headers]\nAuthorization = 'Bearer ${TOKEN}'\nX-Key = 'v'")

    assert inline.loaders == apart.loaders
    assert inline.loaders[0].headers.pairs == (("Authorization", "Bearer s3cret"), ("X-Key", "v"))


def test_another_value_of_a_header_is_another_loader() -> None:
    text = "headers = { X-Key = '${TOKEN}' }"

    assert with_headers(text).loaders != with_headers(text, {"TOKEN": "new"}).loaders


def test_the_values_of_headers_are_never_shown() -> None:
    config = with_headers("headers = { Authorization = 'Bearer ${TOKEN}', X-Key = 'l1teral' }")
    (loader,) = config.loaders
    shown = "\n".join(loader.describe())

    assert "loaders.x.headers = Authorization, X-Key" in shown
    for text in (shown, repr(loader), repr(config), repr(loader.given)):
        assert "s3cret" not in text
        assert "l1teral" not in text


def test_a_mistake_in_a_header_names_loader_and_header_and_no_value() -> None:
    with pytest.raises(ConfigError) as caught:
        with_headers(
            "headers = { X-A = '${NONE}', Host = 's3cret', X-B = 's3cret ' }\n"
            "[loaders.y]\nmatch = 'y:{id}'\nurl = 'http://h/{id}'\n"
            "[loaders.y.headers]\nX-C = 's3cret '\n'X D' = 's3cret'"
        )

    lines = caught.value.mistakes
    assert [line.partition(": ")[0] for line in lines] == [
        *["nearhit.toml:4"] * 3, "nearhit.toml:9", "nearhit.toml:10",
    ]  # fmt: skip
    assert lines[0] == (
        "nearhit.toml:4: [loaders.x] headers.X-A: the variable NONE is not set, or empty"
    )
    assert lines[1].startswith("nearhit.toml:4: [loaders.x] headers.Host: it cannot be given: ")
    assert lines[4].startswith("nearhit.toml:10: [loaders.y] headers.X D: it is no name")
    assert "s3cret" not in "".join(lines)


@pytest.mark.parametrize("value", ["'a=b'", "7", "[{ X = 'a' }]"])
def test_headers_that_are_no_table_are_refused(value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_headers(f"headers = {value}")

    assert caught.value.mistakes == [
        "nearhit.toml:4: [loaders.x] headers: it is not a table of headers' names and texts"
    ]


def test_headers_are_a_urls_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded("[loaders.x]\nmatch = 'x'\ndemo = true\nheaders = { X = 'a' }\nconditional = true")

    assert caught.value.mistakes == [
        "nearhit.toml:4: [loaders.x] headers: only a url has one",
        "nearhit.toml:5: [loaders.x] conditional: only a url has one",
    ]


@pytest.mark.parametrize("option", ["url", "batch_url"])
def test_a_user_in_the_url_and_authorization_are_one_too_many(option: str) -> None:
    urls = {"url": "http://h/{id}", "batch_url": "http://h/"} | {option: "http://u:s3cret@h/"}
    with pytest.raises(ConfigError) as caught:
        loaded(
            "[loaders.x]\nmatch = 'x:{id}'\nheaders = { authorization = 'x' }\n"
            + "".join(f"{name} = '{url}'\n" for name, url in urls.items())
        )

    assert caught.value.mistakes == [
        f"nearhit.toml:3: [loaders.x] headers: {option} has a user, who would be sent as that too"
    ]
