"""What a test leaves behind: numbers, a table of predictions, pictures in TensorBoard.

    python -m network.report RUN [RUN ...]

sums up the tests of a cross-validation.
"""

import argparse
import csv
import io
import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch

FONT = cv2.FONT_HERSHEY_SIMPLEX
METRICS = ("curves/top1_val", "test/video_top1", "test/video_top5")  # by which runs are compared


def measure(probabilities, labels, classes):
    """Score the predictions of a test.

    Args:
        probabilities: tensor (videos, windows, classes), a softmax for each clip.
        labels: tensor (videos,).
        classes: names in the order of their labels.

    Returns:
        {"clip_top1", "video_top1", "video_top5"}: the share of clips, and of videos by the mean over their windows,
        whose class is the likeliest or among the five likeliest; "per_class": video top-1 of each class there is.
    """
    of_video = probabilities.mean(1)
    hits = of_video.argmax(1) == labels
    five = of_video.topk(min(5, len(classes)), 1).indices == labels[:, None]
    return {
        "clip_top1": (probabilities.argmax(2) == labels[:, None]).double().mean().item(),
        "video_top1": hits.double().mean().item(),
        "video_top5": five.any(1).double().mean().item(),
        "per_class": {
            name: hits[labels == label].double().mean().item()
            for label, name in enumerate(classes)
            if (labels == label).any()
        },
    }


def introduce(writer, flags, network, dataset, items, clips=4):
    """Put what a run starts from into TensorBoard: its flags, as a table to compare runs by, and clips, playing.

    Args:
        writer: the `SummaryWriter` of the run.
        flags: their values by name.
        network: whose `normalize` says what becomes of clips.
        dataset: of the training clips.
        items: the first of them, each drawn at random as training does.
    """
    from tensorboardX.summary import hparams

    experiment, start, _ = hparams(flags, dict.fromkeys(METRICS))
    for summary in experiment, start:
        writer.file_writer.add_summary(summary)

    pixels, labels = zip(*(dataset[item] for item in items[:clips]), strict=True)
    pixels = torch.stack(pixels)
    inputs = network.normalize(pixels.to(network.normalize.mean.device).permute(0, 4, 1, 2, 3))
    shade = 48 / inputs.std().clamp(min=1e-6)  # black and white are 2.7 deviations off
    seen = (128 + shade * inputs.permute(0, 2, 3, 4, 1)).clamp(0, 255).byte().cpu()
    frames = [
        np.vstack(
            [
                np.hstack([draw_tile(i, dataset.classes[label], 160) for i, label in zip(above, labels, strict=True)]),
                np.hstack([draw_tile(image, "as the network sees it", 160) for image in below]),
            ]
        )
        for above, below in zip(pixels.numpy().swapaxes(0, 1), seen.numpy().swapaxes(0, 1), strict=True)
    ]
    add_gif(writer, "train/clips", frames, 0)


def conclude(run, writer, results, test, dataset, sources):
    """Leave what a test found: `results.json`, `predictions.csv` with a row for each video, pictures, and a line.

    Args:
        run: the run folder.
        writer: its `SummaryWriter`.
        results: what the test was of, plain values by name.
        test: what `engine.evaluate` gave.
        dataset: what it was measured on.
        sources: names of the videos.
    """
    from tensorboardX.summary import hparams

    labels, probabilities, epoch = test.pop("labels"), test.pop("probabilities"), results["epoch"]
    writer.file_writer.add_summary(hparams({}, {})[2])  # the flags' run has ended well
    writer.add_scalar("data/test_loss_epoch", test["loss"], epoch)
    writer.add_scalar("data/test_acc_epoch", test["clip_top1"], epoch)
    for name in ("video_top1", "video_top5"):
        writer.add_scalar(f"test/{name}", test[name], epoch)
    draw(writer, epoch, dataset, probabilities, labels, dataset.classes)
    results = results | {"test": test}
    if leaked := results["leaked_groups"]:
        results["warning"] = f"{leaked} groups in more than one of train, val and test: the accuracy is too high"
        print(results["warning"], file=sys.stderr)
    (run / "results.json").write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with open(run / "predictions.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("source", "class", "prediction", "probability", "correct"))
        for source, label, of_video in zip(sources, labels, probabilities.mean(1), strict=True):
            best, right, name = of_video.max().item(), dataset.classes[label], dataset.classes[of_video.argmax()]
            rows.writerow((source, right, name, f"{best:.4f}", int(name == right)))
    print(
        f"test of epoch {epoch}, split {results['split']}: clip top-1 {test['clip_top1']:.3f}, "
        f"video top-1 {test['video_top1']:.3f}, top-5 {test['video_top5']:.3f}; see {run / 'results.json'}"
    )


def summary(results):
    """Sum up the tests of several folds and seeds in one line.

    Args:
        results: contents of `results.json` files. The seeds of a fold are averaged first: the standard error is that of
            the mean over folds, or over the seeds of a single fold.
    """
    lines = [f"{len(results)} runs"]
    for name in ("clip_top1", "video_top1"):
        folds = defaultdict(list)
        for result in results:
            folds[result["fold"]].append(result["test"][name])
        values = [statistics.fmean(seeds) for seeds in folds.values()] if len(folds) > 1 else folds.popitem()[1]
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
        lines.append(f"{name} {statistics.fmean(values):.3f} ± {error:.3f}")
    return ", ".join(lines)


def draw(writer, step, dataset, probabilities, labels, classes, clips=4):
    """Put the confusion matrix, a bar for each class and some misclassified clips, playing, into TensorBoard."""
    from sklearn.metrics import confusion_matrix

    of_video = probabilities.mean(1)
    predictions = of_video.argmax(1)
    present = sorted({*labels.tolist(), *predictions.tolist()})
    names = [classes[label] for label in present]
    matrix = confusion_matrix(labels, predictions, labels=present)
    writer.add_image("test/confusion", draw_confusion(matrix, names), step, dataformats="HWC")
    writer.add_image("test/per_class", draw_classes(matrix, names), step, dataformats="HWC")

    wrong = torch.nonzero(predictions != labels).flatten()
    surest = wrong[of_video[wrong].amax(1).argsort(descending=True)][:clips].tolist()
    for place, index in enumerate(surest, start=1):
        clip, label = dataset[dataset.item(index, dataset.windows // 2)]
        caption = f"{classes[label]} taken for {classes[predictions[index]]}"
        add_gif(writer, f"test/wrong_{place}", [draw_tile(frame, caption) for frame in clip.numpy()], step)


def draw_confusion(matrix, names):
    """A picture of a confusion matrix, true classes down and predicted ones across, (H, W, 3) RGB."""
    cell = max(15, min(32, 960 // len(names)))
    left = 12 + max(cv2.getTextSize(name, FONT, 0.45, 1)[0][0] for name in (*names, "predicted"))
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    shades = (255 - shares[..., None] * (255 - np.array((33, 96, 176)))).astype(np.uint8)
    picture = np.full((len(names) * cell + left, len(names) * cell + left, 3), 255, np.uint8)
    picture[left:, left:] = shades.repeat(cell, 0).repeat(cell, 1)
    across = np.full((len(names) * cell, left, 3), 255, np.uint8)
    for i, name in enumerate(names):
        y = left + i * cell + cell // 2 + 5
        cv2.putText(picture, name, (6, y), FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        cv2.putText(across, name, (6, y - left), FONT, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
        for j, count in enumerate(matrix[i]):
            if count:
                ink = (255, 255, 255) if shares[i, j] > 0.5 else (0, 0, 0)
                place = left + j * cell + min(4, cell // 8), y
                cv2.putText(picture, str(count), place, FONT, 0.4 if cell > 20 else 0.33, ink, 1, cv2.LINE_AA)
    picture[:left, left:] = np.rot90(across)
    for words, y in (("predicted", 16), ("true", left - 8)):
        cv2.putText(picture, words, (6, y), FONT, 0.4, (110, 110, 110), 1, cv2.LINE_AA)
    return picture


def draw_classes(matrix, names, rows=40):
    """A bar for the recall of each class that was tested, the worst first, `rows` in a column, (H, W, 3) RGB."""
    recall = matrix.diagonal() / np.maximum(matrix.sum(1), 1)
    order = [i for i in np.argsort(recall, kind="stable") if matrix[i].sum()]
    left = 12 + max(cv2.getTextSize(names[i], FONT, 0.5, 1)[0][0] for i in order)
    columns = -(-len(order) // rows)
    picture = np.full((26 * -(-len(order) // columns) + 10, columns * (left + 380), 3), 255, np.uint8)
    for place, i in enumerate(order):
        column, row = divmod(place, -(-len(order) // columns))
        x, y = column * (left + 380), 26 * row + 8
        bar = x + left
        cv2.putText(picture, names[i], (x + 6, y + 15), FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        cv2.rectangle(picture, (bar, y), (bar + 300, y + 18), (232, 236, 241), -1)
        cv2.rectangle(picture, (bar, y), (bar + round(300 * recall[i]), y + 18), (33, 96, 176), -1)
        cv2.putText(picture, f"{recall[i]:.0%}", (bar + 310, y + 15), FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return picture


def draw_tile(image, caption, side=224):
    """A square picture with a line above it, (side + 24, side, 3) RGB."""
    image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    framed = cv2.copyMakeBorder(image, 24, 0, 0, 0, cv2.BORDER_CONSTANT)
    scale = min(0.45, 0.45 * (side - 12) / cv2.getTextSize(caption, FONT, 0.45, 1)[0][0])
    cv2.putText(framed, caption, (6, 16), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return framed


def add_gif(writer, tag, frames, step):
    """Log images (H, W, 3), RGB, as a picture that plays."""
    from PIL import Image
    from tensorboardX.proto.summary_pb2 import Summary

    height, width = frames[0].shape[:2]
    frames, file = [Image.fromarray(frame) for frame in frames], io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=160, loop=0)
    picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=file.getvalue())
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=picture)]), step)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m network.report", description="Sum up the tests of several runs.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders")
    files = [run / "results.json" for run in parser.parse_args(argv).runs]
    try:
        results = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    except OSError as error:
        parser.exit(2, f"{error.filename}: no results; python train.py --test-only makes them\n")
    if len(datasets := sorted({result["dataset"] for result in results})) > 1:
        parser.exit(2, f"runs of different data sets have no mean: {', '.join(datasets)}\n")
    print(summary(results))


if __name__ == "__main__":
    main()
