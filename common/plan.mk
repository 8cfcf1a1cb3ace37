# What the settings amount to: which tools run, on which files, with which arguments; and
# what cannot be. The steps are in common/pipeline.mk, which includes this.
VENV := $(if $(wildcard ../common/plan.mk),../.venv,.venv)
include common/settings.mk
# What a model's Makefile may leave out is not taken from the environment.
optional := ATC_OWN SOURCE_URL SOURCE_DIR SOURCE_COMMIT SOURCE_LAST PATCHES DEMO_LIMIT \
  OPSET_DEFAULT MORE_LINKS SIZE RUNNER
$(foreach v,$(optional),$(if $(filter environment,$(origin $v)),$(eval $v :=)))
export DEBUG
.NOTPARALLEL: # timings would spoil each other

py := $(or $(PYTHON),$(VENV)/bin/python)
ready := $(if $(PYTHON),,$(VENV)/.ready)
CHAIN := prep onnx om infer eval online bench
REPOSITORY := predict compare half profile check-net check-ops bench-bins scale push pull
here := $(if $(wildcard ../tools/verbs.mk),$(filter-out push pull,$(REPOSITORY)))
files := $(foreach g,$(MAKECMDGOALS),$(if $(findstring /,$g),$g))# such as build/net.onnx
goals := $(strip $(filter steps $(CHAIN) $(here),$(MAKECMDGOALS)) $(files))
timed := $(filter steps bench bench-bins,$(MAKECMDGOALS))$(findstring perf_,$(files))

# ---- which tools: CANN's, or the stand-ins for them on a CPU ----
loaded := $(ASCEND_HOME_PATH)$(ASCEND_TOOLKIT_HOME)
# Where CANN may be on the disk, as common/ascend/toolkit.py has it.
prefixes := $(HOME)/.local $(patsubst %/bin,%,$(filter %/bin,$(subst :, ,$(PATH))))
roots := /usr/local $(HOME) $(CONDA_PREFIX)
installed := $(firstword $(wildcard $(addsuffix /Ascend/*/set_env.sh,$(roots)) \
  $(addsuffix /lib/python3*/*-packages/ascend/cann-*/set_env.sh,$(prefixes))))

# ENGINE=auto takes the first that applies.
ifneq ($(ENGINE),auto)
engine := $(ENGINE)
else ifneq ($(CANN_IMAGE),)
engine := ascend
else ifeq ($(PRECISION),fp16)
engine := onnxruntime# it rounds to float16, on any host
else ifneq ($(loaded),)
engine := ascend
else
engine := $(if $(filter bf16 int8,$(PRECISION)),openvino,$(ENGINE_CPU))
$(call refuse,$(and $(installed),$(goals)),CANN is installed but not loaded: \
  source $(installed) first$(comma) or say ENGINE=$(ENGINE_CPU))
endif

ifeq ($(engine),ascend)
atc := $(py) -m common.ascend.$(if $(CANN_IMAGE),container $(CANN_IMAGE),atc)
infer := $(py) -m common.ascend.infer
bench := $(or $(ASCEND_PYTHON),python3) -m ais_bench
ending := om
$(call refuse,$(filter-out f32 int8,$(PRECISION)),PRECISION=$(PRECISION) is for a CPU; \
  on Ascend say it to atc: ATC_FLAGS=--precision_mode_v2=fp16)
$(call refuse,$(and $(CANN_IMAGE),$(goals),$(filter auto,$(SOC))),CANN_IMAGE= has no NPU \
  that could be asked for the chip: say SOC=Ascend310P3)
else
export HOST_ENGINE := $(engine)
export HOST_PRECISION := $(PRECISION)
export HOST_PROVIDER := $(PROVIDER)
atc := $(py) -m common.cpu.atc
infer := env PYTHONPATH=common/cpu$(if $(PYTHONPATH),:"$(PYTHONPATH)") $(py) -m ais_bench
bench := $(infer)
ending := $(if $(filter openvino,$(engine)),blob,ort)
$(call refuse,$(CANN_IMAGE),CANN_IMAGE= is for an .om: leave out ENGINE=$(ENGINE))
$(call needs,$(filter bf16 int8,$(PRECISION)),$(filter openvino,$(engine)),\
  PRECISION=$(PRECISION) needs ENGINE=openvino)
$(call needs,$(filter fp16,$(PRECISION)),$(filter onnxruntime,$(engine)),\
  PRECISION=fp16 needs ENGINE=onnxruntime)
$(call needs,$(filter-out cpu,$(PROVIDER)),$(filter onnxruntime,$(engine)),\
  PROVIDER=$(PROVIDER) needs ENGINE=onnxruntime)
$(call needs,$(and $(filter fp16,$(PRECISION)),$(timed)$(filter demo sweep profile scale,\
  $(MAKECMDGOALS))),$(filter cann,$(PROVIDER)),PRECISION=fp16 estimates accuracy and says \
  nothing of speed: make eval$(comma) or make half)
$(call refuse,$(if $(filter trtexec,$(RUNNER)),,$(and $(goals),$(filter-out 0,$(DEVICE)))),\
  DEVICE=$(DEVICE) needs an Ascend host)
endif

# ---- which files: demo weights and all that comes of them are in build/demo ----
official := $(wildcard weights/$(WEIGHTS_FILE))
demo := $(filter demo,$(or $(WEIGHTS),$(official),demo))
B := $(OUT)$(if $(demo),/demo)
demo_weights := $B/$(firstword $(subst ., ,$(WEIGHTS_FILE)))_demo.pth
weights := $(if $(demo),$(demo_weights),$(or $(WEIGHTS),$(official)))
demo_images := $(if $(demo),$(if $(DATA),,$B/data/DEMO.txt))
data := $(if $(demo_images),$B/data,$(DATA))
limit := $(or $(LIMIT),$(if $(demo_images),$(DEMO_LIMIT)))
calib := $(if $(filter int8,$(PRECISION)),$(or $(CALIB),$(if $(demo),$B/data/train)))
calib_images := $(if $(filter $B/data/train,$(calib)),$B/data/DEMO.txt)

kind := $(patsubst %,_%,$(filter-out float32,$(INPUT)))
lower := $(patsubst %,_%,$(filter-out f32,$(PRECISION)))
gpu := $(patsubst %,_%,$(filter-out cpu,$(PROVIDER)))
how := $(lower)$(gpu)
other_runner := $(filter-out ais_bench,$(RUNNER))
prep := $B/prep$(kind)
onnx := $B/$(ONNX).onnx
quantised := $(if $(filter ascendint8,$(engine)$(PRECISION)),$B/$(ONNX)_int8.onnx)
for_atc := $(or $(quantised),$(onnx))
om_of = $B/$(foreach BS,$1,$(OFFLINE))$(kind)$(how).$(ending)

# ---- one offline model for several batches: make om BS=dynamic compiles it for BATCHES ----
# Where it is there, each BS that it has runs with it; another BS gets a model of its own.
# make scale and the other runners take models of one batch alone.
one_batch := $(filter scale,$(goals))$(other_runner)
shared := $(or $(OM),$(if $(one_batch),,$(call om_of,dynamic)))
# Its batches (gears) are read from its record: from the flag that it was compiled with.
gears_in = sed -n 's/.*--dynamic_batch_size=\([0-9,]*\).*/\1/p' $(shared).json | head -n 1
gears :=
ifeq ($(BS),dynamic)
gears := $(batches)
else ifneq ($(and $(wildcard $(shared)),$(wildcard $(shared).json)),)
gears := $(subst $(comma), ,$(shell $(gears_in)))
endif
gear := $(filter $(BS),$(gears))
many := $(if $(gear)$(filter dynamic,$(BS)),$(subst $(space),$(comma),$(strip $(gears))))
om := $(or $(OM),$(if $(many),$(shared),$(call om_of,$(BS))))
$(call needs,$(and $(OM),$(gears)),$(gear),OM=$(OM) is for the batches $(gears): say BS=)
$(call refuse,$(and $(filter dynamic,$(BS)),\
  $(filter-out prep onnx om online check-ops half,$(goals))),BS=dynamic is for om; \
  then say one of its batches to the other verbs$(comma) as BS=8)

# The name of a run: $(call run_of,batch,how); `how` is empty for f32 on the engine's own device.
run_of = bs$1_$(engine)$2$(kind)$(other_runner:%=_%)
run := $(call run_of,$(BS),$(how))
result := $B/result/$(run)
f32_result := $(if $(lower),$B/result/$(call run_of,$(BS)))
score := $B/eval_$(run).json
perf_of = $B/perf_$(call run_of,$1,$(how)).json
perf := $(call perf_of,$(BS))
from_bin_of = $(patsubst $B/perf_%,$B/frombin_%,$(call perf_of,$1))# by tools/verbs.mk
online := $B/online.json

# ---- what is given on the command line must be there ----
offline := $(filter-out prep onnx online,$(goals))
images := $(filter steps prep infer eval online,$(goals))
$(call needs,$(if $(demo),,$(WEIGHTS)),$(wildcard $(WEIGHTS)),WEIGHTS=$(WEIGHTS) does not exist)
$(call needs,$(OM),$(wildcard $(OM)),OM=$(OM) does not exist: give the path of an .om)
$(call needs,$(DATA),$(wildcard $(DATA) $(prep)/manifest.json),DATA=$(DATA) does not exist)
$(call needs,$(and $(filter int8,$(PRECISION)),$(CALIB),$(goals),$(if $(dry_run),,x)),\
  $(wildcard $(CALIB)),CALIB=$(CALIB) does not exist)
need_data = the weights are real ($(weights)): say DATA=/path/to/imagenet
$(call needs,$(images),$(data),$(need_data))
$(call refuse,$(and $(OM),$(lower),$(goals)),OM= is one model$(comma) in a precision of its \
  own and with no f32 beside it: leave out OM= or PRECISION=)
$(call refuse,$(and $(goals),$(filter-out %.$(ending),$(OM))),OM=$(OM): ENGINE=$(engine) \
  runs files that end in .$(ending))
$(call refuse,$(and $(filter weights,$(MAKECMDGOALS)),$(goals),$(demo)),\
  say make weights alone first: without weights the other goals mean the demo)
$(call needs,$(and $(images),$(DATA),$(demo)),$(WEIGHTS)$(OM),DATA= is given but there are no \
  weights: make weights$(comma) or say WEIGHTS=/path or WEIGHTS=demo)
$(call needs,$(and $(or $(offline),$(quantised)),$(filter int8,$(PRECISION))),$(calib),\
  PRECISION=int8 with real weights needs training images: CALIB=/path/to/a/few/hundred)

# ---- OUT belongs to one model, whose title is in OUT/.made-for ----
# It may be used when the title is ours, or when it holds no more than folders with titles of
# their own, and by-hand, as the READMEs call theirs. It may be deleted when the title is ours.
mark := $(OUT)/.made-for
owner := $(file <$(mark))
ours := $(filter "$(TITLE)","$(owner)")
inner := $(patsubst %/.made-for,%,$(wildcard $(OUT)/*/.made-for))
strangers := $(filter-out $(inner) $(mark) $(OUT)/by-hand,$(wildcard $(OUT)/* $(OUT)/.[!.]*))
$(call refuse,$(filter x x/ x. x./ x..%,x$(OUT)),OUT=$(OUT): name a folder of its own)
not_ours = OUT=$(OUT) holds files that make did not make for $(TITLE)
$(call refuse,$(and $(goals),$(if $(ours),,$(strangers))),\
  $(not_ours)$(if $(owner), but for $(owner)): name another folder)

# ---- the arguments of each step, which its record must show ----
demo_images_args = images --out $B/data
demo_weights_args = weights --data $B/data --out $(weights)
no_ema := $(if $(filter 0,$(EMA)),--no-ema)
EXPORT_ARGS = $(wordlist 2,99,$(EXPORT)) $(OPSET_ARGS) $(NET_ARGS) $(no_ema)
NET_ARGS = $(patsubst %,--net %,$(filter-out bundled,$(NET)))
OPSET_ARGS = $(addprefix $(OPSET_FLAG) ,$(or $(OPSET),$(OPSET_DEFAULT)))
quantise_args = --model=$(onnx) --output=$(quantised) --calibration=$(calib) --bins=$(prep)
side := $(or $(SIZE),224)
atc_args = --framework=5 --model=$(for_atc) --output=$(basename $(om)) --input_format=NCHW \
  --input_shape="$(INPUT_NAME):$(if $(many),-1,$(BS)),3,$(side),$(side)" \
  $(if $(many),--dynamic_batch_size="$(many)") --soc_version=$(SOC) $(ATC_OWN) $(ATC_FLAGS) \
  $(if $(kind),--insert_op_conf=$B/aipp.cfg --enable_small_channel=1) \
  $(if $(quantised),,$(calib:%=--calibration=%))
check_args = --result $(result) --model $(om) --bins $(prep) $(if $(OM),,--onnx $(onnx))
partial := $(if $(filter 1,$(ALLOW_PARTIAL)),--allow-partial)
score_args = $(wordlist 2,99,$(POSTPROCESS)) --manifest $(prep) --json $(score) $(partial) \
  $(if $(filter 1,$(ALLOW_BELOW)),--allow-below) \
  $(f32_result:%=--against %)
online_args = --weights $(weights) --bins $(prep) --json $(online) --net $(NET) $(no_ema)

# By time where LOOP does not say otherwise; on an NPU, ModelZoo's loops where nothing is said.
# For a demo (its goal here is steps) 1 s is enough; bench and sweep measure longer.
default_seconds := $(if $(filter ascend,$(engine)),,$(if $(filter steps,$(goals)),1,5))
seconds := $(if $(LOOP),,$(or $(SECONDS),$(default_seconds)))
loop := $(if $(seconds),,--loop $(or $(LOOP),$(LOOPS)))
dym := $(if $(gear),--dymBatch $(BS))
device := $(if $(filter 0,$(DEVICE)),,--device $(DEVICE))
# (no --batchsize: ais_bench only scales the figure by it, whatever the batch of the model is)
bench_args = --json $(perf) --model $(om) --batch $(BS) \
  --repeats $(if $(filter ascend,$(engine)),1,3) $(seconds:%=--seconds %) \
  -- $(bench) --model $(om) $(loop) $(dym) $(device)
# A noisy figure is measured again when bench is asked again.
noisy = $(if $(filter bench,$(goals)),$(shell grep -ls '^ "noise": "[^"]' $(perf)))

# ---- how the offline model is run, and timed; spnasnet's page has other tools too ----
run_model = $(infer) --model $(om) --input $(prep) --output $B/result --output_dirname $(run) \
  --outfmt $(OUTFMT) --batchsize $(BS) $(dym) $(device)
bench_with := -m common.speed.bench
bench_needs = $(om)
# A host's speed wanders over minutes: a sweep times every batch, then every batch again. The
# goals again bench join the second round to the first.
rounds = bench $(if $(other_runner),,"again bench")
again := $(if $(filter again,$(MAKECMDGOALS)),--again)
-include benchmark.mk

# ---- what does not fit is deleted here, so that the steps make it again ----
# Where the weights are not at hand, nothing could make an ONNX: then what was made of it
# elsewhere is taken as it is.
can_export := $(or $(demo),$(wildcard $(weights)))
link = $1 '$(strip $2)'
onnx_links = $(if $(can_export),$(call link,$B/$(EXPORTED).onnx,$(EXPORT_ARGS)) $(MORE_LINKS)) \
  $(if $(quantised),$(call link,$(quantised),$(quantise_args)))
links = $(if $(demo_images),$(call link,$(demo_images),$(demo_images_args))) \
  $(if $(demo),$(call link,$(weights),$(demo_weights_args))) \
  $(if $(OM),,$(onnx_links) \
  $(if $(kind),$(call link,$B/aipp.cfg,--out $B/aipp.cfg)) \
  $(call link,$(om),$(atc_args))) \
  $(call link,$(result),$(check_args)) \
  $(call link,$(score),$(score_args)) \
  $(call link,$(online),$(online_args)) \
  $(if $(timed),$(call link,$(perf),$(bench_args)))
ifneq ($(and $(goals),$(wildcard $B/.),$(if $(dry_run),,x),$(shell command -v $(py))),)
# (unexport does not reach $(shell) below make 4.4)
nothing := $(shell env -u PYTHONSAFEPATH $(py) -m common.provenance $(links))
$(call refuse,$(filter-out 0,$(.SHELLSTATUS)),what is stale in $B could not be deleted)
endif

# ---- a verb ends with a line that names its product, and what a person does next ----
made = $(eval MADE += $@)
end = @$(if $(filter $1,$(MADE)),:,echo '$@: $1 is up to date'); $(call next,$2)
next = $(if $(filter 0,$(MAKELEVEL)),echo 'next: make $(in)$(strip $1 $(same))',:)
inside := $(subst x$(PWD)/,,x$(CURDIR))# a path with spaces is no list of words
in := $(if $(findstring x$(PWD)/,x$(CURDIR)),-C $(inside) )
same := $(foreach v,$(filter-out $(lists) $(if $(filter dynamic,$(BS)),BS),$(given)),$v=$($v)) \
  $(if $(filter ATC_FLAGS,$(given)),ATC_FLAGS="$(ATC_FLAGS)")
after_om := infer$(if $(filter dynamic,$(BS)), BS=$(lastword $(gears)))
after_om := $(if $(CANN_IMAGE),$(if $(loaded),$(after_om),push HOST=user@npu),$(after_om))
