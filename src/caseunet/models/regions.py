"""Networks of regions: an output for each structure, which may overlap, instead of one for each class.

Isensee et al., "nnU-Net for Brain Tumor Segmentation" (BraTS 2020), train regions by sigmoids and write them over each
other. Here a pixel gets the likeliest of the classes that exist: with the regions' logits z, class c has the logit
Σ z over the regions that hold c, and the softmax of these is the probability of c given that the pixel is of one class.
Being linear, it commutes with interpolation. Where every region is beyond or below one half as some class asks, the
class is the one that writing over each other gives.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

UNWRITTEN = -30.0
"""Added to the logit of a class that is never written: its probability is below 1e-13 times that of its twin."""


def give_regions(model: nn.Module) -> None:
    """Let networks of regions in evaluation give the regions' logits all the same, until the mode is set anew."""
    for module in model.modules():
        if isinstance(module, RegionNetwork):
            module.training = True


class RegionNetwork(nn.Module):
    """A network of regions. ``forward``: images → logits of regions (B, R, H, W) in training, of classes
    (B, num_classes, H, W) otherwise.

    Args:
        network: images (B, in_channels, H, W) → logits (B, R, H, W), or in training a list of them.
        regions: the class ids that each of the R regions holds.
        num_classes: with the background, which is in no region.
        written: ids that are written; () for all. Of classes that are in the same regions only one can be.

    Raises:
        ValueError: a region is empty or holds no class id, or two classes that are written cannot be told apart.
    """

    def __init__(
        self, network: nn.Module, regions: Sequence[Sequence[int]], num_classes: int, *, written: Sequence[int] = ()
    ) -> None:
        super().__init__()
        self.network = network
        self.multiple, self.smallest = network.multiple, network.smallest
        for members in regions:
            if not members or not set(members) <= set(range(1, num_classes)):
                raise ValueError(f"a region must hold class ids from 1 to {num_classes - 1}, not {list(members)}")
        membership = [[float(i in members) for members in regions] for i in range(num_classes)]
        ids = {0, *(written or range(num_classes))}
        if len({tuple(membership[i]) for i in ids}) < len(ids):
            raise ValueError(f"of the classes {sorted(ids)} some are in the same regions, so they cannot be told apart")
        # Numbers, no buffers: weights are loaded into networks that were built without memory.
        self.weight = [[[[value]] for value in row] for row in membership]
        self.bias = [0.0 if i in ids else UNWRITTEN for i in range(num_classes)]

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.network(x)
        return maps if self.training else F.conv2d(maps, maps.new_tensor(self.weight), maps.new_tensor(self.bias))
