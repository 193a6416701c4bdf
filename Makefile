# Footfall. `make` or `make help` lists the targets.
SHELL      := bash
GO         ?= go
BIN        := bin
GOLANGCI   := $(BIN)/golangci-lint-v2.15.0
export FOOTFALL_DATA ?= ./data

.DEFAULT_GOAL := help
.PHONY: help run build test demo bench bench-quick bench-stages scenarios conformance lint fuzz fmt clean
.PHONY: load soak growth faults services services-fetch services-up services-down test-services test-spark delivery conformance-table coldstart

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/footfall
	@$(GO) build -o $(BIN)/footfall ./infra/local/cmd

run: build ## build and start Footfall on this machine, in the foreground (data in ./data)
	@exec $(BIN)/footfall run

demo: build ## send a shop's traffic (or LOG=access.log.gz) through the running Footfall and print reports
	@$(BIN)/footfall demo $(if $(LOG),-log $(LOG))

test: ## all tests that need nothing but Go
	$(GO) vet ./...
	$(GO) test ./...

scenarios: ## the scenario suite against a running system: make scenarios TARGET=http://… ADMIN_TOKEN=…
	$(GO) test ./infra/local/scenario -count=1 -v -args -target "$(TARGET)" -admin-token "$(ADMIN_TOKEN)"

conformance: ## the wiring through Knative's own types and filters (compiles for minutes)
	cd eventing/conformance && $(GO) test ./...

test-services: services ## the adapters' suites and the stories on real Kafka, HDFS, Redis and the MongoDB stand-in
	$(BIN)/services-tool run -- $(MAKE) --no-print-directory conformance-table
	FOOTFALL_TEST_CLUSTER=1 $(GO) test ./infra/cluster -count=1 -timeout 20m -run '^Test(Stories|CloudEventsModes|Import|Demo|Reprocess|Erasure)$$'

test-spark: services ## Spark, and what it counts in an archive in HDFS (fetches 270 MB at the first time)
	$(BIN)/services-tool -only hdfs run -- $(GO) test ./infra/spark -run TestArchiveForOthers -count=1 -v -timeout 20m

delivery: ## what deliveries promise: on our dispatcher, or with BROKER= KAFKA= LISTEN= ADVERTISE= on another Broker
	$(GO) test ./eventing/delivery -count=1 -v -run TestDelivery $(if $(BROKER),-args -broker "$(BROKER)" -kafka "$(KAFKA)" -listen "$(LISTEN)" -advertise "$(ADVERTISE)" -kill "$(KILL)")

conformance-table: services ## what each adapter passes of each port's suite; of servers, those that FOOTFALL_TEST_… name
	$(BIN)/services-tool table ./shared/store/... ./shared/broker/... ./eventing/local ./eventing/delivery ./functions/.../cmd ./infra/services/...

services-fetch: services ## bring what the servers for tests need, once
	@$(BIN)/services-tool fetch

services-up: services ## start the servers for tests and leave them up; then: eval "`bin/services-tool env`"
	@$(BIN)/services-tool up

services-down: services ## stop what services-up has started
	@$(BIN)/services-tool down

services:
	@$(GO) build -o $(BIN)/services-tool ./infra/services/cmd

faults: ## break things under load, CYCLES times, and compare what was accepted with what is counted
	@$(GO) build -o $(BIN)/faults ./infra/loadtest/faults && $(BIN)/faults -cycles $(or $(CYCLES),200) $(if $(SEED),-seed $(SEED))

load: ## many sites' traffic at any Footfall, then every number compared: make load TARGET=http://… ADMIN_TOKEN=… RATE=11574 MERCHANTS=1000 FOR=1m SEED=1
	@$(GO) run ./infra/loadtest/cmd $(if $(TARGET),-target "$(TARGET)") $(if $(ADMIN_TOKEN),-admin-token "$(ADMIN_TOKEN)") \
	  -rate $(or $(RATE),11574) -merchants $(or $(MERCHANTS),1000) -for $(or $(FOR),1m) -seed $(or $(SEED),1) $(if $(HOT),-hot $(HOT))

soak: build ## an hour's steady load, and whether memory, CPU, disk and freshness stay: make soak FOR=1h RATE=11574 MERCHANTS=2000 (WARM=8m: first so long at 60000 events/s)
	@$(GO) build -o $(BIN)/soak ./infra/loadtest/soak && $(BIN)/soak -for $(or $(FOR),1h) -rate $(or $(RATE),11574) -merchants $(or $(MERCHANTS),2000) \
	  -reports $(or $(REPORTS),20) $(if $(WARM),-warm $(WARM)) $(if $(BESIDE),-beside "$(BESIDE)") $(if $(SAMPLES),-samples "$(SAMPLES)")

growth: build ## what grows with stored events and merchants, as tables and plots: make growth EVENTS=1000000,10000000 MANY=1000,100000 (DATA=folder goes on from there)
	@$(GO) build -o $(BIN)/growth ./infra/loadtest/growth && $(BIN)/growth -events "$(or $(EVENTS),1000000,10000000,100000000)" -many "$(or $(MANY),1000,100000,1000000)" \
	  $(if $(DATA),-data "$(DATA)") $(if $(BESIDE),-beside "$(BESIDE)")

bench: build ## the budget table of this machine, from real runs of the real binary; JSON=file for programs besides
	$(GO) run ./infra/loadtest/bench $(if $(JSON),-json $(JSON))

coldstart: services ## how each function's process starts, idles and ends, on real servers
	$(BIN)/services-tool run -- $(GO) run ./infra/loadtest/coldstart

bench-quick: build ## the same in a minute; ONLY="one event" of the pipeline's rows those that are named so, PROFILE=file their CPU profile
	$(GO) run ./infra/loadtest/bench -quick $(if $(JSON),-json $(JSON)) $(if $(ONLY),-only "$(ONLY)") $(if $(PROFILE),-profile $(PROFILE))

# ingest, journal, broker, archive, ETL, summary, reports, reprocess.
bench-stages: ## each stage alone, by its benchmarks, with allocations: make bench-stages BENCHTIME=1s
	$(GO) test -run '^$$' -bench '^Benchmark(Ingest|Append|Mark|Delivery|Publish|Handle|Close|Records|Dashboard|Documents|Replay)$$' -benchmem \
	  -benchtime $(or $(BENCHTIME),1s) ./functions/... ./shared/store/embedded ./eventing/local ./shared/replay

lint: $(GOLANGCI) ## static checks and import rules
	$(GOLANGCI) run ./...

$(GOLANGCI):
	@mkdir -p $(BIN)/tools && cd $(BIN)/tools && \
	  printf 'module tools\n\ngo 1.26.0\n' > go.mod && \
	  $(GO) get github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 && \
	  $(GO) build -o ../golangci-lint-v2.15.0 github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# Inputs are counted, not seconds: a target that is stopped by the clock can fail with "context deadline exceeded"
# although it found nothing (golang/go#75804).
fuzz: ## run every fuzz target on FUZZTIME inputs (30000x)
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test $$pkg -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),30000x) -fuzzminimizetime 1000x; done; done

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

clean: ## remove what was built; data and the servers for tests stay
	@[ ! -d $(BIN) ] || find $(BIN) -mindepth 1 -maxdepth 1 ! -name 'services*' -exec rm -rf {} +

# kind and ko are built from their modules; Kubernetes' own kubectl and Docker must be there.
.PHONY: kind-up deploy kind-down
KIND := $(BIN)/kind-v0.33.0
KO   := $(BIN)/ko-v0.19.1

kind-up: $(KIND) ## a Knative cluster on this machine, with Kafka's operator (needs Docker and kubectl)
	@infra/kind/up.sh $(KIND)

deploy: $(KIND) $(KO) ## build the functions and bring them, their wiring and their stores to the kind cluster
	@infra/kind/deploy.sh $(KIND) $(KO)

kind-down: $(KIND) ## remove the kind cluster and its data
	@infra/kind/down.sh $(KIND)

$(KIND):
	@GOBIN=$(CURDIR)/$(BIN)/tools $(GO) install sigs.k8s.io/kind@v0.33.0 && mv $(BIN)/tools/kind $@

$(KO):
	@GOBIN=$(CURDIR)/$(BIN)/tools $(GO) install github.com/google/ko@v0.19.1 && mv $(BIN)/tools/ko $@

.PHONY: bench-merchants
bench-merchants: ## what may go by the number of merchants: MERCHANTS=100000 (1000000 takes much longer)
	@$(GO) build -o $(BIN)/bench ./infra/loadtest/bench && $(BIN)/bench -merchants $(or $(MERCHANTS),100000)

.PHONY: cluster test-cluster bench-cluster
cluster: ## run Footfall as a cluster does: real servers, each function as two processes (data in ./data/cluster)
	@$(GO) build -o $(BIN)/cluster ./infra/cluster/cmd && exec $(BIN)/cluster

test-cluster: ## stories and outages against such a cluster, some ten minutes (OUTAGE=3m takes parts away for longer)
	FOOTFALL_TEST_CLUSTER=1 $(GO) test ./infra/cluster -count=1 -v -timeout $(if $(OUTAGE),4h,60m) -args $(if $(OUTAGE),-outage $(OUTAGE))

bench-cluster: ## the budget table's rows against such a cluster; the MongoDB stand-in bounds it
	$(GO) run ./infra/loadtest/bench -cluster
