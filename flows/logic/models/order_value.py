"""What a purchase brings, if there is one: by the customer's own mean order so far, or the mean of first
orders.

Least squares on one variable, amount ≈ base + slope · (own mean order), held towards the mean of all by a few
made-up answers, so that a customer of one small order is not taken for a small one. The past halves after
20,000 purchases. Amounts are in the shop's currency.
"""

from math import expm1, isfinite

import msgspec

from flows.logic.models.features import MOST

_HALF_LIFE = 20_000.0  # purchases
_PRIOR = 20.0  # purchases' worth of doubt that an own mean says anything


class OrderValue(msgspec.Struct, frozen=True, array_like=True):
    """What was learnt, as it stands in a snapshot."""

    first: float = 0.0  # of a customer without orders
    base: float = 0.0
    slope: float = 0.0

    def of(self, order_size: float) -> float:
        """Return the expected amount; `order_size` is the feature of that name (0 before the first order)."""
        return max(self.base + self.slope * expm1(order_size), 0.0) if order_size > 0.0 else self.first

    @property
    def finite(self) -> bool:
        return isfinite(self.first) and isfinite(self.base) and isfinite(self.slope)


class OrderValueModel(msgspec.Struct, array_like=True):
    """Fading sums over the purchases that were answers."""

    firsts: float = 0.0
    first_sum: float = 0.0
    count: float = 0.0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0

    def learn(self, order_size: float, amount: float) -> None:
        """Learn one purchase; an impossible amount (NaN, negative, beyond a trillion) says nothing."""
        own = expm1(order_size)
        if not (0.0 <= amount <= MOST and 0.0 <= own <= MOST):
            return
        fade = 0.5 ** (1.0 / _HALF_LIFE)
        if order_size <= 0.0:
            self.firsts = self.firsts * fade + 1.0
            self.first_sum = self.first_sum * fade + amount
            return
        self.count = self.count * fade + 1.0
        self.x = self.x * fade + own
        self.y = self.y * fade + amount
        self.xx = self.xx * fade + own * own
        self.xy = self.xy * fade + own * amount

    def learnt(self) -> OrderValue:
        """Return what follows from the sums."""
        bought, spent = self.firsts + self.count, self.first_sum + self.y
        mean = spent / bought if bought else 0.0
        first = (self.first_sum + _PRIOR * mean) / (self.firsts + _PRIOR)
        if not self.count:
            return OrderValue(first, mean, 0.0)
        mean_x, mean_y = self.x / self.count, self.y / self.count
        spread = max(self.xx / self.count - mean_x * mean_x, 0.0)
        together = self.xy / self.count - mean_x * mean_y
        slope = 0.0
        if spread > 1e-9 * mean_x * mean_x:
            slope = min(max(together / spread, 0.0), 1.0) * self.count / (self.count + _PRIOR)
        return OrderValue(first, mean_y - slope * mean_x, slope)
