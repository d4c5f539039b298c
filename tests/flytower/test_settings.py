"""What an operator can set."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytower.actors.node import DEFAULT_METRICS_PORT, DEFAULT_PORT, NodeConfig
from flytower.connectors.registry import Registry
from flytower.protocol.limits import Limits
from flytower.setting_sources import ELSEWHERE, is_service_link, load
from flytower.setting_values import from_text, from_toml
from flytower.settings import DEFAULT, Key, Settings, SettingsError, catalogue

if TYPE_CHECKING:
    from pathlib import Path


def problems(flags: dict[str, Any], environ: dict[str, str], config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, environ, config)
    return str(caught.value)


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    return tmp_path / "flytower.toml"


class TestOrder:
    """Flag, environment, file, default."""

    def test_nobody_says_anything_and_the_defaults_are_in_force(self) -> None:
        settings = load({}, {})
        assert (settings.host, settings.port, settings.metrics_port) == ("127.0.0.1", 8000, 9090)
        assert settings.limits == Limits()
        assert settings.origin("port") == DEFAULT

    def test_a_flag_beats_the_environment_which_beats_the_file(self, file: Path) -> None:
        file.write_text('port = 1\nhost = "file"\ngrace = 3\n')
        environ = {"FLYTOWER_PORT": "2", "FLYTOWER_HOST": "environment"}
        settings = load({"port": 3, "host": None}, environ, file)
        assert (settings.port, settings.host, settings.grace) == (3, "environment", 3.0)

    def test_each_setting_says_where_it_came_from(self, file: Path) -> None:
        file.write_text("grace = 3\n[limits]\nmax_calls = 7\n")
        settings = load({"metrics_port": 1}, {"FLYTOWER_HOST": "h"}, file)
        assert settings.origin("metrics_port") == "the flag --metrics-port"
        assert settings.origin("host") == "FLYTOWER_HOST"
        assert settings.origin("grace") == f"grace in {file}"
        assert settings.origin("limits.max_calls") == f"limits.max_calls in {file}"

    def test_the_environment_names_the_file(self, file: Path) -> None:
        file.write_text("port = 5")
        assert load({}, {"FLYTOWER_CONFIG": str(file)}).port == 5

    def test_the_flags_file_is_read_instead_of_the_environments(self, file: Path, tmp_path: Path) -> None:
        file.write_text("port = 5")
        (tmp_path / "other.toml").write_text("port = 6")
        assert load({}, {"FLYTOWER_CONFIG": str(tmp_path / "other.toml")}, file).port == 5

    def test_limits_are_settings_too(self, file: Path) -> None:
        file.write_text("[limits]\nmax_calls = 7\n")
        limits = load({}, {"FLYTOWER_LIMITS_MAX_CONNECTIONS": "8"}, file).limits
        assert (limits.max_calls, limits.max_connections) == (7, 8)
        assert limits.max_message_bytes == Limits().max_message_bytes


class TestRefusals:
    """What cannot be used is named, with what to do."""

    @pytest.mark.parametrize(
        ("environ", "advice"),
        [
            ({"FLYTOWER_PROT": "1"}, "did you mean FLYTOWER_PORT?"),
            ({"FLYTOWER_LIMITS_MAX_CALL": "1"}, "did you mean FLYTOWER_LIMITS_MAX_CALLS?"),
            ({"FLYTOWER_QQ": "1"}, "see `flytower settings`"),
        ],
    )
    def test_an_unknown_variable_is_refused_with_the_nearest_right_one(
        self, environ: dict[str, str], advice: str
    ) -> None:
        assert advice in problems({}, environ)

    @pytest.mark.parametrize(
        ("text", "advice"),
        [
            ("metrics-port = 1", "did you mean metrics_port?"),
            ("[limits]\nmax_cals = 1", "did you mean limits.max_calls?"),
            ("[server]\nport = 1", "There is no key server"),
            ("limits = 3", "limits must be a table"),
        ],
    )
    def test_an_unknown_key_of_the_file_is_refused(self, file: Path, text: str, advice: str) -> None:
        file.write_text(text)
        assert advice in problems({}, {}, file)

    def test_all_problems_are_told_at_once(self, file: Path) -> None:
        file.write_text('port = "x"\nwrong = 1\n[limits]\nmax_calls = 0\nmax_connections = -1\n')
        told = problems({"grace": -1.0, "log_level": "loud"}, {"FLYTOWER_METRICS_PORT": "many"}, file)
        for text in (
            "port must be",
            "wrong",
            "max_calls",
            "max_connections",
            "grace",
            "log_level",
            "METRICS_PORT must",
        ):
            assert text in told

    def test_a_problem_names_the_setting_its_origin_and_what_it_may_be(self) -> None:
        told = problems({}, {"FLYTOWER_PORT": "70000"})
        assert told == "port (FLYTOWER_PORT) must be from 0 (any free one) to 65535, not 70000."

    @pytest.mark.parametrize("text", ["port = ", "\xff"])
    def test_a_broken_file_is_named(self, file: Path, text: str) -> None:
        file.write_bytes(text.encode("latin-1"))
        assert str(file) in problems({}, {}, file)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        assert "nothing.toml cannot be read" in problems({}, {}, tmp_path / "nothing.toml")

    @pytest.mark.parametrize("text", ["port = true", "port = 1.5", "modules = 'a'", "entry_points = 1", "grace = nan"])
    def test_a_value_of_the_wrong_type_is_refused(self, file: Path, text: str) -> None:
        file.write_text(text)
        assert "must be" in problems({}, {}, file)

    @pytest.mark.parametrize("name", ["./a.py", "a/b", "a.", ""])
    def test_a_path_is_no_module(self, name: str) -> None:
        assert "module name" in problems({"modules": (name,)}, {})

    def test_two_servers_cannot_have_one_port(self) -> None:
        assert "must differ" in problems({"port": 9090}, {})
        assert load({"port": 0, "metrics_port": 0}, {}).port == 0
        assert load({"port": 9090, "metrics_host": "127.0.0.2"}, {}).port == 9090

    def test_a_flag_is_read_like_a_variable(self) -> None:
        assert load({"metrics_port": "off"}, {}).metrics_port is None
        assert problems({"port": "x"}, {}) == "--port must be a whole number, not 'x'."

    def test_settings_made_by_hand_are_checked_as_well(self) -> None:
        with pytest.raises(SettingsError, match="port"):
            Settings(port=-1)


class TestKubernetes:
    """A service that is called flytower gives every pod variables with our prefix."""

    def test_its_variables_are_passed_over(self) -> None:
        injected = {
            "FLYTOWER_SERVICE_HOST": "10.0.0.1",
            "FLYTOWER_SERVICE_PORT": "8000",
            "FLYTOWER_SERVICE_PORT_GRPC": "8000",
            "FLYTOWER_PORT": "tcp://10.0.0.1:8000",
            "FLYTOWER_PORT_8000_TCP": "tcp://10.0.0.1:8000",
            "FLYTOWER_PORT_8000_TCP_ADDR": "10.0.0.1",
            "FLYTOWER_METRICS_PORT": "tcp://10.0.0.2:9090",
            "FLYTOWER_METRICS_SERVICE_HOST": "10.0.0.2",
        }
        assert load({}, injected) == Settings()

    def test_ours_are_not(self) -> None:
        assert not any(is_service_link(key.variable, "1") for key in catalogue())


class TestCatalogue:
    """The list of all settings."""

    def test_it_has_every_setting_and_every_limit(self) -> None:
        names = {key.name for key in catalogue()}
        assert {f"limits.{each.name}" for each in fields(Limits)} < names
        assert {each.name for each in fields(Settings)} - {"limits", "origins"} < names

    def test_every_setting_says_what_it_is_and_why_its_default_is(self) -> None:
        assert all(key.doc and key.why for key in catalogue() if "." not in key.name)

    def test_no_two_share_a_variable(self) -> None:
        variables = [key.variable for key in catalogue()]
        assert len(variables) == len(set(variables))
        assert not ELSEWHERE & set(variables)

    def test_every_default_passes_its_own_check(self) -> None:
        assert [problem for key in catalogue() for problem in key.problems(Settings())] == []


def written(value: Any) -> str:
    """Write a value the way an operator does in a variable."""
    if value is None:
        return "off"
    return ",".join(value) if isinstance(value, tuple) else str(value)


PORT = st.integers(0, 65535).filter(lambda port: port not in (DEFAULT_PORT, DEFAULT_METRICS_PORT))
"""Any, but that the two may not be the same, and one of them has its default."""

MODULE = st.from_regex(r"[a-z_]\w{0,5}(\.[a-z_]\w{0,5}){0,2}", fullmatch=True).filter(str.isascii)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "port": PORT,
    "metrics_port": st.none() | PORT,
    "grace": st.floats(2, 3600),
    "entry_points": st.booleans(),
    "modules": st.lists(MODULE, max_size=4).map(tuple),
    "log_level": st.sampled_from(["debug", "error"]),
    "limits.max_calls": st.integers(1, 10**9),
    "limits.idle_seconds": st.floats(0.001, 1e6),
}
KEYS = {key.name: key for key in catalogue()}


@given(st.data(), st.sampled_from(sorted(VALUES)))
def test_what_is_written_into_a_variable_is_what_is_in_force(data: st.DataObject, name: str) -> None:
    value = data.draw(VALUES[name])
    settings = load({}, {KEYS[name].variable: written(value)})
    assert settings.value(name) == value
    assert settings.origin(name) == KEYS[name].variable


@given(st.sampled_from(catalogue()), st.text(max_size=20))
def test_no_text_does_anything_worse_than_being_refused(key: Key, text: str) -> None:
    try:
        from_text(key.kind, text)
    except ValueError as error:
        assert str(error).startswith("must be")  # noqa: PT017 - both outcomes are right


@given(
    st.sampled_from(catalogue()),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=3),
)
def test_a_value_of_the_file_has_the_settings_type_or_is_refused(key: Key, value: object) -> None:
    try:
        taken = from_toml(key.kind, value)
    except ValueError:
        return
    assert taken is None or isinstance(taken, (tuple, int, float, str))
    assert key.kind is bool or not isinstance(taken, bool)


def test_defaults_that_a_room_has_too_are_the_same() -> None:
    settings = Settings()
    config = NodeConfig(Registry())
    for name in ("host", "port", "metrics_host", "metrics_port", "grace", "limits", "tasks"):
        assert getattr(settings, name) == getattr(config, name), name
