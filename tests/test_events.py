import os

import pytest

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
