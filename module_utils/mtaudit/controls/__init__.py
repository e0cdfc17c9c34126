"""Every control, by area. AnsiballZ ships only what is imported: each area is imported here, on a line of its own."""

# ruff: noqa: F401, I001 - imported for what they register
from __future__ import annotations

from . import auth_dovecot
from . import auth_exim
from . import auth_opensmtpd
from . import auth_postfix
from . import auth_sendmail
from . import certificates
from . import drift
from . import files
from . import filters
from . import filters_opensmtpd
from . import guessing
from . import guessing_session
from . import icewarp
from . import inbound_exim
from . import inbound_postfix
from . import info
from . import info_exim
from . import info_sendmail
from . import limits_mta
from . import log_access
from . import log_retention
from . import logged_accounts
from . import logged_passwords
from . import logs
from . import patches
from . import privileges
from . import rates_exim
from . import recipients
from . import recipients_exim
from . import recipients_opensmtpd
from . import relay
from . import relay_dovecot
from . import relay_exim
from . import relay_opensmtpd
from . import relay_sendmail
from . import role_mail
from . import sender_exim
from . import sender_postfix
from . import services_sendmail
from . import smuggling
from . import submission
from . import tls
from . import unknown_ports
