"""Secrets do not leave the process in a text."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flytower.protocol.scrub import MASK, scrub


def test_every_occurrence_of_a_secret_is_masked() -> None:
    assert scrub("token s3cret: bad token s3cret", ["s3cret"]) == f"token {MASK}: bad token {MASK}"


def test_a_secret_within_another_one_leaves_nothing_of_the_longer() -> None:
    assert scrub("key abcd-efgh", ["abcd", "abcd-efgh"]) == f"key {MASK}"


def test_short_values_are_left_alone() -> None:
    assert scrub("1 of 100 failed", ["1", ""]) == "1 of 100 failed"


def test_a_secret_is_found_as_repr_and_json_print_it() -> None:
    secret = 'pass"wörd\n\\x'  # noqa: S105 - a secret of nobody
    assert scrub(f"{secret!r}", [secret]) == f"'{MASK}'"
    assert scrub(json.dumps({"p": secret}), [secret]) == f'{{"p": "{MASK}"}}'


@given(st.text(), st.lists(st.text(min_size=4), max_size=4), st.text())
def test_no_secret_is_left_in_any_text(before: Any, secrets: Any, after: Any) -> None:
    plain = [secret for secret in secrets if secret not in MASK and not any(c in MASK for c in secret)]
    text = scrub(before + "".join(plain) + after, plain)
    assert not any(secret in text for secret in plain)
