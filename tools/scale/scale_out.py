"""The chain over a Ray cluster: images → pixels on the CPUs → offline model on the devices →
Parquet, and Top-1/Top-5.

    python3 -m tools.scale.scale_out --model spnasnet/build/demo/spnasnet_100_bs8.blob \
        --data spnasnet/build/demo/data --out build/scale
    python3 -m tools.scale.scale_out --model /shared/m_bs8.om --data s3://bucket/val \
        --out /shared/out --address auto

One Parquet part per block of images, written whole; a run that was killed goes on with the blocks
that have none. The model and --out are in a folder that all hosts see under one path, and so are
the images unless they have URIs. See docs/scale-out.md.
"""
import argparse
import importlib.util
import sys
from pathlib import Path

from common import cli, published
from common.data import transforms
from common.data.preprocess import positive
from common.published import IMAGENET
from common.score.origin import Origin
from common.speed import bench

STAGES = ("decode", "transform", "infer", "write")
ROOT = Path(__file__).resolve().parents[2]


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", type=Path, required=True,
        help="offline model (.om, .blob, .ort), its .json beside it")
    add("--data", required=True,
        help="folder, URI of a folder, or list (.parquet, text) of image paths")
    add("--out", type=Path, required=True, help="folder for the parts")
    add("--address", default="local",
        help="local: this host alone; auto or host:port: a cluster (default: %(default)s)")
    add("--labels", metavar="FILE", help="val_label.txt, where --data brings no labels")
    add("--logits", action="store_true", help="all logits in the parts, not only the best five")
    add("--block", type=positive,
        help="images per part (default: the first multiple of the model's batch from 64 on)")
    add("--devices", type=positive, help="actors (default: the NPUs; without, one per host)")
    add("--threads", type=positive,
        help="of the CPU engine, per actor (default: the cores, shared)")
    add("--cpus", type=positive, help="with local: CPUs that Ray may use (default: all)")
    add("--object-store", type=positive, metavar="MB", help="with local: Ray's shared memory")
    add("--allow-partial", action="store_true", help="go on without images that cannot be read, "
        "and with files or labels that are of no image")
    return parser.parse_args(argv)


def report(said):
    """Print rates and where the time went."""
    n, busy = said["images"], sum(said["seconds"][s] for s in STAGES)
    print(f"{'stage':9} {'busy s':>8} {'share':>6} {'ms/image':>9} {'images/s of one worker':>23}")
    for stage in filter(said["seconds"].get, STAGES):  # without images, nothing is transformed
        seconds = said["seconds"][stage]
        print(f"{stage:9} {seconds:8.1f} {seconds / busy:6.0%} {1000 * seconds / n:9.2f} "
              f"{n / seconds:23.1f}")
    print(f"{n} images in {said['wall']:.1f} s, {n / said['wall']:.1f} images/s with the start of "
          f"the workers; {said['devices']} devices, {said['cpus']:g} CPUs, {said['hosts']} hosts"
          + (f"; begun anew {said['lost']} times" if said["lost"] else ""))
    if "rate" in said:
        print(f"{said['rate']:.1f} images/s from the first block on, which came after "
              f"{said['start']:.1f} s")


def finish(args, images, bad, score):
    """Print bad images, notes and the score; Failure for bad images unless they are allowed."""
    for name, why in bad.items():
        print(f"bad image: {name}: {why}")
    scored = score is not None and score.total
    for note in score.notes if scored else ():
        print(f"note: {note}")
    print(f"wrote {len(images)} rows to {args.out}, {len(bad)} of them bad")
    if scored:
        print(score.line())
    if bad and not args.allow_partial:
        raise cli.Failure(f"{len(bad)} of {len(images)} images could not be read: "
                          f"{cli.some(sorted(bad))}", "replace them and run again, or go on "
                          "without them: --allow-partial (make: ALLOW_PARTIAL=1)")


def packages():
    """Failure unless the packages of the cluster are installed. Ray itself is imported later,
    since it reads its environment then."""
    missing = [name for name in ("pyarrow", "ray") if not importlib.util.find_spec(name)]
    if missing:
        raise cli.Failure(f"the Python package {missing[0]} is not installed",
                          f"{sys.executable} -m pip install -r {ROOT}/requirements-scale.txt")


def class_names(model):
    """The names of the network's classes, by the published.json of the folder that `model` is
    below, or of this one; () without."""
    for folder in (*model.absolute().parents, Path(".")):
        if (folder / "published.json").is_file():
            return published.load(folder).names
    return ()


def main():
    args = get_args()
    facts = cli.read_json(f"{args.model}.json", "make om: this .json belongs to the model")
    bench.chain(args.model)
    onnx = facts.get("onnx") or {}
    if not onnx.get("preprocessing"):
        raise cli.Failure(f"{args.model}.json does not say how images are preprocessed", "make om")
    if not facts.get("batch"):
        raise cli.Usage(f"{args.model} is for several batches or none that is known",
                        "give a model of one batch (make om BS=8)")
    args.block = args.block or -(-64 // facts["batch"]) * facts["batch"]
    if args.block % facts["batch"]:
        raise cli.Usage(f"--block {args.block} is no multiple of the model's batch, "
                        f"{facts['batch']}", "give one that is")
    packages()
    from tools.scale import scale_blocks, scale_list, scale_ray

    images, about = scale_list.listing(args.data, args.labels, onnx.get("classes", IMAGENET),
                                       class_names(args.model), args.allow_partial)
    blocks = [images[i:i + args.block] for i in range(0, len(images), args.block)]
    args.out.mkdir(parents=True, exist_ok=True)
    scale_blocks.accept(args.out, scale_blocks.settings(
        images, args.block, facts, recipe=onnx["preprocessing"], logits=args.logits,
        input=facts["inputs"][0]["dtype"]))
    todo = scale_blocks.pending(args.out, blocks, args.allow_partial)
    print(f"{len(images)} images in {len(blocks)} blocks of {args.block} → {args.out}; "
          f"{len(blocks) - len(todo)} are there already", flush=True)
    for i in todo:  # of other or bad images: these get another try
        scale_blocks.part_path(args.out, i).unlink(missing_ok=True)
    recipe = transforms.Recipe(**onnx["preprocessing"])
    said = scale_ray.run(args, todo, blocks, facts, recipe) if todo else {"images": 0}
    score, bad = scale_blocks.read_results(args.out, blocks)
    if said["images"]:
        report(said)
        cli.write_json(args.out / "_summary.json", {
            **said, "total": len(images), "bad": bad, "batch": facts["batch"]})
    if score:
        score.demo = about.demo or bool(facts.get("demo"))
        score.missing += about.strays
        lower = Origin(args.out, None, facts).lower
        more = [lower and f"results in {lower}, not compared with f32's", facts.get("note"),
                onnx.get("weights_note")]
        score.findings += [*about.notes, *filter(None, more)]
    finish(args, images, bad, score)


if __name__ == "__main__":
    cli.run(main)
