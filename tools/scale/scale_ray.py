"""The part of scale_out.py that needs Ray: the cluster, its devices, blocks that are worked on."""
import json
import logging
import math
import os
import secrets
import sys
import tempfile
import threading
import time
from pathlib import Path

from common import cli
from tools.scale import scale_blocks, scale_stages

ROOT = Path(__file__).resolve().parents[2]


def give_up(address):
    """End the process: Ray keeps trying to reach a cluster that is gone for ever, in C++, which
    no signal reaches."""
    print(f"error: no Ray answers at --address {address} — ray start --head, or --address local",
          file=sys.stderr, flush=True)
    os._exit(1)


def check_sockets():
    """Failure where the paths of Ray's sockets would be longer than the 107 bytes of AF_UNIX."""
    folder = tempfile.gettempdir()
    longest = f"{folder}/ray/session_2026-11-25_20-50-47_123456_4194304/sockets/plasma_store"
    if len(os.fsencode(longest)) > 107:
        raise cli.Failure(f"the path of the temporary folder is too long for Ray's sockets: "
                          f"{folder}", "TMPDIR=/tmp make scale …")


def connect(args, block_bytes):
    """Start or join Ray, quietly and without its usage reports; the workers get this checkout's
    code. `block_bytes` are those of a block's pixels."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
    os.environ.setdefault("RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S", "300")
    if os.environ.get("DEBUG", "0") in ("", "0"):
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    local = {}
    if args.address == "local":
        # Else Ray writes a token into the home, which every later `ray start` would ask for.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
        check_sockets()
        cpus = args.cpus or cli.cores()
        # Ray would fill a third of the memory; a few blocks per CPU keep the devices as busy.
        few = max(block_bytes * (4 * cpus + 8), 1 << 27)
        store = args.object_store << 20 if args.object_store else few
        local = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": store}
    import ray

    code = {"py_modules": [str(ROOT / "common"), str(ROOT / "tools")], "excludes": ["__pycache__"]}
    timer = threading.Timer(60, give_up, [args.address])
    timer.daemon = True
    timer.start()
    try:
        ray.init(args.address, logging_level=logging.ERROR, log_to_driver=False,
                 runtime_env=code, **local)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as e:
        raise cli.Failure(f"no Ray at --address {args.address} ({str(e).splitlines()[0]})",
                          "ray start --head, with the same RAY_AUTH_MODE and RAY_AUTH_TOKEN; or "
                          "--address local") from None
    finally:
        timer.cancel()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.raise_original_map_exception = True  # a Failure of a worker as it is
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what it would say is raised too
    return ray


def actors(ray, args):
    """(how many actors, options of each for Ray, the engine's threads): one per NPU, else one per
    host that shares its cores with the transforms. The kernel divides them, and back-pressure
    stops transforms that are ahead."""
    hosts = [n["Resources"] for n in ray.nodes() if n["Alive"]]
    if args.model.suffix == ".om":
        count = min(args.devices or sys.maxsize, int(sum(h.get("NPU", 0) for h in hosts)))
        if not count:
            raise cli.Failure("Ray sees no NPU", "load CANN before `ray start`, or say how many: "
                              "--resources='{\"NPU\": 4}'")
        return count, {"resources": {"NPU": 1}, "num_cpus": 1}, None
    count = args.devices or len(hosts)
    cores = int(min(h.get("CPU", 1) for h in hosts))
    return count, {"num_cpus": 0}, args.threads or max(1, cores * len(hosts) // count)


def stream(ray, args, todo, blocks, facts, recipe):
    """Work through the blocks `todo`; yield (images, seconds by stage) of each as it is done.

    What was under way on a lost host, Ray does again on another. Where there is no other device
    for it, or the driver's own host is in trouble, an error comes, or after minutes without
    progress a timeout, and the caller begins anew with what is left.
    """
    count, options, threads = actors(ray, args)
    rows = [scale_stages.to_row(i, blocks[i]) for i in todo]
    how = {"recipe": recipe, "dtype": facts["inputs"][0]["dtype"]}
    engine = (args.model.absolute(), facts, args.out.absolute(), threads, args.logits)
    pool = ray.data.ActorPoolStrategy(size=min(count, len(rows)))
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    data = data.map_batches(scale_stages.prepare, batch_size=1, num_cpus=1, fn_kwargs=how)
    data = data.map_batches(scale_stages.Infer, batch_size=1, compute=pool,
                            fn_constructor_args=engine, **options)
    for row in data.iter_rows():
        yield row["images"], json.loads(row["seconds"])


def expected(error):
    """Raise the Failure that a worker raised, or what is a bug of ours; return for what became of
    a worker or its host."""
    cause = getattr(error, "cause", None)
    said = str(cause).partition("\n")[0]  # Ray adds lines of its own
    if isinstance(cause, cli.Failure):
        raise cli.Failure(said) from None
    if isinstance(cause, OSError):
        raise cli.Failure(f"a worker failed: {said}",
                          "solve that and run the same command again") from None
    if "TaskError" in type(error).__name__:
        raise error


def run(args, todo, blocks, facts, recipe):
    """All of `todo`, over as many lost workers as it takes; return what report() shows. Failure
    when nothing moves any more."""
    tensor = facts["inputs"][0]
    item = 1 if tensor["dtype"] == "uint8" else 4
    ray = connect(args, args.block * math.prod(tensor["shape"][1:]) * item)
    lost = (ray.exceptions.RayError, ray.data.exceptions.ExecutionTimeoutError)
    said = {"images": 0, "seconds": {}, "lost": 0, "devices": actors(ray, args)[0],
            "cpus": ray.cluster_resources().get("CPU", 0),
            "hosts": sum(n["Alive"] for n in ray.nodes())}
    start = time.perf_counter()
    with cli.progress(None, "scale out", sum(len(blocks[i]) for i in todo), "image") as bar:
        while todo:
            try:
                for images, seconds in stream(ray, args, todo, blocks, facts, recipe):
                    bar.update(images)
                    said.setdefault("start", time.perf_counter() - start)
                    said.setdefault("images_at_start", images)
                    said["images"] += images
                    for stage, value in seconds.items():
                        said["seconds"][stage] = said["seconds"].get(stage, 0) + value
                todo = []
            except lost as e:
                expected(e)
                left = [i for i in todo if not scale_blocks.part_path(args.out, i).exists()]
                if len(left) == len(todo):
                    why = str(e).splitlines()[0]
                    raise cli.Failure(f"Ray lost its workers and nothing was done since: {why}",
                                      "look at `ray status`, then run it again") from None
                bar.write(f"a worker was lost ({type(e).__name__}); {len(left)} blocks are left",
                          file=sys.stderr)
                todo, said["lost"] = left, said["lost"] + 1
    said["wall"] = time.perf_counter() - start
    later = said["images"] - said.get("images_at_start", 0)
    if later:  # no rate of one block alone
        said["rate"] = later / (said["wall"] - said["start"])
    ray.shutdown()
    return said
