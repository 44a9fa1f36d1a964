# The only commands to know. Everything runs in .venv, which `setup` makes.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
AS_ROOT := $(shell test "$$(id -u)" = 0 || echo sudo)

.PHONY: setup tools demo docs site gallery pictures timeline fmt lint types test test-giant test-custody test-machine \
	fuzz-decoders newcomer guard guard-record ci clean

setup: .venv/.installed

# Run again whenever the dependencies change.
.venv/.installed: pyproject.toml constraints.txt
	test -x $(PY) || "$(PYTHON)" -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

# Programs that tests compare with, from Debian. CI fails without them; elsewhere their tests are skipped, and say so.
tools:
	command -v exiftool >/dev/null || { $(AS_ROOT) apt-get update -q && \
		$(AS_ROOT) apt-get install -y -q --no-install-recommends libimage-exiftool-perl; }
	command -v chromium >/dev/null || { $(AS_ROOT) apt-get update -q && \
		$(AS_ROOT) apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; }
	command -v valgrind >/dev/null || { $(AS_ROOT) apt-get update -q && \
		$(AS_ROOT) apt-get install -y -q --no-install-recommends valgrind; }
	{ command -v zsh && command -v fish; } >/dev/null || { $(AS_ROOT) apt-get update -q && \
		$(AS_ROOT) apt-get install -y -q --no-install-recommends zsh fish; }

# The main job on real images; again and again, it finds nothing left to do.
demo: setup
	$(PY) examples/demo_inputs.py out/demo-inputs
	$(PY) -m rayjobs run examples/demo.yaml

# The reference pages from the code, and the pictures of every chart.
docs: setup
	$(PY) -m docs.generate

# The documentation as a web site that opens from the disk; any warning ends it.
site: setup
	$(PY) -m docs.site out/site

gallery: setup
	$(PY) -m pipelines.charts.gallery docs

# One run of 100 small pictures, process by process, into docs/images; for a machine that does nothing else.
timeline: setup
	$(PY) -m benchmarks.timeline

# The pictures of the report in README and tutorial, from a run of the demo in a new directory.
pictures: setup tools
	$(PY) -m docs.pictures

fmt: setup
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup
	$(PY) -m mypy

test: setup
	$(PY) -m pytest

# An image of 40,000 x 40,000 pixels within 1 GiB of memory; takes minutes, so it is no part of `test`.
test-giant: setup
	$(PY) -m pytest tests/giant/forty_thousand.py

# Two thousand histories of a user's files and a job over them; CI tries a share of them with the other tests.
test-custody: setup
	RAYJOBS_CUSTODY_EXAMPLES=2000 $(PY) -m pytest tests/unit/whole_runs/test_custody_machine.py

# Changed files of every format, new ones each time: no crash, no hang, none decoded in two ways. CI tries some.
fuzz-decoders: setup
	RAYJOBS_FUZZ_MUTANTS=$${RAYJOBS_FUZZ_MUTANTS:-200000} $(PY) -m pytest -o faulthandler_timeout=0 tests/unit/image_io/test_decoder_fuzz.py

# What fails in a machine, with the variants that take minutes; some need root.
test-machine: setup
	RAYJOBS_LONG_TESTS=1 $(PY) -m pytest tests/cluster/test_stopped_workers.py tests/cluster/test_node_death.py \
	  tests/cluster/test_out_of_memory.py tests/cluster/test_crash_resume.py

# A clone in a new directory, every block of the README, and the reports in Chromium; CI does it without clone and set-up.
newcomer: setup tools
	$(PY) -m tests.newcomer

# Instructions of the kernels, the queue, the ledger and the planner against those recorded; CI runs it with the tests.
guard: setup
	$(PY) -m benchmarks.guard

guard-record: setup
	$(PY) -m benchmarks.guard --record

ci: lint types test

clean:
	rm -rf .venv out build .pytest_cache .mypy_cache .ruff_cache .hypothesis
