"""One customer, with all that is held of them."""

from typing import Any

from flows.runtime.deployment import Deployment
from schemas.errors import Unusable


def profile(deployment: Deployment, who: str) -> dict[str, Any]:
    """Return the profile of `NAMESPACE:VALUE`, or of a customer's hex id, contact details masked. Raises
    `Unusable` where there is none, `Unreachable`."""
    namespace, colon, value = who.partition(":")
    known = ["customer", *(entry.name for entry in deployment.config.identity.namespace)]
    if colon and namespace not in known:
        raise Unusable(
            f"{namespace!r} is no namespace: expected one of {', '.join(known)}, "
            "such as email:ana@example.org"
        )
    if not colon:
        namespace, value = "customer", who
    found = deployment.profile_reader(namespace, value)
    if found is None:
        raise Unusable(f"nobody is known as {who}: expected NAMESPACE:VALUE, or the id of a customer")
    return found
