"""What docs/ tells people to type: from the flat archive to Top-1, and the first run on an NPU."""
import tarfile

import pytest
import tiny
from conftest import ROOT
from test_readme import blocks, moved, repository, run_blocks


def test_from_the_archive_to_top1(tmp_path):
    """Somebody who has the archive and val_label.txt, and reads this page alone."""
    top = repository(tmp_path, "spnasnet", "model_best.pth.tar")
    with tarfile.open(top / "ILSVRC2012_img_val.tar", "w") as tar:
        for image in (tmp_path / "imagenet/val").iterdir():
            tar.add(image, image.name)
    (tmp_path / "imagenet/val_label.txt").rename(top / "val_label.txt")
    said = run_blocks((ROOT / "docs/data.md").read_text(), top)
    assert "wrote 8 images in 8 class folders to imagenet/val" in said
    assert tiny.LINE in said


@pytest.mark.slow
def test_first_run_on_an_npu(tmp_path, fake_ascend):
    top = repository(tmp_path, "SPACH", "model_best.pth.tar")
    fake_ascend.script(fake_ascend.bin / "python3")
    text = (ROOT / "docs/ascend.md").read_text()
    assert sum(language == "bash" for language, _ in blocks(text)) == 2
    text = moved(text, fake_ascend, tmp_path / "imagenet")
    said = run_blocks(text, top, fake_ascend.env(loaded=False, PYTHONPATH=""))
    assert said.count(tiny.LINE) == 2 and "throughput" in said
    assert any("0,1,2,3" in call["argv"] for call in fake_ascend.calls("ais_bench"))
