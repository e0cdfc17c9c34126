"""What the modules that change a host have in common: some of their arguments, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..config.files import ConfigError
from .places import SnapshotError
from .store import DIRECTORY

# As Ansible describes a module's arguments.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "reason": {"type": "str", "default": ""},
    "guard_after_s": {"type": "int", "default": 0},
    "directory": {"type": "path", "default": DIRECTORY},
}


def end(module: Any, change: Callable[[], dict[str, Any]]) -> None:
    """End the module with what the change answers; what it cannot do is its failure. `module` is an AnsibleModule."""
    try:
        result = change()
    except (ConfigError, SnapshotError) as exc:
        module.fail_json(msg=str(exc))
    if not module._diff:
        result.pop("diff", None)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)
