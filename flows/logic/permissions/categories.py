"""To which category of data a field or an event belongs.

A field without a category is of the service itself, and always kept.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from flows.logic.fields import attributes
from flows.logic.fields.check import DERIVED, INVALID, ORIGINAL, QUALITY, folded
from schemas.config import Category, FieldKind

BEHAVIOUR: Final = "behaviour"
TRANSACTION: Final = "transaction"
# What is known without being told, by folded names.
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "contact": ("username", "avatar", "nickname", "fax"),
    "location": (
        *("street", "district", "county", "region", "state", "latitude", "longitude", "lat", "lng", "lon"),
        *("geo", "geohash", "location", "coordinates", "ip", "区县", "经度", "纬度", "位置"),
    ),
    "demographic": ("age", "occupation", "education", "income", "maritalstatus", "年龄", "职业", "学历"),
    "social": (
        *("wechat", "openid", "unionid", "weibo", "qq", "followers", "following", "friends", "微信", "微博"),
    ),
    "device": ("useragent", "device", "devicemodel", "os", "osversion", "screen", "carrier", "设备"),
    "text": (
        "review",
        "comment",
        "comments",
        "message",
        "feedback",
        "note",
        "remark",
        "评价",
        "备注",
        "留言",
    ),
    "biometric": ("face", "faceid", "fingerprint", "voiceprint", "iris", "人脸", "指纹", "声纹"),
    TRANSACTION: (),
    BEHAVIOUR: (),
}
_OF_KINDS: Final[Mapping[FieldKind, str]] = {
    "phone": "contact",
    "email": "contact",
    "name": "contact",
    "passport": "contact",
    "bank_card": "contact",
    "credit_code": "contact",
    "id_number": "contact",
    "birthday": "demographic",
    "gender": "demographic",
    "occupation": "demographic",
    "address": "location",
    "city": "location",
    "province": "location",
    "postal_code": "location",
}
_NOTES: Final = (QUALITY, ORIGINAL, INVALID)


class Categories:
    """The categories of one configuration."""

    def __init__(
        self, told: Iterable[Category], kinds: Mapping[str, FieldKind], purchases: Iterable[str]
    ) -> None:
        """`kinds`: of fields, by folded name. `purchases`: names of events."""
        self._fields = {folded(name): name_of for name_of, names in KNOWN.items() for name in names}
        self._fields |= {name: _OF_KINDS[kind] for name, kind in kinds.items() if kind in _OF_KINDS}
        self._events = dict.fromkeys(purchases, TRANSACTION)
        names = dict.fromkeys(KNOWN)
        for category in told:
            names[category.name] = None
            self._fields |= {folded(name): category.name for name in category.fields}
            self._events |= dict.fromkeys(category.events, category.name)
        self.names = tuple(names)
        self._seen: dict[str, str] = {}

    def of_event(self, kind: str, name: str) -> str:
        """Return the category of an event as a whole; "" for those that say who somebody is."""
        if kind in ("identify", "group", "alias"):
            return ""
        return self._events.get(name, BEHAVIOUR)

    def of_field(self, name: str) -> str:
        """Return the category of a field of this name, as stated or as entry notes it; or ""."""
        found = self._seen.get(name)
        if found is None:
            if len(self._seen) >= _SEEN_MAX:
                self._seen.clear()
            found = self._seen[name] = self._of(name)
        return found

    def _of(self, name: str) -> str:
        for note in _NOTES:
            name = name.removeprefix(note)
        if name.startswith(DERIVED):  # by the kind that told it
            kind = name.removeprefix(DERIVED).partition(".")[0]
            return _OF_KINDS.get(kind, "")  # type: ignore[call-overload, no-any-return]
        if attributes.is_one(name):
            return self._fields.get(folded(attributes.name_of(name)), attributes.category_of(name))
        return self._fields.get(folded(name), "")


_SEEN_MAX: Final = 10_000
