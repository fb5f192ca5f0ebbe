"""Dressed, articulated mannequins: photos with known pose and garments, made on the spot, in the field's layouts.

    for path, content in files(MannequinSettings("fashion", items=300, seed=0, quality=90), workers=2): ...

body (bones, joints) -> surfaces, head, garments (surfaces at rest; their textures: patterns, paint) -> posed_person (one
mesh) -> render -> scenes (backgrounds) -> fashion, street (layouts) -> dataset (files). people, chance and wardrobe draw who
is shown, how and in what.

The same settings give the same bytes on every processor. So every number comes from operations whose result IEEE 754 fixes
(+ - * /, square roots, comparisons, rounding), from integers, and from uniform draws. Sines, bells, powers, interpolation,
inner products and normal draws come from `exact`, never from numpy or `math`, whose results depend on the processor.
"""

from mannequins.renderer.dataset import contact_sheet, files, render_item
from mannequins.renderer.photo import MannequinPhoto, MannequinSettings, Truth

__all__ = ["MannequinPhoto", "MannequinSettings", "Truth", "contact_sheet", "files", "render_item"]
