# Needs python3 (3.11 or newer), make and the package registry. Everything goes into .venv and demo/.
PYTHON ?= python3
BIN := .venv/bin
PETRIEVE := $(BIN)/python cli.py

.PHONY: setup test torture demo notebook docs bench lock clean

setup: .venv/ready

# The lock names uv too; it comes first because it installs the rest, hard-linked from its cache.
.venv/ready: requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Petrieve needs Python 3.11 or newer")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.lock)
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	mkdir -p .venv/name && ln -sfn $(CURDIR) .venv/name/petrieve # mypy knows a package by the folder that it is in
	touch $@

test: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The long forms of the tests that break things on purpose; docs/reliability.md has what they found.
torture: .venv/ready
	$(BIN)/python -m pytest -m torture -s

demo: .venv/ready
	rm -rf demo
	$(PETRIEVE) demo demo

# The notebook, with what it shows today.
notebook: .venv/ready
	mkdir -p demo/notebook
	$(BIN)/python -c 'import nbclient, nbformat; file = "examples/dogs_vs_cats.ipynb"; cells = nbformat.read(file, 4); \
		nbclient.execute(cells, cwd="demo/notebook", record_timing=False); nbformat.write(cells, file)'

# The documentation as a site, in build/site/html; a link that leads nowhere ends it. To look at it:
# python -m http.server --directory build/site/html
docs: .venv/ready
	$(BIN)/python docs/site/make_site.py build/site

# What ours is measured beside is installed for that alone.
bench: .venv/ready
	$(BIN)/python benchmarks/figures.py
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock timm imagededup
	$(BIN)/python benchmarks/embed.py

lock:
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --extra dev --extra bucket --extra gallery --extra onnx --extra ray --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
