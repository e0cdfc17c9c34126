"""The catalogue: what is in `checks/` is right, and a wrong one is refused with file, line and what to do."""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ansible.module_utils.mtaudit.controls.every  # noqa: F401 - registers every control
import jsonschema
import pytest
import yaml
from ansible.module_utils.mtaudit import located_yaml
from ansible.module_utils.mtaudit.catalogue import Catalogue, CatalogueError, load_catalogue
from ansible.module_utils.mtaudit.control import REGISTRY
from ansible.module_utils.mtaudit.finding import Method
from ansible.module_utils.mtaudit.joined import SEVERITIES
from ansible.module_utils.mtaudit.json_schema import SchemaError, check, check_schema
from ansible.module_utils.mtaudit.questions import COMPONENT
from ansible.module_utils.mtaudit.selection import selection, settings

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ROOT / "checks"
SCHEMA = json.loads((CHECKS / "schema.json").read_text(encoding="utf-8"))
FILES = sorted(CHECKS.glob("*/*.yml"))


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue(str(CHECKS))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of checks/ to break."""
    shutil.copytree(CHECKS, tmp_path / "checks")
    return tmp_path / "checks"


def problems(tree: Path) -> list[str]:
    """What the loader says, one line each, file names relative to checks/."""
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(str(tree))
    assert str(caught.value) == "\n".join(str(p) for p in caught.value.problems)
    return [str(p).replace(f"{tree}/", "") for p in caught.value.problems]


def edit(path: Path, pattern: str, replacement: str) -> int:
    """Replace the one match of a pattern; the line that it was on."""
    text = path.read_text(encoding="utf-8")
    found = list(re.finditer(pattern, text, re.MULTILINE))
    assert len(found) == 1, f"{len(found)} matches of {pattern!r}"
    path.write_text(text[: found[0].start()] + replacement + text[found[0].end():], encoding="utf-8")
    return text[: found[0].start()].count("\n") + 1


# What is in checks/

def test_every_control_file_is_loaded(catalogue: Catalogue) -> None:
    names = {p.stem for p in FILES if p.parent.name not in ("profiles", "mappings")}
    assert set(catalogue.controls) == names
    assert {f"RELAY-{n:02}" for n in range(1, 16)} | {"SENDER-03"} <= names


def test_ids_once_given_are_kept(catalogue: Catalogue) -> None:
    """checks/ids.txt lists every id ever used, in order of use; an id is never removed and never used for something else."""
    listed = (CHECKS / "ids.txt").read_text(encoding="utf-8").split()
    assert len(listed) == len(set(listed))
    assert set(listed) == set(catalogue.controls)


def test_each_side_has_what_the_other_has(catalogue: Catalogue) -> None:
    entries = catalogue.controls.values()
    described = {(e.id, name) for e in entries for name, said in e.components.items() if "config" in said.methods}
    assert set(REGISTRY) - described == set(), "functions that the catalogue does not know"
    assert described - set(REGISTRY) == set(), "the catalogue says 'config', but no function answers"


def constants(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Every name that is read from something called `tunables`, by [...] or .get(...)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("tunables"):
            key: ast.AST = node.slice
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("tunables.get"):
            key = node.args[0]
        else:
            continue
        assert isinstance(key, ast.Constant), f"{ast.unparse(node)}: a tunable is read by its name, written out"
        yield str(key.value), node


def control_ids(function: ast.FunctionDef) -> list[str]:
    """The ids that a function is registered for."""
    calls = [d for d in function.decorator_list if isinstance(d, ast.Call) and ast.unparse(d.func) == "control"]
    return [str(ast.literal_eval(call.args[0])) for call in calls]


def test_functions_read_only_tunables_that_their_control_has(catalogue: Catalogue) -> None:
    anybody = {name for e in catalogue.controls.values() for name in e.tunables}
    for path in (ROOT / "module_utils/mtaudit/controls").glob("*.py"):
        parsed = ast.parse(path.read_text(encoding="utf-8"))
        for name, _ in constants(parsed):
            assert name in anybody, f"{path.name} reads the tunable '{name}', which no control has"
        for function in ast.walk(parsed):
            if isinstance(function, ast.FunctionDef):
                for control_id in control_ids(function):
                    for name, _ in constants(function):
                        assert name in catalogue.controls[control_id].tunables, f"{control_id} has no tunable '{name}'"


def test_every_tunable_is_read_somewhere(catalogue: Catalogue) -> None:
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "module_utils/mtaudit").rglob("*.py"))
    for entry in catalogue.controls.values():
        for name in entry.tunables:
            assert f'"{name}"' in code, f"nothing reads {entry.id} {name}"


def test_words_are_those_of_the_code() -> None:
    definitions = SCHEMA["$defs"]
    assert definitions["method"]["enum"] == [*(m.value for m in Method), "answer"]  # a person's, which no finding brings
    assert definitions["severity"]["enum"] == list(SEVERITIES)
    documentation = (ROOT / "library/mta_audit.py").read_text(encoding="utf-8")
    kinds = re.search(r"choices: \[\"\", ([a-z_, ]+)\]", documentation)
    assert kinds and kinds[1].split(", ") == definitions["kind"]["enum"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_no_key_that_awx_takes_for_a_playbook_and_no_jinja(path: Path) -> None:
    """AWX offers every YAML file with such a line as a playbook; templates in data are never rendered."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*-?\s*['\"]?(ansible\.builtin\.)?(hosts|include|import_playbook)['\"]?:", text, re.MULTILINE)
    assert "{{" not in text and "{%" not in text


ACTIVATES = {("postfix", "reload"): "postfix reload", ("exim", "restart"): "systemctl restart exim4",
             ("opensmtpd", "restart"): "systemctl restart opensmtpd", ("sendmail", "restart"): "systemctl restart sendmail",
             ("dovecot", "reload"): "doveadm reload", ("os", "reload"): "",
             **{(name, "none"): "" for name in ("os", "postfix", "exim", "sendmail", "opensmtpd", "icewarp")},
             ("device", "none"): ""}  # nothing here
# What people of one program only have: commands, files, parameters.
OWN_WORDS = {
    "postfix": r"\bpost(fix|conf|map|multi)\b|\bmain\.cf|\bmaster\.cf|\bmynetworks|\bsmtpd_|\bpermit_",
    "exim": r"\bexim4?\b|\bExim\b|\bdc_|\bacl_|\brelay_from_hosts",
    "opensmtpd": r"\bOpenSMTPD\b|/etc/smtpd\.conf\b|\bsmtpctl\b|\bmatch from\b",
    "sendmail": r"\bsendmail\.(?:mc|cf)\b|\bsendmail -bt\b|\bmakemap\b|\bclass R\b|\bFEATURE\(|/relay-domains\b",
    "dovecot": r"\bDovecot\b|\bdove(conf|adm)\b",
}
TITLES = {"opensmtpd": "OpenSMTPD"}


def test_advice_names_commands_for_every_fix(catalogue: Catalogue) -> None:
    for entry in catalogue.controls.values():
        for name, said in entry.components.items():
            if name == COMPONENT:
                continue  # people do it
            commands = [line.strip() for line in said.advice.splitlines() if line.startswith("    ")]
            assert commands, (entry.id, name)
            bare = re.search(r"^(postconf|postmap|postfix|systemctl|doveadm|update-exim4\.conf)( |$)", said.advice, re.MULTILINE)
            assert not bare, f"{entry.id}, {name}: indent by 4"
            activation = ACTIVATES[name, said.activate]
            assert not activation or activation in commands, (entry.id, name)


def test_a_programs_texts_name_no_other_program(catalogue: Catalogue) -> None:
    for entry in catalogue.controls.values():
        for name, said in entry.components.items():
            for other, words in OWN_WORDS.items():
                found = re.search(words, "\n".join([said.manual_check, said.advice, *said.traps]), re.IGNORECASE)
                # A control on the host itself is about the files and daemons of all programs.
                assert name in (other, "os") or not found, f"{entry.id}, {name}: '{found and found[0]}' is {other}'s"


def test_what_is_said_of_all_programs_is_no_ones_own(catalogue: Catalogue) -> None:
    """A parameter in the common texts stands after its program's name, where several programs have the control."""
    for entry in catalogue.controls.values():
        common = {key: entry.data[key] for key in ("description", "rationale", "impact")}
        common.update((f"trap {number}", text) for number, text in enumerate(entry.data["traps"]))
        for key, text in common.items():
            for name, words in OWN_WORDS.items():
                found = re.search(words, text)
                if found and len(entry.components) > 1:
                    title = TITLES.get(name, name.title())
                    assert title in text[: found.end()], f"{entry.id} {key}: '{found[0]}' without {name}'s name"


def test_references_have_the_form_of_their_type(catalogue: Catalogue) -> None:
    forms = {"rfc": r"[0-9]+", "man": r"[a-z0-9_.+-]+\([1-9]\)", "url": r"https://\S+"}
    for entry in catalogue.controls.values():
        for reference in entry.data["references"]:
            assert re.fullmatch(forms[reference["type"]], reference["id"]), f"{entry.id}: {reference}"


# The schema is one description for two readers

def samples() -> Iterator[tuple[str, Any]]:
    for name, definition in (("relay/RELAY-15", "control"), ("relay/RELAY-07", "control"), ("profiles/baseline", "profile"),
                             ("mappings/nist_800_53r5", "mapping")):
        yield definition, yaml.safe_load((CHECKS / f"{name}.yml").read_text(encoding="utf-8"))
    yield "host", {
        "kind": "mx", "ports": [2525], "known_recipient": "postmaster@mx1.test",
        "tunables": {"RELAY-15": {"max_proof_age_days": 7}},
        "waivers": [{"id": "RELAY-01", "reason": "r", "owner": "o", "expires": "2027-01-01", "subject": "*:25"}],
        "answers": [{"id": "RELAY-01", "status": "pass", "owner": "o", "expires": "2027-01-01", "note": "n"}],
    }


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def replaced(data: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    if not path:
        return change(data)
    result = copy.deepcopy(data)
    holder = result
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = change(holder[path[-1]])
    return result


def mutants(data: Any) -> Iterator[Any]:
    """Documents that differ from a right one in one place; some of them are right as well."""
    for path in places(data):
        for value in (None, True, 1, 1.5, "", " ", "x", "UPPER", "A-01", "2027-01-01", "ends with.", "two\nlines", "y" * 200,
                      [], ["x"], ["x", "x"], [1, True], {}, {"x": 1}, {"X y": {}}):
            yield replaced(data, path, lambda _, value=value: value)
        yield replaced(data, path, lambda v: {**v, "extra": "x"} if isinstance(v, dict) else v)
        yield replaced(data, path, lambda v: [*v, *v[:1]] if isinstance(v, list) else v)
        if path and isinstance(path[-1], str):
            yield replaced(data, path[:-1], lambda v, key=path[-1]: {k: x for k, x in v.items() if k != key})


def test_the_schema_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(("definition", "data"), list(samples()))
def test_our_reading_of_the_schema_is_that_of_jsonschema(definition: str, data: Any) -> None:
    validator = jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{definition}"})
    assert validator.is_valid(data) and not check(data, SCHEMA, definition)
    refused = 0
    for mutant in mutants(data):
        expected = validator.is_valid(mutant)
        refused += not expected
        assert (not check(mutant, SCHEMA, definition)) == expected, mutant
    assert refused > 100


@pytest.mark.parametrize(("definition", "message"), [
    ({"maximum": 2}, "uses the keyword 'maximum'"), ({"items": {"oneOf": []}}, "uses the keyword 'oneOf'"),
    ({"properties": {"x": {"const": 1}}}, "uses the keyword 'const'"), ({"$ref": "#/$defs/b"}, "has no definition '#/$defs/b'"),
])
def test_a_keyword_that_we_do_not_know_is_refused(tree: Path, definition: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(message)):
        check_schema({"$defs": {"a": definition}})
    (tree / "schema.json").write_text(json.dumps({"$defs": {**SCHEMA["$defs"], "a": definition}}), encoding="utf-8")
    assert problems(tree)[0].startswith(f"schema.json: the schema {message}")


# The loader: each class of error, with file and line

EDITS = [
    # file, pattern, replacement, lines further down, message
    ("relay/RELAY-01.yml", r"^severity: critical$", "severity: urgent", 0,
     "severity: must be one of critical, high, medium, low, not the text 'urgent'"),
    ("relay/RELAY-01.yml", r"^since: 0.1.0$", "since: 0.1.0\ncolour: red", 1,
     "unknown key 'colour': remove it, or use one of area, "),
    ("relay/RELAY-01.yml", r"^area: relay$", "area: relay\narea: relay", 1, "'area' is already on line 5: keep one of the two"),
    ("relay/RELAY-01.yml", r"^tunables: \[\]$", "tunables: none", 0, "tunables: must be a list, not the text 'none'"),
    ("relay/RELAY-01.yml", r"^id: RELAY-01$", "id: RELAY-16", 0,
     "id: is 'RELAY-16', but the file is named RELAY-01.yml: make them the same"),
    ("relay/RELAY-01.yml", r"^area: relay$", "area: sender", 0,
     "area: is 'sender', but the file is in relay/: make them the same"),
    ("relay/RELAY-01.yml", r"^title: ", "titel: ", 0, "unknown key 'titel'"),
    ("relay/RELAY-01.yml", r"^since: 0.1.0$", "since: 2026-11-21", 0,
     "since: YAML reads this as tag:yaml.org,2002:timestamp: put it in quotes"),
    ("relay/RELAY-01.yml", r"^since: 0.1.0$", "since: 0.1.0\n1: x", 1, "the key '1' is not plain text"),
    ("relay/RELAY-01.yml", r"^kinds: \[mx", "kinds: [mx, mx", 0, "kinds: lists the text 'mx' twice: remove one"),
    ("relay/RELAY-01.yml", r"^kinds: \[mx", "kinds: [nx", 0, "kinds.0: must be one of mx, "),
    ("relay/RELAY-01.yml", r"^tags: (?=\[)", "tags: &a ", 0, None),
    ("relay/RELAY-01.yml", r"^impact: \|-$", "impact: *a\nx: |-", 0, "not YAML: found undefined alias"),
    ("relay/RELAY-01.yml", r"^title: .*$", "title: [", 2, "not YAML: did not find expected"),
    ("relay/RELAY-01.yml", r"(?<=postfix:\n    )methods: \[config", "methods: [guess", 0,
     "components.postfix.methods.0: must be one of config, "),
    ("relay/RELAY-15.yml", r"^    advice: \|-$", "    advise: |-", 0,
     "unknown key 'advise': remove it, or use one of activate, "),
    ("relay/RELAY-15.yml", r"^    activate: none$", "    activate: reboot", 0,
     "components.os.activate: must be one of none, reload, restart, not the text 'reboot'"),
    ("relay/RELAY-15.yml", r"^fix:$", "fix:\n  advice: x", 1, "unknown key 'advice': remove it, or use one of class, disruption"),
    ("relay/RELAY-15.yml", r"default: 31$", "default: soon", 0,
     "tunables.0.default: must be a whole number without quotes, not the text 'soon'"),
    ("relay/RELAY-15.yml", r"default: 31$", "default: 0", 0, "tunables.0.default: must be 1 or more, not 0"),
    ("relay/RELAY-15.yml", r"type: int$", "type: number", 0, "tunables.0.type: must be one of bool, int, "),
    ("sender/SENDER-03.yml", r"default: true$", "default: true\n    minimum: 1", -2,
     "tunables.0: only an int has a minimum or a maximum: remove it"),
    ("profiles/baseline.yml", r"ids: \[RELAY-14\]", "ids: [RELAY-14, RELAY-99]", 0,
     "exclude.ids.1: there is no control 'RELAY-99': correct the id (docs/controls.md lists them), or remove it"),
    ("profiles/baseline.yml", r"tags: \[relay", "tags: [realy", 0, "select.tags.0: no control has the tag 'realy'; there are "),
    ("profiles/baseline.yml", r"protect_local_recipients: false", "protect_recipients: false", 0,
     "tunables.SENDER-03.protect_recipients: SENDER-03 has no tunable 'protect_recipients'; it has protect_local_recipients"),
    ("profiles/baseline.yml", r"protect_local_recipients: false", "protect_local_recipients: 'no'", 0,
     "tunables.SENDER-03.protect_local_recipients: must be true or false, not the text 'no'"),
    ("profiles/baseline.yml", r"^  SENDER-03:", "  SENDER-98:", 1, "tunables.SENDER-98: there is no control 'SENDER-98'"),
    ("profiles/strict.yml", r"extends: provider", "extends: basis", 0,
     "extends: there is no usable profile 'basis'; there are baseline, provider, strict"),
    ("profiles/provider.yml", r"extends: baseline", "extends: strict", 0,
     "extends: goes round in a circle (provider extends strict extends provider): remove one link"),
    ("profiles/baseline.yml", r"^select:", "extends: baseline\nselect:", 0,
     "extends: goes round in a circle (baseline extends baseline)"),
    ("mappings/nist_800_53r5.yml", r"controls: \[RELAY-15\]", "controls: [RELAY-15, RELAY-51]", 0,
     "requirements.0.controls.1: there is no control 'RELAY-51'"),
]


@pytest.mark.parametrize(("file", "pattern", "replacement", "further", "message"), EDITS)
def test_an_error_is_told_with_file_and_line(
    tree: Path, file: str, pattern: str, replacement: str, further: int, message: str | None
) -> None:
    line = edit(tree / file, pattern, replacement)
    if message is None:  # an anchor that nothing refers to harms nobody
        load_catalogue(str(tree))
        return
    expected = f"{file}:{line + further}: {message}"
    assert any(text.startswith(expected) for text in problems(tree)), "\n".join([expected, *problems(tree)])


def test_a_missing_key_is_told(tree: Path) -> None:
    edit(tree / "relay/RELAY-02.yml", r"^severity: high\n", "")
    assert problems(tree) == ["relay/RELAY-02.yml:2: 'severity' is missing: add it"]


def test_a_text_that_a_program_lacks_is_told(tree: Path) -> None:
    edit(tree / "relay/RELAY-15.yml", r"^    activate: none\n", "")
    line = edit(tree / "relay/RELAY-15.yml", r"^  os:$", "  os:")
    assert problems(tree) == [f"relay/RELAY-15.yml:{line + 1}: components.os: 'activate' is missing: add it"]


def test_all_errors_at_once(tree: Path) -> None:
    for file, pattern, replacement, _, _ in (EDITS[0], EDITS[3], EDITS[18], EDITS[22], EDITS[-1]):
        edit(tree / file, pattern, replacement)
    found = problems(tree)
    assert len(found) == 5
    assert [text.split(":")[0] for text in found] == [
        "mappings/nist_800_53r5.yml", "profiles/baseline.yml", "relay/RELAY-01.yml", "relay/RELAY-01.yml", "relay/RELAY-15.yml"]


def test_a_broken_control_is_one_error_not_one_in_every_profile(tree: Path) -> None:
    edit(tree / "relay/RELAY-14.yml", r"^severity: medium$", "severity: low-ish")
    assert len(problems(tree)) == 1


def test_aliases_are_refused(tree: Path) -> None:
    path = tree / "relay/RELAY-01.yml"
    edit(path, r"^tags: (?=\[)", "tags: &a ")
    line = edit(path, r"^kinds: .*$", "kinds: *a")
    assert f"relay/RELAY-01.yml:{line}: kinds: YAML aliases (*name) are not allowed: write the value out" in problems(tree)


def test_an_id_twice_is_told(tree: Path) -> None:
    (tree / "other").mkdir()
    shutil.copy(tree / "relay/RELAY-01.yml", tree / "other/RELAY-01.yml")
    assert any(text.startswith("relay/RELAY-01.yml:2: id: 'RELAY-01' is already the id of ") for text in problems(tree))


def test_files_that_cannot_be_read_as_text_or_would_not_be_read(tree: Path) -> None:
    (tree / "relay/RELAY-01.yml").write_bytes(b"---\nid: RELAY-01\ntitle: caf\xe9\n")
    (tree / "relay/RELAY-02.yaml").write_text("id: x")
    (tree / "relay/RELAY-03.yml").write_text("")
    (tree / "relay/RELAY-04.yml").write_text("# " + "x" * 1024 * 1024)
    (tree / "relay/RELAY-05.yml").write_text("[" * 20_000 + "]" * 20_000)
    assert problems(tree) == [
        "relay/RELAY-01.yml:3: is not UTF-8: save the file as UTF-8",
        "relay/RELAY-02.yaml: is not read: rename it to end in .yml, or remove it",
        "relay/RELAY-03.yml:1: the file is empty",
        "relay/RELAY-04.yml: is larger than 1024 KiB: no file of checks/ is",
        "relay/RELAY-05.yml:1: is nested too deeply",
    ]


def test_another_directory_is_no_catalogue(tmp_path: Path) -> None:
    assert "schema.json: cannot be read: No such file or directory" in problems(tmp_path)[0]
    (tmp_path / "schema.json").write_text("{\n]")
    assert "schema.json:2: not a JSON schema" in problems(tmp_path)[0]


# Profiles

def test_a_profile_adds_to_what_it_extends(catalogue: Catalogue) -> None:
    baseline, provider, strict = (set(catalogue.profiles[name].controls) for name in ("baseline", "provider", "strict"))
    tags = {"host", "auth", "people", "encryption", "log"}
    added = {entry.id for entry in catalogue.controls.values() if tags & set(entry.tags)}
    named = {"RELAY-14", "INFO-01", "MILTER-01", "PATCH-02", "RCPT-02", "RATE-01", "RATE-02", "SENDER-02", "INB-04", "OUT-01",
             "OUT-03", "AV-01"}
    assert provider - baseline == named | added - {"AUTH-01"}
    assert strict == set(catalogue.controls)


def test_the_last_value_of_a_tunable_wins(catalogue: Catalogue) -> None:
    def days(profile: str, tunables: dict[str, Any]) -> Any:
        return settings(catalogue, profile, tunables)["RELAY-15"]["max_proof_age_days"]

    default = catalogue.controls["RELAY-15"].tunables["max_proof_age_days"].default
    assert [days("baseline", {}), days("provider", {}), days("strict", {})] == [default, 14, 7]
    assert days("strict", {"RELAY-15": {"max_proof_age_days": 3}}) == 3
    assert settings(catalogue, "provider", {})["SENDER-03"] == {"protect_local_recipients": False}


def test_an_excluded_control_can_come_back_further_up(tree: Path) -> None:
    edit(tree / "profiles/provider.yml", r"^select:\n  ids: \[RELAY-14.*\]\n  tags: \[.*\]", "exclude:\n  tags: [ipv6]")
    loaded = load_catalogue(str(tree))
    assert "RELAY-09" in loaded.profiles["baseline"].controls
    assert "RELAY-09" not in loaded.profiles["provider"].controls
    assert "RELAY-09" in loaded.profiles["strict"].controls


def test_the_selection_is_slim(catalogue: Catalogue) -> None:
    chosen = selection(catalogue, "baseline", {})
    assert [c["id"] for c in chosen] == sorted(catalogue.profiles["baseline"].controls)
    days = {"type": "int", "value": 31, "minimum": 1, "maximum": 366}
    assert next(c for c in chosen if c["id"] == "RELAY-15")["tunables"] == {"max_proof_age_days": days}
    assert all(set(c) == {"id", "severity", "components", "kinds", "tunables"} for c in chosen)
    assert len(json.dumps(chosen)) < 10_000


def test_the_digest_is_that_of_names_and_contents(tree: Path, catalogue: Catalogue) -> None:
    assert load_catalogue(str(tree)).digest == catalogue.digest
    edit(tree / "relay/RELAY-01.yml", r"^since: 0.1.0$", "since: 0.1.0 # touched")
    assert load_catalogue(str(tree)).digest != catalogue.digest


# Documentation

def generator() -> Any:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "tools/generate_docs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_documentation_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert generator().main(["--check"]) == 0, capsys.readouterr().err


def test_outdated_documentation_is_named_then_written(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = generator()
    assert docs.main(["--root", str(tree.parent)]) == 0
    assert docs.main(["--root", str(tree.parent), "--check"]) == 0
    edit(tree / "relay/RELAY-01.yml", r"^severity: critical$", "severity: high")
    assert docs.main(["--root", str(tree.parent), "--check"]) == 1
    assert "docs/controls.md is outdated: run `make docs`" in capsys.readouterr().err
    assert docs.main(["--root", str(tree.parent)]) == 0
    assert "| high |" in (tree.parent / "docs/controls.md").read_text(encoding="utf-8").split("[RELAY-01]")[1].split("\n")[0]


def test_documentation_of_a_broken_catalogue_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(tree / "relay/RELAY-01.yml", r"^severity: critical$", "severity: urgent")
    assert generator().main(["--root", str(tree.parent)]) == 1
    assert "RELAY-01.yml:4: severity: must be one of" in capsys.readouterr().err


def test_a_role_without_argument_specs_is_named(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree.parent / "roles/mta_x/meta").mkdir(parents=True)
    assert generator().main(["--root", str(tree.parent)]) == 1
    assert "roles/mta_x/meta/argument_specs.yml: cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
def test_control_characters_are_a_problem_of_the_file_with_either_parser(monkeypatch: pytest.MonkeyPatch, loader: type) -> None:
    monkeypatch.setattr(located_yaml, "_Loader", loader)
    located = located_yaml.load("a: \x01\n", "x.yml")
    assert located.data is None and "not YAML" in str(located.problems[0])
