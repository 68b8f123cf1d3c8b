# make demo   find a graph ticket and a ticket of a diffusion model on embedded data, and say where their reports lie
# make test   the whole test suite
# make lint   ruff, formatting, types
# make docs   build the documentation into site/
# Every target sets up .venv by itself, and again only when pyproject.toml or constraints.txt changed.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup-stamp

.PHONY: demo test lint docs setup

demo: setup
	$(BIN)/glt find
	$(BIN)/gen-tickets find

test: setup
	$(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/mkdocs build --strict --quiet

setup:
	@now=$$(cat pyproject.toml constraints.txt | $(PYTHON) -c 'import hashlib,sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'); \
	if [ "$$(cat $(STAMP) 2>/dev/null)" != "$$now" ]; then \
	  echo "setting up .venv (several minutes the first time)"; \
	  rm -f $(STAMP); \
	  { $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv; } && \
	  $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]" && \
	  echo "$$now" > $(STAMP); \
	fi
