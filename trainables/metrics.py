"""Error and calibration of predictions, computed from logits and labels."""

from __future__ import annotations

import torch
from torch import Tensor


def classification_metrics(logits: Tensor, labels: Tensor, ece_bins: int) -> dict[str, float]:
    """Return ``top1_error``, ``top5_error``, ``nll`` and ``ece`` of a set of predictions.

    - ``top1_error``, ``top5_error``: fraction, in [0, 1], of samples whose label is not among the one or five classes
      with the largest logits. Among equal logits, the lower class comes first. With at most 5 classes the top-5 error
      is 0.
    - ``nll``: mean negative log likelihood in nats.
    - ``ece``: expected calibration error, in [0, 1]: see :func:`expected_calibration_error`.

    A sample with an undefined softmax (a NaN, a positive infinity, or negative infinities only) counts as wrong and
    makes ``nll`` and ``ece`` NaN. A negative infinity beside finite logits is a probability of 0.

    Args:
        logits: float32 [N, C] on any device.
        labels: int64 [N], in [0, C), on the same device.
        ece_bins: number of confidence bins.

    Raises:
        ValueError: there is no sample, or the shapes do not match.

    Examples:
        >>> logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> metrics = classification_metrics(logits, torch.tensor([0, 2]), ece_bins=15)
        >>> metrics["top1_error"], metrics["top5_error"], round(metrics["nll"], 2)
        (0.5, 0.0, 0.9)
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(
            f"logits [N, C] and labels [N] with N >= 1 are needed, got {list(logits.shape)} and {list(labels.shape)}"
        )
    log_probs = logits.log_softmax(dim=1)
    # one number per sample: the CPU has float64 and always adds in the same order
    likelihood = log_probs.gather(1, labels[:, None]).squeeze(1).cpu().double()
    confidence = log_probs.amax(dim=1).exp().cpu().double()
    rank = _label_rank(logits, labels).cpu()
    defined = ~confidence.isnan()
    top1 = defined & (rank < 1)
    top5 = defined & (rank < 5)
    return {
        "top1_error": _fraction(~top1),
        "top5_error": _fraction(~top5),
        "nll": -likelihood.mean().item(),
        "ece": expected_calibration_error(confidence, top1, ece_bins),
    }


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int) -> float:
    """Return the mean distance, in [0, 1], between accuracy and confidence over bins of equal width.

    Guo et al. (ICML 2017), equation 3: the sum over bins m of |B_m| / N * |acc(B_m) - conf(B_m)|. B_m is the set of
    samples with a confidence in ((m - 1) / bins, m / bins].

    Args:
        confidence: float64 [N] on the CPU, probability of the predicted class; a NaN makes the result NaN.
        correct: bool [N] on the CPU: whether that class is the label.
        bins: number of bins, at least 1.

    Examples:
        >>> confidence = torch.tensor([0.9, 0.9, 0.6, 0.6], dtype=torch.float64)
        >>> correct = torch.tensor([True, True, True, False])
        >>> round(expected_calibration_error(confidence, correct, bins=10), 3)
        0.1
    """
    # |B_m| times the distance of the means is the distance of the sums
    return accuracy_surplus(confidence, correct, bins).abs().sum().item() / len(confidence)


def accuracy_surplus(confidence: Tensor, correct: Tensor, bins: int) -> Tensor:
    """Return correctness minus confidence, summed over the samples of each bin of equal width.

    Args:
        confidence: float64 [N] on the CPU, probability of the predicted class; a NaN makes its bin NaN.
        correct: bool [N] on the CPU: whether that class is the label.
        bins: number of bins, at least 1; bin m of M covers ((m - 1) / M, m / M].

    Returns:
        float64 [bins], in samples: negative if the predictions of the bin are over-confident.
    """
    inner_edges = torch.arange(1, bins, dtype=torch.float64) / bins
    bin_index = torch.bucketize(confidence, inner_edges)
    return torch.bincount(bin_index, weights=correct.double() - confidence, minlength=bins)


def _label_rank(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the number of classes before the label, int64 [N].

    ``topk`` is not used: it does not define the order of equal logits, which are common in bfloat16.
    """
    label_logits = logits.gather(1, labels[:, None])
    classes = torch.arange(logits.shape[1], device=logits.device)
    ahead = (logits > label_logits) | ((logits == label_logits) & (classes < labels[:, None]))
    return ahead.sum(dim=1)


def _fraction(flags: Tensor) -> float:
    return flags.double().mean().item()
