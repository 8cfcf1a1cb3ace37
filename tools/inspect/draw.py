"""A picture of what a model saw and answered, with Pillow alone. Used by predict."""
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from common import cli
from tools.inspect import photo

MOST = 20  # images in one picture; more would make it too tall to look at
SIDE, EDGE, WIDTH, THUMB, HEAD = 448, 28, 1080, 112, 104  # pixels
WHITE, INK, GREY, PALE = "#ffffff", "#1d232b", "#66707c", "#e9edf2"
BLUE, LIGHT_BLUE, AMBER = "#2f6fb5", "#9dbbdd", "#f3b23c"


def font(size):
    """Pillow's own font in this size; before Pillow 10.1 its only one, which has none."""
    try:
        return ImageFont.load_default(size)
    except TypeError:
        return ImageFont.load_default()


def fit(canvas, text, kind, width):
    """`text`, its end replaced by … where it would be wider than `width` pixels."""
    if canvas.textlength(text, kind) <= width:
        return text
    while text and canvas.textlength(text + "…", kind) > width:
        text = text[:-1]
    return text.rstrip(" ,") + "…"


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
        canvas.text((left, y), fit(canvas, names[index], kind, space), INK, kind)
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
    canvas.text((left, top), fit(canvas, Path(name).name, font(22), width), INK, font(22))
    texts = (f"{picture.width} x {picture.height} pixels",
             f"the frame, {how} to {recipe.crop} x {recipe.crop},",
             "is what the model sees (left)")
    for line, text in enumerate(texts):
        place = (left, top + 36 + 22 * line)
        canvas.text(place, fit(canvas, text, font(16), width), GREY, font(16))
    bars(canvas, best, names, left, right, top + THUMB + 28)


def answers(file, model, title, is_demo, recipe, items, names):
    """Write the PNG `file`: what `model` saw and answered for each (name, path, [(class index,
    probability)]) of `items`.

    title: engine and precision; recipe: the model's transforms.Recipe; names: of the classes.
    """
    shown, left_out = items[:MOST], len(items) - MOST
    more = 34 if left_out > 0 else 0
    paper = Image.new("RGB", (WIDTH, HEAD + len(shown) * (SIDE + EDGE) + more), WHITE)
    canvas = ImageDraw.Draw(paper)
    canvas.text((EDGE, 20), model, INK, font(28))
    canvas.text((EDGE, 58), title, GREY, font(17))
    if is_demo:
        text = "demo weights: not the model's answers"
        start = WIDTH - EDGE - 24 - canvas.textlength(text, font(18))
        canvas.rounded_rectangle((start, 24, WIDTH - EDGE, 60), 8, AMBER)
        canvas.text((start + 12, 31), text, INK, font(18))
    for number, (name, path, best) in enumerate(shown):
        answer(paper, HEAD + number * (SIDE + EDGE), name, path, best, recipe, names)
    if more:
        text = f"and {left_out} more, not drawn"
        canvas.text((EDGE, paper.height - more), text, GREY, font(18))
    about = PngInfo()
    about.add_text(*photo.OURS)
    with cli.whole_file(file) as part:
        paper.save(part, pnginfo=about)
