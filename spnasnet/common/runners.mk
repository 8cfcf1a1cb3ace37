# What runs in place of ais_bench: RUNNER=benchmark, the older tool, on an NPU; RUNNER=trtexec, speed alone, on an NVIDIA GPU.

ifneq ($(filter demo%,$(verbs)),)
$(error RUNNER=$(RUNNER): the demo runs with ais_bench, leave RUNNER away)
endif

ifeq ($(RUNNER),benchmark)

benchmark := benchmark.$(shell uname -m)
ifneq ($(filter infer eval bench sweep,$(verbs)),)
$(if $(filter ascend,$(engine)),,$(error RUNNER=benchmark runs .om files on an NPU — say ENGINE=ascend, or leave RUNNER away))
$(if $(bytes),$(error RUNNER=benchmark runs with INPUT=float32 only))
$(if $(filter batch,$(BINS)),$(error RUNNER=benchmark takes one image a file — leave BINS=batch away))
$(if $(findstring $(comma),$(DEVICE)),$(error RUNNER=benchmark runs on one device — DEVICE=0, say))
tool := $(if $(shell command -v ./$(benchmark)),"$$OLDPWD/$(benchmark)",$(if $(shell command -v $(benchmark)),$(benchmark)))
$(if $(tool),,$(error $(benchmark) is not installed — put it here or on the PATH, and make it executable (chmod +x $(benchmark))))
endif

# The tool writes ./result and leaves an older run's files in it, so it gets a fresh folder to run in.
scratch := $(result)_run
dumped := $(scratch)/result/dumpOutput_device$(DEVICE)
$(result).done: $(om) $(prep)/manifest.json $(result).cfg get_info.py $(if $(wildcard $(result)/.),,FORCE)
	$(mark)
	rm -rf $(result) $(scratch)
	mkdir -p $(scratch)
	$(py) get_info.py bin $(prep) $(scratch)/$(ONNX)_val.info 224 224 --seen-from $(scratch)
	. common/ascend_env.sh runtime; $(py) -m common.ascend.chip --om $(om) $(SOC); cd $(scratch) && $(tool) -model_type=vision -device_id=$(DEVICE) -batch_size=$(BS) \
	  -om_path=$(if $(filter /%,$(om)),$(om),"$$OLDPWD/$(om)") -input_text_path=$(ONNX)_val.info \
	  -input_width=224 -input_height=224 -output_binary=False -useDvpp=False
	@test -d $(dumped) || { echo 'error: $(benchmark) wrote no $(dumped) — see its messages above' >&2; exit 1; }
	mv $(dumped) $(result)
	@touch $@

# The page's figure is that of a run over all images. An Ascend 310 card has four chips, and the tool times one.
$(perf): $(result).done $(perf:.json=.cfg) common/speed/bench.py
	$(mark)
	$(py) -m common.speed.bench --json $@ $(provenance) --runner benchmark --batch $(BS) $(if $(filter 310 Ascend310,$(SOC)),--chips 4) \
	  --log $(scratch)/result/perf_vision_batchsize_$(BS)_device_$(DEVICE).txt

else

ifneq ($(filter infer eval,$(verbs)),)
$(error RUNNER=trtexec measures speed alone — say make bench RUNNER=trtexec)
endif
ifneq ($(filter bench sweep,$(verbs)),)
$(if $(shell command -v trtexec),,$(error trtexec is not installed — it comes with TensorRT; put it on the PATH))
endif
$(perf): $(onnx) $(perf:.json=.cfg) common/speed/bench.py
	$(mark)
	$(py) -m common.speed.bench --json $@ --runner trtexec --batch $(BS) -- \
	  trtexec --onnx=$(onnx) --fp16 --shapes=$(INPUT_NAME):$(BS)x3x224x224 $(if $(call same,$(DEVICE),0),,--device=$(DEVICE))

endif
