# Every target prepares what it needs first; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: env
env: ## make the Python environment from the lock file
	@scripts/prepare env

.PHONY: demo
demo: env ## a claim becomes a mounted disk, step by step (ARGS=--keep leaves it running)
	@scripts/prepare host demo && $(PY) -m scripts.demo $(ARGS)

.PHONY: test
test: env ## everything but the virtual machine and the benchmarks
	@scripts/test

.PHONY: lint
lint: env ## ruff, mypy --strict, import directions, generated files
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy && .venv/bin/lint-imports && $(PY) -m scripts.generate_docs --check && $(PY) -m scripts.generate_dashboard --check

.PHONY: format
format: env ## format the code
	@$(PY) -m ruff check --fix . && $(PY) -m ruff format .

.PHONY: unit
unit: env ## unit tests: no root, no devices
	@scripts/prepare services || true; $(PY) -m pytest tests/unit tests/packaging $(ARGS)

.PHONY: integration
integration: env ## real loop devices, mkfs, mounts (root)
	@scripts/prepare host integration && { scripts/prepare machines || true; } && scripts/prepare services && $(PY) -m pytest tests/integration tests/faults $(ARGS)

.PHONY: sanity
sanity: env ## the published csi-sanity, both tiers (root)
	@scripts/prepare host sanity && scripts/prepare go && $(PY) -m pytest tests/sanity $(ARGS)

.PHONY: vm-test
vm-test: env ## the node plugin in a QEMU guest, with hot-plug and power cuts (root)
	@scripts/prepare vm && $(PY) -m pytest tests/vm --numprocesses 2 --dist loadgroup $(ARGS)

.PHONY: cluster
cluster: env ## a Kubernetes cluster with driver and manager, on this machine; prints how to use kubectl (root)
	@scripts/prepare cluster && $(PY) -m tests.e2e.cluster up $(ARGS)

.PHONY: cluster-down
cluster-down: env ## remove the cluster and everything it made on this machine
	@$(PY) -m tests.e2e.cluster down

.PHONY: kaas-demo
kaas-demo: env ## a real cluster by one command: create, use, delete (root; ARGS=--keep leaves it running)
	@scripts/prepare cluster && $(PY) -m scripts.kaas_demo $(ARGS)

.PHONY: e2e
e2e: env ## driver and manager in a cluster, as their users have them; makes the cluster and removes it (root)
	@scripts/e2e $(ARGS)

.PHONY: e2e-kaas
e2e-kaas: env ## kaas with real clusters on this machine: create, heal, scale, kill -9, high availability, delete (root)
	@scripts/prepare cluster && $(PY) -m pytest tests/e2e_kaas --timeout 1200 $(ARGS)

.PHONY: e2e-upstream
e2e-upstream: env ## the suite of Kubernetes on the running cluster: storage, its plain part
	@$(PY) -m tests.e2e.upstream.run --parts plain topology $(ARGS)

.PHONY: e2e-upstream-full
e2e-upstream-full: env ## all of it, ext4 and xfs, and load balancers; writes docs/conformance.md
	@$(PY) -m tests.e2e.upstream.run --parts plain topology immediate slow serial disruptive loadbalancers --fs ext4 xfs --page $(ARGS)

.PHONY: bench
bench: env ## figures as JSON lines (root)
	@scripts/prepare host bench && $(PY) -m benchmarks $(ARGS)

.PHONY: bench-e2e
bench-e2e: env ## how long claims and pods take in a cluster, as JSON lines (root)
	@scripts/bench-e2e

.PHONY: bench-ccm
bench-ccm: env ## the cloud controller manager with 5,000 nodes and 500 load balancers, as JSON lines (root)
	@scripts/bench-ccm $(ARGS)

.PHONY: bench-kaas
bench-kaas: env ## 1,000 simulated clusters on three conductors, and what one loses in kaas itself, as JSON lines
	@scripts/bench-kaas $(ARGS)

.PHONY: proto
proto: env ## regenerate the stubs and fail when they differ from the committed ones
	@$(PY) -m scripts.generate_proto --check

.PHONY: docs
docs: env ## regenerate the reference pages and the dashboard
	@$(PY) -m scripts.generate_docs && $(PY) -m scripts.generate_dashboard

.PHONY: golden
golden: env ## render the manifests and the chart anew into tests/golden, for review
	@scripts/prepare go && $(PY) -m tests.golden.render

.PHONY: lock
lock: env ## resolve the lock files again
	@scripts/lock

BASE ?= docker.io/library/debian:trixie-slim
BUILD_BASE ?= $(BASE)
IMAGE ?= thecloud-kubernetes:dev
.PHONY: image
image: ## build the images with docker or buildah (BASE=, BUILD_BASE=, IMAGE=)
	@scripts/image $(BASE) $(BUILD_BASE) $(IMAGE)

.PHONY: image-base
image-base: env ## make bases from Debian packages, with which `image` needs no registry and no network (root)
	@scripts/image-base && echo "now: make image BASE=localhost/thecloud-base BUILD_BASE=localhost/thecloud-build"

.PHONY: sbom
sbom: env ## list what is inside the images, as CycloneDX (after `image`)
	@$(PY) -m scripts.sbom $(foreach program,controller node ccm kaas,$(subst :,-$(program):,$(IMAGE)))

.PHONY: clean
clean: ## remove what the targets made in the tree
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* dist build
