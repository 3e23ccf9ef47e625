"""What stops a flow: too many events put aside, for a bad deploy must not drain a topic into quarantine."""

from collections import Counter, deque

from schemas.errors import TooManyRejects


class PoisonLimit:
    """Stops when one defect hits more than `percent` of the last `sample` events."""

    def __init__(self, percent: float, sample: int) -> None:
        self._percent = percent
        self._sample = sample
        self._recent: deque[tuple[int, Counter[str]]] = deque()
        self._events = 0
        self._raised = Counter[str]()

    def add(self, events: int, raised: Counter[str]) -> None:
        """`raised`: how often, by place. Raises `TooManyRejects`; to be called before the commit."""
        self._recent.append((events, raised))
        self._events += events
        self._raised += raised
        while self._events - self._recent[0][0] >= self._sample:
            gone, of_them = self._recent.popleft()
            self._events -= gone
            self._raised -= of_them
        for where, n in self._raised.most_common(1):
            if self._events >= self._sample and n * 100 > self._percent * self._events:
                raise TooManyRejects(
                    f"{where} on {n} of the last {self._events} events, more than validate.poison_percent = {self._percent:g}: nothing of"
                    " this batch was committed; `millrace dead list --reason poison` shows those before it. Install another build, or raise"
                    " the limit"
                )
