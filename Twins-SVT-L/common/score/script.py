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
from common.score import metrics, origin, precision, results


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
    if place is None and source and (Path(source) / "manifest.json").is_file():
        place = source
    found = origin.of(results.find_run(folder), args.provenance, place)
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
    if source is None or (Path(source) / "manifest.json").is_file():
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
    found.note_recipe(known.info.get("recipe"))
    score.demo |= bool(found.model.get("demo") or found.onnx.get("demo"))
    score.findings += found.notes
    if args.against:
        score.against = precision.check(score, found, args.against, known, classes)
    return score


def finish(score, found, args, table=None, inputs=()):
    """Write ModelZoo's JSON `table` (a path) and args.json, print the notes, and last the line.

    inputs: more files that the figures depend on, such as ShiftViT's ground truth.
    """
    if table:
        metrics.write_table(table, score)
        print(f"wrote {table}")
    if args.json:
        record = provenance.record_path(found.run)
        inputs = [record if found.record else found.run, found.bins, found.model_path, *inputs]
        if args.against:
            inputs.append(provenance.record_path(args.against))
        made = provenance.made(args.json, [path for path in inputs if path and Path(path).exists()])
        metrics.write_result(args.json, score, found.model or None, chain=found.chain, made=made)
        print(f"wrote {args.json}")
    for note in score.notes:
        print(f"note: {note}")
    print(score.line())
