"""Where each image lies, of many images in little memory: names as bytes and numbers in arrays, not an object for each.

50,000 rows as tuples of str, with a dict that finds them, are 25 MB; here they are 2. Names are packed: an array of bytes, one
name after another as long as the longest, which numpy sorts and searches.
"""
from __future__ import annotations

import itertools
import re
from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

AT_A_TIME = 512  # names or rows that are Python's objects for a moment
NONE = -1 << 31  # the label of a row that has none


class Row(NamedTuple):
    """Where one image lies: row `row` of the bin (and result) whose stem is `file`; its name and class index."""

    image: str
    file: str
    row: int
    label: int | None


def pieces(items, most=AT_A_TIME):
    """Lists of at most so many items each."""
    items = iter(items)
    return iter(lambda: list(itertools.islice(items, most)), [])


def pack(names):
    """Names (any iterable of str) as an array of bytes, dtype S."""
    # numpy drops NULs at the end of a name; 255 stands for one, a byte that UTF-8 does not have.
    packed = np.zeros(0, "S1")
    for piece in pieces(names):
        packed = _longer(packed, [n.encode("utf-8", "surrogatepass").replace(b"\0", b"\xff") for n in piece])
    return packed


def _longer(column, more):
    """An array and what comes behind it; in its own memory where that can be, as np.concatenate() never does."""
    more = np.asarray(more)
    column = column.astype(np.promote_types(column.dtype, more.dtype), copy=False)
    column.resize(len(column) + len(more), refcheck=False)
    column[-len(more):] = more
    return column


def unpack(names):
    """The list of str that pack() packed."""
    return [n.replace(b"\xff", b"\0").decode("utf-8", "surrogatepass") for n in names.tolist()]


def once(names):
    """Mask of a packed array: where each name stands first."""
    order, first = np.argsort(names, kind="stable"), np.ones(len(names), bool)
    for at in range(0, len(names), AT_A_TIME):  # in pieces, since sorting a copy takes memory as well
        here = order[at:at + AT_A_TIME + 1]
        first[here[1:]] = names[here[1:]] != names[here[:-1]]
    return first


def natural(name):
    """Sort key of a file name: digits count as numbers and case does not, so that img2 comes before IMG10; the name itself
    decides between those that are the same so.

    It is a string, which packs: a number is \\x01, which comes before all that names have, then how many digits it has, then
    these; the name comes behind two of \\x01.
    """
    return re.sub("0*([0-9]+)", lambda number: f"\1{len(number[1]):03d}{number[1]}", name.lower()) + f"\1\1{name}"


class Files(Mapping):
    """{stem of a bin: its rows, padding included}. names: packed, each once; counts: int32, as many."""

    def __init__(self, names, counts):
        self.names, self.counts, self.order = names, counts, np.argsort(names, kind="stable")

    @classmethod
    def of(cls, files):
        """The same as a dict."""
        return files if isinstance(files, cls) else cls(pack(files), np.array(array("i", files.values())))

    @classmethod
    def alike(cls, rows, count):
        """The files of `rows` (Rows), each with `count` rows."""
        first = once(rows.file)
        names = rows.file if first.all() else rows.file[first]
        return cls(names, np.repeat(np.array(array("i", [count])), len(names)))

    def find(self, names):
        """Where each of the packed `names` is in self.names: int32, -1 for those that are not."""
        found = np.full(len(names), -1, np.int32)
        for at in range(0, len(names) if len(self) else 0, AT_A_TIME):
            some = names[at:at + AT_A_TIME]
            # Cut to one length, so that numpy need not copy all of ours; one that was cut is not equal in the end.
            near = np.searchsorted(self.names, some.astype(self.names.dtype), sorter=self.order)
            near = self.order[np.minimum(near, len(self) - 1)]
            found[at:at + AT_A_TIME] = np.where(self.names[near] == some, near, -1)
        return found

    def __getitem__(self, stem):
        at = self.find(pack([stem]))[0]
        if at < 0:
            raise KeyError(stem)
        return int(self.counts[at])

    def __iter__(self):
        for at in range(0, len(self), AT_A_TIME):
            yield from unpack(self.names[at:at + AT_A_TIME])

    def values(self):
        return self.counts.tolist()

    def __len__(self):
        return len(self.names)


class Rows(Sequence):
    """A sequence of Row. image, file: packed names; row, label: int32, NONE where no label is known."""

    def __init__(self, image, file, row, label):
        self.image, self.file, self.row, self.label = image, file, row, label

    @classmethod
    def of(cls, rows):
        """The same as any iterable of Row."""
        if isinstance(rows, cls):
            return rows
        columns = [pack(()), pack(()), np.zeros(0, np.int32), np.zeros(0, np.int32)]
        for image, file, row, label in (zip(*piece) for piece in pieces(rows)):
            more = pack(image), pack(file), array("i", row), array("i", [NONE if n is None else n for n in label])
            columns = list(map(_longer, columns, more))
        return cls(*columns)

    def take(self, which):
        """Rows of these alone: a slice, a mask or indices."""
        return Rows(self.image[which], self.file[which], self.row[which], self.label[which])

    def __len__(self):
        return len(self.row)

    def __getitem__(self, at):
        return self.take(at) if isinstance(at, slice) else next(iter(self.take([range(len(self))[at]])))

    def __iter__(self):
        for at in range(0, len(self), AT_A_TIME):
            some = self[at:at + AT_A_TIME]
            labels = (None if n == NONE else n for n in some.label.tolist())
            yield from map(Row, unpack(some.image), unpack(some.file), some.row.tolist(), labels)

    def __add__(self, other):
        return Rows(*(np.concatenate([getattr(rows, name) for rows in (self, other)]) for name in Row._fields))

    def __eq__(self, other):
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other))
