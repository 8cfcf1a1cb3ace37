# The two other tools of this model's page: RUNNER=benchmark, the older one, on an NPU; and
# RUNNER=trtexec, speed alone, on an NVIDIA GPU. common/plan.mk includes this.

## what runs the model: benchmark is ModelZoo's older tool (NPU),
## trtexec an NVIDIA GPU's (bench and sweep alone)
RUNNER := ais_bench
RUNNER_is := ais_bench benchmark trtexec
$(call needs,RUNNER,$(filter $(RUNNER_is),$(RUNNER)),RUNNER=$(RUNNER): choose one of $(RUNNER_is))

ifneq ($(RUNNER),ais_bench)
$(call refuse,$(filter demo,$(MAKECMDGOALS)),\
  RUNNER=$(RUNNER): the demo runs with ais_bench$(comma) omit RUNNER)
bench_with := benchmark.py
endif

ifeq ($(RUNNER),benchmark)
program := benchmark.$(shell uname -m)
ifneq ($(filter infer eval bench sweep,$(MAKECMDGOALS)),)
$(call needs,benchmark,$(filter ascend,$(engine)),\
  RUNNER=benchmark runs .om files on an NPU: load CANN)
$(call refuse,$(kind),RUNNER=benchmark runs with INPUT=float32 only)
$(call refuse,$(findstring $(comma),$(DEVICE)),\
  RUNNER=benchmark runs on one device: say DEVICE=0)
found := $(or $(shell command -v ./$(program)),$(shell command -v $(program)))
$(call needs,benchmark,$(found),\
  $(program) is not installed: put it here or on the PATH$(comma) and chmod +x it)
endif

# The tool writes ./result and leaves an older run's files in it, so it gets a fresh folder.
scratch := $(result)_run
dumped := $(scratch)/result/dumpOutput_device$(DEVICE)
define run_model
$(py) -m common.ascend.chip --om $(om)
rm -rf $(scratch) && mkdir -p $(scratch)
$(py) get_info.py bin $(prep) $(scratch)/$(ONNX)_val.info 224 224 --seen-from $(scratch)
here=$$PWD; cd $(scratch) && $(if $(filter ./%,$(found)),"$$here/$(program)",$(program)) \
  -model_type=vision -device_id=$(DEVICE) -batch_size=$(BS) \
  -om_path=$(if $(filter /%,$(om)),$(om),"$$here/$(om)") -input_text_path=$(ONNX)_val.info \
  -input_width=224 -input_height=224 -output_binary=False -useDvpp=False
@test -d $(dumped) || \
  { echo 'error: $(program) wrote no $(dumped) — see its messages above' >&2; exit 1; }
mv $(dumped) $(result)
endef
# The page's figure is that of a run over all images: where it is not there, they run again, and
# a log of another day or host is never read.
$(perf): | $(result).json
rerun = $(if $(timed),$(if $(wildcard $(perf)),,FORCE))
bench_args = --json $(perf) --model $(om) --batch $(BS) \
  --log $(scratch)/result/perf_vision_batchsize_$(BS)_device_$(DEVICE).txt
endif

ifeq ($(RUNNER),trtexec)
$(call refuse,$(filter infer eval,$(MAKECMDGOALS)),\
  RUNNER=trtexec measures speed alone: make bench RUNNER=trtexec)
$(call needs,$(filter bench sweep,$(MAKECMDGOALS)),$(shell command -v trtexec),\
  trtexec is not installed: it comes with TensorRT)
bench_needs := $(onnx)
bench_args = --json $(perf) --model $(onnx) --batch $(BS) -- trtexec --onnx=$(onnx) --fp16 \
  --shapes=$(INPUT_NAME):$(BS)x3x224x224 $(if $(filter 0,$(DEVICE)),,--device=$(DEVICE))
endif
