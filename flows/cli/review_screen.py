"""`millrace review`: pairs of customers that may be one, for a person to decide."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from flows.cli.identity_screen import plain, say_given
from flows.cli.printing import folded, moment_or_nothing, print_json, printable
from flows.runtime.deployment import Deployment
from flows.services.steward import access, giving_orders
from flows.services.steward.desk import Compared, Said, Side
from flows.services.steward.named_customers import Named
from schemas.config import Config
from state.redis.client import reported


def listing(config: Config, after: str, limit: int, lang: str, as_json: bool) -> int:
    """Print a page of the pairs that wait, the oldest first."""
    with reported():
        queue = access.steward(Deployment(config)).reviews(after, limit)
    if as_json:
        print_json(queue)
        return 0
    found = queue.reviews
    table = folded(Table("id", "since", "by", "evidence", padding=(0, 1, 0, 0), box=SIMPLE_HEAD))
    for review in found:
        table.add_row(
            review.id,
            moment_or_nothing(review.since_ms),
            review.by,
            Text(printable(review.evidence.words.of(lang))),
        )
    plain().print(table if found else "nothing waits for a decision")
    if queue.next is not None:
        plain().print(f"more: --after {queue.next}", markup=False, soft_wrap=True)
    return 0


def show(config: Config, ident: str, lang: str, as_json: bool) -> int:
    """Print both sides of a pair and the evidence. 1 if there is no such pair."""
    with reported():
        found = access.steward(Deployment(config)).review(ident)
    if found is None:
        return _none(ident)
    if as_json:
        print_json(found)
        return 0
    evidence, say = found.review.evidence, plain()
    say.print(printable(evidence.words.of(lang)), markup=False)
    for title, words in (("for", evidence.speaks_for), ("against", evidence.against)):
        if words:
            say.print(f"{title}: {', '.join(one.of(lang) for one in words)}", markup=False)
    say.print(_sides(found))
    return 0


def decide(config: Config, ident: str, said: Said, reason: str) -> int:
    """Accept, reject, or say that one cannot tell. 0 if it was carried out."""
    given = giving_orders.decide(Deployment(config), ident, said, reason)
    return _none(ident) if given is None else say_given(given)


def _sides(found: Compared) -> Table:
    one, other = found.one, found.other
    table = folded(Table("", one.customer, other.customer, padding=(0, 1, 0, 0), box=SIMPLE_HEAD))
    for namespace in dict.fromkeys(named.namespace for side in (one, other) for named in side.identifiers):
        table.add_row(namespace, *(Text(_values(side.identifiers, namespace)) for side in (one, other)))
    left, right = _said(one), _said(other)
    for field in sorted({*left, *right}):
        table.add_row(field, Text(left.get(field, "")), Text(right.get(field, "")))
    return table


def _values(identifiers: list[Named], namespace: str) -> str:
    return "\n".join(
        printable(one.value or f"#{one.identifier[:8]}") for one in identifiers if one.namespace == namespace
    )


def _said(side: Side) -> dict[str, str]:
    """What is known of a customer, each as one text."""
    profile = side.profile or {}
    general = {name: str(value) for name, value in profile.get("traits", {}).items()}
    figures = {name: str(profile[name]) for name in ("events", "stage", "segment") if profile.get(name)}
    return {name: printable(value) for name, value in (side.stated | general | figures).items()}


def _none(ident: str) -> int:
    plain().print(f"no pair (or more than one) has an id that begins with {printable(ident)}", markup=False)
    return 1
