"""Triggers in a Redis Stream: fields `id` and `body` (a structured CloudEvent as JSON)."""

from collections.abc import Sequence

import redis

from connectors.sinks.sink import DELIVERED, Delivery, Failed, Outcome, Retry, encode_each
from schemas.wire import cloudevents


class RedisSink:
    """One round trip for each batch. `max_length` is approximate: whole nodes of the stream are dropped, so
    some more may stay."""

    batch_max = 500

    def __init__(self, url: str, stream: str, max_length: int, source: str, timeout_s: float = 15.0) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
        self._stream = stream
        self._max_length = max_length
        self._source = source

    def deliver(self, batch: Sequence[Delivery]) -> list[Outcome]:
        """Append them; a server that is away, full or refuses the key is a `Retry`."""
        bodies = encode_each(
            batch, lambda item: cloudevents.structured(item.trigger, self._source, item.identifiers)
        )
        pipeline = self._client.pipeline(transaction=False)
        for item, body in zip(batch, bodies, strict=True):
            if isinstance(body, bytes):
                pipeline.xadd(
                    self._stream,
                    {"id": item.trigger.id, "body": body},
                    maxlen=self._max_length,
                    approximate=True,
                )
        try:
            answers = iter(pipeline.execute(raise_on_error=False))
        except redis.RedisError as error:
            return [body if isinstance(body, Failed) else _retry(error) for body in bodies]
        return [body if isinstance(body, Failed) else _outcome(next(answers)) for body in bodies]

    def close(self) -> None:
        self._client.close()


def _outcome(answer: object) -> Outcome:
    return _retry(answer) if isinstance(answer, Exception) else DELIVERED


def _retry(error: Exception) -> Retry:
    return Retry(f"redis: {type(error).__name__}: {error}")
