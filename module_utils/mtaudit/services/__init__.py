"""Find out from outside what a mail service offers, with and without TLS: SMTP, IMAP, POP3 and ManageSieve."""
