import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from engine import figures


def readable_texts(figure):
    """The texts of a figure, which must be 9.5 pixels high or more, lie within it and not overlap."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    boxes = np.array(
        [text.get_window_extent().extents for text in texts]
    )  # left, bottom, right, top
    assert min(text.get_fontsize() for text in texts) * figure.dpi / 72 >= 9.5
    assert boxes[:, :2].min() >= 0 and (boxes[:, 2:] <= figure.bbox.extents[2:]).all()
    bottom_left = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    top_right = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    is_overlap = (top_right > bottom_left).all(2)
    assert is_overlap.sum() == len(texts)  # each with itself
    return texts


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def render(figure):
    """A figure as an image (H, W, 3), RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


COUNTS = [2, 6, 51, 101, pytest.param(400, marks=pytest.mark.slow)]


LARGEST = {2: 400, 6: 600, 51: 2400, 101: 2400, 400: 5600}  # side of a confusion matrix in pixels


@pytest.mark.parametrize("count", COUNTS)
def test_a_confusion_matrix_of_any_number_of_classes_can_be_read(count):
    matrix = 30 * np.eye(count, dtype=int) + 12 * np.eye(count, k=1, dtype=int)
    names = [f"class number {i}" for i in range(count)]
    figure = figures.plot_confusion_matrix(matrix, names)
    width, height = figure.get_size_inches() * figure.dpi
    assert width == height < LARGEST[count]
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert tick_labels(axes.xaxis) == tick_labels(axes.yaxis) == names
    assert (
        axes.yaxis_inverted() and not axes.xaxis_inverted()
    )  # the first class is above and on the left
    cells = {
        tuple(map(round, text.get_position()[::-1])): int(text.get_text()) for text in axes.texts
    }
    assert cells == {cell: count for cell, count in np.ndenumerate(matrix) if count}
    assert len(readable_texts(figure)) == 2 + 2 * count + len(cells)


@pytest.mark.slow
def test_a_confusion_matrix_grows_with_the_classes():
    names = [f"class number {i}" for i in range(400)]
    sides = [
        figures.plot_confusion_matrix(np.eye(count, dtype=int), names[:count]).get_size_inches()[0]
        for count in (2, 6, 51, 101, 200, 400)
    ]
    assert sides == sorted(sides)
    assert sides[-1] > 2 * sides[3] > 4 * sides[1]


def test_a_confusion_matrix_is_shaded_by_row_from_white_to_blue():
    matrix = np.array([[30, 0, 0, 0], [0, 3, 0, 0], [0, 1, 1, 2], [40, 25, 21, 14]])
    figure = figures.plot_confusion_matrix(matrix, list("abcd"))
    image, (axes,) = render(figure), figure.axes

    def shade(i, j):
        """The colour of a cell, beside its number."""
        x, y = axes.transData.transform((j - 0.4, i - 0.4)).astype(int)
        return image[len(image) - 1 - y, x]

    assert shade(0, 0).tolist() == shade(1, 1).tolist()  # all of the row, however many videos
    assert shade(0, 0)[2] > shade(0, 0)[0] + 50  # blue where right
    assert shade(0, 1).min() > 240  # white where never
    shares = matrix / matrix.sum(1, keepdims=True)
    order = sorted(np.ndindex(4, 4), key=lambda cell: shares[cell])
    darkness = [-shade(*cell).sum() for cell in order]
    assert darkness == sorted(darkness)
    colours = {int(text.get_text()): text.get_color() for text in axes.texts}
    assert colours[3] == colours[30] == "white" and colours[40] == colours[14] == "black"


@pytest.mark.parametrize("correct", [0.2, 0.3, 0.45, 0.55, 0.9])
def test_counts_stand_out_from_the_shade_of_their_cell(correct):
    """Also in a matrix where no cell has most of its row, or where none is empty."""
    matrix = np.full((6, 6), 20 * (1 - correct)).astype(int) + np.eye(6, dtype=int) * int(
        100 * correct
    )
    figure = figures.plot_confusion_matrix(matrix, list("abcdef"))
    image, (axes,) = render(figure), figure.axes
    for text in axes.texts:
        box = text.get_window_extent().extents.astype(int)
        cell = image[len(image) - box[3] : len(image) - box[1], box[0] : box[2]].mean(2)
        background = np.median(cell)
        ink = cell.max() if text.get_color() == "white" else cell.min()
        assert abs(ink - background) > 60


@pytest.mark.parametrize("count", COUNTS)
def test_the_accuracy_of_any_number_of_classes_can_be_read(count):
    correct = np.random.default_rng(0).integers(0, 21, count)
    matrix = np.diag(correct)
    matrix[range(count), (np.arange(count) + 1) % count] += 20 - correct
    names = [f"class number {i}" for i in range(count)]
    figure = figures.plot_class_accuracy(matrix, names)
    _, height = figure.get_size_inches() * figure.dpi
    assert height <= 26 * 40 + 10
    assert len(figure.axes) == -(-count // 40)
    shown = [name for axes in figure.axes for name in tick_labels(axes.yaxis)]
    widths = [bar.get_width() for axes in figure.axes for bar in axes.patches]
    assert shown == [names[i] for i in np.argsort(correct, kind="stable")]
    assert widths == pytest.approx(sorted(correct / 20))
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts == [f"{width:.0%}" for width in widths]
    assert len(readable_texts(figure)) == 2 * count + 3 * len(figure.axes)


def test_there_is_a_bar_for_each_class_that_was_tested_the_worst_first():
    matrix = np.diag([4, 0, 1, 2]) + np.array([[0] * 4, [0] * 4, [3, 0, 0, 0], [2, 0, 0, 0]])
    figure = figures.plot_class_accuracy(matrix, ["a", "b", "c", "d"])
    image, (axes,) = render(figure), figure.axes
    assert tick_labels(axes.yaxis) == ["c", "d", "a"]
    assert [bar.get_width() for bar in axes.patches] == [0.25, 0.5, 1]
    assert [text.get_text() for text in axes.texts] == ["25%", "50%", "100%"]
    blue = (image == (33, 96, 176)).all(2)
    heights = [len(image) - 1 - round(axes.transData.transform((0, row))[1]) for row in range(3)]
    assert heights == sorted(heights)  # from above
    lengths = [blue[height].sum() for height in heights]
    assert lengths == pytest.approx([lengths[2] / 4, lengths[2] / 2, lengths[2]], abs=2)
    assert lengths[2] > 100


@pytest.mark.parametrize("names", [["$5_to_$10", "cost $x_{$"], ["a\\b", "{x}"]])
def test_names_of_classes_are_no_formulas(names):
    with figures.figure_fonts(names):
        for plot in (figures.plot_confusion_matrix, figures.plot_class_accuracy):
            figure = plot(np.array([[3, 1], [0, 2]]), names)
            figure.draw_without_rendering()
            assert set(names) <= {text.get_text() for text in figure.findobj(Text)}
