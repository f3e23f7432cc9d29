import itertools

import numpy as np
import pytest

from textcls.rows import Pieces, cut, share_room


def test_join_keeps_the_texts_apart():
    pieces = Pieces.join([[1, 2], [], [3]])
    assert len(pieces) == 3 and pieces.lengths.tolist() == [2, 0, 1]
    assert [text.tolist() for text in pieces] == [[1, 2], [], [3]]
    assert len(Pieces.join([])) == 0


def longest_first(a: int, b: int, room: int) -> list[int]:
    """Take one token at a time from the longer text (the second where equal): the slow definition."""
    while a + b > room:
        if a > b:
            a -= 1
        else:
            b -= 1
    return [a, b]


def test_pairs_share_the_room_as_longest_first_does():
    for a, b, room in itertools.product(range(9), range(9), range(2, 14)):
        assert share_room([a, b], room) == longest_first(a, b, room), (a, b, room)


@pytest.mark.parametrize(
    "truncate, expected", [("head", [0, 1, 2, 3, 4]), ("tail", [5, 6, 7, 8, 9]), ("headtail", [0, 1, 2, 8, 9])]
)
def test_cut(truncate, expected):
    assert cut(np.arange(10), 5, truncate) == expected
    assert cut(np.arange(3), 5, truncate) == [0, 1, 2]
