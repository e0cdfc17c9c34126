#!/usr/bin/python
# Copyright: (c) 2026, mtaudit contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mta_report
short_description: Turn a run into reports and judge it
version_added: 0.1.0
description:
  - Runs on the controller. Joins what configuration, simulation and probe said, compares it with earlier runs, writes the
    report files into the run directory, and says whether the run meets its gate.
  - Never fails because of a finding. What to do about RV(gate) is the caller's decision.
  - The same run gives the same files; a second call changes nothing.
author: mtaudit contributors (@mtaudit)
requirements:
  - Jinja2, for the format V(html)
extends_documentation_fragment: [action_common_attributes]
attributes:
  check_mode: {support: full}
  diff_mode: {support: none}
  platform: {platforms: posix}
options:
  run_directory:
    description:
      - Directory of the run, as M(mta_collect) filled it.
      - The report files are written there, readable by the owner only.
    type: path
    required: true
  history_directory:
    description: Directory that holds the run directories. Defaults to the parent of O(run_directory).
    type: path
  template_directory:
    description: Directory with the templates of the HTML report. Required for the format V(html).
    type: path
  formats:
    description: Which files to write.
    type: list
    elements: str
    choices: [json, html, junit, sarif, csv, markdown, metrics]
    default: [json, html, junit, sarif, csv, markdown, metrics]
  title:
    description: Heading of the reports.
    type: str
    default: Mail server audit
  keep_runs:
    description: How many runs to keep in O(history_directory), this one included. Older ones are deleted.
    type: int
    default: 365
  fail_on:
    description: The gate is met by a failure of this severity or worse.
    type: str
    choices: [none, critical, high, medium, low]
    default: none
  fail_on_incomplete:
    description:
      - The gate is met when a smaller share of the controls than this got an answer; from V(0) to V(1).
      - A run in which nothing was answered always meets the gate.
    type: float
    default: 0.0
  hosts_per_page:
    description: With more hosts than this, the HTML report is an index and a page per host.
    type: int
    default: 200
  colour:
    description: Colour RV(summary_text) for a terminal.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Report on a run
  mta_report:
    run_directory: reports/runs/20261121T204500Z
    template_directory: roles/mta_report/templates
    fail_on: high
  delegate_to: localhost
  become: false
  run_once: true
"""

RETURN = r"""
summary_text:
  description: The answer, a table of the hosts and the worst findings, for the terminal; ASCII.
  returned: success
  type: str
answer:
  description: Whether the hosts can be used to send spam, V(yes), V(unknown) or V(no).
  returned: success
  type: str
  sample: "yes"
headline:
  description: The answer as a sentence.
  returned: success
  type: str
  sample: Yes. 2 of 12 servers can be used to send spam, 1 of them proven by a delivered test message.
counts:
  description: Findings by status.
  returned: success
  type: dict
  sample: {fail: 3, pass: 148, unknown: 1}
failing:
  description: Failures by severity.
  returned: success
  type: dict
  sample: {critical: 1, high: 2}
gate:
  description: Whether the run shall fail, and why.
  returned: success
  type: dict
  contains:
    met: {description: Whether the run shall fail., type: bool, returned: always}
    message:
      description: What is wrong, how much of it, and where the report is; empty when the gate is not met.
      type: str
      returned: always
    reasons: {description: Each reason as a sentence., type: list, elements: str, returned: always}
    fail_on: {description: As given., type: str, returned: always}
    fail_on_incomplete: {description: As given., type: float, returned: always}
    worst: {description: Severity of the worst failure., type: str, returned: always}
    failing: {description: Number of failures that count for the gate., type: int, returned: always}
    asked: {description: Controls that apply; counted host by host., type: int, returned: always}
    answered: {description: Those of them that got an answer., type: int, returned: always}
    answered_share: {description: From 0 to 1., type: float, returned: always}
files:
  description: Path of each format's file.
  returned: success
  type: dict
  sample: {html: /srv/audit/reports/runs/20261121T204500Z/report.html}
removed:
  description: Run directories that were deleted, because they are beyond O(keep_runs).
  returned: success
  type: list
  elements: str
stats:
  description: A small summary for C(set_stats).
  returned: success
  type: dict
"""

import errno
import os
import traceback

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.basic import missing_required_lib
from ansible.module_utils.mtaudit.report.history import remove_runs
from ansible.module_utils.mtaudit.report.produce import Made
from ansible.module_utils.mtaudit.report.produce import Options
from ansible.module_utils.mtaudit.report.produce import make
from ansible.module_utils.mtaudit.report.produce import outdated_runs
from ansible.module_utils.mtaudit.report.produce import results
from ansible.module_utils.mtaudit.report.produce import unreadable_history
from ansible.module_utils.mtaudit.report.produce import write_reports
from ansible.module_utils.mtaudit.report.run import RunError

try:
    from jinja2 import TemplateError
    JINJA2_ERROR = None
except ImportError:
    TemplateError = ValueError
    JINJA2_ERROR = traceback.format_exc()

ARGUMENTS = {
    "run_directory": {"type": "path", "required": True},
    "history_directory": {"type": "path"},
    "template_directory": {"type": "path"},
    "formats": {
        "type": "list",
        "elements": "str",
        "choices": ["json", "html", "junit", "sarif", "csv", "markdown", "metrics"],
        "default": ["json", "html", "junit", "sarif", "csv", "markdown", "metrics"],
    },
    "title": {"type": "str", "default": "Mail server audit"},
    "keep_runs": {"type": "int", "default": 365},
    "fail_on": {"type": "str", "choices": ["none", "critical", "high", "medium", "low"], "default": "none"},
    "fail_on_incomplete": {"type": "float", "default": 0.0},
    "hosts_per_page": {"type": "int", "default": 200},
    "colour": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = _options(module)
    try:
        made = make(options)
    except RunError as exc:
        module.fail_json(msg=str(exc))
    changed = _write(module, options, made)
    for path in unreadable_history(options, made):
        module.warn(f"Could not read {path}: the report is not compared with that run. Delete the file to silence this.")
    outdated = outdated_runs(options)
    if outdated and not module.check_mode:
        try:
            remove_runs(outdated)
        except OSError as exc:
            module.warn(f"Could not delete old runs in {options.history_directory}: {exc}")
    told = results(options, made, module.params["colour"])
    module.exit_json(changed=changed or bool(outdated), removed=[str(path) for path in outdated], **told)


def _options(module: AnsibleModule) -> Options:
    params = module.params
    if "html" in params["formats"]:
        if JINJA2_ERROR:
            module.fail_json(msg=missing_required_lib("Jinja2"), exception=JINJA2_ERROR)
        if not params["template_directory"]:
            module.fail_json(msg="The format html needs template_directory: roles/mta_report/templates of this project")
    if not 0 <= params["fail_on_incomplete"] <= 1:
        module.fail_json(msg=f"fail_on_incomplete is a share from 0 to 1, not {params['fail_on_incomplete']:g}")
    for name in ("keep_runs", "hosts_per_page"):
        if params[name] < 1:
            module.fail_json(msg=f"{name} must be at least 1, not {params[name]}")
    directory = os.path.abspath(params["run_directory"])
    return Options(
        run_directory=directory,
        history_directory=os.path.abspath(params["history_directory"] or os.path.dirname(directory)),
        template_directory=params["template_directory"] or "",
        formats=tuple(params["formats"]),
        title=params["title"],
        keep_runs=params["keep_runs"],
        fail_on=params["fail_on"],
        fail_on_incomplete=params["fail_on_incomplete"],
        hosts_per_page=params["hosts_per_page"],
    )


def _write(module: AnsibleModule, options: Options, made: Made) -> bool:
    try:
        return write_reports(options, made, dry_run=module.check_mode)
    except OSError as exc:
        why = f"{exc.strerror or exc}{f' ({exc.filename})' if exc.filename else ''}"
        advice = "Make room there" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "Make it writable"
        module.fail_json(msg=f"Could not write the reports into {options.run_directory}: {why}. {advice}, or set "
                             f"mta_report_directory to another directory. What the run found out: {made.report.headline}")
    except TemplateError as exc:
        module.fail_json(msg=f"Could not fill in the HTML templates of {options.template_directory}: {type(exc).__name__}: {exc}")


if __name__ == "__main__":
    main()
