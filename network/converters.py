"""Public weights as their publishers wrote them -> the weights of our networks.

Publishers differ in the names of layers, the order of colours, padding, statistics and clips. A
function here converts the files of one family, and `CONVERTERS` says which files are its own.
Networks that read BGR get the weights of their first convolution reversed: clips are RGB here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from network import c3d, resnet
from network.errors import ModelError

State = dict[str, Tensor]


@dataclass(frozen=True)
class WeightFile:
    """A file of public weights.

    Attributes:
        name: Of the file.
        state: The weights by their publisher's names.
        is_nested: Whether they lie beside other things, as in the checkpoint of a training script.
    """

    name: str
    state: State
    is_nested: bool


@dataclass(frozen=True)
class PublicWeights:
    """Weights under the names of a network of ours.

    Attributes:
        model: The network, a name in `network.MODELS`.
        options: Of the network.
        state: The weights.
        statistics: `mean` and `std` of the input, as `Normalize.set` takes them.
        clip: `clip_len`, and `frame_rate` or `frame_interval`, of the clips they were trained on.
    """

    model: str
    options: dict[str, Any]
    state: State
    statistics: dict[str, Any]
    clip: dict[str, Any]

    @property
    def num_classes(self) -> int | None:
        """The number of logits, None where the file has no last layer."""
        head = "fc8.weight" if self.model == "C3D" else "fc.weight"
        return len(self.state[head]) if head in self.state else None


def clip_of_interval(clip_len: int, frame_interval: int = 1) -> dict[str, int]:
    """Describe clips of every Nth frame.

    Args:
        clip_len: Frames in a clip.
        frame_interval: The N.
    """
    return {"clip_len": clip_len, "frame_interval": frame_interval}


UNIT_STD = (1 / 255,) * 3  # of networks that see plain differences of 0..255
CAFFE_STATISTICS = {"mean": (101.41 / 255, 97.66 / 255, 90.25 / 255), "std": UNIT_STD}
MMACTION2_STATISTICS = {"mean": (104 / 255, 117 / 255, 128 / 255), "std": UNIT_STD}
CLASSIC_STATISTICS = {"mean": c3d.MEAN, "std": UNIT_STD}
KINETICS_STATISTICS = {"mean": resnet.MEAN, "std": resnet.STD}
GDT_STATISTICS = {"mean": (0.45,) * 3, "std": (0.225,) * 3}
IMAGENET_STATISTICS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SPORTS1M_CLASSES = 487


def residual_options(state: State) -> dict[str, Any]:
    """Read the options of a residual network from the names and shapes of its weights."""
    is_deep = any(name.startswith("layer1.2.") for name in state)
    options = {"depth": 34 if is_deep else 18}
    second = state.get("layer2.0.conv2.0.0.weight")  # R(2+1)D alone has it
    if second is not None:
        options["shared_midplanes"] = len(second) == resnet.count_midplanes(64, 128)
    return options


def convert_torchvision(file: WeightFile) -> PublicWeights:
    """Convert R3D and R(2+1)D of torchvision, ig65m and XDC."""
    options = residual_options(file.state)
    clip = {"clip_len": 16, "frame_rate": 15.0}
    if options.get("shared_midplanes") is False:  # ig65m and XDC
        options["eps"] = 1e-3  # of batch norm in Caffe2
        # The weights of ig65m do not tell which clips they have seen, the name of the file does.
        clip = clip_of_interval(8 if "clip8" in file.name else 32)
    model = "R2Plus1D" if "stem.3.weight" in file.state else "R3D"
    return PublicWeights(model, options, file.state, KINETICS_STATISTICS, clip)


def convert_gdt(file: WeightFile) -> PublicWeights:
    """Convert R(2+1)D of GDT, whose files have a network for the sound beside it."""
    state = {}
    for name, value in file.state.items():
        if name.startswith("video_network.base."):
            state[name.removeprefix("video_network.base.")] = value
    clip = {"clip_len": 30, "frame_rate": 30.0}
    return PublicWeights("R2Plus1D", residual_options(state), state, GDT_STATISTICS, clip)


# Patterns of names, replaced in this order.
GLUON_NAMES = {
    r"(\.conv.)\.conv1\.": r"\1.0.0.",
    r"(\.conv.)\.bn1\.": r"\1.0.1.",
    r"(\.conv.)\.conv2\.": r"\1.0.3.",
    r"\.bn([12])\.": r".conv\1.1.",
    r"^conv1\.": "stem.0.",
    r"^bn1\.": "stem.1.",
    r"^conv2\.": "stem.3.",
    r"^bn2\.": "stem.4.",
}


def convert_gluon(file: WeightFile) -> PublicWeights:
    """Convert R(2+1)D of gluon-cv."""
    state = file.state
    for pattern, replacement in GLUON_NAMES.items():
        state = {re.sub(pattern, replacement, name): value for name, value in state.items()}
    options = residual_options(state)
    return PublicWeights("R2Plus1D", options, state, IMAGENET_STATISTICS, clip_of_interval(16, 2))


MMACTION_NAMES = {"conv1a": "conv1", "conv2a": "conv2", "fc_cls": "fc8"}
NUMBERED_NAMES = {
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3a",
    "features.8": "conv3b",
    "features.11": "conv4a",
    "features.13": "conv4b",
    "features.16": "conv5a",
    "features.18": "conv5b",
    "classifier.0": "fc6",
    "classifier.3": "fc7",
    "classifier.6": "fc8",
}


def rename_layers(state: State, names: dict[str, str]) -> State:
    """Rename layers.

    Args:
        state: The weights.
        names: New names by old ones; other layers keep theirs.
    """
    renamed = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{names.get(layer, layer)}.{kind}"] = value
    return renamed


def reverse_colours(state: State) -> State:
    """Turn a C3D that reads BGR into the same network that reads RGB."""
    return {**state, "conv1.weight": state["conv1.weight"].flip(1)}


def convert_mmaction2(file: WeightFile) -> PublicWeights:
    """Convert C3D of mmaction2, which reads RGB."""
    state = {name.replace(".conv.", "."): value for name, value in file.state.items()}
    state = rename_layers(state, MMACTION_NAMES)
    return PublicWeights("C3D", {}, state, MMACTION2_STATISTICS, clip_of_interval(16))


def convert_caffe(file: WeightFile) -> PublicWeights:
    """Convert ports of Caffe's C3D: that of Sports-1M, and those of the first mmaction."""
    state = reverse_colours(rename_layers(file.state, NUMBERED_NAMES | MMACTION_NAMES))
    options = {"ceil_mode": True}
    return PublicWeights("C3D", options, state, CAFFE_STATISTICS, clip_of_interval(16))


def convert_c3d(file: WeightFile) -> PublicWeights:
    """Convert C3D with our own names: of Sports-1M, or of the classic training scripts."""
    is_sports1m = len(file.state.get("fc8.weight", ())) == SPORTS1M_CLASSES
    if is_sports1m or not file.is_nested:
        return convert_caffe(file)
    state = reverse_colours(file.state)
    return PublicWeights("C3D", {}, state, CLASSIC_STATISTICS, clip_of_interval(16, 4))


# By a weight that the files of a family have, and those of the families below it may have too.
CONVERTERS: dict[str, Callable[[WeightFile], PublicWeights]] = {
    "video_network.base.stem.0.weight": convert_gdt,
    "stem.0.weight": convert_torchvision,
    "bn1.weight": convert_gluon,
    "conv1a.conv.weight": convert_mmaction2,
    "conv1a.weight": convert_caffe,
    "features.0.weight": convert_caffe,
    "conv1.weight": convert_c3d,
}

# Other networks, by a pattern of the name and the shape of a weight.
REFUSED = {
    r"(res3d|res2plus1d)\.": "R3D or R2Plus1D of the classic scripts, with two BatchNorm-ReLUs"
    " after every convolution",
    r"blocks\.\d": "a network of pytorchvideo, such as its R(2+1)D-50, with bottleneck blocks",
    r"layer1\.0\.conv1\.conv\.": "mmaction2's R(2+1)D-34, with another stem and other strides",
    r"conv1\.weight \(64, 3, 7, 7, 7\)": "3D-ResNets-PyTorch, whose stem is a 7x7x7 convolution"
    " and a max pool",
    r"layer2\.0\.conv1\.0\.weight \(\d+, \d+, 1, 3, 3\)": "torchvision's mc3_18, whose later"
    " stages see single frames",
}


def convert(file: WeightFile) -> PublicWeights:
    """Convert a file of public weights; ModelError where they are of no network built here."""
    for name, value in file.state.items():
        described = f"{name} {tuple(value.shape)}"
        for pattern, network in REFUSED.items():
            if re.match(pattern, described):
                raise ModelError(f"{network}: another network, which is not built here")
    for name, converter in CONVERTERS.items():
        if name in file.state:
            return converter(file)
    raise ModelError("weights of another network, of no family that docs/weights.md lists")
