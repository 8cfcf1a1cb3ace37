"""How long N images take on a cluster, and what holds them up: a simulation of tools/scale/scale_out.py, without Ray.

    python3 -m tools.scale.size_cluster --images 50000 --hosts 4 --cores 64 --npus 8 --infer 0.9 --prepare 9
    python3 -m tools.scale.size_cluster --images 50000 --hosts 8 --cores 32 --summary build/scale/_summary.json

The costs are milliseconds an image: of one core for decoding and transforming (--prepare), of one NPU, or without NPUs of
one core, for the offline model (--infer). `_summary.json` of a run brings both. docs/scale-out.md says what is left out.
"""
import argparse
import dataclasses

from common import cli

INPUT_KB = {"float32": 3 * 224 * 224 * 4 / 1000, "uint8": 3 * 224 * 224 / 1000}
RAY = 0.0019  # seconds of a core an image: copies of 602 KB and the driver's work, as counted over runs of spnasnet


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Equal hosts. Costs are seconds an image; sizes bytes an image; rates bytes a second."""

    hosts: int = 1
    cores: float = 2
    npus: int = 0            # a host; 0: an engine on the CPU
    actors: int = 1          # a host, of that engine
    threads: int = 1         # the engine's, an actor
    tasks: "int | None" = None  # transforms at a time a host; None: its cores
    prepare: float = 0.004
    infer: float = 0.010
    ray: float = 0.0         # Ray's own work, on the cores
    jpeg: float = 135e3
    tensor: float = 602e3
    network: float = 1.25e9  # of a host
    storage: float = 1e9     # of all hosts together
    block: int = 64
    start: float = 10.0      # seconds until workers run


def get_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, required=True)
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--cores", type=int, required=True, help="of a host")
    parser.add_argument("--npus", type=int, default=0, help="of a host; 0: the engine runs on the CPU")
    parser.add_argument("--threads", type=int, help="of the CPU engine (default: the cores)")
    parser.add_argument("--summary", help="_summary.json of a run of tools/scale/scale_out.py on such a host")
    parser.add_argument("--prepare", type=float, help="ms of a core an image: decode and transform")
    parser.add_argument("--infer", type=float, help="ms of an NPU (without NPUs: of a core) an image")
    parser.add_argument("--ray", type=float, default=1000 * RAY, help="ms of a core an image: Ray's own work "
                        "(default: %(default)s, as measured with float32)")
    parser.add_argument("--jpeg", type=float, default=135, help="KB an image file (ImageNet's validation set: %(default)s)")
    parser.add_argument("--input", choices=INPUT_KB, default="float32", help="what the model takes")
    parser.add_argument("--network", type=float, default=10, help="Gbit/s of a host (default: %(default)s)")
    parser.add_argument("--storage", type=float, default=1000, help="MB/s, of all hosts together (default: %(default)s)")
    parser.add_argument("--block", type=int, default=64, help="images a part (default: %(default)s)")
    parser.add_argument("--start", type=float, default=10, help="seconds until workers run (default: %(default)s)")
    return parser.parse_args(argv)


def costs(path, npus):
    """(prepare, infer) in seconds an image from a run's summary: of CPU time, which waiting and neighbours do not
    stretch; an NPU's is wall-clock time, since its host only waits for it."""
    said = cli.read_json(path, "give the _summary.json in a folder of parts")
    n, s = said["images"], said["seconds"]
    return (s["decode_cpu"] + s["transform_cpu"]) / n, (s["infer"] if npus else s["infer_cpu"]) / n


def limits(c):
    """Images/s that each resource of the whole cluster could carry if there were no other, the least first."""
    prepare = c.prepare + c.ray
    own = c.hosts * (c.cores - min(c.npus, c.cores - 1)) / prepare
    found = {"network": c.hosts * c.network / (c.jpeg + c.tensor * (1 - 1 / c.hosts)), "storage": c.storage / c.jpeg}
    if c.npus:
        found.update(cores=own, npus=c.hosts * c.npus / c.infer)
    else:
        found.update(cores=c.hosts * c.cores / (prepare + c.infer), transforms=c.hosts * (c.tasks or c.cores) / prepare,
                     engine=c.hosts * min(c.cores, c.actors * c.threads) / c.infer)
    return dict(sorted(found.items(), key=lambda item: item[1]))


def simulate(c, images):
    """Seconds from the start of the first transform until the last block is written.

    One host stands for all, with its share of the blocks. Blocks are fetched one after another, transformed by as many
    tasks as there are cores, and wait for an actor; a handful may wait, then transforms stop (Ray's back-pressure). On a
    host without NPUs tasks and engines divide the cores evenly, as the kernel does.
    """
    waiting = -(-images // (c.block * c.hosts))
    fetched, ready, todo = 0, 0, waiting
    tasks = c.tasks or (max(1, c.cores - c.npus) if c.npus else c.cores)
    actors, threads = (c.npus, 1) if c.npus else (c.actors, c.threads)
    fetch = max((c.jpeg + c.tensor * (1 - 1 / c.hosts)) / c.network, c.jpeg * c.hosts / c.storage)
    fetch_left, prepare_left, infer_left, now, done = None, [], [], 0.0, 0
    work = min(c.block, images / (c.hosts * todo))  # images a block, so that a short last one counts as what it is
    while done < todo:
        if fetch_left is None and waiting:
            fetch_left, waiting = work * fetch, waiting - 1
        while fetched and len(prepare_left) < tasks and ready + len(prepare_left) < 4 * tasks + actors:
            prepare_left.append(work * (c.prepare + c.ray))
            fetched -= 1
        while ready and len(infer_left) < actors:
            infer_left.append(work * c.infer)
            ready -= 1
        shared = 1 if c.npus else min(1, c.cores / max(1, len(prepare_left) + threads * len(infer_left)))
        engine = 1 if c.npus else threads * shared
        step = min([left / speed for lefts, speed in ((prepare_left, shared), (infer_left, engine)) for left in lefts]
                   + ([fetch_left] if fetch_left is not None else []))
        now += step
        fetch_left = None if fetch_left is None else fetch_left - step
        if fetch_left is not None and fetch_left <= 1e-12:
            fetch_left, fetched = None, fetched + 1
        before, waits = len(prepare_left), len(infer_left)
        prepare_left = [left - step * shared for left in prepare_left if left - step * shared > 1e-12]
        infer_left = [left - step * engine for left in infer_left if left - step * engine > 1e-12]
        ready, done = ready + before - len(prepare_left), done + waits - len(infer_left)
    return now


def main():
    args = get_args()
    prepare, infer = costs(args.summary, args.npus) if args.summary else (None, None)
    prepare, infer = args.prepare / 1000 if args.prepare else prepare, args.infer / 1000 if args.infer else infer
    if not (prepare and infer):
        raise cli.Usage("the costs of an image are not given", "say --summary, or --prepare and --infer")
    c = Cluster(args.hosts, args.cores, args.npus, 1, args.threads or args.cores, None, prepare, infer, args.ray / 1000,
                args.jpeg * 1000, INPUT_KB[args.input] * 1000, args.network * 1.25e8, args.storage * 1e6, args.block,
                args.start)
    found = limits(c)
    for name, rate in found.items():
        print(f"{name:11} {rate:12.0f} images/s at most")
    seconds = simulate(c, args.images)
    print(f"{args.images} images: {seconds + c.start:.0f} s with {c.start:.0f} s of start, {args.images / seconds:.0f} "
          f"images/s; held up by {next(iter(found))}")


if __name__ == "__main__":
    cli.run(main)
