# Two commands: `make demo` and `make test`. Both install what they need into .venv first, once.
#   make setup PYTHON=python3.12          with another interpreter (3.10 to 3.13)
#   make setup PIP_ARGS='--index-url …'   with other options for pip, for instance an index of CPU builds

PYTHON ?= python3
PIP_ARGS ?=
# one worker for all tests of a file, which share fixtures that take seconds
PYTEST_ARGS := -n auto --dist=loadfile
BIN := .venv/bin
REQUIREMENTS := $(filter-out requirements/bench.txt requirements/audit.txt,$(wildcard requirements.txt requirements/*.txt))
DEMO := --dataset=demo --save_path=demo
# a small pretrained network, small images and few steps: what a CPU with two cores trains in a minute
DEMO_TRAINING := @experiments/demo.args

.PHONY: setup demo test pytest test-long test-lowest coverage audit browser lint bench bench-gpu clean

setup: .venv/ready

.venv/ready: $(REQUIREMENTS) constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 10) <= sys.version_info[:2] <= (3, 13) else \
		"Python 3.10 to 3.13 is needed, not %d.%d; name one: make setup PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt -r requirements/dev.txt
	touch $@

demo: setup
	test -f anno/demo_photo.json -a -d datasets/data/demo || \
		$(BIN)/python main.py --phase=prepare --dataset=demo --force
	$(BIN)/python main.py --phase=train $(DEMO) $(DEMO_TRAINING)
	@echo "Look at logs/demo/log/contact_sheet.png; the figures are in logs/demo/log/result.json."
	@echo "Draw a sketch of your own:   $(BIN)/python main.py --phase=serve --save_path=demo"
	@echo "That network knows twelve drawn shapes. One that knows 125 categories of photos comes with the program:"
	@echo "  $(BIN)/python main.py --phase=search --query drawing.png --gallery ~/Pictures"
	@echo "  $(BIN)/python main.py --phase=serve --gallery ~/Pictures"

# the linters beside the tests; it fails if either does
test: setup
	$(MAKE) --jobs=2 lint pytest

pytest: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) --durations=10

# every fault at its full number: half an hour on two cores; the table of docs/reliability.md
test-long: setup
	rm -rf logs/reliability
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -m long -n 2 --durations=0
	$(BIN)/python -m tests.reliability.ledger

# the tests with the lowest version that the requirements name of every package, in .venv-lowest; twenty minutes on
# two cores, and 8 GB of disk. Left out: tests/reliability (faults on purpose), and ruff and mypy, whose words change
test-lowest: .venv-lowest/ready
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest $(PYTEST_ARGS) --ignore=tests/reliability

.venv-lowest/ready: $(REQUIREMENTS)
	$(PYTHON) -m venv --clear .venv-lowest
	sed -nE 's/ *#.*//; /^(ruff|mypy)>/d; s/>=/==/p' $(REQUIREMENTS) > .venv-lowest/constraints.txt
	.venv-lowest/bin/python -m pip install --quiet $(PIP_ARGS) --constraint .venv-lowest/constraints.txt \
		-r requirements/dev.txt
	touch $@

# lines of the four rooms that no test runs; loading processes and other commands are not looked into
coverage: setup
	$(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=
	for room in losses models retrieval datasets; do \
		$(BIN)/coverage report --include="$$room/*" || exit 1; done

# what PyPI knows of vulnerabilities in the pinned versions; a version that it does not know fails, too
audit: setup .venv/audit
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

.venv/audit: requirements/audit.txt constraints.txt .venv/ready
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt -r requirements/audit.txt
	touch $@

# a Chromium for the test of the page: Debian's where that can be had, else Playwright's own
browser: setup
	command -v chromium || (test "$$(id -u)" = 0 && command -v apt-get && apt-get update --quiet && \
		apt-get install --quiet --yes chromium) || $(BIN)/playwright install --with-deps chromium

# what is claimed about speed, measured here: half an hour on two cores; results in benchmarks/results
bench: setup .venv/bench
	OMP_WAIT_POLICY=passive $(BIN)/python -m benchmarks

# the same on a CUDA device, and the tests that need one: at most eight minutes
bench-gpu: setup .venv/bench
	timeout 120 $(BIN)/python -m pytest -m cuda
	timeout 350 $(BIN)/python -m benchmarks --device=cuda || $(BIN)/python -m benchmarks.tables

.venv/bench: requirements/bench.txt constraints.txt .venv/ready
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt -r requirements/bench.txt
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-lowest logs/demo datasets/data/demo anno/demo_sketch.json anno/demo_photo.json
