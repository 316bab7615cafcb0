"""Text in pictures, by OpenCV's own font: what it cannot draw is written as an escape, never as a question mark."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from flowstore.names import printable_name
from flowstore.opencv import cv2

Image = npt.NDArray[np.uint8]

LINE_HEIGHT = 18
INK = 20, 20, 20
PALE_INK = 110, 110, 110
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SIZE = 0.45
_BASELINE = 13
_ELLIPSIS = "..."
_BETWEEN_WORDS = " _-/,"


def drawable_text(text: str) -> str:
    r"""Return a text of which OpenCV's font can draw every character: the others become escapes.

    Examples
    --------
    >>> drawable_text("wave\n\U0001f600")
    'wave\\n\\U0001f600'
    """
    escaped = printable_name(text)
    return "".join(c if _is_drawable(c) else c.encode("ascii", "backslashreplace").decode() for c in escaped)


@functools.lru_cache(maxsize=4096)
def _is_drawable(character: str) -> bool:
    if character.isascii():
        return True
    return not np.array_equal(_drawn(character), _drawn("?"))


def _drawn(character: str) -> Image:
    # Version 4 draws a question mark for a character, or one for each of its bytes; the first is enough to tell.
    image = np.zeros((LINE_HEIGHT, 8), np.uint8)
    cv2.putText(image, character, (1, _BASELINE), _FONT, _SIZE, 255, 1, cv2.LINE_AA)
    return image


def text_width(text: str) -> int:
    """Return how many pixels a line takes, drawable characters only."""
    return int(cv2.getTextSize(text, _FONT, _SIZE, 1)[0][0]) + 2


def draw_text(image: Image, text: str, left: int, top: int, ink: tuple[int, int, int] = INK) -> None:
    """Draw a line of `LINE_HEIGHT` pixels into an image.

    `image`: uint8 array (H, W, 3), red, green, blue; drawn into.
    """
    cv2.putText(image, text, (left, top + _BASELINE), _FONT, _SIZE, ink, 1, cv2.LINE_AA)


def wrap_text(text: str, width: int, max_lines: int | None = None) -> list[str]:
    """Break a text into lines that fit: after a space or a sign between words, such as `_`, else at any character."""
    lines = _break(text, width)
    if max_lines is None or len(lines) <= max_lines:
        return lines
    n_kept = len(text)
    while n_kept > 2 and (len(lines) > max_lines or not any(_ELLIPSIS in line for line in lines)):
        n_kept -= 1
        end = text[len(text) - n_kept // 2 :]
        # It begins with a whole word, if that leaves most of it.
        signs = [place for place, character in enumerate(end[: len(end) // 3]) if character in _BETWEEN_WORDS]
        lines = _break(text[: (n_kept + 1) // 2] + _ELLIPSIS + (end[signs[0] :] if signs else end), width)
    return lines


def _break(text: str, width: int) -> list[str]:
    lines = [""]
    for character in text:
        if lines[-1] and text_width(lines[-1] + character) > width:
            place = max(lines[-1].rfind(sign) for sign in _BETWEEN_WORDS) + 1
            whole = place > len(lines[-1]) // 3 and character != " "
            lines[-1:] = [lines[-1][:place], lines[-1][place:]] if whole else [lines[-1], ""]
        lines[-1] += character
    return lines
