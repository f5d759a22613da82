"""`zero-cost`: nothing is trained; a candidate is ranked by what its fresh net tells.

What stands for its accuracy is a rank and no accuracy: the share of a sample of its space that it beats by one proxy,
or by the mean rank of several. No int8 model comes of it. `hilnas estimate` tells how well that ranks on your data,
and whether it beats the number of parameters; often it does not.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from hilnas.estimators.base import EstimateResult
from hilnas.executors import report, save, saved
from hilnas.options import Options as AnyOptions
from hilnas.proxies import Reference, Scorer, Scores, sample, told
from hilnas.proxies.options import Proxies, RankOptions
from hilnas.spaces import Space
from hilnas.tasks import Task
from hilnas.trial import Architecture, Estimate

ZERO_COST = "zero-cost"


class ZeroCostOptions(RankOptions):
    """Settings of `zero-cost`: which proxies vote, and against how many architectures."""

    proxy: Proxies = ("naswot",)
    """synflow, jacob_cov, naswot, grad_norm, snip, zico, parameters, macs; several vote."""


class ZeroCost:
    """Ranks candidates among a sample, which `prepare` scores."""

    Options: ClassVar[type[AnyOptions]] = ZeroCostOptions

    def __init__(self, options: ZeroCostOptions, reference: bytes = b"") -> None:
        self.options = options
        self.reference = reference

    def prepare(self, space: Space, task: Task, seed: int, threads: int, origin: Mapping[str, Any]) -> bytes:
        """Score the sample, from where a checkpoint left off; return the scores."""
        import torch

        torch.set_num_threads(threads)
        scorer = Scorer(space, task, self.options, seed)
        architectures = sample(space, self.options.reference, seed)
        return Reference.of(scorer.all_of(architectures, report, save, saved())).to_bytes()

    def prepared(self, content: bytes) -> "ZeroCost":
        """Return the estimator that ranks against scores."""
        return ZeroCost(self.options, content)

    def estimate(self, architecture: Architecture, space: Space, task: Task, seed: int) -> EstimateResult:
        """Score the candidate, and rank it."""
        scores = Scorer(space, task, self.options, seed).scores(architecture)
        reference = Reference.from_bytes(self.reference)
        return EstimateResult(rank_estimate(scores, reference))


def rank_estimate(scores: Scores, reference: Reference) -> Estimate:
    """Return a rank among a sample as an estimate: 0 to 1, its error by the size of the sample."""
    rank = reference.rank(scores)
    return Estimate(
        estimator=ZERO_COST,
        accuracy=rank,
        accuracy_se=reference.error(rank),
        details=told(scores),
        is_rank=True,
    )
