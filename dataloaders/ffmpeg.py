"""PyAV, which reads and writes videos by FFmpeg, and the cores that it may use.

Every other file takes `av` from here. `import av` before `import cv2` makes `cv2.imshow` hang on
Linux, because both packages bring a display library of their own; in this order both work.
"""

import cv2  # noqa: F401, isort: skip
import av  # isort: skip

__all__ = ["av"]
