"""Captions as words and as numbers of words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PAD, START, UNKNOWN, END = range(4)
"""Numbers that are no word: behind the end, the first input of the decoder, a rare word, the end."""

FIRST_WORD = 4

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def words_of(caption: str) -> tuple[str, ...]:
    """Return the words of a caption in lower case, without punctuation; hyphens and apostrophes inside words stay.

    Examples:
        >>> words_of("A man's T-shirt, red.")
        ('a', "man's", 't-shirt', 'red')
    """
    return tuple(_WORD.findall(caption.lower()))


@dataclass(frozen=True)
class Vocabulary:
    """Words by number.

    Attributes:
        words: the words; word i has the number ``FIRST_WORD + i``.
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, captions: Iterable[str], *, min_count: int) -> Vocabulary:
        """Return the words that occur at least ``min_count`` times, sorted.

        Examples:
            >>> Vocabulary.of(["a red two", "a two"], min_count=2).words
            ('a', 'two')
        """
        counts = Counter(word for caption in captions for word in words_of(caption))
        return cls(tuple(sorted(word for word, count in counts.items() if count >= min_count)))

    def __len__(self) -> int:
        """Return how many numbers there are."""
        return FIRST_WORD + len(self.words)

    def encode(self, references: Sequence[Sequence[str]], *, max_words: int) -> npt.NDArray[np.int64]:
        """Return captions as numbers, int64 [n, n_references, L]: start, words, end, then padding.

        Args:
            references: captions of each image; an image with fewer than the others repeats its own in turn.
            max_words: longest caption; words behind it are cut off.

        Examples:
            >>> Vocabulary(("a", "two")).encode([["a red two", "a two"]], max_words=9).tolist()
            [[[1, 4, 2, 5, 3], [1, 4, 5, 3, 0]]]
        """
        numbers = {word: FIRST_WORD + index for index, word in enumerate(self.words)}
        rows = [
            [[numbers.get(word, UNKNOWN) for word in words_of(caption)[:max_words]] for caption in captions]
            for captions in references
        ]
        n_references = max(map(len, rows))
        longest = max(len(row) for captions in rows for row in captions)
        encoded = np.full((len(rows), n_references, longest + 2), PAD, dtype=np.int64)
        for image, captions in zip(encoded, rows, strict=True):
            for index, target in enumerate(image):
                row = captions[index % len(captions)]
                target[: len(row) + 2] = [START, *row, END]
        return encoded

    def decode(self, numbers: Iterable[int]) -> str:
        """Return the words up to the end, with spaces between them.

        Examples:
            >>> Vocabulary(("a", "two")).decode([4, 5, 3, 4])
            'a two'
        """
        words = []
        for number in numbers:
            if number == END:
                break
            if number >= FIRST_WORD:
                words.append(self.words[number - FIRST_WORD])
        return " ".join(words)
