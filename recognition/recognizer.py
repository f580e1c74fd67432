"""A trained model that recognises actions in videos, in streams and in images of a program."""

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataloaders.frame_source import FrameSource
from engine.distributed import Distributed
from engine.errors import StopSignal, UsageError
from network import move_to_device
from recognition.annotate import AnnotatedVideoWriter, Painter, Preview
from recognition.classifier import (
    BackgroundClassifier,
    Smoother,
    WindowClassifier,
    choose_batch_size,
)
from recognition.forking import FORK_GUARD
from recognition.frames import ImageFrame, number_images
from recognition.inference_network import InferenceNetwork
from recognition.live import Gap, LiveReader
from recognition.loading import load_public, load_trained
from recognition.pipeline import WindowPipeline
from recognition.reading import FileReader, describe_reading, open_source
from recognition.results import Labels, VideoResult
from recognition.segments import Segment, SegmentBuilder
from recognition.settings import Settings
from recognition.windows import WindowCutter


class Recognizer:
    """A model in evaluation mode, with how its clips are cut and its windows are labelled.

    Any number of threads may use it at the same time, and a process may be forked meanwhile.

    Attributes:
        file: The checkpoint, or the file or the name of the weights.
        name: Of the network, in `network.MODELS`.
        model: The network.
        config: How its clips are cut.
        labels: Its classes, and how predictions are reported.
    """

    def __init__(
        self,
        checkpoint: str | Path | None = None,
        weights: str | None = None,
        labels: str | None = None,
        device: str | None = None,
        *,
        amp: bool = True,
        **settings: Any,
    ):
        """Load a model.

        Args:
            checkpoint: A checkpoint of train.py; the newest best one under ./run where neither
                it nor `weights` is named.
            weights: A file of public weights, or their name.
            labels: A file with the names of the classes of the weights, one a line, in order.
            device: Where to compute; by default the GPU where there is one.
            amp: Whether bfloat16 (on CPUs) and TF32 (on CUDA) are allowed, where they are faster
                and compute right.
            **settings: Those of `Settings`: `top_k`, `stride`, `threshold`, `smooth`.

        Raises:
            FileError: A file cannot be read.
            UsageError: A setting is out of range, or some do not go together.
            CheckpointError: The checkpoint is damaged.
            ModelError: The weights fit no network.
        """
        self.settings = Settings(**settings)
        if (weights and checkpoint) or (labels and not weights):
            raise UsageError("--weights or --checkpoint, not both; --labels goes with --weights")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        torch_device = Distributed().select_device(device)
        loaded = load_public(weights, labels) if weights else load_trained(checkpoint)
        self.file = loaded.file
        self.config = loaded.config
        self.name = loaded.name
        self.model = move_to_device(loaded.model.eval(), torch_device)
        self._amp = amp
        self.labels = Labels(loaded.classes, self.settings.top_k, self.settings.threshold)

    @cached_property
    def _network(self) -> InferenceNetwork:
        return InferenceNetwork(self.model, with_amp=self._amp)

    @classmethod
    def from_checkpoint(cls, file: str | Path | None = None, **options: Any) -> "Recognizer":
        """Load a checkpoint of train.py, by default the newest best one under ./run."""
        return cls(checkpoint=file, **options)

    @classmethod
    def from_weights(cls, name: str, labels: str | None = None, **options: Any) -> "Recognizer":
        """Load public weights.

        Args:
            name: A file, or a name out of `inference.py --weights help`.
            labels: A file with the names of the classes, one a line, in order.
            **options: Device and settings, as those of the constructor.
        """
        return cls(weights=name, labels=labels, **options)

    def predict(
        self,
        video: str | int | Path | FrameSource,
        target: str | Path | None = None,
        *,
        features: bool = False,
        grad_cam: bool = False,
        layout: str = "overlay",
        reconnect: int = 0,
    ) -> dict[str, Any]:
        """Recognise the actions in a video.

        Args:
            video: A file, the address of a stream, the number of a camera, or a frame source.
            target: MP4 file to which the annotated video is written.
            features: Whether to return what the last layer sees of each window.
            grad_cam: Whether to colour the annotated video where the model looks.
            layout: Where its labels stand, "overlay" or "below".
            reconnect: Outages after which a live source is opened again.

        Returns:
            What inference.py writes as JSON; with `features` also "features", `float32`
            (windows, 512 or 4096).

        Raises:
            FileError: A file or a source cannot be read or written.
            DataError: The video is none, or has no frame that can be decoded.
            UsageError: `target` is the video itself.
        """
        source = open_source(video)
        result = VideoResult(self.labels)
        outputs = {"features": features, "grad_cam": grad_cam}
        with ExitStack() as stack:
            reader = self.open_reader(source, reconnect=reconnect)
            stack.callback(reader.close)
            writer = None
            if target is not None:
                writer = stack.enter_context(self.open_writer(Path(target), source, layout))
            segments = self.recognize(reader, keep_frames=writer is not None, **outputs)
            for segment in stack.enter_context(closing(segments)):
                result.add(segment)
                if writer is not None:
                    writer.write(segment)
        report = self.report(reader, result)
        if features:
            report["features"] = result.features
        return report

    def stream(self, frames: Iterable[np.ndarray], fps: float = 25) -> Iterator[dict[str, Any]]:
        """Recognise what happens in images, taken one by one in the thread of the caller.

        Args:
            frames: Images, BGR `uint8` (H, W, 3), or grey (H, W) or (H, W, 1). Each is copied
                before the next is asked for.
            fps: Images a second.

        Returns:
            An iterator over the windows, as in the JSON of inference.py. Each comes with its last
            frame; with `smooth` N, N // 2 windows later.

        Raises:
            UsageError: `fps` is no rate.
            DataError: While iterating: an item is no image.
        """
        is_number = isinstance(fps, (int, float)) and math.isfinite(fps)
        if not is_number or fps <= 0:
            raise UsageError(f"fps {fps}: must be a number of frames a second, more than 0")
        return self._stream(frames, fps)

    def _stream(self, images: Iterable[np.ndarray], fps: float) -> Iterator[dict[str, Any]]:
        cutter = WindowCutter(self.config, self.settings.stride, fps=fps, is_even=True)
        smoother = Smoother(self.settings.smooth)
        pipeline = WindowPipeline(cutter, WindowClassifier(self._network), smoother)
        for frame in number_images(images, fps):
            for prediction in pipeline.push(frame):
                yield self.labels.describe(prediction)
        for prediction in pipeline.flush():
            yield self.labels.describe(prediction)

    def open_reader(
        self,
        source: FrameSource,
        *,
        reconnect: int = 0,
        stop: StopSignal | None = None,
        report: Callable[[str], None] | None = None,
    ) -> FileReader | LiveReader:
        """Return what reads a source.

        Args:
            source: A file or a live source.
            reconnect: Outages after which a live source is opened again.
            stop: Ends a live source by its signal, and stops the reading of a file.
            report: Is called with a line for each outage that is over.
        """
        if not source.is_live:
            return FileReader(source, stop)
        cutter = WindowCutter(self.config, fps=source.fps)
        capacity = math.ceil(cutter.frames_per_window)
        return LiveReader(source, capacity, reconnect=reconnect, stop=stop, report=report)

    def open_writer(
        self,
        target: Path,
        source: FrameSource,
        layout: str = "overlay",
        preview: Preview | None = None,
    ) -> AnnotatedVideoWriter:
        """Return what writes the annotated copy of a source.

        Args:
            target: MP4 file.
            source: Where the frames and the sound come from.
            layout: Where labels stand, "overlay" or "below".
            preview: Shows the frames as well.

        Raises:
            UsageError: The target is the source.
        """
        path = getattr(source, "path", None)
        if path is not None and path.resolve() == target.resolve():
            raise UsageError(f"{target}: would be overwritten")
        painter = Painter(
            self.labels,
            self.config,
            layout=layout,
            pixel_aspect=source.pixel_aspect,
            duration=source.duration,
        )
        return AnnotatedVideoWriter(target, source, painter, preview)

    def recognize(
        self,
        reader: FileReader | LiveReader,
        *,
        keep_frames: bool = False,
        features: bool = False,
        grad_cam: bool = False,
    ) -> Iterator[Segment]:
        """Yield the windows of a video, each with the part of the video for which it stands.

        Args:
            reader: Gives the frames; see `open_reader`.
            keep_frames: Whether the segments have their frames.
            features: Whether the predictions have features.
            grad_cam: Whether the predictions have heat maps.

        Raises:
            FileError: The source cannot be read.
            DataError: No frame can be decoded.
        """
        cutter = WindowCutter(self.config, self.settings.stride, fps=reader.source.fps)
        segments = SegmentBuilder(keep_frames)
        batch_size = choose_batch_size(
            self._network.device,
            cutter.frames_per_stride,
            is_live=reader.source.is_live,
            keep_frames=keep_frames,
        )
        with ThreadPoolExecutor(1) as executor:
            classifier = BackgroundClassifier(
                executor,
                self._network,
                batch_size,
                with_features=features,
                with_heatmaps=grad_cam,
                is_prompt=reader.source.is_live,
            )
            pipeline = WindowPipeline(cutter, classifier, Smoother(self.settings.smooth))
            for item in reader:
                if not isinstance(item, Gap):
                    with FORK_GUARD:
                        item = ImageFrame(item.time, item.to_image())
                    segments.push_frame(item, pipeline.run)
                for prediction in pipeline.push(item):
                    reader.note_prediction(prediction)
                    yield from segments.push(prediction)
                if item is Gap.OUTAGE:  # what was seen before it waits for nothing
                    yield from segments.flush()
            for prediction in pipeline.flush():
                reader.note_prediction(prediction)
                yield from segments.push(prediction)
            yield from segments.flush()

    def report(self, reader: FileReader | LiveReader, result: VideoResult) -> dict[str, Any]:
        """Return what inference.py writes about a video as JSON, when all segments are in.

        Args:
            reader: Has read the video.
            result: Has all its segments.
        """
        return {
            "video": reader.source.name,
            "checkpoint": str(self.file),
            "model": self.name,
            "settings": asdict(self.settings),
            "fps": reader.fps or result.fps,
            "frames": result.num_frames + reader.num_dropped,
            **result.describe(),
            **describe_reading(reader),
        }
