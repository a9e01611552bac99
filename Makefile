# pgha. The targets most people want: build, test, lab, demo, check, fix.

PG      ?= 15
ETCD    ?= 3.7.3
SEEDS   ?= 200
TIME    ?= 30s
BINDIR  ?= bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

BUNDLE  = demo/bundle/etcdtrio.gz
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo +changes)
LDFLAGS = -s -w -X pgha/cmd.version=$(VERSION) -X pgha/cmd.revision=$(COMMIT)
# Everything but the simulator and the lab, which have targets of their own.
UNIT    = $(shell go list ./... | grep -v -e /agent/sim -e /internal/lab)
# These start real servers and measure time: one package after the other.
HEAVY   = ./internal/guard/... ./internal/instance/... ./internal/dcs/etcd/...
LIGHT   = $(shell go list ./... | grep -v -e /agent/sim -e /internal/lab -e /internal/guard -e /internal/instance -e /internal/dcs/etcd)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1: \2/p' Makefile

build: $(BUNDLE) ## the static binary, bin/pgha
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BINDIR)/pgha .

# The demo's etcd is a program of its own (three members in one process), so
# that the agent does not carry it in memory (docs/ARCHITECTURE.md). It is
# rebuilt when its source or the module's dependencies change.
$(BUNDLE): demo/etcdtrio/main.go go.mod
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o demo/bundle/etcdtrio ./demo/etcdtrio
	gzip -9 -n -f demo/bundle/etcdtrio

test: unit sim short ## unit tests, simulation, the short lab stories; race detector

unit: $(BUNDLE) ## unit tests and the stores' conformance suite
	CGO_ENABLED=1 go test -race $(LIGHT)
	CGO_ENABLED=1 go test -race -p 1 -parallel 4 $(HEAVY)

sim: ## simulation: SEEDS=5000, or replay one with SEED=404
	@if go list ./agent/sim >/dev/null 2>&1; then \
		SEEDS=$(SEEDS) SEED=$(SEED) CGO_ENABLED=1 go test -race -count=1 -timeout 60m ./agent/sim; \
	else echo 'sim: ./agent/sim is not there yet'; exit 1; fi

short: ## the lab stories that run with every test: PG=15
	PGHA_LAB=short PG=$(PG) ETCD=$(ETCD) CGO_ENABLED=1 go test -race -count=1 -timeout 25m ./internal/lab/...

lab: ## all lab stories: PG=17 ETCD=3.6.16 RUN=Switchover
	PGHA_LAB=all PG=$(PG) ETCD=$(ETCD) CGO_ENABLED=1 go test -race -count=1 -timeout 120m -v -run '$(RUN)' ./internal/lab/...

watchdog: ## the watchdog device on the kernel's drivers, in a virtual machine (qemu, apt)
	internal/watchdog/vm.sh

# SEED and ROUND repeat, FAULTS='agent frozen;machine lost' chooses, HARSH=1
# adds a second fault to every round, LOAD=pipeline has the hardest client
# in every round, GATE=1 and FAILSAFE=1 (or 0) say what the plan else chooses,
# PEER=patroni does all this to the real Patroni. Report and logs: .lab/chaos.
chaos: TIME = 30m
chaos: ## random faults, clients that count: TIME=30m SEED=7 HARSH=1
	PGHA_LAB=chaos PG=$(PG) ETCD=$(ETCD) TIME=$(TIME) SEED=$(SEED) ROUND=$(ROUND) FAULTS='$(FAULTS)' HARSH=$(HARSH) LOAD=$(LOAD) GATE=$(GATE) FAILSAFE=$(FAILSAFE) TTL=$(TTL) PEER=$(PEER) \
		go test -count=1 -timeout 0 -v -run 'TestChaos$$' ./internal/lab/chaos

demo: build ## three PostgreSQL members on this machine; the primary is killed
	$(BINDIR)/pgha demo --script failover

bench: ## benchmarks
	go test -run '^$$' -bench . -benchmem $(UNIT)

fuzz: ## every fuzz target for TIME=30s
	@for p in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
			echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(TIME) $$p || exit 1; \
		done; \
	done

golden: ## re-record golden files and scenarios; read the diff
	go test $$(grep -rl cockroachdb/datadriven --include='*_test.go' . | xargs -n 1 dirname | sort -u) -run 'Scenario|Stor' -args -rewrite
	go test ./internal/config -args -update

check: ## format, vet, lint, import directions, go.mod
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "not formatted (make fix):"; echo "$$out"; exit 1; fi
	go vet ./...
	go mod tidy -diff
	go test -count=1 .
	@if command -v golangci-lint >/dev/null; then golangci-lint run; \
	elif command -v staticcheck >/dev/null; then staticcheck ./...; \
	else echo 'check: neither golangci-lint nor staticcheck is installed, lint left out'; fi

fix: ## repair what check finds
	gofmt -w .
	go mod tidy

clean: ## what make built
	rm -rf $(BINDIR) .lab demo/bundle/etcdtrio demo/bundle/etcdtrio.gz

.PHONY: help build test unit sim short lab chaos watchdog demo bench fuzz golden check fix clean
