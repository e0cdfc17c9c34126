# Everything that people run. `make help` says what there is.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help audit test test-full lint unit docs lab lab-down setup dev clean

export PATH := $(CURDIR)/.venv/bin:$(PATH)
LAB := .venv/bin/python molecule/lab/lab.py
PLANTED := .cache/planted.json
# Two audits may run at once, and each shows its own report.
AUDIT_LOG := $(CURDIR)/.cache/logs/audit-$(shell date +%Y%m%dT%H%M%S)-$(shell echo $$PPID).log
# Ours, and those that Ansible takes when the variable is not set.
CALLBACKS := $(CURDIR)/tools/callback_plugins:$(or $(ANSIBLE_CALLBACK_PLUGINS),~/.ansible/plugins/callback:/usr/share/ansible/plugins/callback)
TESTS := .venv/bin/python tools/run_tests.py

# make audit INVENTORY=inventories/mine LIMIT=mx1 PROFILE=strict ARGS='--ask-become-pass'
INVENTORY ?=
LIMIT ?=
PROFILE ?=
ARGS ?=

help:                ## show this list
	@echo 'make audit [INVENTORY=path] [LIMIT=hosts] [PROFILE=name] [ARGS=...]'
	@echo 'Without INVENTORY it builds the lab, a small internet in containers with good servers and planted faults, and audits that.'
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

audit:               ## audit your inventory, or the lab, and write the report
	@tools/bootstrap.sh $(if $(INVENTORY),audit,lab)
	@$(if $(INVENTORY),,$(LAB) up && $(LAB) plant --shown --inventory $(PLANTED))
	@mkdir -p .cache/logs && find .cache/logs -name 'audit*.log' -mtime +30 -delete && (umask 077 && : > $(AUDIT_LOG))
	@ANSIBLE_CALLBACK_PLUGINS=$(CALLBACKS) ANSIBLE_LOG_PATH=$(AUDIT_LOG) ANSIBLE_INVENTORY_UNPARSED_FAILED=true ansible-playbook $(if $(INVENTORY),-i '$(INVENTORY)',-i inventories/lab -i $(PLANTED)) playbooks/audit.yml \
	    $(if $(or $(LIMIT),$(if $(INVENTORY),,mail_servers)),--limit '$(or $(LIMIT),mail_servers)') $(if $(PROFILE),-e mta_audit_profile='$(PROFILE)') -e '{mta_report_show_summary: false}' $(ARGS); \
	    status=$$?; .venv/bin/python tools/show_report.py $(AUDIT_LOG) || status=$$((status ? status : 1)); exit $$status

test:                ## everything that CI checks
	@tools/bootstrap.sh test
	@$(TESTS)

test-full:           ## ... and the whole matrix (hours)
	@tools/bootstrap.sh test
	@$(TESTS) --full

lint:                ## only the linters
	@tools/bootstrap.sh dev
	@$(TESTS) --stage lint

unit:                ## only the tests that need no lab
	@tools/bootstrap.sh dev
	@$(TESTS) --stage unit --stage catalogue

docs:                ## write the documentation that is made from the catalogue and the roles
	@tools/bootstrap.sh dev
	@.venv/bin/python tools/generate_docs.py

lab:                 ## bring the lab up and keep it up (as root)
	@tools/bootstrap.sh lab
	@$(LAB) up

lab-down:            ## take the lab down; images are kept
	@if ! command -v podman >/dev/null; then echo 'There is no lab: podman is not installed.'; \
	elif [ ! -x .venv/bin/python ]; then echo 'The lab is taken down with .venv, which is not there: run `make dev`.' >&2; exit 1; \
	else $(LAB) down; fi

setup:               ## install what the tests need, and nothing else
	@tools/bootstrap.sh test

dev:                 ## install what `make lint` and `make unit` need, and nothing else
	@tools/bootstrap.sh dev

clean:               ## remove the lab, its images, the environment and the caches; reports are kept
	@if ! command -v podman >/dev/null; then :; \
	elif [ ! -x .venv/bin/python ]; then echo 'The lab is removed with .venv, which is not there: if there is a lab, run `make dev` first.' >&2; \
	else $(LAB) clean; fi
	@rm -rf .venv .cache .ansible build .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
