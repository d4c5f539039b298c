"""Who is where: every address of a system by its path, and by the names given to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flytower.runtime.errors import NameTaken, UnknownActor
from flytower.runtime.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flytower.runtime.address import Address


class Names:
    """The addresses of one system. Supervisors add and remove paths; anyone may give an address a further name."""

    def __init__(self) -> None:
        self._addresses: dict[str, Address] = {}  # by path, which begins with "/", and by name, which does not

    def register(self, name: str, address: Address) -> None:
        """Give an actor a name, until it ends for good.

        Raises:
            NameTaken: Another actor has it.
        """
        if not name or name.startswith("/"):
            raise ValueError(f"a name is not empty and does not begin with a slash: {name!r}")
        self.add(name, address)
        address.monitor(lambda _: self.remove(name))

    def find(self, path_or_name: str) -> Address:
        """Return the address with that path or name.

        Raises:
            UnknownActor: There is none; the message says which come close.
        """
        try:
            return self._addresses[path_or_name]
        except KeyError:
            from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

            close = get_close_matches(path_or_name, self._addresses, n=1)
            hint = f"did you mean {close[0]}?" if close else "see System.tree() for what runs"
            raise UnknownActor(f"nothing is called {path_or_name}; {hint}") from None

    def ref(self, path_or_name: str) -> Ref[Any]:
        """Return the ref of the service with that path or name.

        Raises:
            UnknownActor: There is none, or it takes no messages.
        """
        address = self.find(path_or_name)
        if not isinstance(address, Ref):
            raise UnknownActor(f"{path_or_name} is no service, so it takes no messages")
        return address

    def add(self, key: str, address: Address) -> None:
        """Enter an address."""
        if key in self._addresses:
            raise NameTaken(f"{key} is taken by {self._addresses[key]!r}")
        self._addresses[key] = address

    def remove(self, key: str) -> None:
        """Take an address out."""
        del self._addresses[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._addresses)
