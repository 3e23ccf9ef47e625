"""Online correction of probabilities: logit -> slope · logit + shift (Platt 1999, "Probabilistic outputs for
support vector machines").

Answers come late, so a model says what was true a horizon ago; and one that learns with weights is wrong on
purpose. Both are corrected here, by the answers of late. As the correction is linear in the logit, it
disappears into a snapshot's weights.
"""

from math import exp

import msgspec

_HALF_LIFE = 20_000.0  # answers
_PRIOR = 50.0  # precision of "as it is" (slope 1, shift 0): some two hundred answers' worth
_LOGIT_MAX = 30.0
_SLOPE_LEAST = 0.05  # a correction never turns a model around


class Calibration(msgspec.Struct, array_like=True):
    """Two numbers and their evidence: a 2 × 2 precision that fades."""

    slope: float = 1.0
    shift: float = 0.0
    aa: float = 0.0
    ab: float = 0.0
    bb: float = 0.0

    def corrected(self, logit: float) -> float:
        """Return the corrected logit."""
        return self.slope * logit + self.shift

    def learn(self, logits: list[float], answers: list[bool]) -> None:
        """Take one Newton step over a block, towards its answers."""
        faded = 0.5 ** (len(logits) / _HALF_LIFE)
        aa, ab, bb = self.aa * faded, self.ab * faded, self.bb * faded
        towards_a = towards_b = 0.0
        for raw, answer in zip(logits, answers, strict=True):
            logit = _held(raw)
            said = 1.0 / (1.0 + exp(-_held(self.corrected(logit))))
            weight, miss = said * (1.0 - said), answer - said
            aa += weight * logit * logit
            ab += weight * logit
            bb += weight
            towards_a += miss * logit
            towards_b += miss
        self.aa, self.ab, self.bb = aa, ab, bb
        aa, bb = aa + _PRIOR, bb + _PRIOR
        scale = aa * bb - ab * ab
        self.slope = max(self.slope + (bb * towards_a - ab * towards_b) / scale, _SLOPE_LEAST)
        self.shift += (aa * towards_b - ab * towards_a) / scale


def _held(logit: float) -> float:
    return min(max(logit, -_LOGIT_MAX), _LOGIT_MAX)
