"""The audit changes nothing on a host: every file is compared before and after, and what is written meanwhile is seen.

Three witnesses: the metadata of every file of the copy and the hash of those that matter; inotify on configuration, queue and
state while the audit runs, for what is made and removed again; services, sockets, firewall and schedules. Allowed are log lines
tagged mtaudit, and what a host writes on its own, each named below with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from audited_copy import Copy, Run, throw_away_copy

pytestmark = pytest.mark.lab

HASHED = ("/etc/", "/var/lib/postfix/", "/var/lib/sendmail/", "/var/spool/", "/root/", "/home/")
WATCHED = ("/etc", "/var/spool", "/var/lib/postfix", "/var/lib/sendmail", "/run/sendmail", "/root", "/home", "/tmp", "/var/tmp")
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt", "bounce", "defer", "trace", "flush", "saved")

# What ssh and the host's own services write; nothing else may.
WRITTEN_BY_THE_HOST = (
    (r"/var/log/.*", "logs, which are read apart"),
    (r"/run/(log|systemd|user|utmp|sshd)(/.*)?", "systemd's and sshd's records of the login session"),
    (r"/run/motd\.dynamic", "pam_motd, at each login"),
    (r"/var/lib/systemd/.*", "systemd's timers"),
    (r"/var/lib/postfix/prng_exch", "tlsmgr saves its random seed from time to time"),
    (r"/var/lib/rspamd/stats\.ucl(\.new)?", "rspamd saves its counts from time to time"),
    (r"/var/lib/rspamd/[0-9a-f]{40,}\.hs.*", "rspamd compiles its patterns in the background when it has started"),
    (r"/var/lib/clamav/(tmp\..*|freshclam\.dat)", "freshclam looks for signatures from time to time"),
    (r"/var/lib/redis/.*", "Redis saves its data from time to time"),
    (r"/var/lib/fail2ban/.*", "fail2ban saves how far it has read"),
)
# What Ansible needs while a module runs. It must be gone afterwards: the files are compared without this list.
WRITTEN_BY_ANSIBLE = (
    (r"/tmp/ansible_mta_audit_payload_\w+(/.*)?", "the module itself"),
    (r"/tmp/\w{8}", "Python's tempfile tries where it can write"),
    (r"/tmp/doveconf\.[0-9a-f]+", "doveconf 2.4 writes what it prints into a file that it removes"),
)

SNAPSHOT = r"""
import hashlib, json, os, stat, sys

HASHED = tuple(%(hashed)r)
SKIPPED = {"/proc", "/sys", "/dev"}

def described(path):
    found = os.lstat(path)
    kind = stat.S_IFMT(found.st_mode)
    # The time of a directory may change, its names may not: they are paths of this very listing.
    times = [] if stat.S_ISDIR(kind) else [found.st_mtime_ns, found.st_ctime_ns, found.st_size]
    facts = [kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, *times]
    if stat.S_ISREG(kind) and path.startswith(HASHED):
        with open(path, "rb") as file:
            facts.append(hashlib.sha256(file.read()).hexdigest())
    if stat.S_ISLNK(kind):
        facts.append(os.readlink(path))
    return facts

files = {}
for top, directories, names in os.walk("/"):
    directories[:] = [d for d in directories if os.path.join(top, d) not in SKIPPED]
    for name in directories + names:
        path = os.path.join(top, name)
        try:
            files[path] = described(path)
        except FileNotFoundError:
            pass
print(json.dumps(files))
"""

# Every change below the watched directories, from now until the process is told to end; a line for each.
WATCH = r"""
import ctypes, os, select, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
MODIFY, ATTRIB, CLOSE_WRITE, MOVED, CREATE, DELETE = 0x2, 0x4, 0x8, 0xC0, 0x100, 0x200
NAMES = {MODIFY: "modify", ATTRIB: "attributes", CLOSE_WRITE: "close after write", 0x40: "move", 0x80: "move",
         CREATE: "create", DELETE: "delete", 0x4000: "overflow"}
queue = libc.inotify_init1(0)
watched = {}
for top in %(watched)r:
    for path, _, _ in os.walk(top):
        number = libc.inotify_add_watch(queue, path.encode(), MODIFY | ATTRIB | CLOSE_WRITE | MOVED | CREATE | DELETE)
        if number < 0:
            sys.exit(f"inotify_add_watch {path}: {os.strerror(ctypes.get_errno())}")
        watched[number] = path
out = open("/run/mta-watch", "w", buffering=1)
out.write("ready\n")
while not os.path.exists("/run/mta-watch-end"):
    if not select.select([queue], [], [], 0.2)[0]:
        continue
    data = os.read(queue, 1 << 20)
    while data:
        number, mask, _, length = struct.unpack_from("iIII", data)
        name = data[16:16 + length].rstrip(b"\0").decode()
        what = " ".join(word for bit, word in NAMES.items() if mask & bit)
        if mask & 0x4000 or what:
            out.write(f"{what}\t{watched.get(number, '?')}/{name}\n")
        data = data[16 + length:]
out.write("end\n")
"""

# Each line a fact that an audit must leave as it is; the commands that a host lacks say nothing.
STATE = r"""
for tool in 'iptables-save' 'ip6tables-save' 'nft list ruleset'; do
    echo "== $tool"; $tool 2>/dev/null | sed 's/^#.*//; s/\[[0-9:]*\]//'; done
echo '== services'; systemctl list-units --type=service,timer,socket --all --plain --no-legend | awk '{print $1, $2, $3, $4}' \
    | grep -v -e 'user@' -e 'user-runtime-dir@' -e '^session' -e 'systemd-logind' -e '^ssh@' | sort
echo '== enabled'; systemctl list-unit-files --plain --no-legend | awk '{print $1, $2}' | sort
echo '== daemons'; for name in master sendmail-mta smtpd dovecot cron rsyslogd; do pgrep -x "$name" | while read -r pid; do
    echo "$name $pid $(awk '{print $22}' /proc/$pid/stat)"; done; done
echo '== crontabs'; ls -lR /var/spool/cron /etc/cron* 2>/dev/null
echo '== listening'; cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == "0A" {print $2}' | sort
echo '== users'; getent passwd; getent group
echo '== queue'; postqueue -p; postqueue -j; smtpctl show queue
echo '== configuration'; postconf -n; postconf -M; postconf -P
echo '== mounts'; cat /proc/self/mounts
"""


@dataclass(frozen=True)
class Program:
    """What is the program's own: configuration, daemon, refusal, queues, and how a message gets into one of them."""

    configuration: str
    daemon: str
    refusal: str
    queues: tuple[str, ...]
    queue_one: str


POSTFIX = Program(
    "/etc/postfix/main.cf", "master", "Relay access denied", tuple(f"/var/spool/postfix/{queue}/" for queue in QUEUES),
    "postsuper -h ALL; echo 'Subject: test' | sendmail -f alice alice; sleep 1",
)  # fmt: skip
SENDMAIL = Program(
    "/etc/mail/sendmail.cf", "sendmail-mta", "Relaying denied", ("/var/spool/mqueue/", "/var/spool/mqueue-client/"),
    "echo 'Subject: test' | sendmail -odq -f alice alice; sleep 1",
)  # fmt: skip


@dataclass(frozen=True)
class Watched:
    """An audit and what was seen on the host before, during and after it."""

    run: Run
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    state_before: str
    state_after: str
    meanwhile: list[tuple[str, str]]  # (what happened, path)
    log: str


def snapshot(copy: Copy) -> dict[str, Any]:
    """What every file of the copy is like: metadata of all, content of those that matter."""
    found: dict[str, Any] = copy.python(SNAPSHOT % {"hashed": HASHED})
    return found


def start_watching(copy: Copy) -> None:
    copy.shell("rm -f /run/mta-watch*; cat > /run/mta-watch.py", stdin=WATCH % {"watched": WATCHED})
    copy.shell("systemd-run -q --unit=mta-watch python3 -B /run/mta-watch.py")
    copy.shell("for i in $(seq 100); do grep -q ready /run/mta-watch 2>/dev/null && exit 0; sleep 0.1; done; exit 1")


def end_watching(copy: Copy) -> list[tuple[str, str]]:
    """What happened, as (event, path)."""
    copy.shell("touch /run/mta-watch-end")
    copy.shell("for i in $(seq 100); do grep -q '^end$' /run/mta-watch && exit 0; sleep 0.1; done; exit 1")
    lines = copy.shell("cat /run/mta-watch").splitlines()
    copy.shell("rm -f /run/mta-watch*; systemctl reset-failed mta-watch 2>/dev/null || true")
    return [(what, path) for what, _, path in (line.partition("\t") for line in lines) if path]


def allowed(path: str, *lists: Sequence[tuple[str, str]]) -> bool:
    return any(re.fullmatch(pattern, path) for patterns in lists for pattern, _ in patterns)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The paths that came, went or changed, but for what the host writes on its own."""
    paths = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    return sorted(path for path in paths if not allowed(path, WRITTEN_BY_THE_HOST))


def program_of(copy: Copy) -> Program:
    return SENDMAIL if copy.lab.host(copy.name).image.startswith("sendmail") else POSTFIX


def rest(copy: Copy) -> None:
    """Bring the copy to where a mail server is after its first mail: its daemons ran and made their lock files."""
    address = copy.lab.host(copy.name).ipv4
    said = copy.lab.execute("neighbour", "swaks", "--server", address, "--from", "a@stranger.test", "--to", "b@canary.test",
                            "--quit-after", "RCPT", "--timeout", "20").stdout
    assert program_of(copy).refusal in said, said
    copy.audit()  # also what the first login of root makes


@pytest.fixture(scope="module", params=["mx-d12", "full-d13", "sendmail-d12"])
def copy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    with throw_away_copy(request.param, "ro", tmp_path_factory.mktemp("ro")) as made:
        rest(made)
        yield made


@pytest.fixture(scope="module")
def watched(copy: Copy) -> Watched:
    """An audit with simulation, watched."""
    start = copy.shell("date +%s").strip()
    state_before, before = copy.shell(STATE), snapshot(copy)
    start_watching(copy)
    run = copy.audit()
    meanwhile = end_watching(copy)
    after, state_after = snapshot(copy), copy.shell(STATE)
    log = copy.shell(f"journalctl --since=@{start} --no-pager -o short-iso")
    return Watched(run, before, after, state_before, state_after, meanwhile, log)


def test_the_audit_was_a_whole_one(watched: Watched) -> None:
    answer = watched.run.answer()
    assert answer["status"] == "ok"
    assert answer["spawns"] > 0 and answer["simulation_spawns"] > 0
    assert {"config", "simulation"} <= {finding["method"] for finding in answer["findings"]}


def test_no_file_came_went_or_changed(copy: Copy, watched: Watched) -> None:
    assert program_of(copy).configuration in watched.before
    assert changes(watched.before, watched.after) == []


def test_nothing_was_written_meanwhile(watched: Watched) -> None:
    """Not even for a moment: no temporary file, no queue file, no table made again."""
    lists = (WRITTEN_BY_THE_HOST, WRITTEN_BY_ANSIBLE)
    assert [(what, path) for what, path in watched.meanwhile if not allowed(path, *lists)] == []


def test_no_queue_file_at_any_moment(copy: Copy, watched: Watched) -> None:
    assert [seen for seen in watched.meanwhile if seen[1].startswith(program_of(copy).queues)] == []


def test_services_firewall_schedules_and_configuration_are_as_before(copy: Copy, watched: Watched) -> None:
    assert "== services\n" in watched.state_before and f"{program_of(copy).daemon} " in watched.state_before
    assert watched.state_after == watched.state_before


def test_the_log_shows_the_simulation_under_our_name_and_no_mail(copy: Copy, watched: Watched) -> None:
    if program_of(copy) is SENDMAIL:
        # Test mode logs nothing at all.
        assert not re.findall(r"^.* (?:sm-mta|sendmail\S*)\[.*$", watched.log, re.MULTILINE)
        return
    mail = [line for line in watched.log.splitlines() if re.search(r"(postfix|mtaudit)/\w+\[|(postfix|mtaudit)/\w+/\w+\[", line)]
    assert [line for line in mail if "mtaudit/smtpd" in line]
    other = [line for line in mail if "mtaudit/" not in line]
    assert not [line for line in other if re.search(r"/(cleanup|pickup|qmgr|smtp|local|bounce|anvil|verify)\[", line)], other


def test_the_recap_says_that_nothing_changed(watched: Watched) -> None:
    assert watched.run.recap["changed"] == 0
    assert watched.run.recap["failed"] == 0


def test_check_mode_finds_the_same(copy: Copy, watched: Watched) -> None:
    run = copy.audit("--check", "--diff")
    assert run.answer() == watched.run.answer()
    assert run.recap["changed"] == 0


# The witnesses see what they are there for

def test_the_witnesses_see_changes(copy: Copy) -> None:
    """A file that comes and goes, a queue file, a parameter set to what it was: each by the witness that is to see it."""
    before = snapshot(copy)
    start_watching(copy)
    copy.shell("touch /etc/gone; rm /etc/gone")
    program = program_of(copy)
    copy.shell(f"cp -p {program.configuration} /etc/other; mv /etc/other {program.configuration}")
    copy.shell(program.queue_one)
    meanwhile, after = end_watching(copy), snapshot(copy)
    assert ("create", "/etc/gone") in meanwhile and ("delete", "/etc/gone") in meanwhile
    seen = [queue for queue in program.queues if any(path.startswith(queue) for _, path in meanwhile)]
    expected = ["/var/spool/postfix/maildrop/", "/var/spool/postfix/incoming/"] if program is POSTFIX else [program.queues[1]]
    assert set(expected) <= set(seen)
    assert program.configuration in changes(before, after)


# OpenSMTPD, which is asked by two commands and by reading its files


@pytest.fixture(scope="module", params=["opensmtpd-d12", "opensmtpd-d13"])
def opensmtpd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """An audit of an OpenSMTPD host, watched."""
    with throw_away_copy(request.param, "ro-o", tmp_path_factory.mktemp("ro-o")) as copy:
        # A table in a data base: it is dumped by a program.
        copy.shell("echo 10.0.0.1 > /etc/trusted && makemap -t set -o /etc/trusted.db /etc/trusted && "
                   "sed -i -e '/^table aliases/a table trusted db:/etc/trusted.db' -e '/^# The first that matches/a "
                   'match from src <trusted> for any action "outside"\' /etc/smtpd.conf && /usr/local/lib/lab/activate')
        copy.audit()  # also what the first login of root makes
        start = copy.shell("date +%s").strip()
        state_before, before = copy.shell(STATE), snapshot(copy)
        start_watching(copy)
        run = copy.audit()
        meanwhile = end_watching(copy)
        after, state_after = snapshot(copy), copy.shell(STATE)
        log = copy.shell(f"journalctl --since=@{start} --no-pager -o short-iso")
        yield Watched(run, before, after, state_before, state_after, meanwhile, log)


def test_opensmtpd_was_audited(opensmtpd: Watched) -> None:
    answer = opensmtpd.run.answer()
    assert answer["status"] == "ok" and answer["spawns"] == 5
    assert [program["name"] for program in answer["estate"]["programs"]] == ["opensmtpd"]
    assert {finding["status"] for finding in answer["findings"] if finding["control"] == "RELAY-01"} == {"pass"}


def test_opensmtpd_stays_as_it_is(opensmtpd: Watched) -> None:
    assert "/etc/smtpd.conf" in opensmtpd.before and "smtpd " in opensmtpd.state_before
    assert changes(opensmtpd.before, opensmtpd.after) == []
    lists = (WRITTEN_BY_THE_HOST, WRITTEN_BY_ANSIBLE)
    assert [(what, path) for what, path in opensmtpd.meanwhile if not allowed(path, *lists)] == []
    assert opensmtpd.state_after == opensmtpd.state_before
    assert not re.search(r" smtpd\[\d+\]: [0-9a-f]{16} smtp ", opensmtpd.log)
