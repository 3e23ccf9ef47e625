"""`millrace eval churn`: would the churn model have known, week by week, who will not come back?

The purchases of the file are replayed on the real path: each becomes a fact that is added to its customer's
fragment; at each step the model in force says what it thinks of every customer known by then, and the
question waits; when the horizon has passed it is answered as the shard would, and the trainer learns it. So
nothing is used before it could have been known.
"""

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.lab.evaluate.baselines import BgNbd, Refitted
from flows.lab.evaluate.headings import CUSTOMER, QUANTITY, TIME, VALUE
from flows.lab.evaluate.input_table import Table, chosen, guesses, read
from flows.lab.evaluate.judge import Case, Verdict, day, judge
from flows.lab.evaluate.purchases import Purchases, purchases_of
from flows.lab.evaluate.spans import as_option, in_words, rounded, span_of
from flows.logic.models.binary import BINARY
from flows.logic.models.binary_trainer import BinaryTrainer
from flows.logic.models.features import DAY_MS, features
from flows.logic.profile.fragments import FragmentRules, dedupe_id
from schemas.bilingual import Words
from schemas.config import Rules, Shards, Value
from schemas.errors import Unusable
from schemas.records.customer_profile import Fragment
from schemas.units import Duration
from schemas.wire.events import Fact
from schemas.wire.triggers import Example

_HORIZON = Duration.parse("13w")
_HORIZONS_LEAST = 4  # of history: watched, asked, answered, judged
_STEPS = 13  # in a horizon
_ORDER = "Order Completed"


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
    quantity: str | None,
    horizon: str | None,
    step: str | None,
    encoding: str | None,
    show: Callable[[str], None],
) -> Verdict:
    """Return the verdict. `show` is told how far it is. Raises `Unusable`."""
    table = read(path, encoding)
    guessed: list[str] = []
    customer = chosen(table, customer, "customer", CUSTOMER, guessed.append)
    time = chosen(table, time, "time", TIME, guessed.append, but=(customer,), fits=table.may_be_time)
    table, unknown = table.known(customer, time)
    table = table.dated(time)
    value = _found(table, value, "value", VALUE, (customer, time), guessed)
    quantity = _found(table, quantity, "quantity", QUANTITY, (customer, time, value), guessed)
    bought = purchases_of(table, customer, time, value, quantity)
    if not len(bought.times):
        raise Unusable(f"{path.name}: no row is a purchase: {'; '.join(note.en for note in table.notes)}")
    ahead, every = _spans(bought, horizon, step, guessed)
    notes = guesses(guessed)
    if unknown:
        notes.append(
            Words(
                f"{unknown} rows without a customer or a time were left out",
                f"有 {unknown} 行没有客户或时间，未计入",
            )
        )
    notes += table.notes
    return _replay(bought, ahead, every, path.name, notes, show)


def _found(
    table: Table,
    given: str | None,
    what: str,
    words: Sequence[str],
    but: Sequence[str | None],
    guessed: list[str],
) -> str | None:
    """A column of numbers that a file need not have: the one that was named, or one that its name gives
    away."""
    if given is not None:
        return given
    found = table.guess(words, but=[name for name in but if name], fits=table.is_numeric)
    guessed += [f"--{what} {found}"] if found else []
    return found


def _spans(
    purchases: Purchases, horizon: str | None, step: str | None, guessed: list[str]
) -> tuple[int, int]:
    span = int(purchases.times[-1] - purchases.times[0])
    if horizon is not None:
        ahead = span_of("--horizon", horizon)
    else:
        whole = DAY_MS if span > 60 * DAY_MS else 1000
        ahead = int(_HORIZON) if span >= 5 * int(_HORIZON) else max(span // 6 // whole, 1) * whole
        guessed.append(f"--horizon {as_option(ahead)}")
    every = span_of("--step", step) if step is not None else rounded(ahead // _STEPS)
    if step is None:
        guessed.append(f"--step {as_option(every)}")
    if every > ahead:
        raise Unusable(f"a --step of {in_words(every).en} is longer than a --horizon of {in_words(ahead).en}")
    if span < _HORIZONS_LEAST * ahead:
        raise Unusable(
            f"the file spans {span / DAY_MS:.0f} days; a horizon of {in_words(ahead).en} needs "
            f"{_HORIZONS_LEAST} times as much ({_HORIZONS_LEAST * ahead / DAY_MS:.0f} "
            "days): try a shorter --horizon"
        )
    return ahead, every


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
        fact = Fact(
            type="track",
            name=_ORDER,
            time_ms=time_ms,
            received_ms=time_ms,
            resolved_ms=time_ms,
            message=message,
            channel="file",
            subject=b"",
            properties={"total": value},
            traits={},
            sealed={},
        )
        self._rules.add(self.fragments[customer], fact, dedupe_id(message))
        self.known = max(self.known, customer + 1)
        day = float(time_ms // DAY_MS)
        if self.days[0, customer] == 0:
            self.days[:, customer] = 1, day, day
        elif day > self.days[2, customer]:
            self.days[0, customer] += 1
            self.days[2, customer] = day

    def repeats(self, now_ms: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return x, t_x and T in weeks."""
        days, first, last = self.days[:, : self.known]
        return days - 1.0, (last - first) / 7.0, np.maximum(now_ms / DAY_MS - first, last - first) / 7.0


def _replay(
    purchases: Purchases, ahead: int, every: int, name: str, notes: list[Words], show: Callable[[str], None]
) -> Verdict:
    model = BINARY["churn"]
    trainer = BinaryTrainer(model.name, model.features, Rules().churn.learning_rate)
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
            customers.buy(
                int(purchases.customers[row]),
                int(purchases.times[row]),
                float(purchases.values[row]),
                str(row),
            )
        bought = upto

    def answer(asked: Asked) -> None:
        buy(asked.at_ms + ahead)
        events = np.array([fragment.events for fragment in customers.fragments[: len(asked.events)]])
        gone = events == asked.events
        champions = asked.said[trainer.champion]
        trainer.learn(
            Example(
                model=model.name,
                customer=b"",
                asked_ms=asked.at_ms,
                answered_ms=asked.at_ms + ahead,
                features=row,
                predicted=said,
                version=trainer.version,
                label=float(label),
            )
            for row, said, label in zip(asked.rows.tolist(), champions, gone.tolist(), strict=True)
        )
        answered.append((asked.rows, gone))
        if asked.baselines:
            done.append(
                (asked._replace(said={"champion": champions, **asked.said}, rows=asked.rows[:0]), gone)
            )

    def ask(now: int) -> Asked:
        buy(now)
        fragments = customers.fragments[: customers.known]
        rows = np.array([features(fragment, now) for fragment in fragments], np.float32)[:, model.places]
        said = trainer.probabilities(rows.astype(float))
        beside: dict[str, NDArray[np.float64]] = {}
        if now >= judged_from:
            known = np.concatenate([rows for rows, _ in answered]).astype(float)
            truth = np.concatenate([gone for _, gone in answered])
            refitted.fit(known, truth)
            recency.fit(known[:, [place]], truth)
            counts = customers.repeats(now)
            bgnbd.fit(*counts)
            beside = {
                "recency": recency.predict(rows[:, [place]].astype(float)),
                "batch_lr": refitted.predict(rows.astype(float)),
                "bg_nbd": bgnbd.silent(*counts, ahead / DAY_MS / 7.0),
            }
        return Asked(
            at_ms=now,
            rows=rows,
            events=np.array([fragment.events for fragment in fragments]),
            said=said,
            baselines=beside,
        )

    for count, now in enumerate(steps, 1):
        while waiting and waiting[0].at_ms + ahead <= now:
            answer(waiting.popleft())
        waiting.append(ask(now))
        show(f"step {count} of {len(steps)}")
    while waiting:
        answer(waiting.popleft())
    if not done:
        raise Unusable(
            f"{name}: no question could be both asked and answered; try a shorter --horizon or --step"
        )
    truth = np.concatenate([gone for _, gone in done])
    if truth.all() or not truth.any():
        raise Unusable(
            f"{name}: {'nobody' if truth.all() else 'everybody'} came back "
            "within the horizon; there is nothing to tell apart"
        )
    at = np.concatenate([np.full(len(gone), asked.at_ms) for asked, gone in done])
    said = {who: np.concatenate([np.array(asked.said[who]) for asked, _ in done]) for who in done[0][0].said}
    baselines = {
        who: np.concatenate([asked.baselines[who] for asked, _ in done]) for who in done[0][0].baselines
    }
    champion = said.pop("champion")
    notes += [_how(customers.known, bought, len(steps), len(done), ahead, every)]
    case = Case(
        kind="churn",
        title=Words(
            f"Churn: no purchase within {in_words(ahead).en}, {name}",
            f"流失：{in_words(ahead).zh}内没有再购买，{name}",
        ),
        subject=Words(
            f"did not buy again within {in_words(ahead).en}", f"在 {in_words(ahead).zh}内没有再购买"
        ),
        data=_judged(len(steps), len(done), ahead, at),
        at_ms=at,
        units=np.concatenate([np.arange(len(gone)) for _, gone in done]),
        moments=True,
        day=day,
    )
    return judge(case, truth, champion, baselines, said, notes)


def _how(customers: int, bought: int, steps: int, judged: int, ahead: int, every: int) -> Words:
    far, often = in_words(ahead), in_words(every)
    return Words(
        f"{customers:,} customers, {bought:,} purchases; asked about everyone known every {often.en}, for "
        f"the first time after {far.en}; answers {far.en} late; of {steps} snapshots {judged} could be "
        "judged, the ones before taught the model",
        f"{customers:,} 位客户，{bought:,} 次购买；每 {often.zh}询问一次所有已知客户，首次在 {far.zh}之后；"
        f"答案晚 {far.zh}得知；共 {steps} 个时点，其中 {judged} 个可以评判，之前的用于学习",
    )


def _judged(steps: int, judged: int, ahead: int, at: NDArray[np.int64]) -> Words:
    since, until = day(int(at[0])), day(int(at[-1]))
    return Words(
        f"{judged} of {steps} snapshots could be judged, from {since} to {until}, each with an answer "
        f"{in_words(ahead).en} later",
        f"{steps} 个时点中有 {judged} 个可以评判（{since} 至 {until}），每个都在 "
        f"{in_words(ahead).zh}后核对了结果",
    )
