"""The machinery: Redis, the raw log, the gateway, the processes and folders. It is about this
deployment only."""

from typing import Annotated, Literal

import msgspec

from schemas.config.limited_values import (
    Address,
    CalendarDay,
    Count,
    Day,
    Daytime,
    Secret,
    Table,
    Text,
    Texts,
    Word,
    Zone,
)
from schemas.units import Duration, Size


class Data(Table, frozen=True):
    """Where everything that must last is kept."""

    folder: Text = "./data"  # relative to the configuration file


class Redis(Table, frozen=True):
    """The state store."""

    # `embedded`: millrace starts one itself; or redis://, rediss://, unix://
    url: Secret = Secret("embedded")
    prefix: Word = "mr"  # of every key
    # embedded only; `everysec` may lose a second at a power cut
    fsync: Literal["always", "everysec"] = "always"
    max_memory: Size = Size.parse("4GB")  # embedded only; nothing is ever evicted
    # how many replicas must have each commit, and each event that is acknowledged
    replicas: Annotated[int, msgspec.Meta(ge=0, le=16)] = 0


class Raw(Table, frozen=True):
    """The log between the gateway and the flows."""

    log: Literal["redis", "kafka"] = "redis"  # which kind
    partitions: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 8  # redis only
    max_events: Count = 200_000  # waiting in a redis log; beyond it the gateway answers 429
    seal: bool = True  # what the gateway writes is encrypted


class Kafka(Table, frozen=True):
    """The brokers; read only where `raw.log` is `kafka`, or by connectors of that type."""

    bootstrap: Text = "127.0.0.1:9092"  # host:port, several with commas
    topics: Texts = ("millrace.events",)  # all are read; the gateway writes to the first
    # retention removed what was not read yet: stop, or go on and count what is missing
    trimmed: Literal["fail", "skip"] = "fail"
    # URL of a schema registry for incoming Avro; empty: only schemas/avro in the data folder
    registry: str = ""
    zones: dict[str, Zone] = {}  # topic -> the zone of times that come without one; of others UTC
    options: dict[str, Secret] = {}  # handed to librdkafka: security.protocol, sasl.*, ssl.*


class WriteKey(Table, frozen=True):
    """Who may send events. Without an entry: key `demo`, source `web`."""

    key: Secret  # what the client sends
    source: Word  # names the channel: web, app, store ...
    events_per_second: Count = 5_000  # beyond it the gateway answers 429
    zone: Zone = "UTC"  # of times that come without one
    # true: may unite customers and part them (`merge`, `unmerge`); never for a key that a browser knows
    merges: bool = False
    # true: a yes that it sends was asked of the customer itself; never for a key that a browser knows
    confirms: bool = False
    enabled: bool = True  # false: refused


class Gateway(Table, frozen=True):
    """The HTTP side: events come in, profiles are read."""

    listen: Address = "127.0.0.1:8080"  # host:port
    # how browsers reach it, such as `https://data.example.com`; empty: `listen`. Customers' links begin so
    public_url: str = ""
    write_keys: tuple[WriteKey, ...] = (
        WriteKey(key=Secret("demo"), source="web"),
    )  # without one nobody can send
    read_tokens: tuple[Secret, ...] = (Secret("demo-read"),)  # who may read profiles
    # who may read identities in the clear, unite and part customers; none: nobody over HTTP
    steward_tokens: tuple[Secret, ...] = ()
    # who may erase customers, export what is held of them, and see requests; none: nobody over HTTP
    privacy_tokens: tuple[Secret, ...] = ()
    # identifiers that nobody has, asked for with one token; beyond it the gateway answers 429
    misses_per_minute: Count = 600
    event_bytes: Size = Size.parse("32KB")  # of one event
    batch_bytes: Size = Size.parse("500KB")  # of one request, unpacked
    batch_events: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2_500  # in one request
    cors_origins: tuple[Text, ...] = ("*",)  # web pages that may send; `*` is any
    # date from which on you say at `/.well-known/gpc.json` that `Sec-GPC` is honoured; empty: it is not said
    gpc_updated: Day = ""


class Window(Table, frozen=True):
    """Events of one partition that are resolved together: what came while the ones before were handled, at
    most `events`."""

    # at most this long, however long that takes; 30s or more is refused
    wait: Duration = Duration.parse("200ms")
    events: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500  # at most this many


class Vault(Table, frozen=True):
    """The server whose engine Transit wraps the keys (HashiCorp Vault, OpenBao); read only where
    `keys.provider` is `vault`. docs/keys.md has the policies that the tokens need."""

    url: Text = "https://127.0.0.1:8200"  # https://, or http:// to this machine
    mount: Text = "transit"  # where the engine is
    # begins the names of its two keys, KEY-general and KEY-sensitive
    key: Word = "millrace"
    token: Secret = Secret("")  # empty: it is in `token_file`
    token_file: str = ""  # read again when the server refuses the token: for an agent that renews it
    ca: str = ""  # file with the certificate that signed the server's; empty: those that the system trusts


class Keys(Table, frozen=True):
    """Where the keys are that wrap customers' data keys, and those of the deployment itself."""

    provider: Literal["file", "env", "vault"] = "file"  # which holds the key-encryption keys
    # relative to the data folder; created with mode 0600. With `vault` it holds nothing in plain text
    path: Text = "keys.json"
    # env only: the variable of the environment that holds what the file would
    variable: Text = "MILLRACE_KEYS"
    vault: Vault = Vault()


class Shards(Table, frozen=True):
    """The parts that the customers are split into, and how much of each may wait."""

    count: Annotated[int, msgspec.Meta(ge=1, le=4_096)] = 64  # fixed at creation
    log_max: Count = 100_000  # entries in one shard's log; beyond it resolve waits
    outbox_max: Count = 100_000  # entries in one lane of a shard's outbox; beyond it the shard waits
    cache: Count = 200_000  # hot profiles in one worker
    dedupe: Annotated[int, msgspec.Meta(ge=1, le=1_024)] = 64  # message ids remembered for each customer


class Archive(Table, frozen=True):
    """Everything that happens, in its order, as files: the incremental backup. See docs/backup.md."""

    enabled: bool = False  # true: `millrace run` also runs the process that writes it
    folder: Text = "archive"  # relative to the data folder; better on another disk
    rotate_bytes: Size = Size.parse("64MB")  # a file is closed when it is this large ...
    rotate_every: Duration = Duration.parse("1h")  # ... or this old
    journal_max: Count = 2_000  # windows that may wait for it; beyond it resolve waits
    # `millrace backup prune` removes older files that no backup needs; none: keeps all, for `rebuild`
    keep: Duration | None = None


class Backup(Table, frozen=True):
    """Full copies while the flows run. See docs/backup.md."""

    # when one is made and old ones are removed, UTC, such as `03:00`; empty: only by `millrace backup create`
    daily: Daytime = ""
    folder: Text = "backup"  # relative to the data folder; better on another disk
    keep: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 7  # this many of the newest
    # the copy of the customers' data keys, relative to the data folder; apart from the backups
    keys: Text = "keycopy.db"


class Rights(Table, frozen=True):
    """The requests of customers about their own data, and by when each is due. See docs/privacy.md."""

    # whose clock runs: `gdpr` one month, `pipl` 15 working days, `lgpd` 15 days
    regime: Literal["gdpr", "pipl", "lgpd"] = "gdpr"
    days_off: tuple[CalendarDay, ...] = ()  # pipl: weekdays that are holidays
    days_on: tuple[CalendarDay, ...] = ()  # pipl: days of a weekend that are worked
    # an erasure begins this long after it was asked for, and can be taken back until then; none: at once
    grace: Duration | None = None


class Retention(Table, frozen=True):
    """How long things are kept that nothing else ends; a sweep of the process `privacy` ends them. See
    docs/retention.md."""

    # a customer about whom nothing came for this long is erased, with a receipt; none: never
    customers: Duration | None = None
    decisions: Duration | None = None  # why something was not sent; none: the last 10,000 of each shard
    dead_letters: Duration | None = None  # of all kinds; none: until their log is full
    reviews: Duration | None = None  # pairs that wait for a steward; none: until one decides
    # customers' requests once they are closed, with their receipts; none: for ever
    requests: Duration | None = Duration.parse("1095d")
    # nobody is erased for this long after `customers` is switched on or shortened, or the clock has jumped
    grace: Duration = Duration.parse("7d")
    looks: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000  # customers looked at in a second, at most
    erasures: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000  # begun in an hour, at most


class Deliver(Table, frozen=True):
    """How hard deliveries are tried; what fails for good goes to the dead letters."""

    attempts: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 12  # of one delivery
    backoff: Duration = Duration.parse("500ms")  # before the second attempt; doubles, with jitter
    backoff_max: Duration = Duration.parse("5m")  # at most this long between two
    breaker_failures: Count = 10  # in a row, then the connector rests ...
    breaker_rest: Duration = Duration.parse("15s")  # ... for this long


class Metrics(Table, frozen=True):
    """Where Prometheus finds the figures."""

    # of a flow that runs alone (a second one takes the next port); `run all` serves them at the gateway
    listen: Address = "127.0.0.1:9464"


class Log(Table, frozen=True):
    """What millrace says about itself."""

    level: Literal["debug", "info", "warning", "error"] = "info"  # the least that is written
    format: Literal["auto", "json", "console"] = "auto"  # `auto`: pretty on a terminal, JSON elsewhere
