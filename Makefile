# `make demo` and `make test` are enough on a bare Debian 12 with git, make, a Rust toolchain and root or sudo.
# A second run reuses what the first one built.

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint bench build fmt clean

help:
	@echo "make demo    build, create a shop of 100,000 rows in ./demo-data, serve it on 127.0.0.1:6543"
	@echo "make test    install and start real servers, run every check and test, stop the servers"
	@echo "make soak    random sessions against a model for an hour (EPOCH_SOAK_SECONDS); a seed repeats a failure"
	@echo "make lint    formatting, clippy, licences and advisories only"
	@echo "make bench   figures against PostgreSQL itself and PgBouncer, into docs/benchmarks.md"
	@echo "make build   target/debug/epoch"
	@echo "make clean   remove what tests and demo made (not the compiler's output)"

demo:
	@scripts/demo.sh

test:
	@scripts/test.sh

soak:
	@scripts/soak.sh

lint:
	@scripts/lint.sh

bench:
	@scripts/bench.sh

build:
	@scripts/build.sh

fmt:
	cargo fmt --all

clean:
	rm -rf .test demo-data
