"""What colour-blind readers see: a screenshot three times over, and how far two colours are apart.

    python -m tests.browser.colour_blind SCREENSHOT.png [FOLDER]

The matrices are those of Machado, Oliveira and Fernandes, "A Physiologically-based Model for
Simulation of Color Vision Deficiency" (2009), at severity 1, for linear RGB.
"""

import sys
from pathlib import Path

import numpy as np

MATRICES = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
"""No red, no green and no blue cones: linear RGB in, linear RGB out; rows sum to 1."""
_TO_XYZ = np.array([
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
])
"""Linear sRGB to XYZ under D65."""


def linear(rgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear RGB."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def encoded(rgb: np.ndarray) -> np.ndarray:
    """Linear RGB to sRGB in [0, 1], cut to what a screen shows."""
    rgb = np.clip(rgb, 0, 1)
    return np.where(rgb <= 0.0031308, rgb * 12.92, 1.055 * rgb ** (1 / 2.4) - 0.055)


def seen(rgb: np.ndarray, kind: str) -> np.ndarray:
    """Colours (..., 3) in [0, 1] as one of `MATRICES` shows them."""
    return encoded(linear(rgb) @ np.array(MATRICES[kind]).T)


def colour(text: str) -> np.ndarray:
    """"#rrggbb" as (3,) in [0, 1]."""
    return np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def over(ground: np.ndarray, ink: np.ndarray, strength: float) -> np.ndarray:
    """A colour drawn over a ground with an opacity in [0, 1]."""
    return strength * ink + (1 - strength) * ground


def lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB (..., 3) in [0, 1] to CIE L*a*b* under D65."""
    xyz = linear(rgb) @ _TO_XYZ.T / _TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1
    )


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """CIEDE2000 between two L*a*b* colours (Sharma, Wu and Dalal 2005); about 1 is just seen."""
    mean_c = (np.hypot(*a[1:]) + np.hypot(*b[1:])) / 2
    g = 1.5 - 0.5 * np.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    c, h = zip(*((np.hypot(g * x[1], x[2]), np.degrees(np.arctan2(x[2], g * x[1])) % 360)
                 for x in (a, b)), strict=True)
    grey = c[0] * c[1] == 0
    turn = 0.0 if grey else (h[1] - h[0] + 180) % 360 - 180
    d_h = 2 * np.sqrt(c[0] * c[1]) * np.sin(np.radians(turn / 2))
    mean_h = h[0] + h[1] if grey else (h[0] + turn / 2) % 360
    light, chroma = (a[0] + b[0]) / 2, (c[0] + c[1]) / 2
    t = (1 - 0.17 * np.cos(np.radians(mean_h - 30)) + 0.24 * np.cos(np.radians(2 * mean_h))
         + 0.32 * np.cos(np.radians(3 * mean_h + 6)) - 0.20 * np.cos(np.radians(4 * mean_h - 63)))
    s_l = 1 + 0.015 * (light - 50) ** 2 / np.sqrt(20 + (light - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    bend = 30 * np.exp(-(((mean_h - 275) / 25) ** 2))
    r = -2 * np.sqrt(chroma**7 / (chroma**7 + 25**7)) * np.sin(np.radians(2 * bend))
    parts = (b[0] - a[0]) / s_l, (c[1] - c[0]) / s_c, d_h / s_h
    return float(np.sqrt(sum(p * p for p in parts) + r * parts[1] * parts[2]))


def simulate(picture: Path, folder: Path) -> list[Path]:
    """Write a picture as each kind of colour-blindness shows it; the paths written."""
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("RGB")) / 255
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in MATRICES:
        path = folder / f"{picture.stem}-{kind}.png"
        Image.fromarray(np.round(255 * seen(pixels, kind)).astype(np.uint8)).save(path)
        written.append(path)
    return written


def main() -> int:
    """Simulate the screenshot that is named."""
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    picture = Path(sys.argv[1])
    for path in simulate(picture, Path(sys.argv[2]) if len(sys.argv) > 2 else picture.parent):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
