"""`millrace eval churn`: would the churn model have known, week by week, who will not come back?

The purchases of the file are replayed on the real path: each becomes a fact that is added to its customer's fragment; at each
step the model in force says what it thinks of every customer known by then, and the question waits; when the horizon has
passed it is answered as the shard would, and the trainer learns it. So nothing is used before it could have been known.
"""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.evaluate.baselines import BgNbd, Refitted
from flows.evaluate.judge import Verdict, judge
from flows.evaluate.table import Table, chosen, read
from flows.logic.fragments import FragmentRules, ring_id
from flows.logic.models.binary import BINARY
from flows.logic.models.features import DAY_MS, features
from flows.logic.models.trainer import Trainer
from schemas.config import Rules, Shards, Value
from schemas.errors import Unusable
from schemas.events import Fact
from schemas.profile import Fragment
from schemas.triggers import Example
from schemas.units import Duration

CUSTOMER = ("customer", "customer_id", "user", "user_id", "client", "member", "account", "buyer", "id")
TIME = ("time", "timestamp", "ts", "date", "datetime", "invoicedate", "created", "day")
VALUE = ("value", "amount", "total", "revenue", "spend", "price", "sales")
_HORIZON = Duration.parse("13w")
_HORIZONS_LEAST = 4  # of history: watched, asked, answered, judged
_STEPS = 13  # in a horizon
_ORDER = "Order Completed"


class Purchases(NamedTuple):
    """In order of time."""

    customers: NDArray[np.int64]  # numbered by first purchase
    times: NDArray[np.int64]
    values: NDArray[np.float64]


class Asked(NamedTuple):
    """One step's questions: all customers known by then."""

    at_ms: int
    rows: NDArray[np.float32]  # as the shard stores them
    events: NDArray[np.int64]  # of each customer
    said: dict[str, list[float]]
    baselines: dict[str, NDArray[np.float64]]


def evaluate(
    path: Path,
    customer: str | None,
    time: str | None,
    value: str | None,
    horizon: str | None,
    step: str | None,
    show: Callable[[str], None],
) -> Verdict:
    """Raises `Unusable`. `show` is told how far it is."""
    table = read(path)
    guessed: list[str] = []
    customer = chosen(table, customer, "customer", CUSTOMER, guessed.append)
    time = chosen(table, time, "time", TIME, guessed.append, but=(customer,), fits=table.may_be_time)
    table, unknown = table.known(customer, time)
    table = table.dated(time)
    if value is None:
        value = table.guess(VALUE, but=(customer, time), fits=table.is_numeric)
        guessed += [f"--value {value}"] if value else []
    purchases = _purchases(table, customer, time, value)
    ahead, every = _spans(purchases, horizon, step, guessed)
    notes = [f"guessed: {' '.join(guessed)}"] if guessed else []
    if unknown:
        notes.append(f"{unknown} rows without a customer or a time were left out")
    notes += table.notes
    return _replay(purchases, ahead, every, path.name, notes, show)


def _purchases(table: Table, customer: str, time: str, value: str | None) -> Purchases:
    times = table.times(time)
    values = np.nan_to_num(table.numbers(value)) if value is not None else np.zeros(table.rows)
    names = table.column(customer)
    order = np.argsort(times, kind="stable")
    numbers: dict[str, int] = {}
    customers = np.array([numbers.setdefault(names[row], len(numbers)) for row in order], np.int64)
    return _together(Purchases(customers, times[order], values[order]))


def _together(lines: Purchases) -> Purchases:
    """Lines of one customer at one moment are one purchase: many shops write a line for each product."""
    order = np.lexsort((lines.customers, lines.times))
    customers, times = lines.customers[order], lines.times[order]
    first = np.flatnonzero(np.r_[True, (np.diff(times) != 0) | (np.diff(customers) != 0)])
    return Purchases(customers[first], times[first], np.add.reduceat(lines.values[order], first))


def _spans(purchases: Purchases, horizon: str | None, step: str | None, guessed: list[str]) -> tuple[int, int]:
    span = int(purchases.times[-1] - purchases.times[0])
    if horizon is not None:
        ahead = span_of("--horizon", horizon)
    else:
        whole = DAY_MS if span > 60 * DAY_MS else 1000
        ahead = int(_HORIZON) if span >= 5 * int(_HORIZON) else max(span // 6 // whole, 1) * whole
        guessed.append(f"--horizon {Duration(ahead)}")
    every = span_of("--step", step) if step is not None else max(ahead // _STEPS, 1000)
    if step is None:
        guessed.append(f"--step {Duration(every)}")
    if every > ahead:
        raise Unusable(f"--step {Duration(every)} is longer than --horizon {Duration(ahead)}")
    if span < _HORIZONS_LEAST * ahead:
        raise Unusable(
            f"the file spans {span / DAY_MS:.0f} days; a horizon of {Duration(ahead)} needs {_HORIZONS_LEAST} times as much "
            f"({_HORIZONS_LEAST * ahead / DAY_MS:.0f} days): try a shorter --horizon"
        )
    return ahead, every


def span_of(option: str, text: str) -> int:
    try:
        found = Duration.parse(text)
    except ValueError as error:
        raise Unusable(f"{option}: {error}") from None
    if found < 1000:
        raise Unusable(f"{option}: expected at least 1s, got {text}")
    return int(found)


def _end(purchases: Purchases) -> int:
    """Until when the file knows everything: the end of the last day if it says days only."""
    last = int(purchases.times[-1])
    return last + DAY_MS if (purchases.times % DAY_MS == 0).all() else last


class _Customers:
    """Their fragments, and what BG/NBD counts."""

    def __init__(self, count: int) -> None:
        self._rules = FragmentRules({}, Value(events=(_ORDER,)), Shards().dedupe)
        self.fragments = [Fragment() for _ in range(count)]
        self.known = 0
        self.days = np.zeros((3, count))  # distinct days with a purchase; the first and the last of them

    def buy(self, customer: int, time_ms: int, value: float, message: str) -> None:
        fact = Fact("track", _ORDER, time_ms, time_ms, time_ms, message, "file", b"", {"total": value}, {}, {})
        self._rules.add(self.fragments[customer], fact, ring_id(message))
        self.known = max(self.known, customer + 1)
        day = float(time_ms // DAY_MS)
        if self.days[0, customer] == 0:
            self.days[:, customer] = 1, day, day
        elif day > self.days[2, customer]:
            self.days[0, customer] += 1
            self.days[2, customer] = day

    def repeats(self, now_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """x, t_x and T in weeks."""
        days, first, last = self.days[:, : self.known]
        return days - 1.0, (last - first) / 7.0, np.maximum(now_ms / DAY_MS - first, last - first) / 7.0


def _replay(purchases: Purchases, ahead: int, every: int, name: str, notes: list[str], show: Callable[[str], None]) -> Verdict:
    model = BINARY["churn"]
    trainer = Trainer(model.name, model.features, Rules().churn.learning_rate)
    customers = _Customers(int(purchases.customers.max()) + 1)
    begin, end = int(purchases.times[0]), _end(purchases)
    steps = range(begin + ahead, end - ahead + 1, every)
    judged_from = begin + 3 * ahead  # watched, asked, learnt for one horizon each
    waiting: deque[Asked] = deque()
    answered: list[tuple[NDArray[np.float32], NDArray[np.bool_]]] = []
    done: list[tuple[Asked, NDArray[np.bool_]]] = []
    refitted, recency, bgnbd = Refitted(), Refitted(), BgNbd()
    place = model.features.index("recency")
    bought = 0

    def buy(before: int) -> None:
        nonlocal bought
        upto = int(np.searchsorted(purchases.times, before))
        for row in range(bought, upto):
            customers.buy(int(purchases.customers[row]), int(purchases.times[row]), float(purchases.values[row]), str(row))
        bought = upto

    def answer(asked: Asked) -> None:
        buy(asked.at_ms + ahead)
        events = np.array([fragment.events for fragment in customers.fragments[: len(asked.events)]])
        gone = events == asked.events
        champions = asked.said[trainer.champion]
        trainer.learn(
            Example(model.name, b"", asked.at_ms, asked.at_ms + ahead, row, said, trainer.version, float(label))
            for row, said, label in zip(asked.rows.tolist(), champions, gone.tolist(), strict=True)
        )
        answered.append((asked.rows, gone))
        if asked.baselines:
            done.append((asked._replace(said={"champion": champions, **asked.said}, rows=asked.rows[:0]), gone))

    def ask(now: int) -> Asked:
        buy(now)
        fragments = customers.fragments[: customers.known]
        rows = np.array([features(fragment, now) for fragment in fragments], np.float32)[:, model.places]
        said = trainer.probabilities(rows.astype(float))
        beside: dict[str, NDArray[np.float64]] = {}
        if now >= judged_from:
            known, truth = np.concatenate([rows for rows, _ in answered]).astype(float), np.concatenate([gone for _, gone in answered])
            refitted.fit(known, truth)
            recency.fit(known[:, [place]], truth)
            counts = customers.repeats(now)
            bgnbd.fit(*counts)
            beside = {
                "recency": recency.predict(rows[:, [place]].astype(float)),
                "batch_lr": refitted.predict(rows.astype(float)),
                "bg_nbd": bgnbd.silent(*counts, ahead / DAY_MS / 7.0),
            }
        return Asked(now, rows, np.array([fragment.events for fragment in fragments]), said, beside)

    for count, now in enumerate(steps, 1):
        while waiting and waiting[0].at_ms + ahead <= now:
            answer(waiting.popleft())
        waiting.append(ask(now))
        show(f"step {count} of {len(steps)}")
    while waiting:
        answer(waiting.popleft())
    if not done:
        raise Unusable(f"{name}: no question could be both asked and answered; try a shorter --horizon or --step")
    truth = np.concatenate([gone for _, gone in done])
    if truth.all() or not truth.any():
        raise Unusable(f"{name}: {'nobody' if truth.all() else 'everybody'} came back within the horizon; there is nothing to tell apart")
    at = np.concatenate([np.full(len(gone), asked.at_ms) for asked, gone in done])
    said = {who: np.concatenate([np.array(asked.said[who]) for asked, _ in done]) for who in done[0][0].said}
    baselines = {who: np.concatenate([asked.baselines[who] for asked, _ in done]) for who in done[0][0].baselines}
    notes += [
        f"{customers.known} customers, {bought} purchases; asked about everyone known every {Duration(every)}, for the first time after "
        f"{Duration(ahead)}; answers {Duration(ahead)} late; judged once a horizon of answers was learnt"
    ]
    champion = said.pop("champion")
    return judge(f"churn: no purchase within {Duration(ahead)}, {name}", at, truth, champion, baselines, said, notes)
