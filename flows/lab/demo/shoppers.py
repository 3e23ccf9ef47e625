"""The customers of the simulated shop: who they are and by what they can be recognised. Names, addresses and
numbers are invented."""

from dataclasses import dataclass
from random import Random

_GIVEN_EN = (
    "Ada",
    "Alan",
    "Barbara",
    "Claude",
    "Edith",
    "Frances",
    "Grace",
    "Hedy",
    "Ivan",
    "Joan",
    "Kenneth",
    "Lynn",
    "Mary",
    "Niklaus",
)
_FAMILY_EN = (
    "Allen",
    "Brooks",
    "Clarke",
    "Dijk",
    "Engel",
    "Floyd",
    "Hopper",
    "Hoare",
    "Lamarr",
    "Milner",
    "Naur",
    "Perlis",
    "Shaw",
    "Wilkes",
)
_GIVEN_ZH = (
    ("伟", "wei"),
    ("芳", "fang"),
    ("娜", "na"),
    ("秀英", "xiuying"),
    ("敏", "min"),
    ("静", "jing"),
    ("磊", "lei"),
    ("洋", "yang"),
    ("艳", "yan"),
)
_FAMILY_ZH = (
    ("王", "wang"),
    ("李", "li"),
    ("张", "zhang"),
    ("刘", "liu"),
    ("陈", "chen"),
    ("杨", "yang"),
    ("赵", "zhao"),
    ("黄", "huang"),
    ("周", "zhou"),
)


# no two of the first thousands of numbers are but one digit apart, as those of strangers hardly are
_SCATTER = 611_953


@dataclass(slots=True)
class Person:
    """One human being. The engine never sees this object, only the identifiers that each channel happens to
    know."""

    number: int
    language: str  # "en" or "zh"
    name: str
    email: str
    phone: str
    user_id: str
    browser: str  # anonymousId on the web
    phone_app: str  # anonymousId in the app
    device: str  # context.device.id of the app's phone
    openid: str  # anonymousId on social media
    card: str  # anonymousId of a store visit before the shop knows the user id
    tablet: str  # browser of a device that the household shares
    known: bool = False  # has logged in somewhere


def person(random: Random, run: int, number: int, family: Person | None = None) -> Person:
    """Make up a new customer. `run` keeps the identifiers of two demos on the same data apart.

    `family` lends its tablet, and may give its own phone number for both.
    """
    tag = f"{run:x}"
    language = random.choice(("en", "zh"))
    if language == "en":
        given, surname = random.choice(_GIVEN_EN), random.choice(_FAMILY_EN)
        name, mailbox, host = f"{given} {surname}", f"{given}.{surname}", "example.com"
        mobile = f"+44 7{400 + run % 200}"
    else:
        (given, given_latin), (surname, surname_latin) = random.choice(_GIVEN_ZH), random.choice(_FAMILY_ZH)
        name, mailbox, host = f"{surname}{given}", f"{surname_latin}.{given_latin}", "example.cn"
        mobile = f"+86 13{run % 1_000:03d}"
    return Person(
        number=number,
        language=language,
        name=name,
        email=f"{mailbox}.{tag}.{number}@{host}",
        phone=family.phone
        if family and random.random() < 0.5
        else f"{mobile} {number * _SCATTER % 1_000_000:06d}",
        user_id=f"u-{tag}-{number}",
        browser=f"web-{tag}-{number}-{random.getrandbits(32):08x}",
        phone_app=f"app-{tag}-{number}-{random.getrandbits(32):08x}",
        device=f"device-{tag}-{number}",
        openid=f"openid-{tag}-{random.getrandbits(48):012x}",
        card=f"card-{tag}-{number}",
        tablet=family.tablet if family else f"tablet-{tag}-{number}",
    )


def company(run: int, number: int) -> dict[str, str]:
    """Return what a company says of itself. No person has any of it."""
    tag = f"{run:x}"
    return {
        "name": f"Company {tag}-{number}",
        "email": f"office.{tag}.{number}@example.com",
        "phone": f"+44 20 79{run % 100:02d} {number % 10_000:04d}",
        "employees": "3",
    }
