"""From the events of a window to the facts of its groups: judged by consent, sealed, packed."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

import msgspec

from flows.logic.resolution.consents import ConsentRules, Ruling
from flows.runtime.windows import Judged
from schemas.errors import Stale
from schemas.records.identity_graph import Group, Routed
from schemas.wire.events import Fact
from state.directory.directory_protocol import Directory
from state.directory.matches import SEALED_AS
from state.keys import DataKeys

KNOWN_MAX: Final = 500_000  # user ids
# of a group: indexes of its events, their facts, what of each is personal
_Draft = tuple[list[int], Group, list[dict[str, Any]]]
_NOTHING: Final[list[str]] = []
_NONE: Final[Set[int]] = frozenset()
_encode = msgspec.msgpack.Encoder().encode
_encode_json = msgspec.json.Encoder().encode


class Drafting:
    """Drafts, seals and packs for one worker."""

    def __init__(self, consents: ConsentRules, directory: Directory, keys: DataKeys) -> None:
        self._consents = consents
        self._directory = directory
        self._keys = keys
        self.spoken = directory.has_consents()  # whether anybody has ever said anything
        self.known: set[bytes] = set()  # user ids whose plain value is sealed already

    def groups(self, judged: Judged, now: int, plan_all: bool) -> tuple[list[Group], list[bytes]]:
        """Return the window's groups with packed facts, personal data sealed for the origin where a plan says
        that it lands; and the user ids whose plain value is sealed now.

        A plan of the groups with personal data alone is nearly always right. It is not where another group of
        the same window takes one of their identifiers first (two users of one device): then the whole window
        has to be planned.
        """
        drafts, news = self._drafted(judged, None)
        judged.ruling = None
        if self.spoken or not self._consents.are_idle(judged.checked):
            survey = self._directory.survey([routed for _, routed, _ in drafts], fresh=plan_all)
            indexes = [index for joint, _, _ in drafts for index in joint]
            ruling = self._consents.rule(judged.checked, indexes, survey.origins, survey.standings)
            judged.ruling = ruling
            if ruling.events or ruling.dropped:
                drafts, news = self._drafted(judged, ruling)
            landing = dict(zip(indexes, survey.origins, strict=True))
            unsure = {index for index, known in zip(indexes, survey.known, strict=True) if not known}
            _expect(drafts, landing, unsure, {put.field for put in ruling.puts})
        else:
            landing = self._landing(judged, drafts, plan_all)
        self._pack(judged, drafts, landing, now)
        return [routed for _, routed, _ in drafts], news

    def _drafted(self, judged: Judged, ruling: Ruling | None) -> tuple[list[_Draft], list[bytes]]:
        """Return each group with facts that are not packed yet, and the personal data of each; and the user
        ids whose plain value is among it. `ruling`: what customers do not allow is left out."""
        drafts: list[_Draft] = []
        news: list[bytes] = []
        known = self.known
        for joint in judged.groups:
            anchors = {identifier: at for at, identifier in enumerate(joint.identifiers)}
            facts: list[Routed] = []
            secrets: list[dict[str, Any]] = []
            for index in joint:
                event = judged.checked[index]
                strongest = event.identifiers[0]
                if ruling is not None:
                    if index in ruling.dropped:
                        facts.append(Routed(anchors[strongest], b""))
                        secrets.append({})
                        continue
                    event = ruling.events.get(index, event)
                secret = event.sensitive
                if event.user_id is not None and strongest.strength == 0 and strongest.hash not in known:
                    secret = {**secret, "user_id": event.user_id}
                    news.append(strongest.hash)
                facts.append(Routed(anchors[strongest], b""))
                secrets.append(secret)
            drafts.append((joint, Group(joint.identifiers, facts), secrets))
        return drafts, news

    def _landing(self, judged: Judged, drafts: Sequence[_Draft], plan_all: bool) -> dict[int, bytes]:
        """Return the origin where each event of the planned groups lands, by its index."""
        checked = judged.checked
        planned = [
            (joint, routed)
            for joint, routed, secrets in drafts
            if plan_all or any(secrets) or any(checked[index].record for index in joint)
        ]
        origins = iter(self._directory.plan([routed for _, routed in planned]) if planned else ())
        return {index: next(origins) for joint, _ in planned for index in joint}

    def _pack(self, judged: Judged, drafts: Sequence[_Draft], landing: Mapping[int, bytes], now: int) -> None:
        """Seal what is personal, and pack the facts."""
        checked = judged.checked
        if judged.ruling is not None and judged.ruling.events:
            checked = [judged.ruling.events.get(index, event) for index, event in enumerate(checked)]
        refused = judged.ruling.refused if judged.ruling is not None else None
        repeated = judged.ruling.repeated if judged.ruling is not None else _NONE
        dropped = judged.ruling.dropped if judged.ruling is not None else _NONE
        sealing = {
            landing[index]
            for joint, _, secrets in drafts
            for index, secret in zip(joint, secrets, strict=True)
            if secret or (checked[index].record and index not in dropped)
        }
        keys = self._keys.of(sealing, create=True) if sealing else {}
        if len(keys) < len(sealing):
            raise Stale(f"somebody was erased since a window of {judged.window.partition} was planned")
        for joint, routed, secrets in drafts:
            for index, fact, secret in zip(joint, routed.facts, secrets, strict=True):
                if index in dropped:
                    continue
                event = checked[index]
                sealed: dict[str, bytes] = {}
                if secret or event.record:
                    fact.expected = landing[index]
                    key = keys[fact.expected]
                    if event.record:
                        fact.match = key.seal(SEALED_AS, _encode(event.record))
                    sealed = {name: key.seal(name, _encode_json(value)) for name, value in secret.items()}
                traits = event.traits
                if event.stamps and index not in repeated:
                    traits = traits | event.stamps
                fact.payload = _encode(
                    Fact(
                        type=event.type,
                        name=event.name,
                        time_ms=event.time_ms,
                        received_ms=event.received_ms,
                        resolved_ms=now,
                        message=event.message,
                        channel=event.channel,
                        subject=event.identifiers[0].hash,
                        properties=event.properties,
                        traits=traits,
                        sealed=sealed,
                        content=event.content,
                        backfill=event.backfill,
                        refused=refused.get(index, _NOTHING) if refused else _NOTHING,
                    )
                )

    def remember(self, news: Iterable[bytes]) -> None:
        """Know these user ids: they are committed."""
        if len(self.known) > KNOWN_MAX:
            self.known.clear()
        self.known.update(news)


def _expect(
    drafts: Sequence[_Draft], landing: Mapping[int, bytes], unsure: Set[int], spoken: Set[bytes]
) -> None:
    """Have the directory say that facts land where they were judged: those that we do not know from memory,
    and those of origins that say something about consent."""
    for joint, routed, _ in drafts:
        for index, fact in zip(joint, routed.facts, strict=True):
            if index in unsure or landing[index] in spoken:
                fact.expected = landing[index]
