"""Every fix, by program. AnsiballZ ships only what is imported: each is imported here, on a line of its own."""

# ruff: noqa: F401, I001 - imported for what they register
from __future__ import annotations

from . import dovecot_settings
from . import exim_inbound
from . import exim_login
from . import exim_relay
from . import exim_settings
from . import guessing
from . import host_files
from . import logs
from . import opensmtpd_login
from . import opensmtpd_relay
from . import outbound
from . import password_policy
from . import postfix_headers
from . import postfix_inbound
from . import postfix_login
from . import postfix_relay
from . import postfix_settings
from . import rates_mta
from . import role_mail
from . import scanned
from . import scanned_inbound
from . import sendmail_relay
from . import sendmail_settings
from . import web_mail
