"""The ways within a deployment and out of it: matching, stewards, triggers, and what is built again."""

import re
from typing import Any, Final

import httpx
import msgspec

from flows.lab.prove.arrivals import sealed
from flows.lab.prove.messages import ORDER, identify, properties_of, track, traits_of, unlisted
from flows.lab.prove.personal_values import Person
from flows.lab.prove.scratch import CRM_KEY, KEY, STEWARD, Scratch
from flows.services.subjects import requests

_CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')

# --- people who are one, and people who decide


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
    return sealed(scratch, people) if "accepted" in said else 0


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


def erasures(scratch: Scratch, people: list[Person]) -> int:
    """One is erased, one complains; both say why in words of their own."""
    erased, other = people
    for at, person in enumerate(people):
        scratch.batch(
            [identify(person, f"erase-{at}", at), track(person, ORDER, unlisted(person), f"erase-t-{at}")]
        )
    scratch.settle()
    why = f"{erased['email']} called from {erased.spelled('phone', 0)}"
    done = scratch.command("subject", "erase", f"email:{erased['email']}", "--reason", why, "--yes")
    scratch.command("subject", "complain", f"phone:{other['mobile']}", "--reason", why)
    scratch.command("subject", "status", f"user_id:{other['user_id']}")
    return int("done" in done) + sealed(scratch, [other])


def centre(scratch: Scratch, people: list[Person]) -> int:
    """Customers look at what is held, choose, and write what is to be corrected. What pages show masked is
    searched; what they wrote is shown to them as they wrote it, and exports are in the clear on purpose."""
    scratch.batch([identify(person, f"centre-{at}", at) for at, person in enumerate(people)])
    scratch.settle()
    for person in people:
        link = scratch.command("privacy", "link", f"user_id:{person['user_id']}", "--lang", "zh").strip()
        root = f"{link.partition('/privacy/')[0]}/privacy"
        with httpx.Client(timeout=30) as browser:
            scratch.noted(browser.get(f"{link}{person['email']}"))
            browser.post(link, headers={"content-type": "application/x-www-form-urlencoded"})
            for page in ("", "/choices", "/data", "/requests", "/erase", f"/{person['email']}"):
                scratch.noted(browser.get(root + page))
            csrf = _CSRF.findall(browser.get(root).text)[0]
            written = " ".join(person[name] for name in person.values)
            for path, form in (
                ("/requests", {"right": "correct", "text": written}),
                ("/requests", {"right": written, "text": "x"}),
                ("/choices", {"switch": f"{person['email']}=no"}),
                ("/choices", {"switch": "marketing.location=no"}),
            ):
                answer = browser.post(root + path, data={"csrf": csrf} | form)
                if "text" not in form:
                    scratch.noted(answer)
            browser.get(f"{root}/download/data.json")
    scratch.settle()
    deployment = scratch.deployment
    asked = [one for one in requests.everything(deployment, unfinished=True) if one.text]
    texts = " ".join(requests.text_of(deployment, one) for one in asked)
    return sum(person[name] in texts for person in people for name in person.values)


def rotations(scratch: Scratch, _nobody: list[Person]) -> int:
    """Another key-encryption key for all that is sealed."""
    return scratch.command("keys", "rotate").count("wrapped anew in")


def rebuilds(scratch: Scratch, _nobody: list[Person]) -> int:
    """All that came before once more, from the archive, beside what runs."""
    scratch.command("rebuild")
    client: Any = scratch.deployment.client
    beside = scratch.deployment.names.prefix + b"-*"
    return sum(1 for _ in client.scan_iter(match=beside, count=1_000))
