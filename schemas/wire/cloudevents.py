"""A trigger on the wire: CloudEvents 1.0, in both content modes. Connectors send what is made here.

    attributes(trigger, source)          the CloudEvents context, all text
    data(trigger, identity)              the payload as plain data
    structured(trigger, source, identity)    one JSON document, `application/cloudevents+json`
    headers(trigger, source, prefix)     binary mode: `ce-` for HTTP, `ce_` for Kafka; the body is
                                         `payload(...)` or Avro

`id` is the trigger's own: it stays the same over retries and replays, and receivers drop repeats by it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from schemas.wire.triggers import ERASURE, Trigger

TYPE = "millrace.trigger"
DELETION = "millrace.deletion"  # the receiver is to delete what it has of the customer
STRUCTURED = "application/cloudevents+json"
JSON = "application/json"


def attributes(trigger: Trigger, source: str) -> dict[str, str]:
    """Return the required attributes, `subject` (the customer), `time` (when it was emitted) and the
    `partitionkey` extension.

    `source` is a URI reference that names the deployment, such as `/millrace/shop`. What a rebuild fired
    again has the extension `run` too.
    """
    context = {
        "specversion": "1.0",
        "id": trigger.id,
        "source": source,
        "type": DELETION if trigger.rule == ERASURE else TYPE,
        "subject": trigger.customer,
        "time": _text_time(trigger.receipt.emitted_ms or trigger.receipt.applied_ms),
        "partitionkey": trigger.customer,
    }
    return context | {"run": trigger.run} if trigger.run else context


def data(trigger: Trigger, identity: Mapping[str, str]) -> dict[str, Any]:
    """Return the payload. `identity` holds the fields that this receiver may know the customer by, opened
    at the edge (`connector.identify`)."""
    return {
        "id": trigger.id,
        "customer": trigger.customer,
        "identity": dict(identity),
        "rule": trigger.rule,
        "action": trigger.action,
        "channel": trigger.channel,
        "purpose": trigger.purpose,
        "cause": trigger.cause,
        "reasons": trigger.reasons,
        "scores": trigger.scores,
        "properties": trigger.properties,
        "receipt": {name: getattr(trigger.receipt, name) for name in trigger.receipt.__struct_fields__},
    }


def payload(trigger: Trigger, identity: Mapping[str, str]) -> bytes:
    """Return the body of binary mode with `application/json`."""
    return msgspec.json.encode(data(trigger, identity))


def structured(trigger: Trigger, source: str, identity: Mapping[str, str]) -> bytes:
    """Return the whole event as one JSON document."""
    return msgspec.json.encode(
        attributes(trigger, source) | {"datacontenttype": JSON, "data": data(trigger, identity)}
    )


def headers(trigger: Trigger, source: str, prefix: Literal["ce-", "ce_"]) -> dict[str, str]:
    """Return the headers of binary mode without `content-type`, which says how the body is written. HTTP
    values (`ce-`) are percent-encoded, Kafka's are not."""
    context = attributes(trigger, source)
    if prefix == "ce_":
        return {prefix + name: value for name, value in context.items()}
    return {prefix + name: quote(value, safe=_PRINTABLE) for name, value in context.items()}


_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


def _text_time(time_ms: int) -> str:
    return (
        datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
