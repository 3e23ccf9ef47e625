"""How much a second somebody may do: send events, ask for what is not there."""


class Bucket:
    """A token bucket that may run into debt, so that a batch larger than one second's worth passes once and
    is paid for afterwards.

    >>> bucket = Bucket(per_second=10, now_s=0.0)
    >>> bucket.take(25, now_s=0.0), bucket.take(1, now_s=0.0), bucket.take(1, now_s=1.6)
    (0.0, 1.5, 0.0)
    """

    __slots__ = ("_at_s", "_most", "_per_second", "_tokens")

    def __init__(self, per_second: float, now_s: float, burst: float | None = None) -> None:
        """`burst`: how many at once, where that is not one second's worth."""
        self._per_second = per_second
        self._most = self._tokens = float(per_second if burst is None else burst)
        self._at_s = now_s

    def take(self, count: int, now_s: float) -> float:
        """Return the seconds to wait before trying again; 0 means that `count` tokens were taken."""
        self._tokens = min(self._most, self._tokens + (now_s - self._at_s) * self._per_second)
        self._at_s = now_s
        if self._tokens <= 0:
            return -self._tokens / self._per_second or 1 / self._per_second
        self._tokens -= count
        return 0.0
