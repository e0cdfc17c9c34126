"""What TLS a service speaks: the contexts to ask with, and what their answers mean."""

from __future__ import annotations

import ssl
import warnings
from dataclasses import dataclass
from typing import Optional

from ..certificate import Certificate, parse

_ANYTHING = "ALL:@SECLEVEL=0"
_OLD = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1")
# What a server that does not take the version says (RFC 5246, 7.2.2; RFC 8446, 6.2). handshake_failure may be about ciphers, but
# we offer all that OpenSSL has, and today's TLS was agreed on before: it refuses the old version all the same.
_REFUSALS = (
    "TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_INSUFFICIENT_SECURITY",
    "TLSV1_ALERT_INTERNAL_ERROR", "UNSUPPORTED_PROTOCOL", "WRONG_VERSION_NUMBER", "TLSV1_ALERT_INAPPROPRIATE_FALLBACK",
)  # fmt: skip


@dataclass
class TlsSeen:
    """What the handshakes of one listener showed.

    `trust` is `trusted`, `untrusted` (with OpenSSL's words in `distrust`) or empty where no handshake ended; `old` is `taken`,
    `refused` or `unknown` (why: `old_reason`): whether TLS 1.1 or older is spoken.
    """

    version: str = ""
    cipher: str = ""
    certificate: Optional[Certificate] = None
    trust: str = ""
    distrust: str = ""
    old: str = "unknown"
    old_version: str = ""
    old_reason: str = "was not asked"
    problem: str = ""  # why a handshake failed
    certificate_problem: str = ""

    def learn(self, session: Optional[ssl.SSLObject]) -> None:
        """Take in what a handshake that ended has agreed on."""
        if session is None:
            return
        self.version = session.version() or ""
        self.cipher = (session.cipher() or ("",))[0]
        try:
            self.certificate = parse(session.getpeercert(binary_form=True) or b"")
        except ValueError as exc:
            self.certificate_problem = f"the certificate cannot be read: {exc}"
        if self.version in _OLD:
            self.old, self.old_version, self.old_reason = "taken", self.version, ""


def verifying_context() -> ssl.SSLContext:
    """Trusts whom this host trusts. Names are compared apart: a server has more than one."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    _allow_everything(context)
    return context


def old_context(server: bool = False) -> ssl.SSLContext:
    """TLS 1.0 and 1.1 only, whatever the host's own policy allows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    if not server:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # they are old: that is the question
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    _allow_everything(context)
    return context


def _allow_everything(context: ssl.SSLContext) -> None:
    try:
        context.set_ciphers(_ANYTHING)
    except ssl.SSLError:
        pass  # then what the library has by itself


def why_no_old_tls() -> str:
    """Why this host cannot ask for old TLS; empty where it can, which a handshake with itself shows."""
    try:
        client, server = old_context(), old_context(server=True)
        server.set_ciphers("ADH:AECDH:@SECLEVEL=0")  # anonymous: no certificate needed
    except (ssl.SSLError, ValueError, AttributeError) as exc:
        return f"the vantage's {ssl.OPENSSL_VERSION} has no TLS 1.1: {exc}"
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True)]
    for _round in range(8):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as exc:
                return f"the vantage's {ssl.OPENSSL_VERSION} does not speak TLS 1.1: {exc.reason or exc}"
        if not ends:
            return ""
    return f"the vantage's {ssl.OPENSSL_VERSION} does not end a TLS 1.1 handshake"


def refusal_of_old(cause: Optional[BaseException]) -> str:
    """What a handshake that failed says of the version: `said` by an alert, `closed` without a word, empty when nothing."""
    if isinstance(cause, ssl.SSLError) and str(cause.reason or "") in _REFUSALS:
        return "said"
    return "closed" if isinstance(cause, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)) else ""


def distrusts(cause: Optional[BaseException]) -> str:
    """OpenSSL's words for why a certificate is not trusted; empty when something else failed."""
    return cause.verify_message if isinstance(cause, ssl.SSLCertVerificationError) else ""
