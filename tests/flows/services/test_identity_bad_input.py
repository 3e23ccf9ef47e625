"""What breaks identities on purpose or by mistake, through the real resolve path on a real Redis: counted,
bounded, and undone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.logic.resolution.identity_orders import STEWARD, document
from flows.runtime.deployment import Deployment
from flows.runtime.windows import Window
from schemas.wire.events import RawEvent
from tests.site import Site

ANA, BOB = ("user_id", "ana"), ("user_id", "bob")


@pytest.fixture
def take(tmp_path: Path, redis_url: str) -> Callable[..., Site]:
    site = Site(tmp_path, redis_url, archive=False).start()

    def taken(*bodies: dict[str, Any] | bytes, source: str = "web") -> Site:
        """All in one window."""
        before = site.directory.offsets().get("events/0", -1)
        named = [
            body | {"messageId": f"m{before}-{at}"} if isinstance(body, dict) else body
            for at, body in enumerate(bodies)
        ]
        events = [
            RawEvent(
                body if isinstance(body, bytes) else msgspec.json.encode(body), site.now_s * 1000, source
            )
            for body in named
        ]
        window = Window(
            "events/0",
            before,
            before + len(events),
            events,
            [before + 1 + at for at in range(len(events))],
            0.0,
        )
        assert site.resolver.commit(site.resolver.judge(window)) is window
        return site

    return taken


def roots(site: Site, *named: tuple[str, str]) -> list[bytes | None]:
    hashes = site.resolver._validator.identifiers
    return site.directory.lookup([hashes.hash(*one) or b"" for one in named])


Take = Callable[..., Site]


@pytest.mark.parametrize(
    "wrong",
    [
        document("undo", union=7),
        document("undo", union=2**47),
        document("unlink", ANA, ANA),
        document("unlink", ANA, ("user_id", "nobody")),
        document("unlink", ("customer", "ab" * 12), ("customer", "cd" * 12)),
        document("release", ANA),
    ],
    ids=["no-entry", "far-ahead", "with-itself", "with-nobody", "no-customers", "not-suspended"],
)
def test_what_was_never_merged_is_not_unmerged(take: Take, wrong: bytes) -> None:
    site = take({"type": "page", "userId": "ana"}, {"type": "page", "userId": "bob"})
    before = roots(site, ANA, BOB)
    take(wrong, wrong, source=STEWARD)
    assert roots(site, ANA, BOB) == before
    assert site.directory.stats().get("divided", 0) == 0


def test_two_who_were_never_one_are_kept_apart_by_an_unlink(take: Take) -> None:
    site = take({"type": "page", "anonymousId": "v1"}, {"type": "page", "anonymousId": "v2"})
    take(document("unlink", ("anonymous", "v1"), ("anonymous", "v2")), source=STEWARD)
    take({"type": "alias", "previousId": "v1", "anonymousId": "v2"})
    one, other = roots(site, ("anonymous", "v1"), ("anonymous", "v2"))
    assert one != other
    assert (site.directory.stats()["refused"], site.directory.stats().get("divided", 0)) == (1, 0)


@pytest.mark.parametrize("known", [True, False], ids=["known-before", "new"])
def test_aliases_in_a_circle_within_one_window(take: Take, known: bool) -> None:
    ring = [f"visitor-{n}" for n in range(12)]
    if known:
        take(*({"type": "page", "anonymousId": one} for one in ring))
    pairs = zip(ring, [*ring[1:], ring[0]], strict=True)
    site = take(*({"type": "alias", "previousId": one, "anonymousId": other} for one, other in pairs))
    assert len(set(roots(site, *(("anonymous", one) for one in ring)))) == 1
    assert site.directory.stats().get("united", 0) == (11 if known else 0)
    take({"type": "alias", "previousId": ring[0], "anonymousId": ring[0]})
    assert site.directory.stats()["created"] == (12 if known else 1)


def rejected(site: Site) -> dict[str, int]:
    return {name: n for name, n in site.directory.stats().items() if name.startswith("rejected:")}


@pytest.mark.parametrize("together", [True, False], ids=["one-window", "known-before"])
def test_an_alias_between_two_users_is_refused_with_its_reason(take: Take, together: bool) -> None:
    users = [{"type": "page", "userId": "ana"}, {"type": "page", "userId": "bob"}]
    alias = {"type": "alias", "userId": "bob", "previousId": "ana"}
    site = take(*users, alias) if together else (take(*users), take(alias))[1]
    assert rejected(site) == {"rejected:alias_of_users": 1}
    [dead] = Deployment(site.config).dead_events.newest()
    assert (dead.letter.reason, dead.letter.index) == ("alias_of_users", 0)
    ana, bob, visitor = roots(site, ANA, BOB, ("anonymous", "ana"))
    assert ana != bob
    assert visitor is None
    assert site.directory.stats()["events"] == 2


def test_an_alias_of_a_visitor_means_what_it_always_did(take: Take) -> None:
    """Also where he is called as some user is; or where both ids are one and the same."""
    site = take(
        {"type": "page", "userId": "ana"},
        {"type": "page", "anonymousId": "ana"},
        {"type": "page", "anonymousId": "v1"},
    )
    take(
        {"type": "alias", "userId": "bob", "previousId": "v1"},
        {"type": "alias", "userId": "bob", "previousId": "ana"},
    )
    take(
        {"type": "alias", "userId": "eve", "previousId": "unheard of"},
        {"type": "alias", "userId": "ana", "previousId": "ana"},
    )
    assert rejected(site) == {}
    bob, v1, unheard, eve = roots(
        site, BOB, ("anonymous", "v1"), ("anonymous", "unheard of"), ("user_id", "eve")
    )
    assert (bob, eve) == (v1, unheard)


def test_aliases_between_users_in_a_row_are_refused_from_the_second_on(take: Take) -> None:
    """Of the first nobody knows that it is one."""
    site = take(*({"type": "alias", "userId": f"u{n + 1}", "previousId": f"u{n}"} for n in range(5)))
    assert rejected(site) == {"rejected:alias_of_users": 4}
    assert site.directory.stats()["events"] == 1


@pytest.mark.parametrize("together", [True, False])
def test_colleagues_of_one_company_are_not_one(take: Take, together: bool) -> None:
    """A group call states the company's address, not theirs; and none of it takes the place of their own."""
    people = ["ana", "bob", "eve"]
    own = [{"type": "identify", "userId": who, "traits": {"email": f"{who}@example.com"}} for who in people]
    company = {
        "email": "office@acme.example",
        "phone": "+8675526012345",
        "name": "Acme",
        "address": {"city": "Köln"},
        "plan": "gold",
    }
    calls = [{"type": "group", "userId": who, "groupId": "acme", "traits": company} for who in people]
    calls += [
        {"type": "group", "anonymousId": f"visitor-{n}", "groupId": "acme", "traits": company}
        for n in range(3)
    ]
    site = take(*own)
    for part in [calls] if together else [[call] for call in calls]:
        take(*part)
    found = roots(
        site, *(("user_id", who) for who in people), *(("anonymous", f"visitor-{n}") for n in range(3))
    )
    assert len({*found} - {None}) == 6
    assert roots(site, ("email", "office@acme.example"), ("phone", "+8675526012345")) == [None, None]
    site.apply()
    shown = Deployment(site.config).profile_reader(*ANA) or {}
    assert shown["identifiers"] == {"email": "a***@example.com", "user_id": "***"}
    assert (shown["groups"], shown["traits"]) == (
        {"acme": {"name": "Acme", "plan": "gold"}},
        {"group_id": "acme"},
    )


@pytest.mark.parametrize("size", [300, 30, 1])
def test_a_client_that_makes_up_an_anonymous_id_for_each_call(take: Take, size: int) -> None:
    """One user, 300 events: one customer, who is found by the user id, and still takes in who was there
    before."""
    site = take(
        {"type": "page", "userId": "ana"},
        *({"type": "page", "anonymousId": f"browser-{n}"} for n in range(3)),
    )
    for at in range(0, 300, size):
        take(
            *(
                {"type": "track", "event": "Viewed", "userId": "ana", "anonymousId": f"made-up-{n}"}
                for n in range(at, at + size)
            )
        )
    stats = site.directory.stats()
    assert (stats["created"], stats["events"], stats.get("suspended", 0)) == (4, 304, 0)
    take(*({"type": "identify", "userId": "ana", "anonymousId": f"browser-{n}"} for n in range(3)))
    assert set(roots(site, *(("anonymous", f"browser-{n}") for n in range(3)))) == {roots(site, ANA)[0]}
    site.apply()
    site.forward()
    site.apply()
    assert (Deployment(site.config).profile_reader(*ANA) or {})["events"] == 307


def test_made_up_anonymous_ids_of_months_leave_room(take: Take) -> None:
    """One a minute: the limit of a hundred is reached, and who was a visitor before becomes this user all the
    same."""
    site = take({"type": "page", "userId": "ana"}, {"type": "page", "anonymousId": "browser"})
    for n in range(130):
        site.now_s += 60
        take({"type": "track", "event": "Viewed", "userId": "ana", "anonymousId": f"made-up-{n}"})
    take({"type": "identify", "userId": "ana", "anonymousId": "browser"})
    assert len(set(roots(site, ANA, ("anonymous", "browser"), ("anonymous", "made-up-129")))) == 1


@pytest.mark.parametrize("times", [2, 3, 8])
def test_an_identifier_that_moves_to_and_fro_in_one_window(take: Take, times: int) -> None:
    """Two users of one address, turn by turn: it ends with one of them, each has what is its own, and no
    event is lost."""
    site = take({"type": "page", "userId": "ana"}, {"type": "page", "userId": "bob"})
    mail = {"traits": {"email": "both@example.com"}, "type": "identify"}
    take(*({"userId": ("ana", "bob")[n % 2]} | mail for n in range(times)))
    ana, bob, shared = roots(site, ANA, BOB, ("email", "both@example.com"))
    assert ana != bob
    assert shared in (ana, bob)
    site.apply()
    site.forward()
    site.apply()
    profile = Deployment(site.config).profile_reader
    assert [(profile(*one) or {})["events"] for one in (ANA, BOB)] == [1 + (times + 1) // 2, 1 + times // 2]


@pytest.mark.parametrize(
    "name",
    [
        "🙂👩\u200d👩\u200d👧",
        "محمد بن عبد الله",
        "\u202eאברהם",
        "欧阳娜娜",
        "Z" + "\u0338" * 20,
        "a\u0000b",
        " x ",
    ],
)
def test_strange_values_identify_as_they_are(take: Take, name: str) -> None:
    site = take(
        {"type": "identify", "userId": name, "traits": {"name": name * 3}}, {"type": "page", "userId": name}
    )
    [root] = roots(site, ("user_id", name))
    assert root is not None
    assert site.directory.stats()["created"] == 1


@pytest.mark.parametrize("size", [10 * 1024, 30 * 1024])
def test_a_huge_identifier_is_a_reject_and_a_huge_name_is_not(take: Take, size: int) -> None:
    site = take(
        {"type": "page", "userId": "x" * size},
        {"type": "identify", "userId": "ana", "traits": {"name": "🙂" * (size // 8)}},
    )
    stats = site.directory.stats()
    assert (stats["events"], sum(n for name, n in stats.items() if name.startswith("rejected:"))) == (1, 1)


def test_one_row_in_a_hundred_is_broken(take: Take) -> None:
    broken = [b"", b"\xff\xfe", b"[]", b'{"type":"page"}', b'{"type":"page","userId":"ana"', b"{" * 1_000]
    rows = [
        broken[n // 100 % len(broken)] if n % 100 == 0 else {"type": "page", "userId": f"u{n}"}
        for n in range(600)
    ]
    site = take(*rows)
    stats = site.directory.stats()
    assert (stats["events"], stats["created"]) == (594, 594)
    assert sum(n for name, n in stats.items() if name.startswith("rejected:")) == 6
