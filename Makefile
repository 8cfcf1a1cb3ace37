# Fans a verb out over the model folders, and looks after the repository as a whole. `make` alone prints help.
# Each verb and variable is common/model.mk's; this file only passes them on.
ifneq ($(filter 3.% 4.0 4.0.% 4.1 4.1.%,$(MAKE_VERSION)),)
$(error GNU Make 4.2 or newer is needed, this is $(MAKE_VERSION) (macOS: install `make` and call `gmake`))
endif
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

ALL := $(patsubst %/model.py,%,$(wildcard */model.py))
MODEL :=
TIMM :=
# For `make new`, MODEL is a folder that is not there yet.
MODELS := $(or $(if $(filter new,$(MAKECMDGOALS)),,$(MODEL)),$(ALL))
BS := 8
ENGINE := auto
OUT := build
PYTHON :=
FROM :=
KILLS := 50
CASES := 20000
VERBS := source weights prep onnx check-net check-ops om infer eval online bench bench-bins fastest predict compare push remote pull clean
PASSED := BS DATA WEIGHTS ENGINE RUNNER PRECISION CALIB PROVIDER INPUT BINS LIMIT OPSET NET SOC DEVICE OM ATC_FLAGS LOOP BATCHES REPEATS JOBS \
  ALLOW_PARTIAL OUT PYTHON DEBUG HOST VERB REMOTE_DIR SSH AS_BUILT ADDRESS IMAGE PNG LAYERS

# Settings come from the command line, not from the environment.
$(foreach v,$(PASSED),$(if $(filter environment%,$(origin $v)),$(eval $v :=)))
override given := $(foreach v,$(.VARIABLES),$(if $(filter command%,$(origin $v)),$v))
override unknown := $(filter-out KILLS CASES FROM TIMM MODEL MODELS $(PASSED) MAKEFLAGS MAKEOVERRIDES,$(given))
ifneq ($(unknown),)
$(error unknown variable $(unknown); settable are: MODELS MODEL FROM TIMM KILLS CASES $(PASSED))
endif
squote := '
dquote := "
define newline


endef
$(foreach v,FROM TIMM MODEL MODELS $(PASSED),$(if $(findstring $(newline),$(value $v)),$(error $v= has a line break in it, which is not allowed)))
$(foreach v,KILLS CASES FROM TIMM MODEL MODELS $(PASSED),$(foreach c,$$ $(squote) $(dquote) ` \ ; & | < >,$(if $(findstring $c,$(value $v)),\
  $(error $v=$(value $v): the character $c is not allowed in a value))))
ifneq ($(filter-out $(ALL),$(MODELS)),)
$(error MODELS=$(MODELS): there is no $(filter-out $(ALL),$(MODELS)); choose from $(ALL))
endif
# One picture, and one standard input. OUT=answer.png is a picture of predict's (common/model.mk).
for_one := $(if $(PNG),PNG=$(PNG),$(addprefix OUT=,$(and $(filter predict,$(MAKECMDGOALS)),$(filter %.png %.PNG,$(OUT))))) $(addprefix IMAGE=,$(filter -,$(IMAGE)))
ifneq ($(and $(word 2,$(MODELS)),$(strip $(for_one))),)
$(error $(firstword $(for_one)) is for one model: say which, as in MODEL=$(firstword $(ALL)))
endif
ifeq ($(strip $(MODELS)),)
$(error MODELS= is empty; choose from $(ALL))
endif

# Relative paths mean this folder, not the model's.
empty :=
from_here = $(if $(filter command%,$(origin $1)),$(if $(findstring ://,$($1)),,$(if $(filter-out /% demo,$(firstword $($1))),$1='$(CURDIR)/$($1)')))
python_here := $(if $(PYTHON),$(if $(findstring /,$(PYTHON)),$(if $(filter-out /%,$(firstword $(PYTHON))),PYTHON='$(CURDIR)/$(PYTHON)')))
sub = $(MAKE) --no-print-directory -C $1 $(call from_here,DATA) $(call from_here,WEIGHTS) $(call from_here,CALIB) $(python_here) \
  $(if $(IMAGE),SEEN_FROM='$(CURDIR)')
VENV := .venv
# As common/model.mk chooses it.
engine := $(if $(filter auto,$(ENGINE)),$(if $(filter ascend%,$(shell bash common/ascend_env.sh)),ascend),$(ENGINE))
engine_of = $(or $(engine),$(filter openvino onnxruntime,$(firstword $(file <$1/$(OUT)/fastest))),openvino)
venv := $(if $(PYTHON),,$(VENV)/.ready)
py := '$(or $(PYTHON),$(VENV)/bin/python)'
tab := $(empty)	$(empty)
each = $(foreach m,$(MODELS),+@$(call sub,$m) $1$(newline)$(tab))

.PHONY: help setup demo sweep sweep-build report readme check-readme doctor test faults benchmarks scale test-scale test-readme new sync check-sync $(VERBS) $(foreach v,$(VERBS) demo-eval,$(MODELS:%=$v-%))

help: ## this list
	@echo 'Five ImageNet classifiers through offline inference, on an Ascend NPU or on this CPU.'
	@echo 'make <verb> [MODELS="A B"] [VARIABLE=value …]'; echo
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  %-12s %s\n",$$1,$$2}' Makefile
	@echo; echo 'For each of MODELS, in its folder (a verb runs the verbs before it as needed):'
	@awk -F':.*## ' '/^($(subst $(empty) $(empty),|,$(VERBS))):.*## /{printf "  %-12s %s\n",$$1,$$2}' common/model.mk
	@echo; echo 'Variables: MODELS=$(MODELS)'; echo '  BS=$(BS) ENGINE=$(ENGINE) OUT=$(OUT) PYTHON=$(PYTHON) and the rest that `make -C ShiftViT` explains'
	@echo; echo 'Examples:'; echo '  make demo MODELS=ShiftViT        no data, weights or NPU needed'
	@echo '  make -C ShiftViT eval BS=16 DATA=/data/imagenet'

setup: $(venv) ## make .venv with the pinned requirements (done on demand; not when PYTHON= is given)
	@echo 'setup: $(py) is ready'
$(VENV)/.ready: requirements.txt
	python3 common/setup_env.py $(VENV) $<
$(VENV)/.ready-dev: requirements-dev.txt $(VENV)/.ready
	$(VENV)/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@

define fan
$1: $$(MODELS:%=$1-%)
$$(MODELS:%=$1-%): $1-%: | $$(venv)
	+@$$(call sub,$$*) $1

endef
$(foreach v,$(VERBS),$(eval $(call fan,$v)))
demo-eval: $(MODELS:%=demo-eval-%)
$(MODELS:%=demo-eval-%): demo-eval-%: | $(venv)
	+@$(call sub,$*) demo-eval WEIGHTS=demo DATA=demo

# Timing one model at a time, after all are built: side by side they would spoil each other's figures.
demo: | demo-eval ## the whole way for MODELS on generated images and seeded weights, then one table
	$(call each,demo-bench WEIGHTS=demo DATA=demo)@:
	@$(py) -m common.speed.table --demo $(OUT)/demo --bs $(BS) --engine $(foreach m,$(MODELS),$(call engine_of,$m)) --folders $(MODELS)
sweep: | sweep-build ## throughput of MODELS at every batch size; kept in results/, `make report` shows it
	$(call each,sweep)@:
sweep-build: | $(venv)
	$(call each,sweep-build)@:
report: | $(venv) ## published and measured figures on one page, report/index.html, with charts
	@$(py) -m tools.report.report --build $(OUT) $(MODELS)
readme: | $(venv) ## write the READMEs' measured tables from results/reference.json; FROM=results/<host>.json renews that first
	@$(py) -m tools.report.readme $(if $(FROM),--from '$(FROM)')
check-readme: | $(venv) ## fail when those tables are not what results/reference.json gives
	@$(py) -m tools.report.readme --check
doctor: ## versions of everything that matters, what is missing, and the command that mends it
	@$(if $(or $(PYTHON),$(wildcard $(VENV)/bin/python)),$(py),python3) -m common.doctor
test: $(if $(PYTHON),,$(VENV)/.ready-dev) ## ruff, the copies of common/, and pytest
	$(py) -m ruff check .
	$(py) tools/sync.py --check
	$(py) -m tools.report.readme --check
	$(py) -m pytest -n 2 --dist loadgroup
faults: $(if $(PYTHON),,$(VENV)/.ready-dev) ## every fault on the real commands, KILLS= of each step and CASES= for each reader: build/faults.md
	@mkdir -p build
	FAULT_KILLS='$(KILLS)' FAULT_CASES='$(CASES)' $(py) -m pytest -n 2 --dist loadgroup -m '' tests/faults --fault-table build/faults.md
	@cat build/faults.md
BENCHMARKS := prep e2e infer precision score startup memory
benchmarks: | $(venv) ## every speed claim, measured against its peers (three quarters of an hour): benchmarks/RESULTS.md
	$(foreach b,$(BENCHMARKS),$(py) -m benchmarks.$b --json build/benchmarks/$b.json$(newline)$(tab))$(py) -m benchmarks.results $(BENCHMARKS)
scale: $(if $(PYTHON),,$(VENV)/.ready-scale) ## eval of one MODEL over a Ray cluster: ADDRESS=auto, or local (docs/scale-out.md)
	+@$(call sub,$(or $(filter $(ALL),$(MODEL)),$(error MODEL=$(MODEL): choose one of $(ALL)))) scale
test-readme: $(if $(PYTHON),,$(VENV)/.ready-dev) ## every line of make in every README, to its end, on few images (half an hour)
	$(py) -m pytest -n 2 -m '' tests/chain/test_readme.py
test-scale: $(VENV)/.ready-dev $(VENV)/.ready-scale ## the tests of `make scale` that need Ray
	$(py) -m pytest -n0 tests/chain/test_scale_out.py
$(VENV)/.ready-scale: requirements-scale.txt $(VENV)/.ready
	$(VENV)/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@
new: | $(venv) ## a folder for one more model: MODEL=name TIMM=resnet18 (CONTRIBUTING.md says what is left to do)
	@$(py) tools/new/new.py '$(MODEL)' '$(TIMM)'
sync: ## write each model folder's copy of common/
	@python3 tools/sync.py
check-sync: ## fail when a copy differs from common/
	@python3 tools/sync.py --check
