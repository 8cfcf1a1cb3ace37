"""spnasnet's get_info.py: the .info file that the older benchmark tool reads."""
import pytest
from conftest import odd_images
from PIL import Image
from torchvision.datasets.folder import default_loader

from common import cli


def test_info_of_bins(tmp_path, script, monkeypatch):
    (tmp_path / "prep_bin").mkdir()
    for name in ("img_10.bin", "img_9.bin", "img_1.bin", "manifest.json", ".img_3.bin"):
        (tmp_path / "prep_bin" / name).write_bytes(b"0")
    monkeypatch.chdir(tmp_path)
    said = script("spnasnet", "get_info.py")("bin", "./prep_bin", "./x.info", 224, 192)
    lines = (tmp_path / "x.info").read_text().splitlines()
    assert lines == ["0 prep_bin/img_1.bin 224 192", "1 prep_bin/img_9.bin 224 192",
                     "2 prep_bin/img_10.bin 224 192"]
    assert said == "wrote ./x.info (3 files)\n"
    words = ("bin", "prep_bin", "x.info", 1, 1, "--seen-from", tmp_path / "a/b")
    script("spnasnet", "get_info.py")(*words)
    assert (tmp_path / "x.info").read_text().startswith("0 ../../prep_bin/img_1.bin 1 1\n1 ")


def test_info_of_images_has_their_sizes(tmp_path, script):
    paths, _ = odd_images(tmp_path)
    for name, kind in (("a.JPG", "JPEG"), ("b.jpeg", "JPEG"), ("c.png", "PNG")):
        Image.new("RGB", (7, 9)).save(tmp_path / "images" / name, kind)
    script("spnasnet", "get_info.py")("jpg", tmp_path / "images", tmp_path / "x.info")
    lines = [line.split(" ") for line in (tmp_path / "x.info").read_text().splitlines()]
    assert [int(line[0]) for line in lines] == list(range(len(paths) + 2))
    for _, path, width, height in lines:
        assert default_loader(path).size == (int(width), int(height))
    more = [tmp_path / "images" / name for name in ("a.JPG", "b.jpeg")]
    assert {line[1] for line in lines} == {str(path) for path in (*paths, *more)}


@pytest.mark.parametrize("words, message", [
    (("bin", "gone", "x.info", 224, 224), "folder gone does not exist"),
    (("bin", "empty", "x.info", 224, 224), r"no \.bin files in empty"),
    (("jpg", "bad", "x.info"), r"bad/a\.jpg cannot be read"),
    (("jpg", "empty", "x.info"), r"no \.jpg or \.jpeg files in empty"),
    (("bin", "a b", "x.info", 224, 224), "has a space in it")])
def test_info_faults(tmp_path, script, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "bad", "a b"):
        (tmp_path / name).mkdir()
    (tmp_path / "bad/a.jpg").write_text("<html>")
    (tmp_path / "a b/a.bin").write_text("0")
    with pytest.raises(cli.Failure, match=message):
        script("spnasnet", "get_info.py")(*words)
    assert not (tmp_path / "x.info").exists()


@pytest.mark.parametrize("words", [
    ("bin", ".", "x.info"), ("bin", ".", "x.info", 224), ("bin", ".", "x.info", 0, 224),
    ("jpg", ".", "x.info", 224, 224), ("png", ".", "x.info"), ()])
def test_info_called_wrongly(script, words):
    with pytest.raises(SystemExit) as stop:
        script("spnasnet", "get_info.py")(*words)
    assert stop.value.code == 2
