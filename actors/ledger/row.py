"""One task as the ledger keeps it."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """The durable part of a task: plain values only, and never a secret.

    Args:
        id: The task's id and idempotency key.
        seq: Counts the changes; a row with a lower one never replaces one with a higher.
        category_name: The task category's name.
        category_version: The task category's version.
        stage: `actors.task.Stage` by its value.
        key: What identifies the task across retries of its CreateTask; "" for one that nothing identifies.
        generation: Which task under that key this is.
        place: What the attempts of one Flyte task have in common.
        attempt: Which of them this is.
        fingerprint: What a retried CreateTask must agree in.
        request: The encoded CreateTaskRequest, as long as create may have to be repeated; b"" otherwise.
        meta: The connector's resource_meta; None until create has returned.
        name: The resource_meta that CreateTask answered.
        phase: The phase last published.
        resource: The encoded Resource last published.
        wish: Whether somebody wants it deleted.
        verdict: The encoded Resource to answer once a delete was tried.
        withheld: Whether the request carries secrets, so that it is not kept.
        unread: Whether it is certain that nobody has ever read it; not known of rows that schema 0001 has written.
        created_at: When the task was begun, in Unix seconds. Times are for people; order comes from `seq`.
        changed_at: When it became what the row says.
        ended_at: When it was over, as far as `changed_at` is that; 0 as long as it is not.
        note: Why it changed, in a few words, for the history.
    """

    id: str
    seq: int
    category_name: str
    category_version: int
    stage: str
    key: str = ""
    generation: int = 1
    place: str = ""
    attempt: int = 0
    fingerprint: str = ""
    request: bytes = b""
    meta: bytes | None = None
    name: bytes = b""
    phase: int = 0
    resource: bytes = b""
    wish: bool = False
    verdict: bytes = b""
    withheld: bool = False
    created_at: float = 0.0
    changed_at: float = 0.0
    ended_at: float = 0.0
    note: str = ""
    unread: bool = False
