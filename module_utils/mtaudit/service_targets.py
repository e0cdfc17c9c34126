"""Plan what the vantages look at: every service of every host, beside SMTP those that give people their mail. Controller only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

from .run_directory import listens, usable_domains

# Where a port is declared and nobody says what is spoken there (RFC 6335's registry); SMTP otherwise.
_USUAL = {143: "imap", 993: "imap", 110: "pop3", 995: "pop3", 4190: "sieve"}
_WRAPPED = (465, 993, 995)
_PROTOCOLS = ("smtp", "imap", "pop3", "sieve")


def service_targets(
    planned: Iterable[Mapping[str, Any]],
    estates: Mapping[str, Mapping[str, Any]],
    declared: Mapping[str, Mapping[str, Any]],
    certificates: Optional[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """As `mta_listener_probe` wants them. `planned` are the relay probe's targets, `certificates` the tunables of TLS-01."""
    smtp = {(str(target["name"]), str(target["host"])): target for target in planned}
    found = []
    for name in sorted({*estates, *declared}):
        about, estate = declared.get(name, {}), estates.get(name, {})
        own = (about.get("tunables") or {}).get("TLS-01") or {}
        for address in map(str, about.get("addresses") or estate.get("addresses") or ()):
            services = [*_smtp(smtp.get((name, address), {})), *_mailboxes(estate, address)]
            if services:
                found.append(
                    {
                        "name": name,
                        "host": address,
                        "services": services,
                        "known_recipient": about.get("known_recipient") or "",
                        "helo_name": (usable_domains([estate.get("helo") or ""]) or [""])[0],
                        "local_domains": usable_domains(about.get("local_domains") or estate.get("local_domains") or ()),
                        **_certificates({**(certificates or {}), **own}),
                    }
                )
    return found


def _smtp(target: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    wrapped = target.get("implicit_tls_ports") or ()
    for port in target.get("ports") or ():
        yield {"port": port, "protocol": _USUAL.get(port, "smtp"), "tls": port in wrapped or port in _WRAPPED}


def _mailboxes(estate: Mapping[str, Any], address: str) -> Iterator[dict[str, Any]]:
    listed = [each for each in estate.get("mailbox_listeners") or () if not each.get("loopback_only")]
    foreign = address not in (estate.get("addresses") or ())
    ports = set()
    for listener in listed:
        port, protocol = int(listener["port"]), str(listener.get("protocol"))
        if protocol in _PROTOCOLS and port not in ports and (foreign or listens(listed, address, port)):
            ports.add(port)
            yield {"port": port, "protocol": protocol, "tls": bool(listener.get("tls_wrapper"))}


def _certificates(tunables: Mapping[str, Any]) -> dict[str, Any]:
    """The tunables of TLS-01, under the names of the module's arguments."""
    names = {"min_days_left": "certificate_days", "untrusted_fails": "untrusted_certificate_fails", "names": "certificate_names"}
    return {argument: tunables[tunable] for tunable, argument in names.items() if tunable in tunables}


def credential_targets(
    estates: Mapping[str, Mapping[str, Any]], declared: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """As `mta_credential_probe` wants them: the services that the inventory lists for it, and nothing that it does not."""
    found = []
    for name, about in sorted(declared.items()):
        estate = estates.get(name, {})
        addresses = [str(address) for address in about.get("addresses") or estate.get("addresses") or ()]
        if about.get("credentials"):
            found.append(
                {
                    "name": name,
                    "host": next(iter(addresses), ""),
                    "consent": str(about.get("credentials_consent") or ""),
                    "lockout": int(about.get("credentials_lockout") or estate.get("lockout") or 0),
                    "services": [dict(service) for service in about["credentials"]],
                }
            )
    return found
