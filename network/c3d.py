"""C3D (Tran et al. 2015, arXiv:1412.0767, figure 3)."""

from torch import Tensor, nn

from network.errors import ModelError
from network.normalize import Normalize

# The mean colour that C3D subtracts, RGB, and a standard deviation that gives inputs of unit
# variance: without batch norm, training from scratch on differences of up to 255 diverges.
MEAN = (102 / 255, 98 / 255, 90 / 255)
STD = (0.225, 0.225, 0.225)
CLIP_SHAPE = (16, 112, 112)


class C3D(nn.Module):
    """Eight 3x3x3 convolutions and three linear layers: 78,409,573 parameters at 101 classes."""

    head = "fc8"
    last_pool = "pool5"

    def __init__(
        self,
        num_classes: int,
        dropout: float = 0.5,
        *,
        ceil_mode: bool = False,
        channels: int = 3,
    ):
        """Build C3D with random weights.

        Args:
            num_classes: The number of logits.
            dropout: Its probability, behind fc6 and fc7 (section 3.3).
            ceil_mode: Pad pool5 on the right alone, as Caffe does, not on both sides.
            channels: Those of the clips.
        """
        super().__init__()
        self.normalize = Normalize.for_channels(channels, MEAN, STD)
        self.conv1 = nn.Conv3d(channels, 64, 3, padding=1)
        self.conv2 = nn.Conv3d(64, 128, 3, padding=1)
        self.conv3a = nn.Conv3d(128, 256, 3, padding=1)
        self.conv3b = nn.Conv3d(256, 256, 3, padding=1)
        self.conv4a = nn.Conv3d(256, 512, 3, padding=1)
        self.conv4b = nn.Conv3d(512, 512, 3, padding=1)
        self.conv5a = nn.Conv3d(512, 512, 3, padding=1)
        self.conv5b = nn.Conv3d(512, 512, 3, padding=1)
        self.pool1 = nn.MaxPool3d((1, 2, 2))
        self.pool = nn.MaxPool3d(2)
        self.pool5 = nn.MaxPool3d(2, padding=0 if ceil_mode else (0, 1, 1), ceil_mode=ceil_mode)
        self.fc6 = nn.Linear(8192, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, num_classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.005)
                nn.init.zeros_(module.bias)

    # fmt: off
    def forward(self, x: Tensor) -> Tensor:
        """Compute logits.

        Args:
            x: Clips (N, C, 16, 112, 112), 0..255, `uint8` or float.

        Returns:
            (N, num_classes).

        Raises:
            ModelError: The clips have another size, which fc6 does not fit.
        """
        if x.shape[2:] != CLIP_SHAPE:
            size = "x".join(map(str, x.shape[2:]))
            raise ModelError(f"C3D takes clips of 16x112x112 (frames x height x width), got {size}")
        x = self.normalize(x)                            # (N,   C, 16, 112, 112)
        x = self.pool1(self.relu(self.conv1(x)))         # (N,  64, 16,  56,  56)
        x = self.pool(self.relu(self.conv2(x)))          # (N, 128,  8,  28,  28)
        x = self.relu(self.conv3a(x))                    # (N, 256,  8,  28,  28)
        x = self.pool(self.relu(self.conv3b(x)))         # (N, 256,  4,  14,  14)
        x = self.relu(self.conv4a(x))                    # (N, 512,  4,  14,  14)
        x = self.pool(self.relu(self.conv4b(x)))         # (N, 512,  2,   7,   7)
        x = self.relu(self.conv5a(x))                    # (N, 512,  2,   7,   7)
        x = self.pool5(self.relu(self.conv5b(x)))        # (N, 512,  1,   4,   4)
        x = self.dropout(self.relu(self.fc6(x.flatten(1))))  # (N, 4096)
        x = self.dropout(self.relu(self.fc7(x)))         # (N, 4096)
        return self.fc8(x)                               # (N, num_classes)
