"""The ways into a deployment: over HTTP, from a topic, from files; also of what is refused."""

import base64
import gzip
from typing import Any
from urllib.parse import quote

import msgspec

from flows.lab.chaos.booked_traffic import by_kafka
from flows.lab.demo.malformed import PLANTED
from flows.lab.prove.arrivals import dead, sealed
from flows.lab.prove.messages import ORDER, identify, properties_of, track, traits_of, unlisted
from flows.lab.prove.personal_values import Kind, Person
from flows.lab.prove.scratch import APPS_TOPIC, KEY, PLANNED, READER, Scratch

# --- over HTTP


def http_single(scratch: Scratch, people: list[Person]) -> int:
    for at, person in enumerate(people):
        scratch.post("/v1/identify", identify(person, f"single-{at}", at))
        scratch.post(
            "/v1/track",
            track(person, ORDER, properties_of(person, at + 1) | {"total": 150.0}, f"single-t-{at}"),
        )
    return sealed(scratch, people)


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
    return sealed(scratch, people)


def dialects(scratch: Scratch, people: list[Person]) -> int:
    """As the clients of Jitsu and RudderStack send, gzipped, and with an address beside the key."""
    for at, person in enumerate(people):
        batch = {"batch": [identify(person, f"dialect-{at}", at)], "writeKey": KEY}
        packed = gzip.compress(msgspec.json.encode(batch))
        scratch.post(f"/beacon/v1/batch?writeKey={KEY}&email={quote(person['email'])}", batch)
        scratch.post("/v1/batch", packed, content_encoding="gzip")
        bought = track(person, ORDER, properties_of(person), f"dialect-t-{at}")
        scratch.post("/api/s/s2s/track", bought, x_write_key=f"{KEY}:{person['mobile']}")
    return sealed(scratch, people)


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
    return sealed(scratch, people)


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
    return sealed(scratch, people)


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
    return sealed(scratch, people) if scratch.deployment.directory.has_consents() else 0


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
    return dead(scratch, "timestamp_invalid") + dead(scratch, "type_unknown") + dead(scratch, "poison")


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
    return dead(scratch, "plan_violation")


def replays(scratch: Scratch, people: list[Person]) -> int:
    """A dead event is sent again, and dies again."""
    messages = [
        track(person, ORDER, unlisted(person), f"replay-{at}") | {"timestamp": f"on {person['email']}"}
        for at, person in enumerate(people)
    ]
    scratch.batch(messages)
    scratch.settle()
    before = dead(scratch, "timestamp_invalid")
    scratch.command("dead", "replay", "--reason", "timestamp_invalid")
    scratch.command("dead", "replay", "e:0-0")
    scratch.settle()
    return before if dead(scratch, "timestamp_invalid") >= before else 0


# --- from a topic, and from files


def topics(scratch: Scratch, people: list[Person]) -> int:
    """An app writes in the clear to a topic of its own, which is the app's affair; what follows is ours."""
    store = by_kafka(scratch.config.kafka.bootstrap, APPS_TOPIC)
    for at, person in enumerate(people):
        keyed = {"anonymousId": person["mobile"]}
        good = track(person, ORDER, unlisted(person), f"topic-t-{at}") | keyed
        store([identify(person, f"topic-{at}", at) | keyed, good, good | {"timestamp": person["email"]}])
    return sealed(scratch, people)


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
    return sealed(scratch, people)


def _mapped(heads: list[str]) -> list[str]:
    return [word for head in heads for word in ("--map", f"{head}=traits.{head}")]
