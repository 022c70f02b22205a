"""How good and how well calibrated predictions are, from logits and labels."""

from __future__ import annotations

import torch
from torch import Tensor


def classification_metrics(logits: Tensor, labels: Tensor, ece_bins: int) -> dict[str, float]:
    """Return ``top1_error``, ``top5_error``, ``nll`` and ``ece`` of a set of predictions.

    - ``top1_error``, ``top5_error``: share, in [0, 1], of samples whose label is not among the one or five
      classes of largest logit; of equal logits the lower class comes first. With C < 5 classes the five are
      all C, and the top-5 error is 0 as it is with 5.
    - ``nll``: mean negative log likelihood in nats.
    - ``ece``: expected calibration error, in [0, 1]: see :func:`expected_calibration_error`.

    A sample whose softmax is undefined (a NaN, a positive infinity, negative infinities only) counts as wrong
    and makes ``nll`` and ``ece`` NaN. A negative infinity elsewhere is a probability of 0.

    Args:
        logits: float32 [N, C] on any device.
        labels: int64 [N], in [0, C), on the same device.
        ece_bins: number of confidence bins.

    Raises:
        ValueError: no sample, or shapes that do not fit.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits [N, C] and labels [N] with N >= 1 are needed, got {list(logits.shape)} and {list(labels.shape)}"
        )
    log_probs = logits.log_softmax(dim=1)
    # one number a sample is left: the CPU has float64 and adds in the same order every time
    likelihood = log_probs.gather(1, labels[:, None]).squeeze(1).cpu().double()
    confidence = log_probs.amax(dim=1).exp().cpu().double()
    rank = _label_rank(logits, labels).cpu()
    defined = ~confidence.isnan()
    top1 = defined & (rank < 1)
    top5 = defined & (rank < 5)
    return {
        "top1_error": _share(~top1),
        "top5_error": _share(~top5),
        "nll": -likelihood.mean().item(),
        "ece": expected_calibration_error(confidence, top1, ece_bins),
    }


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int) -> float:
    """Return the mean distance, in [0, 1], between accuracy and confidence over bins of equal width.

    Guo et al. (ICML 2017), equation 3: the sum over bins m of |B_m| / N * |acc(B_m) - conf(B_m)|, B_m being
    the samples whose confidence is in ((m - 1) / bins, m / bins].

    Args:
        confidence: float64 [N] on the CPU, probability of the predicted class; a NaN makes the result NaN.
        correct: bool [N] on the CPU: whether that class is the label.
        bins: number of bins, at least 1.
    """
    # |B_m| times the distance of the means is the distance of the sums
    return accuracy_surplus(confidence, correct, bins).abs().sum().item() / len(confidence)


def accuracy_surplus(confidence: Tensor, correct: Tensor, bins: int) -> Tensor:
    """Return by how much correctness exceeds confidence, summed over the samples of each bin of equal width.

    Args:
        confidence: float64 [N] on the CPU, probability of the predicted class; a NaN makes its bin NaN.
        correct: bool [N] on the CPU: whether that class is the label.
        bins: number of bins, at least 1: the m-th of M holds ((m - 1) / M, m / M].

    Returns:
        float64 [bins], in samples: negative where predictions are over-confident.
    """
    inner_edges = torch.arange(1, bins, dtype=torch.float64) / bins
    bin_index = torch.bucketize(confidence, inner_edges)
    return torch.bincount(bin_index, weights=correct.double() - confidence, minlength=bins)


def _label_rank(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many classes come before the label, int64 [N].

    Not by ``topk``, which leaves the order of equal logits open; of bfloat16 origin they are common.
    """
    own = logits.gather(1, labels[:, None])
    classes = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return ahead.sum(dim=1)


def _share(flags: Tensor) -> float:
    return flags.double().mean().item()
