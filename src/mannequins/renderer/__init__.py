"""Render dressed, articulated mannequins with known pose and garments, in the layouts of DeepFashion and Market-1501.

    for path, content in files(MannequinSettings("fashion", items=300, seed=0, quality=90), workers=2): ...

body (bones, people, poses) -> surfaces, head, wardrobe, tops, garments (surfaces at rest and their textures) -> posed_person
(one mesh) -> render -> scenes (backgrounds) -> items (photos) -> dataset (files).

The same settings give the same bytes on every processor. Therefore all numbers come from operations whose result IEEE 754
fixes (+ - * /, square roots, comparisons, rounding), from integers, and from uniform draws. Sines, bell curves, powers,
interpolation, inner products and normal draws come from `exact`, never from numpy or `math`, whose results depend on the
processor.
"""

from mannequins.renderer.dataset import files
from mannequins.renderer.items import MannequinPhoto, MannequinSettings, Truth, render_item

__all__ = ["MannequinPhoto", "MannequinSettings", "Truth", "files", "render_item"]
