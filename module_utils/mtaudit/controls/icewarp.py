"""Controls on an IceWarp server, by what its administrator exported from it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..address import LOOPBACK, Network, contains, parse_network
from ..control import Site, control
from ..finding import HOST, Evidence, Finding, Method, fail, passed, unknown
from ..readers.icewarp import IceWarp
from ..text import printable

# Switches: what must hold (apiconst.pas of the server), and what it means when it does not.
_SWITCHES = (
    ("mail_security_relay_relaymode", 1, "relays for everybody: the relay mode is open"),
    ("mail_security_relay_popsmtp", 0, "relays for addresses that fetched mail a while ago (POP before SMTP)"),
    ("mail_security_relay_rejectlocalunauth", 1, "takes local senders from those who did not log in"),
    ("mail_security_protection_localdomain", 1, "relays for senders of other domains"),
)
_POLICY = "accounts_policies_pass_enable"


@control("ICEWARP-01", "icewarp")
def icewarp_relays_only_for_its_own_people(icewarp: IceWarp, site: Site) -> Iterator[Finding]:
    wrong, missing = [], [icewarp.problem] if icewarp.problem else []
    for name, wanted, text in _SWITCHES:
        value = icewarp.number(name)
        if value is None:
            missing.append(f"{_shown(name)} is not in the export, or is no number")
        elif value != wanted:
            wrong.append(Evidence(Method.CONFIG, _shown(name), f"{value}: {text}"))
    wrong += list(_relayed_addresses(icewarp, site))
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield fail(HOST, f"{wrong[0].where} is {wrong[0].text}{more}", *wrong)
    elif missing:
        yield unknown(HOST, "for whom it relays is not known", missing[0])
    else:
        yield passed(HOST, "its variables let nobody relay without a login but those that the inventory trusts")


def _relayed_addresses(icewarp: IceWarp, site: Site) -> Iterator[Evidence]:
    name = "mail_security_relay_iplist"
    trusted = (*LOOPBACK, *site.trusted_networks)
    for text in re.split(r"[;,\s]+", icewarp.variables.get(name, "")):
        if text and not any(_within(text, network) for network in trusted):
            said = f"{text}: relays for addresses that the inventory does not trust"
            yield Evidence(Method.CONFIG, _shown(name), printable(said))


def _within(text: str, network: Network) -> bool:
    """Whether an entry is a part of a network. IceWarp's own forms, with `*` and ranges, count for no network."""
    try:
        entry = parse_network(text)
    except ValueError:
        return False
    return contains([network], entry.network_address) and entry.prefixlen >= network.prefixlen


@control("ICEWARP-02", "icewarp")
def icewarp_holds_passwords_to_a_policy(icewarp: IceWarp, site: Site) -> Iterator[Finding]:
    enabled = icewarp.number(_POLICY)
    if enabled == 0:
        yield fail(HOST, "no password policy is in force", Evidence(Method.CONFIG, _shown(_POLICY), "0"))
    elif icewarp.weak:
        seen = [Evidence(Method.CONFIG, "tool check account", printable(account)) for account in icewarp.weak[:20]]
        yield fail(HOST, f"{len(icewarp.weak)} accounts have passwords that break the policy", *seen)
    elif enabled is None:
        reason = icewarp.problem or f"{_shown(_POLICY)} is not in the export"
        yield unknown(HOST, "whether passwords are held to a policy is not known", reason)
    else:
        # What the tool prints when all is well was never seen: that no account is named is no proof.
        reason = icewarp.weak_problem or "its check names no account; what a real server prints then is not known to mtaudit"
        yield unknown(HOST, "a password policy is in force; whether old passwords meet it is not known", reason)


def _shown(name: str) -> str:
    return name.replace("_", ".")
