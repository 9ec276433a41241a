# Every target is complete on a fresh Debian 12: it installs and builds what it
# needs first, and does nothing twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

# Where scripts/setup leaves Go when there is none, and where go.dev's page has
# people put it.
export PATH := $(CURDIR)/build/go/bin:$(PATH):/usr/local/go/bin:/usr/sbin:/sbin
# One static file that runs on any Linux.
export CGO_ENABLED := 0

GOLANGCI_VERSION := v2.15.0
GOLANGCI := build/bin/golangci-lint-$(GOLANGCI_VERSION)

.PHONY: build
build: setup ## build mvm into build/mvm
	@go generate ./vm/initrd
	@go build -trimpath -o build/mvm ./cmd/mvm

.PHONY: run
run: build example ## boot the example guest; its exit status is make's
	@definition=examples/myvm/myvm.toml; \
	[ ! -e build/myvm.toml ] || definition=build/myvm.toml; \
	if [ -t 0 ] && [ -t 1 ]; then \
	  build/mvm run "$$definition"; \
	else \
	  build/mvm run "$$definition" -- true; \
	fi

.PHONY: test
test: build example ## run all tests, with real guests
	@go run ./scripts/gotest -p 2 -timeout 20m ./...

.PHONY: lint
lint: setup $(GOLANGCI) ## check style, and the scripts
	@$(GOLANGCI) run ./...
	@scripts/shellcheck

$(GOLANGCI):
	GOBIN=$(CURDIR)/build/bin nice -n 19 go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv build/bin/golangci-lint $@

.PHONY: example
example: setup ## build the example guest's closure
	@examples/myvm/build.sh

.PHONY: setup
setup:
	@scripts/setup

.PHONY: clean
clean: ## remove build/, which holds everything that was built
	@chmod -R u+w build 2>/dev/null || true # a store is read-only
	rm -rf build

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' Makefile | expand -t 10
