# Everything a developer runs. `make help` lists the targets; CI runs check (5 minutes on two cores), test (under 10),
# conformance (3) and some of the fuzz targets (5): .ci/run. fuzz (15) and stress (12) as wholes run before a release.

GO      ?= go
# Everything is built, and so tested, by this toolchain, which the go command fetches: the standard libraries of older ones
# have known vulnerabilities that we call. `make build TOOLCHAIN=local` takes the one at hand.
TOOLCHAIN ?= go1.27.3
export GOTOOLCHAIN = $(TOOLCHAIN)
BIN     := bin
PKGS    := ./...
# The fuzz targets and how long each runs: make fuzz FUZZTIME=5m
FUZZTIME ?= 30s

.DEFAULT_GOAL := help

## help: list the targets
help:
	@grep -hE '^## ' $(MAKEFILE_LIST) | sed -e 's/^## //' -e 's/: /\t/' | expand -t 20

# The profile tells the compiler where the time goes. It is not named default.pgo, since every dependency would be
# compiled once more for tests that start a program.
# Without cgo there is no C library beside the program: 1.3 MB less of resident memory for each process.
## build: build lateen and lateen-proxy into bin/
build:
	CGO_ENABLED=0 $(GO) build -pgo=proxy/cpu.pgo -o $(BIN)/lateen ./cmd/lateen
	CGO_ENABLED=0 $(GO) build -pgo=proxy/cpu.pgo -o $(BIN)/lateen-proxy ./cmd/lateen-proxy

## test: run all tests, end-to-end ones included (under 10 minutes on two cores)
test:
	$(GO) test -timeout 9m $(PKGS)

## test-race: run the tests of the packages that share memory under the race detector
test-race:
	$(GO) test -race -timeout 20m $(PKGS)

## check: what must hold before a commit: format, vet, staticcheck, house rules, macOS build, no known vulnerability
check: check-format check-vet check-static check-rules check-darwin check-vulnerabilities

check-format:
	@out="$$(gofmt -l $$(git ls-files '*.go'))"; if [ -n "$$out" ]; then echo "not gofmt-ed:"; echo "$$out"; exit 1; fi

check-vet:
	$(GO) vet $(PKGS)

# staticcheck lives in a module of its own, so that its dependencies stay out of the product's.
check-static:
	$(GO) tool -modfile=tools/go.mod staticcheck $(PKGS)

check-rules:
	$(GO) test -count=1 ./test/rules

check-darwin:
	GOOS=darwin $(GO) build -o /dev/null ./cmd/lateen

# Needs the network, or VULNDB=file:///DIR. What could not be checked fails.
check-vulnerabilities:
	GO="$(GO)" ./tools/govulncheck.sh

# Each suite is a module of its own, so that what it tests with stays out of the product's dependencies.
## conformance: run h2spec and gRPC's interop tests on the proxy, and gRPC's xDS client on the control plane
conformance:
	cd test/conformance/h2spec && $(GO) test -count=1 ./...
	cd test/conformance/grpcinterop && $(GO) test -count=1 ./...
	cd test/conformance/grpcxds && $(GO) test -count=1 ./...

# The first run builds a Consul server: some 8 minutes of two cores.
## registries: run the control plane on a real Consul server
registries:
	LATEEN_REGISTRIES=1 $(GO) test -count=1 -timeout 60m -v ./test/registries

## bench: measure the proxy side by side with nginx, HAProxy and Envoy; writes docs/performance.md
bench:
	$(GO) run ./test/bench -write docs/performance.md

## profile: take the profile that `make build` compiles by
profile:
	$(GO) run ./test/bench -only lateen -rows plain,policies,tls,h2,grpc,fixed -rounds 3 -length 3s -profile proxy/cpu.pgo

## bench-controlplane: measure what changes cost the control plane; writes docs/performance.md
bench-controlplane:
	$(GO) run ./test/controlplanebench -services 100,1000,10000 -proxies 10,100,1000 -uses 0,20 -write docs/performance.md

# Two targets at a time on two cores: some 14 minutes, 3 of them to build the instrumented binaries.
## fuzz: run every fuzz target for FUZZTIME (30s)
fuzz:
	./test/fuzz.sh $(FUZZTIME)

# Some 12 minutes on two cores.
## stress: treat the real program as hostile clients and busy operators do; gigabytes of traffic; a thousand changes and twenty new roots under load
stress:
	LATEEN_STRESS=1 $(GO) test -count=1 -timeout 30m -v ./test/stress
	LATEEN_STRESS=1 $(GO) test -count=1 -timeout 30m -v -run 'TestConfigurationChangesUnderLoad|TestCertificatesRotate' ./test/e2e

.PHONY: help build test test-race check check-format check-vet check-static check-rules check-darwin check-vulnerabilities conformance registries bench profile bench-controlplane fuzz stress
