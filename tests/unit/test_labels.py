"""What a line of a label file may be, and which image it means."""
import pytest

from common import cli
from common.data import labels


@pytest.fixture
def read(tmp_path):
    def of(text, classes=1000):
        path = tmp_path / "val_label.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return labels.read_labels(path, classes)
    return of


@pytest.mark.parametrize("text", [
    "a.JPEG 5\r\nb.JPEG 7\r\n", "\ufeffa.JPEG 5\nb.JPEG 7", "a.JPEG\t5\n b.JPEG \t 7\n\n",
    "a.JPEG 5\na.JPEG 5\nb 7\n", "a.jpg 0005\nb.png 7"],
    ids=["CRLF", "BOM, no last newline", "tabs, blanks", "twice, no ending", "zeros, endings"])
def test_labels_as_people_write_them(read, text):
    assert read(text) == {"a": 5, "b": 7}


@pytest.mark.parametrize("line, name", [
    ("val/a.JPEG 7", "val/a"), ("/data/my images/a.JPEG 7", "/data/my images/a"),
    (r"C:\data\my images\a.JPEG 7", "C:/data/my images/a"), (r"val\n01440764\a.JPEG" + "\t7",
                                                            "val/n01440764/a"),
    ("n0.11_a 7", "n0.11_a"), ("n0.11_a.jpg 7", "n0.11_a"), ("it's,a.JPEG 7", "it's,a"),
    ("图.JPEG 7", "图"), ("../../val/a.JPEG 7", "../../val/a")])
def test_names_may_hold_folders(read, line, name):
    assert read(line) == {name: 7}


@pytest.mark.parametrize("line, said", [
    # more than two columns: the last one is not the label
    ("a.JPEG\tn01514668\t0\t32\t44\t62", "counted from 0"), ("a.JPEG 7 1", "two columns"),
    ("a.JPEG 7 490", "two columns"), ("a.JPEG 7\t490", "two columns"),
    ("val/a b.JPEG 7", "no blank"),
    ("a\t7\tx/b 5", "two columns"), ("my images/a.JPEG 7 1", "two columns"),
    # other forms that people have
    ("ImageId,PredictionString", "is not"), ("filename label", "is not"),
    ("a.JPEG,n01440764", "is not .*counted from 0"), ("a.JPEG n01440764", "counted from 0"),
    ("ILSVRC2012_val_00048981,n03995372 85 1 499 272", "counted from 0"),
    ("a.JPEG,7", "is not `<file name> <class index>` — write lines"), ("a;7", "is not"),
    ("490", "ILSVRC devkit lists bare numbers"), ("7 a.JPEG", "is not"),
    ("a.JPEG -1", "is not"), ("a.JPEG 5.0", "is not `<file name>"), ("a.JPEG ٣", "is not"),
    ("a.JPEG", "is not"), ("a.JPEG 9999999999", "is not"), ("val/ 7", "is not")])
def test_other_lines_are_refused(read, line, said):
    with pytest.raises(cli.Failure, match=rf"val_label.txt:1: .*{said}"):
        read(line + "\nb.JPEG 7\n")


@pytest.mark.parametrize("text, said", [
    ("a 5\nb 1000\n", "val_label.txt:2: class 1000 .*count from 1 — subtract 1"),
    ("a 5\nb 1001\n", "val_label.txt:2: class 1001 is not in 0 … 999"),
    ("a 5\nb 1\na 6\n", "val_label.txt:3: a is labelled 6 here and 5 before"),
    ("a.JPEG 5\na 6\n", "labelled 6 here and 5"), (b"a \xff\xfe5", "not text"), ("", "is empty"),
    ("a 5\n".encode("utf-16"), "not text"), (bytes(10**6), "1: "), (b"x" * 10**6 + b" 5 5", "1: ")])
def test_files_that_are_refused(read, text, said):
    with pytest.raises(cli.Failure, match=said) as e:
        read(text)
    assert len(str(e.value)) < 800


def test_labels_of_a_network_with_other_classes(read):
    with pytest.raises(cli.Failure, match="class 10 .*count from 1"):
        read("a 10", 10)
    assert read("a 4999", 5000) == {"a": 4999}


@pytest.mark.parametrize("lines, images, want, left", [
    ({"a": 1, "b": 2}, ["a.JPEG", "b.png"], [1, 2], []),
    ({"/other/val/a": 1, "b": 2}, ["sub/a.JPEG", "sub/b.JPEG"], [1, 2], []),
    # one name in two folders: the folder decides
    ({"cat/x": 1, "dog/x": 2}, ["dog/x.jpg", "cat/x.jpg"], [2, 1], []),
    ({"val/cat/x": 1, "dog/x": 2}, ["dog/x.jpg", "cat/x.jpg"], [2, 1], []),
    ({"x": 1}, ["dog/x.jpg", "cat/x.jpg"], [None, None], ["x"]),
    ({"cow/x": 1}, ["dog/x.jpg", "cat/x.jpg"], [None, None], ["cow/x"]),
    # of a subset: the label of an image that is not there is nobody else's
    ({"cat/x": 1, "dog/x": 2}, ["cat/x.jpg"], [1], ["dog/x"]),
    ({"a": 1}, ["a.jpg", "a.png"], [None, None], ["a"]), ({"a": 1, "c": 3}, ["a.jpg"], [1], ["c"])])
def test_which_image_a_label_means(lines, images, want, left):
    found, over = labels.join(lines, images)
    assert [found.get(image) for image in images] == want and over == left


@pytest.mark.parametrize("lines", [{"cat/x": 1, "dog/x": 2}, {"x": 1, "val/x": 2}])
@pytest.mark.parametrize("image", ["x.jpg", "other/x.jpg"])
def test_an_image_with_two_labels_is_refused(lines, image):
    if (lines, image) == ({"x": 1, "val/x": 2}, "other/x.jpg"):
        assert labels.join(lines, [image]) == ({image: 1}, ["val/x"])  # which says that it is left
        return
    with pytest.raises(cli.Failure, match="x.jpg is labelled 1 and, as .*x, 2"):
        labels.join(lines, [image])
