"""Render dressed, articulated mannequins with known pose and garments, in the layouts of DeepFashion and Market-1501.

    for path, content in files(MannequinSettings("fashion", items=300, seed=0, quality=90), workers=2): ...

body (bones, joints) -> surfaces, head, garments (surfaces at rest; their textures: patterns, paint) -> posed_person (one
mesh) -> render -> scenes (backgrounds) -> fashion, street (layouts) -> dataset (files). people, chance and wardrobe draw who
is shown, how and in what.

The same settings give the same bytes on every processor. Therefore all numbers come from operations whose result IEEE 754
fixes (+ - * /, square roots, comparisons, rounding), from integers, and from uniform draws. Sines, bell curves, powers,
interpolation, inner products and normal draws come from `exact`, never from numpy or `math`, whose results depend on the
processor.
"""

from mannequins.renderer.dataset import contact_sheet, files, render_item
from mannequins.renderer.photo import MannequinPhoto, MannequinSettings, Truth

__all__ = ["MannequinPhoto", "MannequinSettings", "Truth", "contact_sheet", "files", "render_item"]
