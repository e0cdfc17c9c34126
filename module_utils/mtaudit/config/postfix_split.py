"""Part a Postfix into a queue for what comes in and a queue for what leaves: wanted settings of both.

The queue for what leaves is another instance on this host (postmulti(1)) or another host. It begins as a copy of what the one
Postfix had, so that TLS, logins, filters and limits stay as they were; each of both loses what is the other's.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

from ..address import LOOPBACK, subtract
from ..readers.postfix import read_instance
from ..readers.postfix_model import RESTRICTION_LISTS, Postfix, SmtpService
from ..readers.postfix_syntax import words
from ..runner import ReadError, Runner
from .files import Candidate, ConfigError, NewFile
from .postfix import Entry, Wanted, candidate, entries, postconf
from .split import Instances, Split, refuse_clients, refuse_loss

_NAME = re.compile(r"postfix-[A-Za-z0-9_]+")  # Debian 13 has its unit for /etc/postfix-NAME alone
_OWN = "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128"
_DOMAINS = ("mydestination", "virtual_mailbox_domains", "virtual_alias_domains", "relay_domains")
# What the inbound side gives up is the outbound side's from then on, and comes back from there.
_LENT = ("mynetworks", "default_transport", "sender_dependent_default_transport_maps", "smtpd_sasl_auth_enable",
         "inet_interfaces")  # fmt: skip
_MANAGER = {"multi_instance_enable": "yes", "multi_instance_wrapper": "${command_directory}/postmulti -p --"}
_HANDOVER = {
    "smtp_sasl_auth_enable": "no", "smtp_fallback_relay": "", "smtp_generic_maps": "", "smtp_header_checks": "",
    "smtp_body_checks": "",
}  # fmt: skip
_ON_THE_LOOPBACK = {"smtp_tls_security_level": "none", "smtp_bind_address": "127.0.0.1"}
_FOR_ALL, _FOR_THE_SITE = "permit_mynetworks,reject", "reject_unauth_destination"
_TAKEN_OVER = {
    "mynetworks": _OWN.replace(" ", ","), "smtpd_client_restrictions": _FOR_ALL, "smtpd_helo_restrictions": "",
    "smtpd_sender_restrictions": "", "smtpd_recipient_restrictions": "", "smtpd_data_restrictions": "",
    "smtpd_end_of_data_restrictions": "", "smtpd_sasl_auth_enable": "no", "smtpd_tls_security_level": "none",
    "content_filter": "", "smtpd_proxy_filter": "",
    "receive_override_options": "no_header_body_checks,no_milters,no_address_mappings",
}  # fmt: skip


def _way(wanted: Split, port: int) -> str:
    """To that port of the other side, as transport(5) has it."""
    return "handover:" + ", ".join(f"[{address}]:{port}" for address in wanted.other or ("127.0.0.1",))


def _ends(wanted: Split, port: int, relaying: str) -> Wanted:
    """Of this side: a client for the other, and where that is taken from. What comes that way has been filtered and
    rewritten, and is so no second time."""
    service = f"{port}/inet" if wanted.other else f"127.0.0.1:{port}/inet"
    services = {"handover/unix": "handover unix - - y - - smtp", service: f"{service.partition('/')[0]} inet n - y - - smtpd"}
    taken = {**_TAKEN_OVER, "smtpd_relay_restrictions": relaying}
    if wanted.other:
        taken.update(mynetworks=",".join(map(_in_list, wanted.other)), smtpd_tls_security_level="may")
        return Wanted({}, services, {"handover/unix": {**_HANDOVER, "smtp_tls_security_level": "may"}, service: taken})
    return Wanted({}, services, {"handover/unix": {**_HANDOVER, **_ON_THE_LOOPBACK}, service: taken})


def place(primary: Postfix, instance: str) -> tuple[str, str, str]:
    """Directories of configuration, queue and data of an instance, beside those of the first. Raises ConfigError."""
    if not _NAME.fullmatch(instance):
        raise ConfigError(f"Could not part Postfix: {instance!r} is no name for an instance; take one like postfix-out")
    if primary.problem:
        raise ConfigError(f"Could not part Postfix in {primary.config_directory}: {primary.problem}")
    beside = [primary.config_directory, *(primary.main.value(f"{name}_directory") for name in ("queue", "data"))]
    configuration, queue, data = (os.path.join(os.path.dirname(directory.rstrip("/")), instance) for directory in beside)
    return configuration, queue, data


def split(runner: Runner, primary: Postfix, wanted: Split, scratch: Path) -> Instances:
    """Two instances of one. What is so already stays. Raises ConfigError."""
    directory, queue, data = place(primary, wanted.instance)
    _refuse(primary, wanted)
    known = _ours(runner, primary, directory) if runner.stat(f"{directory}/main.cf") else None
    outbound = _outbound(primary, wanted, known, entries(runner, primary.config_directory))
    identity = {"multi_instance_name": wanted.instance, "multi_instance_enable": "yes", "queue_directory": queue,
                "data_directory": data}  # fmt: skip
    if known:
        leaves = candidate(runner, known, outbound.then(Wanted(identity)), _new(scratch, "outbound"))
    else:
        leaves = _copied(runner, primary, outbound, identity, directory, scratch)
    comes = candidate(runner, primary, _inbound(primary, wanted, directory), _new(scratch, "inbound"))
    return Instances(comes, leaves, directory, queue, tuple(_warnings(primary)))


def join(runner: Runner, primary: Postfix, instance: str, scratch: Path) -> Instances:
    """One of two: the first gets back what the outbound one has of it, which goes. Raises ConfigError."""
    directory, queue, _ = place(primary, instance)
    managed = words(primary.main.value("multi_instance_directories"))
    if directory not in managed and runner.stat(f"{directory}/main.cf") is None:
        return Instances(Candidate(), Candidate(), directory, queue)
    outbound = _ours(runner, primary, directory)
    comes = candidate(runner, primary, _joined(primary, outbound, directory, runner), _new(scratch, "inbound"))
    gone = tuple(NewFile(f"{directory}/{name}", None) for name in ("main.cf", "master.cf"))
    return Instances(comes, Candidate(gone), directory, queue)


def _ours(runner: Runner, primary: Postfix, directory: str) -> Postfix:
    """The instance that a split has made. Raises ConfigError when it is another one."""
    found = read_instance(runner, directory, primary)
    if found.problem or not found.main.value("relay_transport").startswith("handover:"):
        why = found.problem or "mtaudit has not made it; take another name"
        raise ConfigError(f"Could not use the instance in {directory}: {why}")
    return found


def one_side(primary: Postfix, inbound: bool, wanted: Split) -> Wanted:
    """A host that takes strangers' mail alone and gives what leaves to others, or one that sends for logins and networks alone
    and gives mail for the site's domains to others. Raises ConfigError."""
    refuse_loss(list(_comes_in_vain(primary, inbound, wanted)), wanted)
    if inbound:
        return _loses_clients(primary, wanted).then(_ends(wanted, wanted.inbound_port, _FOR_THE_SITE))
    parameters = {**_no_domains(primary, wanted), **_networks(wanted)}
    return Wanted(parameters).then(_ends(wanted, wanted.outbound_port, _FOR_ALL))


def _comes_in_vain(primary: Postfix, inbound: bool, wanted: Split) -> Iterator[str]:
    """What is taken now and would not be any more."""
    if inbound:
        yield from (f"what is sent with a login ({port.listener})" for port in _logins(primary))
        yield from (f"what {client} sends" for client in _foreign(primary) if client.partition("/")[0] not in wanted.other)
    elif not primary.main.value("relay_transport").startswith("handover:") and (primary.local_domains or primary.relayed_domains):
        yield f"strangers' mail for {', '.join([*primary.local_domains, *primary.relayed_domains][:3])}"


def _new(scratch: Path, name: str) -> Path:
    directory = scratch / name
    directory.mkdir(mode=0o700)
    return directory


# The inbound side


def _inbound(primary: Postfix, wanted: Split, directory: str) -> Wanted:
    managed = [d for d in words(primary.main.value("multi_instance_directories")) if d != directory]
    parameters = {**_MANAGER, "multi_instance_directories": " ".join([*managed, directory])}
    if wanted.inbound_addresses:
        parameters["inet_interfaces"] = ", ".join(["localhost", *wanted.inbound_addresses])
    return _loses_clients(primary, wanted).then(Wanted(parameters)).then(_ends(wanted, wanted.inbound_port, _FOR_THE_SITE))


def _loses_clients(primary: Postfix, wanted: Split) -> Wanted:
    parameters: dict[str, Optional[str]] = {"default_transport": _way(wanted, wanted.outbound_port)}
    if primary.main.value("sender_dependent_default_transport_maps"):
        parameters["sender_dependent_default_transport_maps"] = None
    if _foreign(primary):
        parameters["mynetworks"] = _OWN
    if primary.main.on("smtpd_sasl_auth_enable"):
        parameters["smtpd_sasl_auth_enable"] = None
    services = {port.front.label: None for port in _logins(primary)}
    options = {port.smtpd.label: {"smtpd_sasl_auth_enable": None} for port in primary.smtp_services()
               if port.port == 25 and port.smtpd.overrides.get("smtpd_sasl_auth_enable") == "yes"}  # fmt: skip
    return Wanted(parameters, services, options)


def _joined(primary: Postfix, outbound: Postfix, directory: str, runner: Runner) -> Wanted:
    parameters: dict[str, Optional[str]] = {name: _written(outbound, name) for name in _LENT}
    managed = [d for d in words(primary.main.value("multi_instance_directories")) if d != directory]
    if managed:
        parameters["multi_instance_directories"] = " ".join(managed)
    else:
        parameters.update(dict.fromkeys((*_MANAGER, "multi_instance_directories")))
    ours = ["handover/unix", *_handover_ports(primary)]
    services: dict[str, Optional[str]] = dict.fromkeys(ours)
    options: dict[str, dict[str, Optional[str]]] = {}
    chroot = next((p.front.entry.chroot for p in primary.smtp_services() if p.port == 25 and p.front.entry), "-")
    written = entries(runner, directory)
    for port in _logins(outbound):
        entry = written[port.front.label]
        services[port.front.label] = " ".join([*entry.columns[:4], chroot, *entry.columns[5:], *entry.flags])
        options[port.front.label] = {name: value for name, value in entry.options if name != "smtpd_sasl_path"}
    return Wanted(parameters, services, options)


def _written(postfix: Postfix, name: str) -> Optional[str]:
    return postfix.parameters.get(name) if name in postfix.lines else None


# The outbound side


def _outbound(primary: Postfix, wanted: Split, known: Optional[Postfix], written: dict[str, Entry]) -> Wanted:
    parameters: dict[str, Optional[str]] = {**_no_domains(primary, wanted), **_networks(wanted)}
    parameters.update({"alias_maps": "", "alias_database": ""})
    parameters.update(dict.fromkeys(("multi_instance_wrapper", "multi_instance_directories")))
    logins = {port.front.label: port for port in _logins(primary)}
    services: dict[str, Optional[str]] = {}
    if known is None:
        services = {label: None for label in written if label.endswith("/inet") and label not in logins}
    options: dict[str, dict[str, Optional[str]]] = {}
    for label, port in logins.items():
        entry = written[label]
        options[label] = dict(entry.options)
        path = _absolute(primary, port)
        if path:  # the checker of passwords has its socket in the queue directory of the first, which a chroot would hide
            options[label]["smtpd_sasl_path"] = path
        services[label] = " ".join([*entry.columns[:4], "n" if path else entry.columns[4], *entry.columns[5:], *entry.flags])
    for where in wanted.listen:
        services[f"{where}/inet"] = f"{where} inet n - y - - smtpd"
        who = dict.fromkeys(("smtpd_client_restrictions", "smtpd_relay_restrictions"), _FOR_ALL)
        options[f"{where}/inet"] = {**who, "smtpd_sasl_auth_enable": "no"}
    return Wanted(parameters, services, options).then(_ends(wanted, wanted.outbound_port, _FOR_ALL))


def _networks(wanted: Split) -> dict[str, Optional[str]]:
    return {} if wanted.networks is None else {"mynetworks": " ".join([_OWN, *wanted.networks])}


def _no_domains(primary: Postfix, wanted: Split) -> dict[str, Optional[str]]:
    """No mail ends here: that for the site's domains goes to the other side, and only those who may send at all send there."""
    value, inward = primary.main.value, _way(wanted, wanted.inbound_port)
    domains = list(dict.fromkeys(word for name in _DOMAINS for word in words(value(name))))
    parameters: dict[str, Optional[str]] = dict.fromkeys((*_DOMAINS[:3], "local_recipient_maps", "relay_recipient_maps"), "")
    parameters["relay_domains"] = " ".join(domains)
    routes = value("transport_maps")
    if routes and inward not in routes:
        ours = " ".join(f"{{{domain} = {inward}}}" for domain in (*primary.local_domains, *primary.relayed_domains))
        parameters["transport_maps"] = f"inline:{{ {ours} }}, {routes}"
    refusing = re.sub(r"\b(?:reject|defer)_unauth_destination\b", "reject", value("smtpd_relay_restrictions"))
    refusing = refusing if "reject" in words(refusing) else "permit_mynetworks, permit_sasl_authenticated, reject"
    return {**parameters, "relay_transport": inward, "smtpd_relay_restrictions": refusing}


def _copied(
    runner: Runner, primary: Postfix, wanted: Wanted, identity: dict[str, str], directory: str, scratch: Path
) -> Candidate:
    """The new instance, tried with the queue of the first: it has none of its own yet."""
    base, tried = _new(scratch, "base"), _new(scratch, "outbound")
    data = primary.main.value("data_directory")
    for name in ("main.cf", "master.cf"):
        try:
            text = runner.read(f"{primary.config_directory}/{name}")
        except ReadError as exc:
            raise ConfigError(str(exc)) from exc
        text = re.sub(r"\$(?:config_directory\b|[{(]config_directory[)}])", primary.config_directory, text)
        (base / name).write_text(text.replace(f":{data}/", ":${data_directory}/"), encoding="utf-8")
    made = candidate(runner, read_instance(runner, str(base), primary), wanted, tried)
    postconf(runner, tried, ["-e", *(f"{name} = {value}" for name, value in identity.items())])
    files = [NewFile(f"{directory}/{name}", (tried / name).read_bytes(), planned_on="") for name in ("main.cf", "master.cf")]
    # postfix(1) fills these directories and makes neither. They outlive the instance: mail may be in them.
    directories = (("install", "-d", identity["queue_directory"]),
                   ("install", "-d", "-o", primary.main.value("mail_owner"), identity["data_directory"]))  # fmt: skip
    return Candidate(tuple(files), "restart", (), (*directories, ("postfix", "-c", directory, "check")), made.reading)


# Both


def _in_list(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _handover_ports(postfix: Postfix) -> Iterator[str]:
    name = "receive_override_options"
    for port in postfix.smtp_services():
        if port.bind == "127.0.0.1" and port.smtpd.overrides.get(name) == _TAKEN_OVER[name]:
            yield port.front.label


def _logins(postfix: Postfix) -> list[SmtpService]:
    """The ports that are for those who log in; port 25 is for strangers."""
    return [port for port in postfix.smtp_services() if port.port != 25 and port.smtpd.on("smtpd_sasl_auth_enable")]


def _foreign(postfix: Postfix) -> list[str]:
    """Who may send without a login, but for the host itself; also what cannot be told."""
    trusted = postfix.main.match_list("mynetworks").trusted()
    own = [*LOOPBACK, *map(ipaddress.ip_network, postfix.addresses)]
    return [str(network) for network, _ in trusted.networks if subtract(network, own)] + [doubt for doubt, _ in trusted.doubts]


def _absolute(primary: Postfix, port: SmtpService) -> str:
    """Where Dovecot's socket for logins is, seen from outside the queue directory; empty where that needs no change."""
    path, entry = port.smtpd.value("smtpd_sasl_path"), port.smtpd.entry
    if port.smtpd.value("smtpd_sasl_type").lower() != "dovecot" or path.startswith("inet:") or entry is None:
        return ""
    path = path[len("unix:"):] if path.startswith("unix:") else path
    if path.startswith("/") and entry.chroot != "y":
        return ""
    return os.path.join(primary.main.value("queue_directory"), path.lstrip("/"))


def _refuse(primary: Postfix, wanted: Split) -> None:
    """Raises ConfigError for what would cut people off, or cannot work."""
    logins, ports = _logins(primary), primary.smtp_services()
    if not logins and any(port.smtpd.on("smtpd_sasl_auth_enable") for port in ports):
        raise ConfigError("Could not part Postfix: logins are taken on port 25 alone, which will be for strangers; make a "
                          "service submission (port 587) first")
    clients = _foreign(primary) if wanted.networks is None else list(wanted.networks)
    kept = [(port.listener, port.bind, port.port) for port in ports if port not in logins]
    refuse_clients("Postfix", clients, kept, wanted)
    _refuse_sockets(primary, logins)


def _refuse_sockets(primary: Postfix, logins: Sequence[SmtpService]) -> None:
    """What another program has in the queue directory of the first instance is not in that of the second."""
    own = {f"private/{entry.name}" for entry in primary.entries if entry.type == "unix"}
    for service in (primary.main, *(port.smtpd for port in logins)):
        chroot = service.entry.chroot if service.entry else ""
        if chroot == "y" and service.value("smtpd_sasl_type").lower() == "cyrus":
            raise ConfigError(f"Could not part Postfix: {service.label} asks Cyrus SASL from a chroot, which the queue of "
                              "another instance does not have; take the service out of its chroot first")
        for name in ("smtpd_milters", "non_smtpd_milters", *RESTRICTION_LISTS):
            for path in re.findall(r"\b(?:unix|local):([^\s,}]+)", service.value(name)):
                if path not in own and not (path.startswith("/") and chroot == "n"):
                    raise ConfigError(f"Could not part Postfix: {name} of {service.label} asks {path}, which another program has "
                                      "in the queue directory; let that program listen on a port of the loopback first")


def _warnings(primary: Postfix) -> Iterator[str]:
    content_filter = primary.main.value("content_filter")
    if content_filter:
        yield (f"content_filter = {content_filter}: where that hands mail back to a port of the inbound instance, what leaves "
               "waits in the inbound queue as well; give the filter a way back to the outbound instance")
