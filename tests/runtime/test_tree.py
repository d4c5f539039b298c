from __future__ import annotations

from flytower.runtime.tree import Node, render

TREE = Node(
    "/node",
    "Supervisor",
    "running",
    age=12.34,
    children=(
        Node("/node/pool", "Supervisor", "running", children=(Node("/node/pool/a", "Probe", "up", 3, 2, 1.0),)),
        Node("/node/ledger", "Ledger", "idle"),
    ),
)


def test_a_tree_is_walked_parents_first_in_start_order() -> None:
    assert [node.path for node in TREE.walk()] == ["/node", "/node/pool", "/node/pool/a", "/node/ledger"]


def test_a_node_is_found_by_its_path() -> None:
    assert TREE.find("/node/pool/a") == Node("/node/pool/a", "Probe", "up", 3, 2, 1.0)
    assert TREE.find("/node/nobody") is None


def test_a_tree_is_drawn_for_a_human_a_line_an_actor() -> None:
    assert render(TREE).splitlines() == [
        "node (Supervisor) running, mailbox 0, 0 restarts, 12.3 s",
        "├── pool (Supervisor) running, mailbox 0, 0 restarts, 0.0 s",
        "│   └── a (Probe) up, mailbox 3, 2 restarts, 1.0 s",
        "└── ledger (Ledger) idle, mailbox 0, 0 restarts, 0.0 s",
    ]
