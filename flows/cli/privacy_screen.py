"""What `millrace privacy` prints."""

from flows.runtime.deployment import Deployment
from flows.services.centre import links
from schemas.bilingual import Lang
from schemas.config import Config


def link(config: Config, who: str, days: int, lang: Lang) -> int:
    """Print a link. Raises `Unusable`, `Unreachable`."""
    print(links.make(Deployment(config), who, days=days, lang=lang))
    return 0
