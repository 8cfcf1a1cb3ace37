"""What the five models' scoring scripts share: options, the way from results to a Score, the end.

    found = script.open_run(args, args.result, args.labels)
    known = script.labels(found, args.labels, FOLDER)
    score = script.evaluate(found, known, args, FOLDER)
    print(ModelZoo's own line)
    script.finish(score, found, args)
"""
from __future__ import annotations

from pathlib import Path

from common import cli, provenance, published
from common.data import manifest
from common.score import metrics, origin

MOST = 1.0  # points of Top-1 that a lower precision may lose

def add_arguments(parser):
    """Options that every scoring script has besides ModelZoo's own."""
    parser.add_argument("--manifest", metavar="DIR",
                        help="folder of the bins, or its manifest.json: which result is which "
                             "image, and its label")
    parser.add_argument("--provenance", metavar="JSON",
                        help="record of the offline model (its name and .json)")
    parser.add_argument("--json", metavar="FILE",
                        help="write the figures and what produced them there")
    parser.add_argument("--allow-partial", action="store_true",
                        help="score the images that have results; every output says how many "
                             "are missing")
    parser.add_argument("--against", metavar="DIR",
                        help="results of f32 on the same bins, for those of a lower precision: "
                             "refused when more than one point of Top-1 is lost")


def open_run(args, folder, source=None):
    """The Origin of the results in `folder`. `source` is what labels the images, and may be the
    folder of the bins. Failure where a link of the chain does not fit."""
    place = args.manifest
    if place is None and source and (Path(source) / manifest.NAME).is_file():
        place = source
    found = origin.of(folder, args.provenance, place)
    if found.lower and not args.against:
        raise cli.Failure(f"{found.run} holds results in {found.lower}, which count only beside "
                          "f32's", f"make eval PRECISION={found.lower}, or --against FOLDER")
    return found


def labels(found, source, folder):
    """The Manifest of the images with the labels that `source` has; `folder` is the model's.

    source: a label file, the images' folder, the folder of the bins, or None: the labels that
    the preprocessing found. So it is too, with a note, where the images are on another host.
    """
    if source is None and found.bins is None:
        raise cli.Usage("no labels are given, and no manifest.json is known",
                        "give the label file, or --manifest FOLDER_OF_BINS")
    if source is None or (Path(source) / manifest.NAME).is_file():
        return manifest.Manifest.load(found.bins)
    if found.bins and not Path(source).exists() and not Path(source).suffix:
        found.notes.append(f"{source} is not here: the labels are those that the preprocessing "
                           "found")
        return manifest.Manifest.load(found.bins)
    return manifest.labelled(source, found.bins, published.load(folder).classes)


def evaluate(found, known, args, folder):
    """The Score of the results `found` with the Manifest `known`; `folder` is the model's."""
    classes = published.load(folder).classes
    score = metrics.evaluate(found.run, known, args.allow_partial, classes)
    score.demo |= bool(found.model.get("demo") or found.onnx.get("demo"))
    score.findings += found.notes + found.recipe_note(known.info.get("recipe"))
    if args.against:
        f32 = of_f32(args.against, found)
        reference = metrics.evaluate(f32.run, known, args.allow_partial, classes)
        compare(score, reference, found.lower or "the lower precision")
        score.findings += [f"f32: {note}" for note in f32.notes]
    return score


def of_f32(folder, found):
    """The Origin of f32's results in `folder`; Failure when they are not f32's, or are of another
    network or other bins than the results `found`."""
    f32 = origin.of(folder, place=found.bins)
    todo = "give the folder of f32's results (make infer PRECISION=f32)"
    if f32.lower or f32.run.resolve() == found.run.resolve():
        what = f32.lower or found.lower or "the same precision"
        raise cli.Failure(f"--against {f32.run} holds results of {what}, not of f32", todo)
    if len({each.onnx.get("sha256") for each in (f32, found)} - {None}) > 1:
        raise cli.Failure(f"--against {f32.run} is of another ONNX than {found.run}", todo)
    return f32


def compare(score, f32, name):
    """Add to the Score of a lower precision what it costs beside f32's, over the images that both
    have. Failure when Top-1 loses more than MOST points."""
    both = (score.rank >= 0) & (f32.rank >= 0)
    images = int(both.sum())
    before, after = (metrics.within(of.rank[both]) for of in (f32, score))
    same = int((score.answer[both] == f32.answer[both]).sum())
    lost = 100 * (before[0] - after[0]) / images
    top = [f"Top-{k} {100 * before[k - 1] / images:.2f} % → {100 * after[k - 1] / images:.2f} %"
           for k in (1, 5)]
    text = f"{name} beside f32 on {images} images: {', '.join(top)}, {same} answers the same"
    if lost > MOST:
        todo = "use PRECISION=bf16 or f32, or calibrate with other images (CALIB=)"
        if name == "fp16":
            todo = "`make half` names the layers, and what to tell atc (an estimate)"
        raise cli.Failure(f"{name} loses {lost:.2f} points of Top-1, over {MOST:g} ({text})", todo)
    score.findings.append(text)
    score.against = {"images": images, "f32": {"top1": before[0], "top5": before[4]},
                     "lower": {"top1": after[0], "top5": after[4]}, "same": same,
                     "lost": round(lost, 2), "verdict": "accepted"}


def finish(score, found, args, table=None, inputs=()):
    """Write ModelZoo's JSON `table` (a path) and args.json, print the notes, and last the line.

    inputs: more files that the figures depend on, such as ShiftViT's ground truth.
    """
    if table:
        metrics.write_table(table, score)
        print(f"wrote {table}")
    if args.json:
        inputs = [found.record or found.run, found.bins, found.model_path, *inputs]
        if args.against:
            inputs.append(provenance.record_path(args.against))
        made = provenance.made(args.json, [path for path in inputs if path and Path(path).exists()])
        metrics.write_result(args.json, score, found.model or None, chain=found.chain, made=made)
        print(f"wrote {args.json}")
    for note in score.notes:
        print(f"note: {note}")
    print(score.line())
