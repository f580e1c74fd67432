"""What only a GPU can show. `python -m pytest -m cuda` runs these, on one card."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from configs import train_config
from conftest import ROOT, SIZES, read_video, write_dataset, write_video
from test_evaluation import FirstPixelModel, NumberedClips
from test_train import progress, scalars
from tiny import Tiny
from torch import nn
from torch.utils.data import DataLoader

from engine.checkpoint import load_checkpoint, restore_model
from engine.criterion import CrossEntropy
from engine.errors import NonFiniteLossError
from engine.evaluation import evaluate
from engine.loss_meter import SYNC_INTERVAL
from engine.precision import Precision, choose_precision
from engine.trainer import Trainer
from network.resnet import BatchNorm3d

pytestmark = pytest.mark.cuda

CUDA = torch.device("cuda")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1")


def flags(name, **others):
    values = {
        "dataset": "own",
        "model": name,
        "crop-size": SIZES[name],
        "batch-size": 4,
        "workers": 2,
        **others,
    }
    return ("train.py", *(part for flag, value in values.items() for part in (f"--{flag}", value)))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_dataset(
        tmp_path_factory.mktemp("videos"), groups=7
    )  # 10 in train, 2 in val, 2 in test


@pytest.fixture
def project(project, videos):
    project.set_path("own", videos)
    return project


@pytest.mark.workers
@pytest.mark.parametrize("name", ["C3D", "R3D", "R2Plus1D"])
def test_a_run_is_interrupted_resumed_and_tested_and_its_checkpoint_recognises_and_is_exported(
    project, name
):
    with project.start(*flags(name, epochs=50)) as process:
        for line in process.stdout:
            if line.startswith("epoch 1/50"):
                process.send_signal(signal.SIGINT)
                break
        assert process.wait(120) == 130, process.stderr.read()
    run = project.folder / "run" / "run_0"
    last = run / "models" / f"{name}-own_last.pth"
    epochs = progress(last)[0] + 2
    project.run("train.py", "--resume", "--epochs", epochs, "--workers", 2)
    assert [step for step, _ in scalars(run)["curves/loss_val"]] == list(range(1, epochs + 1))
    assert all(gigabytes > 0 for _, gigabytes in scalars(run)["data/gpu_memory_gb"])
    assert json.loads((run / "results.json").read_text())["test"]["loss"] > 0

    video = write_video(project.folder / "video.avi", 70)
    project.run("inference.py", video, "--grad-cam")
    on_cuda = json.loads((project.folder / "output" / "video.json").read_text())
    assert len(read_video(project.folder / "output" / "video_annotated.mp4")) == 70
    project.run("inference.py", video, "--device", "cpu", "--output", "cpu")
    on_cpu = json.loads((project.folder / "cpu" / "video.json").read_text())
    for one, other in zip(on_cuda["windows"], on_cpu["windows"], strict=True):
        assert probabilities_of(one) == pytest.approx(probabilities_of(other), abs=0.01)

    project.run("inference.py", "--export", "model", "--checkpoint", last)
    exported = torch.export.load(project.folder / "model.pt2").module()
    clips = torch.randint(0, 256, (3, 3, 16, SIZES[name], SIZES[name]), dtype=torch.uint8)
    with torch.inference_mode():
        expected = restore_model(load_checkpoint(last)).eval().to(CUDA)(clips.to(CUDA)).cpu()
    torch.testing.assert_close(exported(clips), expected, rtol=0.02, atol=0.02)


def probabilities_of(window):
    return {guess["label"]: guess["probability"] for guess in window["top_k"]}


def first_loss(run):
    return scalars(run)["curves/loss_train"][0][1]


def test_a_compiled_run_is_a_plain_run_within_rounding(project):
    pytest.importorskip("triton")
    steady = flags("R3D", epochs=1, lr=1e-4, workers=0)
    project.run(*steady)
    project.run(*steady, "--compile")
    plain, compiled = (first_loss(project.folder / "run" / f"run_{i}") for i in range(2))
    assert compiled == pytest.approx(plain, rel=0.02)


def test_one_process_of_torchrun_is_a_plain_run_within_rounding(project):
    steady = flags("R3D", epochs=1, lr=1e-4, workers=0)
    project.run(*steady)
    project.copy()
    (project.folder / "checked.py").write_text(
        "import sys, torch, train\n"
        "from engine.distributed import Distributed\n"
        "wrap_ddp = Distributed.wrap_ddp\n"
        "def checked(distributed, model):\n"
        "    ddp_model = wrap_ddp(distributed, model)\n"
        "    assert sum(isinstance(module, torch.nn.SyncBatchNorm) for module in ddp_model.modules()) == 20\n"
        "    assert torch.distributed.get_backend(ddp_model.process_group) == 'nccl'\n"
        "    print('NCCL and SyncBatchNorm')\n"
        "    return ddp_model\n"
        "Distributed.wrap_ddp = checked\n"
        "train.main(sys.argv[1:])\n"
    )
    done = project.spawn(*TORCHRUN, "checked.py", *steady[1:])
    assert "NCCL and SyncBatchNorm" in done.stdout
    plain, distributed = (first_loss(project.folder / "run" / f"run_{i}") for i in range(2))
    assert distributed == pytest.approx(plain, rel=0.02)


def test_sync_batch_norm_sees_the_clips_of_all_processes_and_stays_channels_last(tmp_path):
    """Two processes on one card, which NCCL refuses and gloo does not."""
    script = tmp_path / "script.py"
    script.write_text(
        "import copy, torch\n"
        "from torch import distributed, nn\n"
        "from network import MODELS\n"
        "torch.backends.cudnn.allow_tf32 = False\n"
        "distributed.init_process_group('gloo')\n"
        "rank = distributed.get_rank()\n"
        "torch.manual_seed(0)\n"
        "model = MODELS['R3D'](3).to('cuda', memory_format=torch.channels_last_3d)\n"
        "clips = torch.randint(0, 256, (4, 16, 32, 32, 3), dtype=torch.uint8).cuda().permute(0, 4, 1, 2, 3)\n"
        "synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))\n"
        "layouts = []\n"
        "for module in synced.modules():\n"
        "    if isinstance(module, nn.SyncBatchNorm):\n"
        "        module.register_forward_hook(lambda module, inputs, output: layouts.append(output.shape[2] == 1 or\n"
        "            output.is_contiguous(memory_format=torch.channels_last_3d)))\n"
        "expected, logits = model(clips)[2 * rank :][:2], synced(clips[2 * rank :][:2])\n"
        "assert layouts == [True] * 20, layouts\n"
        "assert (logits - expected).norm() < 1e-3 * expected.norm(), (logits, expected)\n"
        "statistics = zip(model.buffers(), synced.buffers(), strict=True)\n"
        "assert all(torch.allclose(one.float(), other.float(), 1e-3, 1e-4) for one, other in statistics)\n"
        "logits.square().mean().backward()\n"
        "assert all(parameter.grad.isfinite().all() for parameter in synced.parameters())\n"
        "distributed.destroy_process_group()\n"
    )
    command = [sys.executable, *TORCHRUN[:-1], "--nproc_per_node=2", str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_batch_norm_of_joined_dimensions_is_batch_norm():
    torch.manual_seed(0)
    ours = BatchNorm3d(5).double()
    nn.init.normal_(ours.weight)
    plain = nn.BatchNorm3d(5).double()
    plain.load_state_dict(ours.state_dict())
    pixels = torch.randn(2, 5, 3, 4, 6, dtype=torch.double)
    for is_training in (True, False):
        results = []
        for module, device in ((ours.to(CUDA), CUDA), (plain, "cpu")):
            inputs = pixels.to(device, memory_format=torch.channels_last_3d).requires_grad_()
            output = module.train(is_training)(inputs)
            output.square().sum().backward()
            results.append(
                [output, inputs.grad, module.weight.grad, module.running_mean, module.running_var]
            )
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one.detach().cpu(), other.detach())
    assert output.shape == pixels.shape
    assert ours(pixels.to(CUDA, memory_format=torch.channels_last_3d)).is_contiguous(
        memory_format=torch.channels_last_3d
    )


def test_a_loss_that_is_not_finite_is_found_within_20_steps():
    model = Tiny(2).to(CUDA)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1)
    num_loaded = 0

    def loader():
        nonlocal num_loaded
        for num_loaded in range(1, 100):
            clips = torch.rand(2, 4, 16, 16, 3) * 255
            yield (clips * float("nan") if num_loaded == 6 else clips), torch.tensor([0, 1])

    precision = choose_precision(CUDA, mixed=True)
    trainer = Trainer(train_config(), model, CrossEntropy(), scheduler, precision=precision)
    with pytest.raises(NonFiniteLossError) as found:
        trainer.train_epoch(loader())
    assert found.value.position == 5 * 2
    assert num_loaded <= SYNC_INTERVAL


def test_an_evaluation_is_that_of_the_cpu_and_sees_one_shape():
    """Also where the last batch is smaller, for which cuDNN would search its kernels again."""
    model, shapes = FirstPixelModel(), set()
    loader = DataLoader(NumberedClips(), 300)
    on_cpu = Precision(torch.device("cpu"), None)
    expected = evaluate(model, loader, CrossEntropy(), precision=on_cpu)
    model.register_forward_hook(lambda module, inputs, output: shapes.add(tuple(inputs[0].shape)))
    model.to(CUDA)
    evaluation = evaluate(model, loader, CrossEntropy().to(CUDA), precision=Precision(CUDA, None))
    assert len(shapes) == 1
    torch.testing.assert_close(
        evaluation.predictions.probabilities,
        expected.predictions.probabilities,
        rtol=1e-5,
        atol=1e-6,
    )
    assert evaluation.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-5)


def test_out_of_memory_is_one_line(project, tmp_path):
    project.set_path("own", write_dataset(tmp_path / "many", groups=40))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 2 * 2**30) / total)
    large = flags("R3D", epochs=1, workers=0) + ("--crop-size", 112)
    try:
        failed = project.run(*large, "--batch-size", 48, ok=False)
        (line,) = (line for line in failed.stderr.splitlines() if line.startswith("train.py: "))
        assert failed.returncode == 1 and "Traceback" not in failed.stderr
        assert line.startswith("train.py: --batch-size 48: too large for the memory of ")
        project.run(*large, "--batch-size", 8)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
