"""Dressed, articulated mannequins: photos with known pose and garments, made on the spot, in the field's layouts.

    for path, content in files(MannequinSettings("fashion", items=300, seed=0, quality=90), workers=2): ...

body (bones, joints) -> surfaces, head, garments (surfaces at rest; their textures: patterns, paint) -> figure (one
mesh, posed) -> render -> scenes (backgrounds) -> fashion, street (who, poses, framing, names) -> dataset (files).
"""

from repose.data.mannequins.dataset import contact_sheet, files, render_item
from repose.data.mannequins.photo import MannequinPhoto, MannequinSettings, Truth

__all__ = ["MannequinPhoto", "MannequinSettings", "Truth", "contact_sheet", "files", "render_item"]
