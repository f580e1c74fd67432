import io
import os

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataloaders.errors import FileError
from engine.events import RunWriter


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error_and_no_wait_without_end(tmp_path):
    writer = RunWriter(tmp_path, first_epoch=1)
    writer._events._py_recordio_writer._writer = open("/dev/full", "wb")  # noqa: SIM115
    with pytest.raises(FileError, match="cannot be written: No space left"):
        for step in range(5):
            writer.add_scalar("a", 1, step)
            writer.flush()


def test_an_animation_shows_its_frames_in_their_colours(tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (4, 5, 3), np.uint8)  # of the bands of each frame
    frames = [np.repeat(np.repeat(rows[:, None], 30, axis=1), 8, axis=0) for rows in colours]
    with RunWriter(tmp_path) as writer:
        writer.add_gif("clips", frames, 3)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (image,) = events.Images("clips")
    assert (image.step, image.width, image.height) == (3, 30, 40)
    animation = Image.open(io.BytesIO(image.encoded_image_string))
    assert (animation.n_frames, animation.info["duration"]) == (4, 160)
    for number, frame in enumerate(frames):
        animation.seek(number)
        shown = np.asarray(animation.convert("RGB")).astype(int)
        assert np.abs(shown - frame).max() <= 2
