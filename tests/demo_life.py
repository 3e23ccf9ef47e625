"""The first minutes of the simulated shop."""

import itertools

from flows.lab.demo.shop import Item, Shop

RUN = 1_700_000_000


def first(seconds: float, *, seed: int = 7, rate: float = 400) -> list[Item]:
    return list(itertools.takewhile(lambda item: item.at_s < seconds, Shop(seed, RUN, rate).items()))


LONG = first(120)
