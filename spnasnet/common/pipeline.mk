# images → .bin; checkpoint → ONNX → offline model → results; Top-1 and Top-5; throughput.
# Read from top to bottom. A model folder's Makefile names its scripts and files, then
# includes this. Make only makes what is missing; what was made from something else than
# what is at hand is deleted first (end of plan.mk). One make at a time in a folder.
include common/plan.mk
.PHONY: help setup source weights demo $(CHAIN) f32 steps again perf-files run-name \
  sweep doctor clean FORCE
FORCE:

help: ## this list
	@echo '$(TITLE): make <verb> [NAME=value …]'
	@echo 'A verb runs those before it where something changed.'; echo
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-11s %s\n",$$1,$$2}' $(MAKEFILE_LIST)
	@awk -f common/help.awk $(settings_in)
	@printf '\n  make eval BS=16 DATA=/data/imagenet\n      takes weights/$(WEIGHTS_FILE)\n'

# ---- before the first step ----
setup: $(ready) ## make .venv with the locked packages (done when it is needed)
	@echo 'setup: $(py) is ready'
$(VENV)/.ready: $(dir $(VENV))requirements.lock
	@python3 -m common.install $(VENV) $<
	@touch $@

source: ## clone the authors' network at its pinned commit, and patch it
ifneq ($(SOURCE_URL),)
	@test ! -e $(SOURCE_DIR) || \
	  { echo 'error: $(SOURCE_DIR) is there — remove it, then make source'; exit 1; }
	@rm -rf $(SOURCE_DIR).part
	git clone --quiet --no-checkout $(SOURCE_URL) $(SOURCE_DIR).part
	git -C $(SOURCE_DIR).part checkout --quiet $(SOURCE_COMMIT)
	$(if $(PATCHES),git -C $(SOURCE_DIR).part apply $(abspath $(PATCHES)))
	mv $(SOURCE_DIR).part $(SOURCE_DIR)
	$(SOURCE_LAST)
	@echo 'source: $(SOURCE_DIR) is at $(SOURCE_COMMIT)'; $(call next,eval NET=upstream)
else
	@echo 'source: the network comes with timm, there is nothing to clone'
endif

weights: | $(ready) ## download the official checkpoint
	$(py) -m common.model.weights --published published.json --dest weights
	@$(call next,eval DATA=/path/to/imagenet)

# ---- demo inputs: generated images, seeded weights ----
demo: ## the whole way on generated images and seeded weights
	+@$(MAKE) --no-print-directory steps WEIGHTS=demo DATA=
	@$(if $(filter 0,$(MAKELEVEL)),$(py) -m common.speed.table --demo $(OUT)/demo --of . $(run))
run-name:
	@echo $(run)
steps: $(score) $(online) $(perf)
$(OUT)/demo/data/DEMO.txt: | $(ready) $(mark)
	$(made)
	$(py) -m common.data.demo $(demo_images_args)
$(OUT)/demo/%_demo.pth: | $(OUT)/demo/data/DEMO.txt
	$(made)
	$(py) -m common.data.demo $(demo_weights_args)
$(mark):
	@mkdir -p $(@D) && echo '$(TITLE)' > $@ || \
	  { echo 'error: $(OUT) cannot be written — give another folder: OUT=/path' >&2; exit 1; }

# ---- images → .bin: every time, since it looks for images that changed ----
prep: $(prep)/manifest.json ## images → .bin
	@$(call next,onnx)
$(prep)/manifest.json: FORCE | $(ready) $(mark) $(demo_images)
	$(py) $(PREPROCESS) $(if $(kind),--input $(INPUT)) $(limit:%=--limit %) $(partial)

# ---- checkpoint → ONNX → offline model ----
onnx: $(for_atc) ## checkpoint → ONNX, checked against torch
	$(call end,$(for_atc),om)
$B/$(EXPORTED).onnx: | $(ready) $(mark) $(if $(demo),$(weights))
	$(made)
	$(py) $(firstword $(EXPORT)) $(EXPORT_ARGS)

ifneq ($(quantised),)
$(quantised): $(prep)/manifest.json | $(onnx) $(calib_images)
	$(made)
	$(py) -m common.ascend.amct $(quantise_args)
endif

om: $(om) ## ONNX → offline model for batch BS
	$(call end,$(om),$(after_om))
ifeq ($(OM),)
$B/aipp.cfg: | $(ready) $(mark)
	$(py) -m common.toolchain --out $@
$(om): | $(for_atc) $(if $(kind),$B/aipp.cfg) $(calib_images)
	$(made)
	$(atc) $(atc_args)
endif

# ---- offline model over the bins; the record is written when all are there and agree ----
infer: $(result).json ## offline model over the bins
	$(call end,$(result).json,eval)
$(result).json: $(prep)/manifest.json $(rerun) | $(om)
	$(made)
	@rm -rf $(result) $(result)_summary.json
	$(run_model)
	$(py) -m common.score.against_onnx $(check_args)

# ---- results → Top-1 and Top-5 ----
eval: $(score) ## Top-1 and Top-5, and the verdict on them
	@$(if $(filter $(score),$(MADE)),:,$(py) -m common.score.show $(score))
$(score): $(result).json $(f32_result:%=%.json)
	$(made)
	$(py) $(firstword $(POSTPROCESS)) $(score_args)
.PRECIOUS: $(score)# it stays when its verdict is that Top-1 is too low
ifneq ($(f32_result),)
$(f32_result).json: f32 ; @:
endif
f32:
	+@$(MAKE) --no-print-directory infer PRECISION=f32 PROVIDER=cpu ENGINE=$(engine)

online: $(online) ## Top-1 and speed of torch, on the same bins
	@$(if $(filter $(online),$(MADE)),:,$(py) -m common.score.show $(online))
$(online): $(prep)/manifest.json | $(if $(demo),$(weights))
	$(made)
	$(py) -m common.speed.online $(online_args)

# ---- throughput ----
bench: $(perf) ## throughput of the offline model at batch BS
	@$(if $(filter $(perf),$(MADE)),:,$(py) -m common.speed.table $(perf))
$(perf): $(if $(noisy)$(again),FORCE) | $(bench_needs)
	$(made)
	$(py) $(bench_with)$(again:%= %) $(bench_args)

# `make again bench` measures once more and joins what is there; sweep uses it.
again:
	@:
perf-files:
	@echo $(foreach b,$(batches),$(call perf_of,$b))
sweep: ## throughput at each of BATCHES, then one table
	+@for bs in $(batches); do $(MAKE) --no-print-directory om BS=$$bs; done
	@rm -f $(foreach b,$(batches),$(call perf_of,$b) $(call from_bin_of,$b))
	+@for verbs in $(rounds); do for bs in $(batches); do \
	  $(MAKE) --no-print-directory $$verbs $(SWEEP_MORE) BS=$$bs; done; done
	@$(py) -m common.speed.table $(foreach b,$(batches),$(call perf_of,$b))
	$(SWEEP_KEEP)

doctor: ## versions, what is missing, and the command that fixes it
	@$(if $(wildcard $(py)),$(py),python3) -m common.doctor --engine $(engine)
clean: ## delete what make made in OUT; not weights/ or the authors' clone
	$(call needs,$(wildcard $(OUT)),$(ours),$(not_ours): remove them by hand)
	rm -rf $(OUT)
	@echo 'clean: $(OUT) is gone'
-include ../tools/verbs.mk

# A misspelt verb is an error with the valid ones.
valid := help setup source weights demo $(CHAIN) sweep doctor clean $(if $(here),$(REPOSITORY))
unknown := $(filter-out $(valid) f32 steps again perf-files run-name,$(MAKECMDGOALS))
wrong := $(firstword $(foreach g,$(unknown),$(if $(findstring /,$g),,$g)))
$(call refuse,$(filter $(REPOSITORY),$(wrong)),$(wrong) needs the whole repository: run it there)
$(call refuse,$(wrong),there is no verb $(wrong); there are $(valid))
