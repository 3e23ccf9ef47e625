"""Defects of ours, planted in three flows while a run lasts, its judge included. Each is met by events that
are in good form.

`resolve` raises on the name of an event, `profile` on a trait when it has counted half of the event, `match`
on a name when it has compared it. (`flows.lab.simulate.workers.Brittle` is the one of `learn`.) What meets
them is put aside, and the rest is as if it had never come.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

from flows.lab.demo.malformed import PLANTED
from flows.logic.fields import quality
from flows.logic.matching.stage import Stage

EVENT: Final = PLANTED  # in `resolve`
TRAIT: Final = "defect"  # in `profile`
NAME: Final = "defectiva metternich"  # in `match`, in its normal form


@contextmanager
def planted() -> Iterator[None]:
    """Plant the other two."""
    stated, step = quality.stated, Stage.step

    def half_counted(fact: Any, *args: Any) -> Any:
        found = stated(fact, *args)
        if TRAIT in fact.traits:
            raise ArithmeticError
        return found

    def half_compared(self: Stage, incoming: Sequence[Any], *args: Any) -> Any:
        made = step(self, incoming, *args)
        if any(NAME in record.values.values() for _, record in incoming):
            raise ArithmeticError
        return made

    with patch.object(quality, "stated", half_counted), patch.object(Stage, "step", half_compared):
        yield
