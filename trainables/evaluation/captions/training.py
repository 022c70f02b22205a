"""Training of a captioner, and the captions that it writes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainables.data.upload import computed_ahead
from trainables.evaluation.captions.data import CaptionedImages
from trainables.evaluation.captions.network import Captioner
from trainables.evaluation.captions.words import Vocabulary
from trainables.models.saved import as_pixels
from trainables.seeds import generator

DECODED_BYTES = 1 << 26
"""Memory of the images that are decoded at a time; while they are used, as many more are decoded."""

WRITTEN_AT_ONCE = 64
"""Images whose captions are written at the same time."""

MAX_NORM = 5.0
"""Largest norm of the gradients of all weights: long captions make an LSTM's gradients explode."""


@dataclass(frozen=True)
class Recipe:
    """How a captioner is trained: Adam, with rates that fall to zero on half a cosine.

    Attributes:
        epochs: passes over the images; each pass draws one of the captions of an image.
        batch_size: images per step.
        lr: peak learning rate of the decoder.
        backbone_lr: peak learning rate of the network; 0: it stays as it is, and its norms too.
        max_words: longest caption.
        seed: seed of the order of the images and of the drawn captions.
    """

    epochs: int
    batch_size: int
    lr: float
    backbone_lr: float
    max_words: int
    seed: int


def train_captioner(
    captioner: Captioner, images: CaptionedImages, vocabulary: Vocabulary, recipe: Recipe, *, device: torch.device
) -> None:
    """Train on the images and their captions; afterwards the captioner is in evaluation mode."""
    captions = torch.from_numpy(vocabulary.encode(images.references, max_words=recipe.max_words)).to(device)
    frozen = recipe.backbone_lr == 0
    captioner.encoder.requires_grad_(not frozen)
    captioner.encoder.classifier.requires_grad_(False)
    network = [parameter for parameter in captioner.encoder.parameters() if parameter.requires_grad]
    trained = [(captioner.decoder_parameters(), recipe.lr), *([] if frozen else [(network, recipe.backbone_lr)])]
    n_batches = max(1, len(images) // recipe.batch_size)
    optimizer = torch.optim.Adam([{"params": parameters, "lr": lr} for parameters, lr in trained])
    n_steps = recipe.epochs * n_batches
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 + 0.5 * math.cos(math.pi * step / n_steps))
    weights = [parameter for parameters, _ in trained for parameter in parameters]
    captioner.train()
    captioner.encoder.train(not frozen)
    rng = generator(recipe.seed, "order of captioned images")
    batches = [rows for _ in range(recipe.epochs) for rows in np.array_split(rng.permutation(len(images)), n_batches)]
    for rows, pixels in decoded_batches(images, batches, device=device):
        drawn = rng.integers(captions.shape[1], size=len(rows))
        optimizer.zero_grad(set_to_none=True)
        read = captions[torch.from_numpy(rows).to(device), torch.from_numpy(drawn).to(device)]
        torch.autograd.backward(captioner.loss(pixels, read))
        torch.nn.utils.clip_grad_norm_(weights, MAX_NORM)
        optimizer.step()
        rates.step()
    captioner.eval()


def write_captions(
    captioner: Captioner,
    images: CaptionedImages,
    vocabulary: Vocabulary,
    *,
    beam: int,
    max_words: int,
    device: torch.device,
) -> list[str]:
    """Return the caption that the captioner writes for each image."""
    chunks = np.array_split(np.arange(len(images)), math.ceil(len(images) / WRITTEN_AT_ONCE))
    with torch.inference_mode():
        written = [
            captioner.write(pixels, beam=beam, max_words=max_words).cpu()
            for _, pixels in decoded_batches(images, chunks, device=device)
        ]
    return [vocabulary.decode(row) for row in torch.cat(written).tolist()]


def decoded_batches(
    images: CaptionedImages, batches: Sequence[npt.NDArray[np.int64]], *, device: torch.device
) -> Iterator[tuple[npt.NDArray[np.int64], Tensor]]:
    """Yield rows, int64 [B], and images in [0, 1], float32 [B, 3, H, W], on the device.

    Images are decoded some batches at a time on several threads, and ahead of their use.
    """
    image_bytes = images.pixels(batches[0][:1]).nbytes
    size = max(1, DECODED_BYTES // (image_bytes * len(batches[0])))
    groups = [batches[start : start + size] for start in range(0, len(batches), size)]
    decoded = computed_ahead(lambda group: images.pixels(np.concatenate(group)), groups, n_ahead=1)
    for group, pixels in zip(groups, decoded, strict=True):
        ends = np.cumsum([len(rows) for rows in group])
        for rows, some in zip(group, np.split(pixels, ends[:-1]), strict=True):
            yield rows, as_pixels(some, device)
