"""A picture whose corners show how it is turned."""

from PIL import Image

RED, GREEN, BLUE = (250, 10, 20), (15, 240, 25), (20, 30, 235)
# What a camera that was held so has stored: undone by turning it as the orientation (EXIF 2.32) says.
HELD = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def picture(width: int = 300, height: int = 240) -> Image.Image:
    """Red above on the left, green above on the right, blue below."""
    made = Image.new("RGB", (width, height), BLUE)
    made.paste(RED, (0, 0, width // 2, height // 2))
    made.paste(GREEN, (width // 2, 0, width, height // 2))
    return made
