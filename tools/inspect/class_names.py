"""What people call ImageNet's 1000 classes, read from timm where it is installed; their synsets elsewhere."""
import importlib.util
from pathlib import Path

from common.data import demo
from common.data.dataset import SYNSETS

# WordNet's words for a synset, `<synset><tab><words>` a line. Read as a file: importing timm would import torch.
LEMMAS = "data/_info/imagenet_synset_to_lemma.txt"


def load(is_demo=False):
    """Return the list of 1000 names by class index; with `is_demo` those of the ten classes that demo weights know."""
    if is_demo:
        return [f"demo: {demo.CLASSES[i]}" if i in demo.CLASSES else "no class of the demo" for i in range(1000)]
    synsets = SYNSETS.read_text().split()
    timm = importlib.util.find_spec("timm")
    file = Path(timm.submodule_search_locations[0]) / LEMMAS if timm else None
    if file is None or not file.exists():
        return synsets
    words = dict(line.split("\t", 1) for line in file.read_text(encoding="utf-8").splitlines() if "\t" in line)
    return [words.get(synset, synset) for synset in synsets]
