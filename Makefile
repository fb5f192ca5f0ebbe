# Each target is one line of the real command. `make demo` and `make test` are the two that a newcomer needs.
PYTHON ?= python3
IMAGE ?= repose
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo table1 ablations figure test test-kernels check metrics-diff compare pictures baseline compile compile-check submit bench lock image test-image test-s3 clean

# Trainings run side by side, JOBS at a time, one thread each. Each is a stage by itself (-s): its inputs are there, and DVC would
# find them in use. DVC waits three seconds for its lock, hence the second try. What fails is run again, and reported, by the
# `dvc repro` that follows.
JOBS ?= 2
SIDE_BY_SIDE = xargs -P $(JOBS) -L 1 sh -c 'dvc repro -s "$$@" || dvc repro -s "$$@" || exit 1' row
SYSTEMS = sed -nE 's/^(.*:)train(.*)/\1train\2 \1evaluate\2/p'  # a line for each: its two stages

demo: .venv/ready  ## set up .venv, run the whole pipeline on the embedded data, show the scores
	@git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true  # a copy without git history
	dvc repro posemaps split
	-dvc stage list --name-only | grep ^train@ | $(SIDE_BY_SIDE)
	dvc repro report
	@echo; cat results/table.md; echo; echo "The picture: results/picture.png"; echo "The report: reports/run/report.html"; echo
	dvc repro

table1: .venv/ready  ## the paper's Table 1: every system on two data sets, by the budget of table1/params.yaml
	dvc repro posemaps split table1/dvc.yaml:street
	-dvc stage list --name-only table1/dvc.yaml | $(SYSTEMS) | $(SIDE_BY_SIDE)
	dvc repro table1/dvc.yaml
	@echo; echo "The table: table1/table/table.md and table.png; what the systems make: figure-fashion.png, figure-street.png"

ablations: .venv/ready  ## train and score the rows of docs/ablations.md, draw its picture
	dvc repro posemaps split
	-dvc stage list --name-only ablations/dvc.yaml | $(SYSTEMS) | $(SIDE_BY_SIDE)
	dvc repro ablations/dvc.yaml && python docs/ablations.py

figure: .venv/ready  ## render, train and score the embedded figure network; its weights go into the package (docs/figure.md)
	dvc repro figure/dvc.yaml
	cp figure/run/figure.safetensors figure/run/figure.safetensors.sha256 src/mannequins/figure/

test: .venv/ready  ## every test
	pytest -n auto --dist loadfile --no-loadscope-reorder

test-kernels: .venv/ready  ## the tests that rounding can move, with the kernels of other processors (tests/kernels.py)
	python tests/kernels.py pytest -n auto --dist loadfile -m floats

test-s3: .venv/ready  ## S3 against Ceph's radosgw, which Debian's packages bring (they are installed if missing, as root)
	python tests/s3/radosgw.py && pytest tests/s3

check: .venv/ready  ## format, lint, types
	ruff format --check . && ruff check . && mypy

metrics-diff: .venv/ready  ## the committed scores beside those of another branch (BASE, else main), as Markdown
	dvc metrics diff --all --md "$${BASE:-main}"

compare: .venv/ready  ## is one of the committed scores worse than another branch's (BASE, else main)? docs/compare.md
	repose compare "$${BASE:-main}"

pictures: .venv/ready  ## the demo's picture of another branch (BASE, else main) and of HEAD, where DVC's cache or remote has it
	@mkdir -p pictures; echo "## Pictures"; echo; \
	for side in before after; do \
	  if [ $$side = before ]; then rev="$${BASE:-main}"; else rev=HEAD; fi; \
	  if dvc get . results/picture.png --rev "$$rev" --force -o pictures/$$side.png >&2; \
	  then echo "- $$side ($$rev): pictures/$$side.png, in this run's artifact \`pictures\`"; \
	  else echo "- $$side ($$rev): not to be had, neither from DVC's cache here nor from a remote; the log says why"; fi; \
	done

baseline:  ## accept the scores of this folder: the stage gates compares later ones with them
	cp metrics.json results/pairs.csv baseline/

compile: .venv/ready  ## each dvc.yaml to Kubeflow: components/ and pipelines/
	repose kfp compile dvc.yaml table1/dvc.yaml

compile-check: .venv/ready  ## is what `make compile` wrote current?
	repose kfp compile --check dvc.yaml table1/dvc.yaml

submit: .venv/ready  ## a run in the cluster of KFP_ENDPOINT, in the environment production; IMAGE by digest, else its own
	repose kfp submit -e production --image "$$IMAGE"

bench: .venv/ready  ## what the README's figures come from
	python -m benchmarks

lock: .venv/ready  ## every version with its hashes, for every Python and platform
	uv pip compile -q --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock

image:  ## the container image of every step, labelled with the commit
	revision=$$(git describe --always --dirty --abbrev=40 --exclude '*') && \
	  docker build $(BUILD_FLAGS) --build-arg PIP_INDEX_URL --build-arg REVISION=$$revision -t $(IMAGE) .

test-image: .venv/ready  ## builds it in a Docker of its own and tries it (root on Debian 12; 15 GB of disk, given back)
	pytest -s -v tests/image/try_image.py

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

clean:  ## forget what the pipeline made (the cache of DVC stays)
	rm -rf data reports runs results
