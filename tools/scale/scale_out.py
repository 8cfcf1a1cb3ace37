"""The chain over a Ray cluster: images → pixels on the CPUs → offline model on the devices → Parquet, and Top-1/Top-5.

    python3 -m tools.scale.scale_out --model spnasnet/build/demo/spnasnet_100_bs8.blob --data spnasnet/build/demo/data \
        --out build/scale
    python3 -m tools.scale.scale_out --model /shared/m_bs8.om --data s3://bucket/val --out /shared/out --address auto

One Parquet part a block of images, written whole; a run that was killed goes on with the blocks that have none. Model and
--out are on a folder that all hosts see under one path, and so are the images unless they have URIs. docs/scale-out.md.
"""
import argparse
import json
import logging
import math
import os
import secrets
import sys
import threading
import time
from pathlib import Path

from common import cli
from common.data import dataset, preprocess, transforms

STAGES = ("decode", "transform", "infer", "write")
ROOT = Path(__file__).resolve().parents[2]


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="offline model (.om, .blob, .ort), its .json beside it")
    parser.add_argument("--data", required=True, help="folder, URI of a folder, or list (.parquet, text) of image paths")
    parser.add_argument("--out", type=Path, required=True, help="folder for the parts")
    parser.add_argument("--address", default="local", help="local: this host alone; auto or host:port: a cluster (%(default)s)")
    parser.add_argument("--labels", metavar="FILE", help="val_label.txt, where --data brings no labels")
    parser.add_argument("--logits", action="store_true", help="all logits in the parts, not only the best five")
    parser.add_argument("--block", type=preprocess.positive, default=64, help="images a part (default: %(default)s)")
    parser.add_argument("--devices", type=preprocess.positive, help="actors (default: the NPUs; without, one a host)")
    parser.add_argument("--threads", type=preprocess.positive, help="of the CPU engine, an actor (default: the cores, shared)")
    parser.add_argument("--cpus", type=preprocess.positive, help="with local: CPUs Ray may use (default: all)")
    parser.add_argument("--object-store", type=preprocess.positive, metavar="MB", help="with local: Ray's shared memory")
    parser.add_argument("--allow-partial", action="store_true", help="exit 0 though images could not be read")
    return parser.parse_args(argv)


def connect(args, block_bytes):
    """Start or join Ray, quietly and without its usage reports; the workers get this checkout's code."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    os.environ.setdefault("RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S", "300")
    if os.environ.get("DEBUG", "0") in ("", "0"):
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if args.address == "local":
        # Else Ray writes a token into the home directory, which every later `ray start` would ask for.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray
    except ImportError:
        raise cli.Failure("the Python package ray is not installed", "pip install -r requirements-scale.txt") from None
    cpus = args.cpus or os.cpu_count()
    # Ray would take a third of the memory, and fill it; a few blocks a CPU keep the devices busy just as well.
    store = args.object_store << 20 if args.object_store else max(block_bytes * (4 * cpus + 8), 1 << 27)
    local = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": store} if args.address == "local" else {}
    # Where a cluster is gone Ray keeps trying for ever, in C++, which no signal reaches.
    gone = threading.Timer(60, lambda: (print(f"error: no Ray answers at --address {args.address} — ray start --head, or "
                                              "--address local", file=sys.stderr, flush=True), os._exit(1)))
    gone.daemon = True
    gone.start()
    try:
        ray.init(args.address, logging_level=logging.ERROR, log_to_driver=False, **local,
                 runtime_env={"py_modules": [str(ROOT / "common"), str(ROOT / "tools")], "excludes": ["__pycache__"]})
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as e:
        raise cli.Failure(f"no Ray at --address {args.address} ({str(e).splitlines()[0]})",
                          "ray start --head, with the same RAY_AUTH_MODE and RAY_AUTH_TOKEN; or --address local") from None
    finally:
        gone.cancel()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.raise_original_map_exception = True  # a Failure of a worker as it is
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it would say is raised as well
    return ray


def actors(ray, args):
    """(how many actors, options of each for Ray, the engine's threads): one an NPU, else one a host that shares its
    cores with the transforms; the kernel divides them, and back-pressure stops transforms that are ahead."""
    hosts = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    if args.model.suffix == ".om":
        count = min(args.devices or sys.maxsize, int(sum(h.get("NPU", 0) for h in hosts)))
        if not count:
            raise cli.Failure("Ray sees no NPU", "load CANN before `ray start`, or say how many: --resources='{\"NPU\": 4}'")
        return count, {"resources": {"NPU": 1}, "num_cpus": 1}, None
    count = args.devices or len(hosts)
    cores = int(min(h.get("CPU", 1) for h in hosts))
    return count, {"num_cpus": 0}, args.threads or max(1, cores * len(hosts) // count)


def stream(ray, args, todo, blocks, meta, recipe, bar):
    """Work through the blocks `todo`; yield (images, seconds by stage) of each as it is done.

    Ray does what was under way on a lost host again on another. Where there is no other device for it, or the driver's own
    host is in trouble, an error comes, or after minutes without progress a timeout, and the caller begins anew with what
    is left, on the devices that are left.
    """
    from tools.scale import scale_stages

    count, options, threads = actors(ray, args)
    rows = [{"block": i, "images": json.dumps([(m.name, m.path, m.label) for m in blocks[i]])} for i in todo]
    done = (ray.data.from_items(rows, override_num_blocks=len(rows))
            .map_batches(scale_stages.prepare, batch_size=1, num_cpus=1,
                         fn_kwargs={"recipe": recipe, "dtype": meta["inputs"][0]["dtype"]})
            .map_batches(scale_stages.Infer, batch_size=1, **options,
                         compute=ray.data.ActorPoolStrategy(size=min(count, len(rows))),
                         fn_constructor_args=(args.model.absolute(), meta, args.out.absolute(), threads, args.logits)))
    for row in done.iter_rows():
        bar.update(row["images"])
        yield row["images"], json.loads(row["seconds"])


def run(args, todo, blocks, meta, recipe):
    """All of `todo`, over as many lost workers as it takes; return what to report. Failure when nothing moves any more."""
    from tools.scale import scale_blocks

    tensor = meta["inputs"][0]
    ray = connect(args, args.block * math.prod(tensor["shape"][1:]) * (1 if tensor["dtype"] == "uint8" else 4))
    said = {"images": 0, "seconds": {}, "lost": 0, "devices": actors(ray, args)[0]}
    said.update(cpus=ray.cluster_resources().get("CPU", 0), hosts=sum(n["Alive"] for n in ray.nodes()))
    start = time.perf_counter()
    with cli.progress(None, "scale out", sum(len(blocks[i]) for i in todo), "image") as bar:
        while todo:
            try:
                for images, seconds in stream(ray, args, todo, blocks, meta, recipe, bar):
                    said.setdefault("start", time.perf_counter() - start)
                    said.setdefault("images_at_start", images)
                    said["images"] += images
                    for stage, value in seconds.items():
                        said["seconds"][stage] = said["seconds"].get(stage, 0) + value
            except (ray.exceptions.RayError, ray.data.exceptions.ExecutionTimeoutError) as e:
                expected(e)
                left = [i for i in todo if not scale_blocks.part_path(args.out, i).exists()]
                if len(left) == len(todo):
                    raise cli.Failure(f"Ray lost its workers and nothing was done since: {str(e).splitlines()[0]}",
                                      "look at `ray status`, then run the same command again") from None
                bar.write(f"a worker was lost ({type(e).__name__}); {len(left)} blocks are left", file=sys.stderr)
                todo, said["lost"] = left, said["lost"] + 1
            else:
                todo = []
    said["wall"] = time.perf_counter() - start
    if said["images"]:
        said["rate"] = (said["images"] - said["images_at_start"]) / (said["wall"] - said["start"])
    ray.shutdown()
    return said


def expected(error):
    """Raise the Failure that a worker raised, or what is a bug of ours; return for what became of a worker or its host."""
    cause = getattr(error, "cause", None)
    said = str(cause).partition("\n")[0]  # Ray adds lines of its own
    if isinstance(cause, cli.Failure):
        raise cli.Failure(said) from None
    if isinstance(cause, OSError):
        raise cli.Failure(f"a worker failed: {said}", "mend that and run the same command again") from None
    if "TaskError" in type(error).__name__:
        raise error


def report(said):
    """Print rates and where the time went."""
    n, busy = said["images"], sum(said["seconds"][s] for s in STAGES)
    print(f"{'stage':9} {'busy s':>8} {'share':>6} {'ms/image':>9} {'images/s of one worker':>23}")
    for stage in STAGES:
        seconds = said["seconds"][stage]
        print(f"{stage:9} {seconds:8.1f} {seconds / busy:6.0%} {1000 * seconds / n:9.2f} {n / max(seconds, 1e-9):23.1f}")
    print(f"{n} images in {said['wall']:.1f} s, {n / said['wall']:.1f} images/s with the start of the workers; "
          f"{said['devices']} devices, {said['cpus']:g} CPUs, {said['hosts']} hosts"
          + (f"; begun anew {said['lost']} times" if said["lost"] else ""))
    print(f"{said['rate']:.1f} images/s from the first block on, which came after {said['start']:.1f} s")


def main():
    args = get_args()
    from tools.scale import scale_blocks, scale_list  # late: pyarrow takes a third of a second

    meta = cli.read_json(f"{args.model}.json", "make the offline model with make om: its .json belongs to it")
    recipe = json.loads(((meta.get("onnx") or {}).get("metadata") or {}).get("preprocessing") or "null")
    if recipe is None:
        raise cli.Failure(f"{args.model}.json does not say how images are preprocessed", "export and compile with make om")
    if args.block % meta["batch"]:
        raise cli.Usage(f"--block {args.block} is no multiple of the model's batch, {meta['batch']}", "give one that is")
    images, demo = scale_list.listing(args.data, args.labels)
    blocks = [images[i:i + args.block] for i in range(0, len(images), args.block)]
    args.out.mkdir(parents=True, exist_ok=True)
    with cli.lock(args.out / ".lock"):
        scale_blocks.accept(args.out, scale_blocks.settings(images, args.block, meta, recipe=recipe, logits=args.logits,
                                                            input=meta["inputs"][0]["dtype"]))
        todo = scale_blocks.pending(args.out, blocks, args.allow_partial)
        print(f"{len(images)} images in {len(blocks)} blocks of {args.block} → {args.out}; "
              f"{len(blocks) - len(todo)} are there already", flush=True)
        for i in todo:  # with bad images, which get another try
            scale_blocks.part_path(args.out, i).unlink(missing_ok=True)
        said = run(args, todo, blocks, meta, transforms.Recipe(**recipe)) if todo else None
        score, bad = scale_blocks.read_results(args.out, blocks)
    if said and said["images"]:
        report(said)
        cli.write_json(args.out / "_summary.json", {**said, "total": len(images), "bad": bad, "batch": meta["batch"]})
    for name, why in bad.items():
        print(f"bad image: {name}: {why}")
    if score and score.total:
        score.demo = demo or bool(meta.get("demo"))
        for note in score.notes:
            print(f"note: {note}")
    print(f"wrote {len(images)} rows in {len(blocks)} parts to {args.out}, {len(bad)} of them bad")
    if score and score.total:
        print(score.line())
    if bad and not args.allow_partial:
        raise cli.Failure(f"{len(bad)} of {len(images)} images could not be read: {dataset.some(sorted(bad))}",
                          "mend them and run again, or go on without them: --allow-partial (make: ALLOW_PARTIAL=1)")


if __name__ == "__main__":
    cli.run(main)
