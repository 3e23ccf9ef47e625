"""A switch changes what it says, and nothing else: judged by the permissions themselves."""

from hypothesis import given
from hypothesis import strategies as st

from flows.logic.permissions.permissions import Permissions
from flows.logic.permissions.statements import Stated, Words
from flows.logic.permissions.switching import MODES, Switches
from schemas.config import Consent, Purpose

PURPOSES = (
    Purpose(name="service", required=True),
    Purpose(name="marketing", stated_by=("C4", "ads")),
    Purpose(name="sales", stated_by=("C4",)),
    Purpose(name="personalisation"),
    Purpose(name="sharing", before="opt_in"),
)
PARTS = ("sms", "email", "location")
ASKED = [purpose.name for purpose in PURPOSES if not purpose.required]
SWITCHES = [(purpose, part) for purpose in ASKED for part in ("", *PARTS)]
THINGS = [f"{purpose}.{part}" if part else purpose for purpose, part in SWITCHES]
SAID = st.dictionaries(
    st.sampled_from([*THINGS, *PARTS, "C4", "ads", "C4.sms", "other"]), st.booleans(), max_size=8
)
BEFORE = st.sampled_from(["opt_in", "opt_out"])


def made(before: str) -> tuple[Switches, Permissions]:
    config = Consent(before=before, purpose=PURPOSES)  # type: ignore[arg-type]
    may = Permissions(config, PARTS)
    return Switches(PURPOSES, PARTS, may), may


def state(may: Permissions, said: Stated) -> dict[tuple[str, str], bool]:
    return {one: may.may_contact(Words(said), *one) for one in SWITCHES}


@given(SAID, st.sampled_from(SWITCHES), BEFORE)
def test_a_no_is_a_no_to_this_alone(said: Stated, one: tuple[str, str], before: str) -> None:
    switches, may = made(before)
    purpose, part = one
    after = state(may, said | switches.switch(Words(said), purpose, part, False))
    assert not after[one]
    # a purpose that is off is off with all its parts
    own = {(purpose, other) for other in ("", *PARTS)} if not part else {one}
    held = state(may, said)
    assert {key: after[key] for key in SWITCHES if key not in own} == {
        key: held[key] for key in SWITCHES if key not in own
    }


@given(SAID, st.sampled_from(SWITCHES), BEFORE)
def test_a_yes_takes_back_what_stands_against_it_and_allows_nothing_else(
    said: Stated, one: tuple[str, str], before: str
) -> None:
    switches, may = made(before)
    purpose, part = one
    held = state(may, said)
    if part and not held[purpose, ""]:
        return  # not offered: the purpose is off
    after = state(may, said | switches.switch(Words(said), purpose, part, True))
    assert after[one]
    others = [key for key in SWITCHES if key[0] != purpose]
    assert {key: after[key] for key in others} == {key: held[key] for key in others}
    if part:
        same = [(purpose, other) for other in ("", *PARTS) if other != part]
        assert {key: after[key] for key in same} == {key: held[key] for key in same}


@given(SAID, st.sampled_from([*MODES]), BEFORE)
def test_a_mode_allows_what_it_is_called_after(said: Stated, mode: str, before: str) -> None:
    switches, may = made(before)
    words = Words(said | switches.choose(Words(said), mode))
    assert {name for name in ASKED if may.serves(words, name)} == MODES[mode]
    assert switches.mode(words) == mode


def test_only_modes_that_mean_something_are_offered() -> None:
    may = Permissions(Consent(purpose=(Purpose(name="loyalty"),)), ())
    switches = Switches((Purpose(name="loyalty"),), (), may)
    assert switches.modes() == ["basic"]
    assert switches.mode(Words({"loyalty": False})) == "basic"
    assert switches.mode(Words({"loyalty": True})) == ""
