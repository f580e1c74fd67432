"""The recipes: what they set, and that each starts, on tiny videos and random weights."""

import os
import re
import signal
from dataclasses import dataclass

import pytest
import torch
from conftest import ROOT, take_nothing_for_copies, write_video
from test_converters import MMACTION2, OWN, SHARED, random_state, without

from dataloaders.labels import LABELS, read_labels
from engine.args import parse_training_args
from engine.checkpoint import load_checkpoint
from engine.errors import UsageError
from engine.trainer import Trainer
from network import weights
from network.weights import TABLE, weight_urls

FILES = sorted(path.name for path in (ROOT / "recipes").iterdir())
ROW = re.compile(
    r"^\| `(?P<file>\S+\.txt)` \| (?P<after>[^|]+) \| (?P<theirs>\d+), ours (?P<clips>\d+) "
    r"\| (?P<their_steps>[\d,]+), ours (?P<steps>[\d,]+) "
    r"\| (?P<their_passes>[\d.]+), ours (?P<passes>\d+) \|",
    re.MULTILINE,
)
PAGE = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
ROWS = {row["file"]: row for row in ROW.finditer(PAGE)}
OFFICIAL = {"ucf101": 9537, "hmdb51": 3570}  # videos of the official train lists
TRAINED = {"ucf101": 7451, "hmdb51": 2856}  # as --split official1 leaves of them without val


def parse(name, *flags):
    """The flags of a recipe."""
    return parse_training_args([f"@{ROOT / 'recipes' / name}", *flags])[0]


def test_the_table_has_a_row_for_each_recipe():
    assert sorted(ROWS) == FILES
    assert len(FILES) == 7


@pytest.mark.parametrize("name", FILES)
def test_clips_steps_and_passes_are_those_of_the_table(name):
    args = parse(name)
    row = ROWS[name]
    clips = args.batch_size * args.accumulate
    passes = args.epochs * args.repeat
    assert (clips, passes) == (int(row["clips"]), int(row["passes"]))
    assert clips == int(row["theirs"])
    assert passes == pytest.approx(float(row["their_passes"]), rel=0.02)
    steps = args.epochs * (TRAINED[args.dataset] * args.repeat // clips)
    assert int(row["steps"].replace(",", "")) == pytest.approx(steps, abs=50)  # in hundreds
    their_clips = float(row["their_passes"]) * OFFICIAL[args.dataset]
    their_steps = int(row["their_steps"].replace(",", ""))
    assert their_steps == pytest.approx(their_clips / clips, rel=0.02)


@pytest.mark.parametrize("name", FILES)
def test_a_recipe_says_what_it_is(name):
    text = (ROOT / "recipes" / name).read_text(encoding="utf-8")
    for word in ("# Source: ", "# Published: ", "Not run here.", "# Estimate for one H200"):
        assert word in text.replace("\n# ", " ") or word in text, word
    assert max(map(len, text.splitlines())) <= 100
    args = parse(name)
    network = f"{args.model}{args.depth}".replace("C3D18", "C3D").lower()
    assert name.startswith(f"{args.dataset}_{network}_")
    if args.weights:
        models = dict(re.split("  +", row)[:2] for row in TABLE.read_text().splitlines())
        depth = f" --depth {args.depth}" if args.depth != 18 else ""
        assert models[args.weights] == args.model + depth


def test_the_flags_of_the_recipe_of_severe_benchmark():
    args = parse("ucf101_r2plus1d18_kinetics.txt", "--epochs", "20")
    assert args.epochs == 20  # later flags override those of the file
    assert (args.optimizer, args.lr, args.weight_decay, args.momentum) == ("adam", 1e-4, 0, None)
    assert (args.milestones, args.gamma) == ((6, 10, 14), 0.3)
    assert (args.clip_len, args.frame_rate, args.repeat) == (32, 16, 10)


def test_the_training_from_scratch_mirrors_no_clips():
    assert parse("ucf101_r3d18_scratch.txt").no_flip  # neither does train_classify.py of VCP


def test_a_file_of_flags_has_comments_and_several_flags_a_line(tmp_path):
    file = tmp_path / "flags.txt"
    file.write_text('# all of it\n\n--epochs 3 --lr 0.5  # "\n--run-dir "my runs"\n--no-flip\n')
    args, _ = parse_training_args(["--epochs", "9", f"@{file}"])
    assert (args.epochs, args.lr, str(args.run_dir), args.no_flip) == (3, 0.5, "my runs", True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"--epochs 3\n--turbo", "unrecognized arguments: --turbo; --help lists the flags"),
        (b"--epochs 0", "--epochs 0: must be 1 or more"),
        (b'--run-dir "my runs', "no line of flags: '--run-dir \"my runs': No closing quotation"),
        (b"\xff\xd8\xff", "no text"),
    ],
)
def test_a_wrong_file_of_flags_is_one_line(tmp_path, content, message):
    (tmp_path / "flags.txt").write_bytes(content)
    with pytest.raises(UsageError) as error:
        parse_training_args([f"@{tmp_path / 'flags.txt'}"])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_of_flags_that_names_itself_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flags.txt").write_text("--epochs 3\n@flags.txt\n")
    with pytest.raises(UsageError, match="^a file behind @ names itself$"):
        parse_training_args(["@flags.txt"])


def write_videos(folder, dataset):
    """Write four tiny videos of each class, two of them in the official train list."""
    original = write_video(folder / "original.avi", 8)
    lists = folder / "lists"
    lists.mkdir()
    for name in read_labels(LABELS[dataset]):
        (folder / "videos" / name).mkdir(parents=True)
        lines = []
        for number, group in enumerate((1, 8, 9, 10)):
            video = f"v_{name}_g{group:02d}_c01"
            if dataset == "hmdb51":
                video = f"film{group}_{name}_f_cm_np1_ri_goo_{number}"
            os.link(original, folder / "videos" / name / f"{video}.avi")
            lines.append(f"{video}.avi {2 if group == 1 else 1}\n")
        if dataset == "hmdb51":
            (lists / f"{name}_test_split1.txt").write_text("".join(lines))
    return folder / "videos", lists


@dataclass(frozen=True)
class Published:
    """Weights as a publisher lays them out.

    Attributes:
        model: The network.
        num_classes: That it was trained on.
        options: Of the network.
        layout: From our names to those of the publisher.
    """

    model: str
    num_classes: int
    options: dict
    layout: callable = lambda state: state


PUBLISHED = {
    "r3d_18": Published("R3D", 400, {}),
    "r2plus1d_18": Published("R2Plus1D", 400, SHARED),
    "r2plus1d_34_32_kinetics": Published("R2Plus1D", 400, OWN | {"depth": 34}),
    "r2plus1d_34_32_ig65m": Published("R2Plus1D", 359, OWN | {"depth": 34}),
    "c3d_sports1m": Published(
        "C3D", 487, {}, lambda state: {"state_dict": without(MMACTION2(state), "fc8")}
    ),
}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    folders = {}
    for dataset in OFFICIAL:
        folders[dataset] = write_videos(tmp_path_factory.mktemp(dataset), dataset)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_each_recipe_starts_and_takes_a_step(name, project, datasets, tmp_path, monkeypatch):
    def publish(weights_name):
        published = PUBLISHED[weights_name]
        path = tmp_path / weight_urls()[weights_name].rpartition("/")[2]
        state = random_state(published.model, published.num_classes, **published.options)
        torch.save(published.layout(state), path)
        return path

    def stop_after(self):
        step(self)
        signal.raise_signal(signal.SIGTERM)

    step = Trainer._step
    monkeypatch.setattr(weights, "download_weights", publish)
    monkeypatch.setattr(Trainer, "_step", stop_after)
    take_nothing_for_copies(monkeypatch)
    args = parse(name)
    videos, lists = datasets[args.dataset]
    project.set_path(args.dataset, videos)
    project.add_entry(args.dataset, lists=str(lists))
    flags = ["--crop-size", "16", "--workers", "0"]
    clips = int(ROWS[name]["clips"])
    if args.model == "C3D":  # takes clips of 112x112 alone, of which 240 would take minutes
        flags = ["--batch-size", "2", "--accumulate", "2", "--workers", "0"]
        clips = 4
    stopped = project.run("train.py", f"@{ROOT / 'recipes' / name}", *flags, ok=False)
    assert stopped.returncode == 128 + signal.SIGTERM, stopped.stderr
    (last,) = (project.folder / "run" / "run_0" / "models").glob("*_last.pth")
    checkpoint = load_checkpoint(last)
    assert checkpoint["scheduler"]["last_epoch"] == 1
    assert checkpoint["train_state"]["num_samples"] == clips
    assert len(checkpoint["classes"]) == {"ucf101": 101, "hmdb51": 51}[args.dataset]
    stored = checkpoint["args"]
    assert stored["epochs"] * stored["repeat"] == int(ROWS[name]["passes"])
    for flag in ("optimizer", "lr", "milestones", "gamma", "weight_decay", "min_scale"):
        assert stored[flag] == getattr(args, flag)
    rate = checkpoint["optimizer"]["param_groups"][-1]["initial_lr"]
    assert rate == pytest.approx(args.lr)  # also of a new last layer
