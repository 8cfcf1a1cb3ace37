"""A picture of what a model saw and answered, with Pillow. Used by predict.

A few images are drawn one below the other with their Top-5, more as a contact sheet with the
best class of each. Names in another script than Latin take a font of the system that has it.
"""
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from common import cli
from tools import fonts
from tools.inspect import photo

FEW, MOST = 5, 60  # images one below the other, and in one picture at all
SIDE, EDGE, WIDTH, THUMB, HEAD = 448, 28, 1080, 112, 104  # pixels
WHITE, INK, GREY, PALE = "#ffffff", "#1d232b", "#66707c", "#e9edf2"
COLUMNS, TILE, STEP = 5, 182, 262  # of the contact sheet; pixels
BLUE, LIGHT_BLUE, AMBER = "#2f6fb5", "#9dbbdd", "#f3b23c"


def font(size):
    """Pillow's own font in this size; before Pillow 10.1 its only one, which has none."""
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()


def lacking(kind, text):
    """The characters of `text` that the font draws as its box for unknown ones."""
    box = bytes(kind.getmask("\uffff"))
    return frozenset(c for c in text if ord(c) > 127 and bytes(kind.getmask(c)) == box)


def readable(text, size):
    """(`text`, a font of `size` that has it); characters that no font here has are spelled."""
    kind = font(size)
    missing = lacking(kind, text)
    if missing and not fonts.file_with(frozenset(text)):
        nowhere = {c for c in missing if not fonts.file_with(frozenset(c))}
        text = fonts.spelled(text, nowhere)
    file = fonts.file_with(frozenset(text)) if missing else None
    return (text, ImageFont.truetype(file, size)) if file else (fonts.spelled(text, missing), kind)


def write(canvas, place, text, color, size, width):
    """Draw `text`, its end replaced by … where it would be wider than `width` pixels."""
    text, kind = readable(text, size)
    if canvas.textlength(text, kind) > width:
        while text and canvas.textlength(text + "…", kind) > width:
            text = text[:-1]
        text = text.rstrip(" ,") + "…"
    canvas.text(place, text, color, kind)


def seen(size, recipe):
    """(left, top, right, bottom) of what the crop keeps, in pixels of the whole picture, whose
    (width, height) `size` is."""
    short = min(size)
    box = []
    for side in size:
        scale = (short if recipe.keep_aspect else side) / recipe.resize
        half = recipe.crop * scale / 2
        box.append((max(0, side / 2 - half), min(side, side / 2 + half)))
    (left, right), (top, bottom) = box
    return left, top, right, bottom


def thumbnail(paper, picture, recipe, right, top):
    """Paste the whole picture with its right upper corner at (right, top), a frame around what
    the crop keeps; returns its width."""
    thumb = picture.copy()
    thumb.thumbnail((THUMB * 2, THUMB))
    left, scale = right - thumb.width, thumb.width / picture.width
    paper.paste(thumb, (left, top))
    x0, y0, x1, y1 = (scale * v for v in seen(picture.size, recipe))
    frame = (left + x0, top + y0, left + x1 - 1, top + y1 - 1)
    ImageDraw.Draw(paper).rectangle(frame, outline=AMBER, width=2)
    return thumb.width


def bars(canvas, best, names, left, right, top):
    """The classes of `best` [(index, probability)], one below the other, each with a bar."""
    kind = font(18)
    space = right - left - canvas.textlength("100.00 %", kind) - 16
    step = (SIDE - THUMB - 28) // len(best)
    for rank, (index, share) in enumerate(best):
        y, percent = top + rank * step, f"{100 * share:.2f} %"
        write(canvas, (left, y), names[index], INK, 18, space)
        canvas.text((right - canvas.textlength(percent, kind), y), percent, INK, kind)
        canvas.rounded_rectangle((left, y + 27, right, y + 41), 4, PALE)
        length = share * (right - left)
        if length >= 1:
            color = LIGHT_BLUE if rank else BLUE
            canvas.rounded_rectangle((left, y + 27, left + max(8, length), y + 41), 4, color)


def answer(paper, top, name, path, best, recipe, names):
    """One image from the line `top` on: its crop at twice its size, the whole with a frame
    around the crop, its classes."""
    canvas, picture = ImageDraw.Draw(paper), photo.load(path)
    crop = Image.fromarray(recipe.pixels(picture))
    paper.paste(crop.resize((SIDE, SIDE), Image.Resampling.NEAREST), (EDGE, top))
    left, right = EDGE + SIDE + 32, WIDTH - EDGE
    width = right - left - thumbnail(paper, picture, recipe, right, top) - 16
    how = "cut out" if recipe.keep_aspect else "squashed"
    write(canvas, (left, top), Path(name).name, INK, 22, width)
    texts = (f"{picture.width} x {picture.height} pixels",
             f"the frame, {how} to {recipe.crop} x {recipe.crop},",
             "is what the model sees (left)")
    for line, text in enumerate(texts):
        write(canvas, (left, top + 36 + 22 * line), text, GREY, 16, width)
    bars(canvas, best, names, left, right, top + THUMB + 28)


def tile(paper, number, name, path, best, recipe, names):
    """One image of the contact sheet: its crop, its name, its best class."""
    row, column = divmod(number, COLUMNS)
    left, top = EDGE + column * (TILE + EDGE), HEAD + row * STEP
    canvas, crop = ImageDraw.Draw(paper), Image.fromarray(recipe.pixels(photo.load(path)))
    paper.paste(crop.resize((TILE, TILE), Image.Resampling.LANCZOS), (left, top))
    index, share = best[0]
    write(canvas, (left, top + TILE + 6), Path(name).name, GREY, 14, TILE)
    write(canvas, (left, top + TILE + 26), names[index], INK, 15, TILE)
    canvas.text((left, top + TILE + 46), f"{100 * share:.2f} %", INK, font(14))


def answers(file, model, title, is_demo, recipe, items, names):
    """Write the PNG `file`: what `model` saw and answered for each (name, path, [(class index,
    probability)]) of `items`.

    title: engine and precision; recipe: the model's transforms.Recipe; names: of the classes.
    """
    shown, left_out = items[:MOST], len(items) - MOST
    texts = [model, *(Path(name).name for name, _, _ in shown),
             *(names[index] for _, _, best in shown for index, _ in best)]
    notes = [f"and {left_out} more, not drawn"] if left_out > 0 else []
    if any(readable(text, 18)[0] != text for text in texts):
        notes.append(f"U+…: a character that no font here has; {fonts.TODO}")
    sheet = len(shown) > FEW
    tall = -(-len(shown) // COLUMNS) * STEP if sheet else len(shown) * (SIDE + EDGE)
    paper = Image.new("RGB", (WIDTH, HEAD + tall + 34 * len(notes)), WHITE)
    canvas = ImageDraw.Draw(paper)
    write(canvas, (EDGE, 20), model, INK, 28, WIDTH / 2)
    canvas.text((EDGE, 58), title, GREY, font(17))
    if is_demo:
        text = "demo weights: not the model's answers"
        start = WIDTH - EDGE - 24 - canvas.textlength(text, font(18))
        canvas.rounded_rectangle((start, 24, WIDTH - EDGE, 60), 8, AMBER)
        canvas.text((start + 12, 31), text, INK, font(18))
    for number, (name, path, best) in enumerate(shown):
        if sheet:
            tile(paper, number, name, path, best, recipe, names)
        else:
            answer(paper, HEAD + number * (SIDE + EDGE), name, path, best, recipe, names)
    for line, text in enumerate(notes):
        canvas.text((EDGE, HEAD + tall + 34 * line), text, GREY, font(18))
    about = PngInfo()
    about.add_text(*photo.OURS)
    with cli.whole_file(file) as part:
        paper.save(part, pnginfo=about)
