"""A change that does not hold is taken back; one that was killed at any step can be; nobody's work is lost."""

from __future__ import annotations

import ast
import hashlib
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.config.files import NewFile
from ansible.module_utils.mtaudit.runner import Completed, ToolMissing
from ansible.module_utils.mtaudit.transaction import guard, journal, journal_actions, places
from ansible.module_utils.mtaudit.transaction.journal import TakenBack
from ansible.module_utils.mtaudit.transaction.packed import write_program
from ansible.module_utils.mtaudit.transaction.places import SnapshotError
from ansible.module_utils.mtaudit.transaction.snapshot import load
from ansible.module_utils.mtaudit.transaction.snapshot_actions import put_back, remove
from ansible.module_utils.mtaudit.transaction.snapshot_actions import take as take_snapshot
from ansible.module_utils.mtaudit.transaction.store import Store
from test_snapshot import Systemd, killed_at, state

UNITS = [("postfix", "reload")]


class Host(Systemd):
    """With timers, and checks: what stands in `refuses` fails."""

    def __init__(self) -> None:
        super().__init__(postfix=(True, "enabled"))
        self.refuses: set[str] = set()
        self.guard: list[str] = []
        self.checked: list[str] = []

    def run(self, argv: list[str], **more: Any) -> Completed:
        if argv[0] == "missing":
            raise ToolMissing("missing is not installed")
        if argv[0] != "systemctl":
            self.checked.append(" ".join(argv))
            bad = " ".join(argv) in self.refuses
            return Completed(int(bad), "", "line 3 is wrong" if bad else "")
        if "--" not in argv:
            self.guard.append(" ".join(argv[2:]))
            return Completed(int("timers" in self.refuses), "", "no timers here" if "timers" in self.refuses else "")
        return super().run(argv, **more)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "kept"))


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "main.cf").write_text("mynetworks = 0.0.0.0/0\n")
    os.chmod(etc / "main.cf", 0o640)
    (etc / "old").write_text("old\n")
    (etc / "log").write_text("first\n")
    os.chmod(etc / "log", 0o644)
    (etc / "link").symlink_to("main.cf")
    return etc


@pytest.fixture(autouse=True)
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = tmp_path / "kept-units"
    monkeypatch.setattr(guard, "UNITS", directory)
    yield directory


def changes(etc: Path) -> list[NewFile]:
    return [NewFile(str(etc / "link"), b"mynetworks = 127.0.0.0/8\n"), NewFile(str(etc / "new"), b"new\n", mode=0o600),
            NewFile(str(etc / "old"), None), NewFile(str(etc / "log"), None, mode=0o640, stays=True)]  # fmt: skip


def files(etc: Path) -> dict[str, places.Place]:
    return {path: place for path, place in state(etc).items() if not os.path.basename(path).startswith(places.TEMPORARY)}


def begun(store: Store, host: Host, etc: Path, **more: Any) -> Any:
    return journal.begin(store, host, changes(etc), UNITS, "a test", **more)  # type: ignore[arg-type]


def test_begin_and_commit(store: Store, host: Host, etc: Path, units: Path) -> None:
    transaction = begun(store, host, etc, checks=[["postfix", "check"]], guard_after_s=600, write_program=write_program)
    assert transaction.phase == "changed" and host.checked == ["postfix check"] and host.done == ["reload postfix"]
    assert (etc / "main.cf").read_text() == "mynetworks = 127.0.0.0/8\n" and (etc / "link").is_symlink()
    assert (etc / "main.cf").stat().st_mode & 0o777 == 0o640 and (etc / "new").stat().st_mode & 0o777 == 0o600
    assert not (etc / "old").exists()
    assert host.guard == ["daemon-reload", "enable --now mtaudit-guard.timer"]
    assert sorted(path.name for path in units.iterdir()) == ["mtaudit-guard.service", "mtaudit-guard.timer"]
    assert [t.name for t in journal.unfinished(store)] == [transaction.name]
    assert journal.begin(Store(str(etc / "other")), host, changes(etc), [], "nothing to do") is None  # type: ignore[arg-type]

    host.guard.clear()
    assert journal.commit(store, host, transaction.name).phase == "committed"  # type: ignore[arg-type]
    assert host.guard == ["disable --now mtaudit-guard.timer", "daemon-reload"] and list(units.iterdir()) == []
    assert journal.commit(store, host, transaction.name).phase == "committed", "twice is once"  # type: ignore[arg-type]
    assert journal.unfinished(store) == []


def test_taking_back_restores_every_byte(store: Store, host: Host, etc: Path) -> None:
    was = files(etc)
    transaction = begun(store, host, etc)
    assert files(etc) != was
    ended = journal.take_back(store, host, transaction.name, "mail does not flow")  # type: ignore[arg-type]
    assert (ended.phase, ended.ended, ended.problems) == ("taken_back", "mail does not flow", ())
    assert files(etc) == was
    with pytest.raises(SnapshotError, match=r"it is taken back \(mail does not flow\)"):
        journal.commit(store, host, transaction.name)  # type: ignore[arg-type]
    assert journal.take_back(store, host, transaction.name, "again").ended == "mail does not flow"  # type: ignore[arg-type]


def test_what_others_write_goes_on_while_its_mode_changes(store: Store, host: Host, etc: Path) -> None:
    path = etc / "log"
    with open(path, "a", buffering=1) as daemon:
        done = journal.begin(store, host, [NewFile(str(path), None, 0o600, stays=True)], [], "a test")  # type: ignore[arg-type]
        assert done and path.stat().st_mode & 0o777 == 0o600
        assert not list((store.snapshots / done.snapshot / "contents").iterdir())
        daemon.write("second\n")
        journal.take_back(store, host, done.name, "asked for")  # type: ignore[arg-type]
        daemon.write("third\n")
        assert (path.stat().st_mode & 0o777, path.read_text()) == (0o644, "first\nsecond\nthird\n")
        done = journal.begin(store, host, [NewFile(str(path), None, 0o600, stays=True)], [], "again")  # type: ignore[arg-type]
        path.unlink()
        assert done and journal.take_back(store, host, done.name, "").problems == ()  # type: ignore[arg-type]
        assert not path.exists(), "whoever rotates logs took it away"
        assert journal.pending([NewFile(str(path), None, 0o600, stays=True)]) == []


def test_what_never_stops_being_written_is_not_read(
    store: Store, host: Host, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written_meanwhile(path: str, contents: object) -> None:
        raise SnapshotError(f"Could not keep {path}: it was being written each of 3 times")

    monkeypatch.setattr(places, "_file", written_meanwhile)
    path = etc / "log"
    done = journal.begin(store, host, [NewFile(str(path), None, 0o600, stays=True)], [], "a test")  # type: ignore[arg-type]
    assert done and path.stat().st_mode & 0o777 == 0o600
    assert journal.take_back(store, host, done.name, "asked for").problems == ()  # type: ignore[arg-type]
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_access_control_list_does_not_take_the_mode_back(store: Store, host: Host, etc: Path) -> None:
    path, anybody = etc / "log", 0xFFFFFFFF
    entries = [(1, 6, anybody), (2, 4, 1), (4, 4, anybody), (16, 4, anybody), (32, 4, anybody)]
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries))
    except OSError:
        pytest.skip("this file system has no access control lists")
    was = files(etc)
    done = journal.begin(store, host, [NewFile(str(path), None, 0o640, stays=True)], [], "a test")  # type: ignore[arg-type]
    assert done and path.stat().st_mode & 0o777 == 0o640
    journal.take_back(store, host, done.name, "asked for")  # type: ignore[arg-type]
    assert files(etc) == was


@pytest.mark.parametrize(
    ("breaks", "text"),
    [("postfix check", "The check 'postfix check' failed with exit status 1: line 3 is wrong"),
     ("missing", "The check 'missing' could not run: missing is not installed"),
     ("reload", "Could not reload postfix: it would not"), ("timers", "no timers here")],
)  # fmt: skip
def test_what_does_not_hold_is_taken_back_at_once(store: Store, host: Host, etc: Path, breaks: str, text: str) -> None:
    was = files(etc)
    host.refuses = {breaks}
    host.fails = {"reload postfix"} if breaks == "reload" else set()
    with pytest.raises(TakenBack) as failed:
        checks = [["missing"] if breaks == "missing" else ["postfix", "check"]]
        begun(store, host, etc, checks=checks, guard_after_s=60, write_program=write_program)
    assert text in str(failed.value) and files(etc) == was
    if breaks == "reload":  # nor can the old state be put into force: it stays open, for the guard and for people
        assert "It could NOT be taken back as a whole: Could not reload postfix: it would not" in str(failed.value)
        assert [t.problems for t in journal.unfinished(store)] == [("Could not reload postfix: it would not",)]
    else:
        assert str(failed.value).endswith("Everything was put back as it was") and journal.unfinished(store) == []
        assert host.done == ([] if breaks == "timers" else ["reload postfix"]), "told once, after it was put back"


def test_a_service_that_does_not_come_up_is_taken_back(store: Store, host: Host, etc: Path) -> None:
    was, real = files(etc), host.run

    def down_with_the_new_file(argv: list[str], **more: Any) -> Completed:
        done = real(argv, **more)
        if argv[2] in ("reload", "restart"):
            host.units["postfix"][0] = not (etc / "new").exists()
        return done

    host.run = down_with_the_new_file  # type: ignore[method-assign]
    with pytest.raises(TakenBack, match=r"postfix should be up and is not.*Everything was put back as it was"):
        begun(store, host, etc)
    assert files(etc) == was and host.units["postfix"][0] and journal.unfinished(store) == []


def test_a_plan_that_is_out_of_date_changes_nothing(store: Store, host: Host, etc: Path) -> None:
    digest = hashlib.sha256((etc / "main.cf").read_bytes()).hexdigest()
    (etc / "main.cf").write_text("by hand\n")
    was = files(etc)
    for path, planned_on in ((etc / "main.cf", digest), (etc / "main.cf", ""), (etc / "new", digest)):
        with pytest.raises(SnapshotError, match="was changed since the plan was made; nothing is changed"):
            journal.begin(store, host, [NewFile(str(path), b"x", planned_on=planned_on)], UNITS, "late")  # type: ignore[arg-type]
    assert files(etc) == was and journal.every(store) == []


def test_somebody_who_edits_in_the_middle_stops_it(store: Store, host: Host, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = journal._keep

    def meanwhile(*arguments: Any) -> None:
        real(*arguments)
        (etc / "old").write_text("edited by hand\n")

    monkeypatch.setattr(journal, "_keep", meanwhile)
    with pytest.raises(TakenBack, match="old was changed by somebody else meanwhile"):
        begun(store, host, etc)
    newest = load(store, store.names()[0])
    assert newest.reason.startswith("edited while")
    (place,) = newest.places
    assert (newest.contents / place.sha256).read_text() == "edited by hand\n", "nobody's work is lost"


def test_an_edit_between_change_and_taking_back_is_kept(store: Store, host: Host, etc: Path) -> None:
    was = files(etc)
    transaction = begun(store, host, etc)
    (etc / "main.cf").write_text("edited by hand\n")
    journal.take_back(store, host, transaction.name, "test")  # type: ignore[arg-type]
    assert files(etc) == was
    put_back(store, host, store.names()[0])  # type: ignore[arg-type]
    assert (etc / "main.cf").read_text() == "edited by hand\n"


def test_one_change_at_a_time(store: Store, host: Host, etc: Path) -> None:
    first = begun(store, host, etc)
    with pytest.raises(SnapshotError, match=f"Transaction {first.name} .* it is changed; confirm it or take it back first"):
        journal.begin(store, host, [NewFile(str(etc / "x"), b"x")], UNITS, "second")  # type: ignore[arg-type]
    take_snapshot(store, host, [str(etc)], [], "", keep=1, keep_days=0)  # type: ignore[arg-type]
    assert first.snapshot in store.names(), "what may still be taken back is kept"


def test_a_kill_while_old_ones_are_removed_leaves_nothing_for_ever(
    store: Store, host: Host, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = 0
    old = begun(store, host, etc)
    journal.take_back(store, host, old.name, "test")  # type: ignore[arg-type]
    while killed_at(points, monkeypatch, partial(store.remove, old.name)):
        points += 1
        newest = begun(store, host, etc)
        journal.take_back(store, host, newest.name, "test")  # type: ignore[arg-type]
        kept = {path.name for path in store.transactions.iterdir()}
        assert kept <= {transaction.name for transaction in journal.every(store)}, f"after {points} steps"
        assert {path.name for path in store.snapshots.iterdir()} == set(store.names()), f"after {points} steps"
        if old.name not in store.names():
            old = newest
    assert points > 2


def test_a_kill_at_any_step_can_be_taken_back(
    store: Store, host: Host, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was, points = files(etc), 0
    while killed_at(points, monkeypatch, lambda: begun(store, host, etc, guard_after_s=60, write_program=write_program)):
        left = journal.unfinished(store)
        assert len(left) <= 1 and (left or files(etc) == was), f"after {points} steps nobody knows of it"
        for open_one in left:
            ended = journal.take_back(store, host, open_one.name, "the run was killed")  # type: ignore[arg-type]
            assert ended.phase == "taken_back"
        assert files(etc) == was, f"after {points} steps"
        points += 1
    assert points >= 30
    (done,) = journal.unfinished(store)
    changed = files(etc)
    points = 0
    while killed_at(points, monkeypatch, lambda: journal.take_back(store, host, done.name, "test")):  # type: ignore[arg-type]
        for path, place in files(etc).items():
            known = [s[path].sha256 for s in (was, changed) if path in s]
            assert place.sha256 in known, f"{path} is half written"
        if journal.read(store, done.name).phase == "taking_back":
            with pytest.raises(SnapshotError, match="it is taking back"):
                journal.commit(store, host, done.name)  # type: ignore[arg-type]
        points += 1
    assert points >= 5 and files(etc) == was and journal.unfinished(store) == []


def test_the_guards_program_takes_back_by_itself(store: Store, host: Host, etc: Path) -> None:
    """As systemd starts it: another process, with nothing but the file beside the transaction."""
    was = files(etc)
    transaction = journal.begin(store, host, changes(etc), [], "a test", guard_after_s=60, write_program=write_program)  # type: ignore[arg-type]
    assert transaction is not None
    program = store.transactions / transaction.name / guard.PROGRAM
    argv = [sys.executable, "-I", "-B", str(program), str(store.path), transaction.name]
    assert subprocess.run(argv, check=False).returncode == 0 and files(etc) != was, "its time has not come"
    journal._write(store, replace(transaction, until=1.0))
    for _ in range(2):  # the second time there is nothing to do
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env={"PATH": "/nowhere"}, cwd="/")
        assert (done.returncode, done.stderr) == (0, "")
        assert files(etc) == was
    assert journal.read(store, transaction.name).ended == "nobody confirmed it in time"
    done = subprocess.run([*argv[:-1], "gone"], capture_output=True, text=True, check=False)
    assert done.returncode == 1


def test_the_guard_has_what_it_imports_and_no_more(tmp_path: Path, store: Store, host: Host, etc: Path) -> None:
    journal.begin(store, host, changes(etc), [], "a test", guard_after_s=60, write_program=write_program)  # type: ignore[arg-type]
    (program,) = store.transactions.glob(f"*/{guard.PROGRAM}")
    with zipfile.ZipFile(program) as archive:
        modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in archive.namelist()}
        for name in archive.namelist():
            ast.parse(archive.read(name), feature_version=(3, 9))
    code = "import sys, runpy\ntry:\n runpy.run_path(sys.argv[1], run_name='__main__')\nexcept SystemExit: pass\n"
    code += "print(*[m for m in sys.modules if m.split('.')[0] == 'mtaudit'])"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(program), str(tmp_path / "none"), "x"], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert set(done.stdout.split()) == modules - {"__main__"}, done.stderr


def test_status_and_check_mode(store: Store, host: Host, etc: Path) -> None:
    was = files(etc)
    expected = journal_actions.begin(store, host, changes(etc), UNITS, "why", [], 0, check=True)  # type: ignore[arg-type]
    assert expected["changed"] and files(etc) == was and not store.path.exists()
    real = journal_actions.begin(store, host, changes(etc), UNITS, "why", [], 0)  # type: ignore[arg-type]
    assert real["changed"] and real["diff"] == expected["diff"]
    assert [os.path.basename(d["after_header"]) for d in real["diff"]] == ["main.cf", "new", "old", "log"]
    assert "mynetworks" not in str(real["diff"]), "it is not for everybody"
    (told,) = journal_actions.status(store)["transactions"]
    assert told == real["transaction"] and told["phase"] == "changed" and told["until"] == ""
    assert journal_actions.end(store, host, "commit", "", "", check=True)["changed"]  # type: ignore[arg-type]
    assert journal_actions.end(store, host, "commit", "", "")["transaction"]["phase"] == "committed"  # type: ignore[arg-type]
    assert journal_actions.end(store, host, "commit", "", "")["msg"] == "No transaction is open"  # type: ignore[arg-type]
    with pytest.raises(SnapshotError, match="it was confirmed. Go back to its snapshot"):
        journal_actions.end(store, host, "take_back", told["name"], "")  # type: ignore[arg-type]
    again = journal_actions.begin(store, host, changes(etc), UNITS, "why", [], 0)  # type: ignore[arg-type]
    assert not again["changed"] and again["transaction"] == {}


@pytest.mark.parametrize(
    ("given", "why"),
    [({"path": "etc/x", "content": ""}, "give an absolute path"), ({"path": "/x", "content": "", "mode": 10000}, "no mode"),
     ({"path": "/x", "content": "", "mode": "rw"}, "no mode in octal"),
     ({"path": "/x", "content": "", "owner": "nobody-here"}, "has no user 'nobody-here'"),
     ({"path": "/x", "content": "", "group": "nobody-here"}, "has no group 'nobody-here'"),
     ({"path": "/x/none"}, "no content is given")],
)  # fmt: skip
def test_files_that_cannot_be_meant(given: dict[str, str], why: str) -> None:
    with pytest.raises(SnapshotError, match=why):
        journal_actions.new_file(**given)


def test_owner_and_mode_alone(etc: Path) -> None:
    wanted = journal_actions.new_file(str(etc / "old"), mode="0600", owner="root", group="0")
    assert wanted == NewFile(str(etc / "old"), None, 0o600, 0, 0, stays=True)
    assert journal_actions.new_file(str(etc / "old"), mode=0o640).mode == 0o640, "as YAML reads 0640"
    assert journal_actions.new_file(str(etc / "old"), state="absent").content is None


@pytest.mark.parametrize("breaks", ["words", "write", "back"])
def test_whatever_goes_wrong_is_taken_back(
    store: Store, host: Host, etc: Path, monkeypatch: pytest.MonkeyPatch, breaks: str
) -> None:
    was, real = files(etc), journal._write

    def full(kept: Store, transaction: Any) -> None:
        if transaction.phase == {"write": "changed", "back": "taking_back"}.get(breaks):
            raise SnapshotError("Could not write: No space left on device")
        real(kept, transaction)

    monkeypatch.setattr(journal, "_write", full)
    if breaks == "words":
        monkeypatch.setattr(journal, "_tell", lambda *_: {}["bug"])
    host.refuses = {"postfix check"} if breaks == "back" else set()
    with pytest.raises(TakenBack) as failed:
        begun(store, host, etc, checks=[["postfix", "check"], ["port", 25]])
    if breaks == "back":
        assert "line 3 is wrong. It could NOT be taken back as a whole: Could not write" in str(failed.value)
        assert len(journal.unfinished(store)) == 1
    else:
        assert files(etc) == was and journal.unfinished(store) == []
    with pytest.raises(SnapshotError, match="a check has no words"):
        begun(store, host, etc, checks=[[]])


def test_what_cannot_be_taken_back_can_be_abandoned(store: Store, host: Host, etc: Path) -> None:
    transaction = begun(store, host, etc)
    host.fails = {"reload postfix"}
    ended = journal_actions.end(store, host, "take_back", "", "")  # type: ignore[arg-type]
    assert ended["failed"] and ended["transaction"]["phase"] == "taking_back"
    with pytest.raises(SnapshotError, match="take it back first"):
        put_back(store, host, transaction.snapshot)  # type: ignore[arg-type]
    with pytest.raises(SnapshotError, match="its transaction has not ended"):
        remove(store, transaction.snapshot)
    assert journal_actions.end(store, host, "abandon", "", "")["transaction"]["phase"] == "abandoned"  # type: ignore[arg-type]
    host.fails.clear()
    assert journal.unfinished(store) == [] and begun(store, host, etc).phase == "changed"


def test_one_that_was_killed_before_it_changed_anything_stops_nobody(store: Store, host: Host, etc: Path) -> None:
    first = begun(store, host, etc)
    journal._write(store, replace(first, phase="prepared"))
    (etc / "main.cf").write_text("other\n")
    assert begun(store, host, etc).phase == "changed"
    assert journal.read(store, first.name).phase == "taken_back"


def test_a_directory_is_not_written_over(store: Store, host: Host, etc: Path) -> None:
    with pytest.raises(SnapshotError, match="it is a directory"):
        journal.begin(store, host, [NewFile(str(etc), b"")], [], "x")  # type: ignore[arg-type]


def test_a_unit_that_is_down_is_started_and_enabled_only_when_that_is_wanted(store: Store, host: Host, etc: Path) -> None:
    host.units["policyd"] = [False, "disabled"]
    wanted = [("policyd", "start"), ("postfix", "reload")]
    transaction = journal.begin(store, host, changes(etc), wanted, "a limit")  # type: ignore[arg-type]
    assert transaction is not None and host.done == ["enable policyd", "restart policyd", "reload postfix"]
    host.done.clear()
    assert journal.take_back(store, host, transaction.name, "no").problems == ()  # type: ignore[arg-type]
    assert host.done == ["disable policyd", "stop policyd", "reload postfix"] and host.units["policyd"] == [False, "disabled"]
