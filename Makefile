# slackwater: `make help` lists the targets. `make demo` and `make test` need nothing but this.

.DEFAULT_GOAL := help
.PHONY: help setup servers demo test check bench sweep matrix setupsweep matrixalter altersweep matrixcompare lvm matrixfailover clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## install what is missing (by apt), and make .venv with slackwater in it
	@scripts/setup

servers: setup  ## get the MySQL and MariaDB versions that the tests use (into a cache of their own)
	@scripts/setup tests
	@scripts/test-servers

demo: setup  ## the whole story on a throwaway pair: about half a minute
	@.venv/bin/slackwater demo

test: setup servers  ## all tests, on real servers, in two processes: they mostly wait
	@.venv/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: setup  ## lint, types, and the shape of the code
	.venv/bin/ruff check src tests bench
	.venv/bin/mypy
	.venv/bin/pytest -q tests/test_tidy.py

bench: setup  ## slackwater and its gate, beside the method by hand and SYN drop: tables and a plot
	@.venv/bin/python -m bench.switchover
	@.venv/bin/python bench/hold_waiting.py
	@.venv/bin/python -m bench.hold
	@.venv/bin/python -m bench.alter

sweep: setup servers  ## the whole failure sweep (the tests run a part of it)
	@.venv/bin/python -m tests.sweep --jobs 3
	@unshare --net .venv/bin/python -m tests.maintain.sweep

matrix: setup servers  ## `pair setup` of each topology on every server, with TLS and without
	@.venv/bin/python -m tests.setup.matrix

setupsweep: setup servers  ## `pair setup` killed at random moments, its servers too, 30 times on two servers
	@.venv/bin/python -m tests.setup.sweep

matrixalter: setup servers  ## the linter of schema changes against real pairs: every change, server and format
	@SLACKWATER_TEST_EVERY_SERVER=1 .venv/bin/pytest tests/alter/test_lint.py
	@.venv/bin/python -m tests.alter

altersweep: setup servers  ## schema changes cut off at every step, each server killed (half an hour)
	@.venv/bin/python -m tests.alter_run.sweep

matrixcompare: setup servers  ## `pair compare` and the heartbeat on every server (the tests run three)
	@SLACKWATER_TEST_SERVERS=all .venv/bin/pytest -q tests/compare tests/heartbeat

lvm: setup servers  ## snapshots by LVM on Debian's kernel in a virtual machine (the tests skip them where there is no LVM)
	@SLACKWATER_TEST_PATIENCE=20 tests/snapshot/vm/run .venv/bin/python -m pytest -p no:cacheprovider --reruns 0 -s tests/snapshot/test_lvm.py

matrixfailover: setup servers  ## failovers of loaded pairs: each way to lose a server, on every server, with two balancers
	@.venv/bin/python -m bench.failover --all --count 2 --balancers 2

clean:  ## remove .venv and caches
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .hypothesis
