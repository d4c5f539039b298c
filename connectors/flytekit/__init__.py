"""flytekit's connectors, unmodified: whatever is in flytekit's own registry, served beside Flytower's.

Nothing of flytekit is imported before `load`.
"""

from __future__ import annotations

from flytower.connectors.flytekit.loading import EVERY, FlytekitMissing, import_flytekit, load

__all__ = ["EVERY", "FlytekitMissing", "import_flytekit", "load"]
