from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from trainables.errors import UserError
from trainables.evaluation.captions.scores import CaptionScorer, _treebank_lines, best_constant

REFERENCES = [
    ["a large red seven above a small blue three", "there is a red seven", "a blue three below a red seven"],
    ["a small green two", "only a green two in the picture"],
    ["the picture shows a white nine and a pink nine", "a white nine to the left of a pink nine"],
    ["a yellow four"],
]
WRITTEN = [
    "a red seven above a blue three",
    "a small green three in the picture",
    "a white nine and a pink nine and a pink nine",
    "a yellow four",
]


def grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


def test_bleu_equals_that_of_the_paper_by_hand() -> None:
    """Papineni et al. (ACL 2002), section 2.2 and 2.3, worked out on paper for two images."""
    written = ["a red seven", "a green two in the green picture"]
    references = [["a red seven above a three", "the red seven here"], ["a green two in the picture"]]
    with CaptionScorer() as scorer:
        scores = scorer.score(written, references)
    # words: 3 of 3, and 6 of 7 (the second "green" is clipped); pairs: 2 of 2, and a-green, green-two, two-in, in-the
    penalty = 1.0  # 10 words, and 4 + 6 in the closest references
    assert scores["bleu_1"] == pytest.approx(penalty * 9 / 10)
    assert scores["bleu_2"] == pytest.approx(penalty * math.sqrt(9 / 10 * 6 / 8))
    assert scores["bleu_3"] == pytest.approx(penalty * (9 / 10 * 6 / 8 * 4 / 6) ** (1 / 3))


def test_short_captions_are_punished_by_the_closest_length() -> None:
    with CaptionScorer() as scorer:
        scores = scorer.score(["a red seven"], [["a red seven above a blue three", "a red seven is there"]])
    assert scores["bleu_1"] == pytest.approx(math.exp(1 - 5 / 3))


def test_cider_equals_its_definition() -> None:
    """Vedantam et al. (CVPR 2015), equations 1 to 3, with the clipping and the Gaussian of CIDEr-D (section 5)."""
    references = [[reference.split() for reference in some] for some in REFERENCES]
    n_images, total = len(references), []
    for caption, some in zip((each.split() for each in WRITTEN), references, strict=True):
        by_order = []
        for order in range(1, 5):
            frequency = Counter(
                gram for each in references for gram in {g for words in each for g in grams(words, order)}
            )

            def vector(words: Sequence[str], order: int = order, seen: Counter = frequency) -> dict:  # type: ignore[type-arg]
                return {
                    gram: count * (math.log(n_images) - math.log(max(1, seen[gram])))
                    for gram, count in grams(words, order).items()
                }

            mine, similarities = vector(caption), []
            for words in some:
                theirs = vector(words)
                dot = sum(min(value, theirs.get(gram, 0)) * theirs.get(gram, 0) for gram, value in mine.items())
                norms = math.hypot(*mine.values()) * math.hypot(*theirs.values())
                gauss = math.exp(-((len(caption) - len(words)) ** 2) / (2 * 6**2))
                similarities.append(gauss * (dot / norms if norms else 0.0))
            by_order.append(np.mean(similarities))
        total.append(10 * np.mean(by_order))
    with CaptionScorer() as scorer:
        assert scorer.score(WRITTEN, REFERENCES)["cider"] == pytest.approx(np.mean(total))


def test_rouge_is_the_longest_common_subsequence() -> None:
    with CaptionScorer() as scorer:
        rouge = scorer.score(["a red seven above a three"], [["a seven and a blue three here now"]])["rouge_l"]
    recall, precision, beta = 4 / 8, 4 / 6, 1.2
    assert rouge == pytest.approx((1 + beta**2) * precision * recall / (recall + beta**2 * precision))


def test_punctuation_and_case_do_not_count_and_no_word_is_no_match() -> None:
    with CaptionScorer() as scorer:
        assert scorer.score(["A red, seven."], [["a red seven"]]) == scorer.score(["a red seven"], [["a red seven"]])
        assert scorer.score(["", "a two"], [["a red seven"], ["a two"]])["cider"] >= 0
        assert scorer.score([""], [["a red seven"]])["bleu_1"] == pytest.approx(0.0)


def test_the_best_constant_is_the_caption_that_most_images_share() -> None:
    references = [["there is a red two", "a two"]] * 5 + [["one large blue three here"]] * 2
    assert best_constant(references, seed=0) == "there is a red two"
    assert best_constant(references, seed=1) == best_constant(references, seed=1)


def test_java_is_asked_for_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"captioning\.java needs Java 8 or newer .* apt install .* leave captioning"):
        CaptionScorer(java=True)


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR and the Penn Treebank tokenizer need Java")
def test_meteor_and_the_tokenizer_of_the_official_evaluation() -> None:
    """METEOR knows that a couch is a sofa; no other metric does."""
    references = [["a red sofa"], ["A man's sofa"]]
    with CaptionScorer(java=True) as scorer:
        related, unrelated = (scorer.score([f"a red {word}", ""], references) for word in ("couch", "table"))
    assert related.pop("meteor") > 2 * unrelated.pop("meteor") > 0
    assert related == unrelated
    assert _treebank_lines(["A man's big T-shirt, red.", ""]) == ["a man 's big t-shirt red", ""]
