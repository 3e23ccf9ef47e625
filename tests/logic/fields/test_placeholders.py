"""What stands where a value should be: one list, for identity and for matching."""

import pytest

from flows.logic.fields.extract import Fields
from flows.logic.fields.identifiers import Identifiers
from flows.logic.fields.placeholders import Placeholders
from schemas.config import Identity, Matching

SAYS_NOTHING = [
    "[object Object]", "N/A", "#N/A", "n/a", "true", "FALSE", "-1", "(null)", "<nil>", "[]", "{}", "()", '""',
    "''", "{{userId}}", "distinct_id", "not_authenticated", "无", "無", "未知", "游客", "匿名", "null",
    "None", "NaN", "undefined", "unknown", "anonymous", "guest", "Test", "ＮＵＬＬ", " null ", '"null"',
    "'undefined'", "[null]", "<none>", "(not set)", "${userId}", "#{user.id}", "%{id}", "%%USER_ID%%",
    "%email%", "{userId}", "{{{ user.id }}}", "<%= user.id %>", "{% user %}", "[[email]]", "*|EMAIL|*",
    "[email]", "<your id>", "__CLICKID__", "#REF!", "#NAME?", "#DIV/0!",
    "00000000-0000-0000-0000-000000000000", "{00000000-0000-0000-0000-000000000000}", "000000000000000",
    "11111111-1111-1111-1111-111111111111", "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF", "1111111111",
    "9774d56d682e549c", "02:00:00:00:00:00", "微信用户",
    "N / A", "not_set", "Not-Set", "NotSet", "not authenticated", "Distinct ID", "distinct-id", "User ID",
    "User-ID", "$USER_ID", ":user_id", "logged_out", "unknown user", "GuestUser", "匿名 用户", "暂 无",
    "未知用户", "未登陆", "undefined undefined", "undefined-undefined", "null, null", "[object Undefined]",
    "Optional(nil)", "-Infinity",
    "\u200bnull", "\ufeffnull", "NULL\x00", "“null”", "「无」", "null;", "none,", "\\N", "#GETTING_DATA",
    "?", "？？？", "—", "/", "_", "*", "...", "…",
]  # fmt: skip
SOMEBODYS = [
    "42", "1", "777", "88888888", "NA", "ID", "admin", "user", "user-null", "nullable", "testa", "Nulla",
    "guest-17", "无锡", "吴", "3f2504e0", "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}",
    "00000000-0000-0000-0000-000000000001", "11111111-1111-1111-1111-111111111112", "a" * 9, "#17",
    "$device:17", "50%", "100% wool", "张[伟]", "a{b}", "test@test.com", "__a", "[17]", "(138) 0013-8000",
    "1 1", "guest_17", "user_null_2", "Null Island", "Test Ann", "无 锡", "$17", "17?",
]  # fmt: skip
IDENTIFIERS = Identifiers(Identity(), b"k" * 32)


@pytest.mark.parametrize("value", SAYS_NOTHING)
def test_it_identifies_nobody_and_is_no_evidence(value: str) -> None:
    assert IDENTIFIERS.hash("user_id", value) is None
    assert IDENTIFIERS.hash("device", value) is None
    fields = Fields(Matching(), IDENTIFIERS.placeholders)
    told = fields.of(
        {
            "name": value,
            "firstName": "Ann",
            "address": {"city": value, "street": "Elm 7"},
            "idNumber": value,
            "phone": value,
        }
    )
    assert told == {"given_name": "Ann", "street": "Elm 7"}


@pytest.mark.parametrize("value", SOMEBODYS)
def test_what_somebody_may_be_called_is_left_in(value: str) -> None:
    assert IDENTIFIERS.hash("user_id", value) is not None
    assert Fields(Matching(), IDENTIFIERS.placeholders).of({"name": value, "city": "Leeds"}) == {
        "full_name": value,
        "city": "Leeds",
    }


def test_the_next_place_counts_where_the_first_says_nothing() -> None:
    told = Fields(Matching(), IDENTIFIERS.placeholders).of(
        {"name": "N/A", "fullName": "Ann Lee", "city": "Leeds"}
    )
    assert told == {"full_name": "Ann Lee", "city": "Leeds"}


def test_a_deployment_says_itself_what_says_nothing() -> None:
    own = Placeholders(Identity(blocked=("Acme",), blocked_patterns=(r"qa-\d+",)))
    assert [value for value in ("ACME", "(acme)", "QA-17", "null", "0", "qa") if own.says_nothing(value)] == [
        "ACME",
        "(acme)",
        "QA-17",
        "0",
    ]


def test_a_word_without_letters_blocks_itself_alone() -> None:
    own = Placeholders(Identity(blocked=("-", "", "-1"), blocked_patterns=()))
    assert [value for value in ("-", "-1", "1", "a", "ab", "") if own.says_nothing(value)] == ["-", "-1", ""]
