"""Consent as customers state it among their traits: `consent.email`, or an object `consent`.

Within one fragment the last word counts, for it is one person's at one place. Where fragments are summed
nobody knows that it is the same person's, so the most restrictive word counts: a denial in any of them.
`join` is commutative, associative and idempotent, like all sums of fragments.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flows.logic.fields.stated import in_order

STAMPS_MAX: Final = 32  # categories of one event
_CATEGORY_MAX: Final = 64  # characters

NAME: Final = "consent"
# What Segment's wrappers send when a customer has chosen anew; by its older name, too.
CHANGED: Final = ("Segment Consent Preference Updated", "Segment Consent Preference")
_MANAGEMENT: Final = "consentManagement"
GPC: Final = "gpc"  # in the context of an event: the browser says `Sec-GPC: 1`
SALE_OR_SHARING: Final = "sale_or_sharing"  # the category that it denies
TCF: Final = "tcf_string"  # the trait
TCF_MAX: Final = 4_096  # characters; those of all vendors have about 2,000
_TCF: Final = re.compile(r"C[A-Za-z0-9_-]{20,}(\.[A-Za-z0-9_-]+)*")  # the C says version 2
_SIGNALS: Final = (True, "1", "true")  # 1 is True
_DENIED: Final = frozenset(
    "false 0 no n off deny denied decline declined refuse refused reject rejected withdraw withdrawn"
    " revoke revoked opt-out opt_out optout opted-out opted_out unsubscribed 否 不同意 拒绝 撤回".split()
)
_GRANTED: Final = frozenset(
    "true 1 yes y on grant granted accept accepted allow allowed opt-in opt_in optin opted-in opted_in"
    " subscribed 是 同意".split()
)

Entry = tuple[int, Any]  # when it was stated (see `flows.logic.fields.stated`); what


def stamped(
    context: Mapping[str, Any], event: str = "", properties: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what is stated about consent beside an event, as traits: `{"consent.Advertising": False}`.

    Segment's wrappers write `consent.categoryPreferences`, an object of true and false, into the context of
    each event; where a customer has chosen anew they send an event of its own (`CHANGED`), some with the same
    object in its properties. RudderStack's client writes `consentManagement` with lists of allowed and denied
    ids. `gpc`, which the gateway sets where a browser says `Sec-GPC: 1`, denies `sale_or_sharing`, whatever a
    banner says. What is no such thing says nothing.
    """
    consent, management, gpc = context.get(NAME), context.get(_MANAGEMENT), context.get(GPC)
    if consent is None and management is None and gpc is None and event not in CHANGED:  # as nearly always
        return {}
    changed = properties if event in CHANGED else None
    found: dict[str, Any] = {
        f"{NAME}.{category}": said
        for category, said in _said(consent, management, changed)
        if (said is True or said is False) and type(category) is str and 0 < len(category) <= _CATEGORY_MAX
    }
    if len(found) > STAMPS_MAX:
        found = dict(sorted(found.items())[:STAMPS_MAX])
    if gpc in _SIGNALS:
        found[f"{NAME}.{SALE_OR_SHARING}"] = False
    return found


def _said(consent: Any, management: Any, changed: Mapping[str, Any] | None) -> Iterable[tuple[Any, Any]]:
    """Return pairs of category and true or false, unchecked; denials last, so that they win. `changed`: the
    properties of the event that states a new choice."""
    stamps = consent.get("categoryPreferences") if type(consent) is dict else None
    if type(stamps) is dict and management is None and changed is None:  # as nearly always
        return stamps.items()
    pairs = [*stamps.items()] if type(stamps) is dict else []
    told = (changed or {}).get(NAME)
    if type(told) is dict and type(preferences := told.get("categoryPreferences")) is dict:
        pairs += preferences.items()
    if type(management) is dict:
        for name, said in (("allowedConsentIds", True), ("deniedConsentIds", False)):
            if type(ids := management.get(name)) is list:
                pairs += [(category, said) for category in ids]
    return pairs


def tcf_string(context: Mapping[str, Any]) -> str:
    """Return the string of IAB's TCF 2, as some name it or others, which is kept as a trait (`TCF`) and not
    read; nothing where none has its form."""
    consent = context.get(NAME)
    if type(consent) is not dict:
        return ""
    stated = consent.get("tcString", consent.get("tcf"))
    if type(stated) is dict:
        stated = stated.get("tcString")
    fits = type(stated) is str and len(stated) <= TCF_MAX and _TCF.fullmatch(stated)
    return str(stated) if fits else ""


def is_one(name: str) -> bool:
    """Return whether a trait of this name is a consent."""
    return name == NAME or name.startswith("consent.")


def plain_words(traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the consents among these traits that hold nothing but yes and no. They are no data of the fields
    that they are called after: `consent.email` is no address.

    >>> plain_words({"consent.email": False, "consent.sms": {"news": "no"}, "consent.name": "Ana", "vip": 1})
    {'consent.email': False, 'consent.sms': {'news': 'no'}}
    """
    return {
        name: value
        for name, value in traits.items()
        if name.startswith(NAME) and is_one(name) and _is_plain_word(value)
    }


def _is_plain_word(value: Any) -> bool:
    if type(value) is dict:
        return bool(value) and all(map(_is_plain_word, value.values()))
    return says(value) is not None


def join(a: Entry, b: Entry) -> Entry:
    """Return the more restrictive of two statements; of two that are alike the newer one, then the larger
    text. Objects are joined key by key.

    >>> join((1, "denied"), (2, "granted"))
    (1, 'denied')
    >>> join((1, {"mail": True, "sms": False}), (2, {"mail": False}))
    (2, {'mail': False, 'sms': False})
    """
    if type(a[1]) is dict and type(b[1]) is dict:
        return max(a[0], b[0], key=in_order), _joined(a[1], b[1])
    return max(a, b, key=lambda entry: (restriction(entry[1]), in_order(entry[0]), repr(entry[1])))


def restriction(value: Any) -> int:
    """Return 3 for a denial, 2 for an object (of which some part may be one), 1 for words that say neither, 0
    for a grant."""
    if type(value) is dict:
        return 2
    said = says(value)
    return 1 if said is None else 0 if said else 3


def says(value: Any) -> bool | None:
    """Return True for a grant, False for a denial, None for words that say neither.

    >>> says("opt-in"), says("拒绝"), says("perhaps")
    (True, False, None)
    """
    word = str(value).strip().lower()
    return False if word in _DENIED else True if word in _GRANTED else None


def _joined(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    return {
        name: join((0, a[name]), (0, b[name]))[1] if name in a and name in b else a.get(name, b.get(name))
        for name in sorted({*a, *b})
    }
