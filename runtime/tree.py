"""The tree of what runs, as data: for a human, a status page, and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Node:
    """One actor as it is now.

    Args:
        path: Where it hangs, "/node/gateway".
        kind: Its class name.
        state: One word: what it is doing.
        mailbox: Messages waiting for it.
        restarts: How often it was restarted since its supervisor started.
        age: Seconds since this incarnation started.
        children: What it supervises, in start order.
        count: How many actors it stands for: where there are thousands, one node sums them up.
    """

    path: str
    kind: str
    state: str
    mailbox: int = 0
    restarts: int = 0
    age: float = 0.0
    children: tuple[Node, ...] = ()
    count: int = 1

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, path: str) -> Node | None:
        """Return the node with that path, or None."""
        return next((node for node in self.walk() if node.path == path), None)


def render(node: Node) -> str:
    """Draw the tree, a line an actor."""
    return "\n".join(_lines(node, "", ""))


def _lines(node: Node, first: str, rest: str) -> Iterator[str]:
    name = node.path.rsplit("/", 1)[-1] or node.path
    yield (
        f"{first}{name} ({node.kind}) {node.state}, mailbox {node.mailbox}, {node.restarts} restarts, {node.age:.1f} s"
    )
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield from _lines(child, rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "))
