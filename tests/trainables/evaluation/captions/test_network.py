from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainables.config import Model
from trainables.contracts.global_state import check_no_global_draws
from trainables.errors import UserError
from trainables.evaluation.captions.data import CaptionedImages
from trainables.evaluation.captions.encoder import EncoderKind
from trainables.evaluation.captions.network import Captioner
from trainables.evaluation.captions.training import Recipe, decoded_batches, train_captioner, write_captions
from trainables.evaluation.captions.words import END, FIRST_WORD, START, Vocabulary

KIND = EncoderKind(Model(name="tiny", width=0.25), n_classes=10, height_px=16, width_px=16)
CPU = torch.device("cpu")
COLOURS = ("red", "green", "blue")


def captioner(*, n_words: int, seed: int = 0, units: int = 16) -> Captioner:
    with check_no_global_draws("Captioner"):
        return Captioner(nn.Identity(), KIND.build(seed=seed), n_words=n_words, units=units, seed=seed)


def flat_images(count: int) -> CaptionedImages:
    """Images of one colour each: their captions name it in two ways."""
    pixels = np.random.default_rng(0).integers(0, 60, (count, 16, 16, 3), dtype=np.uint8)
    pixels[np.arange(count), :, :, np.arange(count) % 3] += 180
    names = [COLOURS[number % 3] for number in range(count)]
    return CaptionedImages([(f"all {name} here", f"all {name}") for name in names], lambda rows: pixels[rows])


# ---------------------------------------------------------------- the words that it writes


def log_prob(net: Captioner, pixels: Tensor, words: tuple[int, ...]) -> float:
    """Log probability of a caption, one step of the LSTM after another."""
    _, state = net.lstm(net._embedded(pixels)[:, None])
    total, last = 0.0, START
    for word in words:
        hidden, state = net.lstm(net.words(torch.tensor([[last]])), state)
        scores = net.scores(hidden[0, 0])
        total += float(scores[END:].log_softmax(dim=0)[word - END])
        last = word
        if word == END:
            break
    return total


@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.inference_mode()
def test_a_beam_of_all_beginnings_finds_the_most_probable_caption(seed: int) -> None:
    net = captioner(n_words=FIRST_WORD + 2, seed=seed).eval()
    for weight in (net.scores.weight, net.words.weight, net.lstm.weight_hh_l0):
        weight.data.mul_(15.0)  # all words before matter, not the last one alone
    net.scores.bias.data[END] = -8.0  # long captions
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    wide, greedy = (net.write(pixels, beam=beam, max_words=4).tolist() for beam in (81, 1))
    everything = list(itertools.product((END, FIRST_WORD, FIRST_WORD + 1), repeat=4))
    for image, written, first in zip(pixels.split(1), wide, greedy, strict=True):
        best = max(everything, key=lambda words: log_prob(net, image, words))
        assert log_prob(net, image, tuple(written)) == pytest.approx(log_prob(net, image, best), abs=1e-5)
        steps: list[int] = []
        while len(steps) < 4 and END not in steps:
            steps.append(max((END, 4, 5), key=lambda word: log_prob(net, image, (*steps, word))))
        assert first[: len(steps)] == steps
        assert all(number == END for number in first[len(steps) :])


def test_the_loss_is_the_mean_log_probability_of_the_true_words() -> None:
    net = captioner(n_words=7).eval()
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    captions = torch.tensor([[START, 4, 5, 6, END], [START, 6, END, 0, 0]])
    with torch.inference_mode():
        embedded, by_hand = net._embedded(pixels), []
        for image, words in zip(embedded, ([4, 5, 6, END], [6, END]), strict=True):
            _, state = net.lstm(image[None, None])
            for last, word in zip([START, *words], words, strict=False):
                hidden, state = net.lstm(net.words(torch.tensor([[last]])), state)
                by_hand.append(-float(net.scores(hidden[0, 0]).log_softmax(dim=0)[word]))
        assert float(net.loss(pixels, captions)) == pytest.approx(np.mean(by_hand), rel=1e-5)


# ---------------------------------------------------------------- training


def test_a_captioner_learns_the_colours() -> None:
    images = flat_images(48)
    vocabulary = Vocabulary.of([caption for some in images.references for caption in some], min_count=2)
    recipe = Recipe(epochs=14, batch_size=8, lr=0.02, backbone_lr=0.002, max_words=5, seed=3)
    net = captioner(n_words=len(vocabulary))
    with check_no_global_draws("training"):
        train_captioner(net, images, vocabulary, recipe, device=CPU)
    written = write_captions(net, images, vocabulary, beam=2, max_words=5, device=CPU)
    assert [caption.split()[1] for caption in written] == [COLOURS[number % 3] for number in range(48)]
    assert not net.training


def test_a_rate_of_zero_keeps_the_network_as_it_is() -> None:
    images = flat_images(6)
    vocabulary = Vocabulary.of([caption for some in images.references for caption in some], min_count=1)
    for rate, kept in ((0.0, True), (0.01, False)):
        net = captioner(n_words=len(vocabulary))
        before = {name: value.clone() for name, value in net.encoder.state_dict().items()}
        recipe = Recipe(epochs=1, batch_size=3, lr=0.01, backbone_lr=rate, max_words=5, seed=0)
        train_captioner(net, images, vocabulary, recipe, device=CPU)
        changed = [name for name, value in net.encoder.state_dict().items() if not torch.equal(value, before[name])]
        assert (not changed) == kept
        assert not any(name.startswith("classifier") for name in changed)


def test_batches_that_are_decoded_ahead_are_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    images, sizes = flat_images(10), []

    def pixels(rows: np.ndarray) -> np.ndarray:
        sizes.append(len(rows))
        return images.pixels(rows)

    monkeypatch.setattr("trainables.evaluation.captions.training.DECODED_BYTES", 5 * 16 * 16 * 3)
    batches = [np.array(rows) for rows in ([3, 1], [0, 7], [9], [2, 2], [5])]
    for (rows, shown), batch in zip(
        decoded_batches(CaptionedImages(images.references, pixels), batches, device=CPU), batches, strict=True
    ):
        assert rows is batch
        assert torch.equal((shown * 255).round().byte(), torch.from_numpy(images.pixels(batch)).permute(0, 3, 1, 2))
    assert max(sizes) <= 5


# ---------------------------------------------------------------- networks


def test_networks_take_other_sizes_or_are_refused() -> None:
    for name in ("tiny", "timm:resnet18"):
        EncoderKind(Model(name=name), 10, 128, 128).check_takes(160)
    fixed = EncoderKind(Model(name="timm:nest_tiny"), 10, 224, 224)
    with pytest.raises(UserError, match=r"captioning\.image_size_px is 96, but 'timm:nest_tiny'.* set it to 224"):
        fixed.check_takes(96)
