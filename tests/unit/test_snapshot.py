"""Snapshots: everything comes back to the byte, also after a kill at any step, and nothing from one that is damaged."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.mtaudit.runner import Completed
from ansible.module_utils.mtaudit.transaction import diff, places, services, snapshot, snapshot_actions
from ansible.module_utils.mtaudit.transaction.places import SnapshotError
from ansible.module_utils.mtaudit.transaction.store import Store


class Systemd:
    """systemctl of a host with these units: name, active, enabled."""

    def __init__(self, **units: tuple[bool, str]) -> None:
        self.units = {name: list(state) for name, state in units.items()}
        self.done: list[str] = []
        self.fails: set[str] = set()

    def run(self, argv: list[str], **_: Any) -> Completed:
        names = argv[argv.index("--") + 1:]
        if argv[1] == "show":
            blocks = [f"Id={n}.service\nLoadState={'loaded' if n in self.units else 'not-found'}\n"
                      f"ActiveState={'active' if self.units.get(n, [False])[0] else 'inactive'}\n"
                      f"UnitFileState={self.units.get(n, [False, ''])[1]}\n" for n in names]  # fmt: skip
            return Completed(0, "\n".join(blocks), "")
        verb, name = argv[2], names[0]
        if f"{verb} {name}" in self.fails:
            return Completed(1, "", "it would not")
        if verb != "reset-failed":
            self.done.append(f"{verb} {name}")
        if verb in ("restart", "stop"):
            self.units[name][0] = verb == "restart"
        if verb in ("enable", "disable", "mask", "unmask"):
            self.units[name][1] = {"enable": "enabled", "mask": "masked"}.get(verb, "disabled")
        return Completed(0, "", "")


def test_a_unit_keeps_whose_queue_its_mail_goes_to() -> None:
    was = services.Service("out", False, "disabled", "stop", "/spool/out", "/spool/in")
    ((_, now),) = services.compared(Systemd(out=(True, "enabled")), [was])  # type: ignore[arg-type]
    assert now == services.Service("out", True, "enabled", "stop", "/spool/out", "/spool/in")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "kept"))


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A configuration with a file, a closed one, a link, one that leads out, and a directory."""
    etc = tmp_path / "etc"
    (etc / "conf.d").mkdir(parents=True)
    (etc / "main.cf").write_bytes(b"mynetworks = 127.0.0.0/8\n\xff\0")
    (etc / "secret").write_text("password\n")
    os.chmod(etc / "secret", 0o640)
    (etc / "conf.d/10").write_text("ten\n")
    (etc / "alias").symlink_to("main.cf")
    (tmp_path / "elsewhere").write_text("far\n")
    (etc / "far").symlink_to("../elsewhere")
    os.utime(etc / "main.cf", ns=(10**18, 10**18 + 1))
    return etc


def state(root: Path) -> dict[str, places.Place]:
    return {str(p): places.look(str(p)) for p in sorted(root.rglob("*")) if "kept" not in p.parts}


def taken(store: Store, *paths: Path, runner: Any = None, **more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"services": [], "reason": "a test", "keep": 10, "keep_days": 90, **more}
    return snapshot_actions.take(store, runner or Systemd(), [str(p) for p in paths], **arguments)


def spoil(etc: Path) -> None:
    (etc / "main.cf").write_text("mynetworks = 0.0.0.0/0\n")
    (etc / "secret").unlink()
    os.chmod(etc / "conf.d/10", 0o600)
    (etc / "conf.d/20").write_text("new\n")
    (etc / "conf.d/deep").mkdir()
    (etc / "conf.d/deep/er").write_text("new\n")
    (etc / "alias").unlink()
    (etc / "alias").write_text("no link\n")
    (etc.parent / "elsewhere").write_text("changed behind the link\n")


def test_everything_comes_back_to_the_byte(store: Store, etc: Path, tmp_path: Path) -> None:
    was = state(tmp_path)
    assert taken(store, etc, etc / "far")["snapshot"]["files"] == 8
    spoil(etc)
    spoilt = state(tmp_path)
    told = snapshot_actions.compare(store, "latest")["differences"]
    assert {Path(d["path"]).name: d["differs"] for d in told} == {
        "main.cf": ["content"], "secret": ["missing"], "10": ["mode"], "20": ["new"], "deep": ["new"], "er": ["new"],
        "alias": ["a file"], "elsewhere": ["content"],
    }  # fmt: skip
    assert state(tmp_path) == spoilt, "comparing changes nothing"
    result = snapshot_actions.put_back(store, Systemd(), "latest")
    assert result["problems"] == [] and result["changed"] and state(tmp_path) == was
    os.utime(etc / "main.cf")
    again = snapshot_actions.put_back(store, Systemd(), "latest")
    assert not again["changed"] and "before" not in again

    snapshot_actions.put_back(store, Systemd(), result["before"])
    back = state(tmp_path)
    assert {path: place for path, place in back.items() if place.kind != "directory"} == {
        path: place for path, place in spoilt.items() if place.kind != "directory"
    }, "going back can be taken back"


def test_check_mode_shows_what_a_real_run_changes(
    store: Store, etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diff, "_open_to_all", lambda path: True)  # the test's directory is closed
    taken(store, etc, etc / "far")
    spoil(etc)
    spoilt = state(tmp_path)
    expected = snapshot_actions.put_back(store, Systemd(), "latest", check=True)
    assert state(tmp_path) == spoilt and len(store.names()) == 1
    real = snapshot_actions.put_back(store, Systemd(), "latest")
    assert {k: expected[k] for k in ("changed", "differences", "diff", "snapshot")} == {
        k: real[k] for k in ("changed", "differences", "diff", "snapshot")
    }
    shown = {Path(d["before_header"]).name: d for d in real["diff"]}
    assert "0.0.0.0/0" in shown["main.cf"]["before"] and "content not shown" in shown["main.cf"]["after"], "it is binary"
    assert "ten\n" not in shown["10"]["after"] and "0644" in shown["10"]["after"], "one of the two is closed"
    assert "password" not in json.dumps(real["diff"])
    assert snapshot_actions.take(store, Systemd(), [str(etc)], [], "", 1, 1, check=True)["changed"]
    assert len(store.names()) == 2


class Killed(BaseException):
    """As SIGKILL: nothing that follows runs."""


_CALLS = ("replace", "unlink", "chown", "chmod", "utime", "mkdir", "rmdir", "symlink", "fsync")


def killed_at(number: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> bool:
    """Whether the work was killed at its n-th change of the disk."""
    left = [number]
    with monkeypatch.context() as patch:
        for name in _CALLS:
            real = getattr(os, name)

            def counted(*args: Any, real: Any = real, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    raise Killed
                return real(*args, **kwargs)

            patch.setattr(os, name, counted)
        try:
            work()
        except Killed:
            return True
    return False


def test_a_kill_at_any_step_leaves_old_or_new_and_the_next_run_ends_it(
    store: Store, etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = state(tmp_path)
    taken(store, etc, etc / "far")
    points = 0
    while True:
        spoil(etc)
        spoilt = state(tmp_path)
        killed = killed_at(points, monkeypatch, lambda: snapshot_actions.put_back(store, Systemd(), "latest"))
        for path, place in state(tmp_path).items():
            if os.path.basename(path).startswith(places.TEMPORARY) or place.kind != "file":
                continue
            known = [s[path].sha256 for s in (was, spoilt) if path in s and s[path].kind == "file"]
            assert place.sha256 in known, f"{path} is half written after {points} steps"
        assert snapshot_actions.put_back(store, Systemd(), "latest").get("problems", []) == []
        left = {p: s for p, s in state(tmp_path).items() if not os.path.basename(p).startswith(places.TEMPORARY)}
        assert left == was, f"after {points} steps"
        if not killed:
            break
        points += 1
    assert points >= 30
    assert not list(tmp_path.rglob(f"{places.TEMPORARY}*")), "leftovers are cleared away by those who come next"


def test_a_kill_while_taking_leaves_no_snapshot(store: Store, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = 0
    while killed_at(points, monkeypatch, lambda: taken(store, etc, etc / "far")):
        assert all(snapshot.damage(snapshot.load(store, name)) == [] for name in store.names())
        points += 1
    assert points > 8 and taken(store, etc, etc / "far")
    assert all((path / "manifest.json").exists() for path in store.snapshots.iterdir()), "half ones are swept away"


@pytest.mark.parametrize("wound", ["content", "missing", "manifest", "digest", "format"])
def test_nothing_is_put_back_from_a_damaged_snapshot(store: Store, etc: Path, tmp_path: Path, wound: str) -> None:
    name = taken(store, etc, etc / "far")["snapshot"]["name"]
    spoil(etc)
    spoilt = state(tmp_path)
    manifest = store.snapshots / name / "manifest.json"
    content = next((store.snapshots / name / "contents").iterdir())
    if wound == "content":
        content.write_bytes(b"other")
    elif wound == "missing":
        content.unlink()
    elif wound == "manifest":
        manifest.write_text(manifest.read_text()[:-30])
    elif wound == "digest":
        manifest.write_text(manifest.read_text().replace("a test", "a fest"))
    else:
        manifest.write_text("[]")
    with pytest.raises(SnapshotError, match="damaged"):
        snapshot_actions.put_back(store, Systemd(), name)
    assert state(tmp_path) == spoilt
    listed = snapshot_actions.every(store)["snapshots"][-1]
    assert listed["name"] == name and ("problem" in listed) == (wound not in ("content", "missing"))


def test_what_cannot_be_put_back_is_named_and_the_rest_is_done(
    store: Store, etc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken(store, etc, etc / "far")
    was = (etc / "secret").read_text()
    spoil(etc)
    real = os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith("main.cf"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    result = snapshot_actions.put_back(store, Systemd(), "latest")
    assert len(result["problems"]) == 1
    assert result["problems"][0].endswith("main.cf: No space left on device (make room on that file system)")
    assert (etc / "secret").read_text() == was


def test_services_become_what_they_were(store: Store, etc: Path) -> None:
    host = Systemd(postfix=(True, "enabled"), dovecot=(True, "enabled"), rspamd=(False, "masked"), idle=(False, "disabled"))
    wanted = [("postfix", "restart"), ("dovecot", "reload"), ("rspamd", "restart"), ("idle", "restart")]
    taken(store, etc, etc / "far", runner=host, services=wanted)
    (etc / "main.cf").write_text("other")
    host.units.update(postfix=[False, "disabled"], rspamd=[True, "enabled"])
    result = snapshot_actions.put_back(store, host, "latest")
    assert result["problems"] == []
    assert host.done == ["mask rspamd", "stop rspamd", "reload dovecot", "enable postfix", "restart postfix"], "the last first"
    assert [d["before_header"] for d in result["diff"]][1:] == ["postfix", "rspamd"]
    assert not snapshot_actions.put_back(store, host, "latest")["changed"]

    host.units["postfix"][0] = False  # with no file changed, what is down is started all the same
    host.done.clear()
    assert snapshot_actions.put_back(store, host, "latest")["changed"] and host.done == ["restart postfix"]

    host.units["postfix"][0], host.fails = False, {"restart postfix"}
    problems = snapshot_actions.put_back(store, host, "latest")["problems"]
    assert problems == ["Could not restart postfix: it would not"]


def test_services_that_are_none(store: Store, etc: Path) -> None:
    with pytest.raises(SnapshotError, match="this host has none of that name"):
        taken(store, etc, services=[("gone", "restart")])
    with pytest.raises(SnapshotError, match="no name of a systemd unit"):
        services.seen(Systemd(), [("a b; rm", "restart")])  # type: ignore[arg-type]
    assert store.names() == []


def test_a_unit_that_the_change_brings(store: Store, etc: Path) -> None:
    (was,) = services.seen(Systemd(), [("new", "start")])  # type: ignore[arg-type]
    assert was == services.Service("new", False, "disabled", "start")
    host = Systemd(new=(False, "disabled"))
    assert services.again(host, [was.changed], True) == [] and host.done == ["enable new", "restart new"]  # type: ignore[arg-type]

    def restored() -> list[str]:
        del host.units["new"]
        return []

    assert services.back(host, [was], restored) == [] and host.done[2:] == ["disable new", "stop new"]  # type: ignore[arg-type]


def test_old_ones_go_and_young_ones_stay(store: Store, etc: Path) -> None:
    names = [taken(store, etc, etc / "far")["snapshot"]["name"] for _ in range(3)]
    for number, name in enumerate(sorted(names)):
        manifest = store.snapshots / name / "manifest.json"
        os.utime(manifest, (10**9 + number, 10**9 + number))
    result = taken(store, etc, keep=2)
    assert sorted(result["removed"]) == sorted(names)[:2]
    assert result["snapshot"]["name"] in store.names() and len(store.names()) == 2
    removed = snapshot_actions.remove(store, store.names()[-1])
    assert removed["changed"] and len(store.names()) == 1
    with pytest.raises(SnapshotError, match="give its name"):
        snapshot_actions.remove(store, "latest")


@pytest.mark.parametrize(("path", "why"), [("etc/x", "absolute"), ("/etc/../etc/x", "absolute"), ("/etc/", "absolute")])
def test_paths_that_are_not_taken(store: Store, path: str, why: str) -> None:
    with pytest.raises(SnapshotError, match=why):
        snapshot_actions.take(store, Systemd(), [path], [], "", 1, 1)  # type: ignore[arg-type]


def test_nothing_to_take_and_nothing_taken(store: Store) -> None:
    with pytest.raises(SnapshotError, match="no paths are given"):
        snapshot_actions.take(store, Systemd(), [], [], "", 1, 1)  # type: ignore[arg-type]
    with pytest.raises(SnapshotError, match="There is no snapshot in"):
        snapshot_actions.compare(store, "latest")
    with pytest.raises(SnapshotError, match="There is no snapshot 'x'"):
        snapshot_actions.compare(store, "x")
    assert snapshot_actions.every(store) == {"changed": False, "snapshots": []}


def test_a_socket_is_left_out_and_a_circle_is_refused(store: Store, etc: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(etc / "s"))
        assert taken(store, etc, etc / "far")["left_out"] == [str(etc / "s")]
    with pytest.raises(SnapshotError, match="neither a file nor a directory nor a link"):
        taken(store, etc / "s")
    (etc / "a").symlink_to("b")
    (etc / "b").symlink_to("a")
    with pytest.raises(SnapshotError, match="in a circle"):
        taken(store, etc / "a")


def test_a_store_that_others_may_enter_is_refused(store: Store, etc: Path) -> None:
    taken(store, etc, etc / "far")
    os.chmod(store.path, 0o755)
    with pytest.raises(SnapshotError, match="with mode 0700"):
        taken(store, etc, etc / "far")


def test_one_run_at_a_time(store: Store, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.module_utils.mtaudit.transaction.store._LOCK_WAIT_S", 0.3)
    with store.alone(), pytest.raises(SnapshotError, match="Another run of mtaudit is changing this host"):
        taken(store, etc, etc / "far")
    assert taken(store, etc, etc / "far")


def test_without_room_nothing_is_taken(store: Store, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_SPARE_BYTES", 10**18)
    with pytest.raises(SnapshotError, match="are free; make room there"):
        taken(store, etc, etc / "far")
    assert store.names() == []


def test_a_file_that_is_being_written_is_not_kept_half(store: Store, etc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = places._copied

    def meanwhile(file: Any, contents: Path) -> tuple[str, int]:
        answer = real(file, contents)
        with open(etc / "main.cf", "a") as writer:
            writer.write("more\n")
        return answer

    monkeypatch.setattr(places, "_copied", meanwhile)
    with pytest.raises(SnapshotError, match="it was being written each of 3 times"):
        taken(store, etc / "main.cf")


def test_a_file_in_a_closed_directory_is_not_shown(store: Store, etc: Path) -> None:
    taken(store, etc)
    (etc / "conf.d/10").write_text("eleven\n")
    os.chmod(etc, 0o700)
    shown = snapshot_actions.put_back(store, Systemd(), "latest", check=True)["diff"]
    assert "eleven" not in str(shown) and not diff.is_public(str(etc / "conf.d/10"))


def test_what_stands_in_the_way_does_not_keep_the_rest(store: Store, etc: Path, tmp_path: Path) -> None:
    host = Systemd(postfix=(True, "enabled"), gone=(True, "enabled"))
    (etc / "slash").symlink_to(f"{etc}/conf.d/")
    taken(store, etc, etc / "slash", runner=host, services=[("postfix", "reload"), ("gone", "reload")])
    was = state(tmp_path)
    del host.units["gone"]
    (etc / "secret").unlink()
    os.mkfifo(etc / "secret")
    (etc / "main.cf").write_text("other")
    result = snapshot_actions.put_back(store, host, "latest")
    assert state(tmp_path) == was
    assert result["problems"] == ["Could not look at the service gone: this host has none of that name"]


def test_a_label_that_came_later_is_no_difference() -> None:
    plain = places.Place("/x", "file")
    labelled = places.Place("/x", "file", attributes=(("security.selinux", "eA=="),))
    assert plain.differences(labelled) == [] and labelled.differences(plain) == ["attributes"]


def test_attributes_come_back(store: Store, etc: Path, tmp_path: Path) -> None:
    os.setxattr(etc / "main.cf", "user.origin", b"by hand\0")
    taken(store, etc, etc / "far")
    was = state(tmp_path)
    os.setxattr(etc / "main.cf", "user.origin", b"other")
    os.setxattr(etc / "conf.d/10", "user.more", b"x")
    assert [d["differs"] for d in snapshot_actions.compare(store, "latest")["differences"]] == [["attributes"], ["attributes"]]
    snapshot_actions.put_back(store, Systemd(), "latest")
    assert state(tmp_path) == was
