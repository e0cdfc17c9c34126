"""Lists of accounts go back without what others wrote since: what they set stays, and no hash is told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.config.files import NewFile
from ansible.module_utils.mtaudit.transaction import account_lists, guard, journal, journal_actions, snapshot_actions
from ansible.module_utils.mtaudit.transaction.journal import TakenBack
from ansible.module_utils.mtaudit.transaction.packed import write_program
from ansible.module_utils.mtaudit.transaction.places import SnapshotError
from ansible.module_utils.mtaudit.transaction.store import Store
from test_snapshot import killed_at
from test_transaction import Host

WAS = b"root:*:1::::::\nscan:$y$scan:1::::::\nalice:$y$alice:1::::::\nbob:$y$bob:1::::::\n"


def closed(text: bytes, name: bytes) -> bytes:
    return text.replace(b"\n" + name + b":", b"\n" + name + b":!")


LOCKED = closed(WAS, b"scan")


@pytest.fixture(autouse=True)
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(account_lists, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(account_lists, "_WAIT_S", 0.4)
    monkeypatch.setattr(guard, "UNITS", tmp_path / "kept-units")
    return tmp_path / "lock"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "kept"))


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    path = tmp_path / "shadow"
    path.write_bytes(WAS)
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18))
    return path


def change(store: Store, path: Path, content: bytes | None, *more: NewFile, **options: Any) -> str:
    transaction = journal.begin(store, Host(), [NewFile(str(path), content, accounts=True), *more], [], "a test", **options)  # type: ignore[arg-type]
    assert transaction is not None
    return transaction.name


def confirmed(store: Store, path: Path, content: bytes | None, *more: NewFile) -> str:
    return journal.commit(store, Host(), change(store, path, content, *more)).name  # type: ignore[arg-type]


def back(store: Store, name: str, check: bool = False) -> dict[str, Any]:
    result = snapshot_actions.put_back(store, Host(), name, check)  # type: ignore[arg-type]
    assert "$y$" not in repr(result)
    return result


def test_without_others_it_goes_back_to_the_byte(store: Store, shadow: Path) -> None:
    before = shadow.stat()
    name = confirmed(store, shadow, LOCKED)
    assert back(store, name)["changed"] and shadow.read_bytes() == WAS
    after = shadow.stat()
    assert [getattr(before, f"st_{word}") for word in ("mode", "uid", "gid", "mtime_ns")] == [
        getattr(after, f"st_{word}") for word in ("mode", "uid", "gid", "mtime_ns")
    ]
    assert "warnings" not in back(store, name) and not back(store, name)["changed"]


def test_what_others_set_stays(store: Store, shadow: Path) -> None:
    name = confirmed(store, shadow, LOCKED)
    theirs = b"carol:$y$new:2::::::\n"
    shadow.write_bytes(LOCKED.replace(b"$y$alice", b"$y$other").replace(b"bob:$y$bob:1::::::\n", b"") + theirs)
    expected = back(store, name, check=True)
    assert shadow.read_bytes().count(b"!") == 1, "a check changes nothing"
    result = back(store, name)
    assert expected["warnings"] == result["warnings"] and expected["differences"] == result["differences"]
    assert shadow.read_bytes() == b"root:*:1::::::\nscan:$y$scan:1::::::\nalice:$y$other:1::::::\n" + theirs
    assert result["warnings"] == [f"{shadow} was written by others since: what they wrote stays, and of ours goes back: scan"]
    assert shadow.stat().st_mode & 0o777 == 0o640 and shadow.stat().st_mtime_ns > 10**18
    again = back(store, name)
    assert not again["changed"] and "warnings" not in again

    shadow.write_bytes(shadow.read_bytes().replace(b"root:*", b"root:!"))
    back(store, result["before"])
    assert b"scan:!$y$scan" in shadow.read_bytes() and b"root:!:" in shadow.read_bytes(), "taking it back loses nothing, either"


@pytest.mark.parametrize(
    "theirs", [LOCKED.replace(b"!$y$scan", b"$y$other"), LOCKED.replace(b"scan:!$y$scan:1::::::\n", b"")],
    ids=["a new password", "the account is gone"],
)  # fmt: skip
def test_an_account_that_others_changed_as_well_is_theirs(store: Store, shadow: Path, theirs: bytes) -> None:
    name = confirmed(store, shadow, closed(LOCKED, b"bob"))
    shadow.write_bytes(closed(theirs, b"bob"))
    result = back(store, name)
    assert shadow.read_bytes() == theirs
    assert result["warnings"] == [
        f"{shadow} was written by others since: what they wrote stays, and of ours goes back: bob",
        f"{shadow}: not put back, for others have changed it since: scan",
    ]
    again = back(store, name)
    assert not again["changed"] and again["warnings"] == result["warnings"][1:]


def test_several_changes_of_ours_are_taken_back_the_newest_first(store: Store, shadow: Path) -> None:
    first = confirmed(store, shadow, LOCKED)
    shadow.write_bytes(LOCKED.replace(b"$y$alice", b"$y$other"))
    second = confirmed(store, shadow, closed(shadow.read_bytes(), b"bob"))
    result = back(store, first)
    assert shadow.read_bytes() == WAS.replace(b"$y$alice", b"$y$other")
    assert "of ours goes back: scan, bob" in result["warnings"][0]
    assert not back(store, first)["changed"]
    back(store, second)
    assert shadow.read_bytes() == LOCKED.replace(b"$y$alice", b"$y$other"), "as it was when the second was made"


def test_a_list_that_was_not_there(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    name = confirmed(store, path, b"# ours\nscan:x\n")
    path.write_bytes(b"# ours\nscan:x\nalice:y\n")
    back(store, name)
    assert path.read_bytes() == b"alice:y\n"
    path.unlink()
    name = confirmed(store, path, b"# ours\nscan:x\n")
    path.write_bytes(b"scan:x\n# ours\n")
    assert back(store, name)["changed"] and not path.exists()


def test_lines_that_we_took_away(store: Store, shadow: Path) -> None:
    name = confirmed(store, shadow, WAS.replace(b"scan:$y$scan:1::::::\n", b""))
    shadow.write_bytes(shadow.read_bytes() + b"carol:$y$new:2::::::\n")
    back(store, name)
    assert shadow.read_bytes().endswith(b"carol:$y$new:2::::::\nscan:$y$scan:1::::::\n")
    shadow.unlink()
    back(store, name)
    assert shadow.read_bytes() == WAS, "where there is none, nothing newer can be lost"


def test_a_name_that_stands_there_twice(store: Store, shadow: Path) -> None:
    twice = WAS + b"scan:$y$again:1::::::\n"
    shadow.write_bytes(twice)
    name = confirmed(store, shadow, closed(twice, b"scan"))
    shadow.write_bytes(shadow.read_bytes().replace(b"$y$alice", b"$y$other"))
    back(store, name)
    assert sorted(shadow.read_bytes().split()) == sorted(twice.replace(b"$y$alice", b"$y$other").split())
    name = confirmed(store, shadow, LOCKED)
    shadow.write_bytes(LOCKED + b"scan:$y$hers:1::::::\n")
    assert "not put back, for others have changed it since: scan" in back(store, name)["warnings"][-1]


def test_what_is_damaged_is_named_and_the_rest_goes_back(store: Store, shadow: Path, tmp_path: Path) -> None:
    name = confirmed(store, shadow, LOCKED, NewFile(str(tmp_path / "other"), b"x\n"))
    shadow.write_bytes(LOCKED + b"carol:$y$new:2::::::\n")
    (digest,) = (written for _, written in account_lists.noted(store.snapshots / name).values())
    (store.snapshots / name / "contents" / digest).write_bytes(b"")
    assert "a list of accounts in it is damaged" in back(store, name, check=True)["warnings"][0]
    problems = back(store, name)["problems"]
    assert len(problems) == 1 and "a list of accounts in it is damaged" in problems[0]
    assert shadow.read_bytes().endswith(b"carol:$y$new:2::::::\n") and not (tmp_path / "other").exists()


def test_a_line_that_is_no_accounts_is_not_shown(store: Store, shadow: Path) -> None:
    shadow.write_bytes(WAS + b"$y$secret\n")
    name = confirmed(store, shadow, LOCKED)
    shadow.write_bytes(LOCKED + b"carol:$y$new:2::::::\n")
    assert "goes back: scan, a line without a name" in back(store, name)["warnings"][0]
    assert shadow.read_bytes() == WAS + b"carol:$y$new:2::::::\n$y$secret\n"


def test_a_password_that_is_set_before_ours_is_written_is_not_lost(
    store: Store, shadow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = journal._keep

    def meanwhile(*arguments: Any) -> None:
        real(*arguments)
        shadow.write_bytes(WAS.replace(b"$y$alice", b"$y$other"))

    monkeypatch.setattr(journal, "_keep", meanwhile)
    with pytest.raises(TakenBack, match="shadow was changed by somebody else meanwhile. Everything was put back as it was"):
        change(store, shadow, LOCKED)
    assert shadow.read_bytes() == WAS.replace(b"$y$alice", b"$y$other")


def test_a_change_that_is_not_confirmed(store: Store, shadow: Path) -> None:
    name = change(store, shadow, closed(LOCKED, b"bob"))
    shadow.write_bytes(LOCKED.replace(b"$y$alice", b"$y$other"))
    answer = journal_actions.end(store, Host(), "take_back", name, "")  # type: ignore[arg-type]
    assert shadow.read_bytes() == WAS.replace(b"$y$alice", b"$y$other") and "$y$" not in repr(answer)
    assert answer["transaction"]["phase"] == "taken_back" and "goes back: scan" in answer["warnings"][0]
    change(store, shadow, LOCKED)
    with pytest.raises(SnapshotError, match="has not ended"):
        back(store, name)


def test_the_guard_takes_out_what_was_ours_alone(store: Store, shadow: Path) -> None:
    name = change(store, shadow, LOCKED, guard_after_s=60, write_program=write_program)
    shadow.write_bytes(LOCKED + b"carol:$y$new:2::::::\n")
    journal._write(store, replace(journal.read(store, name), until=1.0))
    argv = [sys.executable, "-I", "-B", str(store.transactions / name / guard.PROGRAM), str(store.path), name]
    assert subprocess.run(argv, check=False).returncode == 0
    assert shadow.read_bytes() == WAS + b"carol:$y$new:2::::::\n"


def test_a_kill_at_any_step_loses_nobodys_password(store: Store, shadow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = 0
    while killed_at(points, monkeypatch, partial(change, store, shadow, shadow.read_bytes().replace(b"\nscan:$", b"\nscan:!$"))):
        theirs = b"new%d:$y$new:2::::::\n" % points
        shadow.write_bytes(shadow.read_bytes() + theirs)
        for open_one in journal.unfinished(store):
            killed_at(points % 7, monkeypatch, partial(journal.take_back, store, Host(), open_one.name, "killed"))  # type: ignore[arg-type]
            journal.take_back(store, Host(), open_one.name, "killed")  # type: ignore[arg-type]
        assert shadow.read_bytes().startswith(WAS) and shadow.read_bytes().endswith(theirs), f"after {points} steps"
        points += 1
    assert points > 15 and shadow.read_bytes().count(b"\nnew") == points


def held(lock: Path, seconds: float, ready: Callable[[], None]) -> None:
    code = "import fcntl, sys, time\nfile = open(sys.argv[1], 'w')\nfcntl.lockf(file, fcntl.LOCK_EX)\nprint(flush=True)\n"
    holder = subprocess.Popen([sys.executable, "-c", f"{code}time.sleep({seconds})", str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.readline()
    try:
        ready()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_who_holds_the_lock_is_waited_for(store: Store, shadow: Path, lock: Path, tmp_path: Path) -> None:
    other = NewFile(str(tmp_path / "other"), b"x\n")

    def refused() -> None:
        with pytest.raises(TakenBack, match="another program has held .*try again when it has ended. Everything was put back"):
            change(store, shadow, LOCKED, other)

    held(lock, 60, refused)
    assert shadow.read_bytes() == WAS and not (tmp_path / "other").exists()
    held(lock, 0.2, lambda: None)
    began = time.monotonic()
    held(lock, 0.2, partial(confirmed, store, shadow, LOCKED, other))
    assert shadow.read_bytes() == LOCKED and time.monotonic() - began >= 0.15
    problems: list[str] = []
    held(lock, 60, lambda: problems.extend(back(store, "latest")["problems"]))
    assert shadow.read_bytes() == LOCKED and len(problems) == 1 and "has held" in problems[0]
    assert not (tmp_path / "other").exists(), "the rest went back"
    back(store, "latest")
    assert shadow.read_bytes() == WAS


def test_the_lock_is_held_while_it_is_written(store: Store, shadow: Path, lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """POSIX locks are a process's own: another one asks."""
    real, seen = journal.put_back, []
    code = "import fcntl, sys\nfcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"

    def asked(place: Any, contents: Any) -> None:
        if place.path == str(shadow):
            seen.append(subprocess.run([sys.executable, "-c", code, str(lock)], capture_output=True, check=False).returncode)
        real(place, contents)

    monkeypatch.setattr(journal, "put_back", asked)
    confirmed(store, shadow, LOCKED)
    assert seen == [1] and subprocess.run([sys.executable, "-c", code, str(lock)], check=False).returncode == 0


def test_what_goes_back_as_a_whole_says_whose_work_that_is(store: Store, shadow: Path, tmp_path: Path) -> None:
    path = tmp_path / "main.cf"
    path.write_text("a = 1\n")
    first = confirmed(store, shadow, LOCKED, NewFile(str(path), b"a = 2\n"))
    assert "warnings" not in back(store, first, check=True)
    path.write_text("a = 3\n")
    told = f"{path} was written by others since, and goes back as a whole: what they wrote is in a snapshot"
    assert back(store, first, check=True)["warnings"] == [told]
    confirmed(store, shadow, WAS, NewFile(str(path), b"a = 4\n"))
    assert told in back(store, first, check=True)["warnings"], "what stood there between two changes of ours"
    assert told in back(store, first)["warnings"] and path.read_text() == "a = 1\n"
