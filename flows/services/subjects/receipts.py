"""What the receipt of an erasure says. It holds no personal data: a customer is named by keyed hashes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from schemas.config import Config
from schemas.records.identity_graph import text_id
from schemas.records.privacy_requests import PrivacyRequest

KIND: Final = "millrace erasure receipt"
REMAINS: Final[Sequence[str]] = (
    "a mark for each origin (a keyed hash), so that its name is never given again and no copy brings it back",
    "counts and learned weights that many customers share, and that hold nobody's data",
    "copies in archive and backups whose keys are destroyed: nobody can read what they hold of the person",
)


def document(config: Config, request: PrivacyRequest) -> dict[str, Any]:
    """Return what is signed."""
    types = {connector.name: connector.type for connector in config.connector}
    return {
        "kind": KIND,
        "version": 1,
        "id": request.id,
        "deployment": config.name,
        "customer": text_id(request.customer),
        "origins": [text_id(origin) for origin in request.origins],
        "regime": request.regime,
        "asked": moment(request.asked_ms),
        "due": moment(request.due_ms),
        "again": request.again,
        "suppressed": request.suppress,
        "steps": {step: moment(at_ms) for step, at_ms in request.times.items()},
        "removed": request.counts,
        "receivers": [
            {
                "name": name,
                "type": types.get(name, ""),
                "said": answer.said,
                "detail": answer.detail,
                "at": moment(answer.at_ms),
                "attempts": answer.attempts,
            }
            for name, answer in request.answers.items()
        ],
        "note": request.note,
        "remains": list(REMAINS),
    }


def moment(time_ms: int) -> str:
    """Return a time as text, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
