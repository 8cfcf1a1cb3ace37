# Verbs that explain, compare and transport: the repository's, for one model folder. Its
# pipeline (common/pipeline.mk) includes this where the repository is around it.

## for predict: a photograph, several, a folder, or - for stdin
IMAGE :=
## for predict: picture of what the model saw, such as answer.png
PNG :=
## for predict: folder that these two are seen from
SEEN_FROM := .
## for compare: 1 goes through both models layer by layer
LAYERS := 0
LAYERS_is := 0 1
## for report: records to set side by side; when left out: all
FROM :=
## for scale: local, or a Ray cluster: auto, or host:port
ADDRESS := local
## for push and pull: the other host, such as user@npu
HOST :=
## for push and pull: folder there; when left out: this one's name
REMOTE_DIR :=

# A tool runs in the model's folder, where model.py and published.json are.
tool = PYTHONPATH=..$${PYTHONPATH:+:$$PYTHONPATH} $(py) -m tools
need_image = $(call needs,predict,$(IMAGE),IMAGE= is needed: a photograph$(comma) several$(comma) \
  a folder$(comma) or -)
need_host = $(call needs,push,$(HOST),HOST= is needed$(comma) such as HOST=user@npu)
.PHONY: $(REPOSITORY) image-is-there

# Nobody waits for a batch to be filled up: BS=1, unless a batch is given.
one := $(if $(filter command%,$(origin BS))$(OM),,one)
predict = $(tool).inspect.predict $(IMAGE) --from $(SEEN_FROM) --model $(om)
predict_more = --batchsize $(BS) --input $(INPUT) --work $B $(PNG:%=--png %) -- \
  $(infer) $(dym) $(device)
predict: $(if $(one),,$(if $(IMAGE),image-is-there $(om))) ## Top-5 for photographs: IMAGE=photo.jpg
	$(need_image)
ifneq ($(one),)
	+@$(MAKE) --no-print-directory predict BS=1
else
	@$(predict) $(predict_more)
endif
image-is-there: | $(ready)
	@$(predict) --look

compare: $(result).json | $(onnx) ## where torch and the offline model differ
	@$(tool).inspect.compare --weights $(weights) --net $(NET) --bins $(prep) --result $(result) \
	  --model $(om) --onnx $(onnx) --json $B/compare_$(run).json \
	  $(if $(filter 1,$(LAYERS)),--layers $(device))

half: $(prep)/manifest.json | $(onnx) ## what float16 on an NPU may cost, by layer (an estimate)
	@$(tool).inspect.half --onnx $(onnx) --bins $(prep) --json $B/half.json

profile: | $(om) ## the ten heaviest operators of the offline model
	@$(tool).inspect.profile --model $(om) --batch $(BS) --json $B/profile_$(run).json -- \
	  $(bench) --model $(om) --loop $(or $(LOOP),20) $(dym) $(device)

check-net: | $(ready) ## our network beside the authors' (after make source)
	@$(tool).inspect.check_net

check-ops: $(for_atc) ## the ONNX beside the operators that CANN has
	@$(tool).inspect.check_ops $(for_atc)

bench-bins: $(perf) $(prep)/manifest.json ## throughput from .bin to result files
	$(tool).inspect.bench_bins$(again:%= %) --bins $(prep) --perf $(perf) --model $(om) \
	  --json $(call from_bin_of,$(BS)) -- \
	  $(bench) --model $(om) --outfmt $(OUTFMT) $(dym) $(device)

# A sweep is kept in results/, from .bin too where there are images and one device.
alone := $(if $(other_runner)$(findstring $(comma),$(DEVICE)),,$(data))
SWEEP_MORE = $(if $(alone),bench-bins)
SWEEP_KEEP = @$(tool).report.record --model $(TITLE) --results ../results --input $(INPUT) \
  $(foreach b,$(batches),$(call perf_of,$b))

scale: | $(om) $(demo_images) ## eval over a Ray cluster, straight from the images
	$(tool).scale.scale_out --model $(om) --data $(data) --out $B/scale_$(run) \
	  --address $(ADDRESS) $(partial)

# rsync -L: a link here is a file there; no link comes back. ais_bench refuses files that
# others may write. Status 2 or 12: the other side spoke, but not as rsync does.
there = $(HOST):$(or $(REMOTE_DIR),$(lastword $(subst /, ,$(CURDIR))))
rsync = rsync -rptz --chmod=go-w $1 || { status=$$?; case $$status in 2|12) echo 'error: rsync \
  is not installed on $(HOST), or its shell prints a banner: "ssh $(HOST) true" must print \
  nothing, look at ~/.bashrc there' >&2;; esac; exit $$status; }
push: ## send this folder, with all that it has built, to HOST
	$(need_host)
	@$(call rsync,-L --exclude=.venv --exclude=.git --exclude=__pycache__ \
	  --exclude='.*.part.*' ./ $(there)/)
	@echo 'push: $(there) has what is here; next: load CANN there, then make'
pull: ## bring the offline models and results of HOST here
	$(need_host)
	@mkdir -p $(OUT)
	@$(call rsync,-m --no-links --exclude='prep*/' --exclude='data/' --include='*/' \
	  --include='/.made-for' --include='*.om' --include='*.json' --include='result/**' \
	  --exclude='*' $(there)/$(OUT)/ $(OUT)/)
	@echo 'pull: $(OUT) has the offline models and results of $(there)'

$(call needs,$(filter compare half bench-bins scale,$(goals)),$(data),$(need_data))
