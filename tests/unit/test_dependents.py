"""Who uses a path that is about to be closed: logs that real servers wrote of real sessions, in; accounts and clients, out.

The sessions of each log: alice logs in on port 25, inside TLS and in clear; on 587 she sends as bob; the neighbour sends to the
canary without a login; a stranger sends as alice, and as himself. In Exim's, bob and the interfaces (I=) were put in
afterwards, as it writes them: tests/integration/test_dependents.py has them from itself.
"""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.mtaudit.control import Site
from ansible.module_utils.mtaudit.listeners import Listener, Server
from ansible.module_utils.mtaudit.logs import dependents as module
from ansible.module_utils.mtaudit.logs import exim, opensmtpd, postfix, sendmail, survey
from ansible.module_utils.mtaudit.logs.dependents import CONTROLS, Around, Dependents, dependents, judged, told
from ansible.module_utils.mtaudit.logs.sources import Reading
from ansible.module_utils.mtaudit.readers.dovecot import parse
from ansible.module_utils.mtaudit.readers.exim_model import Exim
from ansible.module_utils.mtaudit.runner import Completed, LocalRunner

POSTFIX = b"""\
2026-11-23T05:44:39+00:00 full-d13.corp.test postfix/master[248]: reload -- version 3.10.13, configuration /etc/postfix
2026-11-23T05:44:43+00:00 full-d13.corp.test postfix/smtpd[306]: connect from mail.stranger.test[198.19.0.66]
2026-11-23T05:44:43+00:00 full-d13.corp.test postfix/smtpd[306]: 8BB263F495F: client=mail.stranger.test[198.19.0.66], sasl_method=PLAIN, sasl_username=alice
2026-11-23T05:44:43+00:00 full-d13.corp.test postfix/cleanup[317]: 8BB263F495F: message-id=<20261123054443.001969@mail.stranger.test>
2026-11-23T05:44:44+00:00 full-d13.corp.test postfix/qmgr[295]: 8BB263F495F: from=<alice@full-d13.test>, size=506, nrcpt=1 (queue active)
2026-11-23T05:44:44+00:00 full-d13.corp.test postfix/smtpd[306]: disconnect from mail.stranger.test[198.19.0.66] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8
2026-11-23T05:44:44+00:00 full-d13.corp.test postfix/smtp[318]: 8BB263F495F: to=<canary@canary.test>, relay=sink.canary.test[2001:db8:51::20]:25, delay=0.72, delays=0.57/0.03/0.07/0.05, dsn=2.0.0, status=sent (250 2.0.0 Ok: kept)
2026-11-23T05:44:44+00:00 full-d13.corp.test postfix/qmgr[295]: 8BB263F495F: removed
2026-11-23T05:44:44+00:00 full-d13.corp.test postfix/smtpd[306]: connect from mail.stranger.test[198.19.0.66]
2026-11-23T05:44:45+00:00 full-d13.corp.test postfix/smtpd[306]: 3D5BB3F4971: client=mail.stranger.test[198.19.0.66], sasl_method=PLAIN, sasl_username=alice
2026-11-23T05:44:45+00:00 full-d13.corp.test postfix/qmgr[295]: 3D5BB3F4971: from=<alice@full-d13.test>, size=505, nrcpt=1 (queue active)
2026-11-23T05:44:45+00:00 full-d13.corp.test postfix/smtpd[306]: disconnect from mail.stranger.test[198.19.0.66] ehlo=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=6
2026-11-23T05:44:45+00:00 full-d13.corp.test postfix/smtp[318]: 3D5BB3F4971: to=<canary@canary.test>, relay=sink.canary.test[2001:db8:51::20]:25, delay=0.18, delays=0.1/0/0.01/0.07, dsn=2.0.0, status=sent (250 2.0.0 Ok: kept)
2026-11-23T05:44:45+00:00 full-d13.corp.test postfix/qmgr[295]: 3D5BB3F4971: removed
2026-11-23T05:44:46+00:00 full-d13.corp.test postfix/submission/smtpd[322]: connect from mail.stranger.test[198.19.0.66]
2026-11-23T05:44:47+00:00 full-d13.corp.test postfix/submission/smtpd[322]: E1FA33F4979: client=mail.stranger.test[198.19.0.66], sasl_method=PLAIN, sasl_username=alice
2026-11-23T05:44:47+00:00 full-d13.corp.test postfix/cleanup[326]: E1FA33F4979: replace: header Received: from client.test (mail.stranger.test [198.19.0.66])??(Authenticated sender: alice) from mail.stranger.test[198.19.0.66]; from=<bob@full-d13.test> to=<canary@canary.test> proto=ESMTP helo=<client.test>: Received: from submission
2026-11-23T05:44:48+00:00 full-d13.corp.test postfix/qmgr[295]: E1FA33F4979: from=<bob@full-d13.test>, size=498, nrcpt=1 (queue active)
2026-11-23T05:44:48+00:00 full-d13.corp.test postfix/submission/smtpd[322]: disconnect from mail.stranger.test[198.19.0.66] ehlo=2 starttls=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=8
2026-11-23T05:44:48+00:00 full-d13.corp.test postfix/smtp[318]: E1FA33F4979: to=<canary@canary.test>, relay=sink.canary.test[198.51.100.20]:25, delay=0.23, delays=0.12/0.01/0.04/0.06, dsn=2.0.0, status=sent (250 2.0.0 Ok: kept)
2026-11-23T05:44:48+00:00 full-d13.corp.test postfix/qmgr[295]: E1FA33F4979: removed
2026-11-23T05:44:49+00:00 full-d13.corp.test postfix/smtpd[306]: connect from neighbour.corp.test[198.51.100.30]
2026-11-23T05:44:49+00:00 full-d13.corp.test postfix/smtpd[306]: 573173F4982: client=neighbour.corp.test[198.51.100.30]
2026-11-23T05:44:49+00:00 full-d13.corp.test postfix/qmgr[295]: 573173F4982: from=<x@stranger.test>, size=504, nrcpt=1 (queue active)
2026-11-23T05:44:49+00:00 full-d13.corp.test postfix/smtpd[306]: disconnect from neighbour.corp.test[198.51.100.30] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5
2026-11-23T05:44:49+00:00 full-d13.corp.test postfix/smtp[318]: 573173F4982: to=<canary@canary.test>, relay=sink.canary.test[2001:db8:51::20]:25, delay=0.24, delays=0.13/0.02/0.02/0.07, dsn=2.0.0, status=sent (250 2.0.0 Ok: kept)
2026-11-23T05:44:49+00:00 full-d13.corp.test postfix/qmgr[295]: 573173F4982: removed
2026-11-23T05:44:50+00:00 full-d13.corp.test postfix/smtpd[306]: connect from mail.stranger.test[198.19.0.66]
2026-11-23T05:44:50+00:00 full-d13.corp.test postfix/smtpd[306]: 8F9B33F498F: client=mail.stranger.test[198.19.0.66]
2026-11-23T05:44:50+00:00 full-d13.corp.test postfix/cleanup[317]: 8F9B33F498F: milter-reject: END-OF-MESSAGE from mail.stranger.test[198.19.0.66]: 5.7.1 Spam message rejected; from=<alice@full-d13.test> to=<bob@full-d13.test> proto=ESMTP helo=<client.test>
2026-11-23T05:44:50+00:00 full-d13.corp.test postfix/cleanup[317]: 8F9B33F498F: removed (canceled)
2026-11-23T05:44:50+00:00 full-d13.corp.test postfix/smtpd[306]: disconnect from mail.stranger.test[198.19.0.66] ehlo=1 mail=1 rcpt=1 data=0/1 quit=1 commands=4/5
2026-11-23T05:44:52+00:00 full-d13.corp.test postfix/smtpd[306]: connect from mail.stranger.test[198.19.0.66]
2026-11-23T05:44:52+00:00 full-d13.corp.test postfix/smtpd[306]: 185653F4994: client=mail.stranger.test[198.19.0.66]
2026-11-23T05:44:52+00:00 full-d13.corp.test postfix/qmgr[295]: 185653F4994: from=<alice@full-d13.test>, size=498, nrcpt=1 (queue active)
2026-11-23T05:44:52+00:00 full-d13.corp.test postfix/smtpd[306]: disconnect from mail.stranger.test[198.19.0.66] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5
2026-11-23T05:44:52+00:00 full-d13.corp.test postfix/local[327]: 185653F4994: to=<bob@full-d13.test>, relay=local, delay=0.32, delays=0.19/0.11/0/0.02, dsn=2.0.0, status=sent (delivered to maildir)
2026-11-23T05:44:52+00:00 full-d13.corp.test postfix/qmgr[295]: 185653F4994: removed
"""  # noqa: E501
EXIM = b"""\
2026-11-23 05:45:20 exim 4.98.2 daemon started: pid=1174, -q30m, listening for SMTP on port 25 (IPv6 and IPv4) port 587 (IPv6 and IPv4) and for SMTPS on port 465 (IPv6 and IPv4)
2026-11-23 05:45:22 1xVMri-000000000J6-0RsA <= alice@exim-d13.test H=mail.stranger.test (client.test) [198.19.0.66] I=[198.51.100.110]:25 P=esmtpsa X=TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256 CV=no A=login_server:alice S=486 id=20261123054521.002142@mail.stranger.test
2026-11-23 05:45:23 1xVMri-000000000J6-0RsA => canary@canary.test R=dnslookup T=remote_smtp H=sink.canary.test [2001:db8:51::20] C="250 2.0.0 Ok: kept"
2026-11-23 05:45:23 1xVMri-000000000J6-0RsA Completed
2026-11-23 05:45:23 1xVMrj-000000000JA-255s <= alice@exim-d13.test H=mail.stranger.test (client.test) [198.19.0.66] I=[198.51.100.110]:25 P=esmtpa A=login_server:alice S=442 id=20261123054523.002148@mail.stranger.test
2026-11-23 05:45:23 1xVMrj-000000000JA-255s => canary@canary.test R=dnslookup T=remote_smtp H=sink.canary.test [2001:db8:51::20] C="250 2.0.0 Ok: kept"
2026-11-23 05:45:23 1xVMrj-000000000JA-255s Completed
2026-11-23 05:45:25 1xVMrk-000000000JE-3sUj <= bob@exim-d13.test H=mail.stranger.test (client.test) [198.19.0.66] I=[198.51.100.110]:587 P=esmtpsa X=TLS1.3:ECDHE_X25519__RSA_PSS_RSAE_SHA256__AES_256_GCM:256 CV=no A=login_server:alice S=512 id=20261123054524.002153@mail.stranger.test
2026-11-23 05:45:25 1xVMrk-000000000JE-3sUj => canary@canary.test R=dnslookup T=remote_smtp H=sink.canary.test [2001:db8:51::20] C="250 2.0.0 Ok: kept"
2026-11-23 05:45:25 1xVMrl-000000000JI-250C <= x@stranger.test H=neighbour.corp.test (client.test) [198.51.100.30] I=[198.51.100.110]:25 P=esmtp S=469 id=20261123054525.000409@neighbour.corp.test
2026-11-23 05:45:25 1xVMrl-000000000JI-250C => canary@canary.test R=dnslookup T=remote_smtp H=sink.canary.test [2001:db8:51::20] C="250 2.0.0 Ok: kept"
2026-11-23 05:45:25 1xVMrl-000000000JI-250C Completed
2026-11-23 05:45:27 1xVMrn-000000000JM-0uYK <= alice@exim-d13.test H=mail.stranger.test (client.test) [198.19.0.66] I=[198.51.100.110]:25 P=esmtp S=463 id=20261123054526.002158@mail.stranger.test
2026-11-23 05:45:27 1xVMrn-000000000JM-0uYK => bob <bob@exim-d13.test> R=local_user T=maildir_home
2026-11-23 05:45:27 1xVMrn-000000000JM-0uYK Completed
2026-11-23 05:45:29 1xVMrp-000000000JQ-1HIL <= x@stranger.test H=mail.stranger.test (client.test) [198.19.0.66] I=[198.51.100.110]:25 P=esmtp S=451 id=20261123054529.002165@mail.stranger.test
2026-11-23 05:45:29 1xVMrp-000000000JQ-1HIL => bob <bob@exim-d13.test> R=local_user T=maildir_home
2026-11-23 05:45:29 1xVMrp-000000000JQ-1HIL Completed
"""  # noqa: E501
SENDMAIL = b"""\
2026-11-23T05:45:52+00:00 sendmail-d13.corp.test sm-mta[375]: starting daemon (8.18.1): SMTP+queueing@00:10:00
2026-11-23T05:45:57+00:00 sendmail-d13.corp.test sm-mta[391]: NOQUEUE: connect from mail.stranger.test [198.19.0.66]
2026-11-23T05:45:57+00:00 sendmail-d13.corp.test sm-mta[391]: STARTTLS=server, relay=mail.stranger.test [198.19.0.66], version=TLSv1.3, verify=NOT, cipher=TLS_AES_256_GCM_SHA384, bits=256/256
2026-11-23T05:45:58+00:00 sendmail-d13.corp.test sm-mta[391]: AUTH=server, relay=mail.stranger.test [198.19.0.66], authid=alice, mech=LOGIN, bits=0
2026-11-23T05:45:58+00:00 sendmail-d13.corp.test sm-mta[391]: 6AN5jvn4000391: from=<alice@sendmail-d13.test>, size=275, class=0, nrcpts=1, msgid=<20261123054556.002209@mail.stranger.test>, proto=ESMTPSA, daemon=MTA, relay=mail.stranger.test [198.19.0.66]
2026-11-23T05:45:59+00:00 sendmail-d13.corp.test sm-mta[396]: 6AN5jvn4000391: to=<canary@canary.test>, ctladdr=<alice@sendmail-d13.test> (1000/1000), delay=00:00:01, xdelay=00:00:00, mailer=esmtp, pri=30275, relay=sink.canary.test. [IPv6:2001:db8:51:0:0:0:0:20], dsn=2.0.0, stat=Sent (Ok: kept)
2026-11-23T05:46:00+00:00 sendmail-d13.corp.test sm-mta[397]: AUTH=server, relay=mail.stranger.test [198.19.0.66], authid=alice, mech=LOGIN, bits=0
2026-11-23T05:46:00+00:00 sendmail-d13.corp.test sm-mta[397]: 6AN5k06a000397: from=<alice@sendmail-d13.test>, size=275, class=0, nrcpts=1, msgid=<20261123054600.002215@mail.stranger.test>, proto=ESMTPA, daemon=MTA, relay=mail.stranger.test [198.19.0.66]
2026-11-23T05:46:00+00:00 sendmail-d13.corp.test sm-mta[399]: 6AN5k06a000397: to=<canary@canary.test>, ctladdr=<alice@sendmail-d13.test> (1000/1000), delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=30275, relay=sink.canary.test. [IPv6:2001:db8:51:0:0:0:0:20], dsn=2.0.0, stat=Sent (Ok: kept)
2026-11-23T05:46:01+00:00 sendmail-d13.corp.test sm-mta[400]: AUTH=server, relay=mail.stranger.test [198.19.0.66], authid=alice, mech=LOGIN, bits=0
2026-11-23T05:46:01+00:00 sendmail-d13.corp.test sm-mta[400]: 6AN5k0Sn000400: from=<bob@sendmail-d13.test>, size=273, class=0, nrcpts=1, msgid=<20261123054600.002221@mail.stranger.test>, proto=ESMTPSA, daemon=MSA, relay=mail.stranger.test [198.19.0.66]
2026-11-23T05:46:01+00:00 sendmail-d13.corp.test sm-mta[402]: 6AN5k0Sn000400: to=<canary@canary.test>, ctladdr=<bob@sendmail-d13.test> (1001/1001), delay=00:00:00, xdelay=00:00:00, mailer=esmtp, pri=30273, relay=sink.canary.test. [IPv6:2001:db8:51:0:0:0:0:20], dsn=2.0.0, stat=Sent (Ok: kept)
2026-11-23T05:46:01+00:00 sendmail-d13.corp.test sm-mta[403]: 6AN5k1KK000403: from=<x@stranger.test>, size=268, class=0, nrcpts=1, msgid=<20261123054601.000430@neighbour.corp.test>, proto=ESMTP, daemon=MTA, relay=neighbour.corp.test [198.51.100.30]
2026-11-23T05:46:02+00:00 sendmail-d13.corp.test sm-mta[405]: 6AN5k1KK000403: to=<canary@canary.test>, delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=30268, relay=sink.canary.test. [IPv6:2001:db8:51:0:0:0:0:20], dsn=2.0.0, stat=Sent (Ok: kept)
2026-11-23T05:46:02+00:00 sendmail-d13.corp.test sm-mta[406]: 6AN5k2cW000406: from=<alice@sendmail-d13.test>, size=270, class=0, nrcpts=1, msgid=<20261123054602.002226@mail.stranger.test>, proto=ESMTP, daemon=MTA, relay=mail.stranger.test [198.19.0.66]
2026-11-23T05:46:03+00:00 sendmail-d13.corp.test sm-mta[407]: 6AN5k2cW000406: to=<bob@sendmail-d13.test>, ctladdr=<alice@sendmail-d13.test> (1000/1000), delay=00:00:01, xdelay=00:00:00, mailer=local, pri=30469, dsn=2.0.0, stat=Sent
2026-11-23T05:46:03+00:00 sendmail-d13.corp.test sm-mta[409]: 6AN5k3T5000409: from=<x@stranger.test>, size=270, class=0, nrcpts=1, msgid=<20261123054603.002231@mail.stranger.test>, proto=ESMTP, daemon=MTA, relay=mail.stranger.test [198.19.0.66]
2026-11-23T05:46:03+00:00 sendmail-d13.corp.test sm-mta[410]: 6AN5k3T5000409: to=<bob@sendmail-d13.test>, delay=00:00:00, xdelay=00:00:00, mailer=local, pri=30458, dsn=2.0.0, stat=Sent
"""  # noqa: E501
OPENSMTPD = b"""\
2026-11-23T05:46:24+00:00 opensmtpd-d13.corp.test smtpd[236]: info: OpenSMTPD 7.6.0-portable starting
2026-11-23T05:46:27+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e251c63b9c733 smtp connected address=198.19.0.66 host=mail.stranger.test
2026-11-23T05:46:27+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e251c63b9c733 smtp tls ciphers=TLSv1.3:TLS_AES_256_GCM_SHA384:256
2026-11-23T05:46:28+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e251c63b9c733 smtp authentication user=alice result=ok
2026-11-23T05:46:29+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e251c63b9c733 smtp message msgid=7f3b7ab3 size=742 nrcpt=1 proto=ESMTP
2026-11-23T05:46:29+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e251c63b9c733 smtp envelope evpid=7f3b7ab3bd297033 from=<alice@opensmtpd-d13.test> to=<canary@canary.test>
2026-11-23T05:46:29+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e251c63b9c733 smtp disconnected reason=quit
2026-11-23T05:46:29+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e251f4d02549b mta delivery evpid=7f3b7ab3bd297033 from=<alice@opensmtpd-d13.test> to=<canary@canary.test> rcpt=<-> source="[2001:db8:51::110]" relay="[2001:db8:51::20] (sink.canary.test)" delay=1s result="Ok" stat="250 2.0.0 Ok: kept"
2026-11-23T05:46:30+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e252137f4b547 smtp connected address=198.19.0.66 host=mail.stranger.test
2026-11-23T05:46:30+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e252137f4b547 smtp tls ciphers=TLSv1.3:TLS_AES_256_GCM_SHA384:256
2026-11-23T05:46:31+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e252137f4b547 smtp authentication user=alice result=ok
2026-11-23T05:46:31+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e252137f4b547 smtp message msgid=35af4c06 size=678 nrcpt=1 proto=ESMTP
2026-11-23T05:46:31+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e252137f4b547 smtp envelope evpid=35af4c064b8f9d5c from=<bob@opensmtpd-d13.test> to=<canary@canary.test>
2026-11-23T05:46:31+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e252137f4b547 smtp disconnected reason=quit
2026-11-23T05:46:31+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e2522e02ef351 smtp connected address=198.51.100.30 host=neighbour.corp.test
2026-11-23T05:46:31+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e2522e02ef351 smtp message msgid=62b0d935 size=1161 nrcpt=1 proto=ESMTP
2026-11-23T05:46:31+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e2522e02ef351 smtp envelope evpid=62b0d9356fffaf7a from=<x@stranger.test> to=<canary@canary.test>
2026-11-23T05:46:31+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e2522e02ef351 smtp disconnected reason=quit
2026-11-23T05:46:32+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e2523d7001eb2 smtp connected address=198.19.0.66 host=mail.stranger.test
2026-11-23T05:46:32+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e2523d7001eb2 smtp message msgid=c7597712 size=1198 nrcpt=1 proto=ESMTP
2026-11-23T05:46:32+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e2523d7001eb2 smtp envelope evpid=c7597712aa16c548 from=<alice@opensmtpd-d13.test> to=<bob@opensmtpd-d13.test>
2026-11-23T05:46:32+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e2523d7001eb2 smtp disconnected reason=quit
2026-11-23T05:46:32+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e25243557746f mda delivery evpid=c7597712aa16c548 from=<alice@opensmtpd-d13.test> to=<bob@opensmtpd-d13.test> rcpt=<bob@opensmtpd-d13.test> user=bob delay=0s result=Ok stat=Delivered
2026-11-23T05:46:32+00:00 opensmtpd-d13.corp.test smtpd[244]: 141e251f4d02549b mta delivery evpid=62b0d9356fffaf7a from=<x@stranger.test> to=<canary@canary.test> rcpt=<-> source="[2001:db8:51::110]" relay="[2001:db8:51::20] (sink.canary.test)" delay=1s result="Ok" stat="250 2.0.0 Ok: kept"
"""  # noqa: E501
LOGS = {"postfix": POSTFIX, "exim": EXIM, "sendmail": SENDMAIL, "opensmtpd": OPENSMTPD}
DOMAINS = {program: f"{'full' if program == 'postfix' else program}-d13.test" for program in LOGS}

Told = dict[str, list[tuple[str, int]]]


def around(program: str, **more: Any) -> Around:
    services = (("postfix", 25, True, False), ("postfix/submission", 587, True, False)) if program == "postfix" else ()
    values = {
        "local": frozenset({DOMAINS[program]}), "services": services, "ports": frozenset({25, 587}),
        "daemons": {"MTA": 25, "MSA": 587} if program == "sendmail" else {},
    }  # fmt: skip
    return Around(program, **{**values, **more})


def look(program: str, log: bytes | None = None, **more: Any) -> dict[str, Dependents]:
    reading = Reading(LOGS[program] if log is None else log, "the log")
    return {found.control: found for found in judged(around(program, **more), [reading], CONTROLS[:5])}


def who(found: dict[str, Dependents]) -> Told:
    return {control: [(d.who, d.count) for d in each.found] for control, each in found.items()}


ALL: Told = {
    "AUTH-01": [("alice", 1)], "AUTH-02": [("alice", 2)], "RELAY-01": [("198.51.100.30", 1)], "SENDER-01": [("alice", 1)],
    "SENDER-03": [("198.19.0.66", 1)],
}  # fmt: skip


@pytest.mark.parametrize("program", ["postfix", "exim", "sendmail"])
def test_who_uses_what(program: str) -> None:
    found = look(program)
    assert who(found) == ALL
    assert {each.unknown for each in found.values()} == {""}
    assert found["AUTH-01"].found[0].what == "logs in without TLS, from 198.19.0.66"
    assert found["SENDER-01"].found[0].what == f"sends as bob@{DOMAINS[program]}"
    assert found["SENDER-03"].found[0].what == f"sends without a login as alice@{DOMAINS[program]}"
    assert found["RELAY-01"].found[0].what == "sends without a login to canary.test"
    first, last = found["AUTH-02"].since, found["AUTH-02"].found[0].last
    assert first[:10] == last[:10] == "2026-11-23" and first < last


def test_opensmtpd_does_not_tell_the_port() -> None:
    found = look("opensmtpd")
    assert who(found) == {**ALL, "AUTH-01": [], "AUTH-02": []}
    assert found["AUTH-02"].unknown == "of 2 of 2 messages with a login it is not known (OpenSMTPD does not log the port)"
    assert found["AUTH-01"].unknown == "", "both were inside TLS"
    clear = OPENSMTPD.replace(b"smtp tls ciphers", b"smtp other")
    assert who(look("opensmtpd", clear))["AUTH-01"] == [("alice", 2)]


@pytest.mark.parametrize(("ports", "count", "unknown"), [({25}, 2, False), ({587, 465}, 0, False), ({25, 465}, 0, True)])
def test_where_only_some_ports_take_logins_the_configuration_tells(ports: set[int], count: int, unknown: bool) -> None:
    found = look("opensmtpd", ports=frozenset(ports))["AUTH-02"]
    assert sum(d.count for d in found.found) == count and bool(found.unknown) is unknown


def test_exim_tells_the_port_only_when_it_is_told_to() -> None:
    plain = EXIM.replace(b" I=[198.51.100.110]:25", b"").replace(b" I=[198.51.100.110]:587", b"")
    found = look("exim", plain)
    assert who(found) == {**ALL, "AUTH-02": []}
    assert "of 3 of 3" in found["AUTH-02"].unknown and "incoming_interface" in found["AUTH-02"].unknown


def test_services_of_postfix_that_share_a_name_are_not_told_apart() -> None:
    shared = POSTFIX.replace(b"postfix/submission/", b"postfix/")
    found = look("postfix", shared, services=(("postfix", 25, True, False), ("postfix", 587, True, False)))
    assert not found["AUTH-02"].found and "syslog_name" in found["AUTH-02"].unknown
    only = look("postfix", shared, services=(("postfix", 25, True, False), ("postfix", 587, False, False)))
    assert who(only)["AUTH-02"] == [("alice", 3)], "one of them takes logins"


def test_an_old_postfix_tells_tls_by_its_log_level() -> None:
    """Before 3.0 there is no summary at the end of a session."""
    old = b"".join(line.partition(b"] ehlo=")[0] + b"]\n" if b" disconnect from " in line else line
                   for line in POSTFIX.splitlines(keepends=True))  # fmt: skip
    found = look("postfix", old)["AUTH-01"]
    assert not found.found and "of 3 of 3" in found.unknown and "smtpd_tls_loglevel = 1" in found.unknown
    line = b"2026-11-23T05:44:43+00:00 h postfix/smtpd[306]: Anonymous TLS connection established from x[198.19.0.66]: TLSv1.3\n"
    first = old.index(b"2026-11-23T05:44:43+00:00 full-d13.corp.test postfix/smtpd[306]: 8BB263F495F")
    assert "of 2 of 3" in look("postfix", old[:first] + line + old[first:])["AUTH-01"].unknown
    always = (("postfix", 25, True, True), ("postfix/submission", 587, True, True))
    assert look("postfix", old, services=always)["AUTH-01"].unknown == "", "no login without TLS, says the configuration"


def test_a_content_filter_hands_back_the_same_message() -> None:
    log = b"""\
Nov 23 05:44:43 mx postfix/smtpd[1]: A1A1A1A1A1: client=printer.good.test[198.51.100.9]
Nov 23 05:44:43 mx postfix/qmgr[2]: A1A1A1A1A1: from=<printer@full-d13.test>, size=1, nrcpt=1 (queue active)
Nov 23 05:44:43 mx postfix/smtpd[3]: B2B2B2B2B2: client=localhost[127.0.0.1], orig_queue_id=A1A1A1A1A1, orig_client=printer.good.test[198.51.100.9]
Nov 23 05:44:43 mx postfix/qmgr[2]: B2B2B2B2B2: from=<printer@full-d13.test>, size=1, nrcpt=1 (queue active)
Nov 23 05:44:43 mx postfix/smtp[4]: B2B2B2B2B2: to=<x@elsewhere.test>, relay=mx.elsewhere.test[192.0.2.1]:25, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (250 Ok)
Nov 23 05:44:43 mx postfix/qmgr[2]: B2B2B2B2B2: removed
Nov 23 05:44:44 mx postfix/smtp[5]: A1A1A1A1A1: to=<x@elsewhere.test>, relay=127.0.0.1[127.0.0.1]:10024, delay=1, delays=1/0/0/0, dsn=2.0.0, status=sent (250 2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as B2B2B2B2B2)
Nov 23 05:44:44 mx postfix/qmgr[2]: A1A1A1A1A1: removed
"""  # noqa: E501
    for text in (log, log.replace(b", orig_queue_id=A1A1A1A1A1, orig_client=printer.good.test[198.51.100.9]", b"")):
        found = look("postfix", text)
        assert who(found) == {"AUTH-01": [], "AUTH-02": [], "RELAY-01": [("198.51.100.9", 1)], "SENDER-01": [],
                              "SENDER-03": [("198.51.100.9", 1)]}  # fmt: skip
        assert found["RELAY-01"].found[0].last == "Nov 23 05:44:43"


def test_a_filter_before_the_queue_leaves_it_unknown() -> None:
    line = b"2026-11-23T05:45:00+00:00 mx postfix/smtpd[1]: NOQUEUE: client=a[192.0.2.1], sasl_method=PLAIN, sasl_username=bob\n"
    found = look("postfix", POSTFIX + line)
    assert all("before they are queued" in found[control].unknown for control in ("RELAY-01", "SENDER-01", "SENDER-03"))
    assert who(found)["AUTH-02"] == [("alice", 2), ("bob", 1)]


@pytest.mark.parametrize(("rest", "found"), [
    (b"to=<far@elsewhere.test>, orig_to=<alice@full-d13.test>, relay=mx[192.0.2.1]:25, delay=1, status=sent (250)", []),
    (b"to=<x@elsewhere.test>, relay=mx[192.0.2.1]:25, delay=1, status=deferred (later)", [("198.51.100.9", 1)]),
    (b"to=<x@elsewhere.test>, relay=virtual, delay=1, status=sent (delivered)", []),
])  # fmt: skip
def test_what_is_relaying(rest: bytes, found: list[tuple[str, int]]) -> None:
    """An alias that leads elsewhere is none, and no more is mail for a domain of ours that a table keeps."""
    program = b"virtual" if b"relay=virtual" in rest else b"smtp"
    log = (b"Nov 23 05:44:43 mx postfix/smtpd[1]: A1A1A1A1A1: client=x[198.51.100.9]\n"
           b"Nov 23 05:44:43 mx postfix/" + program + b"[4]: A1A1A1A1A1: " + rest + b"\n")  # fmt: skip
    assert who(look("postfix", log))["RELAY-01"] == found


def test_a_queue_id_that_is_used_again_is_another_message() -> None:
    log = POSTFIX + (b"2026-11-23T05:50:00+00:00 mx postfix/pickup[1]: 573173F4982: uid=0 from=<root>\n"
                     b"2026-11-23T05:50:00+00:00 mx postfix/qmgr[1]: 573173F4982: from=<root@full-d13.test>, size=1, nrcpt=1\n")
    assert who(look("postfix", log)) == ALL


@pytest.mark.parametrize("program", list(LOGS))
def test_who_may_go_on_is_not_named(program: str) -> None:
    found = who(look(program, trusted=(ipaddress.ip_network("198.51.100.0/24"), ipaddress.ip_network("198.19.0.0/24"))))
    assert found["RELAY-01"] == found["SENDER-03"] == [] and found["SENDER-01"] == [("alice", 1)]


@pytest.mark.parametrize(("sender", "account", "own"), [
    ("alice@full-d13.test", "alice", True), ("alice+list@full-d13.test", "alice", True), ("alice@elsewhere.test", "alice", False),
    ("Alice@Full-D13.test", "alice@full-d13.test", True), ("alice@full-d13.test", "alice@other.test", False),
    ("bob@full-d13.test", "alice", False),
])  # fmt: skip
def test_which_sender_is_the_logins_own(sender: str, account: str, own: bool) -> None:
    log = POSTFIX.replace(b"sasl_username=alice", b"sasl_username=" + account.encode())
    log = log.replace(b": from=<bob@full-d13.test>", b": from=<>")
    log = log.replace(b": from=<alice@full-d13.test>", b": from=<" + sender.encode() + b">")
    assert (who(look("postfix", log))["SENDER-01"] == []) is own


def test_lists_are_bounded() -> None:
    line = b"Nov 23 05:44:43 mx postfix/smtpd[1]: %X: client=x[10.0.%d.%d], sasl_method=PLAIN, sasl_username=u%d\n"
    lines = [line % (2**40 + n, 0, 9, n) for n in range(300)]
    lines += [line % (2**41 + n, n // 250, n % 250, 7) for n in range(1500)]
    found = look("postfix", b"".join(lines))["AUTH-02"]
    assert len(found.found) == 200 and found.more == 100
    assert found.found[0].who == "u7" and found.found[0].count == 1501 and found.found[0].what.endswith(" and 995+ more")
    assert len(told([found])) < 15


# 2.3.19 and 2.4.1; the last is of a client of login_trusted_networks, the one before it of a webmail on the host itself.
DOVECOT = b"""\
2026-11-23T09:16:29.562888+00:00 full-d12 dovecot: imap-login: Login: user=<alice>, method=PLAIN, rip=198.19.0.66, lip=198.51.100.121, mpid=1488, session=<nr6LDO5gIu7GEwBC>
2026-11-23T09:16:30.032547+00:00 full-d12 dovecot: imap-login: Login: user=<bob>, method=PLAIN, rip=198.19.0.66, lip=198.51.100.121, mpid=1490, TLS, session=<sTaSDO5gLu7GEwBC>
Nov 23 09:16:33 full-d13.corp.test dovecot[1636]: imap-login: Logged in: user=<alice>, method=PLAIN, rip=198.19.0.66, lip=198.51.100.126, mpid=1646, session=<xJO1DO5gvsbGEwBC>
Nov 23 09:16:41 full-d13.corp.test dovecot[1660]: imap-login: Logged in: user=<web>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, mpid=1684, secured, session=<0YRKDe5gBqp/AAAB>
Nov 23 09:16:39 full-d13.corp.test dovecot[1660]: imap-login: Logged in: user=<carol>, method=PLAIN, rip=198.19.0.66, lip=198.51.100.126, mpid=1669, secured, session=<25clDe5gdsLGEwBC>
"""  # noqa: E501


def test_who_reads_mail_without_tls() -> None:
    readings = [Reading(DOVECOT, "the log")]
    (found,) = judged(Around("dovecot"), readings, ["AUTH-01"])
    assert [(d.who, d.count, d.last) for d in found.found] == [("alice", 2, "Nov 23 09:16:33"), ("carol", 1, "Nov 23 09:16:39")]
    line = "  alice logs in without TLS, from 198.19.0.66 (2 logins, the last Nov 23 09:16:33)"
    assert line in told([found]) and not found.unknown
    (found,) = judged(Around("dovecot", tells_tls=False), readings, ["AUTH-01"])
    assert not found.found and found.unknown.startswith("of 3 of 5 logins it is not known (the log does not tell TLS")


def test_readers_of_mail_are_asked_about_logins_alone() -> None:
    dovecot = parse("# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf\n")
    assert dependents(LocalRunner(), {"dovecot": [dovecot]}, ["RELAY-13", "SENDER-01"], Site()) == []


@pytest.mark.parametrize("program", list(LOGS))
def test_no_log_is_not_nobody(program: str) -> None:
    for reading in (Reading(reason="Could not read /var/log/mail.log: Permission denied"), Reading(b"cron[1]: hello\n", "x")):
        for found in judged(around(program), [reading], CONTROLS):
            assert not found.found and found.unknown.startswith(f"no log of {program} was found")
    told_ = told(judged(around(program), [Reading()], ["AUTH-02"]))
    assert told_ == [f"AUTH-02: who uses what it closes is not all known: no log of {program} was found"]


def test_a_part_that_cannot_be_read_is_said() -> None:
    readings = [Reading(POSTFIX, "a"), Reading(reason="Could not read /var/log/mail.log.1: Permission denied")]
    (found,) = judged(around("postfix"), readings, ["AUTH-02"])
    assert found.found and "Permission denied" in found.unknown


@pytest.mark.parametrize("program", list(LOGS))
def test_as_a_person_reads_it(program: str) -> None:
    lines = told(look(program).values())
    assert f"SENDER-01 closes what is in use, says {program}'s log since 2026-11-23" in "\n".join(lines)
    assert any(line.startswith(f"  alice sends as bob@{DOMAINS[program]} (1 message, the last 2026-11-23") for line in lines)
    quiet = told(judged(around(program), [Reading(LOGS[program][: LOGS[program].index(b"\n") + 1])], ["AUTH-02"]))
    assert quiet[0].startswith("AUTH-02 closes what nobody uses, says ")


@pytest.mark.parametrize("name", ["postfix", "exim", "sendmail", "opensmtpd"])
def test_a_client_imitates_nobody(name: str) -> None:
    """What it says of itself may hold anything but a line's end."""
    reader = {"postfix": postfix, "exim": exim, "sendmail": sendmail, "opensmtpd": opensmtpd}[name]
    for forged in (b"helo=<x sasl_username=eve>", b"A=plain:eve", b"authid=eve", b"user=eve result=ok"):
        for message in reader.taken(LOGS[name].replace(b"x@stranger.test", b"x" + forged + b"@a.test")):
            assert message.account in ("alice", None)


class Journal(LocalRunner):
    def __init__(self, log: bytes) -> None:
        super().__init__()
        self.log = log

    def run(self, argv: Any, *more: Any, **other: Any) -> Completed:
        self.spawns += 1
        return Completed(0, self.log.decode(), "")


def test_from_the_hosts_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "FILES", (str(tmp_path / "mail.log"),))
    (tmp_path / "main").write_bytes(EXIM)
    (tmp_path / "mail.log").write_bytes(b"Nov 23 05:44:43 mx cron[1]: not of a mail server\n")
    server = Server("4.98", "", (Listener(25), Listener(587)), ("exim-d13.test",), logins=(25, 587))
    smtpd = SimpleNamespace(value=lambda _: "postfix", on=lambda _: True, tls_level="may")
    service = SimpleNamespace(port=25, smtpd=smtpd, tls_wrapper=False)
    instance: Any = SimpleNamespace(relayed_domains=("full-d13.test",), smtp_services=lambda: [service])
    instances = {"exim": [Exim("x", options={"log_file_path": str(tmp_path / "%s")})], "postfix": [instance], "dovecot": [1]}
    runner = Journal(POSTFIX)
    found = dependents(runner, instances, ["AUTH-02", "SENDER-03", "TLS-01"], Site(servers={"exim": (server,)}))
    assert [(each.program, each.control, [d.who for d in each.found]) for each in found] == [
        ("postfix", "AUTH-02", ["alice"]), ("postfix", "SENDER-03", ["198.19.0.66"]),
        ("exim", "AUTH-02", ["alice"]), ("exim", "SENDER-03", ["198.19.0.66"]),
    ]  # fmt: skip
    assert found[0].source.endswith("journal") and found[2].source == str(tmp_path / "main") and runner.spawns == 1
    assert dependents(runner, instances, ["TLS-01"], Site()) == [] and dependents(runner, {}, CONTROLS, Site()) == []


def test_a_long_log_takes_seconds_and_not_more_memory_than_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "FILES", (str(tmp_path / "mail.log"),))
    with open(tmp_path / "mail.log", "wb") as file:
        for _ in range(3 * module.MAX_BYTES // len(POSTFIX)):
            file.write(POSTFIX)
    instance: Any = SimpleNamespace(smtp_services=list)
    begun = time.process_time()
    found = dependents(LocalRunner(), {"postfix": [instance]}, CONTROLS, Site())
    assert time.process_time() - begun < 20
    assert sum(d.count for d in found[0].found) < 2 * module.MAX_BYTES // len(POSTFIX) and found[0].since


@pytest.mark.parametrize("program", LOGS)
def test_our_own_probes_are_nobody(program: str) -> None:
    theirs, ours = look(program), look(program, own=frozenset({"canary@canary.test"}))
    assert theirs["RELAY-01"].found and not ours["RELAY-01"].found and not ours["AUTH-02"].found
    assert ours["SENDER-03"].found == theirs["SENDER-03"].found, "those are not to the canary"
