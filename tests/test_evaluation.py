from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import numbered_frame
from test_trainer import StopAfter, make_trainer
from tiny import Tiny
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from dataloaders.dataset import EvalWindows
from dataloaders.records import VideoRecord
from dataloaders.sampling import ClipConfig
from dataloaders.transforms import make_clip
from engine.criterion import CrossEntropy
from engine.distributed import Distributed
from engine.errors import Stopped
from engine.evaluation import evaluate
from engine.metrics import Predictions, compute_metrics
from engine.precision import Precision

FLOAT32 = Precision(torch.device("cpu"), None)


class NumberedClips(Dataset):
    """Clips whose first pixel is their number."""

    windows, classes = 2, ["a", "b", "c"]
    labels, video_of_item = np.arange(500) % 3, np.arange(1000) // 2
    item_of_window = np.arange(1000).reshape(500, 2)

    def __len__(self):
        return 1000

    def __getitem__(self, number):
        return torch.full((1, 1, 1, 1), number % 256, dtype=torch.uint8), number // 2 % 3


class FirstPixelModel(nn.Module):
    """A model that is sure of the class that the first pixel tells."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return 10 * F.one_hot(x.flatten(1)[:, 0].long() % 3, 3).float()


def test_an_evaluation_keeps_every_video_in_order_and_no_file_open():
    resource = pytest.importorskip("resource")
    loader = DataLoader(NumberedClips(), 7, num_workers=1)
    num_open = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (num_open + 60, hard))  # batches: 143
    try:
        evaluation = evaluate(FirstPixelModel(), loader, CrossEntropy(), precision=FLOAT32)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert evaluation.predictions.labels.tolist() == [number % 3 for number in range(500)]
    predicted = (torch.arange(1000) % 256 % 3).unflatten(0, (500, 2))
    assert torch.equal(evaluation.predictions.probabilities.argmax(2), predicted)
    expected = F.cross_entropy(
        10 * F.one_hot(predicted.flatten(), 3).float(), torch.arange(1000) // 2 % 3
    )
    assert evaluation.metrics["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_a_signal_stops_an_evaluation_after_the_batch():
    num_batches, model = [], FirstPixelModel()
    model.register_forward_hook(lambda module, inputs, output: num_batches.append(1))
    with pytest.raises(Stopped) as stopped:
        evaluate(
            model,
            DataLoader(NumberedClips(), 200),
            CrossEntropy(),
            precision=FLOAT32,
            stop_signal=StopAfter(3, signum=2),
        )
    assert stopped.value.signum == 2
    assert len(num_batches) == 3


@pytest.mark.parametrize("length", [1, 16, 17, 20, 25, 26, 90])
def test_windows_that_are_the_same_are_computed_once_and_count_as_often(tmp_path, length):
    """Against the plain way, which computes every window of every video."""
    videos = [
        VideoRecord("test", name, f"v{i}", f"g{i}", f"v{i}.avi", length + i, 1e9, "test")
        for i in range(2)
        for name in "ab"
    ]
    for video in videos:
        video.folder(tmp_path).mkdir(parents=True)
        for number in range(video.frames):
            frame = numbered_frame(10 * number % 256, 171, 128)
            cv2.imwrite(str(video.folder(tmp_path) / f"{number + 1:05d}.jpg"), frame)
    config = ClipConfig.from_flags(16)
    dataset = EvalWindows(tmp_path, videos, ["a", "b"], config, windows=10)
    num_places = [min(max(video.frames - 15, 1), 10) for video in videos]
    assert len(dataset) == sum(num_places)
    torch.manual_seed(0)
    model, batch_sizes = Tiny(2).eval(), []
    model.register_forward_hook(lambda module, inputs, output: batch_sizes.append(len(output)))
    evaluation = evaluate(model, DataLoader(dataset, 3), CrossEntropy(), precision=FLOAT32)
    assert sum(batch_sizes) == sum(num_places)

    probabilities, losses = [], []
    for video, label in zip(videos, (0, 1, 0, 1), strict=True):
        for window in range(10):
            start = round(window * max(video.frames - 16, 0) / 9)
            numbers = [min(start + i, video.frames - 1) for i in range(16)]
            files = [f"{video.folder(tmp_path)}/{number + 1:05d}.jpg" for number in numbers]
            clip = torch.from_numpy(make_clip(map(cv2.imread, files), config))
            logits = model(clip[None].permute(0, 4, 1, 2, 3)).detach()
            probabilities.append(logits.softmax(1))
            losses.append(F.cross_entropy(logits, torch.tensor([label])).item())
    probabilities = torch.cat(probabilities).unflatten(0, (4, 10))
    torch.testing.assert_close(evaluation.predictions.probabilities, probabilities)
    assert evaluation.predictions.labels.tolist() == [0, 1, 0, 1]
    assert evaluation.metrics["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    plain = compute_metrics(Predictions(probabilities, evaluation.predictions.labels))
    metrics = {key: value for key, value in evaluation.metrics.items() if key != "loss"}
    assert metrics == pytest.approx(plain)


def test_a_rank_with_fewer_batches_looks_for_a_signal_as_often():
    class OtherHasNine(Distributed):
        def all_reduce_max(self, number):
            return max(number, 9) if number == len(loader) else number

    signal, loader = StopAfter(), DataLoader(NumberedClips(), 200)
    evaluation = evaluate(
        FirstPixelModel(),
        loader,
        CrossEntropy(),
        precision=FLOAT32,
        distributed=OtherHasNine(),
        stop_signal=signal,
    )
    assert len(loader) == 5
    assert signal.asked == 9
    assert len(evaluation.predictions.labels) == 500


def test_what_acts_in_training_alone_acts_again_after_a_validation():
    class Trained(FirstPixelModel):
        def forward(self, x):
            return super().forward(x) + self.unused  # the same for all classes

    trainer = make_trainer(Trained(), label_smoothing=0.3)
    clips = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1, 1)
    sure = np.log1p(2 * np.exp(-10))  # the class of a clip has 10, the two others have 0
    for _ in range(2):
        result = trainer.train_epoch([(clips, torch.arange(6) % 3)])
        assert result.loss == pytest.approx(sure + 0.3 * 2 / 3 * 10, rel=1e-5)
        trainer.state.num_samples = trainer.state.num_correct = 0
        trainer.state.loss_sum = 0.0
        trainer.evaluate(DataLoader(NumberedClips(), 500))
