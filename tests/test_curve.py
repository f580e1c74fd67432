import numpy as np
import pytest

from recognition.curve import Curve


def curve_of(probabilities, seconds=0.5):
    curve = Curve()
    for number, row in enumerate(probabilities):
        curve.add(seconds * number, seconds * (number + 1), row)
    return curve


def test_a_curve_of_a_screen_has_a_point_for_each_window():
    probabilities = np.random.default_rng(0).random((2000, 3), np.float32)
    points = curve_of(probabilities).points()
    assert [(point.start, point.end) for point in points[:2]] == [(0, 0.5), (0.5, 1)]
    np.testing.assert_array_equal([point.probabilities for point in points], probabilities)


@pytest.mark.parametrize(("windows", "joined"), [(2001, 2), (3999, 2), (100_000, 64)])
def test_a_longer_curve_has_the_largest_probabilities_of_neighbours(windows, joined):
    """Joined by hand: neighbours in rows of 2, 4, ... until at most 2,000 rows are left."""
    probabilities = np.random.default_rng(0).random((windows, 3), np.float32)
    points = curve_of(probabilities).points()
    rows = [probabilities[i : i + joined] for i in range(0, windows, joined)]
    assert len(points) == len(rows) <= 2000
    np.testing.assert_array_equal(
        [point.probabilities for point in points], [row.max(0) for row in rows]
    )
    assert points[0].start == 0 and points[-1].end == windows / 2
    assert [point.end for point in points[:-1]] == [point.start for point in points[1:]]


def test_a_page_of_many_videos_has_fewer_points_of_each():
    probabilities = np.random.default_rng(0).random((101, 3), np.float32)
    curve = curve_of(probabilities)
    points = curve.points(40)
    assert len(points) == 26  # 25 of four windows each, and one of the last
    np.testing.assert_array_equal(points[1].probabilities, probabilities[4:8].max(0))
    np.testing.assert_array_equal(points[-1].probabilities, probabilities[100])
    assert len(curve.points()) == 101
