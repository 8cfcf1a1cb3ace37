# The pipeline of one model folder: images → .bin, checkpoint → ONNX → offline model → results → Top-1/Top-5, throughput.
# The folder's Makefile names the model's files and scripts, then includes this. All paths are relative, so that a
# checkout whose own path has spaces works.

ifneq ($(filter 3.% 4.0 4.0.% 4.1 4.1.%,$(MAKE_VERSION)),)
$(error GNU Make 4.2 or newer is needed, this is $(MAKE_VERSION) (macOS: install `make` and call `gmake`))
endif
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help

# ---- what a user may set (on the command line only: ':=' keeps the environment out) ----
BS := 8
DATA :=
WEIGHTS :=
ENGINE := auto
RUNNER := ais_bench
PRECISION := f32
CALIB :=
PROVIDER := cpu
BINS := image
INPUT := float32
LIMIT :=
OPSET :=
NET := bundled
SOC :=
DEVICE := 0
OM :=
ATC_FLAGS :=
HOST :=
VERB := om infer bench
REMOTE_DIR :=
SSH := ssh
AS_BUILT := 0
ADDRESS := local
LOOP :=
BATCHES := 1 4 8 16 32 64
REPEATS :=
JOBS :=
ALLOW_PARTIAL := 0
IMAGE :=
PNG :=
LAYERS := 0
OUT := build
PYTHON :=
DEBUG := 0

SETTABLE := BS DATA WEIGHTS ENGINE RUNNER PRECISION CALIB PROVIDER INPUT BINS LIMIT OPSET NET SOC DEVICE OM ATC_FLAGS LOOP BATCHES REPEATS JOBS \
  ALLOW_PARTIAL OUT PYTHON DEBUG HOST VERB REMOTE_DIR SSH AS_BUILT ADDRESS IMAGE PNG LAYERS
FANNED := MODELS MODEL FROM SEEN_FROM # the repository's Makefile passes them down; SEEN_FROM: where IMAGE's path starts
SEEN_FROM := .
BS_valid := 1 4 8 16 32 64
ENGINE_valid := auto ascend openvino onnxruntime
PRECISION_valid := f32 bf16 int8
PROVIDER_valid := cpu cuda tensorrt
BINS_valid := image batch
INPUT_valid := float32 uint8
NET_valid := bundled upstream
ALLOW_PARTIAL_valid := 0 1
DEBUG_valid := 0 1
AS_BUILT_valid := 0 1
LAYERS_valid := 0 1
OPSET_valid := 11 12 13 14 15 16 17
# A model's Makefile may leave these away; then they are not the environment's.
$(foreach v,ATC_OWN ATC_LOG RUNNERS SOURCE DEMO_LIMIT OPSET_DEFAULT,$(if $(filter file,$(origin $v)),,$(eval $v :=)))
RUNNER_valid := $(strip ais_bench $(RUNNERS))

# Heavy networks see fewer of the demo's images, or the demo would take too long; a LIMIT= of the user's stands.
ifneq ($(filter demo-%,$(MAKECMDGOALS)),)
LIMIT := $(DEMO_LIMIT)
LOOP := $(if $(DEMO_LIMIT),3)
endif
# A person waits for one photograph: no batch is filled up.
ifneq ($(filter predict,$(MAKECMDGOALS)),)
BS := 1
endif

# A misspelt variable or value must not be ignored in silence. $(value) reads a value without running what it may hold.
override given := $(foreach v,$(.VARIABLES),$(if $(filter command%,$(origin $v)),$v))
override unknown := $(filter-out $(SETTABLE) $(FANNED) MAKEFLAGS MAKEOVERRIDES,$(given))
ifneq ($(unknown),)
$(error unknown variable $(unknown); settable are: $(SETTABLE))
endif
squote := '
dquote := "
hash := \#
unsafe := $$ $(squote) $(dquote) ` \ ; & | < >
define newline


endef
$(foreach v,$(SETTABLE),$(if $(findstring $(newline),$(value $v)),$(error $v= has a line break in it, which is not allowed)))
$(foreach v,$(SETTABLE),$(foreach c,$(unsafe),$(if $(findstring $c,$(value $v)),\
  $(error $v=$(value $v): the character $c is not allowed in a value))))
# The folder of all that is made is OUT=; predict's picture is PNG=, and OUT=answer.png means that too.
ifneq ($(and $(filter predict,$(MAKECMDGOALS)),$(filter %.png %.PNG,$(OUT))),)
override PNG := $(or $(PNG),$(OUT))
override OUT := build
endif
digits = $(subst 9,,$(subst 8,,$(subst 7,,$(subst 6,,$(subst 5,,$(subst 4,,$(subst 3,,$(subst 2,,$(subst 1,,$(subst 0,,$1))))))))))
same = $(and $(findstring x$1x,x$2x),$(findstring x$2x,x$1x))
one_of = $(strip $(foreach w,$2,$(if $(call same,$w,$1),$w)))
$(foreach v,BS ENGINE RUNNER PRECISION PROVIDER INPUT BINS NET ALLOW_PARTIAL DEBUG AS_BUILT LAYERS $(if $(OPSET),OPSET),$(if $(call one_of,$($v),$($v_valid)),,\
  $(error $v=$($v): choose one of $($v_valid))))
$(foreach b,$(or $(BATCHES),none),$(if $(call one_of,$b,$(BS_valid)),,$(error BATCHES=$(BATCHES): choose from $(BS_valid))))
$(foreach v,LIMIT LOOP JOBS REPEATS,$(if $(or $(call digits,$($v)),$(call same,$($v),0)),$(error $v=$($v): give a positive whole number)))
comma := ,
$(if $(or $(call digits,$(subst $(comma),,$(DEVICE))),$(call same,$(DEVICE),),$(word 2,$(DEVICE))),\
  $(error DEVICE=$(DEVICE): give a device number, or several as in 0,1,2,3))
$(foreach v,OUT OM,$(if $(word 2,$($v)x),$(error $v=$($v): a path with spaces cannot be used here; DATA= and WEIGHTS= may have them)))
$(if $(filter x x/ x. x./ x..%,x$(OUT)),$(error OUT=$(OUT): name a folder of its own, such as build))

# ---- toolchain ----
VENV := $(if $(wildcard ../common/model.mk),../.venv,.venv)
venv := $(if $(PYTHON),,$(VENV)/.ready)
py := '$(or $(PYTHON),$(VENV)/bin/python)'
verbs := $(or $(MAKECMDGOALS),help)
offline := $(if $(filter trtexec,$(RUNNER)),,$(filter om infer eval bench scale bench-bins sweep predict compare,$(verbs)))
engine := $(ENGINE)
ifeq ($(ENGINE),auto)
# ascend, ascend-infer (a runtime without atc) or none; a toolkit that does not load is an error, never a silent CPU run.
host := $(shell bash common/ascend_env.sh)
$(if $(and $(call same,$(host),),$(offline)),$(error ENGINE=auto cannot choose, see the line above))
# Where `make fastest` has measured on this CPU, its word; else what is fastest on most.
engine := $(if $(filter ascend%,$(host)),ascend,$(or $(filter openvino onnxruntime,$(firstword $(file <$(OUT)/fastest))),openvino))
endif
export DEBUG
toolkit :=
load :=
unexport PYTHONSAFEPATH # it would hide common/ from the scripts beside it
ifeq ($(engine),ascend)
# Each recipe line is a shell of its own, so each loads the toolkit itself. The toolkit's python3 runs ais_bench.
$(if $(filter-out f32,$(PRECISION)),$(error PRECISION=$(PRECISION) is for a CPU; on Ascend say it to atc: \
  ATC_FLAGS=--precision_mode_v2=fp16))
suffix := om
atc := . common/ascend_env.sh atc; $(py) -m common.ascend.atc
toolkit := . common/ascend_env.sh infer;
infer_with := $(py) -m common.ascend.infer $(if $(SOC),--soc $(SOC))
infer := $(toolkit) $(infer_with)
ais_bench := $${ASCEND_PYTHON:-python3} -m ais_bench
load = $(toolkit) $(py) -m common.ascend.chip --om $(om) $(SOC);
else
$(if $(findstring $(comma),$(DEVICE)),$(error DEVICE=$(DEVICE): several devices need an Ascend host))
$(if $(filter cpu,$(PROVIDER)),,$(if $(filter onnxruntime,$(engine)),,$(error PROVIDER=$(PROVIDER) needs ENGINE=onnxruntime)))
$(if $(filter-out f32,$(PRECISION)),$(if $(filter openvino,$(engine)),,$(error PRECISION=$(PRECISION) needs ENGINE=openvino)))
suffix := $(if $(filter openvino,$(engine)),blob,ort)
export HOST_PROVIDER := $(PROVIDER)
atc = HOST_ENGINE=$(engine) HOST_PRECISION=$(PRECISION) HOST_CALIB='$(calib)' $(py) -m common.cpu.atc
ais_bench := PYTHONPATH=common/cpu HOST_ENGINE=$(engine) $(py) -m ais_bench
infer_with := $(ais_bench)
infer := $(infer_with)
endif

# ---- inputs: the user's, or the demo's ----
is_demo = $(call same,$1,demo)
w := $(or $(WEIGHTS),$(if $(wildcard weights/$(WEIGHTS_FILE)),weights/$(WEIGHTS_FILE),demo))
d := $(or $(DATA),demo)
needs_data := $(filter prep infer eval online compare scale bench-bins $(if $(DATA),sweep sweep-build),$(verbs))
ifneq ($(and $(needs_data),$(DATA),$(call same,$(WEIGHTS),),$(call is_demo,$w)),)
$(if $(call is_demo,$(DATA)),,$(error DATA= is given but there are no weights — get them with `make weights`, or say WEIGHTS=/path or WEIGHTS=demo))
endif
ifneq ($(and $(needs_data),$(call same,$(DATA),)),)
$(if $(call is_demo,$w),,$(error the weights are real ($w) but DATA= is not set — say DATA=/path/to/imagenet, or DATA=demo))
endif
demo_data := $(if $(call is_demo,$d),$(OUT)/demo/data/DEMO.txt)
demo_weights := $(if $(call is_demo,$w),$(OUT)/demo/$(basename $(basename $(WEIGHTS_FILE)))_demo.pth)
# int8 takes its ranges from training images: the user's, or for the demo's weights the demo's.
calib := $(if $(filter int8,$(PRECISION)),$(if $(call is_demo,$(or $(CALIB),$(if $(demo_weights),demo))),$(OUT)/demo/data/train,$(CALIB)))
$(if $(and $(filter int8,$(PRECISION)),$(offline),$(call same,$(calib),)),$(error PRECISION=int8 with real \
  weights needs training images: CALIB=/path/to/images (a few hundred of every kind; or CALIB=demo)))
data := $(if $(demo_data),$(OUT)/demo/data,$d)
weights := $(or $(demo_weights),$w)
M := $(OUT)$(if $(demo_weights),/demo)
P := $(OUT)$(if $(demo_data),/demo)
R := $(OUT)$(if $(demo_data)$(demo_weights),/demo)

# ---- files ----
file_rows := $(if $(filter batch,$(BINS)),$(BS),1)
# Bytes and floats never share a name.
bytes := $(if $(filter uint8,$(INPUT)),_uint8)
lower := $(if $(filter f32,$(PRECISION)),,_$(PRECISION))$(if $(filter cpu,$(PROVIDER)),,_$(PROVIDER))
prep := $(P)/prep$(bytes)$(if $(filter batch,$(BINS)),_bs$(BS))
onnx := $(M)/$(ONNX).onnx
om := $(or $(OM),$(M)/$(OFFLINE)$(bytes)$(lower).$(suffix))
by := $(or $(filter trtexec,$(RUNNER)),$(engine)$(if $(filter benchmark,$(RUNNER)),_benchmark))
run := bs$(BS)_$(by)$(lower)$(bytes)$(if $(filter batch,$(BINS)),_batchfiles)
result := $(R)/result/$(run)
eval := $(R)/eval_$(run).json
online := $(R)/online.json
perf_of = $(M)/perf_bs$1_$(by)$(lower)$(bytes).json
perf := $(call perf_of,$(BS))
frombin := $(R)/frombin_$(run).json
loop := $(or $(LOOP),$(if $(filter ascend,$(engine)),$(LOOPS),$(if $(filter 1 4 8,$(BS)),10,3)))
partial := $(if $(filter 1,$(ALLOW_PARTIAL)),--allow-partial)
repeats := $(if $(REPEATS),--repeats $(REPEATS))
prep_options := $(if $(bytes),--input uint8) $(if $(LIMIT),--limit $(LIMIT)) $(if $(JOBS),--jobs $(JOBS)) $(partial)
# An .om made elsewhere may come without its .json.
provenance := $(if $(and $(OM),$(call same,$(wildcard $(OM).json),)),,--provenance $(om).json)
aipp := $(if $(bytes),--insert_op_conf=$(M)/aipp.cfg --enable_small_channel=1)
device := $(if $(call same,$(DEVICE),0),,--device $(DEVICE))
score_options = --manifest $(prep) $(provenance) --json $@ $(partial)
# Size and time of change, to the nanosecond where the system has it; nothing for a file that is not there.
stat_of = $(shell for f in $1; do stat -c '%s %.9Y' -- "$$f" 2>/dev/null || stat -f '%z %m' -- "$$f" 2>/dev/null || true; done)
label_files := $(foreach l,val/val_label.txt val_label.txt ../val_label.txt,'$(data)/$l')
stat_data := $(call stat_of,'$(data)' '$(data)/val' $(label_files))
stat_weights := $(call stat_of,'$(weights)')

# A .cfg file is rewritten only when its text changes: a changed variable remakes what depends on it and nothing else.
define cfg
$1: $(if $(call same,$(file <$1),$2),,FORCE)
	@mkdir -p $(dir $1) && printf '%s\n' '$2' > $1

endef
$(eval $(call cfg,$(prep).cfg,data $d $(if $(demo_data),,$(stat_data)) limit $(LIMIT) partial $(ALLOW_PARTIAL)))
$(eval $(call cfg,$(M)/onnx.cfg,weights $w $(if $(demo_weights),,$(stat_weights)) opset $(or $(OPSET),$(OPSET_DEFAULT)) net $(NET)))
# Code compiled for a CPU is bound to the engine's release and to the CPU; both are found out without starting anything.
# Before there is a .venv, its pinned release counts.
site := $(if $(PYTHON),$(dir $(PYTHON))..,$(VENV))/lib/python3*/site-packages
release := $(patsubst $(engine)-%.dist-info,$(engine)==%,$(notdir $(firstword $(wildcard $(site)/$(engine)-*.dist-info))))
release := $(or $(release),$(if $(PYTHON),,$(filter $(engine)==%,$(file <$(dir $(VENV))requirements.txt))))
bound := $(if $(filter om,$(suffix)),,$(release) $(sort $(filter avx2 avx512f avx512_bf16 amx_bf16,$(file </proc/cpuinfo))))
$(eval $(call cfg,$(M)/om_$(suffix)$(lower).cfg,precision $(PRECISION) calib $(calib) soc $(SOC) flags $(ATC_FLAGS) bound $(bound)))
# Results of other bins or another model may lie under the same name (DATA=demo and DATA=/path, both with demo weights).
$(eval $(call cfg,$(result).cfg,bins $(prep) model $(om)))
$(eval $(call cfg,$(online:.json=.cfg),bins $(prep) weights $(weights)))
$(eval $(call cfg,$(perf:.json=.cfg),loop $(loop) device $(DEVICE)$(if $(REPEATS), repeats $(REPEATS))))
$(eval $(call cfg,$(frombin:.json=.cfg),bins $(prep) model $(om) device $(DEVICE)$(if $(REPEATS), repeats $(REPEATS))))

# BUILT collects what this call made, so that a verb can say when there was nothing to do.
mark = $(eval BUILT += $@)
idle = $(if $(filter $1,$(BUILT)),:,echo '$@: nothing to do, $1 is up to date')$(next)
# What a person does after this verb; silent where another make asked for it.
next = $(if $(and $(next_$@),$(filter 0,$(MAKELEVEL))),; echo 'next: make $(next_$@)$(if $(given), (with the same variables))')
next_source := check-net
next_weights := eval DATA=/path/to/imagenet
next_prep := onnx
next_onnx := om
next_om := infer, or make predict IMAGE=photo.jpg
next_infer := eval

.PHONY: f32-eval fastest help setup source weights prep onnx check-net check-ops om infer eval online bench bench-bins timed scale sweep sweep-build predict compare push remote pull demo demo-eval demo-bench doctor clean FORCE
FORCE:

help: ## this list
	@echo '$(TITLE): make <verb> [VARIABLE=value …]; a verb runs the verbs before it as needed.'; echo
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  %-9s %s\n",$$1,$$2}' $(MAKEFILE_LIST)
	@echo; echo 'Variables (now):'
	@$(foreach v,$(SETTABLE),printf '  %-14s %-28s %s\n' '$v' '$($v)' '$(or $($v_help),$(if $($v_valid),one of: $($v_valid)))';) :
	@echo; echo 'Examples:'; echo '  make eval BS=8                              with the demo weights and images'
	@echo '  make eval DATA=/data/imagenet BS=16         with weights/$(WEIGHTS_FILE)'
DATA_help := folder with val/, flat or one folder a class; empty or demo: generated images
WEIGHTS_help := checkpoint; empty: weights/$(WEIGHTS_FILE) if there, else demo
RUNNER_help := $(if $(RUNNERS),ais_bench; benchmark: the older tool; trtexec: speed on a GPU,what runs the offline model: ais_bench)
BINS_help := image: one .bin an image; batch: whole batches of BS
INPUT_help := float32: normalised bins; uint8: bytes, a quarter as large, normalised in the model
LIMIT_help := only N images, spread evenly
OPSET_help := ONNX operator set; empty: what ModelZoo has for this model
SOC_help := chip for atc, e.g. Ascend310P3
DEVICE_help := NPU number, or several: 0,1,2,3
OM_help := an .om made elsewhere (needs no atc)
PRECISION_help := f32; bf16 or int8 are faster on a CPU, less exact, and held against f32 by eval
CALIB_help := for int8: folder of a few hundred training images; empty: those of the demo, for its weights
PROVIDER_help := for ENGINE=onnxruntime: cpu, or an NVIDIA GPU by cuda or tensorrt
ATC_FLAGS_help := more flags for atc
HOST_help := for push, remote, pull: user@host
VERB_help := for remote: what to make there
REMOTE_DIR_help := folder there; empty: the name of this one, in the home directory
SSH_help := ssh command, options included
ADDRESS_help := for scale: local, or auto or host:port of a Ray cluster
AS_BUILT_help := 1 takes bins and ONNX as they are (what remote does)
LOOP_help := timed runs of bench; now $(loop)
BATCHES_help := for sweep: some of $(BS_valid)
REPEATS_help := times a timing is repeated, the median counts; empty: 1, in a sweep 3
JOBS_help := images preprocessed at a time; empty: all cores
IMAGE_help := for predict: a file, several, a folder, or - for standard input
PNG_help := for predict: picture to write, e.g. PNG=answer.png
LAYERS_help := 1: compare layer by layer, to the first that differs
OUT_help := folder for everything that is made
PYTHON_help := your own interpreter; empty: $(VENV), made on demand
DEBUG_help := 1 shows tracebacks

setup: $(venv) ## make .venv with the pinned requirements (done on demand; not when PYTHON= is given)
	@$(call idle,$(or $(venv),$(PYTHON)))
$(VENV)/.ready: $(dir $(VENV))requirements.txt
	$(mark)
	python3 common/setup_env.py $(VENV) $<

source: | $(venv) ## clone the authors' repository at its pinned commit and patch that copy
	$(if $(SOURCE),$(py) -m common.model.source $(SOURCE)$(next),@echo '$(TITLE): the network comes with timm, nothing to clone')
weights: | $(venv) ## download the official checkpoint
	$(py) -m common.model.weights --published published.json --dest weights$(next)

prep: $(prep)/manifest.json ## images → .bin
	@$(call idle,$<)
onnx: $(onnx) ## checkpoint → ONNX, checked against torch
	@$(call idle,$<)
om: $(om) ## ONNX → offline model for batch BS
	@$(call idle,$<)
infer: $(result).done ## offline model over the bins
	@$(call idle,$<)
eval: $(eval) ## Top-1 and Top-5 of the offline model
	@$(call idle,$<)
	@$(if $(filter $(eval),$(BUILT)),:,sed -n 's/^ "line": "\(.*\)",*$$/\1/p' $(eval))
fastest: ## time both CPU engines at batch BS; ENGINE=auto takes the faster from then on
	+@$(MAKE) --no-print-directory om OM= ENGINE=openvino
	+@$(MAKE) --no-print-directory om OM= ENGINE=onnxruntime
	@PYTHONPATH=.. $(py) -m tools.inspect.fastest $(OUT)/fastest $(addprefix $(M)/$(OFFLINE)$(bytes),.blob .ort)
online: $(online) ## Top-1 and speed of torch, on the same bins
	@$(call idle,$<)
check-net: | $(venv) ## does our network compute what the authors' does? (after make source)
	PYTHONPATH=.. $(py) -m tools.inspect.check_net
check-ops: $(onnx) ## is every operator of the ONNX in CANN's table?
	PYTHONPATH=.. $(py) -m tools.inspect.check_ops $(onnx)
bench: $(perf) ## throughput of the offline model at batch BS
	@$(call idle,$<)
	@$(if $(filter $(perf),$(BUILT)),:,$(py) -m common.speed.table $(perf))
bench-bins: $(frombin) ## throughput from .bin to result files, reading and writing included
	@$(call idle,$<)
predict: $(if $(IMAGE),$(om)) | $(venv) ## Top-5 of the offline model for IMAGE; PNG=answer.png draws what it saw
	@$(if $(IMAGE),,$(error IMAGE= is needed: a file, several, a folder, or - for standard input; PNG=answer.png draws what the model saw))
	@$(toolkit) PYTHONPATH=.. $(py) -m tools.inspect.predict '$(IMAGE)' --from '$(SEEN_FROM)' --model $(om) --batchsize $(BS) --input $(INPUT) --work $(M) \
	  $(if $(PNG),--png '$(PNG)') -- env $(infer_with) $(device)
compare: $(result).done $(onnx) | $(venv) ## where torch and the offline model disagree: images, logits; LAYERS=1: the layer
	@PYTHONPATH=.. $(py) -m tools.inspect.compare --weights '$(weights)' --net $(NET) --bins $(prep) --result $(result) --model $(om) --onnx $(onnx) \
	  --json $(R)/compare_$(run).json $(if $(filter 1,$(LAYERS)),--layers)

$(OUT)/demo/data/DEMO.txt: common/data/demo.py | $(venv)
	$(mark)
	$(py) -m common.data.demo images --out $(OUT)/demo/data
$(OUT)/demo/%_demo.pth: $(OUT)/demo/data/DEMO.txt common/data/demo.py model.py | $(venv)
	$(mark)
	$(py) -m common.data.demo weights --data $(OUT)/demo/data --out $@

ifeq ($(AS_BUILT),0)
$(prep)/manifest.json: $(prep).cfg $(demo_data) published.json common/data/preprocess.py common/data/transforms.py common/data/dataset.py | $(venv)
	$(mark)
	$(py) $(PREPROCESS) $(prep_options)

$(M)/$(EXPORTED).onnx: $(M)/onnx.cfg $(demo_weights) model.py common/model/export.py common/model/checkpoint.py | $(venv)
	$(mark)
	$(py) $(EXPORT) $(if $(OPSET)$(OPSET_DEFAULT),$(OPSET_FLAG) $(or $(OPSET),$(OPSET_DEFAULT))) $(if $(filter upstream,$(NET)),--net upstream)

endif

ifneq ($(OM),)
$(if $(wildcard $(OM)),,$(error OM=$(OM) does not exist — give the path of an .om file))
else
$(M)/aipp.cfg: published.json common/ascend/aipp.py | $(venv)
	$(mark)
	$(py) -m common.ascend.aipp --out $@
$(om): $(onnx) $(M)/om_$(suffix)$(lower).cfg $(if $(wildcard $(om).json),,FORCE) $(if $(filter $(OUT)/demo/%,$(calib)),$(OUT)/demo/data/DEMO.txt) $(if $(bytes),$(M)/aipp.cfg) | $(venv)
	$(mark)
	PYTHONPATH=.. $(py) -m tools.inspect.check_ops $(onnx)
	$(atc) --framework=5 --model=$(onnx) --output=$(basename $(om)) --input_format=NCHW \
	  --input_shape="$(INPUT_NAME):$(BS),3,224,224" $(if $(filter none,$(ATC_LOG)),,--log=$(or $(ATC_LOG),error)) --soc_version=$(or $(SOC),auto) $(ATC_OWN) $(aipp) $(ATC_FLAGS)
endif

# Another precision than f32 is held against f32 on the same images, and refused when it costs too much.
agree :=
ifneq ($(filter-out f32,$(PRECISION)),)
f32 := $(subst _$(PRECISION),,$(run))
$(R)/eval_$(f32).json: FORCE
	+@$(MAKE) --no-print-directory f32-eval PRECISION=f32
$(eval): $(R)/eval_$(f32).json
agree := $(py) -m common.score.agree --f32 $(R)/result/$(f32) --lower $(result) --precision $(PRECISION)
endif
f32-eval: $(eval)
	@:
$(eval): $(result).done common/score/results.py common/score/metrics.py
	$(mark)
	exec 9>$(result).lock; flock 9 2>/dev/null || true; \
	$(py) $(POSTPROCESS) $(score_options)
	$(if $(agree),$(agree) --manifest $(prep) --json $@)

$(online): $(prep)/manifest.json $(online:.json=.cfg) $(M)/onnx.cfg $(demo_weights) model.py common/speed/online.py | $(venv)
	$(mark)
	$(py) -m common.speed.online --weights '$(weights)' --bins $(prep) --net $(NET) --json $@

ifeq ($(RUNNER),ais_bench)
# ais_bench reuses a folder and leaves a longer run's files in it, so it gets a fresh one. Of two makes at once the second
# waits and sees that the first has done it, or does it again once the first has scored its results (where there is no flock,
# as on macOS, it does not wait).
was := $(if $(filter infer eval demo-eval,$(verbs)),$(call stat_of,$(result).done))
$(result).done: $(om) $(prep)/manifest.json $(result).cfg $(if $(wildcard $(result)/.),,FORCE)
	$(mark)
	mkdir -p $(dir $(result))
	exec 9>$(result).lock; flock 9 2>/dev/null || true; \
	if [ "$(was)" != "$$(stat -c '%s %.9Y' $@ 2>/dev/null || true)" ] && [ $@ -nt $(om) ] && [ $@ -nt $(prep)/manifest.json ]; then \
	  echo 'infer: another make has done it'; exit 0; fi; \
	rm -rf $(result) $(result)_summary.json; \
	$(infer) --model $(om) --input $(prep) --output $(patsubst %/,%,$(dir $(result))) --output_dirname $(notdir $(result)) \
	  --outfmt $(OUTFMT) --batchsize $(BS) $(device); \
	touch $@

$(perf): $(om) $(perf:.json=.cfg) common/speed/bench.py
	$(mark)
	$(load) $(py) -m common.speed.bench --json $@ $(provenance) $(repeats) -- \
	  env $(ais_bench) --model $(om) --loop $(loop) --batchsize $(BS) $(device)

$(frombin): $(perf) $(prep)/manifest.json $(frombin:.json=.cfg) tools/inspect/bench_bins.py
	$(mark)
	$(load) PYTHONPATH=.. $(py) -m tools.inspect.bench_bins --json $@ --bins $(prep) --perf $(perf) $(repeats) -- \
	  env $(ais_bench) --model $(om) --outfmt $(OUTFMT) --batchsize $(BS) $(device)
else
include common/runners.mk
endif

# From .bin needs images, ais_bench and one device; a sweep without them has the computation alone.
with_bins := $(and $(filter ais_bench,$(RUNNER)),$(or $(DATA),$(call is_demo,$w)),$(if $(findstring $(comma),$(DEVICE)),,1))
results := $(if $(wildcard ../common/model.mk),../results,$(OUT)/results)
record := PYTHONPATH=.. $(py) -m tools.report.record --model '$(TITLE)' --results $(results)
sweep: sweep-build ## throughput at every batch size of BATCHES, computation alone and from .bin; kept in results/
	$(foreach b,$(BATCHES),+@$(MAKE) --no-print-directory -W common/speed/bench.py timed BS=$b REPEATS=$(or $(REPEATS),3)$(newline)$(tab))
	@$(record) --show
	$(if $(with_bins),,@echo 'from .bin: not timed, that takes images (DATA=), ais_bench and one device')
ifneq ($(and $(OM),$(filter sweep sweep-build,$(verbs))),)
$(error OM=$(OM) is for one batch size, and a sweep is over several: make bench OM=… BS=…)
endif
sweep-build:
	$(if $(filter trtexec,$(RUNNER)),,$(foreach b,$(BATCHES),+@$(MAKE) --no-print-directory om $(if $(with_bins),prep) BS=$b$(newline)$(tab)))@:
timed: $(perf) $(if $(with_bins),$(frombin))
	@$(record) --input $(INPUT) --bins $(BINS) $^

scale: $(om) $(demo_data) ## eval over a Ray cluster, straight from the images (in the repository: make scale MODEL=…)
	$(toolkit) PYTHONPATH=.. \
	  $(if $(wildcard ../tools/scale/scale_out.py),$(py),$(error scale needs the whole repository)) -m tools.scale.scale_out \
	  --model $(om) --data '$(data)' --out $(R)/scale_$(run) --address $(ADDRESS) $(partial)

demo: ## the whole way on generated images and seeded weights, then a table
	+@$(MAKE) --no-print-directory demo-eval WEIGHTS=demo DATA=demo
	+@$(MAKE) --no-print-directory demo-bench WEIGHTS=demo DATA=demo
	@$(py) -m common.speed.table --demo $(OUT)/demo --engine $(engine) --bs $(BS)
demo-eval: eval
demo-bench: online bench

# What the other host is told: the settings given here, and which inputs (real or demo) it is about.
there := $(foreach v,BS ENGINE RUNNER INPUT BINS SOC DEVICE ATC_FLAGS LOOP BATCHES REPEATS OUT DEBUG,$(if $(filter command%,$(origin $v)),'$v=$($v)')) \
  'WEIGHTS=$w' 'DATA=$d' AS_BUILT=1 PYTHON=python3
remote = $(if $(HOST),$(py) -m common.remote $1 '$(HOST)' --out $(OUT) --ssh '$(SSH)' $(if $(REMOTE_DIR),--dir '$(REMOTE_DIR)'),\
  $(error HOST= is needed, e.g. HOST=user@npu))
push: | $(venv) ## send this folder with all that it has built to HOST
	$(call remote,push)
remote: | $(venv) ## make VERB on HOST
	$(call remote,run) -- $(VERB) $(there)
pull: | $(venv) ## bring HOST's offline models and results back
	$(call remote,pull)

doctor: ## versions of everything that matters, what is missing, and the command that mends it
	@$(if $(or $(PYTHON),$(wildcard $(VENV)/bin/python)),$(py),python3) -m common.doctor --engine $(engine)
clean: ## delete what was made in build/ (never weights/ or the authors' clone)
	rm -rf $(addprefix $(OUT)/,demo by-hand predict-* prep* frombin_* result scale_* *.onnx *.om *.blob *.ort *.json *.cfg)
	@rmdir $(OUT) 2>/dev/null || true

tab := $(empty)	$(empty)
