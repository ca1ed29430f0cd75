"""Loaders: which one a key has, and that they end what they opened."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from nearhit.proxy.errors import ExitCode, LoadError, LoadTimeout, StartError
from nearhit.proxy.keys.captures import Pattern, UrlTemplate
from nearhit.proxy.loading import loaders as module
from nearhit.proxy.loading.loaders import WARM_PATIENCE, Loader, Loaders
from nearhit.proxy.loading.source import Loaded, SourceError
from nearhit.proxy.loading.url import UrlSource
from nearhit.proxy.settings.loaders import DEMO, LoaderSettings

from tests.fakes import Tasks, settle


def demo(name: str, match: str, *, read_through: bool = False, grace: float = 0) -> LoaderSettings:
    return LoaderSettings(
        name=name, match=Pattern.parse(match), demo=True, read_through=read_through, grace=grace
    )


def url(name: str, match: str, *, read_through: bool = False) -> LoaderSettings:
    return LoaderSettings(
        name=name,
        match=Pattern.parse(match),
        url=UrlTemplate.parse("http://127.0.0.1:1/x"),
        read_through=read_through,
    )


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (b"user:1", "users"),
        (b"user:1:posts", "posts"),
        (b"user:admin", "admin"),
        (b"a-b", "first"),
        (b"nothing", None),
        (b"", None),
    ],
)
def test_the_most_literal_match_wins_and_the_first_of_equals(key: bytes, name: str | None) -> None:
    loaders = Loaders(
        [
            demo("users", "user:{id}"),
            demo("posts", "user:{id}:posts"),
            demo("admin", "user:admin"),
            demo("first", "a{x}b"),
            demo("second", "{x}-b"),
        ]
    )

    found = loaders.match(key)

    assert (found.name if found else None) == name


def test_a_loader_is_found_by_its_name() -> None:
    loaders = Loaders([demo("users", "user:{id}")])

    assert (found := loaders.named("users")) is not None
    assert found.name == "users"
    assert loaders.named("user") is None


def test_without_loaders_nothing_matches() -> None:
    loaders = Loaders([])

    assert loaders.match(b"k") is None
    assert not loaders.manages(b"k")
    assert not loaders.read_through(b"k")
    assert (loaders.any_managed, loaders.any_read_through) == (False, False)
    assert repr(loaders) == "<Loaders none>"


def test_a_key_is_managed_where_a_loader_other_than_a_demo_matches() -> None:
    loaders = Loaders([url("users", "user:{id}"), demo("posts", "post:{id}")])

    assert loaders.any_managed
    assert loaders.manages(b"user:1")
    assert not loaders.manages(b"user:")
    assert not loaders.manages(b"post:1")
    assert not Loaders([demo("posts", "post:{id}")]).any_managed


def test_a_key_is_read_through_where_its_own_loader_says_so() -> None:
    loaders = Loaders([url("users", "user:{id}", read_through=True), url("x", "user:x{id}")])

    assert loaders.any_read_through
    assert loaders.read_through(b"user:1")
    assert not loaders.read_through(b"user:x1")
    assert not loaders.read_through(b"other")


def test_the_demo_loader_is_added_unless_one_of_that_name_is_there() -> None:
    assert (added := Loaders([], demo=True).match(b"demo:1")) is not None
    assert added.settings is DEMO
    assert Loaders([demo("demo", "d:{x}")], demo=True).match(b"demo:1") is None
    assert Loaders([]).match(b"demo:1") is None


async def test_the_demo_loader_makes_a_value_from_the_key() -> None:
    loader = Loaders([], demo=True).named("demo")
    assert loader is not None

    loaded = await loader.load(b"demo:\xff", Tasks().start)

    assert (loaded.value, loaded.ttl_ms, loaded.exact) == (b"demo value of demo:\xff", None, False)


async def test_a_loader_named_for_a_key_it_is_not_for_says_so() -> None:
    loader = Loaders([url("users", "user:{id}")]).named("users")
    assert loader is not None

    with pytest.raises(LoadError, match="loader 'users': its match does not fit the key"):
        await loader.load(b"post:1", Tasks().start)


async def test_only_a_url_without_a_batch_is_asked_whether_a_value_still_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    async def refresh(self: UrlSource, key: bytes, captures: object, known: bytes) -> Loaded:
        asked.append((key, captures, known))
        return Loaded(known, not_modified=True)

    async def load(self: UrlSource, key: bytes, captures: object) -> Loaded:
        return Loaded(b"whole")

    monkeypatch.setattr(UrlSource, "refresh", refresh)
    monkeypatch.setattr(UrlSource, "load", load)
    monkeypatch.setattr(UrlSource, "confirms", lambda *_: True)
    batched = LoaderSettings(
        name="many",
        match=Pattern.parse("many:{id}"),
        url=UrlTemplate.parse("http://127.0.0.1:1/x"),
        batch_url=UrlTemplate.parse("http://127.0.0.1:1/x"),
        batch=100,
    )
    loaders = Loaders([url("one", "one:{id}"), batched, demo("demo", "demo:{id}")])
    one, many, made = (loaders.match(key) for key in (b"one:1", b"many:1", b"demo:1"))
    assert one is not None
    assert many is not None
    assert made is not None

    assert [loader.confirms(b"k", b"d") for loader in (one, many, made)] == [True, False, False]
    start = Tasks().start
    assert (await one.load(b"one:1", start, b"v")).not_modified
    assert await one.load(b"one:1", start) == Loaded(b"whole")
    assert await many.load(b"many:1", start, b"v") == Loaded(b"whole")
    assert (await made.load(b"demo:1", start, b"v")).value == b"demo value of demo:1"
    assert asked == [(b"one:1", {"id": b"1"}, b"v")]
    await loaders.close()


def test_every_function_that_is_not_there_is_told_at_the_start() -> None:
    with pytest.raises(StartError) as caught:
        Loaders(
            [
                LoaderSettings(
                    name="a", match=Pattern.parse("a:{x}"), call="no_such_module_here:f"
                ),
                LoaderSettings(
                    name="b", match=Pattern.parse("b:{x}"), call="json:no_such_function"
                ),
            ]
        )

    assert caught.value.exit_code == ExitCode.BAD_SETTINGS
    first, second = str(caught.value).split("; ")
    assert first.startswith("[loaders.a] call: cannot import no_such_module_here: ModuleNotFound")
    assert second == "[loaders.b] call: json has no no_such_function"


async def test_loaders_can_be_read_at_three_in_the_morning() -> None:
    loaders = Loaders([url("users", "user:{id}")], demo=True)

    assert repr(loaders) == "<Loaders users demo>"
    assert repr(loaders.match(b"user:1")) == (
        "<Loader users user:{id} <UrlSource 127.0.0.1:1> <Gate running=0/16 warming=0 waiting=0>>"
    )
    await loaders.close()


async def test_loaders_are_replaced_and_what_is_as_it_was_stays() -> None:
    loaders = Loaders([demo("users", "user:{id}"), url("posts", "post:{id}")])
    users, posts = loaders.named("users"), loaders.named("posts")

    loaders.replace([demo("users", "user:{id}"), url("posts", "post:{id}", read_through=True)])

    assert loaders.named("users") is users
    assert loaders.named("posts") is not posts
    assert loaders.any_read_through
    assert loaders.any_managed
    loaders.replace([])
    assert loaders.match(b"user:1") is None
    assert not loaders.any_managed
    await loaders.close()


async def test_some_keys_are_to_be_timed() -> None:
    loaders = Loaders([demo("users", "user:{id}"), demo("own", "user:me")])
    assert not loaders.any_timed
    assert not loaders.timed(b"user:1")
    assert loaders.near_ms(b"user:1", 5000) == 5000

    loaders.replace([demo("users", "user:{id}", grace=2.0), demo("own", "user:me")])

    assert loaders.any_timed
    assert loaders.timed(b"user:1")
    assert loaders.near_ms(b"user:1", 5000) == 3000
    # The most literal loader is another one.
    assert not loaders.timed(b"user:me")
    assert loaders.near_ms(b"user:me", 5000) == 5000
    await loaders.close()


def test_a_replacement_that_cannot_be_made_changes_nothing() -> None:
    loaders = Loaders([demo("users", "user:{id}")])
    users = loaders.named("users")
    broken = LoaderSettings(name="x", match=Pattern.parse("x:{id}"), call="no.such:function")

    with pytest.raises(StartError):
        loaders.replace([broken])

    assert loaders.match(b"user:1") is users


async def test_what_was_replaced_is_closed_once_its_loads_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    closed: list[str] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def close(self: Loader) -> None:
        closed.append(self.name)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    monkeypatch.setattr(Loader, "close", close)
    loaders = Loaders([demo("users", "user:{id}")])
    loaders.replace([])

    await loaders.close_replaced()
    await loaders.close()

    assert closed == ["users"]
    assert slept == [2 * (DEMO.lease + DEMO.timeout) + WARM_PATIENCE]


async def test_what_a_loader_with_a_batch_is_asked_for_side_by_side_is_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists_of_loaders.py").write_text("async def many(id): return [str(id)] * len(id)")
    monkeypatch.syspath_prepend(str(tmp_path))
    match = Pattern.parse("user:{id}")
    row = LoaderSettings(name="x", match=match, call="lists_of_loaders:many", batch=10)
    loaders = Loaders([row])
    loader = loaders.named("x")
    assert loader is not None
    tasks = Tasks()

    with loader.coming(tasks.start):
        wait = asyncio.gather(*(loader.load(b"user:%d" % n, tasks.start) for n in (1, 2)))
        await settle()
    one, two = await wait
    alone = await loader.load(b"user:3", tasks.start)

    assert (one.value, two.value, alone.value) == (b"['1', '2']", b"['1', '2']", b"['3']")
    await loaders.close()


class Keys:
    """A source that has keys, by script."""

    def __init__(self) -> None:
        self.error: SourceError | None = None
        self.hangs = False

    async def page(self, glob: bytes, cursor: int) -> tuple[int, list[bytes]]:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return cursor + 1, [glob]

    async def load(self, key: bytes, captures: object) -> Loaded:
        raise AssertionError

    async def close(self) -> None: ...


async def test_keys_are_looked_up_in_the_time_of_a_load_and_errors_name_the_loader() -> None:
    keys = Keys()
    loader = Loader(replace(demo("old", "user:{id}"), timeout=0.01), keys)

    assert await loader.page(b"a*", 5) == (6, [b"a*"])
    keys.error = SourceError("away")
    with pytest.raises(LoadError, match="LOADERR loader 'old': away"):
        await loader.page(b"a*", 0)
    keys.hangs = True
    with pytest.raises(LoadTimeout, match="LOADTIMEOUT loader 'old': no answer in 10 ms"):
        await loader.page(b"a*", 0)


async def test_a_loader_says_what_it_loads_from_and_no_more() -> None:
    loaders = Loaders([demo("made", "a:{x}"), url("asked", "b:{x}")])

    assert {one.name: one.kind for one in loaders} == {"made": "demo", "asked": "url"}


async def test_a_loader_says_which_server_it_asks_and_no_word_of_a_secret() -> None:
    old = LoaderSettings(name="old", match=Pattern.parse("c:{x}"), redis="redis://me:pw@h:1/2")
    loaders = Loaders([demo("made", "a:{x}"), url("asked", "b:{x}"), old])

    addresses = {one.name: one.address for one in loaders}
    assert addresses == {"made": "", "asked": "127.0.0.1:1", "old": "h:1"}
