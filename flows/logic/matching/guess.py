"""What the columns of an unknown table mean, from their headings and a sample of their values."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from flows.logic.matching.columns import KIND_OF, tells_who
from flows.logic.matching.normalise import email, phone, text, web

SAMPLE_ROWS: Final = 1000
_NAME_ROWS: Final = 20  # fewer say nothing
_SERIAL_ROWS: Final = 50  # as above
# of the rows that have a value of their own at least, in a column that may be a name ...
_NAME_DISTINCT: Final = 0.2
_NAME_WORDY: Final = 0.9  # ... and of its values that are words
_MEANS: Final[tuple[tuple[str, str], ...]] = (  # the first pattern that is found in the heading wins
    ("birth_place", r"geburtsort|lieu_de_naissance"),
    (
        "organisation",
        r"(store|shop|vendor|supplier|school|account|merchant|seller|dealer|hospital|clinic)_?name|^(店名|(门店|店铺|商户|供应商|学校|单位|客户)(名称?)?)$",
    ),
    (
        "full_name",
        r"(full|complete|whole|display|person|customer|contact|patient|member|student|guest)_?name|_and_(sur|last|family)_?name|姓名|^联系人(名称?)?$",
    ),
    (
        "given_name",
        r"(first|given|fore|christian)_?names?|^(fname|given|forename|first|名|名字)$|vorname|pr[eé]nom",
    ),
    ("middle_name", r"middle|midl|second_name"),
    (
        "family_name",
        r"sur_?name|(last|family)_?name|^(lname|family|last|姓|姓氏|nom|nom_de_famille)$|nachname|familienname",
    ),
    (
        "date_of_birth",
        r"birth_?(date|day)|date_?of_?birth|born|^(dob|bday)$|geburts(datum|tag)|naissance|出生|生日",
    ),
    ("birth_place", r"birth_?(place|city|town|country|loc)|place_?of_?birth|籍贯"),
    ("birth_year", r"(year_?of_?birth|birth_?year|^yob$)"),
    ("email", r"e_?mail|courriel|邮箱|电邮"),
    ("phone", r"phone|mobile|^tel|cell|fax|^(handy|mobil)|手机|电话"),
    ("house_number", r"(street|house|building)_?(number|no|num)$|hausn(umme)?r"),
    ("street_2", r"(address|street|addr)_?(line)?_?[2-9]$"),
    ("street", r"street|addr|^adresse|stra(ß|ss)e|road|住址|地址"),
    ("postcode", r"post_?(al)?_?code|^zip|zip_?code|^plz|postleitzahl|code_postal|^pcode|邮编|邮政"),
    ("state", r"^(state|province|region|county|bundesland)|省"),
    ("district", r"district|borough"),
    ("city", r"city|suburb|town|municipal|locality|village|^(ort|wohnort|stadt|ville)$|城市|市$"),
    ("country", r"country|nation|^(land|pays)$|国家"),
    ("tax_id", r"tax|vat|duns|ein$|lei$|credit_?code|registration|company_?(no|number)|税号"),
    (
        "national_id",
        r"soc_?sec|^ssn|social_?security|national_?id|passport|id_?(card|number)|nino$|身份证|证件",
    ),
    ("gender", r"gender|^sexe?$|geschlecht|性别"),
    ("occupation", r"occupation|profession|job|title$|职业"),
    ("website", r"web|url|domain|homepage|网址"),
    (
        "organisation",
        r"organi[sz]ation|company|compan|business|employer|affiliation|legal_?name|firm|unternehmen|entreprise|soci[eé]t[eé]|raison_sociale|公司|企业|机构",
    ),
)
_NUMBER: Final = re.compile(r"[-+]?[\d.,]+")
_PATTERNS: Final = tuple((field, re.compile(pattern)) for field, pattern in _MEANS)
_HOLDS_THE_ANSWER: Final = re.compile(
    r"^(id|idx|index|key|no|nr|row|rownum|unnamed.*|(rec|record|row|unique|uniq|source|person|customer|cust|entity|cluster|group|match|master|true|truth|gold|label|global|local|voter|ncid|reg)_?"
    r"(id|ids|no|num|key|number|index|label|reg_num)?|cluster.*|.*_uid|.*uuid.*|wikidata.*|qid|tid|rid|cid|recid|ncid|clusterid|.*ent(ity)?_?id)$"
)
_OF_PERSONS: Final = frozenset(
    ("date_of_birth", "birth_year", "gender", "given_name", "occupation", "birth_place", "national_id")
)
_LOOKS: Final = (("email", email, "@"), ("website", web, "."), ("phone", phone, "+"))


def guess_fields(
    headings: Sequence[str], rows: Sequence[Mapping[str, str]], never: Sequence[str] = ()
) -> dict[str, str]:
    """Return the field of each heading. Left out are ids, the columns in `never`, and columns that are empty
    or the same in all rows.

    A column of unknown meaning keeps its own name as a generic field. A table with a plain `name` is of
    persons if other columns speak of persons (a birth date, a sex), else of organisations. Where no column is
    the customer's own, the one of unknown meaning whose values are most like names is such a name.
    """
    rows = rows[:SAMPLE_ROWS]
    guessed: dict[str, str] = {}
    for heading in headings:
        values = _values(heading, rows)
        if heading in never or (rows and len(set(values)) < 2):
            continue
        name = _plain(heading)
        if _HOLDS_THE_ANSWER.match(name):
            continue
        field = _meaning(name) or _look(name, values) or name
        if field == "full_name" and field in guessed.values():
            continue  # the same name once more, put together in another way
        guessed[heading] = field if field not in guessed.values() else _plain(f"{field} {name}")
    for heading, field in guessed.items():
        if field == "birth_year" and "date_of_birth" not in guessed.values():
            guessed[heading] = "date_of_birth"  # of which the year is known
    named = {
        heading: _whose_name(field, guessed)
        for heading, field in guessed.items()
        if not _is_serial(field, heading, rows)
    }
    if not any(map(tells_who, named.values())) and (likely := _most_like_a_name(named, rows)):
        named[likely] = _whose_name("name", named)
    return named


def _most_like_a_name(guessed: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> str | None:
    """Return the column of unknown meaning whose values are words, and most of them its row's own; None if
    there is no such column."""
    best, most = None, _NAME_DISTINCT
    for heading, field in guessed.items():
        values = _values(heading, rows)
        if field in KIND_OF or len(values) < _NAME_ROWS:
            continue
        if sum(map(_is_wordy, values)) < _NAME_WORDY * len(values):
            continue
        share = len({text(value) for value in values}) / len(rows)
        if share > most:
            best, most = heading, share
    return best


def _values(heading: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the values of a column that are not blank."""
    return [value for row in rows if (value := (row.get(heading) or "").strip())]


def _is_wordy(value: str) -> bool:
    return sum(map(str.isalpha, value)) > len(value) / 2


def _plain(heading: str) -> str:
    """Write a heading plainly: `Date Of Birth`, `dateOfBirth` and `date-of-birth` are one."""
    return re.sub(r"[^\w]+|_+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", heading.strip())).strip("_").lower()


def _meaning(name: str) -> str | None:
    bare = re.sub(r"_(fake|clean|raw|norm|std|1)$", "", name)
    return next((field for field, pattern in _PATTERNS if pattern.search(bare)), None)


def _look(name: str, values: list[str]) -> str | None:
    """Return what nine of ten values look like."""
    if name in ("name", "title"):
        return None
    for field, normal, sign in _LOOKS:
        fitting = [
            value for value in values if sign in value and not _NUMBER.fullmatch(value) and normal(value)
        ]
        if len(fitting) > 0.9 * len(values):
            return field
    return None


def _is_serial(field: str, heading: str, rows: Sequence[Mapping[str, str]]) -> bool:
    """Return whether it is an id, whatever it is called: a column of unknown meaning whose values are all
    different and hold a number."""
    if field != _plain(heading) or _meaning(field) or field in ("name", "title"):
        return False
    values = _values(heading, rows)
    if len(values) < _SERIAL_ROWS or len(set(values)) < len(values):
        return False
    return all(any(char.isdigit() for char in value) and " " not in value for value in values)


def _whose_name(field: str, guessed: Mapping[str, str]) -> str:
    if field not in ("name", "title", "names"):
        return field
    if "family_name" in guessed.values() and "given_name" not in guessed.values():
        return "given_name"
    if _OF_PERSONS.intersection(guessed.values()) or "organisation" in guessed.values():
        return "full_name"
    return "organisation"
