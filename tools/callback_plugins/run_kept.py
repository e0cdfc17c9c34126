"""Write into Ansible's log, and nowhere else, where the run is kept that a play has reported on. `make audit` reads it there.

What the play shows does not always tell: its summary can be switched off, and names one file of those that were asked for.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: run_kept
type: notification
short_description: Write into the log where the run is kept
description:
  - Writes one line, C(Run kept in) and the run directory, for every report that was made.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc] # ansible has no types
    """Takes the directory from the arguments of the module that made the report."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "run_kept"

    def v2_runner_on_ok(self, result: Any) -> None:
        arguments = result._result.get("invocation", {}).get("module_args", {})
        if result._task.action == "mta_report" and arguments.get("run_directory"):
            self._display.display(f"Run kept in {arguments['run_directory']}", log_only=True)
