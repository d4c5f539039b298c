"""Copies of flytekit's models are those models, and nobody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyteidl.admin import agent_pb2
from flyteidl.core import identifier_pb2, tasks_pb2
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import Resource
from flytekit.models.core.identifier import Identifier
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskExecutionMetadata, TaskTemplate
from hypothesis import given
from hypothesis import strategies as st

from flytower.connectors.flytekit import convert
from flytower.connectors.flytekit.copies import CONSTANT, copier
from flytower.protocol.decode import decode_untrusted
from flytower.protocol.generated.flyteidl import admin, core
from flytower.protocol.received import share

if TYPE_CHECKING:
    import pytest


def message(names: list[str], custom: dict[str, Any]) -> tasks_pb2.TaskTemplate:
    """A template with something in each part of it."""
    template = tasks_pb2.TaskTemplate(type="t", task_type_version=3)
    template.id.CopyFrom(identifier_pb2.Identifier(project="p", name="n"))
    template.metadata.cache_ignore_input_vars.extend(names)
    template.metadata.retries.retries = 2
    template.custom.update(custom)
    template.config["c"] = "d"
    for name in names:
        template.interface.inputs.variables[name].type.collection_type.simple = 1
        template.container.args.append(name)
        template.container.command.append(name)
        template.container.env.add(key=name, value=name)
        template.container.resources.requests.add(name=1, value="1")
    return template


def mutable(value: Any, found: dict[int, Any]) -> dict[int, Any]:
    """Everything that can be changed in a model, itself included, by id."""
    if isinstance(value, CONSTANT):
        return found
    found[id(value)] = value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in (*inner, *getattr(value, "__dict__", {}).values()):
        mutable(each, found)
    return found


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
plain = st.recursive(
    st.none() | st.booleans() | texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner)
)


@given(st.lists(texts, max_size=3, unique=True), st.dictionaries(texts, plain, max_size=3))
def test_a_copy_of_a_template_says_the_same_and_shares_nothing_that_can_be_changed(
    names: list[str], custom: dict[str, Any]
) -> None:
    model = TaskTemplate.from_flyte_idl(message(names, custom))
    make = copier(model)
    assert make is not None
    first, second = make(), make()
    assert first.to_flyte_idl() == second.to_flyte_idl() == model.to_flyte_idl()
    assert type(first) is TaskTemplate
    every = [mutable(each, {}) for each in (model, first, second)]
    assert [type(each) for each in every[1].values()] == [type(each) for each in every[0].values()]
    assert len(set().union(*every)) == sum(map(len, every))


def test_what_is_not_known_or_is_there_twice_is_not_copied() -> None:
    held = Identifier.from_flyte_idl(identifier_pb2.Identifier())
    held._project = object()
    assert copier(held) is None
    twice: dict[str, Any] = {}
    model = TaskTemplate.from_flyte_idl(message([], {}))
    model._custom = model._config = twice
    assert copier(model) is None


def shared(names: list[str]) -> core.TaskTemplate:
    return share(decode_untrusted(core.TaskTemplate, message(names, {"a": [1]}).SerializeToString()))


def as_flytekit_has_it(names: list[str]) -> tasks_pb2.TaskTemplate:
    return TaskTemplate.from_flyte_idl(message(names, {"a": [1]})).to_flyte_idl()


def test_each_task_of_a_shared_template_gets_a_model_of_its_own() -> None:
    template = shared(["x"])
    first = convert.template_of(template)
    first._type = first.custom["a"] = first.container.env["x"] = "spoilt"
    first.container.args.append("spoilt")
    first.interface.inputs["x"].type.collection_type._simple = 7
    second = convert.template_of(template)
    assert second.to_flyte_idl() == as_flytekit_has_it(["x"])


def test_the_model_of_a_shared_template_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    of_message = TaskTemplate.from_flyte_idl

    def counted(given: Any) -> Any:
        made.append(given)
        return of_message(given)

    monkeypatch.setattr(TaskTemplate, "from_flyte_idl", counted)
    template = shared([])
    for _ in range(3):
        convert.template_of(template)
    assert len(made) == 1
    for _ in range(2):
        convert.template_of(core.TaskTemplate(type="of one task"))
    assert len(made) == 3


def test_a_template_that_cannot_be_copied_is_made_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "copier", lambda _: None)
    template = shared(["x"])
    first, second = convert.template_of(template), convert.template_of(template)
    assert first is not second
    assert first.to_flyte_idl() == second.to_flyte_idl() == as_flytekit_has_it(["x"])


def test_what_flyte_has_not_said_of_an_execution_is_a_model_of_its_own_too() -> None:
    first = convert.metadata_of(None)
    first.labels["spoilt"] = "yes"
    assert type(first) is TaskExecutionMetadata
    fresh = TaskExecutionMetadata.from_flyte_idl(agent_pb2.TaskExecutionMetadata())
    assert vars(convert.metadata_of(None)).keys() == vars(fresh).keys()
    assert "spoilt" not in convert.metadata_of(None).labels
    assert type(convert.inputs_of(None)) is LiteralMap


# ---- what a poll says, again and again


def test_a_resource_that_says_the_same_as_another_is_the_same_message_and_a_large_one_is_its_own() -> None:
    running, failed = Resource(phase=TaskExecution.RUNNING), Resource(phase=TaskExecution.FAILED, message="no")
    assert convert.resource_at_once(running) is convert.resource_at_once(Resource(phase=TaskExecution.RUNNING))
    assert convert.resource_at_once(failed) == admin.Resource(phase=core.TaskExecutionPhase.FAILED, message="no")
    large = Resource(phase=TaskExecution.RUNNING, message="x" * (convert.SMALL_RESOURCE + 1))
    assert convert.resource_at_once(large) is not convert.resource_at_once(large)
    assert convert._small_resource_of.cache_info().maxsize == convert.RESOURCES
