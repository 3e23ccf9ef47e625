"""What an event must be: plans, the fields that are put in order on entry, and which of them are sealed."""

from typing import Annotated, Literal

import msgspec

from schemas.config.consent_options import Category
from schemas.config.limited_values import Count, Table, Text, Texts
from schemas.units import Duration


class PlanEvent(Table, frozen=True):
    """A tracking plan's entry. `schema` is a JSON Schema (.json) or an Avro record (.avsc) for `properties`,
    relative to the file."""

    event: Text  # the event name
    schema: Text  # a file ending in .json or .avsc
    # of data, that the event belongs to as a whole (as in `[[privacy.category]]`); its properties may say
    # theirs by `x-category` in the schema
    category: str = ""


class Validate(Table, frozen=True):
    """What is refused; a refused event goes to the dead-letter log with its reason."""

    depth: Annotated[int, msgspec.Meta(ge=2, le=100)] = 16  # of nesting
    properties: Count = 1_000  # in one event, nested ones counted
    past: Duration = Duration.parse("3650d")  # older events are refused
    future: Duration = Duration.parse("1d")  # events further ahead are refused
    unknown_events: Literal["accept", "flag", "reject"] = "accept"  # events that no plan names
    # of a source: more rejects than this suspend it ...
    reject_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 50.0
    reject_sample: Count = 1_000  # ... counted over this many of its events
    # of them: if our own logic fails alike on more than this, that suspends it, too
    poison_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] = 5.0
    # listed: of an event only the properties that its plan names, and of traits those of `traits`
    collect: Literal["all", "listed"] = "all"
    traits: tuple[Text, ...] = ()  # those that are collected, in any spelling
    plan: tuple[PlanEvent, ...] = ()  # the tracking plan


FieldKind = Literal[
    "phone",
    "email",
    "name",
    "birthday",
    "date",
    "gender",
    "occupation",
    "address",
    "city",
    "province",
    "country",
    "postal_code",
    "locale",
    "time_zone",
    "id_number",
    "credit_code",
    "passport",
    "bank_card",
]
Country = Annotated[
    str, msgspec.Meta(pattern=r"^([A-Z]{2})?\Z", description="two capital letters (ISO 3166), or nothing")
]
Label = Annotated[
    str, msgspec.Meta(pattern=r"^[^:]+\Z", description="text that is not empty and has no colon")
]


class Field(Table, frozen=True):
    """Traits of one kind, however they are spelled (firstName, first_name). Without an entry: those of the
    packaged file."""

    # what they are checked as; those of a personal kind are sealed, even if `privacy.sensitive` does not name
    # them
    kind: FieldKind
    # of the traits; of the parts of an address as well
    names: Annotated[tuple[Label, ...], msgspec.Meta(min_length=1)]


class Repeat(Table, frozen=True):
    """The same content again (customer, source, event, properties, traits) under another messageId is
    dropped."""

    within: Duration  # what is less than this apart is dropped, what is twice as far or more never
    sources: Texts = ("*",)  # names of write keys (or topics); `*` is any
    events: Texts = ("*",)  # event names, or types such as `identify`; `*` is any


class Entry(Table, frozen=True):
    """Traits are checked, normalised and completed on entry. See docs/entry.md."""

    country: Country = "CN"  # of numbers and codes without one; empty: only what the event itself says of it
    day_first: bool = True  # 03/04/2020 is in April; false: in March
    ignore_plus_tags: bool = False  # ana+shop@example.org is ana@example.org for identity
    ignore_gmail_dots: bool = False  # a.na@gmail.com is ana@gmail.com for identity
    disposable: tuple[Text, ...] = (  # mail domains (and those below them) whose addresses are bad
        *(
            "mailinator.com",
            "guerrillamail.com",
            "10minutemail.com",
            "yopmail.com",
            "tempmail.com",
            "temp-mail.org",
        ),
        *(
            "trashmail.com",
            "sharklasers.com",
            "getnada.com",
            "maildrop.cc",
            "dispostable.com",
            "throwawaymail.com",
        ),
    )
    # derive what is missing; the tables of regions take each worker of resolve about 100 MB
    complete: bool = True
    field: tuple[Field, ...] = (  # what is checked
        Field(
            kind="phone",
            names=(
                "phone",
                "mobile",
                "telephone",
                "phoneNumber",
                "mobilePhone",
                "手机",
                "手机号",
                "手机号码",
                "电话",
            ),
        ),
        Field(kind="email", names=("email", "emailAddress", "邮箱", "电子邮箱", "电子邮件")),
        Field(kind="name", names=("name", "firstName", "lastName", "middleName", "fullName", "姓名")),
        Field(kind="birthday", names=("birthday", "birthDate", "dateOfBirth", "生日", "出生日期")),
        Field(kind="gender", names=("gender", "sex", "性别")),
        Field(kind="occupation", names=("occupation", "profession", "jobTitle", "职业")),
        Field(kind="address", names=("address", "street", "地址", "住址")),
        Field(kind="city", names=("city", "城市")),
        Field(kind="province", names=("province", "省份")),
        Field(kind="country", names=("country", "国家")),
        Field(kind="postal_code", names=("postalCode", "postcode", "zip", "zipCode", "邮编", "邮政编码")),
        Field(kind="locale", names=("locale",)),
        Field(kind="time_zone", names=("timezone",)),
        Field(kind="id_number", names=("idNumber", "idCard", "身份证", "身份证号", "身份证号码")),
        Field(kind="credit_code", names=("creditCode", "统一社会信用代码")),
        Field(kind="passport", names=("passport", "passportNumber", "护照", "护照号")),
        Field(kind="bank_card", names=("bankCard", "银行卡", "银行卡号")),
    )
    repeat: tuple[Repeat, ...] = ()  # repetitions that are dropped; without an entry none is


AttributeName = Literal["age_band", "birth_month_day", "gender", "occupation", "region", "city"]
# What expressions may call them, with their meaning.
ATTRIBUTES: dict[str, str] = {
    "age_band": "band of ages, such as `35-39`, by `[age]`; right to the month, never too old",
    "birth_month_day": "such as `02-29`",
    "gender": "female, male, other, or unknown where a statement does not say which",
    "occupation": "as stated",
    "region": "province in China, such as `浙江省`; elsewhere the country, such as `US`",
    "city": "such as `杭州市`; in China only",
}


class Privacy(Table, frozen=True):
    """Names of fields that are personal data, however they are spelled (firstName, first_name), in the plural
    (emails), with words before them (workEmail) or behind (phone_number), also as parameters of URLs; and
    what `[[entry.field]]` calls the same.

    As a trait such a field is sealed under a key of the customer's own before it enters any log; as a
    property of an event it is not kept. `traits.name` is one only among the traits, and by itself: a
    product's name is no secret. What is personal by its value (e-mail, phone, resident ID, bank card) is
    treated so under any name: see Publishing events.
    """

    # what is derived from such data before it is sealed, for rules to see; nothing unless it is named here
    attributes: tuple[AttributeName, ...] = ()
    sensitive: tuple[Text, ...] = (  # their names
        *("email", "phone", "mobile", "traits.name", "firstName", "lastName", "username", "traits.avatar"),
        *("address", "street", "birthday", "dateOfBirth", "idNumber", "nationalId", "passport"),
        *("bankCard", "card", "iban", "ip"),
    )
    category: tuple[Category, ...] = ()  # what belongs to which category of data
