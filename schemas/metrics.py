"""Every Prometheus metric of millrace, each with its meaning. The names outside are these, with `millrace_`
in front.

Flows are processes. Where a supervisor runs them it sets PROMETHEUS_MULTIPROC_DIR, and each process writes
its figures into that folder; whoever serves `/metrics` calls `exposition()`, which adds them up.
"""

import os
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from schemas.errors import Unreachable

_LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_COMMIT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_EVENTS = (1, 10, 50, 100, 200, 300, 400, 500, 1_000, 2_500, 5_000)

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
# Bytes of each file of one process: several times what the demo fills.
_RESERVED: Final = {
    "counter": 1 << 17,
    "histogram": 1 << 19,
    "gauge_livemax": 1 << 16,
    "gauge_livemostrecent": 1 << 16,
    "gauge_mostrecent": 1 << 16,
}


def _reserve(folder: Path) -> None:
    """Give this process's files their blocks before the library maps them. It would map holes, and one that
    is written to on a full disk ends the process with a bus error. Raises `Unreachable`."""
    try:
        for kind, size in _RESERVED.items():
            with (folder / f"{kind}_{os.getpid()}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise Unreachable(f"{folder}: no room for this process's figures: {error.strerror}") from error


if _FOLDER in os.environ:
    _reserve(Path(os.environ[_FOLDER]))

# --- gateway ---
GATEWAY_REQUESTS = Counter("millrace_gateway_requests", "HTTP requests answered", ["route", "code"])
GATEWAY_SECONDS = Histogram(
    "millrace_gateway_seconds", "Time to answer an HTTP request", ["route"], buckets=_LATENCY_S
)
EVENTS_ACCEPTED = Counter(
    "millrace_events_accepted", "Events that the gateway put into the raw log", ["source"]
)
EVENTS_REFUSED = Counter(
    "millrace_events_refused", "Events refused in the answer, or put into the log marked as bad", ["reason"]
)

# --- resolve ---
WINDOW_EVENTS = Histogram(
    "millrace_window_events", "Events in one window of one source partition", buckets=_EVENTS
)
EVENTS_RESOLVED = Counter("millrace_events_resolved", "Events that the directory routed to a shard")
EVENTS_REJECTED = Counter("millrace_events_rejected", "Events that went to the dead-letter log", ["reason"])
EVENTS_SUPPRESSED = Counter(
    "millrace_events_suppressed", "Events of erased customers who are to stay unknown: dropped"
)
SOURCES_SUSPENDED = Counter(
    "millrace_sources_suspended", "Times that a source was suspended (validate.reject_percent)", ["source"]
)
SOURCE_SUSPENDED = Gauge(
    "millrace_source_suspended",
    "1 while the events of a source are not taken",
    ["source"],
    multiprocess_mode="livemostrecent",
)
PERSONAL_REMOVED = Counter(
    "millrace_personal_removed",
    "Personal data taken out of events and not kept, by what told it: its name, or the kind of its value",
    ["kind"],
)
CONSENT_REMOVED = Counter(
    "millrace_consent_removed",
    "Fields and events that customers do not allow us to keep, by category of data",
    ["category"],
)
NOT_SENT = Counter(
    "millrace_not_sent",
    "Triggers that were refused at the door when they were about to be sent",
    ["connector", "reason"],
)
KAFKA_SKIPPED = Counter(
    "millrace_kafka_skipped",
    "Records that retention removed before we read them (kafka.trimmed)",
    ["partition"],
)
CUSTOMERS_CREATED = Counter("millrace_customers_created", "Customers that the directory had not known")
CUSTOMERS_UNITED = Counter("millrace_customers_united", "Pairs of customers that turned out to be one")
CUSTOMERS_DIVIDED = Counter(
    "millrace_customers_divided", "Unions that were undone, and identifiers that were taken out"
)
IDENTIFIERS_REFUSED = Counter(
    "millrace_identifiers_refused", "Identifiers, unions and orders that a limit or a guard refused"
)
IDENTIFIERS_SUSPENDED = Counter(
    "millrace_identifiers_suspended", "Identifiers that stopped being evidence (identity.guard)"
)

# --- profile ---
BATCH_EVENTS = Histogram(
    "millrace_batch_events", "Events in one batch of the profile flow, over all its shards", buckets=_EVENTS
)
EVENTS_APPLIED = Counter("millrace_events_applied", "Events that entered a profile")
DUPLICATES = Counter("millrace_duplicates", "Events dropped because their message id had been applied before")
REPEATS = Counter(
    "millrace_repeats", "Events dropped because the same content had been applied before (entry.repeat)"
)
QUALITY = Counter(
    "millrace_quality",
    "Values of checked fields: ok, conflict (also ok, but not what was held), or why bad",
    ["source", "field", "outcome"],
)
EVENTS_QUARANTINED = Counter(
    "millrace_events_quarantined", "Events and timers put aside because our logic raised on them", ["where"]
)
TRIGGERS_EMITTED = Counter("millrace_triggers_emitted", "Triggers committed to an outbox", ["rule"])
TRIGGER_SECONDS = Histogram(
    "millrace_trigger_seconds", "From an event's arrival to the commit of its trigger", buckets=_LATENCY_S
)

ACTIONS = Counter(
    "millrace_actions",
    "Actions at the choice of the best: `best`, `explored`, `uniform` (no model yet), or why withheld",
    ["action", "outcome"],
)
REWARDS = Counter("millrace_rewards", "Rewards of chosen actions: `counted`, or why refused", ["outcome"])

# --- any flow ---
COMMIT_SECONDS = Histogram("millrace_commit_seconds", "Time of one commit", ["flow"], buckets=_COMMIT_S)
LAG = Gauge(
    "millrace_lag",
    "Entries not yet read, by source partition or shard",
    ["flow", "of"],
    multiprocess_mode="livemostrecent",
)

PUT_ASIDE = Counter(
    "millrace_put_aside",
    "What a flow put aside because our logic raised on it (profile: `millrace_events_quarantined`)",
    ["flow", "where"],
)

# --- deliver ---
DELIVERIES = Counter(
    "millrace_deliveries", "Attempts at a receiver: delivered, retried, dead", ["connector", "outcome"]
)
DELIVERY_SECONDS = Histogram(
    "millrace_delivery_seconds", "Time of one attempt at a receiver", ["connector"], buckets=_LATENCY_S
)
DELIVERED_SECONDS = Histogram(
    "millrace_delivered_seconds", "From an event's arrival to the delivery", ["connector"], buckets=_LATENCY_S
)
BREAKER_OPEN = Gauge(
    "millrace_breaker_open",
    "1 while a connector rests after failures",
    ["connector"],
    multiprocess_mode="livemax",
)

# --- learn ---
MODEL_EXAMPLES = Counter("millrace_model_examples", "Labelled examples learned from", ["model"])
MODEL_LOG_LOSS = Gauge(
    "millrace_model_log_loss",
    "Log loss of predictions made before learning",
    ["model"],
    multiprocess_mode="mostrecent",
)
MODEL_VERSION = Gauge(
    "millrace_model_version",
    "Model version last announced to the shards",
    ["model"],
    multiprocess_mode="mostrecent",
)
MODEL_AUC = Gauge(
    "millrace_model_auc",
    "Area under the ROC curve of those predictions",
    ["model"],
    multiprocess_mode="mostrecent",
)
MODEL_BRIER = Gauge(
    "millrace_model_brier", "Brier score of those predictions", ["model"], multiprocess_mode="mostrecent"
)
MODEL_ECE = Gauge(
    "millrace_model_ece",
    "Expected calibration error of those predictions",
    ["model"],
    multiprocess_mode="mostrecent",
)
MODEL_TRAINED = Gauge(
    "millrace_model_trained_timestamp_seconds",
    "When the last answer learned was given; age is time() minus this",
    ["model"],
    multiprocess_mode="mostrecent",
)
MODEL_DELAY = Gauge(
    "millrace_model_label_delay_seconds",
    "Half of the answers took at most this long",
    ["model"],
    multiprocess_mode="mostrecent",
)
MODEL_PROMOTIONS = Gauge(
    "millrace_model_promotions",
    "How often a challenger has become the champion, by rule or by hand",
    ["model", "champion"],
    multiprocess_mode="mostrecent",
)
MODEL_REFUSED = Counter(
    "millrace_model_snapshots_refused",
    "Snapshots that could not be trusted or used; the last good one stays",
    ["model"],
)
MODEL_DROPPED = Counter(
    "millrace_model_examples_dropped", "Examples that could not be learned from", ["model", "reason"]
)
MODEL_LOST = Counter(
    "millrace_model_examples_lost", "Examples that were gone from the outbox before they were read", ["model"]
)
MODEL_DRIFTS = Counter(
    "millrace_model_drifts",
    "Alarms of the drift detectors: `log_loss`, or the feature that moved",
    ["model", "what"],
)

MODEL_REWARD = Gauge(
    "millrace_model_reward", "Mean reward of an action, as learnt", ["action"], multiprocess_mode="mostrecent"
)
POLICY_GAIN = Gauge(
    "millrace_policy_gain",
    "What a policy would earn for each decision, over what was earned, in money (estimated)",
    ["policy"],
    multiprocess_mode="mostrecent",
)
MODEL_HIT_RATE = Gauge(
    "millrace_model_hit_rate",
    "How often the next new item was among ten recommended",
    ["model"],
    multiprocess_mode="mostrecent",
)
RECOMMENDER_HIT_RATE = Gauge(
    "millrace_recommender_hit_rate",
    "The same of what each learner recommends, served or not",
    ["learner"],
    multiprocess_mode="mostrecent",
)
RECOMMENDER_MRR = Gauge(
    "millrace_recommender_mrr",
    "Mean reciprocal rank of the next new item among ten",
    ["learner"],
    multiprocess_mode="mostrecent",
)
CLUSTER_DRIFT = Gauge(
    "millrace_cluster_drift",
    "Deviations that a group moved when groups were last formed",
    ["cluster"],
    multiprocess_mode="mostrecent",
)
CLUSTER_SHARE = Gauge(
    "millrace_cluster_share",
    "Part of the latest examples in a group",
    ["cluster"],
    multiprocess_mode="mostrecent",
)

# --- matching ---
MATCH_RECORDS = Counter("millrace_match_records", "Records that were compared with their candidates")
MATCH_VERDICTS = Counter("millrace_match_verdicts", "What matching ordered: link or review", ["verdict"])
MATCH_PASSED_OVER = Counter(
    "millrace_match_entries_passed_over", "Windows whose records were gone before they were matched"
)

# --- archive ---
ARCHIVED = Counter("millrace_archived", "Entries of the journal that are safe in the archive")
ARCHIVE_BEHIND = Gauge(
    "millrace_archive_behind_seconds",
    "Age of the last tick in the archive; 0 if nothing waits",
    multiprocess_mode="mostrecent",
)
BACKUP_ENDED = Gauge(
    "millrace_backup_timestamp_seconds", "When the last backup was completed", multiprocess_mode="mostrecent"
)
BACKUPS_FAILED = Counter("millrace_backups_failed", "Daily backups that failed; each is tried again")

# --- privacy ---
RETENTION_REMOVED = Counter(
    "millrace_retention_removed",
    "What was too old and went, by class of data; of `customers` those whose erasure was begun",
    ["data"],
)
RETENTION_SWEPT = Gauge(
    "millrace_retention_swept_timestamp_seconds",
    "When the sweep last came to its end; 0: it never did",
    multiprocess_mode="mostrecent",
)
RETENTION_WAITS = Gauge(
    "millrace_retention_waits",
    "1 while nobody is erased, since the rule is new or the clock has jumped (retention.grace)",
    multiprocess_mode="mostrecent",
)
REQUESTS_OPEN = Gauge(
    "millrace_requests_open",
    "Requests of customers that are not closed: `in_time`, or `overdue`",
    ["due"],
    multiprocess_mode="mostrecent",
)

# --- supervisor ---
WORKER_GIVEN_UP = Gauge(
    "millrace_worker_given_up",
    "1 while a process ends at every start",
    ["worker"],
    multiprocess_mode="mostrecent",
)
WORKER_RESTARTS = Counter("millrace_worker_restarts", "Processes started again after they died", ["worker"])


def registry() -> CollectorRegistry:
    """Return all figures of this process; where a supervisor set the folder, those of all processes that
    write into it."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    combined = CollectorRegistry()
    MultiProcessCollector(combined)  # type: ignore[no-untyped-call]  # untyped in the library
    return combined


def exposition() -> tuple[bytes, str]:
    """Return the body and the content type of an answer to `GET /metrics`."""
    return generate_latest(registry()), CONTENT_TYPE_LATEST
