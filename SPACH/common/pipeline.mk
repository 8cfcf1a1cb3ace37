# images → .bin; checkpoint → ONNX → offline model → results → Top-1 and Top-5; throughput.
# Read from top to bottom. A model folder's Makefile names its scripts and files, then
# includes this. Make only makes what is missing; what was made from something else than
# what is at hand is deleted first (common/provenance.py). One make at a time in a folder.
VENV := $(if $(wildcard ../common/pipeline.mk),../.venv,.venv)
include common/settings.mk
# What a model's Makefile may leave out is not taken from the environment.
optional := ATC_OWN SOURCE_URL SOURCE_DIR SOURCE_COMMIT SOURCE_LAST PATCHES DEMO_LIMIT \
  OPSET_DEFAULT MORE_LINKS SIZE RUNNER
$(foreach v,$(optional),$(if $(filter environment,$(origin $v)),$(eval $v :=)))
export DEBUG
.NOTPARALLEL: # timings would spoil each other

# ---- which tools: CANN's, or the stand-ins for them on a CPU ----
py := $(or $(PYTHON),$(VENV)/bin/python)
ready := $(if $(PYTHON),,$(VENV)/.ready)
CHAIN := prep onnx om infer eval online bench
REPOSITORY := predict compare half profile check-net check-ops bench-bins scale push pull
here := $(if $(wildcard ../tools/verbs.mk),$(filter-out push pull,$(REPOSITORY)))
goals := $(filter steps $(CHAIN) $(here),$(MAKECMDGOALS))
loaded := $(ASCEND_HOME_PATH)$(ASCEND_TOOLKIT_HOME)
# Where CANN may be on the disk, as common/ascend/toolkit.py has it.
prefixes := $(HOME)/.local $(patsubst %/bin,%,$(filter %/bin,$(subst :, ,$(PATH))))
roots := /usr/local $(HOME) $(CONDA_PREFIX)
installed := $(firstword $(wildcard $(addsuffix /Ascend/*/set_env.sh,$(roots)) \
  $(addsuffix /lib/python3*/*-packages/ascend/cann-*/set_env.sh,$(prefixes))))
engine := $(if $(CANN_IMAGE),$(ENGINE:auto=ascend),$(ENGINE))
ifeq ($(engine)$(PRECISION),autofp16)
engine := onnxruntime# which rounds on any host
else ifeq ($(engine),auto)
engine := $(if $(loaded),ascend,$(if $(filter bf16 int8,$(PRECISION)),openvino,$(ENGINE_CPU)))
$(if $(and $(installed),$(goals)),$(if $(loaded),,\
  $(error CANN is installed but not loaded: source $(installed) first, \
  or say ENGINE=$(ENGINE_CPU))))
endif
ifeq ($(engine),ascend)
$(if $(filter-out f32 int8,$(PRECISION)),$(error PRECISION=$(PRECISION) is for a CPU; \
  on Ascend say it to atc: ATC_FLAGS=--precision_mode_v2=fp16))
atc := $(py) -m common.ascend.$(if $(CANN_IMAGE),container $(CANN_IMAGE),atc)
$(if $(and $(CANN_IMAGE),$(goals),$(filter auto,$(SOC))),$(error CANN_IMAGE= has no NPU \
  that could be asked for the chip: say SOC=Ascend310P3))
infer := $(py) -m common.ascend.infer
bench := $(or $(ASCEND_PYTHON),python3) -m ais_bench
ending := om
else
$(if $(CANN_IMAGE),$(error CANN_IMAGE= is for an .om: leave out ENGINE=$(ENGINE)))
precise := $(if $(filter-out f32,$(PRECISION)),openvino,$(engine))
precise := $(if $(filter fp16,$(PRECISION)),onnxruntime,$(precise))
$(if $(filter $(precise),$(engine)),,$(error PRECISION=$(PRECISION) needs ENGINE=$(precise)))
$(if $(and $(filter fp16,$(PRECISION)),$(filter-out cann,$(PROVIDER))),\
  $(if $(filter demo steps bench sweep bench-bins,$(MAKECMDGOALS)),\
  $(error PRECISION=fp16 estimates accuracy and says nothing of speed: make eval, or make half)))
$(if $(filter-out cpu,$(PROVIDER)),$(if $(filter onnxruntime,$(engine)),,\
  $(error PROVIDER=$(PROVIDER) needs ENGINE=onnxruntime)))
$(if $(findstring $(comma),$(DEVICE)),$(error DEVICE=$(DEVICE): several need an Ascend host))
export HOST_ENGINE := $(engine)
export HOST_PRECISION := $(PRECISION)
export HOST_PROVIDER := $(PROVIDER)
atc := $(py) -m common.cpu.atc
infer := env PYTHONPATH=common/cpu $(py) -m ais_bench
bench := $(infer)
ending := $(if $(filter openvino,$(engine)),blob,ort)
endif

# ---- which files: demo weights and all that comes of them are in build/demo ----
official := $(wildcard weights/$(WEIGHTS_FILE))
demo := $(filter demo,$(or $(WEIGHTS),$(official),demo))
B := $(OUT)$(if $(demo),/demo)
weights := $(if $(demo),$B/$(firstword $(subst ., ,$(WEIGHTS_FILE)))_demo.pth)
weights := $(or $(weights),$(WEIGHTS),$(official))
demo_images := $(if $(demo),$(if $(filter-out demo,$(DATA)),,$B/data/DEMO.txt))
data := $(if $(demo_images),$B/data,$(DATA))
limit := $(or $(LIMIT),$(if $(demo_images),$(DEMO_LIMIT)))
calib := $(if $(filter int8,$(PRECISION)),$(or $(CALIB),$(if $(demo),$B/data/train)))
calib_images := $(if $(filter $B/data/train,$(calib)),$B/data/DEMO.txt)
kind := $(patsubst %,_%,$(filter-out float32,$(INPUT)))
lower := $(patsubst %,_%,$(filter-out f32,$(PRECISION)))
gpu := $(patsubst %,_%,$(filter-out cpu,$(PROVIDER)))
prep := $B/prep$(kind)
onnx := $B/$(ONNX).onnx
quantised := $(if $(filter ascendint8,$(engine)$(PRECISION)),$B/$(ONNX)_int8.onnx)
for_atc := $(or $(quantised),$(onnx))
om_of = $B/$(foreach BS,$1,$(OFFLINE))$(kind)$(lower)$(gpu).$(ending)

# ---- one offline model for several batches, its gears; used where it is there ----
one_batch := $(filter scale,$(goals))$(filter-out ais_bench,$(RUNNER))# they take no other
dynamic := $(or $(OM),$(if $(one_batch),,$(call om_of,dynamic)))
gears_in = sed -n 's/.*--dynamic_batch_size=\([0-9,]*\).*/\1/p' $(dynamic).json | head -n 1
gears :=
ifeq ($(BS),dynamic)
gears := $(batches)
else ifneq ($(and $(wildcard $(dynamic)),$(wildcard $(dynamic).json)),)
gears := $(subst $(comma), ,$(shell $(gears_in)))
endif
gear := $(filter $(BS),$(gears))
om := $(or $(OM),$(if $(gear)$(filter dynamic,$(BS)),$(dynamic),$(call om_of,$(BS))))
$(if $(and $(OM),$(gears)),$(if $(gear),,$(error OM=$(OM) is for the batches $(gears): say BS=)))
$(if $(filter dynamic,$(BS)),$(if $(filter-out prep onnx om online check-ops half,$(goals)),\
  $(error BS=dynamic is for om; then say one of its batches to the other verbs, as BS=8)))
run_of = bs$1_$(engine)$(lower)$(gpu)$(kind)$(patsubst %,_%,$(filter-out ais_bench,$(RUNNER)))
run := $(call run_of,$(BS))
result := $B/result/$(run)
score := $B/eval_$(run).json
perf_of = $B/perf_$(call run_of,$1).json
perf := $(call perf_of,$(BS))
online := $B/online.json

# ---- what is given on the command line must be there ----
offline := $(filter-out prep onnx online,$(goals))
images := $(filter steps prep infer eval online,$(goals))
$(if $(and $(WEIGHTS),$(if $(demo),,x)),$(if $(wildcard $(WEIGHTS)),,\
  $(error WEIGHTS=$(WEIGHTS) does not exist)))
$(if $(OM),$(if $(wildcard $(OM)),,$(error OM=$(OM) does not exist: give the path of an .om)))
data_is := $(findstring ://,$(DATA))$(wildcard $(DATA) $(prep)/manifest.json)
$(if $(filter-out demo,$(DATA)),$(if $(data_is),,$(error DATA=$(DATA) does not exist)))
$(if $(images),$(if $(data),$(if $(and $(DATA),$(demo)),$(if $(or $(WEIGHTS),$(OM)),,\
  $(error DATA= is given but there are no weights: make weights, or say WEIGHTS=/path or \
  WEIGHTS=demo))),$(error the weights are real ($(weights)): say DATA=/path/to/imagenet)))
$(if $(and $(or $(offline),$(quantised)),$(filter int8,$(PRECISION))),$(if $(calib),,\
  $(error PRECISION=int8 with real weights needs training images: CALIB=/path/to/some/hundred)))

# ---- OUT belongs to one model; only a folder that make marked is used, or cleaned ----
mark := $(OUT)/.made-for
owner := $(file <$(mark))
marked := $(patsubst %/.made-for,%,$(wildcard $(OUT)/*/.made-for))# an OUT inside this one
mine := $(if $(filter-out $(marked),$(wildcard $(OUT)/*)),$(filter "$(TITLE)","$(owner)"),new)
$(if $(filter x x/ x. x./ x..%,x$(OUT)),$(error OUT=$(OUT): name a folder of its own))
$(if $(goals),$(if $(mine),,$(error OUT=$(OUT) holds files that make did not make for \
  $(TITLE)$(if $(owner), but for $(owner)): name another folder)))

# ---- the arguments of each step, which its record must show ----
demo_images_args = images --out $B/data
demo_weights_args = weights --data $B/data --out $(weights)
no_ema := $(if $(filter 0,$(EMA)),--no-ema)
EXPORT_ARGS = $(wordlist 2,99,$(EXPORT)) $(OPSET_ARGS) $(NET_ARGS) $(no_ema)
NET_ARGS = $(patsubst %,--net %,$(filter-out bundled,$(NET)))
OPSET_ARGS = $(addprefix $(OPSET_FLAG) ,$(or $(OPSET),$(OPSET_DEFAULT)))
side := $(or $(SIZE),224)
quantise_args = --model=$(onnx) --output=$(quantised) --calibration=$(calib) --bins=$(prep)
atc_args = --framework=5 --model=$(for_atc) --output=$(basename $(om)) --input_format=NCHW \
  --input_shape="$(INPUT_NAME):$(if $(many),-1,$(BS)),3,$(side),$(side)" \
  $(if $(many),--dynamic_batch_size="$(many)") --soc_version=$(SOC) $(ATC_OWN) $(ATC_FLAGS) \
  $(if $(kind),--insert_op_conf=$B/aipp.cfg --enable_small_channel=1) \
  $(if $(quantised),,$(calib:%=--calibration=%))
after_om = infer$(if $(filter dynamic,$(BS)), BS=$(lastword $(gears)))
many = $(if $(gear)$(filter dynamic,$(BS)),$(subst $(space),$(comma),$(strip $(gears))))
check_args = --result $(result) --model $(om) --bins $(prep) $(if $(OM),,--onnx $(onnx))
partial := $(if $(filter 1,$(ALLOW_PARTIAL)),--allow-partial)
score_args = $(wordlist 2,99,$(POSTPROCESS)) --manifest $(prep) --json $(score) $(partial) \
  $(if $(filter 1,$(ALLOW_BELOW)),--allow-below) \
  $(if $(lower),--against $(subst $(lower),,$(result)))
online_args = --weights $(weights) --bins $(prep) --json $(online) --net $(NET) $(no_ema)
dym := $(if $(gear),--dymBatch $(BS))
device := $(if $(filter 0,$(DEVICE)),,--device $(DEVICE))
# By time where LOOP does not say otherwise; on an NPU, ModelZoo's loops where nothing is said.
# A demo shows a figure; bench and sweep measure it.
seconds := $(if $(LOOP),,$(or $(SECONDS),$(if $(filter ascend,$(engine)),,\
  $(if $(filter demo,$(goals)),1,5))))
loop := $(if $(seconds),,--loop $(or $(LOOP),$(LOOPS)))
bench_args = --json $(perf) --model $(om) --repeats $(if $(filter ascend,$(engine)),1,3) \
  $(seconds:%=--seconds %) -- $(bench) --model $(om) $(loop) --batchsize $(BS) $(dym) $(device)
# A noisy figure is measured again when bench is asked again.
noisy = $(if $(filter bench,$(goals)),$(shell grep -ls '^ "noise": "[^"]' $(perf)))
# How the offline model is run, and timed; spnasnet's page has other tools too.
run_model = $(infer) --model $(om) --input $(prep) --output $B/result --output_dirname $(run) \
  --outfmt $(OUTFMT) --batchsize $(BS) $(dym) $(device)
bench_with := -m common.speed.bench
timed = $(om)
# A host's speed wanders over minutes: a sweep comes to each batch twice.
rounds = $(if $(filter-out ais_bench,$(RUNNER)),1,1 2)
again := $(if $(filter 2,$(SWEEP_ROUND)),--again)
-include benchmark.mk

# What does not fit is deleted here. Where the weights are not at hand, nothing could make an
# ONNX: then what was made of it elsewhere is taken as it is.
can_export := $(or $(demo),$(wildcard $(weights)))
link = $1 '$(strip $2)'
links = $(if $(demo_images),$(call link,$(demo_images),$(demo_images_args))) \
  $(if $(demo),$(call link,$(weights),$(demo_weights_args))) \
  $(if $(OM),,$(if $(can_export),$(call link,$B/$(EXPORTED).onnx,$(EXPORT_ARGS)) $(MORE_LINKS)) \
  $(if $(quantised),$(call link,$(quantised),$(quantise_args))) \
  $(if $(kind),$(call link,$B/aipp.cfg,--out $B/aipp.cfg)) $(call link,$(om),$(atc_args))) \
  $(call link,$(result),$(check_args)) $(call link,$(score),$(score_args)) \
  $(call link,$(online),$(online_args)) $(call link,$(perf),$(bench_args))
ifneq ($(and $(goals),$(wildcard $B/.),$(if $(dry_run),,x),$(shell command -v $(py))),)
nothing := $(shell $(py) -m common.provenance $(links))
endif

.PHONY: help setup source weights demo $(CHAIN) f32 steps timed sweep doctor clean FORCE
FORCE:
# A verb ends with a line that names its product, and what a person does next.
made = $(eval MADE += $@)
inside := $(subst x$(PWD)/,,x$(CURDIR))# a path with spaces is no list of words
in := $(if $(findstring x$(PWD)/,x$(CURDIR)),-C $(inside) )
same := $(foreach v,$(filter-out $(lists) $(if $(filter dynamic,$(BS)),BS),$(given)),$v=$($v))
next = $(if $(filter 0,$(MAKELEVEL)),echo 'next: make $(in)$1$(if $(same), $(same))',:)
end = @$(if $(filter $1,$(MADE)),:,echo '$@: $1 is up to date'); $(call next,$2)

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
	@$(if $(filter 0,$(MAKELEVEL)),$(py) -m common.speed.table --demo $(OUT)/demo \
	  --engine $(engine) --bs $(BS))
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
	$(call end,$(om),$(if $(and $(CANN_IMAGE),$(if $(loaded),,x)),push HOST=user@npu,$(after_om)))
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
$(result).json: $(prep)/manifest.json | $(om)
	$(made)
	@rm -rf $(result) $(result)_summary.json
	$(run_model)
	$(py) -m common.score.against_onnx $(check_args)

# ---- results → Top-1 and Top-5 ----
eval: $(score) ## Top-1 and Top-5, and the verdict on them
	@$(if $(filter $(score),$(MADE)),:,$(py) -m common.score.show $(score))
$(score): $(result).json | $(if $(lower),f32)
	$(made)
	$(py) $(firstword $(POSTPROCESS)) $(score_args)
.PRECIOUS: $(score)# it stays when its verdict is that Top-1 is too low
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
$(perf): $(if $(noisy)$(again),FORCE) | $(timed)
	$(made)
	$(py) $(bench_with)$(again:%= %) $(bench_args)

timed:
	@echo $(foreach b,$(batches),$(call perf_of,$b))
sweep: ## throughput at each of BATCHES, then one table
	+@for bs in $(batches); do $(MAKE) --no-print-directory om BS=$$bs; done
	@rm -f $(foreach b,$(batches),$(call perf_of,$b))
	+@for round in $(rounds); do for bs in $(batches); do \
	  SWEEP_ROUND=$$round $(MAKE) --no-print-directory bench $(SWEEP_MORE) BS=$$bs; done; done
	@$(py) -m common.speed.table $(foreach b,$(batches),$(call perf_of,$b))
	$(SWEEP_KEEP)

doctor: ## versions, what is missing, and the command that fixes it
	@$(if $(wildcard $(py)),$(py),python3) -m common.doctor --engine $(engine)
clean: ## delete what make made in OUT; not weights/ or the authors' clone
	$(if $(mine),,$(error OUT=$(OUT) holds files that make did not make: remove them by hand))
	rm -rf $(OUT)
	@echo 'clean: $(OUT) is gone'
-include ../tools/verbs.mk

# A misspelt verb is an error with the valid ones.
valid := help setup source weights demo $(CHAIN) sweep doctor clean $(if $(here),$(REPOSITORY))
wrong := $(firstword $(foreach g,$(filter-out $(valid) f32 steps timed,$(MAKECMDGOALS)),\
  $(if $(findstring /,$g),,$g)))
$(if $(wrong),$(if $(filter $(REPOSITORY),$(wrong)),$(error $(wrong) needs the whole \
  repository: run it there),$(error there is no verb $(wrong); there are $(valid))))
