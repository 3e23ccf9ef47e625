"""Whether the sweep comes along."""

from typing import Final

from schemas.records.retention import Sweep

JUMP_MS: Final = 86_400_000  # between two looks: more is a clock that jumped, or a deployment that was off
BEHIND_MS: Final = 7 * 86_400_000  # without coming to its end


def is_behind(sweep: Sweep, now_ms: int) -> bool:
    """Return whether the sweep was at work once, and stands still or does not come to its end."""
    came_ms = sweep.ended_ms or sweep.began_ms
    stands = bool(sweep.clock_ms) and now_ms - sweep.clock_ms > JUMP_MS
    return stands or (bool(came_ms) and now_ms - came_ms > BEHIND_MS)
