"""From the layers of a drawing to a photograph of it: light, exposure, colour cast, blur, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from ahekit.sample.drawings.canvas import NEUTRAL
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.textures import smooth_noise

Pixels = NDArray[np.float32]
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def photograph(scene: Scene, *, size: int) -> Image.Image:
    """The finished RGB picture, `size` pixels wide and high."""
    layers = scene.canvas
    flat = ImageChops.multiply(layers.colour, Image.merge("RGB", (layers.grain,) * 3))
    pixels: Pixels = np.asarray(flat.reduce(layers.pixels // size), dtype=np.float32) / np.float32(NEUTRAL)
    # Glow is added after the layers are multiplied: light from a window isn't darkened by the wall's texture.
    if layers.glows:
        glow = layers.glow.reduce(layers.pixels // size).filter(ImageFilter.GaussianBlur(size / 20))
        pixels = pixels + np.asarray(glow, dtype=np.float32) / np.float32(255)
    pixels = _develop(scene, _expose(scene, _illuminate(scene, pixels)))
    noise = scene.rng.standard_normal(pixels.shape, dtype=np.float32)
    # Most of a sensor's visible noise is in brightness, not in colour.
    noise = 0.7 * noise[..., :1] + 0.4 * noise
    pixels = pixels + scene.between(0.003, 0.024) * noise
    picture = Image.fromarray(np.clip(pixels * 255, 0, 255).astype(np.uint8))
    if scene.chance(0.15):
        return picture.filter(ImageFilter.GaussianBlur(scene.between(0.3, 0.6)))
    return picture


def _illuminate(scene: Scene, pixels: Pixels) -> Pixels:
    """Uneven light: a falling gradient, sometimes a cast shadow, dappling, a vignette or haze."""
    size = len(pixels)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    x = axis[None, :]
    y = axis[:, None]
    light = 1.0 + scene.between(0.0, 0.25) * (scene.light * x + scene.between(-1, 0.4) * y)
    if scene.chance(0.25):
        angle = scene.between(0, 2 * np.pi)
        edge = np.cos(angle) * x + np.sin(angle) * y - scene.between(0.1, 0.6)
        # A shadow's edge is a logistic step, from the soft one of a cloud to the hard one of a wall nearby.
        light = light * (1 - scene.between(0.2, 0.55) / (1 + np.exp(-edge * scene.between(5, 40))))
    if scene.chance(0.3):
        light = light * (1 + 0.18 * smooth_noise(scene.rng, pixels=size, cells=5))
    if scene.chance(0.3):
        light = light * (1 - scene.between(0.15, 0.4) * (x**2 + y**2))
    pixels = pixels * light[..., None].astype(np.float32)
    if scene.chance(0.12):
        haze = scene.between(0.1, 0.4)
        pixels = pixels * (1 - haze) + haze * scene.between(0.6, 0.9)
    return pixels


def _expose(scene: Scene, pixels: Pixels) -> Pixels:
    """What a camera's meter does: dark and bright scenes come closer to a middle gray, not all the way."""
    # The offset keeps a picture that is nearly black from being divided by nothing.
    mean = float(pixels.mean()) + 0.02
    gain = (scene.between(0.32, 0.56) / mean) ** scene.between(0.35, 0.9)
    return pixels * np.float32(min(max(gain, 0.6), 3.0))


def _develop(scene: Scene, pixels: Pixels) -> Pixels:
    """Contrast, saturation and colour cast; some pictures are gray or sepia."""
    pixels = np.clip(pixels, 0, 1) ** np.float32(scene.between(0.8, 1.3))
    pixels = (pixels - 0.5) * scene.between(0.75, 1.25) + 0.5
    gray: Pixels = (pixels @ LUMA)[..., None]
    tone = scene.between(0.0, 1.0)
    if tone < 0.1:
        return np.repeat(gray, 3, axis=2)
    if tone < 0.14:
        return gray * np.array([1.06, 0.96, 0.78], dtype=np.float32)
    pixels = gray + (pixels - gray) * scene.between(0.45, 1.1)
    cast: Pixels = scene.rng.uniform(0.93, 1.07, 3).astype(np.float32)
    return pixels * cast
