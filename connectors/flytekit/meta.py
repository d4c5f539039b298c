"""A flytekit plugin's metadata, as one of ours: the plugin's object, and the bytes that the plugin makes of it.

flytekit's own codec is JSON. Some plugins have one that pickles; to unpickle what came over the network is to run what
somebody sent. Flytower never does. It hands the bytes to that plugin's own codec, and to that only where the operator
has allowed it by name.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from flytekit.extend.backend.base_connector import ResourceMeta as FlytekitResourceMeta

from flytower.connectors.errors import ConnectorError
from flytower.connectors.resource_meta import ResourceMeta

PICKLING = ("pickle", "dill", "joblib", "marshal")
"""Words in the names that a codec uses when it turns bytes into arbitrary objects (cloudpickle, jsonpickle, ...)."""


class PickledMetadata(ConnectorError):  # noqa: N818 - it says what is wrong
    """A plugin pickles its metadata, and nobody has allowed that."""


class FlytekitMeta(ResourceMeta):
    """What a flytekit connector's create returned.

    Args:
        object: An instance of the plugin's own metadata class.
    """

    object: Any
    kind: ClassVar[Any]

    def encode(self) -> bytes:
        """Return the bytes that the plugin makes of it."""
        encoded: bytes = self.object.encode()
        return encoded

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Have the plugin read its bytes."""
        return cls(cls.kind.decode(data))


def meta_class(kind: Any, *, allowed: bool) -> type[FlytekitMeta]:
    """Return the class for a plugin's metadata.

    Args:
        kind: The plugin's metadata class.
        allowed: Whether it may unpickle.

    Raises:
        PickledMetadata: It would, and may not.
    """
    if not allowed and is_pickled(kind):
        raise PickledMetadata(
            f"{kind.__name__} pickles its metadata, and whoever can send it a request could run code here; "
            f"to allow that, name the task type in the setting flytekit_pickled_metadata"
        )
    return type(f"Flytekit{kind.__name__}", (FlytekitMeta,), {"kind": kind, "__module__": __name__})


def is_pickled(kind: Any) -> bool:
    """Whether a metadata class has a codec of its own that can make arbitrary objects."""
    for name in ("decode", "encode"):
        own = getattr(kind, name)
        function = getattr(own, "__func__", own)
        base = getattr(FlytekitResourceMeta, name)
        if function is getattr(base, "__func__", base):
            continue
        used = {*function.__code__.co_names, *function.__code__.co_freevars}
        if any(word in each for each in used for word in PICKLING):
            return True
    return False
