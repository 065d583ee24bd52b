# Todoke needs Go, git, make and gcc; test-system also needs root on Debian.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO          ?= go
STATICCHECK ?= $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
COUNT       ?= 7
BENCH       ?= .
SEED        ?= 0
N           ?= 2000
MINUTES     ?= 10
PKG         ?= ./...

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## play October 2015 in Katsushika: the terminal says 終了, and the ledger knows better
	$(GO) run ./cmd/todoke demo katsushika-2015

.PHONY: test
test: ## run every test that needs no root
	$(GO) test $(PKG)

.PHONY: race
race: ## the same under the race detector, with fewer stories
	$(GO) test -race -short $(PKG)

.PHONY: check
check: ## gofmt, vet, staticcheck, and the rules of the house as tests
	@files=$$(gofmt -l .); test -z "$$files" || { echo "run gofmt -w on:"; echo "$$files"; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...
	$(GO) test -count=1 .

.PHONY: test-system
test-system: ## tests of the built binary that need root or Debian packages (it installs them)
	.ci/system

.PHONY: sim
sim: ## simulate N (2000) worlds from SEED (0) on: log, producers, watchdog, faults, on a virtual clock
	$(GO) test -count=1 -timeout 0 ./testenv/sim -run 'TestSim$$' -seed $(SEED) -trials $(N) -v

.PHONY: soak
soak: ## go on with the full column of every fault for MINUTES (10), where the last soak stopped; as root
	TODOKE_SYSTEM=1 $(GO) test -count=1 -timeout 0 ./testenv/rig -run 'TestSoak$$' -minutes $(MINUTES) -v

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s), in PKG (./...)
	@for pkg in $$($(GO) list $(PKG)); do \
		list=$$($(GO) test -run '^$$' -list '^Fuzz' $$pkg); \
		for target in $$(sed -n '/^Fuzz/p' <<<"$$list"); do \
			echo "== $$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg; \
		done; \
	done

.PHONY: bench
bench: ## run the benchmarks matching BENCH (.) COUNT (7) times, interleaved; medians, and ratios to /raw
	@GO=$(GO) .ci/bench '$(BENCH)' $(COUNT) $(PKG)

.PHONY: golden
golden: ## write golden files anew; bytes of released events are only ever added
	@for dir in $$(grep -rl --include='*_test.go' 'flag.Bool("update"' . | xargs -r -n 1 dirname | sort -u); do \
		$(GO) test -count=1 $$dir -update; \
	done
	@git status --short -- '*testdata*'
	@echo "Read the diff: commit it only if you understand every line of it."
