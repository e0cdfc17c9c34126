"""Keep what each task answered, a JSON line each, in the file $ANSWERS: host, task and answer."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: answers
type: aggregate
short_description: Keep what each task answered
description: For the tests.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "answers"

    def _keep(self, result: Any, failed: bool = False) -> None:
        line = {"host": result._host.get_name(), "task": result._task.get_name(), "failed": failed, "answer": result._result}
        with open(os.environ["ANSWERS"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._keep(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._keep(result, failed=not ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._keep(result, failed=True)
