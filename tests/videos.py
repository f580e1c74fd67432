"""Videos that tests encode by PyAV: any codec, container, rate, colour and orientation."""

from fractions import Fraction

import numpy as np

from dataloaders.ffmpeg import av

MILLISECOND = Fraction(1, 1000)
SIZE = 64, 48  # width, height
OPTIONS = {
    "libx264": {"preset": "ultrafast", "threads": "1"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "threads": "1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "threads": "1"},
    "libsvtav1": {"preset": "12", "svtav1-params": "lp=1"},
}
B_FRAMES = {"preset": "veryfast", "threads": "1", "bf": "2", "x264-params": "b-adapt=0"}


def planar_frame(planes, pix_fmt):
    """An `av` frame of planes, arrays (H, W) of whole numbers, as they are."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        depth = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
        rows = np.zeros((plane.height, plane.line_size // depth().itemsize), depth)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    return frame


def grey_frame(number, size=SIZE):
    """An `av` frame whose brightness tells its number, 0..100, above other noise for each number."""
    width, height = size
    luma = np.full((height, width), round(20 + 2 * number), np.uint8)
    noise = np.random.default_rng(round(100 * number)).integers(60, 190, (height // 2, width))
    luma[height // 2 :] = noise
    chroma = np.full((height // 2, width), 128, np.uint8)
    return av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p")


def grey_number(image):
    """The number of a grey frame by its image, BGR."""
    height, width = image.shape[:2]
    luma = 16 + image[2 : height // 2 - 2, 4 : width - 4].mean() * 219 / 255
    return (luma - 20) / 2


def encode(path, frames, codec="libx264", *, ticks=None, tick=MILLISECOND, rate=25, **settings):
    """Encode frames as a video file.

    Args:
        path: The file; its suffix chooses the container, unless `settings` do.
        frames: `av` frames, BGR images, or a number of grey frames.
        codec: FFmpeg's name of the encoder.
        ticks: When each frame is shown, in units of `tick`; by default evenly, by `rate`.
        settings: `pix_fmt`, `options`, `gop_size` and `tags` (attributes) of the encoder; `format`
            and `muxer` (options) of the container; `sound`, seconds of silence.
    """
    if isinstance(frames, int):
        frames = [grey_frame(number) for number in range(frames)]
    frames = [_to_av(frame) for frame in frames]
    if ticks is None:
        tick = Fraction(1, rate)
        ticks = range(len(frames))
    name = f"file:{path}"
    with av.open(
        name, "w", format=settings.get("format"), options=settings.get("muxer", {})
    ) as file:
        stream = file.add_stream(codec, rate=rate, options=settings.get("options"))
        stream.codec_context.options = settings.get("options", OPTIONS.get(codec, {}))
        _set_up(stream.codec_context, frames[0], settings)
        stream.codec_context.time_base = tick
        sound = list(silence(file, settings["sound"])) if "sound" in settings else []
        for frame, time in zip(frames, ticks, strict=True):
            frame.pts = time
            frame.time_base = tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        for packet in sound:
            file.mux(packet)
    return path


def _to_av(frame):
    if isinstance(frame, np.ndarray):
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="bgr24")
    return frame


def _set_up(encoder, frame, settings):
    encoder.width = frame.width
    encoder.height = frame.height
    encoder.pix_fmt = settings.get("pix_fmt", "yuv420p")
    encoder.gop_size = settings.get("gop_size", 12)
    encoder.bit_rate = 2_000_000
    for name, value in settings.get("tags", {}).items():
        setattr(encoder, name, value)


def silence(file, seconds):
    """Add a stream to an open container; yield its packets of silence."""
    # MP3 and AAC begin before 0, for which AVI has no time.
    is_avi = file.format.name == "avi"
    stream = file.add_stream("pcm_s16le" if is_avi else file.default_audio_codec, rate=48000)
    encoder = stream.codec_context
    encoder.layout = "mono"
    encoder.open()
    size = encoder.frame_size or 1024
    for start in range(0, round(48000 * seconds), size):
        frame = av.AudioFrame(format=encoder.format.name, layout="mono", samples=size)
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = 48000
        frame.pts = start
        yield from stream.encode(frame)
    yield from stream.encode(None)


def remux(source, target, *, shift=0.0, keep=lambda number: True, muxer=None):
    """Copy the packets of a video's picture to another file, without encoding.

    Args:
        shift: Seconds to add to all times; what is before 0 then is not shown in MP4.
        keep: Whether to copy the packet of a number, in the order of the file.
    """
    with (
        av.open(f"file:{source}") as file,
        av.open(f"file:{target}", "w", options=muxer or {}) as copy,
    ):
        stream = file.streams.video[0]
        written = copy.add_stream_from_template(stream)
        offset = round(shift / stream.time_base)
        packets = [packet for packet in file.demux(stream) if packet.size]
        for number, packet in enumerate(packets):
            if keep(number):
                packet.pts += offset
                packet.dts += offset
                packet.stream = written
                copy.mux(packet)
    return target


def packet_places(path):
    """(offset in the file, size) of each packet of the picture, in the order of the file."""
    with av.open(f"file:{path}") as file:
        return [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]


def overwrite(path, start, size, value=0):
    """Overwrite bytes of a file."""
    data = bytearray(path.read_bytes())
    data[start : start + size] = bytes([value]) * size
    path.write_bytes(data)
    return path
