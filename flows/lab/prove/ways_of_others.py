"""What customers and other systems ask over HTTP: they name people in the clear, in reasons too."""

import uuid
from typing import Any
from urllib.parse import quote

from flows.lab.prove.arrivals import sealed
from flows.lab.prove.messages import ORDER, identify, track, unlisted
from flows.lab.prove.personal_values import Person
from flows.lab.prove.scratch import PRIVACY, Scratch


def rights(scratch: Scratch, people: list[Person]) -> int:
    """One objects, is restricted and erased; of the other nothing is held in the end but what was said."""
    _know(scratch, people, "rights")
    erased, other = people
    about = f"/v1/subjects/email:{quote(other['email'])}"
    why = f"{other['email']} called from {other.spelled('phone', 0)}, {erased.spelled('mobile', 1)}"
    for right in ("object", "restrict", "correct", "move", "complain"):
        scratch.post(f"{about}/{right}", {"reason": why}, PRIVACY)
    scratch.post(f"{about}/object", {"reason": why, "purposes": [other["email"]]}, PRIVACY)
    scratch.post(f"{about}/consent", {"words": {"sms": False}, "version": f"told {other['email']}"}, PRIVACY)
    scratch.get(f"{about}/requests", PRIVACY)
    scratch.get(f"{about}/consent", PRIVACY)
    scratch.asked("GET", f"{about}/export")  # shows all of it, on purpose
    path = f"/v1/subjects/phone:{quote(erased['mobile'])}/erase"
    scratch.post(path, {"reason": why, "suppress": True}, PRIVACY)
    scratch.post(f"/v1/subjects/email:{quote(erased['email'])}/unsuppress", b"", PRIVACY)
    listed = scratch.asked("GET", "/v1/subjects")["requests"]
    return sealed(scratch, [other]) if len(listed) > 5 else 0


def opendsr(scratch: Scratch, people: list[Person]) -> int:
    """A controller asks what is held of one, and has the other erased."""
    _know(scratch, people, "opendsr")
    asked, erased = people
    names = []
    for kind, person in (("access", asked), ("erasure", erased)):
        body = {
            "subject_request_id": str(uuid.uuid4()),
            "subject_request_type": kind,
            "submitted_time": "2026-11-30T09:30:00Z",
            "regulation": "gdpr",
            "subject_identities": [
                _identity("email", person["email"]),
                _identity("phone", person["mobile"]),
                _identity("loyalty", person["bank_card"]),
            ],
            "status_callback_urls": [f"{scratch.crm.url}?email={quote(person['email'])}"],
        }
        scratch.post("/opendsr_requests", body | {"submitted_time": person["email"]}, PRIVACY)
        scratch.post("/opendsr_requests", body | {"subject_request_type": person["email"]}, PRIVACY)
        names.append(scratch.asked("POST", "/opendsr_requests", body)["subject_request_id"])  # repeats it
    states = [_ended(scratch, name) for name in names]
    for name in names:
        scratch.get(f"/opendsr_requests/{name}", PRIVACY)
    scratch.asked("GET", f"/requests/{names[0]}/results")
    return sealed(scratch, [asked]) if states == ["completed"] * 2 else 0


def regulations(scratch: Scratch, people: list[Person]) -> int:
    """One is to be erased and to stay unknown, the other to stay as it is."""
    _know(scratch, people, "regulations")
    erased, other = people
    for kind, person in (("SUPPRESS_WITH_DELETE", erased), ("SUPPRESS_ONLY", other)):
        body = {"regulationType": kind, "subjectType": "USER_ID", "subjectIds": [person["user_id"]]}
        named = scratch.post("/regulations", body, PRIVACY).json()["data"]["regulateId"]
        scratch.post("/regulations", body | {"subjectType": person["email"]}, PRIVACY)
        scratch.post("/regulations", body | {"subjectIds": [person["email"] * 30]}, PRIVACY)
        scratch.get(f"/regulations/{named}", PRIVACY)
    scratch.get("/regulations", PRIVACY)
    scratch.settle()
    scratch.batch([track(person, ORDER, unlisted(person), f"again-{person['email']}") for person in people])
    scratch.settle()
    scratch.get("/suppressions", PRIVACY)
    return sealed(scratch, [other]) if scratch.deployment.directory.suppressed() else 0


def _know(scratch: Scratch, people: list[Person], mark: str) -> None:
    scratch.batch([identify(person, f"{mark}-{at}", at) for at, person in enumerate(people)])
    scratch.settle()


def _identity(kind: str, value: str) -> dict[str, Any]:
    return {"identity_type": kind, "identity_value": value, "identity_format": "raw"}


def _ended(scratch: Scratch, name: str) -> str:
    """Return the state of a request when nothing moves any more."""
    for _ in range(60):
        scratch.settle()
        state: str = scratch.asked("GET", f"/opendsr_requests/{name}")["request_status"]
        if state == "completed":
            break
    return state
