import numpy as np
import pytest

from dataloaders.charts import Bar, count_names, make_histogram


def counts_of(chart):
    return {bar.label: bar.count for bar in chart.bars}


def test_values_are_counted_in_bins_with_round_edges():
    chart = make_histogram([0.8, 1.2, 2.2, 3.0])
    expected = {"0.5 to 1": 1, "1 to 1.5": 1, "1.5 to 2": 0, "2 to 2.5": 1, "2.5 to 3": 0}
    assert counts_of(chart) == {**expected, "3 to 3.5": 1}
    assert chart.edges == ["0.5", "1", "1.5", "2", "2.5", "3", "3.5"]
    assert (chart.peak, chart.is_open) == (1, False)


def test_whole_numbers_have_bins_of_whole_numbers():
    chart = make_histogram([1, 2, 2, 4], is_whole=True)
    assert counts_of(chart) == {"1": 1, "2": 2, "3": 0, "4": 1}
    assert chart.has_single_values
    chart = make_histogram(range(1, 101), is_whole=True)
    assert counts_of(chart)["0 to 9"] == 9
    assert counts_of(chart)["90 to 99"] == 10
    assert not chart.has_single_values


@pytest.mark.parametrize("value", [0, 7, 2.44])
def test_equal_values_share_a_bin(value):
    chart = make_histogram([value] * 10, is_whole=value != 2.44)
    assert [bar.count for bar in chart.bars] == [10]


def test_one_value_far_above_the_others_does_not_press_these_into_one_bin():
    chart = make_histogram([*range(10, 30), 400], is_whole=True)
    assert chart.is_open
    assert chart.bars[-1] == Bar("30 to 400", 1)
    assert len(chart.bars) == 11
    assert chart.edges[-1] == "400"


def test_every_value_is_in_the_bin_that_numpy_finds():
    values = np.random.default_rng(0).lognormal(1, 0.3, 500)
    chart = make_histogram(list(values))
    edges = [*map(float, chart.edges[:-1]), np.inf]
    assert [bar.count for bar in chart.bars] == np.histogram(values, edges)[0].tolist()
    assert len(chart.bars) <= 12


def test_without_values_there_is_no_chart():
    assert make_histogram([]) is None


def test_rare_names_share_a_bar():
    rare = [f"{i}.5" for i in range(10, 17)]
    bars = count_names(["25"] * 3 + ["30"] * 5 + rare)
    assert bars[:2] == [Bar("30", 5), Bar("25", 3)]
    assert [bar.label for bar in bars[2:]] == rare
    bars = count_names(["25"] * 3 + ["30"] * 5 + [*rare, "99.5"])
    assert bars[-2:] == [Bar("15.5", 1), Bar("2 others", 2)]
    assert len(bars) == 9
