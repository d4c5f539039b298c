from __future__ import annotations

import inspect
import pkgutil

import flytower.runtime
from flytower.runtime import errors


def test_each_public_name_is_exported_once_and_is_there() -> None:
    names = flytower.runtime.__all__
    assert len(names) == len(set(names))
    assert all(hasattr(flytower.runtime, name) for name in names)


def test_every_error_of_the_kernel_is_exported() -> None:
    raised = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert raised <= set(flytower.runtime.__all__)


def test_what_is_exported_says_what_it_is_for() -> None:
    assert [name for name in flytower.runtime.__all__ if not inspect.getdoc(getattr(flytower.runtime, name))] == []


def test_testing_tools_are_not_imported_with_the_kernel() -> None:
    modules = {module.name for module in pkgutil.iter_modules(flytower.runtime.__path__)}
    assert "testing" in modules
    assert "Driver" not in vars(flytower.runtime)
