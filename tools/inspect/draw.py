"""Pictures of what a model saw and answered, with Pillow alone. Used by predict and compare."""
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from common import cli
from common.data import transforms

MOST = 20  # images in one picture; more would make it too tall to look at
SIDE, EDGE, WIDTH, THUMB = 448, 28, 1080, 112
WHITE, INK, GREY, PALE, BLUE, AMBER = "#ffffff", "#1d232b", "#66707c", "#e9edf2", "#2f6fb5", "#f3b23c"


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


def seen(picture, recipe):
    """(left, top, right, bottom) of what the crop keeps, in pixels of the whole picture."""
    scale = [min(picture.size) / recipe.resize] * 2 if recipe.keep_aspect else [side / recipe.resize for side in picture.size]
    half = [recipe.crop * s / 2 for s in scale]
    middle = [side / 2 for side in picture.size]
    return (*(max(0, m - h) for m, h in zip(middle, half)), *(min(s, m + h) for s, m, h in zip(picture.size, middle, half)))


def answer(canvas, paper, top, name, path, best, recipe, names):
    """One image from the line `top` on: its crop at twice its size, the whole with a frame round the crop, its classes."""
    picture = transforms.load(path)
    crop = Image.fromarray(recipe.pixels(picture)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    paper.paste(crop, (EDGE, top))
    left, right = EDGE + SIDE + 32, WIDTH - EDGE
    thumb = picture.copy()
    thumb.thumbnail((THUMB * 2, THUMB))
    scale = thumb.width / picture.width
    paper.paste(thumb, (right - thumb.width, top))
    x0, y0, x1, y1 = (scale * v for v in seen(picture, recipe))
    canvas.rectangle((right - thumb.width + x0, top + y0, right - thumb.width + x1 - 1, top + y1 - 1), outline=AMBER, width=2)
    width = right - left - thumb.width - 16
    canvas.text((left, top), fit(canvas, Path(name).name, font(22), width), INK, font(22))
    canvas.text((left, top + 36), f"{picture.width} x {picture.height} pixels", GREY, font(16))
    how = f"the frame, {'cut out' if recipe.keep_aspect else 'squashed'} to {recipe.crop} x {recipe.crop},"
    canvas.text((left, top + 58), fit(canvas, how, font(16), width), GREY, font(16))
    canvas.text((left, top + 80), "is what the model sees (left)", GREY, font(16))
    line = top + THUMB + 28
    step = (SIDE - THUMB - 28) // len(best)
    for rank, (index, share) in enumerate(best):
        y = line + rank * step
        percent = f"{100 * share:.2f} %"
        space = right - left - canvas.textlength("100.00 %", font(18)) - 16
        canvas.text((left, y), fit(canvas, names[index], font(18), space), INK, font(18))
        canvas.text((right - canvas.textlength(percent, font(18)), y), percent, INK, font(18))
        canvas.rounded_rectangle((left, y + 27, right, y + 41), 4, PALE)
        if share * (right - left) >= 1:
            canvas.rounded_rectangle((left, y + 27, left + max(8, share * (right - left)), y + 41), 4,
                                     BLUE if rank == 0 else "#9dbbdd")


def answers(file, model, title, is_demo, recipe, items, names):
    """Write the PNG `file`: for each (name, path, [(class index, probability)]) of `items` what `model` saw and answered.

    title: engine and precision; recipe: the transforms.Recipe of the model; names: what the 1000 classes are called.
    """
    shown = items[:MOST]
    head = 104
    more = 34 if len(items) > len(shown) else 0
    paper = Image.new("RGB", (WIDTH, head + len(shown) * (SIDE + EDGE) + more), WHITE)
    canvas = ImageDraw.Draw(paper)
    canvas.text((EDGE, 20), model, INK, font(28))
    canvas.text((EDGE, 58), title, GREY, font(17))
    if is_demo:
        text = "demo weights: not the model's answers"
        width = canvas.textlength(text, font(18))
        canvas.rounded_rectangle((WIDTH - EDGE - width - 24, 24, WIDTH - EDGE, 60), 8, AMBER)
        canvas.text((WIDTH - EDGE - width - 12, 31), text, INK, font(18))
    for number, (name, path, best) in enumerate(shown):
        answer(canvas, paper, head + number * (SIDE + EDGE), name, path, best, recipe, names)
    if more:
        canvas.text((EDGE, paper.height - more), f"and {len(items) - len(shown)} more, not drawn", GREY, font(18))
    with cli.whole_file(file) as part:
        paper.save(part)
