"""Computing in a process that other threads may fork at any time."""

import gc
import os
import threading

import cv2
import torch


class ForkGuard:
    """Lets a process fork only while no thread is within a `with` block of the guard.

    A child has the locks of FFmpeg, OpenCV and PyTorch as they are at the fork, and none of the
    other threads: it would wait forever for a lock that one of them holds, and for their work.
    """

    def __init__(self):
        self._changed = threading.Condition()
        self._num_inside = 0
        self._is_forking = False
        self._is_child = False
        self._own = threading.local()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._before_fork,
                after_in_parent=self._after_fork,
                after_in_child=self._enter_child,
            )

    def __enter__(self) -> None:
        depth = self._own_depth()
        with self._changed:
            if depth == 0:
                self._changed.wait_for(lambda: not self._is_forking)
            self._num_inside += 1
        self._own.depth = depth + 1
        if self._is_child:
            _use_one_thread()

    def __exit__(self, *_) -> None:
        with self._changed:
            self._num_inside -= 1
            self._changed.notify_all()
        self._own.depth -= 1

    def _own_depth(self) -> int:
        """Return how many blocks the calling thread is in."""
        return getattr(self._own, "depth", 0)

    def _before_fork(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_forking)
            self._is_forking = True
            self._changed.wait_for(lambda: self._num_inside == self._own_depth())

    def _after_fork(self) -> None:
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()

    def _enter_child(self) -> None:
        self._changed = threading.Condition()  # the other threads may have held the old one
        self._is_forking = False
        self._is_child = True
        # To free a decoder of the parent would be to wait for its threads.
        gc.freeze()


def _use_one_thread() -> None:
    """Make PyTorch and OpenCV compute in the thread that calls: their pools are not in a child."""
    if cv2.getNumThreads() > 1:
        cv2.setNumThreads(0)
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


FORK_GUARD = ForkGuard()
