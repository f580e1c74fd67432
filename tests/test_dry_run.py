import shutil

from conftest import numbered_frame, write_dataset, write_video


def test_a_dry_run_says_what_there_is_and_writes_nothing(project, tmp_path):
    root = write_dataset(tmp_path / "videos", ("Jump", "Run", "Sit"))
    write_video(root / "Sit" / "v_Sit_g06_c01.avi", [numbered_frame(0, 320, 240)] * 90, fps=30)
    (root / "Sit" / "broken.avi").write_bytes(b"no video")
    project.set_path("own", root)
    output = project.run("-m", "dataloaders.preprocess", "own", "--dry-run").stdout
    *lines, last = output.splitlines()
    assert last.startswith(f"cannot be read: {root}/Sit/broken.avi: not a video")
    assert lines == [
        "17 videos, 7 groups",
        "classes: Sit (7), Jump (5), Run (5)",
        "split: train (11), test (3), val (3)",
        "rates: 25 frames/s (15), 30 frames/s (1)",
        "sizes: 160x120 (15), 320x240 (1)",
        "lengths: 0.8 to 3.0 s, median 0.8",
    ]
    assert not (project.folder / "data").exists()
    shutil.rmtree(root / "Run")
    shutil.rmtree(root / "Jump")
    for video in list((root / "Sit").iterdir())[2:]:
        video.unlink()
    output = project.run("-m", "dataloaders.preprocess", "own", "--dry-run").stdout
    assert output.startswith(
        "no split: fold 1: every class needs groups in each of train, val and test; "
    )
    assert "split: none (2)" in output
