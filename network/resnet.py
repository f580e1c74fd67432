"""R3D and R(2+1)D: residual networks over space and time (Tran et al. 2018, arXiv:1711.11248).
Only the convolution differs. Layout and names are those of torchvision's `VideoResNet`, so its public weights fit."""

from torch import Tensor, nn

from network.normalize import Normalize

# The statistics of Kinetics-400 that torchvision's public weights were trained with, RGB.
MEAN = (0.43216, 0.394666, 0.37645)
STD = (0.22803, 0.22145, 0.216989)

LAYERS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}  # blocks per stage, by depth (table 1)


class BatchNorm3d(nn.BatchNorm3d):
    """Batch norm that joins time and height on CUDA, as PyTorch's fast channels-last kernels take four dimensions."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept both shapes."""

    def forward(self, input: Tensor) -> Tensor:
        if not input.is_cuda:
            return super().forward(input)
        return (
            super().forward(input.flatten(2, 3)).unflatten(2, input.shape[2:4])
        )  # a view: an in-place ReLU copies it


def conv3d(in_planes: int, out_planes: int, midplanes: int, stride: int = 1) -> nn.Module:
    """Build one 3x3x3 convolution (section 3.2, R3D)."""
    return nn.Conv3d(in_planes, out_planes, 3, stride, padding=1, bias=False)


def conv2plus1d(in_planes: int, out_planes: int, midplanes: int, stride: int = 1) -> nn.Module:
    """Build a 1x3x3 convolution in space, then a 3x1x1 convolution in time (section 3.5, R(2+1)D)."""
    spatial = nn.Conv3d(in_planes, midplanes, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    temporal = nn.Conv3d(midplanes, out_planes, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
    return nn.Sequential(spatial, BatchNorm3d(midplanes), nn.ReLU(), temporal)


def count_midplanes(in_planes: int, planes: int) -> int:
    """Return as many planes between space and time as give the pair the parameters of one 3x3x3 (section 3.5)."""
    return (in_planes * planes * 3 * 3 * 3) // (in_planes * 3 * 3 + 3 * planes)


class BasicBlock(nn.Module):
    """Two convolutions around a shortcut; a 1x1x1 projection where the shape changes (He et al. 2016, option B)."""

    def __init__(self, conv, in_planes: int, planes: int, stride: int, shared_midplanes: bool):
        super().__init__()
        midplanes = count_midplanes(in_planes, planes)
        self.conv1 = nn.Sequential(
            conv(in_planes, planes, midplanes, stride), BatchNorm3d(planes), nn.ReLU()
        )
        midplanes = midplanes if shared_midplanes else count_midplanes(planes, planes)
        self.conv2 = nn.Sequential(conv(planes, planes, midplanes), BatchNorm3d(planes))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_planes != planes:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_planes, planes, 1, stride, bias=False), BatchNorm3d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv2(self.conv1(x)) + shortcut)


class VideoResNet(nn.Module):
    """A stem, four stages of residual blocks, global average pooling, one linear layer.
    `conv` builds the convolutions in the blocks, `layers` has the blocks per stage, `eps` is of batch norm. With
    `shared_midplanes` both convolutions of a block have as many midplanes, as in torchvision, not each its own number.
    Input: RGB clips (N, 3, T, H, W), 0..255, `uint8` or float, of any size. Output: logits (N, num_classes)."""

    last_pool = "avgpool"

    def __init__(
        self, conv, stem, layers, num_classes: int, shared_midplanes=True, eps=1e-5, dropout=0.0
    ):
        super().__init__()
        self.normalize = Normalize(MEAN, STD)
        self.stem = stem
        self.layer1 = self._stage(conv, 64, 64, layers[0], 1, shared_midplanes)
        self.layer2 = self._stage(conv, 64, 128, layers[1], 2, shared_midplanes)
        self.layer3 = self._stage(conv, 128, 256, layers[2], 2, shared_midplanes)
        self.layer4 = self._stage(conv, 256, 512, layers[3], 2, shared_midplanes)
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
    def _stage(conv, in_planes, planes, blocks, stride, shared_midplanes) -> nn.Sequential:
        first = BasicBlock(conv, in_planes, planes, stride, shared_midplanes)
        return nn.Sequential(
            first,
            *(BasicBlock(conv, planes, planes, 1, shared_midplanes) for _ in range(1, blocks)),
        )

    # fmt: off
    def forward(self, x: Tensor) -> Tensor:
        x = self.normalize(x)               # (N,   3, T,   H,    W)
        x = self.stem(x)                    # (N,  64, T,   H/2,  W/2)
        x = self.layer1(x)                  # (N,  64, T,   H/2,  W/2)
        x = self.layer2(x)                  # (N, 128, T/2, H/4,  W/4)
        x = self.layer3(x)                  # (N, 256, T/4, H/8,  W/8)
        x = self.layer4(x)                  # (N, 512, T/8, H/16, W/16)
        x = self.avgpool(x).flatten(1)      # (N, 512)
        return self.fc(self.dropout(x))     # (N, num_classes)


# fmt: on
def r3d(num_classes: int, depth: int = 18, **options) -> VideoResNet:
    """R3D: 33,371,472 parameters at 18 layers and 400 classes, 63,681,104 at 34. Its stem is 3x7x7 (table 1)."""
    stem = nn.Sequential(
        nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), BatchNorm3d(64), nn.ReLU()
    )
    return VideoResNet(conv3d, stem, LAYERS[depth], num_classes, **options)


def r2plus1d(
    num_classes: int, depth: int = 18, shared_midplanes: bool | None = None, **options
) -> VideoResNet:
    """R(2+1)D: 31,505,325 parameters at 18 layers and 400 classes, 63,697,175 at 34. Its stem has 45 midplanes."""
    if shared_midplanes is None:
        shared_midplanes = depth == 18  # as in torchvision; 34 layers follow the paper
    spatial = nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    temporal = nn.Conv3d(45, 64, (3, 1, 1), (1, 1, 1), (1, 0, 0), bias=False)
    stem = nn.Sequential(spatial, BatchNorm3d(45), nn.ReLU(), temporal, BatchNorm3d(64), nn.ReLU())
    return VideoResNet(conv2plus1d, stem, LAYERS[depth], num_classes, shared_midplanes, **options)
