"""OpenAI: a chat; and batches: create one, look at it, cancel it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests_plugins.counterparts.jobs import Counterpart, Jobs, Place
from tests_plugins.counterparts.web import Answer, Asked, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

STATES = {"running": "in_progress", "done": "completed", "cancelled": "cancelled"}

COMPLETION = {
    "id": "c",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
}


class OpenAI:
    """Its four endpoints."""

    def __init__(self) -> None:
        self.jobs = Jobs()

    def __call__(self, asked: Asked) -> Answer:
        """Answer."""
        if asked.headers["Authorization"] != "Bearer the key":
            return 401, {"error": {"message": "who are you?"}}
        match asked.method, asked.path.split("/")[2:]:
            case "POST", ["chat", "completions"]:
                return 200, COMPLETION
            case "POST", ["batches"]:
                return 200, self._batch(self.jobs.create(asked.text))
            case "POST", ["batches", batch, "cancel"]:
                self.jobs.cancel(batch)
                return 200, self._batch(batch)
            case "GET", ["batches", batch]:
                return 200, self._batch(batch)
        return 404, {}

    def _batch(self, batch: str) -> dict[str, Any]:
        about = {"completion_window": "24h", "created_at": 0, "endpoint": "/v1/chat/completions", "input_file_id": "f"}
        return {"id": batch, "object": "batch", "status": STATES[self.jobs.state(batch)], **about}


@contextmanager
def openai(_: Place) -> Iterator[Counterpart]:
    """Run it."""
    api = OpenAI()
    with serving(api) as port:
        variables = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
            "FLYTE_OPENAI_API_KEY": "the key",
            "_FSEC_FLYTE_OPENAI_API_KEY": "the key",
        }
        yield Counterpart(variables, lambda: api.jobs.record)
