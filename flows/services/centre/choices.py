"""What a customer allows, as the switches of the privacy centre; and a new word of it."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from connectors.centre.views import Choices, PurposeSwitch, Spoken, Switch, Visit
from flows.logic.permissions.statements import Stated, Words, words_of
from flows.logic.permissions.switching import Switches
from flows.logic.resolution.consents import ConsentRules
from flows.runtime.deployment import Deployment
from flows.services.centre.links import change
from flows.services.subjects import consenting
from state.redis.client import reported

BY: Final = "privacy centre"
WAIT_S: Final = 1.5  # for a choice to hold, before the page says that it will
WORDS_SHOWN_MAX: Final = 50


class Choosing:
    """The choices that one configuration offers. Raises `Unusable` for a customer of whom nothing is held any
    more, `Unreachable`."""

    def __init__(self, deployment: Deployment, rules: ConsentRules) -> None:
        config = deployment.config
        self._deployment = deployment
        self._rules = rules
        channels, categories = consenting.channels_of(config), rules.categories.names
        asked = [purpose for purpose in config.consent.purpose if not purpose.required]
        self._switches = Switches(asked, (*channels, *categories), rules.permissions)
        # each switch, as the purpose and the part that it is of
        self._known = {purpose.name: (purpose.name, "") for purpose in asked} | {
            f"{purpose.name}.{part}": (purpose.name, part)
            for purpose in asked
            for part in (*channels, *(purpose.data or categories))
        }

    def now(self, visit: Visit) -> Choices:
        """Return what a customer allows; what was noted a moment ago is shown as it will be."""
        said = consenting.judged(self._deployment, self._rules, visit.customer)
        words = self._words(visit)
        late = {thing: on for thing, on in visit.pending.items() if words.said.get(thing) is not on}
        purposes = []
        for one in said.purposes:
            shown = partial(_switch, late, one.purpose)
            purposes.append(
                PurposeSwitch(
                    switch=shown("", one.allowed),
                    required=one.required,
                    channels=[shown(name, on) for name, on in one.channels.items()],
                    categories=[shown(name, on) for name, on in one.categories.items()],
                )
            )
        return Choices(
            mode=self._switches.mode(Words({**words.said, **late}, words.country)),
            modes=self._switches.modes(),
            pending=bool(late),
            purposes=purposes,
            words=[
                Spoken(word.thing, word.granted, word.at_ms, word.channel, word.version, word.proof)
                for word in said.words[:WORDS_SHOWN_MAX]
            ],
        )

    def choose(self, cookie: str, visit: Visit, mode: str) -> bool:
        """Take a mode down, and return whether it holds already. Raises `ValueError` for one that is none."""
        if mode not in self._switches.modes():
            raise ValueError(f"there is no mode {mode!r}")
        return self._say(cookie, visit, self._switches.choose(self._words(visit), mode))

    def switch(self, cookie: str, visit: Visit, thing: str, on: bool) -> bool:
        """Take one switch down, likewise."""
        if thing not in self._known:
            raise ValueError(f"there is no switch {thing!r}")
        purpose, part = self._known[thing]
        return self._say(cookie, visit, self._switches.switch(self._words(visit), purpose, part, on))

    def _say(self, cookie: str, visit: Visit, words: Stated) -> bool:
        said: Mapping[str, Any] = words
        version = self._deployment.config.centre.version
        # who is in was let in as this customer: it is nobody else's word
        consenting.say(self._deployment, visit.customer, said, by=BY, version=version, confirmed=True)
        holds = consenting.holds(self._deployment, visit.customer, said, wait_s=WAIT_S)
        now_ms = time.time_ns() // 1_000_000
        pending = {} if holds else {**visit.pending, **words}
        change(self._deployment, cookie, pending=pending, pending_ms=now_ms)
        return holds

    def _words(self, visit: Visit) -> Words:
        with reported():
            [standing] = self._deployment.directory.standings([bytes.fromhex(visit.customer)])
        return words_of(standing)


def _switch(late: Mapping[str, bool], purpose: str, part: str, on: bool) -> Switch:
    thing = f"{purpose}.{part}" if part else purpose
    return Switch(thing, part or purpose, late.get(thing, on), thing in late)
