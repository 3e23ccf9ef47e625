"""Regular expressions of users: those of JSON Schema, in time that grows with the text alone."""

import time

import pytest

from schemas import patterns


@pytest.mark.timeout(30)
@pytest.mark.parametrize("pattern", ["(a+)+", "(a|aa)+", "(a|a?)+", "([a-z]+)*x", ".*.*.*.*.*=.*"])
def test_no_text_takes_long(pattern: str) -> None:
    fits = patterns.whole(pattern)
    began = time.process_time()
    assert not fits("a" * 30_000 + "!")
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"qa-\d+", "QA-17", True),
        (r"qa-\d+", "qa-17\n", False),  # Python's `$` fits before a last line break
        (r"a|b", "ab", False),
        (r"[\u4e00-\u9fa5]{2,4}", "张伟", True),
        (r"\p{Script=Han}+", "张伟", True),
        (r"\d+", "٣", False),  # ECMA-262: these are ASCII
        (r"(?<year>\d{4})-\d\d", "2026-11", True),
        (r"(?i)test", "TEST", True),
        (r"\/\-\.", "/-.", True),
        (r".{1,1000}", "x" * 1_000, True),
    ],
)
def test_they_are_those_of_json_schema(pattern: str, text: str, expected: bool) -> None:
    assert patterns.whole(pattern)(text) is expected


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"(?=a)b", "lookahead"),
        (r"a(?!b)", "lookahead"),
        (r"(?<=a)b", "lookbehind"),
        (r"(?<!a)b", "lookbehind"),
        (r"(a)\1", "references to a group"),
        (r"(?<n>a)\k<n>", "references to a group"),
        (r"(?P<n>a)(?P=n)", "references to a group"),
        (r"(", "no regular expression: missing )"),
        (r"a)|(b", "no regular expression: unbalanced parenthesis"),
        (r"a.{1000}b.{1000}c", "too large"),
    ],
)
def test_what_they_cannot_do_is_said(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        patterns.whole(pattern)
    assert says in str(raised.value)
    assert str(raised.value).endswith(repr(pattern))


@pytest.mark.parametrize("pattern", [r"\(\?=a", r"\\\\d", r"a\\b"])
def test_escaped_letters_are_nothing_of_the_kind(pattern: str) -> None:
    patterns.whole(pattern)
