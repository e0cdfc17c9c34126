"""Hold what hosts, vantages and logs sent against the form that the report relies on: JSON data in, what is sound of it out.

Checked once, where a run is taken in, so that nothing behind it has to expect rubbish. A vantage is a rented machine and a mail
host may be somebody else's already: what one of them sends must not cost the others their report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..address import parse_network

Test = Callable[[Any], bool]


def text(value: Any) -> bool:
    return isinstance(value, str)


def number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def mapping(value: Any) -> bool:
    return isinstance(value, dict)


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(text, value))


def mappings(value: Any) -> bool:
    return isinstance(value, list) and all(map(mapping, value))


def listed(value: Any) -> bool:
    return isinstance(value, list)


def mappings_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(mapping, value.values()))


def _classes(value: Any) -> bool:
    return mappings_by_name(value) and all(texts(each.get("conditions") or []) for each in value.values())


_LISTENER: Mapping[str, Test] = {
    "name": text, "host": text, "listener": text, "port": number, "verdict": text, "banner": text, "capabilities": texts,
    "tokens": texts, "forms": mappings, "classes": _classes, "dialogue": listed,
}
_SERVICE: Mapping[str, Test] = {"name": text, "host": text, "listener": text, "port": number, "source_address": text}
_TRACE: Mapping[str, Test] = {
    "token": text, "clients": mappings, "deliveries": mappings, "queue_ids": texts, "lines": texts,
}
_ESTATE: Mapping[str, Test] = {
    "addresses": texts, "gateways": texts, "local_domains": texts, "mynetworks": texts, "helo": text, "config_digest": text,
    "programs": mappings, "mailbox_listeners": mappings,
}
_ESTATES_LISTENER: Mapping[str, Test] = {"name": text, "port": number, "bind": text}
_DECLARED: Mapping[str, Test] = {
    "waivers": listed, "answers": listed, "credentials": listed,
    "trusted_networks": texts, "proxies": texts, "tunables": mappings_by_name,
}
_HARDENING: Mapping[str, Test] = {"plan": texts, "problem": text}
_CONTROL: Mapping[str, Test] = {"components": mappings_by_name, "tunables": mappings_by_name}


def _wrong(data: Mapping[str, Any], form: Mapping[str, Test]) -> list[str]:
    """The keys whose value has not the form. What is empty or missing is not wrong: it says nothing."""
    return [key for key, is_right in form.items() if data.get(key) is not None and not is_right(data[key])]


def is_sound_estate(estate: Any) -> bool:
    """Whether what a host says of itself has the form of docs/architecture.md, "Estate", as far as others rely on it."""
    if not isinstance(estate, dict) or _wrong(estate, _ESTATE):
        return False
    listeners = estate.get("listeners", [])
    return mappings(listeners) and all(
        all(key in each for key in _ESTATES_LISTENER) and not _wrong(each, _ESTATES_LISTENER)
        and texts(each.get("families", [])) and None not in (each["name"], each["port"], each["bind"])
        for each in listeners
    )


def sound_probe(answer: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What `mta_relay_probe` returned without the listeners that cannot be read, and a sentence about those."""
    return _sound_list({**answer, "findings": answer.get("findings") or []}, "listeners", _LISTENER, ("findings",))


def sound_services(answer: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The same for what `mta_listener_probe` returned."""
    return _sound_list({**answer, "findings": answer.get("findings") or []}, "listeners", _SERVICE, ("findings",))


def sound_credentials(answer: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The same for what `mta_credential_probe` returned."""
    return _sound_list({**answer, "findings": answer.get("findings") or []}, "attempts", {}, ("findings",))


def sound_traces(answer: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The same for what `mta_log_trace` returned."""
    return _sound_list(dict(answer), "traces", _TRACE, ())


def sound_hardening(answer: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The same for what harden.yml planned for a host, and what came of it."""
    wrong = _wrong(answer, _HARDENING)
    sound = {key: value for key, value in answer.items() if key not in wrong}
    return sound, f"{', '.join(wrong)}: not in the form that it must have" if wrong else ""


def _sound_list(
    data: dict[str, Any], name: str, form: Mapping[str, Test], more: tuple[str, ...]
) -> tuple[dict[str, Any], str]:
    lost = []
    for key in (name, *more):
        if data.get(key) is not None and not isinstance(data[key], list):
            lost.append(f"its {key} are not a list")
            data[key] = []
    entries = data.get(name) or []
    data[name] = [entry for entry in entries if isinstance(entry, dict) and not _wrong(entry, form)]
    if len(data[name]) < len(entries):
        lost.append(f"{len(entries) - len(data[name])} of {len(entries)} {name} could not be read")
    return data, "; ".join(lost)


def sound_declaration(about: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A host's part of run.json without the keys that have not the form, and the names of those."""
    wrong = _wrong(about, _DECLARED)
    return {key: value for key, value in about.items() if key not in wrong}, wrong


def sound_control(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A control's catalogue entry without the parts that cannot be used: the findings count all the same."""
    wrong = _wrong(entry, _CONTROL)
    return {key: value for key, value in entry.items() if key not in wrong}


def check_clients(clients: Any) -> None:
    """Raises ValueError or AttributeError when a client of a finding is no network: every one of them is compared."""
    for client in clients:
        parse_network(client)
