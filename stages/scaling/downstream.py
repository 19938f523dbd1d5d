"""Predicts task accuracy from compute in two stages (3.2.1), before the herd is trained.

Stage 1: the negative log-likelihood per character of the correct answer is linear in ln(training FLOPs). Stage 2:
accuracy is a sigmoid of that likelihood. Both are fitted on the models of the sweep; of the herd only the sizes are
used. `evaluation.multiple_choice` measures the same quantities on the trained members.
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
from stages.scaling.flops import FLOPS_PER_PARAMETER
from stages.scaling.least_squares import least_squares
from stages.statistics import bootstrap_estimate

MAX_SLOPE = 50.0
"""Largest slope of the sigmoid per nat and character; a sweep cannot distinguish steeper ones."""
MIDPOINT_BOUNDS = (-2.0, 12.0)
"""Bounds of the sigmoid's midpoint, in nats per character."""
FLOOR_BOUNDS = (0.0, 0.95)
"""Bounds of the accuracy at low likelihood."""
INITIAL_GUESSES = tuple(product((1.0, 4.0, 10.0), (0.0, 0.5, 1.0, 2.0), (0.25,)))
MIN_BUDGETS = 3
"""Fewest compute budgets that distinguish a line from a curve."""


@dataclass(frozen=True)
class Config:
    seed: Annotated[int, "seed"]
    herd: Annotated[Herd, "herd"]


def run(config: Config, inputs: Paths, outputs: Paths, context: Context) -> Metrics:
    """sweep, herd -> no outputs; metrics: both fits, and each member's predicted likelihood and accuracy."""
    files = [inputs["sweep"] / f"{name}.json" for name in ("points", "extra")]
    points = [point for file in files for point in json.loads(file.read_text())]
    herd = json.loads(inputs["herd"].read_text())
    likelihood = LikelihoodFit.fit(points, herd["fit"], config.herd.bootstrap, config.seed)
    accuracy = AccuracyFit.fit(points, config.herd.bootstrap, config.seed)
    members = {name: predict_member(likelihood, accuracy, member) for name, member in herd["members"].items()}
    context.table(
        "predicted",
        [
            {"member": name, "nats per character": each["nats"]["value"], "accuracy": each["accuracy"]["value"]}
            for name, each in members.items()
        ],
    )
    columns = ("flops", "parameters", "tokens", "answer_nats", "answer_accuracy")
    return {
        "likelihood": likelihood.to_json(),
        "accuracy": accuracy.to_json(),
        "members": members,
        "runs": [{key: point[key] for key in columns} for point in points],
    }


def predict_member(likelihood: "LikelihoodFit", accuracy: "AccuracyFit", member: Mapping[str, Any]) -> dict[str, Any]:
    """Predicted nats per character of the correct answer, and accuracy, of a new model of the member's size."""
    nats, nats_draws = likelihood.predict(member["parameters"], member["tokens"])
    values = accuracy.predict(np.concatenate([[nats], nats_draws]))
    return {
        "nats": bootstrap_estimate(nats, nats_draws, likelihood.runs),
        "accuracy": bootstrap_estimate(float(values[0]), accuracy.sample_observed(values[1:]), accuracy.runs),
    }


@dataclass(frozen=True)
class LikelihoodFit:
    """Stage 1: nats per character of the correct answer = intercept + slope ln(C) + off (ln(D) - ln D*(C))^2.

    The last term corrects for the distance from the optimum, so that all runs constrain the line. The line is fitted
    from the smallest compute above which the runs are linear; below it, models still learn the format of answers.
    `draws` [R, 3] are the coefficients of resampled sweeps, `scatters` [R] their residual standard deviations, `noise`
    [R] the standard normal residual of a new run.
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
        """Least squares; Student's t uncertainty of the scatter. `fit` has the power law of the optimal tokens."""
        if len(points) < 5:
            raise StageError(f"{len(points)} models in the sweep; the fit of likelihood over compute needs 5")
        law = (fit["alpha"]["value"], fit["log_a"]["value"])
        flops, sizes, tokens, nats = (
            np.array([point[key] for point in points], float)
            for key in ("flops", "parameters", "tokens", "answer_nats")
        )
        columns = _columns(law, sizes, tokens)
        first, straight = find_linear_range(flops, columns, nats)
        columns, nats = columns[flops >= first], nats[flops >= first]
        inverse = np.linalg.pinv(columns)
        coefficients = inverse @ nats
        degrees_of_freedom = len(nats) - 3
        scatter = float(np.sqrt(np.sum((nats - columns @ coefficients) ** 2) / degrees_of_freedom))
        generator = np.random.default_rng(seed)
        scatters = scatter * np.sqrt(degrees_of_freedom / generator.chisquare(degrees_of_freedom, resamples))
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
        """The nats per character of a new model, and draws [R] of them; not below 0."""
        row = _columns(self.law, np.array([parameters]), np.array([tokens]))[0]
        nats = np.concatenate([[row @ self.coefficients], self.draws @ row + self.scatters * self.noise])
        return max(0.0, float(nats[0])), np.maximum(0.0, nats[1:])

    def to_json(self) -> dict[str, Any]:
        """Slope per e-fold of compute with its interval, the other coefficients, the scatter, and the linear range."""
        intercept, slope, off = map(float, self.coefficients)
        slope_interval = bootstrap_estimate(slope, self.draws[:, 1], self.runs)
        return {
            "intercept": intercept,
            "slope": slope_interval,
            "off_optimum": off,
            "residual": self.scatter,
            "first_flops": self.first_flops,
            "straight": self.straight,
        }


def find_linear_range(flops: np.ndarray, columns: np.ndarray, nats: np.ndarray) -> tuple[float, bool]:
    """The smallest training FLOPs above which the runs are linear in ln(C), and whether there are any. Runs are linear
    if the 95% interval of a quadratic term contains 0. If no range is linear, the last one that could be tested."""
    budgets = np.unique(flops)
    first = float(budgets[0])
    for budget in budgets[: 1 - MIN_BUDGETS]:
        above = flops >= budget
        quadratic = np.column_stack([columns[above], (columns[above, 1] - columns[above, 1].mean()) ** 2])
        degrees_of_freedom = len(quadratic) - quadratic.shape[1]
        if degrees_of_freedom < 1:
            break
        first = float(budget)
        coefficients = np.linalg.pinv(quadratic) @ nats[above]
        scatter = np.sqrt(np.sum((nats[above] - quadratic @ coefficients) ** 2) / degrees_of_freedom)
        error = scatter * np.sqrt(np.linalg.pinv(quadratic.T @ quadratic)[3, 3])
        if abs(coefficients[3]) <= stdtrit(degrees_of_freedom, 0.975) * error:
            return first, True
    return first, False


@dataclass(frozen=True)
class AccuracyFit:
    """Stage 2: accuracy = floor + (1 - floor) / (1 + exp(slope (nats - middle))). The floor is fitted: to know which
    answers are frequent is better than chance. `draws` [R, 3] are (slope, middle, floor) of resampled sweeps."""

    chance: float
    questions: int
    theta: np.ndarray
    runs: int
    residual: float
    draws: np.ndarray
    seed: int

    @classmethod
    def fit(cls, points: Sequence[Mapping[str, Any]], resamples: int, seed: int) -> Self:
        """Least squares; the accuracies of resampled sweeps are binomial in the number of questions."""
        chance, questions = float(points[0]["chance"]), int(points[0]["questions"])
        nats, accuracy = (np.array([p[key] for p in points], float) for key in ("answer_nats", "answer_accuracy"))
        thetas, costs = _fit_sigmoids(np.array(INITIAL_GUESSES), nats, np.tile(accuracy, (len(INITIAL_GUESSES), 1)))
        theta = thetas[costs.argmin()]
        expected = _sigmoid(theta[None], nats)[0]
        resampled = np.random.default_rng(seed).binomial(questions, expected, (resamples, len(points))) / questions
        draws, _ = _fit_sigmoids(np.tile(theta, (resamples, 1)), nats, resampled)
        residual = float(np.sqrt(np.mean((accuracy - expected) ** 2)))
        return cls(chance, questions, theta, len(points), residual, draws, seed)

    def predict(self, nats: np.ndarray) -> np.ndarray:
        """Accuracy at nats[0] by the fit, and at each of nats[1:], [R], by one of the resampled fits."""
        thetas = np.concatenate([self.theta[None], self.draws])
        return _sigmoid(thetas, nats[:, None])[:, 0]

    def sample_observed(self, accuracy: np.ndarray) -> np.ndarray:
        """Observed accuracies on the test's number of questions for true accuracies [R]."""
        return np.random.default_rng(self.seed + 1).binomial(self.questions, accuracy) / self.questions

    def to_json(self) -> dict[str, Any]:
        """The coefficients of the sigmoid with their intervals."""
        names = ("slope", "middle", "floor")
        named = {
            name: bootstrap_estimate(float(value), draws, self.runs)
            for name, value, draws in zip(names, self.theta, self.draws.T, strict=True)
        }
        return {**named, "chance": self.chance, "questions": self.questions, "residual": self.residual}


def _columns(law: tuple[float, float], parameters: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """[runs, 3]: 1, ln(C), and the squared distance of ln(D) from the optimum."""
    alpha, log_a = law
    log_flops = np.log(FLOPS_PER_PARAMETER * parameters * tokens)
    return np.stack([np.ones_like(log_flops), log_flops, (np.log(tokens) - log_a - alpha * log_flops) ** 2], axis=-1)


def _sigmoid(theta: np.ndarray, nats: np.ndarray) -> np.ndarray:
    """theta [R, 3] and nats [n] or [R, n] -> [R, n]."""
    slope, centre, floor = (theta[:, [place]] for place in range(3))
    return floor + (1 - floor) / (1 + np.exp(np.clip(slope * (nats - centre), -500, 500)))


def _fit_sigmoids(starts: np.ndarray, nats: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """theta [R, 3] and cost [R] of the sigmoids through accuracy [R, runs]."""

    def jacobian(theta: np.ndarray) -> np.ndarray:
        slope, centre, floor = (theta[:, [place]] for place in range(3))
        share = (_sigmoid(theta, nats) - floor) / (1 - floor)
        steep = (1 - floor) * share * (1 - share)
        return np.stack([-steep * (nats - centre), steep * slope, 1 - share], axis=-1)

    bounds = tuple(zip((0.0, MAX_SLOPE), MIDPOINT_BOUNDS, FLOOR_BOUNDS, strict=True))
    return least_squares(starts, lambda theta: _sigmoid(theta, nats) - accuracy, jacobian, (bounds[0], bounds[1]))
