"""Every text of the screen in one place: a key, and its words in each language."""

from collections.abc import Mapping

from schemas.bilingual import Words


class Catalogue:
    """The texts of one set of pages."""

    def __init__(self, *parts: Mapping[str, Words]) -> None:
        """`parts` share no key."""
        self.texts: dict[str, Words] = {}
        for part in parts:
            if twice := self.texts.keys() & part.keys():
                raise ValueError(f"texts that are there already: {', '.join(sorted(twice))}")
            self.texts |= part

    def text(self, key: str, lang: str, **values: object) -> str:
        """Return a text in this language, with these values in its places. Raises `KeyError` where there is
        none, or a value is missing."""
        said = self.texts[key].of(lang)
        return said.format_map(values) if values else said
