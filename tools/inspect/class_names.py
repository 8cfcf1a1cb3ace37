"""What people call the classes: ImageNet's 1000 as timm has them, their synsets without timm."""
import importlib.util
from pathlib import Path

from common.data import demo, manifest
from common.data.labels import SYNSETS
from common.published import IMAGENET

# WordNet's words for a synset, `<synset><tab><words>` per line. Read as a file: to import timm
# would be to import torch.
LEMMAS = "data/_info/imagenet_synset_to_lemma.txt"


def load(is_demo=False, classes=IMAGENET, known=(), bins=None):
    """The names by class index, `classes` of them; with `is_demo` those that demo weights know.

    known: those that published.json has; bins: folder whose images may lie in folders of classes.
    """
    if known and not is_demo:
        return list(known)
    if is_demo:
        shown = demo.shown(classes)
        return [f"demo: {shown[i]}" if i in shown else "no class of the demo"
                for i in range(classes)]
    if classes != IMAGENET:
        folders = of_folders(bins)
        return [folders.get(i, f"class {i}") for i in range(classes)]
    synsets = SYNSETS.read_text().split()
    timm = importlib.util.find_spec("timm")
    file = Path(timm.submodule_search_locations[0]) / LEMMAS if timm else None
    if file is None or not file.exists():
        return synsets
    lines = file.read_text(encoding="utf-8").splitlines()
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return [words.get(synset, synset) for synset in synsets]


def of_folders(bins):
    """{class index: its folder} where the images of `bins` are labelled by folders, else {}."""
    if bins is None or not (Path(bins) / manifest.NAME).exists():
        return {}
    known = manifest.Manifest.load(bins)
    if "folders" not in (known.info.get("labels_from") or ""):
        return {}
    return {row.label: row.image.split("/")[0] for row in known.rows}
