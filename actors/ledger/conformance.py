"""What every store must do, as checks that can be run against any of them.

For whoever writes a store: pass a function that opens yours, and each rule that it breaks is named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flytower.actors.ledger.row import Row
from flytower.actors.ledger.store import Change, LedgerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flytower.actors.ledger.store import Store

OpenStore = Callable[[], "Store"]
"""Opens the store. A durable one has what it had when it was closed, and may have rows of others."""

Rule = Callable[[OpenStore], None]
"""Raises ConformanceError when the store that it is given breaks it."""

MANY_ROWS = 1000
"""Rows in the largest commit of the ledger service, and more parameters than an old SQLite takes in one statement."""

LARGE_BYTES = 1 << 20
"""A megabyte: some requests are larger than what a database keeps inside of a row."""

LONG_HISTORY = 2000
"""Changes of a task of which nobody wants to read every single one."""

TOO_LARGE_SEQ = 1 << 63
"""One more than a database's 64 bits hold: a row that only few stores can write."""


class ConformanceError(AssertionError):
    """A store breaks a rule; the message says which, and how."""


def check_store(open_store: OpenStore, *, durable: bool) -> None:
    """Check all rules, one after the other.

    Args:
        open_store: Opens the store; called, and what it opened closed, several times.
        durable: Whether rows must outlive `close`.

    Raises:
        ConformanceError: The first rule that is broken.
    """
    for rule in rules(durable=durable):
        rule(open_store)


def rules(*, durable: bool) -> tuple[Rule, ...]:
    """Return the rules for a store, to be checked one by one."""
    return RULES + DURABLE_RULES if durable else RULES


def what_is_put_can_be_got(open_store: OpenStore) -> None:
    """Rows come back from `get` and from `rows` as they were put; what was never put does not."""
    written = [_row("put-1", 1), _row("put-2", 7, stage="living")]
    with _opened(open_store, "put-1", "put-2", "put-3") as store:
        store.put(written)
        _same(store.get("put-1"), written[0], "get returns the row that was put")
        _same(store.get("put-3"), None, "get returns None for an id that was never put")
        _same(_among(store, "put-1", "put-2", "put-3"), written, "rows returns all rows that were put")


def what_is_removed_is_gone(open_store: OpenStore) -> None:
    """Removed rows are gone, others stay, ids that are not there are ignored, and an id may begin again from 1."""
    with _opened(open_store, "rm-1", "rm-2", "rm-3") as store:
        store.put([_row("rm-1", 9), _row("rm-2", 1)])
        store.remove(iter(["rm-1", "rm-3"]))
        _same(store.get("rm-1"), None, "a removed row is gone")
        _same(_among(store, "rm-1", "rm-2"), [_row("rm-2", 1)], "remove takes out the rows asked for and no others")
        store.put([_row("rm-1", 1)])
        _same(store.get("rm-1"), _row("rm-1", 1), "a removed id may begin again with a lower seq")


def nothing_is_nothing(open_store: OpenStore) -> None:
    """Putting no rows and removing no ids is allowed, and does nothing."""
    with _opened(open_store, "none-1") as store:
        store.put([_row("none-1", 1)])
        store.put([])
        store.remove([])
        _same(store.get("none-1"), _row("none-1", 1), "an empty put or remove changes nothing")


def an_older_row_never_replaces_a_newer(open_store: OpenStore) -> None:
    """Of two rows of one id the one of the higher seq stays, and of the same seq the first."""
    with _opened(open_store, "seq-1", "seq-2") as store:
        store.put([_row("seq-1", 5, stage="kept")])
        for seq in (4, 5):
            store.put([_row("seq-1", seq, stage="late"), _row("seq-2", seq)])
            _same(store.get("seq-1"), _row("seq-1", 5, stage="kept"), "a row of a lower or the same seq is skipped")
            _same(store.get("seq-2"), _row("seq-2", seq), "a skipped row does not keep the others from being written")
        store.put([_row("seq-1", 6, stage="next")])
        _same(store.get("seq-1"), _row("seq-1", 6, stage="next"), "a row of a higher seq replaces the one kept")


def an_older_row_in_the_same_put_is_skipped(open_store: OpenStore) -> None:
    """The order inside one put does not matter, seq does."""
    with _opened(open_store, "in-1", "in-2", "in-3") as store:
        store.put([_row("in-1", 2), _row("in-2", 1), _row("in-1", 1), _row("in-2", 2)])
        store.put([_row("in-3", 1, stage="first"), _row("in-3", 1, stage="second")])
        _same(_among(store, "in-1", "in-2"), [_row("in-1", 2), _row("in-2", 2)], "in one put the highest seq wins")
        _same(store.get("in-3"), _row("in-3", 1, stage="first"), "in one put the first of the same seq wins")


def a_put_writes_all_or_nothing(open_store: OpenStore) -> None:
    """A put that cannot write one of its rows raises LedgerError and writes none; the store goes on."""
    with _opened(open_store, "all-1", "all-2", "all-3") as store:
        batch = [_row("all-1", 1), _row("all-2", TOO_LARGE_SEQ), _row("all-3", 1)]
        refused = _raises_ledger_error(lambda: store.put(batch))
        expected = [] if refused else batch
        _same(_among(store, "all-1", "all-2", "all-3"), expected, "a put writes all of its rows, or raises and none")
        store.put([_row("all-1", 2)])
        _same(store.get("all-1"), _row("all-1", 2), "a store goes on after a put that it refused")


def values_come_back_exactly(open_store: OpenStore) -> None:
    """Bytes, None, booleans, numbers, Unicode and a megabyte come back as they were, in value and type."""
    odd = [_full(f"val-{index}", every) for index, every in enumerate(_odd_bytes())]
    with _opened(open_store, *(row.id for row in odd)) as store:
        store.put(odd)
        for row in odd:
            kept = store.get(row.id)
            _same(kept, row, "values come back exactly")
            _same(repr(kept), repr(row), "values come back in their types")


def rows_of_a_category(open_store: OpenStore) -> None:
    """`rows` of a category are those whose name and version are both right."""
    there, other = _row("cat-1", 1), _row("cat-2", 1)._replace(category_version=1)
    elsewhere = _row("cat-3", 1)._replace(category_name="another")
    with _opened(open_store, "cat-1", "cat-2", "cat-3") as store:
        store.put([there, other, elsewhere])
        found = [row for row in store.rows(("conformance", 0)) if row.id.startswith("cat-")]
        _same(found, [there], "rows of a category has those of its name and version and no others")


def a_history_ends_with_the_row(open_store: OpenStore) -> None:
    """The history is in order of seq, its last change is the row that is kept, and it goes with the row."""
    with _opened(open_store, "hist-1") as store:
        _same(list(store.history("hist-1")), [], "what was never put has no history")
        last = _row("hist-1", 3, stage="living")._replace(changed_at=1.5, phase=4, wish=True, note="why")
        store.put([_row("hist-1", 1), _row("hist-1", 2)])
        store.put([last])
        history = store.history("hist-1")
        _same(sorted(history), list(history), "a history is in order of seq")
        _same(history[-1], Change(3, 1.5, "living", 4, True, "why"), "the last change is what the row says")
        store.remove(["hist-1"])
        _same(list(store.history("hist-1")), [], "the history of a removed row is gone")


def commands_wait_until_they_are_settled(open_store: OpenStore) -> None:
    """Commands come back in order until they are settled; those of a removed task are gone."""
    with _opened(open_store, "com-1", "com-2") as store:
        store.put([_row("com-1", 1), _row("com-2", 1)])
        store.post("com-1", "delete", 1.5)
        store.post("com-2", "forget", 2.5)
        found = [each for each in store.commands() if each.task.startswith("com-")]
        wanted = [("com-1", "delete", 1.5), ("com-2", "forget", 2.5)]
        _same([each[1:] for each in found], wanted, "commands come back in the order in which they were left")
        store.settle([found[0].number])
        _same(
            [each for each in store.commands() if each.task.startswith("com-")], found[1:], "a settled command is gone"
        )
        store.remove(["com-2"])
        _same([each for each in store.commands() if each.task == "com-2"], [], "a removed task has no commands")


def respites_are_kept_by_category(open_store: OpenStore) -> None:
    """Of each task category, by name and version, the respite that was written last comes back."""
    with _opened(open_store) as store:
        for version, until in ((1, 5.5), (2, 1e9), (1, 3.25)):
            store.note_respite(("respite", version), until)
        found = [store.respite(category) for category in (("respite", 1), ("respite", 2), ("respite", 3), ("", 1))]
        _same(found, [3.25, 1e9, 0.0, 0.0], "of each category, what was written last comes back, else 0.0")


def respites_outlive_close(open_store: OpenStore) -> None:
    """A respite is there after close and reopen."""
    with _opened(open_store) as store:
        store.note_respite(("respite", 4), 1795404184.25)
    with _closing(open_store()) as store:
        _same(store.respite(("respite", 4)), 1795404184.25, "a respite outlives close and reopen")


def every_change_is_remembered(open_store: OpenStore) -> None:
    """A history has every change, also those that came in one put; one of thousands may lack its middle."""
    with _opened(open_store, "long-1", "long-2") as store:
        store.put([_row("long-1", 1), _row("long-1", 2)])
        store.put([_row("long-1", 3)])
        _same([change.seq for change in store.history("long-1")], [1, 2, 3], "a history has every change")
        for start in range(1, LONG_HISTORY, 100):
            store.put([_row("long-2", seq) for seq in range(start, start + 100)])
        seqs = [change.seq for change in store.history("long-2")]
        _same((seqs[0], seqs[-1]), (1, LONG_HISTORY), "a long history has its beginning and its end")
        _same(len(seqs) < LONG_HISTORY, True, "a history does not grow without end")


def a_thousand_rows_fit_one_put(open_store: OpenStore) -> None:
    """A put, a remove and a read of a thousand rows work like those of one."""
    many = [_row(f"many-{index:04}", index + 1) for index in range(MANY_ROWS)]
    ids = [row.id for row in many]
    with _opened(open_store, *ids) as store:
        store.put(many)
        _same(_among(store, *ids), many, "a put writes as many rows as it is given")
        store.remove(ids)
        _same(_among(store, *ids), [], "a remove takes out as many rows as it is given")


def threads_may_put_at_once(open_store: OpenStore) -> None:
    """Puts from two threads are both written, whole, and the newest row of an id wins."""
    first = [[_row("thread-a", seq), _row("thread-s", seq)] for seq in range(1, 20, 2)]
    second = [[_row("thread-b", seq), _row("thread-s", seq)] for seq in range(2, 21, 2)]
    with _opened(open_store, "thread-a", "thread-b", "thread-s") as store, ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(_put_each, store, batches) for batches in (first, second)]:
            done.result()
        expected = [_row("thread-a", 19), _row("thread-b", 20), _row("thread-s", 20)]
        _same(_among(store, "thread-a", "thread-b", "thread-s"), expected, "puts from two threads are both written")


def rows_outlive_close(open_store: OpenStore) -> None:
    """What was put is there after close and reopen, what was removed is not, and seq still counts."""
    kept = _full("dur-1", bytes(range(256)))
    with _opened(open_store, "dur-1", "dur-2") as store:
        store.put([kept, _row("dur-2", 1)])
        store.remove(["dur-2"])
    with _closing(open_store()) as store:
        _same(store.get("dur-1"), kept, "a row outlives close and reopen")
        _same(store.get("dur-2"), None, "a removed row stays gone after close and reopen")
        store.put([_row("dur-1", kept.seq - 1)])
        _same(store.get("dur-1"), kept, "an older row is skipped after close and reopen too")


def rows_are_durable_before_close(open_store: OpenStore) -> None:
    """A second one that is opened beside the first reads what the first has put, without waiting for its close."""
    with _opened(open_store, "now-1") as store:
        store.put([_row("now-1", 1)])
        with _closing(open_store()) as beside:
            _same(beside.get("now-1"), _row("now-1", 1), "a row is durable when put returns, not when close does")


RULES: tuple[Rule, ...] = (
    what_is_put_can_be_got,
    what_is_removed_is_gone,
    nothing_is_nothing,
    an_older_row_never_replaces_a_newer,
    an_older_row_in_the_same_put_is_skipped,
    a_put_writes_all_or_nothing,
    values_come_back_exactly,
    rows_of_a_category,
    a_history_ends_with_the_row,
    commands_wait_until_they_are_settled,
    a_thousand_rows_fit_one_put,
    threads_may_put_at_once,
    respites_are_kept_by_category,
)

DURABLE_RULES: tuple[Rule, ...] = (
    rows_outlive_close,
    rows_are_durable_before_close,
    every_change_is_remembered,
    respites_outlive_close,
)


def _row(task: str, seq: int, *, stage: str = "creating") -> Row:
    return Row(task, seq, "conformance", 0, stage)


def _full(task: str, content: bytes) -> Row:
    """Return a row without a single default."""
    return Row(
        id=task,
        seq=TOO_LARGE_SEQ - 1,
        category_name="naïve-任务-🛫'\"\\%",
        category_version=(1 << 31) - 1,
        stage="living",
        key="\u0001\n\t e\u0301",
        generation=3,
        place=" padded ",
        attempt=999_999_999,
        fingerprint="0" * 64,
        request=content,
        meta=content,
        name=content,
        phase=-1,
        resource=content,
        wish=True,
        verdict=content,
        withheld=True,
        created_at=1795404184.25,
        changed_at=0.1 + 0.2,
        ended_at=1e300,
        note="naïve-任务",
        unread=True,
    )


def _odd_bytes() -> Iterator[bytes]:
    yield b""
    yield bytes(range(256))
    yield b"None"
    yield b"\0" * 3
    yield bytes(range(256)) * (LARGE_BYTES // 256)


@contextmanager
def _opened(open_store: OpenStore, *ids: str) -> Iterator[Store]:
    """Open the store, without the rows that an earlier rule or run has left under these ids."""
    with _closing(open_store()) as store:
        store.remove(ids)
        yield store


@contextmanager
def _closing(store: Store) -> Iterator[Store]:
    try:
        yield store
    finally:
        store.close()


def _put_each(store: Store, batches: Iterable[Sequence[Row]]) -> None:
    for batch in batches:
        store.put(batch)


def _among(store: Store, *ids: str) -> list[Row]:
    """Return which of these the store has, by id: it may have others."""
    wanted = frozenset(ids)
    return sorted((row for row in store.rows() if row.id in wanted), key=lambda row: row.id)


def _raises_ledger_error(action: Callable[[], None]) -> bool:
    try:
        action()
    except LedgerError:
        return True
    except Exception as error:
        raise ConformanceError(f"a store raises LedgerError and nothing else, not {error!r}") from error
    return False


def _same(found: object, expected: object, rule: str) -> None:
    if found != expected:
        raise ConformanceError(f"{rule}: expected {expected!r:.500}, found {found!r:.500}")
