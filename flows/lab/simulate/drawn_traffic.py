"""What the customers of the simulation do, and the rules that look at it.

People log in and out on devices that they share, say what their e-mail is, and what their company's, send
everything twice now and then, and sometimes send what is not an event at all. Their clients make up anonymous
ids for a call, send placeholders as ids, spell an address in several ways, name people in odd ways, put the
consent of a banner on it and a `sentAt` that is not a time, and take one user for another's former name. Each
message is known here, so it is known how often it must count.
"""

from random import Random
from typing import Any

import msgspec

from flows.lab.simulate import defects
from flows.logic.resolution.identity_orders import STEWARD, document
from schemas.config import Config
from schemas.config.toml import read, rules_document
from schemas.wire.events import RawEvent

_PEOPLE, _VISITORS, _MAILS = "abcde", "uvwxyz", ("a@x.io", "b@x.io", "c@x.io")
_NOBODY = ("undefined", "{{userId}}", "[object Object]", "00000000-0000-0000-0000-000000000000")
EVENTS = ("Viewed", "Bought")
THINGS = ("marketing", "personalisation", "location")  # what customers say something about
PLACE = "city"
_NAMES = ("未知", "A", "王", "-", "Ada Allen")
_KNOWN = ("Clementine Featherstonehaugh", "Ottokar Zwingenberger", "张伟国")
_BAD = (
    b"{",
    b"[]",
    b"",
    b'{"type":"track","event":"Viewed","messageId":"no-one"}',
    b'{"type":"sing","userId":"a"}',
)
_SHARED = """
[[aggregate]]
name = "bought"
of = "count"
on = ["Bought"]
over = "30d"
[[aggregate]]
name = "kinds"
of = "top_k"
on = ["*"]
value = "sku"
[[tag]]
name = "buyer"
when = "event == 'Bought'"
ttl = "2h"
[[segment]]
name = "good"
when = "bought >= 2 or 'a' in kinds"
[[segment]]
name = "rest"
when = "True"
[churn]
horizon = "1h"
every = "20m"
[best_action]
within = "40m"
reward = [{event = "Viewed"}]
[[action]]
name = "mail"
cooldown = "10m"
[[action]]
name = "call"
capacity = 9
[[action]]
name = "nothing"
silent = true
[recommendation]
touch = [{event = "Bought", item = "sku"}]
[clusters]
enabled = true
k = 2
every = "2h"
[[trigger]]
name = "best"
on = {event = "Bought"}
when = "len(recommended) != 1"
action = "best"
[[trigger]]
name = "each"
on = {event = "Viewed"}
[[trigger]]
name = "thanks"
on = {event = "Bought"}
cooldown = "1h"
"""
DOCUMENTS = tuple(
    rules_document(read(_SHARED + more).config)
    for more in (
        '[[trigger]]\nname = "left"\non = {after = "Viewed", without = "Bought", within = "30m"}\n'
        '[[trigger]]\nname = "risky"\non = {score_above = {churn = 0.5}}\n',
        '[[tag]]\nname = "quiet"\nwhen = "inactive_days >= 1"\n'
        '[[trigger]]\nname = "no_buyer"\non = {tag_left = "buyer"}\n'
        '[[trigger]]\nname = "now_good"\non = {segment_entered = "good"}\n',
    )
)


class Traffic:
    """Publishes; each message that was acknowledged is in `good` (with what it is), `bad` counts the others.

    `aliases` are those between two users: refused where the former is known by then, else good.
    """

    def __init__(
        self, luck: Random, config: Config, raw: dict[str, list[list[RawEvent]]], *, privacy: bool = False
    ) -> None:
        """`privacy`: customers often say what they allow, and take it back."""
        self._luck = luck
        self._privacy = privacy
        self._raw = raw
        self._source = config.gateway.write_keys[0].source
        self.good: dict[str, dict[str, Any]] = {}
        self.bad = 0
        self.aliases = 0
        self.poison = set[str]()  # messages that the shards' logic raises on
        self.unmatchable = 0  # messages that matching raises on, which count all the same
        self._hits = 0
        self._sent: list[tuple[str, bytes, int]] = []  # partition, message, when it reached us

    def publish(self, now_ms: int) -> None:
        """Publish one entry of one partition."""
        partition = self._luck.choice(list(self._raw))
        entry = [self._event(partition, now_ms) for _ in range(self._luck.choice([1, 1, 2, 4]))]
        self._raw[partition].append(entry)

    def _event(self, partition: str, now_ms: int) -> RawEvent:
        luck = self._luck.random()
        if luck < 0.04:
            return RawEvent(self._order(), now_ms, STEWARD)
        if luck < 0.1:
            self.bad += 1
            return RawEvent(self._luck.choice(_BAD), now_ms, self._source)
        if luck < 0.29 and self._sent:  # the client had no answer and tries again, by whichever way
            _, message, first_ms = self._luck.choice(self._sent)
            return RawEvent(message, first_ms, self._source)
        if luck < 0.31:
            self.aliases += 1
            return RawEvent(self._alias(), now_ms, self._source)
        if luck < 0.33:
            return RawEvent(self._planted(), now_ms, self._source)
        name = f"m{len(self.good)}"
        self.good[name] = made = self._made(name)
        message = msgspec.json.encode(made)
        self._sent.append((partition, message, now_ms))
        return RawEvent(message, now_ms, self._source)

    def _planted(self) -> bytes:
        """An event in good form that one of our flows raises on: before anybody counts it, when a shard has,
        or in matching alone."""
        made: dict[str, Any] = {
            "messageId": f"poison{self._hits}",
            "userId": self._luck.choice(_PEOPLE),
            "type": "identify",
        }
        self._hits += 1
        match self._luck.randrange(3):
            case 0:
                self.bad += 1
                made |= {"type": "track", "event": defects.EVENT}
            case 1:
                self.poison.add(made["messageId"])
                made |= {"traits": {defects.TRAIT: 1, "email": self._luck.choice(_MAILS)}}
            case _:
                self.unmatchable += 1
                self.good[made["messageId"]] = made
                made |= {"traits": {"name": defects.NAME, "birthday": "1990-02-03"}}
        return msgspec.json.encode(made)

    def _order(self) -> bytes:
        """A steward unites two customers, or parts them again."""
        named = [
            ("user_id", self._luck.choice(_PEOPLE)),
            *(("anonymous", visitor) for visitor in self._luck.sample(_VISITORS, 2)),
        ]
        kind = self._luck.choice(["link", "unlink", "undo", "apart"])
        return document(kind, *self._luck.sample(named, 2), union=self._luck.randrange(1, 12))

    def _alias(self) -> bytes:
        user, former = self._luck.sample(_PEOPLE, 2)
        return msgspec.json.encode(
            {"messageId": f"alias{self.aliases}", "type": "alias", "userId": user, "previousId": former}
        )

    def _made(self, name: str) -> dict[str, Any]:
        luck = self._luck
        made: dict[str, Any] = {
            "messageId": name,
            "type": "track",
            "event": luck.choice(["Viewed", "Viewed", "Bought"]),
        }
        made["properties"] = {"sku": luck.choice("ab"), "total": luck.randrange(50)}
        who = luck.random()
        if who < 0.65:
            made["anonymousId"] = luck.choice(_VISITORS)
        if who > 0.4:
            made["userId"] = f"once-{name}" if luck.random() < 0.15 else luck.choice(_PEOPLE)
        if luck.random() < 0.2:
            made |= {"type": "identify", "traits": {"plan": luck.randrange(3)}}
            del made["event"], made["properties"]
            if luck.random() < 0.6:
                made["traits"]["email"] = luck.choice(_MAILS)
        made = self._oddly(made)
        return self._saying(made) if self._privacy else made

    def _saying(self, made: dict[str, Any]) -> dict[str, Any]:
        """With a word on consent, now and then; and with what is not for everybody to keep."""
        luck = self._luck
        if "traits" in made:
            made["traits"][PLACE] = luck.choice(("Bern", "Oslo"))
        if luck.random() < 0.3:
            said = {thing: luck.random() < 0.5 for thing in luck.sample(THINGS, luck.choice((1, 1, 2, 3)))}
            if "traits" in made and luck.random() < 0.5:
                made["traits"] |= {f"consent.{thing}": word for thing, word in said.items()}
            else:
                made["context"] = {"consent": {"categoryPreferences": said}}
        return made

    def _oddly(self, made: dict[str, Any]) -> dict[str, Any]:
        """As some clients write it."""
        n = len(self.good)
        if "anonymousId" not in made and n % 3 == 0:
            made["anonymousId"] = f"made-up-{n}"
        if n % 7 == 0:  # the other of the two ids is there, or becomes one that is nobody's
            made["userId" if "anonymousId" in made else "anonymousId"] = _NOBODY[n % len(_NOBODY)]
        if n % 11 == 0:
            made["context"] = {
                "consent": {"categoryPreferences": {"Advertising": n % 2 == 0, "Analytics": True}}
            }
        if n % 13 == 0:
            made["sentAt"] = ("", "Invalid Date", "0001-01-01T00:00:00Z")[n % 3]
        if (traits := made.get("traits")) is None:
            return made
        if n % 2 == 0:
            traits["name"] = _NAMES[n % len(_NAMES)]
        if n % 6 == 0:  # enough to be known by, without an identifier
            traits |= {
                "name": _KNOWN[n % len(_KNOWN)],
                "birthday": f"19{60 + n % len(_KNOWN)}-03-04",
                "address": {"city": "Bramblewick"},
            }
        if "email" in traits and n % 5 < 2:
            traits["email"] = f" {traits['email'].title()} "
        if n % 4 == 0:
            made |= {"type": "group", "groupId": "acme"}
        return made
