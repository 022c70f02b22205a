"""Neural Image Caption (NIC): a network for images, and an LSTM that writes words."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.evaluation.captions.words import END, PAD, START
from trainables.networks.modules.staged import StagedNet


class Captioner(nn.Module):
    """The model of Vinyals et al. (CVPR 2015, section 3.1): the LSTM sees the image once, before the first word.

    The pooled features of the last maps are mapped linearly to the space of the words and normalised by batch, as in
    the code that Yun et al. (ICCV 2019, appendix D) name as their base.

    Attributes:
        normalize: normalisation of images in [0, 1].
        encoder: the network; its classifier is not used.
    """

    def __init__(self, normalize: nn.Module, encoder: StagedNet, *, n_words: int, units: int, seed: int) -> None:
        """Take a network, and draw the initial weights of the other layers; global generators are not changed.

        Args:
            normalize: normalisation of images in [0, 1].
            encoder: the network, which is trained further.
            n_words: size of the vocabulary with its special numbers.
            units: units of the LSTM, and dimensions of the words.
            seed: seed of the weights.
        """
        super().__init__()
        self.normalize, self.encoder = normalize, encoder
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.image = nn.Linear(encoder.classifier.in_features, units)
            self.image_norm = nn.BatchNorm1d(units)
            self.words = nn.Embedding(n_words, units, padding_idx=PAD)
            self.lstm = nn.LSTM(units, units, batch_first=True)
            self.scores = nn.Linear(units, n_words)
            nn.init.uniform_(self.words.weight, -0.1, 0.1)
            nn.init.uniform_(self.scores.weight, -0.1, 0.1)

    def decoder_parameters(self) -> list[nn.Parameter]:
        """Return the weights of all layers but the network's."""
        layers = (self.image, self.image_norm, self.words, self.lstm, self.scores)
        return [parameter for layer in layers for parameter in layer.parameters()]

    def loss(self, pixels: Tensor, captions: Tensor) -> Tensor:
        """Return the mean cross-entropy per word, in nats, each word given the true words before it; a scalar.

        Args:
            pixels: float32 [B, 3, H, W] in [0, 1].
            captions: a caption of each image, from :meth:`Vocabulary.encode`, int64 [B, L].
        """
        first = self._embedded(pixels)
        hidden, _ = self.lstm(torch.cat([first[:, None], self.words(captions[:, :-1])], dim=1))
        scores = self.scores(hidden[:, 1:])
        return functional.cross_entropy(scores.flatten(0, 1), captions[:, 1:].flatten(), ignore_index=PAD)

    def write(self, pixels: Tensor, *, beam: int, max_words: int) -> Tensor:
        """Return a caption per image, int64 [B, max_words]: words, the end, and whatever follows it.

        Beam search keeps the ``beam`` most probable beginnings (Vinyals et al., section 3.1); 1 is greedy search. The
        sum of the log probabilities decides, without a correction for the length, as in the paper.

        Args:
            pixels: float32 [B, 3, H, W] in [0, 1].
            beam: number of beginnings that are kept.
            max_words: longest caption; all captions take this many steps, so that none is waited for.
        """
        n_images = len(pixels)
        _, state = self.lstm(self._embedded(pixels)[:, None])
        state = tuple(part.repeat_interleave(beam, dim=1) for part in state)
        last = pixels.new_full((n_images * beam,), START, dtype=torch.long)
        # all beams begin alike: only the first one counts
        totals = pixels.new_full((n_images, beam), -torch.inf)
        totals[:, 0] = 0.0
        written = last.new_empty(n_images, beam, 0)
        first_rows = torch.arange(n_images, device=pixels.device)[:, None] * beam
        for _ in range(max_words):
            hidden, state = self.lstm(self.words(last)[:, None], state)
            log_probs = self._next_words(hidden[:, 0], last).view(n_images, beam, -1)
            n_words = log_probs.shape[2]
            totals, best = (totals[:, :, None] + log_probs).flatten(1).topk(beam)
            parent, word = best // n_words, best % n_words
            written = torch.cat([written.gather(1, parent[:, :, None].expand_as(written)), word[:, :, None]], dim=2)
            rows = (first_rows + parent).flatten()
            state = tuple(part[:, rows] for part in state)
            last = word.flatten()
        best_captions: Tensor = written[torch.arange(n_images, device=pixels.device), totals.argmax(dim=1)]
        return best_captions

    def _embedded(self, pixels: Tensor) -> Tensor:
        """Return images as the first input of the LSTM, float32 [B, units]."""
        maps = self.encoder.features(self.normalize(pixels))
        embedded: Tensor = self.image_norm(self.image(maps.mean(dim=(2, 3))))
        return embedded

    def _next_words(self, hidden: Tensor, last: Tensor) -> Tensor:
        """Return the log probabilities of the next words, float32 [n, n_words]; after the end, only the end follows."""
        scores = self.scores(hidden)
        scores[:, :END] = -torch.inf  # no caption contains padding, a start or an unknown word
        only_end = torch.full_like(scores, -torch.inf)
        only_end[:, END] = 0.0
        return torch.where((last == END)[:, None], only_end, scores.log_softmax(dim=1))
