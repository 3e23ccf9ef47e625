"""What is sent of a person: all of it under listed headings, and what is recognised under any heading."""

from typing import Any, Final
from urllib.parse import quote

import msgspec

from flows.lab.prove.personal_values import Person

ORDER: Final = "Order Completed"


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


def identify(person: Person, message: str, which: int = 0) -> dict[str, Any]:
    return {
        "type": "identify",
        "userId": person["user_id"],
        "anonymousId": f"browser-{message}",
        "traits": traits_of(person, which) | {person["email"]: person["mobile"]},
        "context": {"device": {"id": person["mobile"]}, "ip": person["ip"]},
        "messageId": message,
    }
