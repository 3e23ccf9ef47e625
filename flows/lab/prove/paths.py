"""Every way by which personal data gets into a deployment, or moves within it: a table, a line each.

A way sends values of people who are sent by no other, and returns how much arrived: what the state says,
not what was sent. A way of which nothing arrived was not walked, and the proof does not hold.

Of what is sent, every value is one that is recognised: as a trait or a property under a listed heading, or by
itself. A name under a heading that nobody listed is not among them, for it cannot be told from a product's
(docs/privacy.md).
"""

import base64
import gzip
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from flows.lab.chaos.booked_traffic import by_kafka
from flows.lab.demo.malformed import PLANTED
from flows.lab.prove.personal_values import Kind, Person
from flows.lab.prove.scratch import APPS_TOPIC, CRM_KEY, KEY, PLANNED, READER, STEWARD, Scratch

ORDER: Final = "Order Completed"


class Way(NamedTuple):
    """`walk` sends the values of `people` people, and returns how much of it arrived. `kafka`: only where
    there is a broker."""

    name: str
    walk: Callable[[Scratch, list[Person]], int]
    people: int = 2
    kafka: bool = False


def traits_of(person: Person, which: int = 0) -> dict[str, Any]:
    """Return all of a person under listed headings, in one of the spellings of each."""
    return {
        "phone": person.spelled("mobile", which),
        "workPhone": person.spelled("phone", which),
        "email": person.spelled("email", which),
        "idNumber": person["id_number"],
        "bankCard": person.spelled("bank_card", which),
        "firstName": person["first_name"],
        "lastName": person["last_name"],
        "name": person["name"],
        "address": {"street": person["street"], "city": "上海"},
        "birthday": person.spelled("birthday", which),
        "plate": person.spelled("plate", which),
        "ip": person["ip"],
        "passport": person["passport"],
    }


def properties_of(person: Person, which: int = 0) -> dict[str, Any]:
    """Return the same for an event, where `name` is a product's."""
    return {name: value for name, value in traits_of(person, which).items() if name != "name"}


def unlisted(person: Person) -> dict[str, Any]:
    """Return what is recognised by itself under any heading, in the forms that docs/events.md names."""
    mobile, card = person["mobile"], person["bank_card"]
    asked = f"/?mail={person['email']}"
    return {
        "blob": person["email"],
        "anything": person.spelled("phone", 0),
        "code": person["id_number"],
        "reference_text": person.spelled("bank_card", 1),
        "zahlung": card,
        "dial": person.spelled("mobile", 2),
        "receiver": mobile,
        "recipient": int(mobile),
        "contact": float(mobile),
        "note": f"call {person.spelled('mobile', 1)} or {mobile}, or write to {person['email']}",
        "url": f"https://shop.example/?email={quote(person['email'])}&phone={mobile}&step=3",
        "user_agent": f"Mozilla/5.0 (compatible; crawler; {person['email']})",
        "nested": {"list": [{"deep": person["email"]}, [person.spelled("phone", 0)]]},
        "payload": msgspec.json.encode({"phone": mobile, "name": "x", "mail": person["email"]}).decode(),
        person["email"]: 1,
        "emails": [person["email"]],
        "buyer_first_name": person["first_name"],
        "recipient_name": person["name"],
        "收货人手机号": mobile,
        "contactAddress": person["street"],
        "category": person["email"],
        "wide": person["email"].replace("@", "＠"),
        "referrer": f"https://x.example/{person['email']}?next={quote(asked, safe='')}#a",
        "query": f"?data={quote(msgspec.json.encode({'lastName': person['last_name']}).decode())}",
        "total": 120.0,
    }


def track(person: Person, name: str, properties: dict[str, Any], message: str) -> dict[str, Any]:
    return {
        "type": "track",
        "event": name,
        "userId": person["user_id"],
        "properties": properties,
        "messageId": message,
        "context": {
            "ip": person["ip"],
            "userAgent": f"UA {person['email']}",
            "page": {"url": f"/?email={person['email']}"},
        },
    }


def identify(person: Person, message: str, which: int = 0, user: str = "") -> dict[str, Any]:
    return {
        "type": "identify",
        "userId": user or person["user_id"],
        "anonymousId": f"browser-{message}",
        "traits": traits_of(person, which) | {person["email"]: person["mobile"]},
        "context": {"device": {"id": person["mobile"]}, "ip": person["ip"]},
        "messageId": message,
    }


# --- over HTTP


def http_single(scratch: Scratch, people: list[Person]) -> int:
    for at, person in enumerate(people):
        scratch.post("/v1/identify", identify(person, f"single-{at}", at))
        scratch.post(
            "/v1/track",
            track(person, ORDER, properties_of(person, at + 1) | {"total": 150.0}, f"single-t-{at}"),
        )
    return _sealed(scratch, people)


def http_batch(scratch: Scratch, people: list[Person]) -> int:
    scratch.batch(
        [
            message
            for at, person in enumerate(people)
            for message in (
                identify(person, f"batch-{at}", at),
                track(person, ORDER, unlisted(person), f"batch-t-{at}"),
                {"type": "page", "userId": person["user_id"], "name": f"Hello {person['email']}"}
                | {"properties": unlisted(person), "messageId": f"batch-p-{at}-{person['email']}"},
            )
        ],
        context={"traits": {"phone": people[0].spelled("mobile", 3)}},
    )
    return _sealed(scratch, people)


def dialects(scratch: Scratch, people: list[Person]) -> int:
    """As the clients of Jitsu and RudderStack send, gzipped, and with an address beside the key."""
    for at, person in enumerate(people):
        batch = {"batch": [identify(person, f"dialect-{at}", at)], "writeKey": KEY}
        packed = gzip.compress(msgspec.json.encode(batch))
        scratch.post(f"/beacon/v1/batch?writeKey={KEY}&email={quote(person['email'])}", batch)
        scratch.post("/v1/batch", packed, content_encoding="gzip")
        bought = track(person, ORDER, properties_of(person), f"dialect-t-{at}")
        scratch.post("/api/s/s2s/track", bought, x_write_key=f"{KEY}:{person['mobile']}")
    return _sealed(scratch, people)


def user_ids(scratch: Scratch, people: list[Person]) -> int:
    """What people are known by is personal itself."""
    kinds: tuple[Kind, ...] = (
        "mobile",
        "email",
        "id_number",
        "bank_card",
        "passport",
        "phone",
        "user_id",
    )
    messages = [
        track(person, ORDER, {"total": 130.0}, f"id-{at}-{kind}")
        | {"userId": person[kind], "anonymousId": f"a {person[kind]}"}
        for at, person in enumerate(people)
        for kind in kinds
    ]
    scratch.batch(messages)
    scratch.settle()
    return sum(
        scratch.get(f"/v1/profiles/user_id:{person[kind]}", READER).status_code == 200
        for person in people
        for kind in kinds
    )


def aliases_and_groups(scratch: Scratch, people: list[Person]) -> int:
    for at, person in enumerate(people):
        scratch.batch(
            [
                {"type": "page", "anonymousId": person["email"], "messageId": f"alias-p-{at}"},
                {
                    "type": "alias",
                    "previousId": person["email"],
                    "userId": person["user_id"],
                    "messageId": f"alias-{at}",
                },
                {
                    "type": "alias",
                    "previousId": person["mobile"],
                    "userId": person["id_number"],
                    "messageId": f"alias-2-{at}",
                },
                {"type": "group", "groupId": f"of {person['email']}", "userId": person["user_id"]}
                | {
                    "traits": traits_of(person) | unlisted(person) | {"name": "Acme"},
                    "messageId": f"group-{at}",
                },
                {"type": "screen", "userId": person["user_id"], "name": person.spelled("phone", 0)}
                | {"properties": properties_of(person), "messageId": f"screen-{at}"},
            ]
        )
    return _sealed(scratch, people)


def cloud_events(scratch: Scratch, people: list[Person]) -> int:
    for at, person in enumerate(people):
        base = {"specversion": "1.0", "source": f"/till/{person['email']}", "subject": person["user_id"]}
        coded = base64.b64encode(msgspec.json.encode(unlisted(person))).decode()
        events = [
            base | {"id": f"ce-{at}-1-{person['email']}", "type": ORDER, "data": unlisted(person)},
            base | {"id": f"ce-{at}-2", "type": "identify", "data": traits_of(person, at)},
            base | {"id": f"ce-{at}-3", "type": f"mailed {person['email']}", "data_base64": coded},
        ]
        scratch.post("/v1/events", events[0], content_type="application/cloudevents+json")
        scratch.post("/v1/events", events[1:], content_type="application/cloudevents-batch+json")
        scratch.post(
            "/v1/events",
            msgspec.json.encode(properties_of(person)),
            ce_specversion="1.0",
            ce_id=f"ce-{at}-4",
            ce_type=ORDER,
            ce_source="/till",
            ce_subject=person["user_id"],
        )
    return _sealed(scratch, people)


def readings(scratch: Scratch, people: list[Person]) -> int:
    """Who asks for a profile is shown masked values; who asks for nobody tells a name too."""
    scratch.batch([identify(person, f"read-{at}", at) for at, person in enumerate(people)])
    scratch.settle()
    found = 0
    for person in people:
        for named in (
            f"user_id:{person['user_id']}",
            f"phone:{person['mobile']}",
            f"email:{person['email']}",
        ):
            found += scratch.get(f"/v1/profiles/{named}", READER).status_code == 200
        scratch.get(f"/v1/profiles/name:{person['name']}", READER)
        scratch.get(f"/v1/profiles/user_id:{person['bank_card']}?email={person['email']}", READER)
        scratch.post(f"/v1/nothing/{person['email']}", {"email": person["email"]})
        scratch.get(f"/{person['mobile']}", f"wrong {person['email']}")
    return found


def consents(scratch: Scratch, people: list[Person]) -> int:
    """What is agreed to has names and versions that apps make up."""
    for at, person in enumerate(people):
        mail = person["email"]
        named = {"categoryPreferences": {mail: True, "Advertising": False}}
        listed = {"allowedConsentIds": [person.spelled("phone", 0)], "deniedConsentIds": [mail]}
        said = {
            "consent.sms": "granted",
            f"consent.{mail}": "denied",
            "consent.version": f"7, signed by {mail}",
            "consent": {"mode": "basic", mail: True, "note": f"told {person.spelled('mobile', 1)}"},
        }
        message = identify(person, f"consent-{mail}", at)
        message["traits"] |= said
        message["context"] |= {"consent": named, "consentManagement": listed}
        scratch.batch([message])
    scratch.settle()
    return _sealed(scratch, people) if scratch.deployment.directory.has_consents() else 0


# --- what is refused, and comes again


def rejects(scratch: Scratch, people: list[Person]) -> int:
    """One of everybody's events breaks in each way."""
    for at, person in enumerate(people):
        good = track(person, ORDER, properties_of(person) | unlisted(person), f"reject-{at}")
        faults: list[dict[str, Any]] = [
            {"timestamp": f"born {person['birthday']} {person['email']}"},
            {"type": person["email"]},
            {"messageId": person["email"] * 9},
            {"userId": {"email": person["email"]}},
            {"userId": "null", "anonymousId": None},
            {"event": None, "name": person["name"]},
            {"event": person["email"] * 20},
            {"properties": [person["email"], person["mobile"]]},
            {"properties": {"total": 2**70, "email": person["email"]}},
            {"properties": {person["email"]: {str(n): person["mobile"] for n in range(1_100)}}},
            {"event": PLANTED},
        ]
        scratch.batch([good | fault for fault in faults])
        broken = msgspec.json.encode(good)
        scratch.post("/v1/track", broken[:-20])
        scratch.post("/v1/batch", b'{"batch": [' + broken + b", {" + broken[1:-1] + b', "x": NaN}]}')
        scratch.post("/v1/events", broken, content_type="application/cloudevents+json")
    scratch.settle()
    return _dead(scratch, "timestamp_invalid") + _dead(scratch, "type_unknown") + _dead(scratch, "poison")


def plan_rejects(scratch: Scratch, people: list[Person]) -> int:
    scratch.batch(
        [
            track(person, PLANNED, properties, f"plan-{at}-{number}")
            for at, person in enumerate(people)
            for number, properties in enumerate(
                (
                    properties_of(person),
                    {"rating": person["email"]},
                    {"rating": 1, "nickname": person["name"]},
                    {"rating": 1, person["email"]: person["mobile"]},
                )
            )
        ]
    )
    scratch.settle()
    return _dead(scratch, "plan_violation")


def replays(scratch: Scratch, people: list[Person]) -> int:
    """A dead event is sent again, and dies again."""
    messages = [
        track(person, ORDER, unlisted(person), f"replay-{at}") | {"timestamp": f"on {person['email']}"}
        for at, person in enumerate(people)
    ]
    scratch.batch(messages)
    scratch.settle()
    before = _dead(scratch, "timestamp_invalid")
    scratch.command("dead", "replay", "--reason", "timestamp_invalid")
    scratch.command("dead", "replay", "e:0-0")
    scratch.settle()
    return before if _dead(scratch, "timestamp_invalid") >= before else 0


# --- from a topic, and from files


def topics(scratch: Scratch, people: list[Person]) -> int:
    """An app writes in the clear to a topic of its own, which is the app's affair; what follows is ours."""
    store = by_kafka(scratch.config.kafka.bootstrap, APPS_TOPIC)
    for at, person in enumerate(people):
        keyed = {"anonymousId": person["mobile"]}
        good = track(person, ORDER, unlisted(person), f"topic-t-{at}") | keyed
        store([identify(person, f"topic-{at}", at) | keyed, good, good | {"timestamp": person["email"]}])
    return _sealed(scratch, people)


def imports(scratch: Scratch, people: list[Person]) -> int:
    """In the encoding of Excel in China; with rows that are rejected, and whose values are bad."""
    heads = ["会员号", "姓名", "手机号", "邮箱", "身份证号", "生日", "地址", "银行卡号", "车牌", "护照号"]
    kinds: tuple[Kind, ...] = (
        "user_id",
        "name",
        "mobile",
        "email",
        "id_number",
        "birthday",
        "street",
        "bank_card",
        "plate",
        "passport",
    )
    rows = [[person[kind] for kind in kinds] for person in people]
    rows += [["", *row[1:]] for row in rows]  # nobody: rejected
    rows += [
        [f"{row[0]}x", row[1], f"{row[2]}99", f"{row[3]} at home", f"{row[4]}0", *row[5:]] for row in rows
    ]
    text = "\r\n".join(",".join(row) for row in [heads, *rows]) + "\r\n"
    file = scratch.inbox / "kunden.csv"
    file.write_bytes(text.encode("gb18030"))
    scratch.command("import", str(file), "--map", "会员号=userId", "--live", *_mapped(heads[1:]))
    return _sealed(scratch, people)


def _mapped(heads: list[str]) -> list[str]:
    return [word for head in heads for word in ("--map", f"{head}=traits.{head}")]


# --- within


def matching(scratch: Scratch, people: list[Person]) -> int:
    """Two records of each that share no identifier: one pair is united, of another a steward is asked."""
    scratch.batch(
        [
            {"type": "identify", "anonymousId": f"match-{at}-{turn}", "messageId": f"match-{at}-{turn}"}
            | {"traits": _record(person, turn, alike=at % 2 == 0)}
            for at, person in enumerate(people)
            for turn in range(2)
        ]
    )
    scratch.settle()
    stats = scratch.deployment.directory.stats()
    reviews = len(scratch.deployment.ledger.reviews())
    return reviews + stats.get("unions", 0) if reviews else 0


def _record(person: Person, turn: int, *, alike: bool) -> dict[str, Any]:
    common = {
        "firstName": person["first_name"],
        "lastName": person["last_name"],
        "address": {"street": person["street"], "city": "上海"},
        "idNumber": person["id_number"],
    }
    if alike:
        return common | {"birthday": person["birthday"]}
    other = {"birthday": ("1966-03-02", person["birthday"])[turn]}
    return {name: common[name] for name in ("firstName", "lastName")} | other


def stewards(scratch: Scratch, people: list[Person]) -> int:
    """Orders name people in the clear, and so do the reasons that are given for them."""
    one, other = people
    for at, person in enumerate(people):
        known = {"type": "identify", "anonymousId": f"steward-{at}", "messageId": f"steward-{at}"}
        scratch.batch([known | {"traits": traits_of(person, at)}])
    scratch.settle()
    named = (f"email:{one['email']}", f"phone:{other['mobile']}")
    why = f"{one['email']} called from {one.spelled('phone', 0)}, {other.spelled('mobile', 1)}"
    scratch.command("identity", "link", *named, "--reason", why)
    scratch.settle()
    scratch.command("identity", "unmerge", named[0], "--yes")
    scratch.command("identity", "apart", *named, "--reason", why)
    pair = [dict(zip(("type", "value"), name.split(":"), strict=True)) for name in named]
    for key in (CRM_KEY, KEY):
        scratch.post("/v1/batch", {"batch": [{"type": "merge", "mergeProperties": pair, "reason": why}]}, key)
        scratch.post("/v1/unmerge", {"mergeProperties": pair, "reason": why}, key)
    for order in ("link", one["email"]):
        body = {"type": "identity", "order": order, "mergeProperties": pair, "reason": why}
        scratch.post("/v1/identity/orders", body, STEWARD)
    scratch.settle()
    reviewed = next(iter(scratch.steward("/v1/reviews")["reviews"]), {"id": "none"})
    scratch.command("review", "reject", reviewed["id"], "--reason", why)
    unions = scratch.deployment.ledger.unions(0, 1_000)
    return sum(union.by == "steward" for union in unions)


def tried_out(scratch: Scratch, people: list[Person]) -> int:
    """What an event would do, and what is held of a customer: both are shown masked."""
    file = scratch.inbox / "event.json"
    messages = [
        message
        for at, person in enumerate(people)
        for message in (identify(person, f"try-{at}"), track(person, ORDER, unlisted(person), f"try-t-{at}"))
    ]
    file.write_bytes(msgspec.json.encode(messages))
    said = scratch.command("check", str(scratch.file), "--event", str(file), configured=False)
    scratch.batch(messages)
    scratch.settle()
    scratch.command("customer", f"user_id:{people[0]['user_id']}")
    return _sealed(scratch, people) if "accepted" in said else 0


# --- what leaves


def triggers(scratch: Scratch, people: list[Person]) -> int:
    """To receivers that are told nobody, and to those that are; whose own files are not searched."""
    before = len(scratch.plain.bodies)
    scratch.batch(
        [
            message
            for at, person in enumerate(people)
            for message in (
                identify(person, f"trigger-{at}"),
                track(person, ORDER, unlisted(person) | properties_of(person), f"trigger-t-{at}"),
                track(
                    person,
                    "Product Added",
                    unlisted(person) | {"product_id": person["email"]},
                    f"trigger-a-{at}",
                ),
            )
        ]
    )
    scratch.settle()
    told = sum(person["email"].lower().encode() in b"".join(scratch.crm.bodies).lower() for person in people)
    return len(scratch.plain.bodies) - before if told == len(people) else 0


def dead_deliveries(scratch: Scratch, people: list[Person]) -> int:
    """A receiver that is told who it is takes nothing, and then takes what is sent again."""
    scratch.broken.status = 400
    scratch.batch(
        [
            message
            for at, person in enumerate(people)
            for message in (
                identify(person, f"dead-{at}"),
                track(person, ORDER, unlisted(person), f"dead-t-{at}"),
            )
        ]
    )
    scratch.settle()
    dead = len(list(scratch.deployment.dead_deliveries.newest()))
    scratch.broken.status = 0
    before = len(scratch.broken.bodies)
    scratch.command("dead", "replay", "--reason", "status 400")
    return dead if len(scratch.broken.bodies) > before else 0


# --- from what is kept


def rebuilds(scratch: Scratch, _nobody: list[Person]) -> int:
    """All that came before once more, from the archive, beside what runs."""
    scratch.command("rebuild")
    client: Any = scratch.deployment.client
    beside = scratch.deployment.names.prefix + b"-*"
    return sum(1 for _ in client.scan_iter(match=beside, count=1_000))


WAYS: Final[tuple[Way, ...]] = (
    Way("HTTP, one message", http_single),
    Way("HTTP, a batch", http_batch),
    Way("HTTP, other dialects", dialects),
    Way("HTTP, personal user ids", user_ids),
    Way("HTTP, alias, group and screen", aliases_and_groups),
    Way("HTTP, CloudEvents", cloud_events),
    Way("HTTP, profiles asked for", readings),
    Way("consents", consents),
    Way("rejects", rejects),
    Way("rejects by the tracking plan", plan_rejects),
    Way("rejects sent again", replays),
    Way("a topic of Kafka", topics, kafka=True),
    Way("files imported", imports, 3),
    Way("matching and reviews", matching, 4),
    Way("orders of stewards", stewards),
    Way("events that are tried out", tried_out),
    Way("triggers", triggers),
    Way("deliveries that fail, and are sent again", dead_deliveries),
    Way("a rebuild from the archive", rebuilds, people=0),
)


def _sealed(scratch: Scratch, people: list[Person]) -> int:
    """Return how many of their values lie sealed in the state, and can be opened with their keys: what is not
    there at all cannot lie open either."""
    scratch.settle()
    deployment = scratch.deployment
    hashes = [deployment.identifiers.hash("user_id", person["user_id"]) for person in people]
    roots = deployment.directory.lookup([found for found in hashes if found is not None])
    opened = deployment.contacts.opened([root for root in roots if root is not None], ())
    said = " ".join(text for stated in opened.values() for _, _, text in stated)
    values = [value for person in people for value in person.values.values()]
    return sum(any(spelling in said for spelling in value.spellings) for value in values)


def _dead(scratch: Scratch, reason: str) -> int:
    return sum(dead.letter.reason == reason for dead in scratch.deployment.dead_events.newest())
