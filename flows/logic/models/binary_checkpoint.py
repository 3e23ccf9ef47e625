"""The trainer of a binary model as it lies in a checkpoint."""

import msgspec

from flows.logic.models.anomaly import Usual
from flows.logic.models.calibration import Calibration
from flows.logic.models.duel import Duel
from flows.logic.models.order_value import OrderValueModel


class SideState(msgspec.Struct, array_like=True):
    """What a trainer keeps of each learner."""

    learner: bytes
    calibration: Calibration
    progress: list[tuple[bool, float]]
    duel: Duel


class TrainerState(msgspec.Struct, array_like=True):
    """The whole trainer. The first three fields stand where every release has them."""

    features: tuple[str, ...]
    _pipeline: bytes
    version: int
    examples: int
    trained_ms: int
    dropped: dict[str, int]
    served: list[tuple[bool, float]]
    champion: str = ""
    sides: dict[str, SideState] = {}
    block: list[tuple[list[float], bool, list[float]]] = []
    watch: bytes = b""
    drifts: dict[str, int] = {}
    promotions: int = 0
    confirmed: int = 0
    order_values: OrderValueModel = msgspec.field(default_factory=OrderValueModel)
    usual: Usual | None = None
    delays: dict[int, int] = {}
    history: list[tuple[int, dict[str, float]]] = []
    request: int = 0


class VersionState(msgspec.Struct, array_like=True):
    """As much of a checkpoint as every release can read."""

    features: tuple[str, ...]
    _pipeline: bytes
    version: int
