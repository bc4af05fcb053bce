# Every target sets up what it needs: the virtual environment .venv, Debian packages of tools that
# are missing, and below .cache the engines (unpacked, never installed) and the test node's tree.

SHELL := /bin/bash
PYTHON := .venv/bin/python
TOOLS := shellcheck:shellcheck strace:strace patch:patch debootstrap:debootstrap systemd-nspawn:systemd-container gpgv:gpgv openssl:openssl
# Debian's engines are fetched on other distributions too: debootstrap knows a mirror, the keys verify.
DEBIAN := debootstrap:debootstrap :debian-archive-keyring
# Engines, mounts and namespaces need root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=CI,DEBIAN_MIRROR,TOOLKIT_SOURCE_ROOT)
# Tests wait for engines more than they compute, hence more workers than cores.
WORKERS ?= $(shell echo $$(($$(nproc) + 2)))
PYTEST := $(PYTHON) -m pytest --numprocesses $(WORKERS)
SCRIPTS := .ci/run $(shell grep -lE '^\#!.*\b(ba)?sh$$|^\# shellcheck shell' -r tools .ci entrypoint.sh 2>/dev/null)

.PHONY: help venv tools engines node demo test lint test-faults bench image image-base lock manifests docs release protos clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

demo: venv ## watch the whole job on a private containerd (TOOLKIT_SOURCE_ROOT=DIR: real files)
	@tools/debian-packages $(DEBIAN)
	@$(AS_ROOT) tools/unpack-engines --demo
	@$(AS_ROOT) $(PYTHON) -m demo

test: lint engines node image-base ## lint, types, layers and every test, real engines included
	$(AS_ROOT) $(PYTEST)

lint: venv tools ## style, types, layers, shell scripts, Dockerfile, workflows, chart
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	shellcheck --external-sources $(sort $(SCRIPTS))
	.venv/bin/zizmor --offline --no-progress --quiet .github
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	.venv/bin/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms \
	    .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	if command -v actionlint >/dev/null; then actionlint; fi
	if [ -e .venv/lib/python*/site-packages/helm_python ]; then $(PYTHON) tools/chart.py lint; fi
	if [ -e Dockerfile ] && [ -x .venv/bin/hadolint ]; then .venv/bin/hadolint Dockerfile; fi

test-faults: engines node ## faults, signals, cycles and generated documents in their long form
	$(AS_ROOT) env HYPOTHESIS_PROFILE=long $(PYTEST) --timeout 0 -m 'long or not long' \
	    tests/faults tests/property tests/engine/test_resident_*.py tests/engine/test_dry_run_fuzz.py \
	    tests/node/test_masked_unit.py

bench: venv tools engines node ## the figures that README and CHANGELOG quote
	$(AS_ROOT) $(PYTHON) -m benchmarks

image: ## the container image, of the files in deploy/image/vendor (others: docs/image.md)
	docker build --tag nvidia-toolkit-installer \
	    --build-arg SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct 2>/dev/null || echo 0)" .

lock: venv ## write requirements.lock: the image's dependencies with their hashes
	tools/lock

manifests: venv ## write the plain manifests from the Helm chart
	$(PYTHON) tools/chart.py manifests

docs: venv ## write what comes from the table of options: its page, the manual page, completion
	$(PYTHON) -m toolkit.options.document > docs/configuration.md
	$(PYTHON) -m toolkit.options.document share

release: venv ## write VERSION=1.2.3 where a version stands; CONTRIBUTING.md has the whole recipe
	$(PYTHON) tools/release.py "$(VERSION)"
	$(MAKE) manifests docs

protos: venv ## write the message modules from their declarations
	$(PYTHON) tools/generate_protos.py

venv: ## the virtual environment
	@tools/venv

tools: ## Debian packages of tools that are missing
	@tools/debian-packages $(TOOLS) $(DEBIAN)

engines: tools ## the engines that the tests start
	@$(AS_ROOT) tools/unpack-engines

node: tools ## the tree of the test node
	@$(AS_ROOT) tools/node-tree

image-base: tools ## the root of the image tests' base image
	@$(AS_ROOT) tools/image-base

clean: ## remove everything that the targets made below this directory
	$(AS_ROOT) rm -rf --one-file-system .cache .venv build dist *.egg-info .pytest_cache .mypy_cache \
	    .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
