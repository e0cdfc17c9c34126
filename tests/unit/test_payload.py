"""What Ansible really sends to a host: each module is packed by Ansible's own machinery, unpacked, and looked at.

AnsiballZ ships what is imported by name, nothing else. A reader or a control that nobody imports would be missing on every host
and in no test that runs from the tree.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.mtaudit.fix import FIXES
from ansible.module_utils.mtaudit.fixes import every  # noqa: F401 - registers every fix
from pythons import find_python

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "module_utils/mtaudit"
MODULES = sorted(path.stem for path in (ROOT / "library").glob("mta_*.py"))
CONTROLLER_MODULES = {"mta_catalogue", "mta_collect", "mta_harden_left", "mta_report"}

PACK = r"""
import base64, io, re, sys, zipfile
from ansible.executor.module_common import modify_module
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.template import Templar

def zip_of(script):
    for text in sorted(re.findall(rb"[A-Za-z0-9+/=]{1000,}", script), key=len, reverse=True):
        data = base64.b64decode(text)
        if zipfile.is_zipfile(io.BytesIO(data)):
            return zipfile.ZipFile(io.BytesIO(data))
    raise SystemExit("no archive in the module that Ansible made")

init_plugin_loader()
library, target, *names = sys.argv[1:]
for name in names:
    variables = {"ansible_python_interpreter": "/usr/bin/python3"}
    made = modify_module(module_name=name, module_path=f"{library}/{name}.py", module_args={},
                         templar=Templar(loader=DataLoader(), variables=variables), task_vars=variables)
    zip_of(made.b_module_data).extractall(f"{target}/{name}")
"""


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each module's payload, unpacked: the directory that is on its path on the host."""
    target = tmp_path_factory.mktemp("payloads")
    environment = {**os.environ, "ANSIBLE_MODULE_UTILS": str(ROOT / "module_utils"), "ANSIBLE_LOCAL_TEMP": str(target / "tmp")}
    environment.pop("ANSIBLE_CONFIG", None)
    done = subprocess.run([sys.executable, "-c", PACK, str(ROOT / "library"), str(target), *MODULES], cwd=target, env=environment,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: target / name for name in MODULES}


def shipped(payload: Path) -> set[str]:
    """The files of mtaudit in a payload, as their names below module_utils/mtaudit."""
    inside = payload / "ansible/module_utils/mtaudit"
    return {str(path.relative_to(inside)) for path in inside.rglob("*.py")}


def existing(*parts: str) -> set[str]:
    return {str(path.relative_to(PACKAGE)) for part in parts for path in (PACKAGE / part).rglob("*.py")}


def test_there_are_modules() -> None:
    assert {"mta_audit", "mta_catalogue", "mta_relay_probe", "mta_report"} <= set(MODULES)


def test_the_audit_is_sent_with_every_control_reader_and_simulation(payloads: dict[str, Path]) -> None:
    controls = {file for file in existing("controls") if "@control(" in (PACKAGE / file).read_text(encoding="utf-8")}
    wanted = controls | existing("readers", "simulate")
    assert controls and len(wanted) > 5
    assert wanted - shipped(payloads["mta_audit"]) == set()


def test_only_who_asks_them_carries_every_control(payloads: dict[str, Path]) -> None:
    """Packing them takes the controller longer than a small site's whole run."""
    assert [name for name in MODULES if "controls/every.py" in shipped(payloads[name])] == ["mta_audit", "mta_harden"]


def test_the_hardening_is_sent_with_every_fix(payloads: dict[str, Path]) -> None:
    fixes = {file for file in existing("fixes") if "fix(" in (PACKAGE / file).read_text(encoding="utf-8")}
    assert fixes and fixes - shipped(payloads["mta_harden"]) == set()
    assert not any(file.startswith("fixes/") for file in shipped(payloads["mta_audit"]))


def test_every_fix_is_of_a_control_that_the_catalogue_lets_us_apply() -> None:
    entries = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "checks").glob("*/*.yml")]
    allowed = {(entry["id"], c) for entry in entries if entry.get("fix", {}).get("class") in ("auto", "confirm")
               for c in entry["components"]}  # fmt: skip
    assert FIXES and set(FIXES) - allowed == set()


def test_every_file_is_sent_with_some_module(payloads: dict[str, Path]) -> None:
    sent = set().union(*(shipped(payload) for payload in payloads.values()))
    assert existing("") - sent == set(), "nobody imports these"


@pytest.mark.parametrize("name", MODULES)
def test_what_is_sent_is_what_is_in_the_tree(payloads: dict[str, Path], name: str) -> None:
    """Word for word, and nothing that only the controller can run goes to a host."""
    for file in shipped(payloads[name]):
        sent = (payloads[name] / "ansible/module_utils/mtaudit" / file).read_text(encoding="utf-8")
        if (PACKAGE / file).read_text(encoding="utf-8").strip():
            assert sent == (PACKAGE / file).read_text(encoding="utf-8"), file
        if name not in CONTROLLER_MODULES:
            assert "import yaml" not in sent and "jinja2" not in sent, f"{name} sends {file}, which needs the controller"


def registered(payload: Path, python: str) -> list[list[str]]:
    """The controls that the audit knows on the host, from the payload alone: ids and components."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(payload)!r})\n"
        "import ansible.module_utils.mtaudit.audit\n"
        "from ansible.module_utils.mtaudit.control import REGISTRY\n"
        "assert 'site-packages' not in ansible.__file__\n"
        "print(json.dumps(sorted(REGISTRY)))"
    )
    done = subprocess.run([python, "-I", "-S", "-B", "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


def described() -> list[list[str]]:
    """The controls that the catalogue says are read from a component's configuration: ids and components."""
    entries = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "checks").glob("*/*.yml")]
    return sorted(
        [entry["id"], component] for entry in entries for component, how in entry.get("components", {}).items()
        if "config" in how["methods"]
    )


def test_the_audit_on_the_host_answers_what_the_catalogue_says(payloads: dict[str, Path]) -> None:
    """Each side has what the other has."""
    assert len(described()) > 10
    assert registered(payloads["mta_audit"], sys.executable) == described()


def test_the_audit_is_complete_on_python_3_9(payloads: dict[str, Path]) -> None:
    python = find_python(9)
    if python is None:
        pytest.skip("no Python 3.9 on this machine")
    assert registered(payloads["mta_audit"], python.path) == registered(payloads["mta_audit"], sys.executable)


COMPILED = r"""
import collections, json, sys
archive = sys.argv[1]
compiled = collections.Counter()
sys.addaudithook(lambda event, about: event == "compile" and compiled.update([str(about[1])]))
sys.path.insert(0, archive)
import ansible.module_utils.mtaudit.audit as audit
assert audit.__file__ == f"{archive}/ansible/module_utils/mtaudit/audit.py", audit.__file__
try:
    audit.networks(["no network"], "a list")
except audit.InputError as exc:
    frames = exc.__traceback__
    assert frames.tb_next.tb_frame.f_code.co_filename == audit.__file__
print(json.dumps({name[len(archive) + 1:]: times for name, times in compiled.items() if name.startswith(archive)}))
"""


@pytest.mark.parametrize("minor", [9, sys.version_info.minor])
def test_out_of_the_zip_each_file_of_ours_is_compiled_once(payloads: dict[str, Path], tmp_path: Path, minor: int) -> None:
    """zipimport alone compiles a module twice."""
    python = find_python(minor)
    if python is None:
        pytest.skip(f"no Python 3.{minor} on this machine")
    archive = shutil.make_archive(str(tmp_path / "payload"), "zip", payloads["mta_audit"])
    done = subprocess.run([python.path, "-IS", "-c", COMPILED, archive], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    times = {name: n for name, n in json.loads(done.stdout).items() if name.startswith("ansible/module_utils/mtaudit/")}
    early = {"ansible/module_utils/mtaudit/__init__.py", "ansible/module_utils/mtaudit/zipped.py"}
    assert len(times) > 100 and {name for name, n in times.items() if n > 1} == early


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_a_page_and_small_enough_to_send(payloads: dict[str, Path], name: str) -> None:
    lines = (ROOT / "library" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 400
    # The hardening asks every control again, and brings every fix and every way to write a configuration.
    most = 2_500_000 if name == "mta_harden" else 2_000_000
    assert sum(path.stat().st_size for path in payloads[name].rglob("*.py")) < most
