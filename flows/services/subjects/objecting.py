"""Objections and restrictions: what a customer need not be asked for again is refused at once, as words of
consent.

object    the named purposes are refused (by default all that customers are asked for), and so it is done;
          with words of the customer it stays open until people have answered them
restrict  all of these are refused, and people see to the rest: the request stays open until they close it
"""

from collections.abc import Sequence

from flows.runtime.deployment import Deployment
from flows.services.subjects import consenting, requests
from flows.services.subjects.requests import Asked
from schemas.errors import Unusable
from schemas.records.privacy_requests import Right


def ask(
    deployment: Deployment,
    right: Right,
    who: str,
    *,
    by: str,
    note: str = "",
    text: str = "",
    purposes: Sequence[str] = (),
) -> Asked:
    """Ask for what `requests.ask` takes; of an objection or a restriction the consent is in the raw log when
    this returns. `purposes`: of an objection alone. Raises `Unusable` where nobody is known so, and for a
    purpose that cannot be objected to, `Unreachable`."""
    if right not in ("object", "restrict"):
        if purposes:
            raise Unusable(f"purposes are those of an objection; {right} names none")
        return requests.ask(deployment, right, who, by=by, note=note, text=text)
    refused = _refused(deployment, right, purposes)
    proof = consenting.say(deployment, who, dict.fromkeys(refused, False), by=by)
    done = right == "object" and not text  # what somebody wrote is answered by somebody
    return requests.ask(deployment, right, who, by=by, note=note, text=text, proof=proof, done=done)


def _refused(deployment: Deployment, right: Right, purposes: Sequence[str]) -> Sequence[str]:
    may = consenting.optional(deployment.config)
    if right == "restrict" and purposes:
        raise Unusable("a restriction is of all purposes that customers are asked for: name none, or object")
    unknown = [at for at, purpose in enumerate(purposes) if purpose not in may]
    if unknown:
        raise Unusable(
            f"purposes[{unknown[0]}]: expected one that customers are asked for ({', '.join(may)})"
        )
    if not may:
        raise Unusable("there is no purpose that customers are asked for: [[consent.purpose]] has none")
    return [*dict.fromkeys(purposes)] or may
