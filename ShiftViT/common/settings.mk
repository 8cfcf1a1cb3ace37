# What a user may set, on make's command line only. `make` alone prints these comments.
# NAME_is lists the values there are, where they can be listed.
ifneq ($(filter 3.% 4.0% 4.1%,$(MAKE_VERSION)),)
$(error GNU Make 4.2 or newer is needed, this is $(MAKE_VERSION) (macOS: \
  install `make` and call `gmake`))
endif
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
flags := $(firstword -$(MAKEFLAGS))
dry_run := $(findstring n,$(flags))
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := help
unexport PYTHONSAFEPATH # it would hide common/ and tools/ from python -m

settings_in := common/settings.mk $(wildcard benchmark.mk ../tools/verbs.mk tools/verbs.mk)
SETTINGS := $(shell awk '/^## /{n=1;next} /^[A-Z_]+ :=/&&n{print $$1} {n=0}' $(settings_in))
# ':=' below keeps the environment out; whoever counts on it should know.
ifeq ($(MAKELEVEL),0)
$(foreach v,$(SETTINGS),$(if $(filter environment%,$(origin $v)),\
  $(info note: $v of the environment is ignored; say it to make: make $v=…)))
endif

## batch size, 1 to 512; for om also dynamic: one model for all
## of BATCHES, which is used while it is there
BS := 8
## folder with val/: flat with val_label.txt or a folder per class;
## with demo weights it may be left out
DATA :=
## checkpoint, or demo; when left out: that in weights/, else demo
WEIGHTS :=
## of a checkpoint with both weights: 1 averaged (EMA), 0 raw
EMA := 1
EMA_is := 0 1
## auto: ascend where CANN is loaded, else the model's CPU engine
ENGINE := auto
ENGINE_is := auto ascend openvino onnxruntime
## faster: bf16 (CPU), int8 (CPU, or NPU by amct_onnx); fp16 says
## what an NPU's float16 costs; eval holds each against f32
PRECISION := f32
PRECISION_is := f32 bf16 fp16 int8
## for int8: folder of a few hundred training images
CALIB :=
## what a .bin holds; uint8 (a quarter) is normalised in the model
INPUT := float32
INPUT_is := float32 uint8
## only so many images, spread evenly
LIMIT :=
## 1: go on without images that cannot be read or have no result
ALLOW_PARTIAL := 0
ALLOW_PARTIAL_is := 0 1
## 1: let a Top-1 pass that is below 99 % of the published
ALLOW_BELOW := 0
ALLOW_BELOW_is := 0 1
## batch sizes of a sweep, and of BS=dynamic, as in "1-16 32"
BATCHES := 1 4 8 16 32 64
## how long bench computes; when left out: 5 on a CPU
SECONDS :=
## runs of bench, in place of SECONDS; when left out: ModelZoo's
LOOP :=
## an .om that was compiled elsewhere
OM :=
## for atc: the chip that npu-smi info shows, such as Ascend310P3
SOC := auto
## compile in this image of CANN's (docker, podman); no NPU needed
CANN_IMAGE :=
## more flags for atc
ATC_FLAGS :=
## NPU, or several as in 0,1,2,3
DEVICE := 0
## for ENGINE=onnxruntime: an NVIDIA GPU, or an NPU (cann)
PROVIDER := cpu
PROVIDER_is := cpu cuda tensorrt cann
## ONNX operator set, 11 to 17; when left out: the model's own
OPSET :=
## network code: ours, or the authors' (after make source)
NET := bundled
NET_is := bundled upstream
## folder for everything that is made
OUT := build
## your own interpreter; when left out: .venv, made when needed
PYTHON :=
## 1: show tracebacks
DEBUG := 0
DEBUG_is := 0 1

# ---- a misspelt variable or value is never ignored in silence ----
# $(call refuse,what cannot be,message), $(call needs,what is asked,what must then be,message)
refuse = $(if $(strip $1),$(error $(strip $2)))
needs = $(if $(strip $1),$(call refuse,$(if $(strip $2),,x),$3))
define newline


endef
space := $(subst ,, )
comma := ,
given := $(foreach v,$(.VARIABLES),$(if $(filter command%,$(origin $v)),$v))
lists := ATC_FLAGS BATCHES FROM IMAGE MODELS MAKEFLAGS MAKEOVERRIDES
of_top := MODELS MODEL TIMM CLASSES INPUT_SIZE MAKEFLAGS MAKEOVERRIDES
$(foreach v,$(filter-out $(SETTINGS) $(of_top),$(given)),\
  $(error unknown variable $v; there are $(SETTINGS)))

$(call refuse,$(findstring i,$(flags)),make -i would go on after a failed step: leave it out)
$(foreach v,$(SETTINGS),$(call refuse,$(findstring override,$(origin $v)),\
  make -e takes $v from the environment: leave out -e$(comma) and say it to make))

# $(value) reads what a value is without running what it may hold.
# Values reach the shell without quotes, so what the shell would read in them is refused.
shell_has := $$ ' " ` \ ; & | < > ( ) * ? [ ]
holds = $(findstring $2,$(value $1))
$(foreach v,$(filter-out MAKE%,$(given)),$(foreach c,$(shell_has),\
  $(if $(call holds,$v,$c),$(error $v=$(value $v): $c cannot be used in a value))))
# (make itself reads these two in the name of a file)
$(foreach v,OUT DATA WEIGHTS CALIB OM,$(foreach c,: %,\
  $(if $(call holds,$v,$c),$(error $v=$(value $v): $c cannot be used in a path))))
$(foreach v,$(given),\
  $(if $(call holds,$v,$(newline)),$(error $v= has a line break in it)))
$(foreach v,$(filter-out $(lists),$(given)),$(if $(call holds,$v,$(space)),\
  $(error $v=$(value $v) has a space in it: link it to a name without)))
$(foreach v,$(SETTINGS),\
  $(call needs,$($v_is),$(filter $($v_is),$($v)),$v=$($v): choose one of $($v_is)))

sizes := $(shell seq 512)
$(call needs,BS,$(filter $(sizes) dynamic,$(BS)),\
  BS=$(BS): give a whole number from 1 to 512$(comma) or dynamic)
# a-b is each number from a to b; what is none gives nothing.
ends = $(filter $(sizes),$(subst -, ,$1))
range = $(if $(and $(word 2,$(ends)),$(filter $1,$(word 1,$(ends))-$(word 2,$(ends)))),\
  $(wordlist $(word 1,$(ends)),$(word 2,$(ends)),$(sizes)))
batches_in = $(or $(filter $(sizes),$1),$(call range,$1))
$(foreach b,$(or $(BATCHES),none),$(call needs,BATCHES,$(call batches_in,$b),\
  BATCHES=$(BATCHES): give whole numbers from 1 to 512$(comma) or ranges such as 1-16))
batches := $(filter $(foreach b,$(BATCHES),$(call batches_in,$b)),$(sizes))# each once, sorted

$(call refuse,$(and $(LOOP),$(SECONDS)),LOOP= and SECONDS=: give one of them)
is = $(shell case '$($1)' in ($2) echo yes;; esac)
not_a_number := ''|*[!0-9]*|0*
not_devices := ''|*[!0-9$(comma)]*|$(comma)*|*$(comma)|*$(comma)$(comma)*
$(foreach v,$(filter LIMIT LOOP SECONDS,$(given)),\
  $(call refuse,$(call is,$v,$(not_a_number)),$v=$($v): give a whole number above 0))
$(foreach v,$(filter DEVICE,$(given)),$(call refuse,$(call is,$v,$(not_devices)),\
  DEVICE=$(DEVICE): give a number$(comma) or several as in 0$(comma)1$(comma)2))
