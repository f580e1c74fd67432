"""HDR pictures (PQ and HLG) -> the colours of an ordinary screen."""

from functools import cache

import cv2
import numpy as np

PQ = 16  # transfer characteristics (ITU-T H.273, table 3)
HLG = 18
REFERENCE_WHITE = 203.0  # cd/m2 of white paper in HDR video (ITU-R BT.2408, section 2)
HLG_PEAK = 1000.0  # cd/m2 of the nominal HLG display (ITU-R BT.2100, table 5)
KNEE = 0.8  # linear light, relative to reference white, from which highlights are compressed

# BGR in the primaries of BT.2020 -> BGR in those of BT.709 (ITU-R BT.2087, section 4)
BT2020_TO_BT709 = np.array(
    [
        [1.1187, -0.1006, -0.0182],
        [-0.0083, 1.1329, -0.1246],
        [-0.0728, -0.5876, 1.6605],
    ],
    np.float32,
)
LUMINANCE = np.array([[0.0593, 0.6780, 0.2627]], np.float32)  # of BGR in BT.2020
MAX_CODE = 65535


def tone_map(image: np.ndarray, transfer: int) -> np.ndarray:
    """Convert an HDR picture to BT.709, as if it had been graded for an ordinary screen.

    Light up to 0.8 of reference white keeps its brightness; what is brighter is compressed below
    the white of the screen, by one factor for the three channels, so that hues stay.

    Args:
        image: Picture with HDR code values, BGR in BT.2020, `uint16` (H, W, 3), full range.
        transfer: `PQ` (SMPTE ST 2084) or `HLG` (ITU-R BT.2100).

    Returns:
        The picture, BGR in BT.709, `uint8` (H, W, 3).
    """
    light = _linear_table(transfer)[image]
    if transfer == HLG:
        light *= _hlg_system_gain(light)
    light = np.maximum(cv2.transform(light, BT2020_TO_BT709), 0)
    blue, green, red = cv2.split(light)
    brightest = cv2.max(cv2.max(blue, green), red)  # many times as fast as light.max(axis=2)
    light *= (_compress(brightest) / np.maximum(brightest, 1e-6))[..., None]
    return _bt709_table()[(light * MAX_CODE).astype(np.uint16)]


@cache
def _linear_table(transfer: int) -> np.ndarray:
    """Return linear light by code value: of PQ relative to reference white, of HLG of the scene."""
    code = np.linspace(0, 1, MAX_CODE + 1)
    if transfer == PQ:
        power = code ** (1 / 78.84375)
        ratio = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        light = ratio ** (1 / 0.1593017578125)  # the EOTF of SMPTE ST 2084, of 10,000 cd/m2
        return (light * 10_000 / REFERENCE_WHITE).astype(np.float32)
    # The inverse of the HLG OETF (ITU-R BT.2100, table 5).
    logarithmic = (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12
    light = np.where(code <= 0.5, code**2 / 3, logarithmic)
    return light.astype(np.float32)


def _hlg_system_gain(light: np.ndarray) -> np.ndarray:
    """Return what turns scene light into the light of the display (BT.2100, table 5, gamma 1.2)."""
    luminance = cv2.transform(light, LUMINANCE)
    return (HLG_PEAK / REFERENCE_WHITE) * luminance[..., None] ** np.float32(0.2)


def _compress(light: np.ndarray) -> np.ndarray:
    """Keep light below the knee, and bring all above it smoothly below 1."""
    excess = np.maximum(light - KNEE, 0) / (1 - KNEE)
    return np.where(light <= KNEE, light, KNEE + (1 - KNEE) * excess / (1 + excess))


@cache
def _bt709_table() -> np.ndarray:
    """Return 8-bit code values by linear light, 0..65535 (ITU-R BT.709, section 1.2)."""
    light = np.linspace(0, 1, MAX_CODE + 1)
    code = np.where(light < 0.018, 4.5 * light, 1.099 * light**0.45 - 0.099)
    return np.rint(255 * code).astype(np.uint8)
