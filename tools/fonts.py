"""Fonts for names in any script, for the pictures of predict and report."""
import contextlib
import functools

TODO = "install one, such as fonts-noto-cjk"


@functools.lru_cache(maxsize=None)
def file_with(characters):
    """Path of a font of this system that has all of `characters` (a frozenset), plain and without
    serifs where there is one; None where no font has them."""
    try:
        from matplotlib import font_manager, ft2font
    except ImportError:
        return None

    def rank(path):
        name = path.lower()
        plain = not any(word in name for word in ("bold", "italic", "oblique", "mono", "light"))
        return not plain, "sans" not in name, path

    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in sorted(known | set(font_manager.findSystemFonts()), key=rank):
        if "lastresort" in path.lower():  # matplotlib's, with a box for every character
            continue
        with contextlib.suppress(OSError, RuntimeError):
            if {ord(c) for c in characters} <= ft2font.FT2Font(path).get_charmap().keys():
                return path
    return None


def spelled(text, lacking):
    """`text` with each character of `lacking` as its code point: U+732B."""
    return "".join(f"U+{ord(c):04X} " if c in lacking else c for c in text).strip()
