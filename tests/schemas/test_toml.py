"""The configuration file: every error at once with its line, secrets, paths, the packaged default, the rules
document."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.config import Secret
from schemas.config.locate import lines
from schemas.config.toml import DEFAULT, load, problems, read, resolved, spelled, unspelled
from schemas.errors import ConfigError

SECRET = "whsec_" + "QUJD" * 8
PROCESSOR = """[[connector]]
name = '{}'
type = 'opendsr'
identify = ['email']
url = 'https://dsr.example/requests'
token = 'secret'
domain = '{}'
certificate = 'dsr.pem'
"""


def found(text: str, environment: dict[str, str] | None = None) -> list[str]:
    return [str(problem) for problem in problems(text, environment or {})]


# --- one error of each kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae = 'x'", "line 1: nmae: unknown key `nmae`; did you mean `name`?"),
        ("\n[redis]\nurll = 'x'", "line 3: redis.urll: unknown key `urll`; did you mean `url`?"),
        ("[zzz]\na = 1", "line 1: zzz: unknown key `zzz`"),
        ("name = 3", "line 1: name: expected a name (letters, digits, `_`, `-`, `.`; at most 64), got 3"),
        ("window = 3", "line 1: window: expected a table, got 3"),
        ("tag = 3", "line 1: tag: expected a list, got 3"),
        ("tag = [3]", "line 1: tag[0]: expected a table, got 3"),
        ("connector = [3]", "line 1: connector[0]: expected a table, got 3"),
        ("window.events = '3'", "line 1: window.events: expected a whole number, got '3'"),
        ("window.events = 2.0", "line 1: window.events: expected a whole number, got 2.0"),
        ("window.events = true", "line 1: window.events: expected a whole number, got true"),
        ("churn.enabled = 1", "line 1: churn.enabled: expected true or false, got 1"),
        ("churn.learning_rate = nan", "line 1: churn.learning_rate: expected a number > 0.0, got nan"),
        ("data.folder = 1979-05-27", "line 1: data.folder: expected text that is not empty, got a date"),
        ("data.folder = ''", "line 1: data.folder: expected text that is not empty, got ''"),
        ("shards.count = 0", "line 1: shards.count: expected a whole number >= 1, got 0"),
        ("shards.count = 4097", "line 1: shards.count: expected a whole number <= 4096, got 4097"),
        (
            "shards.cache = 99999999999999999999",
            "line 1: shards.cache: expected a whole number <= 9007199254740992, got 99999999999999999999",
        ),
        (
            "window.wait = 200",
            "line 1: window.wait: expected a duration such as 200ms, 30s, 5m, 12h, 90d or 2w, got '200'",
        ),
        ("window.wait = '0s'", "line 1: window.wait: must be more than nothing"),
        ("window.wait = '30s'", "line 1: window.wait: must be shorter than 30s, got 30s"),
        (
            "gateway.event_bytes = '4XB'",
            "line 1: gateway.event_bytes: expected a size such as 512B, 32KB or 4MB, got '4XB'",
        ),
        (
            "gateway.event_bytes = '4MB'",
            "line 1: gateway.event_bytes: must not be larger than `batch_bytes` (500KB)",
        ),
        (
            "log.level = 'inf'",
            "line 1: log.level: expected one of debug, info, warning, error; got 'inf'; did you mean `info`?",
        ),
        ("log.level = []", "line 1: log.level: expected one of debug, info, warning, error; got a list"),
        (
            "gateway.listen = '8080'",
            "line 1: gateway.listen: expected host:port, such as 127.0.0.1:8080, got '8080'",
        ),
        ("metrics.listen = 'x:99999'", "line 1: metrics.listen: a port is at most 65535, got x:99999"),
        (
            "backup.keys = 'backup/keycopy.db'",
            "line 1: backup.keys: must not lie in backup.folder (backup): who has the data would have its"
            " keys",
        ),
        (
            "backup = {folder = '/mnt/b/', keys = '/mnt/x/../b/c/keycopy.db'}",
            "line 1: backup.keys: must not lie in backup.folder (/mnt/b/): who has the data would have its"
            " keys",
        ),
        (
            "archive.folder = '/mnt/b'\nbackup = {keys = '/mnt/b/keycopy.db'}",
            "line 2: backup.keys: must not lie in archive.folder (/mnt/b): who has the data would have its"
            " keys",
        ),
        (
            "keys.path = 'archive/k'",
            "line 1: keys.path: must not lie in archive.folder (archive): who has the data would have its"
            " keys",
        ),
        ("redis.url = '${NOPE}'", "line 1: redis.url: the environment has no NOPE"),
        ("redis.url = 'http://x'", "line 1: redis.url: expected `embedded`, redis://, rediss:// or unix://"),
        ("kafka.registry = 'x'", "line 1: kafka.registry: expected http:// or https://"),
        ("kafka.topics = []", "line 1: kafka.topics: expected at least one element"),
        ("gateway.write_keys = [{source = 'web'}]", "line 1: gateway.write_keys[0].key: `key` is missing"),
        (
            "gateway.write_keys = [{source = 'web', key = 5}]",
            "line 1: gateway.write_keys[0].key: expected text",
        ),
        (
            "gateway.write_keys = [{source = 'web', key = ''}]",
            "line 1: gateway.write_keys[0].key: the key is empty",
        ),
        (
            "gateway.read_tokens = ['demo']",
            "line 1: gateway.read_tokens[0]: a write key or another token is the same",
        ),
        (
            "gateway.steward_tokens = ['demo-read']",
            "line 1: gateway.steward_tokens[0]: a write key or another token is the same",
        ),
        (
            "gateway.public_url = 'data.example.com'",
            "line 1: gateway.public_url: expected https://HOST without a path, got 'data.example.com'",
        ),
        (
            "gateway.public_url = 'https://example.com/privacy'",
            "line 1: gateway.public_url: expected https://HOST without a path, got"
            " 'https://example.com/privacy'",
        ),
        (
            "gateway.public_url = 'http://data.example.com'",
            "line 1: gateway.public_url: expected https://, got 'http://data.example.com': what is held of"
            " customers would cross the network in plain text",
        ),
        ("centre.session = '13h'", "line 1: centre.session: expected 1m to 12h, got 13h"),
        ("centre.session = '10s'", "line 1: centre.session: expected 1m to 12h, got 10s"),
        ("centre.version = ''", "line 1: centre.version: expected text of 1 to 64 characters, got ''"),
        (
            "[[centre.called]]\nname = 'x'\nen = 'a'\nzh = 'b'\n"
            "[[centre.called]]\nname = 'x'\nen = 'a'\nzh = 'b'",
            "line 6: centre.called[1].name: `x` is called twice",
        ),
        (
            f"{PROCESSOR.format('one', 'dsr.example')}{PROCESSOR.format('two', 'DSR.example')}",
            "line 15: connector[1].domain: the processor 'one' has the same",
        ),
        (
            "gateway.privacy_tokens = ['demo-read']",
            "line 1: gateway.privacy_tokens[0]: a write key or another token is the same",
        ),
        (
            "opendsr.url = 'http://dsr.example.org'\nopendsr.key = 'k'\nopendsr.certificate = 'c'\n"
            "gateway.privacy_tokens = ['p']",
            "line 1: opendsr.url: expected https://, got 'http://dsr.example.org': requests name people",
        ),
        (
            "opendsr = {url = 'https://dsr.example.org', certificate = 'c'}\ngateway.privacy_tokens = ['p']",
            "line 1: opendsr.key: expected a PEM file: each answer to a controller has to be signed",
        ),
        (
            "opendsr = {url = 'https://dsr.example.org', key = 'k', certificate = 'c'}",
            "line 1: opendsr.url: gateway.privacy_tokens is empty, so nobody could send a request: give each"
            " controller a token",
        ),
        (
            "opendsr = {url = 'https://dsr.example.org', key = 'k', certificate = 'c', identities ="
            " {card = 'cards'}}\ngateway.privacy_tokens = ['p']",
            "line 1: opendsr.identities.card: there is no namespace 'cards': expected one of user_id, phone,"
            " email, device, anonymous",
        ),
        (
            "opendsr.url = 'example.org'",
            "line 1: opendsr.url: expected a URL such as https://opendsr.example.org, or nothing,"
            " got 'example.org'",
        ),
        (
            "shards.log_max = 9",
            "line 1: shards.log_max: expected at least 10: a shard's clock alone fills it, got 9",
        ),
        (
            "shards.outbox_max = 499",
            "line 1: shards.outbox_max: expected at least `window.events` (500), which may all lead to one"
            " shard at once, got 499",
        ),
        (
            "raw.max_events = 19_999",
            "line 1: raw.max_events: expected room for a request (`gateway.batch_events`, 2500) in each of"
            " the 8 partitions, so at least"
            " 20000, got 19999",
        ),
        ("deliver.backoff = '10m'", "line 1: deliver.backoff_max: must not be shorter than `backoff` (10m)"),
        (
            "retention.customers = '73s'",
            "line 1: retention.customers: expected at least 1d, got 73s; leave it out to keep them",
        ),
        (
            "retention.requests = '1d'",
            "line 1: retention.requests: expected at least 30d, got 1d; leave it out to keep them",
        ),
        ("lifecycle.lost = '30d'", "line 1: lifecycle.lost: must be longer than `slipping` (30d)"),
        (
            "identity.blocked_patterns = ['ok', '*']",
            "line 1: identity.blocked_patterns[1]: no regular expression: nothing to repeat at position 0:"
            " '*'",
        ),
        ("identity.namespace = []", "line 1: identity.namespace: without a namespace nobody can be known"),
        (
            "validate.plan = [{event = 'x', schema = 'x.xml'}]",
            "line 1: validate.plan[0].schema: expected a file ending in .json or .avsc, got 'x.xml'",
        ),
        ("a = ", "line 1: not TOML: invalid value at the end of the file"),
        ("a = 1\na = 2", "line 2: not TOML: cannot overwrite a value at the end of the file"),
        (
            "a = 1 b = 2",
            "line 1: not TOML: expected newline or end of document after a statement at column 7",
        ),
        ("a = " + "[" * 5_000, "line 1: nested too deeply"),
    ],
)
def test_one_error(text: str, message: str) -> None:
    assert found(text) == [message]


@pytest.mark.parametrize(
    "text",
    [
        "shards = {log_max = 10, outbox_max = 500}",
        "shards.outbox_max = 1\nwindow.events = 1",
        "raw.max_events = 20_000",
        "raw = {max_events = 1, log = 'kafka'}",
        "raw = {max_events = 1, partitions = 1}\ngateway.batch_events = 1",
    ],
)
def test_limits_that_are_just_large_enough(text: str) -> None:
    assert found(text) == []


def test_keys_beside_the_backups_and_the_archive_are_apart_from_them() -> None:
    assert (
        found(
            "backup = {folder = '/mnt/b/backup', keys = '/mnt/b/backup.keys'}\narchive.folder ="
            " '/mnt/b/archive'"
        )
        == []
    )


def entries(kind: str, *bodies: str) -> str:
    return "\n".join(f"[[{kind}]]\n{body}" for body in bodies)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            entries("tag", "name = 'a'\nwhen = 'True'", "name = 'a'\nwhen = 'True'"),
            "line 5: tag[1].name: there is another tag `a`",
        ),
        (entries("tag", "name = 'a'"), "line 1: tag[0].when: `when` is missing"),
        (
            entries("aggregate", "name = 'segment'\nof = 'count'"),
            "line 2: aggregate[0].name: `segment` already means something in expressions",
        ),
        (
            entries("aggregate", "name = 'and'\nof = 'count'"),
            "line 2: aggregate[0].name: `and` already means something in expressions",
        ),
        (
            entries("aggregate", "name = 'a'\nof = 'sum'"),
            "line 1: aggregate[0].value: `sum` needs the name of a property",
        ),
        (
            entries("aggregate", "name = 'a'\nof = 'count'\nvalue = 'x'"),
            "line 4: aggregate[0].value: `count` counts events and takes no value",
        ),
        (
            entries("aggregate", "name = 'a'\nof = 'max'\nvalue = 'x'\nover = '1d'"),
            "line 5: aggregate[0].over: `over` is for count and sum only",
        ),
        (
            entries("aggregate", "name = 'a'\nof = 'count'\nover = '1d'\nhalf_life = '1d'"),
            "line 5: aggregate[0].half_life: either `over` or `half_life`, not both",
        ),
        (
            entries("aggregate", "name = 'a'\nof = 'coun'\nvalue = 'x'"),
            "line 3: aggregate[0].of: expected one of count, sum, min, max, last, distinct, top_k; got"
            " 'coun'; did you mean `count`?",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'webhook'\nurl = 'https://x'"),
            "line 1: connector[0].secrets: a connector of type webhook needs `secrets`",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'kafka'"),
            "line 1: connector[0].topic: a connector of type kafka needs `topic`",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'redis'"),
            "line 1: connector[0].stream: a connector of type redis needs `stream`",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'file'"),
            "line 1: connector[0].path: a connector of type file needs `path`",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'file'\npath = 'x'\ntopic = 'y'"),
            "line 5: connector[0].topic: `topic` is for connectors of type kafka, this one is file",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'kafka'\ntopic = 'y'\nconcurrency = 2"),
            "line 5: connector[0].concurrency: `concurrency` is for connectors of type webhook, this one is"
            " kafka",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'file'\npath = 'x'\ntopik = 'y'"),
            "line 5: connector[0].topik: unknown key `topik`; did you mean `topic`?",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'file'\npath = ''"),
            "line 4: connector[0].path: expected text that is not empty, got ''",
        ),
        (
            entries("connector", f"name = 'a'\nurl = 'https://x'\nsecrets = ['{SECRET}']"),
            "line 1: connector[0].type: `type` is missing",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'file'\npath = 'x'\nidentify = ['emai']"),
            "line 5: connector[0].identify[0]: neither a namespace nor a sensitive field: `emai`; did you"
            " mean `email`?",
        ),
        (
            entries("connector", f"name = 'a'\ntype = 'webhook'\nurl = 'x'\nsecrets = ['{SECRET}']"),
            "line 4: connector[0].url: expected http:// or https://",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'webhook'\nurl = 'http://x'\nsecrets = ['whsec_short']"),
            "line 5: connector[0].secrets[0]: expected `whsec_` and the base64 of 24 to 64 random bytes",
        ),
        (
            entries("connector", "name = 'a'\ntype = 'wbehook'\nurl = 'x'"),
            "line 3: connector[0].type: expected one of webhook, kafka, redis, file, opendsr; got 'wbehook';"
            " did you mean `webhook`?",
        ),
        (
            entries("identity.namespace", "name = 'a'\npaths = ['x']\nlimit = 0"),
            "line 4: identity.namespace[0].limit: expected a whole number >= 1, got 0",
        ),
        (
            entries("identity.namespace", *["name = 'a'\npaths = ['x']\nlimit = 1"] * 2),
            "line 6: identity.namespace[1].name: there is another namespace `a`",
        ),
    ],
)
def test_one_error_in_an_entry(text: str, message: str) -> None:
    assert found(text) == [message]


def test_a_connector_of_no_known_type_is_still_looked_at() -> None:
    """What belongs to any type may be right; its values are checked all the same."""
    text = entries("connector", "name = 'a'\ntype = 'fil'\npath = 'x'\nurl = ''\nmax_length = 0")
    assert found(text) == [
        "line 3: connector[0].type: expected one of webhook, kafka, redis, file, opendsr; got 'fil'; did you"
        " mean `file`?",
        "line 5: connector[0].url: expected text that is not empty, got ''",
        "line 6: connector[0].max_length: expected a whole number >= 1, got 0",
    ]


ONE_OF = (
    "exactly one of event, tag_entered, tag_left, segment_entered, segment_left, score_above,"
    " score_below or after/without/within"
)


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("{}", f"trigger[0].on: {ONE_OF}"),
        ("{event = 'a', tag_left = 'vip'}", f"trigger[0].on: {ONE_OF}"),
        (
            "{after = 'a'}",
            "trigger[0].on: after, without and within go together; without and within is missing",
        ),
        ("{event = ''}", "trigger[0].on.event: expected the name of an event"),
        ("{tag_entered = 'vpi'}", "trigger[0].on.tag_entered: there is no tag `vpi`; did you mean `vip`?"),
        ("{segment_left = 'x'}", "trigger[0].on.segment_left: there is no segment `x`"),
        (
            "{score_above = {chrun = 0.5}}",
            "trigger[0].on.score_above: there is no model `chrun`; did you mean `churn`?",
        ),
        (
            "{score_below = {churn = 1.5}}",
            "trigger[0].on.score_below: a threshold lies between 0 and 1, got 1.5",
        ),
        (
            "{score_above = {}}",
            "trigger[0].on.score_above: expected one model and its threshold, such as {churn = 0.8}",
        ),
        ("{score_above = {churn = 'x'}}", "trigger[0].on.score_above.churn: expected a number, got 'x'"),
    ],
)
def test_what_fires_a_trigger_is_exactly_one_thing(on: str, message: str) -> None:
    text = f"[[tag]]\nname = 'vip'\nwhen = 'True'\n[[trigger]]\nname = 't'\non = {on}"
    assert found(text) == [f"line 6: {message}"]


def test_every_error_comes_at_once_in_the_order_of_lines() -> None:
    text = """
name = "shop"
[window]
wait = "1m"       # too long
evnts = 3
[[trigger]]
name = "t"
on = {event = "x"}
to = ["fiel", "${NOT_READ_HERE}"]
[[connector]]
name = "file"
type = "file"
path = "${NOPE}"
"""
    assert [(problem.line, problem.path) for problem in problems(text, {})] == [
        (4, "window.wait"),
        (5, "window.evnts"),
        (9, "trigger[0].to[0]"),
        (9, "trigger[0].to[1]"),
        (13, "connector[0].path"),
    ]


def test_no_message_shows_a_secret() -> None:
    text = """
[gateway]
write_keys = [{key = "hidden-1", source = "web"}, {key = "hidden-1", source = "app"}]
read_tokens = ["hidden-1", 12345]
redis = "x"
[[connector]]
name = "a"
type = "webhook"
url = "https://x"
secrets = ["${HIDDEN}"]
"""
    messages = "\n".join(found(text, {"HIDDEN": "hidden-2"}))
    assert messages.count("\n") == 4
    assert "hidden" not in messages.replace("HIDDEN", "")
    assert "12345" not in messages
    assert "hidden" not in repr(Secret("hidden"))


# --- lines


def test_the_line_of_everything() -> None:
    text = '''# first
"a b" = 1
c.d = [  # a list
  1,
  {e = 2, f = "]}#"}, # not the end
]
g = """
[no.table]
"""

[x.y]
z = '[[no]]'
[[l]]
m = 1
[l.inner]
n = 1979-05-27 07:32:00
[[l]]
[[l.deep]]
[[l.deep]]
"q.r" = \'\'\'
x = 1\'\'\'
'''
    places = lines(text)
    assert {spelled(place): line for place, line in places.items()} == {
        "a b": 2, "c": 3, "c.d": 3, "c.d[0]": 4, "c.d[1]": 5, "c.d[1].e": 5, "c.d[1].f": 5,
        "g": 7, "x.y": 11, "x.y.z": 12,
        "l": 13, "l[0]": 13, "l[0].m": 14, "l[0].inner": 15, "l[0].inner.n": 16,
        "l[1]": 17, "l[1].deep": 18, "l[1].deep[0]": 18, "l[1].deep[1]": 19, "l[1].deep[1].q.r": 20,
    }  # fmt: skip


values: st.SearchStrategy[Any] = st.deferred(
    lambda: st.one_of(
        st.integers(),
        st.booleans(),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=5),
        st.lists(values, max_size=3),
        st.dictionaries(st.text("ab.é ", max_size=3), values, max_size=3),
    )
)


def toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list():
            return "[" + " , # ]\n".join(map(toml, value)) + "\n]"
        case _:
            return "{" + ", ".join(f"{toml(key)} = {toml(entry)}" for key, entry in value.items()) + "}"


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    return {path} | {place for key, entry in inner for place in paths(entry, (*path, key))}


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text("abé", max_size=3), values, max_size=4))
def test_every_path_of_any_document_has_a_line(document: dict[str, Any]) -> None:
    text = "\n".join(f"{toml(key)} = {toml(value)} # [x]" for key, value in document.items())
    assert tomllib.loads(text) == document
    assert set(lines(text)) | {()} == paths(document)


@settings(max_examples=300, deadline=None)
@given(
    st.text()
    | st.lists(st.sampled_from([*DEFAULT.read_text().splitlines(), "", "]", "x ="]), max_size=12).map(
        "\n".join
    )
)
def test_no_text_ever_raises(text: str) -> None:
    for problem in problems(text, {}):
        assert 1 <= problem.line <= text.count("\n") + 1


@pytest.mark.parametrize(
    "path", [(), ("a",), ("tag", 2, "when"), ("gateway", "write_keys", 0, "key"), ("a", 1, 2)]
)
def test_paths_are_read_back(path: tuple[str | int, ...]) -> None:
    assert unspelled(spelled(path)) == path


# --- loading


def test_secrets_come_from_the_environment_and_only_outside_the_rules() -> None:
    text = """
redis.url = "rediss://:${PASSWORD}@${HOST}:6379"
kafka.options = {"sasl.password" = "${PASSWORD}"}
tag = [{name = "a", when = "segment == '${PASSWORD}'"}]
"""
    reading = read(text, {"PASSWORD": "p", "HOST": "h"})
    assert reading.problems == []
    assert reading.config.redis.url == "rediss://:p@h:6379"
    assert isinstance(reading.config.kafka.options["sasl.password"], Secret)
    assert reading.config.tag[0].when == "segment == '${PASSWORD}'"


def test_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_TEST_HOST", "h")
    assert read("redis.url = 'redis://${MILLRACE_TEST_HOST}'").config.redis.url == "redis://h"


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(
        "data.folder = 'd'\nvalidate.plan = [{event = 'x', schema = 'plans/x.json'}]\n"
        + entries("connector", "name='f'\ntype='file'\npath='t.jsonl'")
    )
    config = load(file, {})
    assert config.data.folder == str(tmp_path / "d")
    assert config.keys.path == str(tmp_path / "d" / "keys.json")
    assert config.connector[0].path == str(tmp_path / "d" / "t.jsonl")
    assert config.validate.plan[0].schema == str(tmp_path / "plans" / "x.json")


def test_absolute_paths_stay(tmp_path: Path) -> None:
    config = read(f"data.folder = '{tmp_path}'\nkeys.path = '/etc/keys.json'", {}).config
    assert resolved(config, Path("/elsewhere")).data.folder == str(tmp_path)
    assert resolved(config, Path("/elsewhere")).keys.path == "/etc/keys.json"


def test_load_raises_every_error_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text("nmae = 'x'\n[window]\nwait = '31s'")
    with pytest.raises(ConfigError) as raised:
        load(file, {})
    assert str(raised.value).splitlines() == [
        f"{file}:1: nmae: unknown key `nmae`; did you mean `name`?",
        f"{file}:3: window.wait: must be shorter than 30s, got 31s",
    ]


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shop\.toml: cannot be read: No such file"):
        load(tmp_path / "shop.toml")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('name = "shop"\n'.encode("utf-16"), ":1: not UTF-8: expected text in UTF-8, got the byte 0xff"),
        ('name = "shop"\n# 会员\n'.encode("gbk"), ":2: not UTF-8: expected text in UTF-8, got the byte 0xbb"),
    ],
)
def test_a_file_in_another_encoding_is_refused_with_the_line(
    tmp_path: Path, content: bytes, says: str
) -> None:
    file = tmp_path / "shop.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(file)
    assert str(raised.value) == f"{file}{says}"


def test_the_mark_of_windows_editors_is_no_part_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    file.write_text('name = "shop"\nnmae = 1\n', encoding="utf-8-sig")
    with pytest.raises(ConfigError) as raised:
        load(file)
    assert str(raised.value) == f"{file}:2: nmae: unknown key `nmae`; did you mean `name`?"


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ('url = "https://vault:8200"\ntoken = "t"', None),
        ('url = "http://localhost:8200"\ntoken_file = "token"', None),
        ('url = "http://vault:8200"\ntoken = "t"', "keys.vault.url"),  # keys would cross the network
        ('url = "vault:8200"\ntoken = "t"', "keys.vault.url"),
        ('url = "https://vault:8200"', "keys.vault.token"),
        ('token = "t"\ntoken_file = "token"', "keys.vault.token"),
    ],
)
def test_vault_is_asked_by_tls_with_one_token(options: str, path: str | None) -> None:
    found = problems(f'[keys]\nprovider = "vault"\n[keys.vault]\n{options}')
    assert [problem.path for problem in found] == ([path] if path else [])
    assert problems(f"[keys.vault]\n{options}") == [], "the file is the provider: nobody asks there"


def test_zones_are_known_and_one_for_each_source() -> None:
    text = """
    [[gateway.write_keys]]
    key = "a"
    source = "till"
    zone = "Asia/Shanghay"
    [[gateway.write_keys]]
    key = "b"
    source = "till"
    [kafka]
    topics = ["orders"]
    zones = {order = "UTC"}
    """
    assert [(problem.path, problem.message.partition(" `")[0]) for problem in problems(text)] == [
        ("gateway.write_keys[0].zone", "there is no time zone"),
        ("gateway.write_keys[1].zone", "another key of the source"),
        ("kafka.zones.order", "it is none of"),
    ]
