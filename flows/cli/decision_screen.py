"""`millrace why ID`: what was decided about a customer, in words."""

from rich.table import Table

from flows.cli.printing import console, folded, moment_text, print_json, printable
from flows.runtime.deployment import Deployment
from flows.services import decisions
from schemas.bilingual import Lang
from schemas.config import Config
from schemas.wire import reasons


def run(config: Config, who: str, limit: int, lang: Lang, as_json: bool) -> int:
    """Print the decisions about `NAMESPACE:VALUE`, or a customer's id. Raises `Unusable`, `Unreachable`."""
    found = decisions.of(Deployment(config), who, limit=limit)
    if as_json:
        print_json([decisions.plain(one, lang) for one in found])
        return 0
    out = console()
    if not found:
        out.print(f"nothing was withheld from {who}, and nothing chosen, as far as it is kept", markup=False)
        return 0
    table = folded(Table("when", "rule", "action", "why", "others"))
    for one in found:
        others = [f"{name}: {reasons.withheld(code, lang)}" for name, code in one.withheld.items()]
        table.add_row(
            moment_text(one.at_ms),
            printable(one.rule),
            printable(one.action),
            reasons.words(one.reason, lang),
            printable("; ".join(others)),
        )
    out.print(table)
    return 0
