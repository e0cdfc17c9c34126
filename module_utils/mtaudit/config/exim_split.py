"""Part an Exim into a queue for what comes in and a queue for what leaves: wanted settings of both.

The queue for what leaves is another daemon on this host, with a configuration, a spool and a unit of its own, or another host. It
begins as a copy of what the one Exim had, so that TLS, logins, filters and limits stay as they were; each of both loses what is
the other's. Both write one log: what reads that, and what guards the logins by it, goes on.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Optional

from ..address import LOOPBACK, subtract
from ..readers.exim import NAMES, read_candidate
from ..readers.exim_lists import network_of
from ..readers.exim_model import Exim, interface_of, port_of
from ..readers.exim_syntax import items
from ..runner import ReadError, Runner
from .exim import AclChange, Wanted, candidate
from .exim_edit import Places, set_option
from .exim_source import Files
from .files import Candidate, ConfigError, NewFile
from .split import Instances, Split, address_and_port, refuse_clients, refuse_loss

_DIRECTORY = "/etc/exim4"
_TRUSTED = f"{_DIRECTORY}/trusted_configs"  # with another file Exim gives up being root, and delivers no local mail
_NAME = re.compile(r"exim-[A-Za-z0-9_]+")
_LOGINS = (465, 587)
_EVERYWHERE = ["::0", "0.0.0.0"]
_OWN = ["127.0.0.1", "::1"]
_ROUTER, _TRANSPORT = "routers/handover", "transports/handover"
_RETRY = "F,5d,1s"  # by the usual rule nothing goes to the other side for 15 minutes after it was down for a moment
_SITE = ("local_domains", "relay_to_domains")
# What may refuse, change or count a message. What the other side has looked at is not looked at again.
_STEPS = ("connect", "helo", "mail", "predata", "mime", "data", "data_prdr")
_UNIT = """\
# Made by mtaudit: the Exim for what leaves.
[Unit]
Description=Exim for what leaves
Wants=network-online.target
After=network-online.target nss-lookup.target exim4.service

[Service]
Type=exec
ExecStart={program} -C {file} -bdf -q30m
ExecReload=/bin/kill -HUP $MAINPID
# What delivers a message ends its work.
KillMode=process

[Install]
WantedBy=multi-user.target
"""


def place(primary: Exim, instance: str) -> tuple[str, str, str]:
    """Configuration and spool of an instance, and the spool of the first. Raises ConfigError."""
    if not _NAME.fullmatch(instance):
        raise ConfigError(f"Could not part Exim: {instance!r} is no name for an instance; take one like exim-out")
    if primary.problem:
        raise ConfigError(f"Could not part Exim with {primary.file}: {primary.problem}")
    spool = primary.options.get("spool_directory", "").rstrip("/")
    return f"{_DIRECTORY}/{instance}.conf", os.path.join(os.path.dirname(spool), instance), spool


def split(runner: Runner, primary: Exim, wanted: Split, scratch: Path) -> Instances:
    """Two instances of one. What is so already stays. Raises ConfigError."""
    file, queue, _ = place(primary, wanted.instance)
    _refuse(runner, primary, wanted)
    known = _ours(runner, primary, file) if runner.stat(file) else None
    if known:
        now = _outbound(known, primary, wanted).then(_domains(known, primary))
        leaves = candidate(runner, known, now, _new(scratch, "outbound"), for_strangers=False)
    else:
        leaves = _copied(runner, primary, wanted, scratch)
    comes = candidate(runner, primary, _inbound(primary, wanted), _new(scratch, "inbound"))
    return Instances(comes, leaves, _DIRECTORY, queue, tuple(_warnings(primary)))


def join(runner: Runner, primary: Exim, instance: str, scratch: Path) -> Instances:
    """One of two: the first gets back what the outbound one has of it, which goes. Raises ConfigError."""
    file, queue, _ = place(primary, instance)
    if runner.stat(file) is None:
        return Instances(Candidate(), Candidate(), _DIRECTORY, queue)
    comes = candidate(runner, primary, _joined(primary, _ours(runner, primary, file)), _new(scratch, "inbound"))
    trusted = [line for line in _lines(runner, _TRUSTED) if line != file]
    gone = (NewFile(file, None), _trusted(trusted), NewFile(_unit(instance), None))
    return Instances(comes, Candidate(gone), _DIRECTORY, queue)


def one_side(runner: Runner, primary: Exim, inbound: bool, wanted: Split, scratch: Path) -> Candidate:
    """A host that takes strangers' mail alone and gives what leaves to others, or one that sends for logins and networks alone
    and gives mail for the site's domains to others. Raises ConfigError."""
    refuse_loss(list(_comes_in_vain(primary, inbound, wanted)), wanted)
    _refuse_shapes(primary)
    if inbound:
        return candidate(runner, primary, _inbound(primary, wanted), scratch)
    ours = dict.fromkeys([*_interfaces(primary), *_handover(wanted, wanted.outbound_port)])
    listens = Wanted({"local_interfaces": _listed(list(ours))})
    return candidate(runner, primary, _sends(primary, wanted).then(listens), scratch, for_strangers=False)


def _comes_in_vain(primary: Exim, inbound: bool, wanted: Split) -> Iterator[str]:
    """What is taken now and would not be any more."""
    if inbound:
        logins = [port.name for port in primary.listeners if primary.takes_logins and port.port in _LOGINS]
        yield from (f"what is sent with a login ({name})" for name in logins)
        yield from (f"what {client} sends" for client in _foreign(primary) if client.partition("/")[0] not in wanted.other)
    elif not _parted(primary) and (primary.local_domains or primary.relayed_domains):
        yield f"strangers' mail for {', '.join([*primary.local_domains, *primary.relayed_domains][:3])}"


def _parted(exim: Exim) -> bool:
    return "handover" in exim.config.routers and "handover" in exim.config.transports


def _new(scratch: Path, name: str) -> Path:
    directory = scratch / name
    directory.mkdir(mode=0o700)
    return directory


# The inbound side


def _inbound(primary: Exim, wanted: Split) -> Wanted:
    """It keeps the site's domains, gives away everything else, and takes of the other side what is the site's."""
    bare, fixed = _interfaces(primary, fixed=False), [i for i in _interfaces(primary, bare=False) if _number(i) not in _LOGINS]
    if wanted.inbound_addresses:
        bare = ["127.0.0.1", *(address.strip("[]") for address in wanted.inbound_addresses)]
    ours = list(dict.fromkeys([*bare, *fixed, *_handover(wanted, wanted.inbound_port)]))
    options: dict[str, Optional[str]] = {"local_interfaces": _listed(ours)}
    if bare:
        options["daemon_smtp_ports"] = " : ".join(p for p in _ports(primary) if port_of(p) not in _LOGINS)
    if primary.takes_logins:
        options["auth_advertise_hosts"] = ""
    lists = {"hostlist relay_from_hosts": _of_hosts(_OWN)} if _foreign(primary) else {}
    site = _site(primary)
    foreign = " : ".join(f"! {item}" for item in site.split(" : "))
    statements = _from_outbound(primary, wanted)
    return Wanted(options, lists, statements=statements).then(_hands_over(wanted, wanted.outbound_port, foreign))


def _from_outbound(primary: Exim, wanted: Split) -> tuple[AclChange, ...]:
    here = _at(wanted.inbound_port)
    return _first(primary, here, [
        f"deny\nmessage = relay not permitted\n{here}\n!domains = {_site(primary)}",
        f"accept\n{here}\nhosts = {_of_the_other(wanted)}\ncontrol = dkim_disable_verify\nendpass\nverify = recipient",
        f"deny\nmessage = relay not permitted\n{here}",
    ])  # fmt: skip


# The outbound side


def _outbound(exim: Exim, primary: Exim, wanted: Split) -> Wanted:
    """Of a copy of the first, or of what became of it: logins, networks, and no mail of strangers."""
    logins = [p for p in dict.fromkeys([*_ports(exim), *_ports(primary)]) if primary.takes_logins and port_of(p) in _LOGINS]
    bare = _interfaces(exim, fixed=False) if logins else []
    fixed = [item for item in _interfaces(exim, bare=False) if _number(item) in _LOGINS]
    listen = [_fixed(*address_and_port("Exim", where)) for where in wanted.listen]
    ours = list(dict.fromkeys([*bare, *fixed, *listen, *_handover(wanted, wanted.outbound_port)]))
    options: dict[str, Optional[str]] = {"local_interfaces": _listed(ours)}
    if bare:
        options["daemon_smtp_ports"] = " : ".join(logins)
    return _sends(exim, wanted).then(Wanted(options))


def _domains(exim: Exim, primary: Exim) -> Wanted:
    """The site's, as the first has them by now."""
    texts = {name: primary.config.lists.get(("domainlist", name)) for name in _SITE}
    return Wanted(lists={f"domainlist {name}": text for name, text in texts.items()
                         if text is not None and text != exim.config.lists.get(("domainlist", name))})  # fmt: skip


def _sends(exim: Exim, wanted: Split) -> Wanted:
    lists = {} if wanted.networks is None else {"hostlist relay_from_hosts": _of_hosts([*_OWN, *wanted.networks])}
    here = _at(wanted.outbound_port)
    statements = _first(exim, here, [
        f"accept\n{here}\nhosts = {_of_the_other(wanted)}\ncontrol = dkim_disable_verify",
        f"deny\nmessage = relay not permitted\n{here}",
        "deny\nmessage = relay not permitted\n!hosts = +relay_from_hosts\n!authenticated = *",
    ])  # fmt: skip
    return Wanted(lists=lists, statements=statements).then(_hands_over(wanted, wanted.inbound_port, _site(exim)))


def _copied(runner: Runner, primary: Exim, wanted: Split, scratch: Path) -> Candidate:
    """The new instance, tried with the spool of the first: it has none of its own yet."""
    file, queue, spool = place(primary, wanted.instance)
    base = str(_new(scratch, "base") / os.path.basename(file))
    try:
        text = Path(primary.file).read_bytes().decode("utf-8", "surrogateescape")
        owner, keeper = os.stat(primary.file), os.stat(spool)
    except OSError as exc:
        raise ConfigError(f"Could not read {exc.filename}: {exc.strerror}") from exc
    Path(base).write_bytes(text.encode("utf-8", "surrogateescape"))
    copy = read_candidate(runner, Exim(base, command=("-C", base), primary=primary), base)
    made = candidate(runner, copy, _outbound(copy, primary, wanted), _new(scratch, "outbound"), for_strangers=False)
    pid_file = primary.options.get("pid_file_path") or "/run/exim4/exim.pid"
    own = {"spool_directory": queue, "pid_file_path": os.path.join(os.path.dirname(pid_file), f"{wanted.instance}.pid")}
    text = next(new for new in made.files if new.path == base).content.decode("utf-8", "surrogateescape")  # type: ignore[union-attr]
    content = _with_options(base, text, own).encode("utf-8", "surrogateescape")
    program = next((path for name in NAMES for path in [runner.which(name)] if path), "")
    unit = _UNIT.format(program=program, file=file).encode()
    files = (NewFile(file, content, owner.st_mode & 0o7777, owner.st_uid, owner.st_gid, planned_on=""),
             _trusted([*_lines(runner, _TRUSTED), file]), NewFile(_unit(wanted.instance), unit))  # fmt: skip
    # Exim fills its spool, and does not make it. It outlives the instance: mail may be in it.
    keeps = ("install", "-d", "-m", "750", "-o", str(keeper.st_uid), "-g", str(keeper.st_gid), queue)
    return Candidate(files, "restart", (), (keeps, ("systemctl", "daemon-reload"), (program, "-C", file, "-bV")), made.reading)


def _with_options(path: str, text: str, options: Mapping[str, str]) -> str:
    files = Files([path], {path: text}, _DIRECTORY)
    for name, value in options.items():
        set_option(files, Places(main=path), name, value)
    return files.texts[path]


# Together again


def _joined(primary: Exim, outbound: Exim) -> Wanted:
    was = Split(inbound_port=_port_of_handover(outbound), outbound_port=_port_of_handover(primary))
    ours, theirs = _interfaces(outbound, fixed=False), _interfaces(primary, fixed=False)
    fixed = [item for item in _interfaces(primary, bare=False) if item not in _handover(was, was.inbound_port)]
    fixed += [item for item in _interfaces(outbound, bare=False) if _number(item) in _LOGINS]
    listed = list(dict.fromkeys([*(ours or theirs), *fixed]))
    options: dict[str, Optional[str]] = {"local_interfaces": None if listed == _EVERYWHERE else _listed(listed)}
    if theirs:
        options["daemon_smtp_ports"] = " : ".join(dict.fromkeys([*_ports(primary), *(_ports(outbound) if ours else ())]))
    advertised = outbound.options.get("auth_advertise_hosts", "*")
    options["auth_advertise_hosts"] = None if advertised == "*" else advertised
    lists = {"hostlist relay_from_hosts": outbound.config.lists[("hostlist", "relay_from_hosts")]}
    statements = tuple(AclChange(change.acl, old=change.new) for change in _from_outbound(primary, was))
    return Wanted(options, lists, {_ROUTER: None, _TRANSPORT: None}, statements=statements, retries={f"{_OWN[0]} *": None})


def _port_of_handover(exim: Exim) -> int:
    return int(exim.config.transports["handover"]["port"])


# Both


def _hands_over(wanted: Split, port: int, domains: str) -> Wanted:
    """To that port of the other side. What fails there is tried again soon."""
    others = wanted.other or _OWN[:1]
    hosts = " : ".join(host.replace(":", "::") for host in others)
    loopback = {} if wanted.other else {"hosts_avoid_tls": "*", "interface": _OWN[0]}
    router = {"driver": "manualroute", "domains": domains, "route_list": f'* "{hosts}"',
              "transport": "handover", "self": "send", "more": "false"}  # fmt: skip
    # What was taken is given on, however long its lines are.
    transport = {"driver": "smtp", "port": str(port), "message_linelength_limit": "1G", **loopback}
    return Wanted(drivers={_ROUTER: router, _TRANSPORT: transport}, retries={f"{host} *": _RETRY for host in others})


def _first(exim: Exim, here: str, recipients: Sequence[str]) -> tuple[AclChange, ...]:
    """What stands before all else of the ACLs: at the port of the other side nothing is looked at but the recipients."""
    changes = [AclChange(acl, new=f"accept\n{here}") for acl in (_acl(exim, step) for step in _STEPS) if acl]
    return (*changes, *(AclChange(_acl(exim, "rcpt"), new=statement) for statement in reversed(recipients)))


def _acl(exim: Exim, step: str) -> str:
    name = exim.options.get(f"acl_smtp_{step}", "").strip()
    return "" if name == "accept" else name


def _at(port: int) -> str:
    return f"condition = ${{if =={{$received_port}}{{{port}}}}}"


def _of_the_other(wanted: Split) -> str:
    return _of_hosts(wanted.other or _OWN[:1], own=False)


def _of_hosts(hosts: Sequence[str], own: bool = True) -> str:
    """A list of hosts; with programs of the host itself, which have no address."""
    return f"<; {'; ' if own else ''}{' ; '.join(hosts)}"


def _site(exim: Exim) -> str:
    return " : ".join(f"+{name}" for name in _SITE if ("domainlist", name) in exim.config.lists)


def _interfaces(exim: Exim, bare: bool = True, fixed: bool = True) -> list[str]:
    """Items of local_interfaces: `bare` ones have the ports of daemon_smtp_ports, `fixed` ones a port of their own."""
    listed = [item for item in items(exim.options.get("local_interfaces", "")) if item] or _EVERYWHERE
    return [item for item in listed if (fixed if _number(item) else bare)]


def _number(item: str) -> int:
    return interface_of(item)[1]


def _ports(exim: Exim) -> list[str]:
    return [port for port in items(exim.options.get("daemon_smtp_ports", "")) if port] or ["smtp"]


def _handover(wanted: Split, port: int) -> list[str]:
    return [_fixed(bind, port) for bind in (("0.0.0.0", "::0") if wanted.other else _OWN[:1])]


def _fixed(bind: str, port: int) -> str:
    return f"[{bind}]:{port}"


def _listed(interfaces: Sequence[str]) -> str:
    return f"<; {' ; '.join(interfaces)}"


def _foreign(exim: Exim) -> list[str]:
    """Who may send without a login, but for the host itself; also what cannot be told."""
    own = [*LOOPBACK, *map(ipaddress.ip_network, exim.addresses)]
    found = [(item, network_of(item)) for item in exim.relaying_hosts if item not in ("", "@", "@[]", "localhost")]
    return [item for item, network in found if network is None or subtract(network, own)]


def _ours(runner: Runner, primary: Exim, file: str) -> Exim:
    """The instance that a split has made. Raises ConfigError when it is another one."""
    found = read_candidate(runner, Exim(file, command=("-C", file), primary=primary), file)
    if found.problem or not _parted(found):
        why = found.problem or "mtaudit has not made it; take another name"
        raise ConfigError(f"Could not use the instance with {file}: {why}")
    return found


def _unit(instance: str) -> str:
    return f"/etc/systemd/system/{instance}.service"


def _trusted(files: Sequence[str]) -> NewFile:
    lines = dict.fromkeys(files)
    return NewFile(_TRUSTED, "".join(f"{line}\n" for line in lines).encode() if lines else None)


def _lines(runner: Runner, path: str) -> list[str]:
    try:
        return [] if runner.stat(path) is None else runner.read(path).splitlines()
    except ReadError as exc:
        raise ConfigError(str(exc)) from exc


def _refuse(runner: Runner, primary: Exim, wanted: Split) -> None:
    """Raises ConfigError for what would cut people off, or cannot work."""
    if runner.stat(_DIRECTORY) is None:
        raise ConfigError(f"Could not part Exim: it is not Debian's, which reads {_TRUSTED}; give what leaves to another host")
    logins = [port for port in primary.listeners if primary.takes_logins and port.port in _LOGINS]
    if primary.takes_logins and not logins and not _parted(primary):
        raise ConfigError("Could not part Exim: logins are taken on port 25 or a port of your own, which will be for strangers; "
                          "take them on ports 465 and 587 (daemon_smtp_ports) first")
    _refuse_shapes(primary)
    clients = _foreign(primary) if wanted.networks is None else list(wanted.networks)
    kept = [(port.name, port.bind, port.port) for port in primary.listeners if port not in logins]
    refuse_clients("Exim", clients, kept, wanted)


def _refuse_shapes(primary: Exim) -> None:
    """Raises ConfigError for a configuration that is not made as Debian's and Exim's own example are."""
    if "-oX" in primary.command:
        raise ConfigError("Could not part Exim: the daemon is told its ports by -oX; say them in daemon_smtp_ports and "
                          "local_interfaces instead (/etc/default/exim4)")
    for kind, name in (("domainlist", "local_domains"), ("hostlist", "relay_from_hosts")):
        if (kind, name) not in primary.config.lists:
            raise ConfigError(f"Could not part Exim: it has no {kind} {name}, so what is the site's cannot be told")
    for step in (*_STEPS, "rcpt"):
        acl = _acl(primary, step)
        if acl not in primary.config.acls and (acl or step == "rcpt"):
            raise ConfigError(f"Could not part Exim: acl_smtp_{step} names no ACL of the configuration: {acl or 'nothing'}")


def _warnings(primary: Exim) -> Iterator[str]:
    system_filter = primary.options.get("system_filter", "")
    if system_filter:
        yield f"system_filter = {system_filter}: what one instance gives to the other passes it twice"
