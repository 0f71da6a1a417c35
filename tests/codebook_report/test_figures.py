import numpy as np
import pytest
from scipy.cluster.hierarchy import dendrogram

from codebook_report.analysis import build_tree, get_cluster_order
from codebook_report.figures import _branches


def test_the_tree_is_drawn_as_scipy_draws_it():
    codes = np.random.default_rng(0).integers(0, 3, (12, 6))
    tree = build_tree(codes)
    drawn = dendrogram(tree, no_plot=True)
    # scipy puts leaf i at 5 + 10 i; and the children of a node in either order.
    expected = [
        sorted(zip(depth, [(y - 5) / 10 for y in row], strict=True))
        for depth, row in zip(drawn["dcoord"], drawn["icoord"], strict=True)
    ]
    ours = [sorted(line) for line in _branches(tree, get_cluster_order(codes))]
    assert np.array(sorted(ours)) == pytest.approx(np.array(sorted(expected)))
