"""R3D and R(2+1)D: residual networks over space and time (Tran et al. 2018, arXiv:1711.11248).

Only the convolution differs. Names are those of torchvision's `VideoResNet`, whose public weights
fit.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from network.errors import ModelError
from network.normalize import Normalize

# The statistics of Kinetics-400 that torchvision's public weights were trained with, RGB.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)

LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks per stage, by depth (table 1)


class BatchNorm3d(nn.BatchNorm3d):
    """Batch norm that joins time and height on CUDA.

    PyTorch's fast channels-last kernels take four dimensions.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept both shapes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, T, H, W)."""
        if not input.is_cuda:
            return super().forward(input)
        joined = super().forward(input.flatten(2, 3))
        return joined.unflatten(2, input.shape[2:4])  # a view: an in-place ReLU copies it


def conv3d(in_planes: int, out_planes: int, midplanes: int, *, stride: int = 1) -> nn.Module:
    """Build one 3x3x3 convolution (section 3.2, R3D).

    Args:
        in_planes: Channels of its input.
        out_planes: Channels of its output.
        midplanes: Of R(2+1)D, ignored.
        stride: In time and space.
    """
    return nn.Conv3d(in_planes, out_planes, 3, stride, padding=1, bias=False)


def conv2plus1d(in_planes: int, out_planes: int, midplanes: int, *, stride: int = 1) -> nn.Module:
    """Build a 1x3x3 convolution in space, then a 3x1x1 convolution in time (section 3.5).

    Args:
        in_planes: Channels of its input.
        out_planes: Channels of its output.
        midplanes: Channels between space and time.
        stride: In time and space.
    """
    spatial = nn.Conv3d(in_planes, midplanes, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    temporal = nn.Conv3d(midplanes, out_planes, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
    return nn.Sequential(spatial, BatchNorm3d(midplanes), nn.ReLU(), temporal)


def count_midplanes(in_planes: int, planes: int) -> int:
    """Count the planes that give R(2+1)D's pair the parameters of one 3x3x3 (section 3.5).

    Args:
        in_planes: Channels of the pair's input.
        planes: Channels of its output.
    """
    return (in_planes * planes * 3 * 3 * 3) // (in_planes * 3 * 3 + 3 * planes)


class BasicBlock(nn.Module):
    """Two convolutions around a shortcut, projected by 1x1x1 where the shape changes.

    The projection is option B of He et al. 2016.
    """

    def __init__(
        self,
        conv: Callable[..., nn.Module],
        in_planes: int,
        planes: int,
        *,
        stride: int = 1,
        shared_midplanes: bool = True,
    ):
        """Build a block.

        Args:
            conv: Builds a convolution, `conv3d` or `conv2plus1d`.
            in_planes: Channels of its input.
            planes: Channels of its output.
            stride: Of the first convolution.
            shared_midplanes: Both convolutions have as many midplanes, as in torchvision; else
                each has its own number, as in the paper.
        """
        super().__init__()
        midplanes = count_midplanes(in_planes, planes)
        first = conv(in_planes, planes, midplanes, stride=stride)
        self.conv1 = nn.Sequential(first, BatchNorm3d(planes), nn.ReLU())
        if not shared_midplanes:
            midplanes = count_midplanes(planes, planes)
        self.conv2 = nn.Sequential(conv(planes, planes, midplanes), BatchNorm3d(planes))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_planes != planes:
            projection = nn.Conv3d(in_planes, planes, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, BatchNorm3d(planes))

    def forward(self, x: Tensor) -> Tensor:
        """Compute (N, planes, T, H, W) / stride from (N, in_planes, T, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv2(self.conv1(x)) + shortcut)


class VideoResNet(nn.Module):
    """A stem, four stages of residual blocks, global average pooling, one linear layer."""

    head = "fc"
    last_pool = "avgpool"

    def __init__(
        self,
        stem: nn.Sequential,
        block: Callable[..., nn.Module],
        depth: int,
        *,
        num_classes: int,
        dropout: float,
        eps: float = 1e-5,
    ):
        """Build a network with random weights.

        Args:
            stem: Begins with a convolution, and gives 64 planes.
            block: Builds a block from its planes and its stride.
            depth: 18 or 34 layers.
            num_classes: The number of logits.
            dropout: Its probability, before the last layer.
            eps: Of batch norm.

        Raises:
            ModelError: There is no such depth.
        """
        super().__init__()
        if depth not in LAYERS:
            raise ModelError(
                f"no network of depth {depth}, known are {', '.join(map(str, LAYERS))}"
            )
        blocks = LAYERS[depth]
        self.normalize = Normalize.for_channels(stem[0].in_channels, MEAN, STD)
        self.stem = stem
        self.layer1 = self._stage(block, 64, 64, blocks=blocks[0], stride=1)
        self.layer2 = self._stage(block, 64, 128, blocks=blocks[1], stride=2)
        self.layer3 = self._stage(block, 128, 256, blocks=blocks[2], stride=2)
        self.layer4 = self._stage(block, 256, 512, blocks=blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, BatchNorm3d):
                module.eps = eps
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    @staticmethod
    def _stage(block, in_planes: int, planes: int, *, blocks: int, stride: int) -> nn.Sequential:
        first = block(in_planes, planes, stride=stride)
        return nn.Sequential(first, *(block(planes, planes) for _ in range(1, blocks)))

    # fmt: off
    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Args:
            x: Clips (N, C, T, H, W) of any size, 0..255, `uint8` or float.

        Returns:
            (N, num_classes).
        """
        x = self.normalize(x)               # (N,   C, T,   H,    W)
        x = self.stem(x)                    # (N,  64, T,   H/2,  W/2)
        x = self.layer1(x)                  # (N,  64, T,   H/2,  W/2)
        x = self.layer2(x)                  # (N, 128, T/2, H/4,  W/4)
        x = self.layer3(x)                  # (N, 256, T/4, H/8,  W/8)
        x = self.layer4(x)                  # (N, 512, T/8, H/16, W/16)
        x = self.avgpool(x).flatten(1)      # (N, 512)
        return self.fc(self.dropout(x))     # (N, num_classes)
    # fmt: on


def r3d(
    num_classes: int,
    depth: int = 18,
    *,
    dropout: float = 0.0,
    channels: int = 3,
) -> VideoResNet:
    """Build R3D: 33,371,472 parameters at 18 layers and 400 classes, 63,681,104 at 34.

    Args:
        num_classes: The number of logits.
        depth: 18 or 34 layers.
        dropout: Its probability, before the last layer.
        channels: Those of the clips.
    """
    conv = nn.Conv3d(channels, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)  # table 1
    stem = nn.Sequential(conv, BatchNorm3d(64), nn.ReLU())
    block = partial(BasicBlock, conv3d)
    return VideoResNet(stem, block, depth, num_classes=num_classes, dropout=dropout)


def r2plus1d(
    num_classes: int,
    depth: int = 18,
    *,
    shared_midplanes: bool | None = None,
    eps: float = 1e-5,
    dropout: float = 0.0,
    channels: int = 3,
) -> VideoResNet:
    """Build R(2+1)D: 31,505,325 parameters at 18 layers and 400 classes, 63,697,175 at 34.

    Args:
        num_classes: The number of logits.
        depth: 18 or 34 layers.
        shared_midplanes: See `BasicBlock`; by default 18 layers are those of torchvision, and 34
            those of the paper.
        eps: Of batch norm.
        dropout: Its probability, before the last layer.
        channels: Those of the clips.
    """
    if shared_midplanes is None:
        shared_midplanes = depth == 18
    spatial = nn.Conv3d(channels, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    temporal = nn.Conv3d(45, 64, (3, 1, 1), (1, 1, 1), (1, 0, 0), bias=False)
    stem = nn.Sequential(spatial, BatchNorm3d(45), nn.ReLU(), temporal, BatchNorm3d(64), nn.ReLU())
    block = partial(BasicBlock, conv2plus1d, shared_midplanes=shared_midplanes)
    return VideoResNet(stem, block, depth, num_classes=num_classes, eps=eps, dropout=dropout)
