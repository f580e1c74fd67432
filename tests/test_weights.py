"""Public weights by name: downloaded from a server, and used by the scripts as a user uses them."""

import contextlib
import hashlib
import json
import re
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from conftest import write_dataset, write_video
from test_converters import random_state, without

import inference
import train
from dataloaders.sampling import ClipConfig
from engine.checkpoint import load_checkpoint
from network import MODELS, weights
from network.converters import WeightFile, convert
from network.errors import ModelError
from network.weights import TABLE, describe_clip, download_weights, load_weights, weight_urls


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Serve a file of weights under a name; gives the path that it is downloaded to, and counts what is asked for."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    served, requests = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            body, length = served.get(self.path, (None, 0))
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(name, body, digest=None, length=None):
        digest = digest or hashlib.sha256(body).hexdigest()[:8]
        file = f"{name}-{digest}.pth"
        served[f"/{file}"] = body, len(body) if length is None else length
        url = f"http://127.0.0.1:{server.server_port}/{file}"
        monkeypatch.setitem(weight_urls(), name, url)
        return Path(torch.hub.get_dir(), "checkpoints", file)

    yield serve, requests, served
    server.shutdown()
    server.server_close()


def files(folder):
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_weights_are_downloaded_once_with_their_hash_checked(publish):
    serve, requests, _ = publish
    path = serve("r3d_18", b"weights")
    assert download_weights("r3d_18") == path and path.read_bytes() == b"weights"
    assert download_weights("r3d_18") == path
    assert len(requests) == 1
    path.write_bytes(b"half of it")
    with pytest.raises(
        ModelError, match=f"{path}: damaged, its SHA-256 does not begin with .*; delete it"
    ):
        download_weights("r3d_18")


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        ({"body": b"<html>", "digest": "12345678"}, "invalid hash value"),
        ({"body": b"half", "digest": "12345678", "length": 400}, ""),
        ({}, "Not Found"),
    ],
    ids=["wrong hash", "truncated", "404"],
)
def test_a_failed_download_leaves_nothing_and_says_where_the_file_goes(publish, served, reason):
    serve, _, everything = publish
    path = serve("r3d_18", **{"body": b"gone"} | served)
    if not served:
        everything.clear()
    with pytest.raises(ModelError) as error:
        download_weights("r3d_18")
    line = str(error.value)
    assert (
        line.startswith("--weights r3d_18: http://127.0.0.1:")
        and reason in line
        and "\n" not in line
    )
    assert line.endswith(f"get it elsewhere and put it at {path}")
    assert not files(path.parent)


def test_without_a_network_one_line_gives_the_address(publish, mistake, monkeypatch):
    serve, _, _ = publish
    path = serve("r2plus1d_18", b"")
    monkeypatch.setitem(weight_urls(), "r2plus1d_18", "http://127.0.0.1:9/r2plus1d_18-91a641e6.pth")
    line = mistake(train, "--weights", "r2plus1d_18")
    assert (
        "train.py: --weights r2plus1d_18: http://127.0.0.1:9/r2plus1d_18-91a641e6.pth cannot be downloaded"
        in line
    )
    assert line.endswith(f"put it at {path.parent}/r2plus1d_18-91a641e6.pth")


def test_a_server_that_falls_silent_is_given_up(publish, monkeypatch):
    class Silent(BaseHTTPRequestHandler):
        def do_GET(self):
            is_over.wait(20)

        def log_message(self, *args):
            pass

    is_over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(weights, "DOWNLOAD_TIMEOUT", 0.5)
    monkeypatch.setitem(weight_urls(), "r3d_18", f"http://127.0.0.1:{server.server_port}/a-00.pth")
    with pytest.raises(ModelError, match="cannot be downloaded .*timed out"):
        download_weights("r3d_18")
    is_over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("script", [train, inference])
def test_help_lists_names_clips_and_accuracy(capsys, script):
    with contextlib.suppress(SystemExit):
        script.main(["--weights", "help"])
    output = capsys.readouterr().out
    header, *rows = output.splitlines()
    assert re.split("  +", header) == ["name", "--model", "clips", "top-1, %", "address"]
    assert [row.split()[0] for row in rows] == list(weight_urls())
    for row in rows:
        name, model, clip, accuracy, url = re.split("  +", row)
        assert (
            model.split()[0] in MODELS
            and re.search(r"\d frames", clip)
            and re.search(r"\d\.\d|not", accuracy)
        )
        assert url.startswith("https://") and re.search(r"-[0-9a-f]{8}\.pth$", url)


@pytest.mark.parametrize(
    ("file", "shapes", "is_nested", "clip"),
    [
        ("a.pth", {"stem.0.weight": 64}, False, (16, 15.0, None)),
        (
            "x_clip8_y.pth",
            {"stem.0.weight": 64, "layer2.0.conv2.0.0.weight": 288},
            False,
            (8, 0, 1),
        ),
        (
            "x_clip32.pth",
            {"stem.0.weight": 64, "layer2.0.conv2.0.0.weight": 288},
            False,
            (32, 0, 1),
        ),
        (
            "clip8.pth",
            {"stem.0.weight": 64, "layer2.0.conv2.0.0.weight": 230},
            False,
            (16, 15.0, None),
        ),
        ("a.pth", {"video_network.base.stem.0.weight": 64}, True, (30, 30.0, None)),
        ("a.pth", {"bn1.weight": 64}, False, (16, 0, 2)),
        ("a.pth", {"conv1a.conv.weight": 64}, True, (16, 0, 1)),
        ("a.pth", {"features.0.weight": 64}, False, (16, 0, 1)),
        ("a.pth", {"conv1.weight": 64, "fc8.weight": 101}, True, (16, 0, 4)),
        ("a.pth", {"conv1.weight": 64, "fc8.weight": 101}, False, (16, 0, 1)),
        ("a.pth", {"conv1.weight": 64, "fc8.weight": 487}, True, (16, 0, 1)),
    ],
)
def test_the_clips_of_a_family_are_those_of_its_publisher(file, shapes, is_nested, clip):
    state = {name: torch.zeros(size, 3) for name, size in shapes.items()}
    clip_len, frame_rate, frame_interval = clip
    spacing = {"frame_rate": frame_rate} if frame_rate else {"frame_interval": frame_interval}
    assert convert(WeightFile(file, state, is_nested)).clip == {"clip_len": clip_len, **spacing}


@pytest.mark.slow
def test_a_file_says_which_clips_it_was_trained_on(tmp_path):
    for row in TABLE.read_text().splitlines():
        name, model, clip, _, url = re.split("  +", row)
        if not name.startswith(("r3d", "r2plus1d_18")):
            continue
        torch.save(random_state(model, 400), tmp_path / url.rpartition("/")[2])
        assert describe_clip(load_weights(tmp_path / url.rpartition("/")[2]).clip) == clip
    state = random_state("R2Plus1D", 3, shared_midplanes=False)
    for file, clip_len in (("r2plus1d_34_clip8_ig65m.pth", 8), ("clip32.pth", 32), ("xdc.pth", 32)):
        torch.save(state, tmp_path / file)
        assert load_weights(tmp_path / file).clip == {
            "clip_len": clip_len,
            "frame_interval": 1,
        }


@pytest.mark.slow
def test_inference_recognises_kinetics_at_once(publish, project, tmp_path):
    serve, _, _ = publish
    state = random_state("R3D", 400)
    torch.save(state, tmp_path / "weights.pth")
    serve("r3d_18", (tmp_path / "weights.pth").read_bytes())
    write_video(project.folder / "v.avi", 40, fps=30)
    output = project.run("inference.py", "v.avi", "--weights", "r3d_18").stdout
    assert "r3d_18: R3D, 400 classes" in output
    content = json.loads((project.folder / "output" / "v.json").read_text())
    assert content["windows"][0]["end"] == pytest.approx(31 / 30, abs=2e-3)  # 16 frames, every 2nd
    names = (
        (Path(train.__file__).parent / "dataloaders" / "kinetics_labels.txt")
        .read_text()
        .splitlines()
    )
    assert (names[0], names[399], len(names)) == ("1 abseiling", "400 zumba", 400)
    assert {guess["label"] for guess in content["top_k"]} <= {
        name.split(maxsplit=1)[1] for name in names
    }


@pytest.mark.slow
def test_classes_without_names_ask_for_a_file_of_them(project, tmp_path):
    write_video(project.folder / "v.avi", 20)
    torch.save(random_state("R3D", 3), tmp_path / "three.pth")
    torch.save(without(random_state("R3D", 3), "fc"), tmp_path / "features.pth")
    (tmp_path / "labels.txt").write_text(
        "brush teeth\n\nplay cello\n  swim  \n", encoding="utf-8-sig"
    )
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    command = "inference.py", "v.avi", "--no-video", "--weights"
    for flags, message in (
        (
            [tmp_path / "three.pth"],
            "its 3 classes have no names; --labels FILE has a line for each",
        ),
        ([tmp_path / "three.pth", "--labels", tmp_path / "two.txt"], "two.txt: 2 names, and"),
        ([tmp_path / "three.pth", "--labels", tmp_path / "none.txt"], "none.txt"),
        ([tmp_path / "features.pth"], "has no last layer; train.py --weights trains one"),
        ([tmp_path / "three.pth", "--checkpoint", "a.pth"], "--weights or --checkpoint, not both"),
        (
            ["nothing_18"],
            "nothing_18: no such file of weights; --weights help lists those that have a name",
        ),
    ):
        (line,) = project.run(*command, *flags, ok=False).stderr.splitlines()
        assert message in line
    project.run(*command, tmp_path / "three.pth", "--labels", tmp_path / "labels.txt")
    table = (project.folder / "output" / "predictions.csv").read_text().splitlines()
    assert table[1].split(",")[1] in ("brush teeth", "play cello", "swim")


@pytest.mark.slow
def test_training_takes_the_clips_of_the_weights_and_the_checkpoint_carries_them(project, tmp_path):
    project.set_path("own", write_dataset(tmp_path / "videos", groups=4, frames=40))
    torch.save(random_state("R3D", 5), tmp_path / "weights.pth")
    flags = (
        "--dataset",
        "own",
        "--model",
        "R3D",
        "--crop-size",
        "16",
        "--batch-size",
        "2",
        "--workers",
        "0",
    )
    flags += "--epochs", "1", "--clips-per-video", "1", "--freeze", "layer3"
    output = project.run("train.py", *flags, "--weights", tmp_path / "weights.pth").stdout
    described = "16 frames, 15 a second"
    assert f"weights.pth: trained on clips of {described}; this run: {described}" in output
    assert "R3D: 33,167,298 parameters, 0.8 GFLOPs a clip of 16x16x16" in output
    models = project.folder / "run" / "run_0" / "models"
    checkpoint = load_checkpoint(models / "R3D-own_last.pth")
    assert checkpoint["clip"] == asdict(ClipConfig.from_flags(16, 16, frame_rate=15.0))
    before = torch.load(tmp_path / "weights.pth")
    for key, value in checkpoint["state_dict"].items():
        is_frozen = key.startswith(("stem", "layer1", "layer2", "layer3"))
        assert torch.equal(value, before[key]) == is_frozen or not key.startswith(
            ("stem", "layer")
        ), key
    output = project.run(
        "train.py", *flags, "--weights", models / "R3D-own_last.pth", "--frame-interval", "2"
    ).stdout
    assert f"trained on clips of {described}; this run: 16 frames, 1 in 2" in output
