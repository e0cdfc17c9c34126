"""The listener probe's engine as a process of its own: a file with arguments of the module in, what was seen out."""

import json
import os.path
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "module_utils"))

from mtaudit.services import arguments, probe

params = {
    "canary": "", "deliver": False, "auth": [], "vantage": "stranger", "concurrency": 100, "per_server": 2, "timeout_s": 300.0,
    "target_timeout_s": 120.0, "tag": "mtaudit",
}  # fmt: skip
with open(sys.argv[1], encoding="utf-8") as file:
    params.update(json.load(file))
sys.stdout.write(json.dumps(probe.run(arguments.request_from(params))["listeners"]))
