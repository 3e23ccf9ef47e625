"""The work behind `millrace eval bandit`: policies play a history of full information, or are judged on a
log."""

from math import inf
from typing import Any

import msgspec
import numpy as np
import typer

from flows.lab.evaluate.bandit_table import contexts, pick
from flows.lab.evaluate.input_table import Table
from flows.lab.evaluate.tops import Z
from flows.logic.bandit.choose import ActionSet, probabilities, uniform
from flows.logic.bandit.learner import Learner
from flows.logic.bandit.offpolicy import Logged, evaluate
from flows.logic.bandit.scale import Floats, Scale
from flows.logic.bandit.settings import ARMS_MAX, POLICIES, Action, Policy, Settings

_CURVE_POINTS = 200
_FOLDS = 5  # of the ceiling
_FIT_SHARE = 0.5  # of a log: what the candidate policies are learnt from; they are judged on the rest


def play_all(table: Table, context: str, rewards: str, floor: float, half_life: int) -> dict[str, Any]:
    """Play every policy on the same rows; see `bandit` in docs/next-best-action.md for the keys."""
    names = pick(table, rewards)
    table = table.measured(*names)
    earned = np.column_stack([table.numbers(name) for name in names])
    if not 2 <= len(names) <= ARMS_MAX:
        raise typer.BadParameter(f"--rewards names {len(names)} columns, expected 2 to {ARMS_MAX} actions")
    columns = (
        pick(table, context, without=names)
        if context
        else [name for name in table.columns if name not in names]
    )
    features, x = contexts(table, columns)
    fractions = bool(((earned >= 0.0) & (earned <= 1.0)).all())
    policies: list[Policy] = [policy for policy in POLICIES if fractions or not policy.startswith("logistic")]
    default: Policy = "logistic_ucb" if fractions else "linucb"
    constant = int(earned.mean(axis=0).argmax())
    results, curves, over_constant = {}, {}, [0.0, 0.0, 0.0]
    for policy in policies:
        got = play(x, earned, features, names, Settings(policy=policy, floor=floor, half_life=half_life))
        half = got[len(got) // 2 :]
        results[policy] = {"mean_reward": float(got.mean()), "second_half": float(half.mean())}
        if policy == default:
            over_constant = _difference(got - earned[:, constant])
        steps = np.linspace(1, len(got), min(_CURVE_POINTS, len(got)), dtype=int)
        curves[policy] = [
            (int(n), float(mean))
            for n, mean in zip(steps, (np.cumsum(got)[steps - 1] / steps).tolist(), strict=True)
        ]
    return {
        "mean_reward": results[default]["mean_reward"],
        "second_half": results[default]["second_half"],
        "default": default,
        "policies": results,
        "best_constant": float(earned[:, constant].mean()),
        "best_constant_action": names[constant],
        "over_best_constant": over_constant,
        "uniform": float(earned.mean()),
        "ceiling": ceiling(x, earned),
        "oracle": float(earned.max(axis=1).mean()),
        "rounds": len(earned),
        "arms": len(names),
        "features": len(features),
        "fractions": fractions,
        "context": columns,
        "curves": curves,
    }


def _difference(of_rounds: Floats) -> list[float]:
    """Mean and 95 % interval of what two policies earned in the same rounds."""
    half = Z * float(of_rounds.std(ddof=1)) / len(of_rounds) ** 0.5 if len(of_rounds) > 1 else inf
    mean = float(of_rounds.mean())
    return [mean, mean - half, mean + half]


def play(
    x: Floats, earned: Floats, features: tuple[str, ...], names: list[str], settings: Settings
) -> Floats:
    """Return what the policy earns in each round; it learns from its own reward alone, after each round."""
    actions = [Action(name=name) for name in names]
    learner = Learner("eval", features, actions, settings)
    action_set = ActionSet(actions)
    got = np.empty(len(x))
    for row, now in enumerate(x):
        chances = np.cumsum(probabilities(learner.forecast(now), action_set, settings))
        arm = min(int(np.searchsorted(chances, uniform(b"%d" % row), side="right")), len(names) - 1)
        got[row] = earned[row, arm]
        learner.add(now, arm, got[row])
    return got


def ceiling(x: Floats, earned: Floats) -> float:
    """Return what a linear policy earns that has seen every reward of all other rows (five folds): no learner
    can be expected to.

    Where exactly one action pays 1 it is a logistic regression for the paying action, else a least-squares
    fit for each.
    """
    from sklearn.linear_model import LogisticRegression

    z = _scaled(x)
    design = np.column_stack((np.ones(len(z)), z))
    one_pays = set(np.unique(earned)) <= {0.0, 1.0} and (earned.sum(axis=1) == 1.0).all()
    paying = earned.argmax(axis=1)
    chosen = np.zeros(len(earned), dtype=np.int64)
    for fold in range(_FOLDS):
        out = np.arange(len(earned)) % _FOLDS == fold
        if one_pays and len(set(paying[~out])) > 1:
            chosen[out] = LogisticRegression(max_iter=500).fit(z[~out], paying[~out]).predict(z[out])
        else:
            chosen[out] = (design[out] @ np.linalg.lstsq(design[~out], earned[~out], rcond=None)[0]).argmax(
                axis=1
            )
    return float(earned[np.arange(len(earned)), chosen].mean())


def judge_log(
    table: Table, context: str, action: str, reward: str, propensity: str, settings: Settings
) -> dict[str, Any]:
    """Judge candidates that are learnt from the first half of the log and judged on the second, each against
    what the log itself earned."""
    table = table.measured(reward, propensity)
    columns = pick(table, context, without=[action, reward, propensity]) if context else []
    features, x = contexts(table, columns)
    names, taken = np.unique(np.array(table.column(action)), return_inverse=True)
    if len(names) > ARMS_MAX:
        raise typer.BadParameter(f"--action has {len(names)} values, at most {ARMS_MAX} actions are taken")
    paid = table.numbers(reward)
    try:
        log = Logged(_scaled(x), taken.astype(np.int64), paid, _shares(table, propensity))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    cut = int(len(paid) * _FIT_SHARE)
    if cut < 2:
        raise typer.BadParameter(f"a log of {len(paid)} decisions is too short")
    fractions = bool(((paid >= 0.0) & (paid <= 1.0)).all())
    if not fractions:
        settings = msgspec.structs.replace(settings, policy="linucb")
    rest = Logged(log.contexts[cut:], log.actions[cut:], log.rewards[cut:], log.propensities[cut:])
    judged = {}
    for name, policy in _candidates(x, log, features, [str(name) for name in names], cut, settings).items():
        found = evaluate(rest, policy)
        judged[name] = {
            "mean_reward": found.dr.value,
            **{
                key: [e.value, e.low, e.high]
                for key, e in (
                    ("ips", found.ips),
                    ("snips", found.snips),
                    ("dr", found.dr),
                    ("gain", found.gain),
                )
            },
            "effective_sample_size": found.effective_sample_size,
            "effective_rewards": found.effective_rewards,
            "verdict": found.verdict,
            "reason": found.reason,
        }
    verdicts = {entry["verdict"] for entry in judged.values()}
    return {
        "mean_reward": float(paid.mean()),
        "second_half": float(rest.rewards.mean()),
        "policies": judged,
        "verdict": "cannot tell" if verdicts == {"cannot tell"} else "see policies",
        "decisions": len(paid),
        "rewarded": int((paid != 0.0).sum()),
        "arms": len(names),
        "features": len(features),
        "fractions": fractions,
        "context": columns,
    }


def _shares(table: Table, name: str) -> Floats:
    """Probabilities; also where they stand as `3.4%`."""
    return table.numbers(name) / (
        100.0 if any("%" in text or "％" in text for text in table.column(name)) else 1.0
    )


def _candidates(
    x: Floats, log: Logged, features: tuple[str, ...], names: list[str], cut: int, settings: Settings
) -> dict[str, Floats]:
    """The probability of each action in each decision of the second half, under policies that know the first
    half only."""
    arms, rest = len(names), len(x) - cut
    sums = np.bincount(log.actions[:cut], log.rewards[:cut], minlength=arms)
    counts = np.bincount(log.actions[:cut], minlength=arms)
    pooled = log.rewards[:cut].mean()
    constant = np.zeros((rest, arms))
    constant[:, int(((sums + pooled * 10.0) / (counts + 10.0)).argmax())] = 1.0
    actions = [Action(name=name) for name in names]
    learner = Learner("eval", features, actions, settings)
    for row in range(cut):
        learner.add(x[row], int(log.actions[row]), float(log.rewards[row]))
    action_set = ActionSet(actions)
    learnt = np.array([probabilities(learner.forecast(now), action_set, settings) for now in x[cut:]])
    return {"uniform": np.full((rest, arms), 1.0 / arms), "best_constant": constant, settings.policy: learnt}


def _scaled(x: Floats) -> Floats:
    """All contexts in the coordinates of a learner that has seen them all, without the intercept."""
    scale = Scale(x.shape[1])
    for row in x:
        scale.add(row)
    frame = scale.frame()
    return np.array([frame.place(row)[1:] for row in x]).reshape(x.shape)
