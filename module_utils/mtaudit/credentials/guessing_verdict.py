"""What a guessing drill says of AUTH-06: of the host, by each family of addresses, and of the account that was guessed."""

from __future__ import annotations

from collections.abc import Iterator

from ..address import parse_address
from ..finding import HOST, Evidence, Finding, Method, Subject, fail, informational, passed, stamped, unknown
from ..text import printable
from .guessing_drill import Drilled, Guessed, Request, Spread
from .values import Outcome

CONTROL = "AUTH-06"
_SLOWED_S = 2.0
_BRAKED = (Outcome.REFUSED.value, Outcome.PUT_OFF.value)
BY_ACCOUNT = ("what counts by account would: Dovecot's auth policy server (auth_policy_server_url), as weakforced or a policy"
              " service of your own")  # fmt: skip


def judged(request: Request, found: Drilled) -> list[Finding]:
    """A finding of each way, and one of the account where it was guessed from several addresses."""
    made = [_of_way(each) for each in found.ways]
    made += [_of_account(request, found.spread)] if found.spread else []
    return [stamped(finding, CONTROL, Method.PROBE) for finding in made]


def _of_way(found: Guessed) -> Finding:
    family = f"IPv{parse_address(found.way.address).version}"
    where = f"{found.way.address} from {found.way.source}"
    shown = [Evidence(Method.PROBE, where, printable(text)) for text in _seen(found)]
    if found.problem:
        return unknown(HOST, f"whether who guesses passwords is blocked could not be measured ({family})", found.problem, *shown)
    if not found.blocked:
        text = f"a source may go on guessing passwords: it is not blocked after {found.guesses} in {found.took_s:g} s ({family})"
        slowed = f", only slowed: answers came after up to {max(found.waits_s):g} s" if _slowed(found) else ""
        return fail(HOST, text + slowed, *shown)
    text = f"a source is blocked after {found.before_block} wrong passwords in {found.took_s:g} s ({family})"
    open_to_logins = [port for port in found.open if port in found.offered]
    if open_to_logins:
        return fail(HOST, f"{text}, and still logs in at port {_ports(open_to_logins)}", *shown)
    return passed(HOST, f"{text}, {_held(found)}", *shown)


def _seen(found: Guessed) -> Iterator[str]:
    if found.said:
        yield f"the last answer: {found.said}"
    if found.waits_s:
        yield f"answers after {', '.join(f'{wait:g}' for wait in found.waits_s[:12])} s"
    if found.blocked:
        yield f"no connection to port {_ports(found.shut)}, {_held(found)}; another address of ours gets in"
    if found.blocked and found.open:
        yield f"still reached: port {_ports(found.open)}"


def _held(found: Guessed) -> str:
    return f"for {'' if found.ended else 'at least '}{found.held_s:.0f} s"


def _ports(ports: list[int]) -> str:
    return ", ".join(map(str, ports))


def _slowed(found: Guessed) -> bool:
    return max(found.waits_s, default=0.0) > min(found.waits_s, default=0.0) + _SLOWED_S


def _of_account(request: Request, found: Spread) -> Finding:
    about = Subject("account", request.username)
    shown = Evidence(Method.PROBE, f"{found.addresses} addresses of ours", printable(found.said or found.problem))
    what = "guessing one account's password from many addresses"
    measured = f"{found.guesses} wrong passwords from {found.addresses} addresses"
    if found.problem:
        return unknown(about, f"{what} could not be measured", found.problem, shown)
    if found.blocked:
        reason = f"{', '.join(found.blocked)} was blocked meanwhile: guess less from each address (spread_each)"
        return unknown(about, f"{what} could not be measured: {measured}", reason, shown)
    if found.right is None:
        reason = "the drill was not given the account's right password, which tells whether it is still taken"
        return unknown(about, f"whether {what} is braked is not known: {measured} were answered", reason, shown)
    if found.right not in (Outcome.ACCEPTED.value, *_BRAKED) or not found.guesses:
        reason = "the right password got no answer afterwards" if found.guesses else "no guess was answered"
        return unknown(about, f"{what} could not be measured", reason, shown)
    if found.right != Outcome.ACCEPTED.value:
        return passed(about, f"{what} is braked: after {measured} the right one is not taken either", shown)
    if found.wait_s > found.usual_wait_s + _SLOWED_S:
        text = f"{what} is slowed, not stopped: after {measured} the right one is taken, after {found.wait_s:g} s"
        return informational(about, f"{text}; {BY_ACCOUNT}", shown)
    text = f"{what} is not seen: after {measured} the right one is taken at once. Brakes by address cannot see it; {BY_ACCOUNT}"
    return informational(about, text, shown)
