"""What is wrong with a configuration file, every error at once with its line; or, when all is well, what is
active."""

from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from flows.logic.facets import vocabulary
from flows.logic.fields.attributes import CATEGORIES
from flows.logic.rules.slips import named_once, underived
from flows.runtime import tracking_plan
from schemas.config import Config, Connector, TriggerRule, WebhookConnector
from schemas.config.locate import line_of
from schemas.config.toml import Problem, Reading, lacks_secret, read, resolved, text_of, unspelled
from schemas.errors import ConfigError


class Examined(msgspec.Struct, frozen=True):
    """What `millrace check` says of a file."""

    errors: list[Problem]
    warnings: list[Problem] = []
    active: list[tuple[str, list[str]]] = []  # what is active, by its kind; none where there are errors


def examine(path: Path) -> Examined:
    """Look at the file at `path`. Raises `ConfigError` where it cannot be read."""
    reading, folder = read(text_of(path)), path.absolute().parent
    if found := errors(reading, folder):
        return Examined(found)
    lone = named_once(reading.config)
    warnings = []
    for name, (place, hint) in lone.items():
        if hint:
            warning = f"warning: the event `{name}` is named nowhere else{hint}"
            warnings.append(Problem(line_of(reading.places, unspelled(place)), place, warning))
    warnings += _whole_births(reading)
    active = [*_active(resolved(reading.config, folder)), ("named once", list(lone))]
    return Examined([], warnings, active)


def _whole_births(reading: Reading) -> list[Problem]:
    """Warn where two attributes together are the date of birth, which then stands in the open."""
    if not {"age_band", "birth_month_day"} <= {*reading.config.privacy.attributes}:
        return []
    place = "privacy.attributes"
    message = (
        "warning: `age_band` (kept as year and month) and `birth_month_day` together are the whole date of"
        " birth, unsealed"
    )
    return [Problem(line_of(reading.places, unspelled(place)), place, message)]


def errors(reading: Reading, folder: Path) -> list[Problem]:
    """Return everything that is wrong with a configuration file of this folder, by line."""
    return sorted(
        [
            *reading.problems,
            *_rule_problems(reading),
            *_plan_problems(reading, folder),
            *_private_receivers(reading),
        ]
    )


def said(path: Path, problem: Problem) -> str:
    """Return a problem as a person sees it: file, line, place, and what is wrong."""
    return f"{path}:{problem.line}: {problem.path + ': ' if problem.path else ''}{problem.message}"


def sound(path: Path) -> Config:
    """Return the configuration in a file in which `millrace check` finds nothing wrong, but for secrets, of
    which rules need none.

    Raises `ConfigError` with every error, one a line.
    """
    reading = read(text_of(path))
    folder = path.absolute().parent
    if found := [problem for problem in errors(reading, folder) if not lacks_secret(problem)]:
        raise ConfigError("\n".join(said(path, problem) for problem in found))
    return resolved(reading.config, folder)


def _rule_problems(reading: Reading) -> list[Problem]:
    """What the logic says of the rules, except where the decoder has spoken already, each place once."""
    spoken = [unspelled(problem.path) for problem in reading.problems if problem.path]
    found = []
    for path, problem in (*vocabulary.problems(reading.config), *underived(reading.config)):
        place = unspelled(path)
        if not any(place[: len(other)] == other or other[: len(place)] == place for other in spoken):
            spoken.append(place)
            found.append(Problem(line_of(reading.places, place), path, str(problem)))
    return found


def _private_receivers(reading: Reading) -> list[Problem]:
    """Webhooks that could only fail: their address, as it stands there, is not public. Names are not asked
    for."""
    found = []
    for index, connector in enumerate(reading.config.connector):
        path = f"connector[{index}].url"
        if not isinstance(connector, WebhookConnector) or connector.allow_private:
            continue
        if connector.url and _is_private(connector.url):
            message = "this address is not public: choose another, or set `allow_private = true`"
            found.append(Problem(line_of(reading.places, unspelled(path)), path, message))
    return found


def _is_private(url: str) -> bool:
    from connectors.sinks.webhook import is_public  # aiohttp is slow to import

    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
        return host == "localhost" or host.endswith(".localhost") or not is_public(host)
    except ValueError:  # a name, or no URL at all
        return False


def _plan_problems(reading: Reading, folder: Path) -> list[Problem]:
    """Schemas that `resolve` could not load."""
    found = []
    for index, entry in enumerate(reading.config.validate.plan):
        path = f"validate.plan[{index}].schema"
        if any(problem.path == path for problem in reading.problems):
            continue
        try:
            tracking_plan.load(replace(entry, schema=str(folder / entry.schema)))
        except ConfigError as error:
            found.append(Problem(line_of(reading.places, unspelled(path)), path, str(error)))
    return found


def _active(config: Config) -> list[tuple[str, list[str]]]:
    sources = sorted({key.source for key in config.gateway.write_keys if key.enabled})
    raw = config.raw
    log = (
        f"kafka at {config.kafka.bootstrap}: {', '.join(config.kafka.topics)}"
        if raw.log == "kafka"
        else f"redis streams, {raw.partitions} partitions, at most {raw.max_events:,} events"
    )
    scheme = config.redis.url.partition("://")[0]  # the rest may hold a password
    state = "embedded" if config.redis.url == "embedded" else scheme
    planned = [entry.event for entry in config.validate.plan]
    return [
        ("name", [config.name]),
        ("gateway", [f"http://{config.gateway.listen}, sources: {', '.join(sources) or 'none'}"]),
        ("raw log", [log]),
        ("state", [f"{state} redis, {config.shards.count} shards, data in {config.data.folder}"]),
        ("window", [f"{config.window.wait} or {config.window.events} events"]),
        ("plan", [f"{', '.join(planned)}; others: {config.validate.unknown_events}"] if planned else []),
        ("identifiers", [f"{entry.name}, at most {entry.limit}" for entry in config.identity.namespace]),
        (
            "aggregates",
            [f"{entry.name}: {entry.of} of {entry.value or 'events'}" for entry in config.aggregate],
        ),
        ("attributes", [f"{name} ({CATEGORIES[name]})" for name in config.privacy.attributes]),
        ("tags", [f"{entry.name}: {entry.when}" for entry in config.tag]),
        ("segments", [f"{entry.name}: {entry.when}" for entry in config.segment]),
        ("triggers", [_trigger(config, entry) for entry in config.trigger]),
        ("actions", [f"{entry.name}: {entry.when}" for entry in config.action]),
        ("items", [f"{entry.event}: {entry.item}" for entry in config.recommendation.touch]),
        (
            "groups",
            [f"{config.clusters.k}, looked at every {config.clusters.every}"]
            if config.clusters.enabled
            else [],
        ),
        ("connectors", [_connector(entry) for entry in config.connector]),
        ("models", _models(config)),
    ]


def _models(config: Config) -> list[str]:
    found = [f"churn, looking {config.churn.horizon} ahead"] if config.churn.enabled else []
    return found + [
        f"{model.name}, looking {model.horizon} ahead for {', '.join(model.yes)}"
        for model in config.model
        if model.enabled
    ]


def _trigger(config: Config, rule: TriggerRule) -> str:
    on = ", ".join(
        f"{name} {getattr(rule.on, name)}"
        for name in rule.on.__struct_fields__
        if getattr(rule.on, name) is not None
    )
    enabled = {entry.name for entry in config.connector if entry.enabled}
    to = ", ".join(name if name in enabled else f"{name} (off)" for name in rule.to)
    return f"{rule.name}: {on} -> {to or 'nowhere'}"


def _connector(entry: Connector) -> str:
    """Without its URL, which may hold a token."""
    place = f" {entry.place}" if entry.place else ""
    return f"{entry.name}: {entry.type}{place}{'' if entry.enabled else ' (off)'}"
