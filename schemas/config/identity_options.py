"""Who is one customer: namespaces, what is no evidence, and matching without a shared key."""

from typing import Annotated, Literal

import msgspec

from schemas.config.limited_values import Count, Figure, Pattern, Table, Texts
from schemas.units import Duration

Normalize = Literal[
    "exact", "lower", "digits", "phone", "email", "id_number", "credit_code", "passport", "bank_card"
]


class Namespace(Table, frozen=True):
    """A kind of identifier; the order in the file is the order of strength. Without an entry: those of the
    packaged file."""

    name: Figure  # such as `user_id`
    paths: Texts  # where it stands in a Segment message: `userId`, `traits.email`, `context.device.id`
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)]  # how many of them one customer may have
    normalize: Normalize = "exact"  # how spellings become one; from `phone` on, a bad value identifies nobody
    # refuse one too many; let the oldest leave for it; ask a steward; let newcomers leave
    at_limit: Literal["refuse", "oldest", "review", "newcomer"] = "refuse"
    verified: bool = False  # two customers who both have one are never united, but by a steward
    shared: bool = False  # may be used by many people, such as a device: see [identity.guard]


class Guard(Table, frozen=True):
    """When an identifier stops being evidence: events that carry it are resolved by their others, until a
    steward releases it."""

    customers: Annotated[int, msgspec.Meta(ge=2, le=64)] = 8  # this many users had it in turn ...
    # ... or it went so often from one to another ...
    moves: Annotated[int, msgspec.Meta(ge=2, le=100_000)] = 20
    within: Duration = Duration.parse("1h")  # ... in this time (namespaces with `shared = true`)
    # it brought one customer this many others ...
    unions: Annotated[int, msgspec.Meta(ge=2, le=100_000)] = 50
    # ... in this time, as a constant user id does; more new identifiers are refused
    unions_within: Duration = Duration.parse("1m")
    # unions in one window; what is beyond comes with a later one
    window_unions: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500


# What stands where a value should be: words of programming languages, of forms and of analytics clients, the
# id that many Android devices share, the address that iOS and Android show in place of the real one; WeChat
# calls everybody 微信用户.
BLOCKED = (
    "null", "none", "nil", "nan", "undefined", "unknown", "anonymous", "guest", "test", "true", "false", "-1",
    "infinity", "void", "nothing", "empty", "unset", '\\n', "optional(nil)", "object object", "object null",
    "object undefined", "n/a", "n.a.", "#n/a", "#getting_data", "missing", "not set", "not available",
    "not applicable", "not known", "not provided", "no data", "not logged in", "logged out",
    "not authenticated", "unauthenticated", "unknown user", "anonymous user", "guest user", "distinct id",
    "user id", "anonymous id", "device id", "customer id", "member id", "9774d56d682e549c",
    "02:00:00:00:00:00", "unbekannt", "无", "無", "暂无", "没有", "未知", "未知用户", "不详", "不詳", "不明",
    "未填写", "保密", "未登录", "未登陆", "未登錄", "未注册", "未註冊", "游客", "遊客", "游客用户", "访客",
    "訪客", "匿名", "匿名用户", "默认", "默认用户", "微信用户", "测试",
)  # fmt: skip
BLOCKED_PATTERNS = (
    # {{userId}}, ${userId}, <%= id %>, *|EMAIL|*
    r"\{\{.*\}\}|\[\[.*\]\]|[$#%@!]\{.*\}|\{%.*%\}|<%.*%>|\*\|.*\|\*",
    # {userId}, <nil>, [email], %id%, __ID__
    r"\{[a-z_$][\w. ]*\}|<[a-z_][\w. ]*>|\[[a-z_][\w. ]*\]|%{1,2}[a-z_][\w.]*%{1,2}|__[a-z][a-z0-9_]*__",
    # errors of a spreadsheet: #REF!, #NAME?
    r"#[a-z0/]+[!?]",
)


class Identity(Table, frozen=True):
    """Which identifiers there are, and which values identify nobody."""

    # in any case and width, however joined, in quotes or brackets; no evidence for matching
    blocked: tuple[str, ...] = BLOCKED
    # what one fits wholly, in any case; JSON Schema's patterns, no lookahead
    blocked_patterns: tuple[Pattern, ...] = BLOCKED_PATTERNS
    # identifiers planned for, rather too many than too few; fixed at creation, see docs/identity.md
    capacity: Count = 1_000_000
    ledger: Count = 1_000_000  # unions that can still be undone
    # pairs that wait for a steward; more are not noted
    reviews: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000
    guard: Guard = Guard()  # against what only looks like evidence
    namespace: tuple[Namespace, ...] = (  # strongest first
        Namespace(name="user_id", paths=("userId",), limit=1),
        Namespace(name="phone", paths=("traits.phone", "context.traits.phone"), limit=3, normalize="phone"),
        Namespace(name="email", paths=("traits.email", "context.traits.email"), limit=5, normalize="email"),
        Namespace(name="device", paths=("context.device.id",), limit=20, shared=True, at_limit="newcomer"),
        Namespace(name="anonymous", paths=("anonymousId",), limit=100, shared=True, at_limit="newcomer"),
    )


class MatchField(Table, frozen=True):
    """Where a field that matching compares stands among the traits. Names that matching knows are compared by
    their own rules."""

    # given_name, family_name, full_name, date_of_birth, phone, email, street, city, postcode, national_id,
    # organisation ...
    name: Figure
    paths: Texts  # the first that is there: `traits.firstName`, `traits.address.city`


class Matching(Table, frozen=True):
    """Customers who share no identifier, found by names, dates, addresses. A stage of its own: it never
    delays what is exact."""

    enabled: bool = True  # false: nothing is kept for it, and nothing matched
    # bits of posterior odds from which two are united; 2 is 4 to 1
    merge: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0
    review: Annotated[float, msgspec.Meta(ge=-60, le=60)] = -1.0  # bits from which a steward is asked
    # what is compared lies sealed under the customer's key, for this long after it was last said
    keep: Duration = Duration.parse("730d")
    log_max: Count = 100_000  # windows that may wait for it; beyond it the oldest are passed over
    field: tuple[MatchField, ...] = (  # what is compared
        MatchField(name="full_name", paths=("traits.name", "traits.fullName")),
        MatchField(name="given_name", paths=("traits.firstName", "traits.givenName")),
        MatchField(name="family_name", paths=("traits.lastName", "traits.familyName")),
        MatchField(name="date_of_birth", paths=("traits.birthday", "traits.dateOfBirth")),
        MatchField(name="gender", paths=("traits.gender",)),
        MatchField(name="phone", paths=("traits.phone", "traits.mobile")),
        MatchField(name="email", paths=("traits.email",)),
        MatchField(name="street", paths=("traits.address.street", "traits.street")),
        MatchField(name="city", paths=("traits.address.city", "traits.city")),
        MatchField(name="postcode", paths=("traits.address.postalCode", "traits.postalCode")),
        MatchField(name="state", paths=("traits.address.state", "traits.state")),
        MatchField(name="country", paths=("traits.address.country", "traits.country")),
        MatchField(name="national_id", paths=("traits.idNumber", "traits.nationalId")),
        MatchField(name="organisation", paths=("traits.company.name", "traits.organisation")),
    )
