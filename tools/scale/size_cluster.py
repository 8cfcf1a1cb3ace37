"""How long N images take on a cluster, and what holds them up: a simulation of scale_out.py.

    python3 -m tools.scale.size_cluster --images 50000 --hosts 4 --cores 64 --npus 8 \
        --infer 0.9 --prepare 9
    python3 -m tools.scale.size_cluster --images 50000 --hosts 8 --cores 32 \
        --summary build/scale/_summary.json

The costs are milliseconds per image: of one core for decoding and transforming (--prepare), of
one NPU, or without NPUs of one core, for the offline model (--infer). `_summary.json` of a run
brings both. docs/scale-out.md says what is left out.
"""
from __future__ import annotations

import argparse
import dataclasses

from common import cli

INPUT_KB = {"float32": 3 * 224 * 224 * 4 / 1000, "uint8": 3 * 224 * 224 / 1000}
# Seconds of a core per image: copies of 602 KB and the driver's work, counted over runs of
# spnasnet.
RAY = 0.0019


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Equal hosts. Costs are seconds per image; sizes bytes per image; rates bytes per second."""

    hosts: int = 1
    cores: float = 2
    npus: int = 0  # per host; 0: an engine on the CPU
    actors: int = 1  # per host, of that engine
    threads: int = 1  # of the engine, per actor
    tasks: int | None = None  # transforms at a time on a host; None: its cores
    prepare: float = 0.004
    infer: float = 0.010
    ray: float = 0.0  # Ray's own work, on the cores
    jpeg: float = 135e3
    tensor: float = 602e3
    network: float = 1.25e9  # of a host
    storage: float = 1e9  # of all hosts together
    block: int = 64
    start: float = 10.0  # seconds until workers run

    @property
    def traffic(self):
        """Bytes that come to a host per image: its file, and tensors of other hosts."""
        return self.jpeg + self.tensor * (1 - 1 / self.hosts)


def get_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--images", type=int, required=True)
    add("--hosts", type=int, default=1)
    add("--cores", type=int, required=True, help="of a host")
    add("--npus", type=int, default=0, help="of a host; 0: the engine runs on the CPU")
    add("--threads", type=int, help="of the CPU engine (default: the cores)")
    add("--summary", help="_summary.json of a run of scale_out.py on such a host")
    add("--prepare", type=float, help="ms of a core per image: decode and transform")
    add("--infer", type=float, help="ms of an NPU (without NPUs: of a core) per image")
    add("--ray", type=float, default=1000 * RAY,
        help="ms of a core per image: Ray's own work (default: %(default)s, as measured with "
             "float32)")
    add("--jpeg", type=float, default=135,
        help="KB per image file (ImageNet's validation set: %(default)s)")
    add("--input", choices=INPUT_KB, default="float32", help="what the model takes")
    add("--network", type=float, default=10, help="Gbit/s of a host (default: %(default)s)")
    add("--storage", type=float, default=1000,
        help="MB/s, of all hosts together (default: %(default)s)")
    add("--block", type=int, default=64, help="images per part (default: %(default)s)")
    add("--start", type=float, default=10,
        help="seconds until workers run (default: %(default)s)")
    return parser.parse_args(argv)


def costs(path, npus):
    """(prepare, infer) in seconds per image from a run's summary: of CPU time, which waiting and
    neighbours do not stretch; an NPU's is wall-clock time, since its host only waits for it."""
    said = cli.read_json(path, "give the _summary.json in a folder of parts")
    n, s = said["images"], said["seconds"]
    return (s["decode_cpu"] + s["transform_cpu"]) / n, (s["infer"] if npus else s["infer_cpu"]) / n


def limits(c):
    """Images/s that each resource of the whole cluster could carry if there were no other, the
    least first."""
    prepare = c.prepare + c.ray
    found = {"network": c.hosts * c.network / c.traffic, "storage": c.storage / c.jpeg}
    if c.npus:
        left = c.cores - min(c.npus, c.cores - 1)  # each NPU keeps a core busy
        found["cores"] = c.hosts * left / prepare
        found["npus"] = c.hosts * c.npus / c.infer
    else:
        found["cores"] = c.hosts * c.cores / (prepare + c.infer)
        found["transforms"] = c.hosts * (c.tasks or c.cores) / prepare
        found["engine"] = c.hosts * min(c.cores, c.actors * c.threads) / c.infer
    return dict(sorted(found.items(), key=lambda item: item[1]))


def advance(lefts, done):
    """(work that is left of each item after `done` of it, how many items are finished)."""
    left = [work - done for work in lefts if work - done > 1e-12]
    return left, len(lefts) - len(left)


def simulate(c, images):
    """Seconds from the start of the first transform until the last block is written.

    One host stands for all, with its share of the blocks. Blocks are fetched one after another,
    transformed by as many tasks as there are cores, and wait for an actor; a handful may wait,
    then transforms stop (Ray's back-pressure). On a host without NPUs tasks and engines divide
    the cores evenly, as the kernel does.
    """
    todo = waiting = -(-images // (c.block * c.hosts))
    work = min(c.block, images / (c.hosts * todo))  # images per block; the last may be short
    tasks = c.tasks or (max(1, c.cores - c.npus) if c.npus else c.cores)
    actors, threads = (c.npus, 1) if c.npus else (c.actors, c.threads)
    fetch = max(c.traffic / c.network, c.jpeg * c.hosts / c.storage)
    fetching, preparing, inferring = [], [], []
    fetched = ready = done = now = 0
    while done < todo:
        if not fetching and waiting:
            fetching, waiting = [work * fetch], waiting - 1
        while fetched and len(preparing) < tasks and ready + len(preparing) < 4 * tasks + actors:
            preparing.append(work * (c.prepare + c.ray))
            fetched -= 1
        while ready and len(inferring) < actors:
            inferring.append(work * c.infer)
            ready -= 1
        busy = max(1, len(preparing) + threads * len(inferring))
        shared = 1 if c.npus else min(1, c.cores / busy)
        engine = 1 if c.npus else threads * shared
        step = min([*fetching, *(left / shared for left in preparing),
                    *(left / engine for left in inferring)])
        now += step
        fetching, came = advance(fetching, step)
        preparing, prepared = advance(preparing, step * shared)
        inferring, written = advance(inferring, step * engine)
        fetched, ready, done = fetched + came, ready + prepared, done + written
    return now


def main():
    args = get_args()
    prepare, infer = costs(args.summary, args.npus) if args.summary else (None, None)
    prepare = args.prepare / 1000 if args.prepare else prepare
    infer = args.infer / 1000 if args.infer else infer
    if not (prepare and infer):
        raise cli.Usage("the costs of an image are not given",
                        "say --summary, or --prepare and --infer")
    c = Cluster(hosts=args.hosts, cores=args.cores, npus=args.npus,
                threads=args.threads or args.cores, prepare=prepare, infer=infer,
                ray=args.ray / 1000, jpeg=args.jpeg * 1000, tensor=INPUT_KB[args.input] * 1000,
                network=args.network * 1.25e8, storage=args.storage * 1e6, block=args.block,
                start=args.start)
    found = limits(c)
    for name, rate in found.items():
        print(f"{name:11} {rate:12.0f} images/s at most")
    seconds = simulate(c, args.images)
    print(f"{args.images} images: {seconds + c.start:.0f} s with {c.start:.0f} s of start, "
          f"{args.images / seconds:.0f} images/s; held up by {next(iter(found))}")


if __name__ == "__main__":
    cli.run(main)
