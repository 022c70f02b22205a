"""Scores of written captions: the program of the MS-COCO caption evaluation (Chen et al. 2015, arXiv 1504.00325)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainables.errors import UserError
from trainables.evaluation.captions.words import words_of
from trainables.seeds import generator

Scores = dict[str, float]
"""Values by metric."""

Tokenized = dict[int, list[str]]
"""Captions by number of the image: words with one space between them."""

N_CANDIDATES = 100
N_COMPARED = 200

NO_JAVA = "captioning.java needs Java 8 or newer on each node, but there is no program 'java'"
REMEDY = "install a Java runtime (Debian: apt install default-jre-headless), or leave captioning.java out"


class CaptionScorer:
    """BLEU, CIDEr and ROUGE-L, and METEOR with Java; a context manager, because METEOR's program keeps running.

    Examples:
        >>> with CaptionScorer() as scorer:
        ...     scores = scorer.score(["a red two"], [["a red two", "a two"]])
        >>> round(scores["bleu_1"], 6), sorted(scores)
        (1.0, ['bleu_1', 'bleu_2', 'bleu_3', 'bleu_4', 'cider', 'rouge_l'])
    """

    def __init__(self, *, java: bool = False) -> None:
        """Prepare the scores.

        Args:
            java: whether Java runs the Penn Treebank tokenizer of Stanford CoreNLP 3.4.1, as in the official
                evaluation, and METEOR 1.5. Otherwise words are those of :func:`words_of`, and METEOR is left out.

        Raises:
            UserError: there is no Java.
        """
        if java:
            check_java()
        self._java = java
        self._meteor: Any = None

    def __enter__(self) -> CaptionScorer:
        """Return the scorer."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End METEOR's program."""
        if self._meteor is not None:
            self._meteor.meteor_p.stdout.close()
            self._meteor.meteor_p.stderr.close()
            self._meteor = None

    def score(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
        """Return the scores of captions, one per image.

        Args:
            captions: written captions.
            references: reference captions of each image.

        Returns:
            ``bleu_1`` to ``bleu_4`` of the corpus (Papineni et al., ACL 2002), with the reference length that is
            closest; ``rouge_l``, the mean over the images (Lin 2004, beta 1.2); ``cider``, the mean CIDEr-D over the
            images (Vedantam et al., CVPR 2015), whose document frequencies are those of the given references, so that
            it depends on the set of images; its largest value is 10; with Java ``meteor`` of the corpus (Denkowski and
            Lavie, 2014).
        """
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge

        words = self._tokenized([(caption, *some) for caption, some in zip(captions, references, strict=True)])
        written = {row: some[:1] for row, some in words.items()}
        true = {row: some[1:] for row, some in words.items()}
        scores = {f"bleu_{order}": bleu for order, bleu in enumerate(_bleus(true, written), start=1)}
        scores["cider"] = float(Cider().compute_score(true, written)[0])
        scores["rouge_l"] = float(Rouge().compute_score(true, written)[0])
        if self._java:
            scores["meteor"] = float(self._meteor_program().compute_score(true, written)[0])
        return scores

    def _tokenized(self, captions: Sequence[Sequence[str]]) -> Tokenized:
        """Return captions as words with one space between them, by number of the image."""
        if not self._java:
            return _split(captions)
        lines = iter(_treebank_lines([caption for some in captions for caption in some]))
        return {row: [next(lines) for _ in some] for row, some in enumerate(captions)}

    def _meteor_program(self) -> Any:
        from pycocoevalcap.meteor.meteor import Meteor

        if self._meteor is None:
            self._meteor = Meteor()
        return self._meteor


def check_java() -> None:
    """Check that there is a program ``java``.

    Raises:
        UserError: there is none.
    """
    if shutil.which("java") is None:
        raise UserError(f"{NO_JAVA}: {REMEDY}")


def best_constant(references: Sequence[Sequence[str]], *, seed: int) -> str:
    """Return one caption for all images, as a baseline that looks at no image.

    It is the best of ``N_CANDIDATES`` training captions by BLEU-4 on ``N_COMPARED`` training images.

    Args:
        references: captions of each training image.
        seed: seed of the drawn captions and images.

    Examples:
        >>> best_constant([["a red two here"], ["a red two here"], ["one blue three there"]], seed=0)
        'a red two here'
    """
    rng = generator(seed, "constant caption")
    compared = _split([references[row] for row in rng.permutation(len(references))[:N_COMPARED]])
    captions = sorted({caption for some in references for caption in some})
    candidates: list[str] = [captions[row] for row in rng.permutation(len(captions))[:N_CANDIDATES]]
    bleus = [_bleus(compared, _split([[caption]] * len(compared)))[-1] for caption in candidates]
    return candidates[int(np.argmax(bleus))]


def _split(captions: Sequence[Sequence[str]]) -> Tokenized:
    return {row: [" ".join(words_of(caption)) for caption in some] for row, some in enumerate(captions)}


def _bleus(true: Tokenized, written: Tokenized) -> list[float]:
    """Return BLEU-1 to BLEU-4 of the corpus."""
    from pycocoevalcap.bleu.bleu import Bleu

    bleus, _ = Bleu(4).compute_score(true, written, verbose=0)
    return [float(bleu) for bleu in bleus]


def _treebank_lines(captions: Sequence[str]) -> list[str]:
    """Return the tokens of captions in lower case without punctuation, from the tokenizer of the official evaluation.

    The package's own wrapper writes a file next to the package, which may be read-only; this reads standard input.
    """
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    program = ["java", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    text = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    done = subprocess.run(program, input=text, capture_output=True, text=True, encoding="utf-8", check=False)
    lines = done.stdout.split("\n")[:-1]
    if done.returncode or len(lines) != len(captions):
        raise RuntimeError(f"the tokenizer of Stanford CoreNLP failed: {done.stderr.strip()[-500:]}")
    punctuation = frozenset(ptbtokenizer.PUNCTUATIONS)
    return [" ".join(token for token in line.split() if token not in punctuation) for line in lines]
