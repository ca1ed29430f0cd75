"""Texts with captures: what they match, which URL they make, what is wrong with them."""

from __future__ import annotations

import re
import time

import pytest
from nearhit.proxy.keys.captures import URL_MAX, Pattern, TagTemplate, UrlTemplate


@pytest.mark.parametrize(
    ("pattern", "key", "captures"),
    [
        ("user:{id}", b"user:1", {"id": b"1"}),
        ("user:{id}", b"user:1:2", {"id": b"1:2"}),
        ("user:{id}", b"user:", None),
        ("user:{id}", b"user", None),
        ("user:{id}", b"xuser:1", None),
        ("user:{id}", b"user:\xff\n\0", {"id": b"\xff\n\0"}),
        ("{a}", b"x", {"a": b"x"}),
        ("{a}", b"", None),
        ("{a}:{b}", b"1:2:3", {"a": b"1", "b": b"2:3"}),
        ("{a}:{b}", b"::", None),
        ("{a}:{b}", b":::", {"a": b":", "b": b":"}),
        ("{a}:{b}", b"1:", None),
        ("{a}:{b}", b":1", None),
        ("{a}.json", b"x.json", {"a": b"x"}),
        ("{a}.json", b"x.json.json", {"a": b"x.json"}),
        ("{a}.json", b".json", None),
        ("u{a}-{b}-z", b"u1-2-3-z", {"a": b"1", "b": b"2-3"}),
        ("u{a}-{b}-z", b"u1-z", None),
        ("aa{x}aa", b"aaa", None),
        ("aa{x}aa", b"aaaaa", {"x": b"a"}),
        ("a{x}bb{y}bc", b"a1bbc", None),
        ("config", b"config", {}),
        ("config", b"config2", None),
        ("{{{a}}}", b"{1}", {"a": b"1"}),
        ("lock:{{x}}", b"lock:{x}", {}),
        ("größe:{a}", "größe:1".encode(), {"a": b"1"}),
    ],
)
def test_a_pattern_captures_up_to_the_next_literal(
    pattern: str, key: bytes, captures: dict[str, bytes] | None
) -> None:
    assert Pattern.parse(pattern).match(key) == captures


def test_a_key_made_to_slow_matching_down_does_not() -> None:
    pattern = Pattern.parse("{a}:{b}:{c}:{d}:end")
    begin = time.process_time()

    assert pattern.match(b":" * 1_000_000) is None

    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "it is empty"),
        ("user:{id", "a brace is opened and not closed at character 6 ({{ is a literal one)"),
        ("user:id}", "a brace is closed and not opened at character 8 (}} is a literal one)"),
        ("{a{b}", "a brace is opened and not closed at character 1 ({{ is a literal one)"),
        ("user:{}", "a capture has no name: {}"),
        ("{a b}", "{a b} is no name: letters, digits and _"),
        ("{1}", "{1} is no name: letters, digits and _"),
        ("{a}:{a}", "the capture {a} is there twice"),
        ("{a}{b}", "no text between {a} and {b} tells them apart"),
        ("x{a}-{b}{c}", "no text between {b} and {c} tells them apart"),
    ],
)
def test_a_pattern_that_means_nothing_says_why(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)) as caught:
        Pattern.parse(text)

    assert str(caught.value) == wrong


def test_the_weight_of_a_pattern_is_its_literal_text() -> None:
    texts = ["{a}", "u:{a}", "u:{a}:{b}", "user:{a}", "u{{{a}"]

    assert [Pattern.parse(text).weight for text in texts] == [0, 2, 3, 5, 2]


# --- URLs


@pytest.mark.parametrize(
    ("template", "captures", "url"),
    [
        ("http://h/users/{id}", {"id": b"1"}, "http://h/users/1"),
        ("http://h/{id}{id}", {"id": b"a/b?c#d e&f"}, "http://h/" + "a%2Fb%3Fc%23d%20e%26f" * 2),
        ("https://h:1/x?id={id}&v={{}}", {"id": b"\xff\r\n"}, "https://h:1/x?id=%FF%0D%0A&v={}"),
        ("http://u:p@h/{id}", {"id": b"%2e%2e"}, "http://u:p@h/%252e%252e"),
        ("http://h/{id}.json", {"id": b".."}, "http://h/...json"),
        ("http://h?q={id}", {"id": b".."}, "http://h?q=.."),
        ("http://h/fixed", {}, "http://h/fixed"),
    ],
)
def test_captures_are_percent_encoded_in_a_url(
    template: str, captures: dict[str, bytes], url: str
) -> None:
    assert UrlTemplate.parse(template).fill(captures) == url


@pytest.mark.parametrize("dots", [b".", b".."])
@pytest.mark.parametrize(
    "template", ["http://h/users/{id}", "http://h/{id}/x", "http://h/a/{id}?b"]
)
def test_a_key_cannot_climb_out_of_the_path(template: str, dots: bytes) -> None:
    with pytest.raises(ValueError, match=r"a part of its path would be \. or \.\."):
        UrlTemplate.parse(template).fill({"id": dots})


def test_a_url_has_a_longest_length() -> None:
    with pytest.raises(ValueError, match="longer than 8192 bytes"):
        UrlTemplate.parse("http://h/{id}").fill({"id": b"x" * (URL_MAX + 1)})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h/x",
        "ftp://h/x",
        "http:///x",
        "http://h:x/",
        "http://h:65536/",
        "http://[::1/",
        "http://{host}/x",
        "http://h{x}/",
        "http://u:{p}@h/",
        "{x}",
        "http://h/ x",
        "http://h/ü",
        "http://h/{x",
        "http://h/../x",
        "redis://h/{x}",
    ],
)
def test_a_url_that_leads_nowhere_or_anywhere_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        UrlTemplate.parse(text)


def test_the_host_of_a_url_is_told_without_its_password() -> None:
    assert UrlTemplate.parse("http://u:secret@h:8000/{x}?token=secret").host == "h:8000"


# --- Tags -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        ("team", b"team"),
        ("user:{id}", b"user:\xff"),
        ("{id}", b"\xff"),
        ("{id}{id}-é", b"\xff\xff-\xc3\xa9"),
    ],
)
def test_a_tag_has_the_captures_in_it(template: str, tag: bytes) -> None:
    parsed = TagTemplate.parse(template)

    assert parsed.fill({"id": b"\xff", "more": b"x"}) == tag
    assert str(parsed) == template


@pytest.mark.parametrize("template", ["", "}a", "{", "{a", "{1}"])
def test_a_tag_that_cannot_be_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        TagTemplate.parse(template)
