"""A network of a few kilobytes, for tests that need a network and not this network."""

from torch import nn

from network.normalize import Normalize


class Tiny(nn.Module):
    """One strided convolution, batch norm, dropout, a mean and a linear layer; clips of any size."""

    head = "fc"
    last_pool = "avgpool"

    def __init__(self, num_classes, channels=3):
        super().__init__()
        self.normalize = Normalize((0.4,) * channels, (0.2,) * channels)
        self.conv = nn.Conv3d(channels, 8, 3, (2, 4, 4), 1, bias=False)
        self.norm = nn.BatchNorm3d(8)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.relu(self.norm(self.conv(self.normalize(x))))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))
