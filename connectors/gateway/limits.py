"""How many events a second a write key may send."""


class Bucket:
    """A token bucket that may run into debt, so that a batch larger than one second's worth passes once and is paid for afterwards.

    >>> bucket = Bucket(per_second=10, now_s=0.0)
    >>> bucket.take(25, now_s=0.0), bucket.take(1, now_s=0.0), bucket.take(1, now_s=1.6)
    (0.0, 1.5, 0.0)
    """

    __slots__ = ("_at_s", "_per_second", "_tokens")

    def __init__(self, per_second: int, now_s: float) -> None:
        self._per_second = per_second
        self._tokens = float(per_second)
        self._at_s = now_s

    def take(self, count: int, now_s: float) -> float:
        """Seconds to wait before trying again; 0 means that `count` tokens were taken."""
        self._tokens = min(float(self._per_second), self._tokens + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        if self._tokens <= 0:
            return -self._tokens / self._per_second or 1 / self._per_second
        self._tokens -= count
        return 0.0
