"""Volumes cut into slices as those were that a model was trained on."""

from dataclasses import replace

from caseunet.io.geometry import cut, find_acquired_plane, is_single_slice
from caseunet.types import ImageVolume, Preprocessing


def cut_as_trained(picture: ImageVolume, preprocessing: Preprocessing) -> ImageVolume:
    """The picture in the model's plane; where it was acquired in another, a remark says so."""
    rule, acquired = preprocessing.plane, find_acquired_plane(picture.geometry)
    picture = cut(picture, rule)
    if rule == "acquired" or acquired in (None, rule):
        return picture
    text = f"was acquired in {acquired} slices and is cut into {rule} ones, as the model's training data were"
    if is_single_slice(picture.geometry):
        text = f"is a single {acquired} slice, while the model was trained on {rule} ones"
    return replace(picture, geometry=replace(picture.geometry, remarks=(*picture.geometry.remarks, text)))
