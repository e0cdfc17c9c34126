"""The relay probe's engine as a process of its own: a job file in, what the listeners answered out."""

import json
import os.path
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "module_utils"))

from mtaudit.smtp.battery import FORMS
from mtaudit.smtp.listener import Mission, Target
from mtaudit.smtp.probe import Order, Request, run

with open(sys.argv[1], encoding="ascii") as file:
    job = json.load(file)
domain = job["domain"]
known, domains = (f"postmaster@{domain}", (domain,)) if domain else ("", ())
# Five of nmap's forms hold the server's name, which the probe uses only where the inventory vouches for it.
name = f"mx.{domain or 'server.test'}"
orders = tuple(Order(Target(address, known, domains, name), address, (job["port"],)) for address in job["addresses"])
forms = FORMS if job["battery"] == "full" else tuple(form for form in FORMS if form.nmap)
mission = Mission(job["sender"], job["canary"], "probe.stranger.test", retry_after_s=1, forms=forms)
result = run(Request(orders, mission, concurrency=job["concurrency"], timeout_s=300))
listeners = [
    {"host": item["host"], "verdict": item["verdict"], "forms": [(f["nmap"], f["meaning"]) for f in item["forms"] if f["nmap"]]}
    for item in result["listeners"]
]
sys.stdout.write(json.dumps(listeners))
