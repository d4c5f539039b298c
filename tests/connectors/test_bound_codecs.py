"""Metadata whose author encodes it himself."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from flytower.connectors import (
    Bound,
    ConnectorContractError,
    ResourceMeta,
    ResourceMetaError,
)
from tests.connectors.recording import META, Meta, Recording, create


class Odd(ResourceMeta):
    job_id: str
    encoded: ClassVar[Any] = b"odd"
    decoded: ClassVar[Any] = None

    def encode(self) -> bytes:
        encoded: bytes = _raised_or(self.encoded)
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Any:
        return _raised_or(cls.decoded or cls(job_id=data.decode()))


def _raised_or(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


async def test_an_author_may_encode_as_he_likes() -> None:
    connector = Recording(metadata_type=Odd, create=Odd("7"))
    bound = Bound(connector)
    assert await create(bound) == b"odd"
    await bound.get(b"odd")
    assert connector.calls[-1][1]["resource_meta"].job_id == "odd"


@pytest.mark.parametrize("error", [KeyError("x"), RecursionError(), SystemExit(1)])
async def test_whatever_his_codec_raises_is_one_kind_of_error(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = Bound(Recording(metadata_type=Odd, create=Odd("7")))
    monkeypatch.setattr(Odd, "encoded", error)
    monkeypatch.setattr(Odd, "decoded", error)
    with pytest.raises(ResourceMetaError):
        await create(bound)
    for call in (bound.get, bound.delete, bound.decode):
        with pytest.raises(ResourceMetaError):
            await _maybe_await(call(META))


async def _maybe_await(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else value


async def test_a_codec_that_gives_something_else_is_the_authors_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = Bound(Recording(metadata_type=Odd, create=Odd("7")))
    monkeypatch.setattr(Odd, "encoded", "text")
    monkeypatch.setattr(Odd, "decoded", Meta("1"))
    with pytest.raises(ConnectorContractError, match="not bytes"):
        await create(bound)
    with pytest.raises(ResourceMetaError, match="but a Meta"):
        bound.decode(META)
