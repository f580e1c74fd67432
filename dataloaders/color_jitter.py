"""Random brightness, contrast, saturation and hue of training clips."""

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class ColorJitter:
    """What is done to the colours of all frames of one clip.

    The four adjustments mean what they mean in torchvision and Pillow.

    Attributes:
        brightness: Factor of all values.
        contrast: Factor of the distance of each value from the mean grey of its frame.
        saturation: Factor of the distance of each value from the grey of its pixel.
        hue: Turn of the colour circle, from -0.5 to 0.5.
        order: The names of the four, in the order in which they are applied.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[str, ...] = ("brightness", "contrast", "saturation", "hue")

    @classmethod
    def draw(cls, rng: np.random.Generator, strength: float) -> "ColorJitter":
        """Draw the adjustments of a clip, and their order.

        Args:
            rng: Of this clip alone.
            strength: S, 0 to 1. The factors are from 1 - S to 1 + S, the turn from -S/2 to S/2.
        """
        brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
        hue = rng.uniform(-strength / 2, strength / 2)
        order = tuple(rng.permutation(list(ADJUSTMENTS)).tolist())
        return cls(brightness, contrast, saturation, hue, order)

    def apply(self, clip: np.ndarray) -> np.ndarray:
        """Return a clip with other colours, `uint8` (T, H, W, 3), RGB like the clip."""
        for name in self.order:
            clip = ADJUSTMENTS[name](clip, getattr(self, name))
        return clip


def adjust_brightness(clip: np.ndarray, factor: float) -> np.ndarray:
    """Multiply all values.

    Args:
        clip: `uint8` (T, H, W, 3).
        factor: 0 for black, 1 for the clip itself.
    """
    return cv2.LUT(_as_image(clip), _table(factor, 0)).reshape(clip.shape)


def adjust_contrast(clip: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance of all values from the mean grey of their frame.

    Args:
        clip: `uint8` (T, H, W, 3), RGB.
        factor: 0 for grey frames, 1 for the clip itself.
    """
    adjusted = np.empty_like(clip)
    for frame, target in zip(clip, adjusted, strict=True):
        mean = cv2.mean(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))[0]
        cv2.LUT(frame, _table(factor, mean), target)
    return adjusted


def adjust_saturation(clip: np.ndarray, factor: float) -> np.ndarray:
    """Scale the distance of all values from the grey of their pixel.

    Args:
        clip: `uint8` (T, H, W, 3), RGB.
        factor: 0 for a grey clip, 1 for the clip itself.
    """
    image = _as_image(clip)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0).reshape(clip.shape)


def adjust_hue(clip: np.ndarray, turn: float) -> np.ndarray:
    """Turn the colour circle.

    Args:
        clip: `uint8` (T, H, W, 3), RGB.
        turn: 0 for the clip itself but for 8-bit rounding, 1/3 to make red green, 0.5 for the
            opposite colours.
    """
    hsv = cv2.cvtColor(_as_image(clip), cv2.COLOR_RGB2HSV_FULL)  # a full circle is 256
    hsv[..., 0] += np.uint8(round(256 * turn) % 256)  # wraps around
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).reshape(clip.shape)


ADJUSTMENTS = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}


def _as_image(clip: np.ndarray) -> np.ndarray:
    """Stack the frames of a clip into one image, (T * H, W, 3), which OpenCV works on at once."""
    return clip.reshape(-1, *clip.shape[2:])


def _table(factor: float, centre: float) -> np.ndarray:
    """Return what each of the 256 values becomes if its distance from a centre is scaled."""
    values = centre + factor * (np.arange(256) - centre)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
