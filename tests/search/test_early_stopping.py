from search.early_stopping import EarlyStopping, HeldBackLoss


def test_the_least_loss_is_kept_until_patience_ends():
    stopping = EarlyStopping(patience=2)
    assert not stopping.should_stop
    noted = [stopping.note(step, loss) for step, loss in ((0, 2.0), (10, 1.0), (20, 1.0 - 1e-9), (30, 1.5))]
    assert noted == [True, True, False, False]  # rounding is no improvement
    assert stopping.best == HeldBackLoss(10, 1.0) and len(stopping.looks) == 4
    assert stopping.should_stop
    assert stopping.note(40, 0.5) and not stopping.should_stop
