"""Task accuracy predicted from compute in two stages (3.2.1), before the herd is trained.

Stage 1: the negative log-likelihood per character of the right answer falls linearly with ln(training FLOPs). Stage 2:
accuracy is a sigmoid of that likelihood. Both are fitted on the models of the sweep; this stage sees nothing of the
herd but its sizes. `evaluation.multiple_choice` measures the same on the members afterwards.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Self

import numpy as np
from scipy.special import stdtrit

from stages.interface import Context, Metrics, Paths, StageError
from stages.scaling.fit import Herd
from stages.scaling.flops import FLOPS
from stages.scaling.least_squares import least_squares
from stages.statistics import percentile_interval

STEEPEST = 50.0
"""Bound of the sigmoid's slope per nat and character: steeper ones look the same on any sweep."""
MIDDLES = (-2.0, 12.0)
"""Bounds of the sigmoid's middle, in nats per character."""
FLOORS = (0.0, 0.95)
"""Bounds of the accuracy where right answers are unlikely."""
STARTS = tuple(product((1.0, 4.0, 10.0), (0.0, 0.5, 1.0, 2.0), (0.25,)))
LEVELS = 3
"""Training budgets that tell a line from a bend."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    herd: Annotated[Herd, "herd"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """sweep, herd -> nothing but metrics: both stages, and each member's predicted likelihood and accuracy."""
    points = [row for name in ("points", "extra") for row in json.loads((inputs["sweep"] / f"{name}.json").read_text())]
    herd = json.loads(inputs["herd"].read_text())
    first = Likelihood.fit(points, herd["fit"], config.herd.bootstrap, config.seed)
    second = Accuracy.fit(points, config.herd.bootstrap, config.seed)
    members = {name: predict(first, second, member) for name, member in herd["members"].items()}
    context.table(
        "predicted",
        [
            {"member": name, "nats per character": row["nats"]["value"], "accuracy": row["accuracy"]["value"]}
            for name, row in members.items()
        ],
    )
    return {
        "likelihood": first.numbers(),
        "accuracy": second.numbers(),
        "members": members,
        "runs": [
            {key: row[key] for key in ("flops", "parameters", "tokens", "answer_nats", "answer_accuracy")}
            for row in points
        ],
    }


def predict(first: "Likelihood", second: "Accuracy", member: Mapping[str, Any]) -> dict[str, Any]:
    """Nats per character of the right answer and accuracy of one new model of this size and these tokens."""
    value, nats = first.predict(member["parameters"], member["tokens"])
    accuracy = second.predict(np.concatenate([[value], nats]))
    return {
        "nats": {"value": value, **percentile_interval(nats), "n": first.runs},
        "accuracy": {
            "value": float(accuracy[0]),
            **percentile_interval(second.observed(accuracy[1:])),
            "n": second.runs,
        },
    }


@dataclass(frozen=True)
class Likelihood:
    """Stage 1: nats = intercept + slope ln(C) + off (ln(D) - ln D*(C))^2 per character of the right answer.

    The last term takes runs off the optimum back to it, so that all of them tell of the line. The line holds from the
    least compute on from which the runs do not bend away from it: below, models learn what answers look like. `draws`
    [R, 3] are the coefficients of redrawn sweeps, `scatters` [R] how far their runs lie from it, `noise` [R] where a
    new run would.
    """

    law: tuple[float, float]
    first_flops: float
    straight: bool
    coefficients: np.ndarray
    runs: int
    scatter: float
    draws: np.ndarray
    scatters: np.ndarray
    noise: np.ndarray

    @classmethod
    def fit(cls, points: Sequence[Mapping[str, Any]], fit: Mapping[str, Any], resamples: int, seed: int) -> Self:
        """Least squares; Student's uncertainty of the scatter. `fit` holds the power law of the optimal tokens."""
        if len(points) < 5:
            raise StageError(f"{len(points)} models in the sweep, the line of likelihood over compute needs 5")
        law = (fit["alpha"]["value"], fit["log_a"]["value"])
        flops, sizes, tokens, nats = (
            np.array([point[key] for point in points], float)
            for key in ("flops", "parameters", "tokens", "answer_nats")
        )
        columns = _columns(law, sizes, tokens)
        first, straight = straight_from(flops, columns, nats)
        columns, nats = columns[flops >= first], nats[flops >= first]
        inverse = np.linalg.pinv(columns)
        coefficients = inverse @ nats
        freedom = len(nats) - 3
        scatter = float(np.sqrt(np.sum((nats - columns @ coefficients) ** 2) / freedom))
        generator = np.random.default_rng(seed)
        scatters = scatter * np.sqrt(freedom / generator.chisquare(freedom, resamples))
        redrawn = columns @ coefficients + scatters[:, None] * generator.normal(size=(resamples, len(nats)))
        return cls(
            law,
            first,
            straight,
            coefficients,
            len(nats),
            scatter,
            redrawn @ inverse.T,
            scatters,
            generator.normal(size=resamples),
        )

    def predict(self, parameters: float, tokens: float) -> tuple[float, np.ndarray]:
        """The nats of one new model, and [R] what they may be: none are below 0."""
        row = _columns(self.law, np.array([parameters]), np.array([tokens]))[0]
        nats = np.concatenate([[row @ self.coefficients], self.draws @ row + self.scatters * self.noise])
        return max(0.0, float(nats[0])), np.maximum(0.0, nats[1:])

    def numbers(self) -> dict[str, Any]:
        """Slope per e-fold of compute with its interval, the other coefficients, the scatter, and where it holds."""
        intercept, slope, off = map(float, self.coefficients)
        slope_interval = {"value": slope, **percentile_interval(self.draws[:, 1]), "n": self.runs}
        return {
            "intercept": intercept,
            "slope": slope_interval,
            "off_optimum": off,
            "residual": self.scatter,
            "first_flops": self.first_flops,
            "straight": self.straight,
        }


def straight_from(flops: np.ndarray, columns: np.ndarray, nats: np.ndarray) -> tuple[float, bool]:
    """The least training FLOPs from which on the runs do not bend away from a line in ln(C), and whether there are any:
    whether the 95% interval of a quadratic term holds 0. Where the runs cannot tell, or bend to the end, the last
    budgets that could."""
    levels = np.unique(flops)
    first = float(levels[0])
    for level in levels[: 1 - LEVELS]:
        mine = flops >= level
        bent = np.column_stack([columns[mine], (columns[mine, 1] - columns[mine, 1].mean()) ** 2])
        freedom = len(bent) - bent.shape[1]
        if freedom < 1:
            break
        first = float(level)
        coefficients = np.linalg.pinv(bent) @ nats[mine]
        scatter = np.sqrt(np.sum((nats[mine] - bent @ coefficients) ** 2) / freedom)
        error = scatter * np.sqrt(np.linalg.pinv(bent.T @ bent)[3, 3])
        if abs(coefficients[3]) <= stdtrit(freedom, 0.975) * error:
            return first, True
    return first, False


@dataclass(frozen=True)
class Accuracy:
    """Stage 2: accuracy = floor + (1 - floor) / (1 + exp(slope (nats - middle))): 1 where the right answer is sure, and
    where it is unlikely a floor of its own, since which answers are common tells more than a guess. `draws` [R, 3] are
    (slope, middle, floor) of redrawn sweeps."""

    chance: float
    questions: int
    theta: np.ndarray
    runs: int
    residual: float
    draws: np.ndarray
    seed: int

    @classmethod
    def fit(cls, points: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Self:
        """Least squares; redrawn accuracies are those of as many independent questions."""
        chance, asked = float(points[0]["chance"]), int(points[0]["questions"])
        nats, right = (np.array([p[key] for p in points], float) for key in ("answer_nats", "answer_accuracy"))
        found, cost = _sigmoid_fit(np.array(STARTS), nats, np.tile(right, (len(STARTS), 1)))
        theta = found[cost.argmin()]
        expected = _sigmoid(theta[None], nats)[0]
        redrawn = np.random.default_rng(seed).binomial(asked, expected, (resamples, len(points))) / asked
        draws, _ = _sigmoid_fit(np.tile(theta, (resamples, 1)), nats, redrawn)
        residual = float(np.sqrt(np.mean((right - expected) ** 2)))
        return cls(chance, asked, theta, len(points), residual, draws, seed)

    def predict(self, nats: np.ndarray) -> np.ndarray:
        """Accuracy at nats[0] by the law itself, and at each of nats[1:], [R], by one of the redrawn ones."""
        thetas = np.concatenate([self.theta[None], self.draws])
        return _sigmoid(thetas, nats[:, None])[:, 0]

    def observed(self, accuracy: np.ndarray) -> np.ndarray:
        """What so many questions would show of accuracies [R]."""
        return np.random.default_rng(self.seed + 1).binomial(self.questions, accuracy) / self.questions

    def numbers(self) -> dict[str, Any]:
        """The sigmoid with its intervals."""
        names = ("slope", "middle", "floor")
        named = {
            name: {"value": float(value), **percentile_interval(draws), "n": self.runs}
            for name, value, draws in zip(names, self.theta, self.draws.T, strict=True)
        }
        return {**named, "chance": self.chance, "questions": self.questions, "residual": self.residual}


def _columns(law: tuple[float, float], parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """[runs, 3]: 1, ln(C), and the squared distance of ln(D) from the optimum."""
    alpha, log_a = law
    log_flops = np.log(FLOPS * parameters * tokens)
    return np.stack([np.ones_like(log_flops), log_flops, (np.log(tokens) - log_a - alpha * log_flops) ** 2], axis=-1)


def _sigmoid(theta: np.ndarray, nats: np.ndarray) -> np.ndarray:
    """theta [R, 3] and nats [n] or [R, n] -> [R, n]."""
    slope, centre, floor = (theta[:, [place]] for place in range(3))
    return floor + (1 - floor) / (1 + np.exp(np.clip(slope * (nats - centre), -500, 500)))


def _sigmoid_fit(starts: np.ndarray, nats: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """theta [R, 3] and cost [R] of the sigmoids through accuracies right [R, runs]."""

    def slopes(theta: np.ndarray) -> np.ndarray:
        slope, centre, floor = (theta[:, [place]] for place in range(3))
        share = (_sigmoid(theta, nats) - floor) / (1 - floor)
        steep = (1 - floor) * share * (1 - share)
        return np.stack([-steep * (nats - centre), steep * slope, 1 - share], axis=-1)

    bounds = tuple(zip((0.0, STEEPEST), MIDDLES, FLOORS, strict=True))
    return least_squares(starts, lambda theta: _sigmoid(theta, nats) - right, slopes, (bounds[0], bounds[1]))
