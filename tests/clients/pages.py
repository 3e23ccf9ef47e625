"""docs/clients.md, whose parts are written by different programs: the first table, and each section below
it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "clients"
PAGE = ROOT / "docs" / "clients.md"


def put(heading: str, text: str) -> None:
    """Replace the section of that heading, or add it at the end; an empty heading is what stands above the
    first one."""
    first, *rest = PAGE.read_text().split("\n## ")
    sections = {
        "": first.rstrip(),
        **{"## " + part.partition("\n")[0]: "## " + part.rstrip() for part in rest},
    }
    sections[heading] = text.rstrip()
    PAGE.write_text("\n\n".join(sections.values()) + "\n")
