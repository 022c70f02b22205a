from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainables.evaluation.captions.words import END, PAD, START, UNKNOWN, Vocabulary, words_of

WORDS = st.text("abcé-'", min_size=1, max_size=4).filter(lambda word: words_of(word) == (word,))


@given(st.lists(st.lists(st.lists(WORDS, max_size=5).map(" ".join), min_size=1, max_size=3), min_size=1, max_size=4))
def test_known_captions_survive_their_numbers(references: list[list[str]]) -> None:
    vocabulary = Vocabulary.of([caption for some in references for caption in some], min_count=1)
    encoded = vocabulary.encode(references, max_words=9)
    assert encoded.max() < len(vocabulary)
    for image, captions in zip(encoded, references, strict=True):
        for index, row in enumerate(image):
            assert row[0] == START
            assert vocabulary.decode(row[1:]) == captions[index % len(captions)]
            assert (row[list(row).index(END) + 1 :] == PAD).all()


def test_rare_words_are_unknown_and_long_captions_are_cut() -> None:
    vocabulary = Vocabulary.of(["a red two", "a red cat"], min_count=2)
    assert vocabulary.words == ("a", "red")
    assert vocabulary.encode([["a red two", "a cat sat"]], max_words=2).tolist() == [
        [[START, 4, 5, END], [START, 4, UNKNOWN, END]]
    ]
