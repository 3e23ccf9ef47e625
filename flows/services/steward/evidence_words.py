"""Evidence in words for the person who has to decide, English and Chinese."""

from collections.abc import Callable
from typing import Final

import msgspec

from flows.logic.matching.stage import Note
from schemas.bilingual import Words
from schemas.records.identity_graph import ID_BYTES, Pair, Union

_PAIR: Final = 2 * (1 + ID_BYTES)  # two identifiers, each with its strength
_decode_note = msgspec.msgpack.Decoder(Note).decode
Call = Callable[[int, bytes], str]  # (strength, identifier) -> what a person calls it


class Evidence(msgspec.Struct, frozen=True):
    """Why two customers are, or may be, one: in a sentence, and where they were compared field by field."""

    words: Words
    probability: float | None = None
    speaks_for: tuple[Words, ...] = ()
    against: tuple[Words, ...] = ()


def of_union(union: Union, call: Call) -> Evidence:
    """Say the evidence of an entry of the ledger."""
    if union.kind == "undo":
        return Evidence(
            Words(
                f"union {union.undone} was undone, by {union.by}",
                f"第 {union.undone} 号合并已撤销（{union.by}）",
            )
        )
    return _evidence(union.by, union.evidence, call)


def of_pair(pair: Pair, call: Call) -> Evidence:
    """Say the evidence about two who may be one."""
    if pair.by != "limit":
        return _evidence(pair.by, pair.note, call)
    shared = _evidence("event", pair.note, call).words
    return Evidence(
        Words(
            f"{shared.en}; together they would have too many identifiers",
            f"{shared.zh}；合并后标识数量超过上限",
        )
    )


def _evidence(by: str, packed: bytes, call: Call) -> Evidence:
    if by == "event" and len(packed) == _PAIR:
        one, other = (call(packed[at], packed[at + 1 : at + 1 + ID_BYTES]) for at in (0, 1 + ID_BYTES))
        return Evidence(Words(f"an event carried {one} and {other}", f"同一事件同时带有 {one} 和 {other}"))
    note = _note(packed) if by == "match" else None
    if note is not None:
        return _compared(note)
    reason = packed.decode(errors="replace")
    return Evidence(
        Words(f"said by {by}{reason and f': {reason}'}", f"由 {by} 指定{reason and f'：{reason}'}")
    )


def _compared(note: Note) -> Evidence:
    percent = f"{100 * note.probability:.1f} %"
    said = [Words(en, zh) for en, zh in zip(note.words, note.words_zh, strict=True)]
    against = tuple(words for words in said if words.en.endswith(" differs"))
    english, chinese = ", ".join(note.words), "，".join(note.words_zh)
    return Evidence(
        Words(
            f"matched with {percent} ({note.weight:+.1f} bits, weights {note.version}): {english}",
            f"匹配概率 {percent}（{note.weight:+.1f} 比特，权重版本 {note.version}）：{chinese}",
        ),
        note.probability,
        tuple(words for words in said if words not in against),
        against,
    )


def _note(packed: bytes) -> Note | None:
    try:
        note = _decode_note(packed)
    except msgspec.DecodeError:  # an order of a source that happens to be called `match`
        return None
    return note if len(note.words) == len(note.words_zh) else None
