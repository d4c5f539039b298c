"""What a block of headers meant is remembered, as long as it means that."""

from __future__ import annotations

from typing import Any

import pytest
from hpack import Encoder
from hyperframe.frame import HeadersFrame

from flytower.protocol.fast_requests import BLOCKS, LARGEST_BLOCK
from flytower.protocol.headers import RequestHead
from tests.protocol.fast_receiver import HEADERS, opened, unindexed


def test_a_block_that_comes_again_is_not_decoded_again() -> None:
    client, receiver = opened()
    receiver.take(client.request())
    before = [each[1] for each in receiver.seen if isinstance(each, tuple) and len(each) == 3]
    receiver.take(client.request())
    after = [each[1] for each in receiver.seen if isinstance(each, tuple) and len(each) == 3]
    assert after[-1] is before[-1]


def test_a_block_means_something_else_when_the_table_has_changed() -> None:
    _, receiver = opened()
    encoder = Encoder()
    first = encoder.encode([*HEADERS, ("x-name", "one")])
    again = encoder.encode([*HEADERS, ("x-name", "one")])  # indexes only
    seen = []
    for number, block in enumerate((first, again, again, b"\x40\1x\1y", again)):
        receiver.take(HeadersFrame(101 + 2 * number, block, flags=["END_HEADERS"]).serialize())
        seen.append(receiver.seen[-1][1])
    assert seen[1] is seen[2]
    assert isinstance(seen[0], RequestHead)
    assert seen[0] == seen[1] != seen[4]


@pytest.mark.parametrize("change", ["entry", "size"])
def test_any_change_of_the_table_forgets_what_blocks_mean(change: str) -> None:
    client, receiver = opened()
    receiver.take(client.request())
    table: Any = receiver.h2.decoder.header_table
    assert table.blocks
    if change == "entry":
        table.add(b"x", b"y")
    else:
        table.maxsize = 100
    assert table.maxsize == (100 if change == "size" else 4096)
    assert not table.blocks


def test_what_is_remembered_is_bounded() -> None:
    _, receiver = opened()
    table: Any = receiver.h2.decoder.header_table
    literal = b"".join(unindexed(name, value) for name, value in HEADERS)
    for number in range(2 * BLOCKS):
        block = literal + unindexed("x", str(number))
        receiver.take(HeadersFrame(101 + 2 * number, block, flags=["END_HEADERS"]).serialize())
    assert len(table.blocks) == BLOCKS
    table.blocks.clear()
    receiver.take(HeadersFrame(901, literal + unindexed("x", "y" * 100) * 3, flags=["END_HEADERS"]).serialize())
    assert len(literal) + 300 > LARGEST_BLOCK
    assert not table.blocks
