"""What the five models' scoring scripts share: options, the way from results to a Score, the end.

    found = script.open_run(args, args.result, args.labels)
    known = script.labels(found, args.labels, FOLDER)
    score = script.evaluate(found, known, args, FOLDER)
    print(ModelZoo's own line)
    script.finish(score, found, args)
"""
from __future__ import annotations

import os
from pathlib import Path

from common import cli, provenance, published
from common.data import manifest
from common.score import metrics, origin, verdict


def add_arguments(parser):
    """Options that every scoring script has besides ModelZoo's own."""
    parser.add_argument("--manifest", metavar="DIR",
                        help="folder of the bins, or its manifest.json: which result is which "
                             "image, and its label")
    parser.add_argument("--json", metavar="FILE",
                        help="write the figures and what produced them there, and answers_….csv "
                             "beside it: what each image was taken for")
    parser.add_argument("--allow-partial", action="store_true",
                        help="score the images that have results; every output says how many "
                             "are missing")
    parser.add_argument("--allow-below", action="store_true",
                        help="exit 0 though Top-1 on the full set is below 99 %% of the published")
    parser.add_argument("--against", metavar="DIR",
                        help="results of f32 on the same bins, for those of a lower precision: "
                             "refused when more than one point of Top-1 is lost")


def open_run(args, folder, source=None):
    """The Origin of the results in `folder`. `source` is what labels the images, and may be the
    folder of the bins. Failure where a link of the chain does not fit."""
    place = args.manifest
    if place is None and source and (Path(source) / manifest.NAME).is_file():
        place = source
    found = origin.of(folder, place)
    if found.lower and not args.against:
        raise cli.Failure(f"{found.run} holds results in {found.lower}, which count only beside "
                          "f32's", f"make eval PRECISION={found.lower}, or --against FOLDER")
    return found


def labels(found, source, folder):
    """The Manifest of the images with the labels that `source` has; `folder` is the model's.

    source: a label file, the images' folder, the folder of the bins, or None: the labels that
    the preprocessing found. The same, with a note, where the folder is not on this host.
    """
    if source is None and found.bins is None:
        raise cli.Usage("no labels are given, and no manifest.json is known",
                        "give the label file, or --manifest FOLDER_OF_BINS")
    if source is None or (Path(source) / manifest.NAME).is_file():
        return manifest.Manifest.load(found.bins)
    if found.bins and not Path(source).exists() and Path(source).suffix != ".txt":
        found.notes.append(f"{source} is not here: the labels are those that the preprocessing "
                           "found")
        return manifest.Manifest.load(found.bins)
    about = published.load(folder)
    return manifest.labelled(source, found.bins, about.classes, about.names)


def evaluate(found, known, args, folder):
    """The Score of the results `found` with the Manifest `known`; `folder` is the model's."""
    about = published.load(folder)
    found.inputs.append(os.path.relpath(Path(folder) / "published.json"))
    score = metrics.evaluate(found.run, known, args.allow_partial, about.classes)
    score.demo |= bool(found.model.get("demo") or found.onnx.get("demo"))
    score.findings += found.notes + found.recipe_note(known.info.get("recipe"))
    if args.against:
        f32 = of_f32(args.against, found)
        reference = metrics.evaluate(f32.run, known, args.allow_partial, about.classes)
        verdict.compare(score, reference, found.lower or "the lower precision")
        score.findings += [f"f32: {note}" for note in f32.notes]
    other_weights = found.onnx.get("weights_note")
    score.findings += [other_weights] if other_weights else []
    score.verdict = verdict.of(score, about, args.allow_below, other_weights)
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


def finish(score, found, args, table=None):
    """Write ModelZoo's JSON `table` (a path), args.json and the answers beside it; print the
    notes, the verdict, and last the line. Failure after that when Top-1 is too low."""
    if table:
        metrics.write_table(table, score)
        print(f"wrote {table}")
    if args.json:
        inputs = [found.record or found.run, found.bins, found.model_path, *found.inputs]
        if args.against:
            inputs.append(provenance.record_path(args.against))
        made = provenance.made(args.json, [path for path in inputs if path and Path(path).exists()])
        answers = verdict.write_answers(args.json, score)
        metrics.write_result(args.json, score, found.model or None, answers_csv=answers,
                             chain=found.chain, made=made)
        print(f"wrote {args.json} and {answers['file']}")
    verdict.say(score.notes, score.verdict, score.line())
