"""`millrace check`: what it prints and what it returns."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.cli.configuration_screen import check
from flows.logic.rules.evaluation_context import scope_of
from schemas.config import EXPRESSION_NAMES
from schemas.config.toml import DEFAULT, load
from schemas.errors import ConfigError


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return tmp_path / "shop.toml"


def printed(file: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    file.write_text(text)
    code = check(file)
    return code, capsys.readouterr().out.replace(f"{file}:", "")


def test_every_error_is_printed_with_its_line_and_expressions_with_a_caret(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
[window]
wiat = "1s"
[[aggregate]]
name = "orders"
of = "count"
[[tag]]
name = "vip"
when = "ordrs > 3"
[[tag]]
when = "orders > 'a'"
[[segment]]
name = "all"
when = ""
[[trigger]]
name = "t"
on = {tag_entered = "vpi"}
when = '''
  orders > 3
  and stage > 1'''
"""
    assert printed(shop, text, capsys) == (
        1,
        """\
3: window.wiat: unknown key `wiat`; did you mean `wait`?
9: tag[0].when: unknown name `ordrs`; did you mean `orders`?
    ordrs > 3
    ^
10: tag[1].name: `name` is missing
11: tag[1].when: text cannot be compared with a number
    orders > 'a'
             ^
14: segment[0].when: expected text that is not empty, got ''
17: trigger[0].on.tag_entered: there is no tag `vpi`; did you mean `vip`?
18: trigger[0].when: a number cannot be compared with text
      orders > 3   and stage > 1
                               ^
7 errors
""",
    )


@pytest.mark.parametrize("text", ["", "  \n", "# nothing but a comment\n"])
def test_an_empty_file_is_an_error_and_not_ready(
    shop: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    code, out = printed(shop, text, capsys)
    assert code == 1
    assert out.startswith("1: the file is empty: expected at least one option")
    with pytest.raises(ConfigError, match="the file is empty"):
        load(shop)


def test_what_is_active_is_printed_when_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(DEFAULT) == 0
    words = " ".join(capsys.readouterr().out.split())
    for part in (
        "millrace.toml: ready",
        "gateway http://127.0.0.1:8080, sources: app, desk, social, store, web",
        "raw log redis streams, 8 partitions",
        "user_id, at most 1",
        "aggregates orders: count",
        "tags vip:",
        "segments at_risk:",
        "thank_you: event Order Completed -> file",
        "connectors file: file",
        "models churn",
    ):
        assert part in words


def test_secrets_are_not_printed(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "whsec_" + "QUJD" * 8)
    text = """
redis.url = "rediss://:${TOKEN}@host"
gateway.write_keys = [{key = "${TOKEN}", source = "web"}]
[[connector]]
name = "[crm]"
type = "webhook"
url = "https://host/${TOKEN}"
secrets = ["${TOKEN}"]
enabled = false
"""
    code, out = printed(shop, text.replace("[crm]", "crm"), capsys)
    assert (code, "QUJD" in out) == (0, False)
    assert "crm: webhook (off)" in out


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("plan.json", None, "No such file"),
        ("plan.json", "{", "is no schema"),
        ("plan.json", "3", "is no schema"),
        ("plan.json", '{"type": "objekt"}', "is no schema"),
        ("plan.avsc", '{"type": "record"}', "is no schema"),
        ("plan.avsc", '{"type": "recrod", "name": "x"}', "is no schema"),
        ("plan.avsc", '{"type": "string"}', "is no schema"),
        (
            "plan.avsc",
            '{"type": "record", "name": "x", "fields": [{"name": "a", "type": "nonsense"}]}',
            "is no schema",
        ),
        ("plan.json", '{"type": "object", "required": ["total"]}', None),
        ("plan.avsc", '{"type": "record", "name": "x", "fields": [{"name": "a", "type": "int"}]}', None),
    ],
)
def test_plan_schemas_are_looked_at(
    shop: Path, name: str, content: str | None, message: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (shop.parent / name).write_text(content)
    code, out = printed(shop, f"\nvalidate.plan = [{{event = 'x', schema = '{name}'}}]", capsys)
    assert code == (0 if message is None else 1)
    if message is not None:
        assert out.startswith("2: validate.plan[0].schema: ")
        assert message in out


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(DEFAULT.read_text().splitlines()), max_size=20).map("\n".join))
def test_a_file_of_any_lines_is_checked_to_the_end(shop: Path, text: str) -> None:
    shop.write_text(text)
    assert check(shop) in (0, 1)


def test_a_file_that_cannot_be_read(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(shop) == 1
    assert "cannot be read" in capsys.readouterr().out


def test_the_reference_names_what_expressions_may_name() -> None:
    scope = scope_of({})
    assert {name for name in EXPRESSION_NAMES if not name.endswith(".NAME")} == set(scope.names)
    assert {name.removesuffix(".NAME") for name in EXPRESSION_NAMES if name.endswith(".NAME")} == set(
        scope.open
    )
    assert {name: kind for name, (kind, _) in EXPRESSION_NAMES.items() if name in scope.names} == {
        name: known.type for name, known in scope.names.items()
    }


SLIPS = [
    (
        'tag = [{name = "happy", when = "events > 3"}, {name = "t", when = "\'hapy\' not in tags"}]',
        "there is no tag `hapy`; did you mean `happy`?",
    ),
    ('tag = [{name = "t", when = "\'vip\' in tags or events > 3"}]', "there is no tag `vip`; there is t"),
    (
        "tag = [{name = 't', when = 'stage == \"activ\"'}]",
        "there is no stage `activ`; did you mean `active`?",
    ),
    ("tag = [{name = 't', when = 'stage in (\"lost\", \"gone\")'}]", "there is no stage `gone`"),
    (
        "tag = [{name = 't', when = '\"higher\" != value_tier'}]",
        "there is no tier of value `higher`; did you mean `high`?",
    ),
    ("tag = [{name = 't', when = 'cluster == \"c9\"'}]", "there is no group `c9`"),
    (
        "tag = [{name = 't', when = 'type == \"trak\"'}]",
        "there is no type of event `trak`; did you mean `track`?",
    ),
    ("tag = [{name = 't', when = 'segment == \"high\"'}]", "there is no segment `high`; there is none"),
    (
        "action = [{name = 'a', when = '\"vip\" not in tags'}]\nbest_action.reward = [{event = 'x'}]",
        "there is no tag `vip`; there is none",
    ),
    (
        "segment = [{name = 'a', when = 'True'}, {name = 'b', when = 'True'}]",
        "always holds, so nobody comes into `b`",
    ),
    (
        "segment = [{name = 'a', when = '1 < 2'}, {name = 'b', when = 'True'}]",
        "always holds, so nobody comes into `b`",
    ),
    (
        "segment = [{name = 'a', when = 'events > 1'}, {name = 'b', when "
        "= 'events > 1'}, {name = 'c', when = 'True'}]",
        "same `when`",
    ),
    (
        "tag = [{name = 't', when = 'age_band == \"35-39\"'}]\nprivacy.attributes = ['gender']",
        "`age_band` is not known: add `age_band` to `privacy.attributes`",
    ),
    (
        "tag = [{name = 't', when = 'birthday_today'}]\nprivacy.attributes = ['gender']",
        "`birthday_today` is not known: add `birth_month_day` to `privacy.attributes`",
    ),
    (
        "tag = [{name = 't', when = 'age_band == \"35-40\"'}]\nprivacy.attributes = ['age_band']",
        "there is no band of ages `35-40`; there is 0-13, 14-17, 18-24, 25-29, 30-34, 35-39, ",
    ),
    (
        "tag = [{name = 't', when = '\"femail\" == gender'}]\nprivacy.attributes = ['gender']",
        "there is no gender `femail`; did you mean `female`?",
    ),
    (
        "privacy.attributes = ['age']",
        "expected one of age_band, birth_month_day, gender, occupation, region, city; got 'age'",
    ),
    ("age.bands = [18, 18]", "expected an age above 18, got 18"),
    ("age.bands = []", "age.bands: expected"),
    ("gateway.gpc_updated = '2026-02-30'", "there is no such day, got '2026-02-30'"),
    ("gateway.gpc_updated = 'yes'", "gateway.gpc_updated: expected a date, such as 2026-03-01, or nothing"),
    ("age.bands = [18, 121]", "age.bands[1]: expected"),
    ("segment = [{name = 'a', when = 'False'}, {name = 'b', when = 'True'}]", "never holds"),
    ("segment = [{name = 'a', when = 'events > 1'}]", "expected `True`, got `events > 1`"),
    (
        "trigger = [{name = 't', on = {after = 'A', without = 'A', within = '1h'}}]",
        "expected another event than `after` ('A')",
    ),
    *(
        (
            f"connector = [{{name = 'w', type = 'webhook', url = 'http://{host}/', secrets = "
            f"['whsec_{'QUJD' * 8}']}}]",
            "not public",
        )
        for host in (
            "127.0.0.1:9000",
            "localhost",
            "crm.localhost",
            "10.1.2.3",
            "[::1]:80",
            "169.254.169.254",
        )
    ),
]


@pytest.mark.parametrize(("text", "says"), SLIPS)
def test_what_can_be_read_and_not_meant_is_an_error(
    shop: Path, text: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = printed(shop, text, capsys)
    assert (code, says in out, out.splitlines()[-1]) == (1, True, "1 error"), out


FINE = [
    'aggregate = [{name = "gender", of = "count"}]\ntag = [{name = "a", when = "gender > 3"}]',
    "privacy.attributes = ['region']\ntag = [{name = 'a', when = 'region == \"浙江省\" or has(region)'}]",
    'tag = [{name = \'a\', when = \'stage in ("lost", "won_back") or segment == ""\'}]',
    "tag = [{name = 'a', when = 'events > 3'}, {name = 'b', when = '\"a\" in tags and cluster == \"c2\"'}]",
    "segment = [{name = 'a', when = 'events > 1'}, {name = 'b', when = 'True'}]",
    'tag = [{name = \'b\', when = \'channel == "shop" or traits.stage == "activ" or event == "Bought"\'}]',
    "connector = [{name = 'w', type = 'webhook', url = 'http://127.0.0.1/', allow_private = true, "
    f"secrets = ['whsec_{'QUJD' * 8}']}}]",
    "connector = [{name = 'w', type = 'webhook', url = 'https://crm.example/', secrets = "
    f"['whsec_{'QUJD' * 8}']}}]",
]


@pytest.mark.parametrize("text", FINE)
def test_what_may_be_meant_is_none(shop: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(shop, text, capsys)[0] == 0


def test_the_caret_stands_under_the_text_that_nothing_is(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = printed(shop, "[[tag]]\nname = 't'\nwhen = \"  events > 1 and stage == 'activ'\"\n", capsys)
    *_, text, caret, _ = out.splitlines()
    assert text[caret.index("^") :] == "'activ'"


def test_an_event_that_is_named_once_and_resembles_another_is_a_warning(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
value.events = ["Order Completed"]
[[aggregate]]
name = "orders"
of = "count"
on = ["Order Completed", "Shipped", "page"]
[[trigger]]
name = "t"
on = {event = "Order Complted"}
"""
    code, out = printed(shop, text, capsys)
    assert code == 0
    assert out.startswith(
        "9: trigger[0].on.event: warning: the event `Order Complted` "
        "is named nowhere else; did you mean `Order Completed`?\n"
    )
    assert out.count("warning") == 1
    assert "named once Shipped Order Complted" in " ".join(out.split())


def test_what_is_wrong_with_a_rule_is_said_once(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = 'aggregate = [{name = "stage", of = "sum"}, {name = "a", of = "last", value = "x", over = "1h"}]\n'
    text += 'trigger = [{name = "t", on = {tag_entered = "vip"}}, '
    text += '{name = "u", on = {score_above = {love = 0.5}}}]'
    _, out = printed(shop, text, capsys)
    assert out.splitlines()[-1] == "5 errors"


def test_a_whole_date_of_birth_in_the_open_is_a_warning(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = printed(shop, "\n[privacy]\nattributes = ['age_band', 'birth_month_day']\n", capsys)
    assert code == 0
    assert "3: privacy.attributes: warning: `age_band` (kept as year and month) and `birth_month_day`" in out
    assert "age_band (demographic)" in out
    assert "warning" not in printed(shop, "\n[privacy]\nattributes = ['age_band', 'city']\n", capsys)[1]
