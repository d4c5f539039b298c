"""Which strings of a template are hidden from logs and answers."""

from __future__ import annotations

from typing import Any

import pytest

from flytower.actors.secrets import SHORTEST, secrets_of
from flytower.protocol.codec import dict_to_struct
from flytower.protocol.generated.flyteidl.core import Container, KeyValuePair, TaskTemplate

SECRET = "hunter22"  # noqa: S105 - an example


def custom(values: dict[str, Any]) -> TaskTemplate:
    return TaskTemplate(custom=dict_to_struct(values))


@pytest.mark.parametrize(
    "name",
    [
        "secret", "client_secret", "TOKEN", "databricksToken", "password", "PGPASSWORD", "passwd", "credentials",
        "api_key", "apikey", "AWS_ACCESS_KEY", "privateKey", "private_key", "Authorization", "Cookie", "Set-Cookie",
    ],
)  # fmt: skip
def test_what_stands_under_a_suspicious_name_is_secret_wherever_it_is_passed(name: str) -> None:
    pair = KeyValuePair(key=name, value=SECRET)
    for template in (
        custom({name: SECRET}),
        custom({"headers": {name: SECRET}}),
        custom({"steps": [1, {"env": {name: SECRET}}]}),
        TaskTemplate(config={name: SECRET}),
        TaskTemplate(container=Container(env=[pair])),
        TaskTemplate(container=Container(config=[pair])),
    ):
        assert secrets_of(template) == {SECRET}


@pytest.mark.parametrize("value", [[SECRET], {"a": SECRET}, {"a": [{"b": [SECRET, 7, None]}]}])
def test_everything_under_a_suspicious_name_is_suspect(value: object) -> None:
    assert secrets_of(custom({"credentials": value})) == {SECRET}


@pytest.mark.parametrize(
    "template",
    [
        None,
        TaskTemplate(),
        custom({}),
        custom({"url": "http://x", "retries": 3, "steps": ["a", 1]}),
        custom({"token": 12345678}),
        custom({"token": "a" * (SHORTEST - 1)}),
        TaskTemplate(container=Container(env=[KeyValuePair(key="HOME", value="/root")])),
    ],
)
def test_ordinary_and_very_short_values_are_left_readable(template: TaskTemplate | None) -> None:
    assert secrets_of(template) == frozenset()


def test_all_secrets_of_a_template_are_found_together() -> None:
    template = custom({"token": "one-1"})
    template.config = {"password": "two-2"}
    template.container = Container(env=[KeyValuePair(key="API_KEY", value="three")])
    assert secrets_of(template) == {"one-1", "two-2", "three"}
