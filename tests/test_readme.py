import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, write_dataset, write_video

from engine import args as train_flags
from network import MODELS
from recognition import args as inference_flags

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]

# Instead of what the page's programs would do for hours, install or not find on this machine.
PROGRAMS = {
    "python": """
case "$1" in
    train.py) exec $PYTHON "$@" --epochs 1 --crop-size 16 --clips-per-video 1 --workers 0 ;;
    tests/benchmark.py) exec $PYTHON "$@" --help ;;
    inference.py) for word in "$@"; do [[ $word != --show ]] && set -- "$@" "$word"; shift; done; exec $PYTHON "$@" ;;
esac
case "$2" in
    pytest) exec $PYTHON "$@" --collect-only -q -p no:cacheprovider "$TESTS" ;;
    assets.make) exec $PYTHON "$@" ${3:-convolutions c3d resnets demo} ;;
esac
exec $PYTHON "$@"
""",
    "pip": 'for word in "$@"; do case $word in *.txt) cat "$word" > /dev/null || exit 1 ;; esac; done',
    "tensorboard": 'exec $PYTHON -m tensorboard.main "$@" --inspect',
    "torchrun": 'exec $PYTHON -m torch.distributed.run "$@" --epochs 1 --crop-size 16 --clips-per-video 1 --workers 0',
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    "scontrol": "echo 127.0.0.1",
    "docker": ":",
}
PLACES = {
    "VIDEO [VIDEO ...]": "v.avi",
    "VIDEO": "v.avi",
    "FOLDER": "data/kitchen",
    "--source 0": "--source v.avi",
    "FIRST": "127.0.0.1",
    "nnodes=2": "nnodes=1",
    "node=8": "node=1",
    "--resume 3": "--resume 1",
    "--seed N": "--seed 1",
    "--threshold 0.85": "--threshold 0",  # after one epoch no event is as probable
    "0 1 2": "0",
    "1 2 3 4 5": "1",
}


def commands():
    """The commands of every page, those in blocks first."""
    text = "\n".join(PAGES.values())
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"`((?:python|pip|docker|tensorboard) [^`\n]*)`", text)
    return list(
        dict.fromkeys(
            blocks
            + [command for command in inline if "..." not in command and "DIR" not in command]
        )
    )


def test_each_promise_names_a_test_that_there_is():
    named = re.findall(r"`(test_\w+)`", PAGES["docs/promises.md"])
    tests = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").glob("test_*.py"))
    assert len(named) > 20
    assert [name for name in named if f"\ndef {name}(" not in tests] == []


def test_each_picture_is_there():
    pictures = set()
    for page in PAGES:
        for link in re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGES[page]):
            pictures.add((ROOT / page).parent.joinpath(link).resolve().relative_to(ROOT).as_posix())
    assert len(pictures) > 4
    made = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "assets").iterdir()
        if file.suffix != ".py"
    }
    assert {name for name in made if "__pycache__" not in name} == pictures


@pytest.mark.parametrize(
    ("script", "page"), [(train_flags, "docs/train.md"), (inference_flags, "docs/inference.md")]
)
def test_the_table_of_flags_is_that_of_the_parser(script, page):
    rows = {}
    for flag, default, _ in re.findall(
        r"^\| `(--[^`]+)` \| *(.*?) *\| (.*) \|$", PAGES[page], re.MULTILINE
    ):
        rows[flag.split()[0]] = default.replace("`", "")
    actions = {
        action.option_strings[0]: action
        for action in script.get_args_parser()._actions
        if action.option_strings
    }
    del actions["-h"]
    assert rows.keys() == actions.keys()
    for flag, action in actions.items():
        if (
            action.default is not None
            and action.default is not False
            and flag not in ("--workers", "--device")
        ):
            assert (
                str(action.default).removeprefix("./")
                in rows[flag].removeprefix("./").split(",")[0]
            ), flag


def test_each_link_leads_to_a_file_that_is_there():
    for page, text in PAGES.items():
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (ROOT / page).parent.joinpath(link.replace("\\", "")).exists(), (page, link)


def test_the_page_is_short():
    assert len(README.split()) <= 2600
    assert "DEMO_" not in README


@pytest.mark.slow
@pytest.mark.workers
@pytest.mark.skipif(
    not shutil.which("bash"), reason="the page's commands are those of a Unix shell"
)
def test_each_command_on_the_page_runs(project, tmp_path):
    """In the order of the page, on tiny videos: an epoch, a smaller crop, fewer processes."""
    for name in (
        "requirements.txt",
        "tests/requirements.txt",
        "tests/benchmark.py",
        "tests/configs.py",
        "assets/make.py",
        "docs/run_onnx.py",
    ):
        (project.folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, project.folder / name)
    shutil.copytree(ROOT / "tests" / "benchmarks", project.folder / "tests" / "benchmarks")
    for name in ("UCF-101", "kitchen", "fight2"):
        write_dataset(project.folder / "data" / name, ("Archery", "Biking"))
    write_video(project.folder / "v.avi", 20)
    torch.save(
        MODELS["R2Plus1D"](400).state_dict(), project.folder / "r2plus1d_18"
    )  # goes before the name
    for name in ("kitchen", "fight2"):
        project.set_path(name, f"data/{name}")
    project.copy()
    (tmp_path / "bin").mkdir()
    for name, script in PROGRAMS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "TESTS": str(ROOT / "tests"),
        "SLURM_JOB_NODELIST": "",
        "SLURM_JOB_ID": "1",
        "SLURM_ARRAY_TASK_ID": "1",
    }
    assert len(commands()) > 15
    tried_network = False
    for command in commands():
        for written, tried in PLACES.items():
            command = command.replace(written, tried)
        command = ["bash", "-e", "-c", command]
        done = subprocess.run(
            command,
            cwd=project.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
        tried_network |= (
            "run/run_0/models/R2Plus1D-demo_best.pth: R2Plus1D, 6 classes" in done.stdout
        )
    assert tried_network
    written = {path.name for path in (project.folder / "output").iterdir()}
    assert written >= {
        "v_Up_g01_c01_annotated.mp4",
        "v.json",
        "v_annotated.vtt",
        "predictions.csv",
        "events.csv",
    }
    assert (project.folder / "model.onnx").stat().st_size > 1e8
    for name in ("convolutions.svg", "c3d.svg", "resnets.svg"):
        assert (project.folder / "assets" / name).read_bytes() == (
            ROOT / "assets" / name
        ).read_bytes()
    assert (project.folder / "assets" / "demo.gif").stat().st_size > 1e5
