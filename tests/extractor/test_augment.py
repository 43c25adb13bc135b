"""What augmented views show."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from petrieve.extractor.pixels import augment as views
from petrieve.extractor.pixels.view import ENOUGH


@given(seed=some.integers(0, 2**32), height=some.integers(1, 700), width=some.integers(1, 700))
@settings(deadline=None, max_examples=25)
def test_a_view_is_what_torchvision_makes_of_the_photo(seed: int, height: int, width: int) -> None:
    """Its transforms one after the other, to one level of 255 where rounding falls the other way."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as tv

    pixels = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.manual_seed(seed))
    how = views.augmentation_of(seed.to_bytes(16, "big"), 2 + seed % 30)
    made = views.augmented_view(pixels, how)
    short, long = sorted((height, width))
    if long > 16 * short:
        pixels = tv.center_crop(pixels, [min(height, 16 * short), min(width, 16 * short)])
    height, width = pixels.shape[-2:]
    side = max(1, round(how.scale * short))
    top, left = round(how.down * (height - side)), round(how.across * (width - side))
    angle = math.radians(abs(how.angle))
    size = 2 * math.ceil(112 * (math.cos(angle) + math.sin(angle)))
    wanted = tv.resized_crop(pixels, top, left, side, side, [size, size], antialias=True)
    wanted = tv.center_crop(tv.rotate(wanted, how.angle, InterpolationMode.BILINEAR), [224, 224])
    wanted = tv.horizontal_flip(wanted) if how.mirrored else wanted
    apart = (made.int() - wanted.int()).abs()
    assert (made.shape, made.dtype) == ((3, 224, 224), torch.uint8)
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 0.001


def test_the_first_view_is_the_canonical_one_mirrored_and_the_others_are_none_of_both() -> None:
    pixels = torch.randint(0, 256, (3, 300, 420), dtype=torch.uint8, generator=torch.manual_seed(0))
    canonical, *augmented = views.views_of(pixels, bytes(16), range(8))
    assert torch.equal(augmented[0], torch.flip(canonical, [-1]))
    both = (canonical, augmented[0])
    assert not any(torch.equal(one, other) for one in augmented[1:] for other in both)


def test_no_corner_of_a_view_lies_outside_the_photo() -> None:
    white = torch.full((3, 300, 420), 255, dtype=torch.uint8)
    assert int(views.views_of(white, b"0123456789abcdef", range(1, 60)).min()) >= 254


def test_what_is_drawn_is_the_same_everywhere_and_stays_within_its_ranges() -> None:
    """These numbers are in people's stores: a change of them must change RECIPE."""
    first = views.augmentation_of(bytes(16), 1)
    assert first == views.Augmentation(
        -1.124953752300809, True, 0.9959042535422395, 0.6946841689905557, 0.9759760388598534
    )
    drawn = [views.augmentation_of(number.to_bytes(16, "big"), view) for number in range(500) for view in (1, 2)]
    assert len(set(drawn)) == 1000
    angles, scales = np.array([one.angle for one in drawn]), np.array([one.scale for one in drawn])
    assert -views.ANGLE <= angles.min() < -0.98 * views.ANGLE
    assert 0.98 * views.ANGLE < angles.max() <= views.ANGLE
    assert views.SCALE[0] <= scales.min() < scales.max() <= views.SCALE[1]
    assert 430 < sum(one.mirrored for one in drawn) < 570
    assert abs(np.mean([one.across for one in drawn]) - 0.5) < 0.05
    assert abs(np.mean([one.down for one in drawn]) - 0.5) < 0.05


def test_a_large_jpeg_is_decoded_large_enough_for_every_view() -> None:
    """Its decoder shrinks it to a shorter edge of ENOUGH at least: the smallest crop still has the pixels it needs."""
    most = math.radians(views.ANGLE)
    assert views.SCALE[0] * ENOUGH >= 2 * math.ceil(112 * (math.cos(most) + math.sin(most)))
