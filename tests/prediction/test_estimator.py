import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks

from prediction import TaskClassifier
from search.config import SearchConfig

QUICK = SearchConfig(search_epochs=1, max_evaluations=12)


@pytest.fixture
def classifier(solver):
    return TaskClassifier(solver, config=QUICK)


def test_it_learns_what_the_solver_learns(classifier, solver, reviews):
    texts, labels = reviews
    assert classifier.fit(np.array(texts), np.array(labels)) is classifier
    assert classifier.classes_.tolist() == ["w10", "w11"]
    copied = solver.copy()
    result = copied.fit(texts, labels, name="a", method="bitwise_search", config=QUICK, folds=0, progress=False)
    assert classifier.result_.code == result.code
    assert classifier.predict(texts).tolist() == copied.predict(texts)
    assert classifier.predict_proba(texts).shape == (24, 2)
    assert solver.model.task_names == solver.model.config.task_names  # the model that was given is as it was


def test_in_pipelines_and_cross_validation(classifier, reviews):
    texts, labels = reviews
    lower = Pipeline(
        [("lower", FunctionTransformer(lambda texts: [text.lower() for text in texts])), ("task", classifier)]
    )
    scores = cross_val_score(lower, [text.upper() for text in texts], labels, cv=2, error_score="raise")
    assert scores.shape == (2,) and (scores >= 0).all() and (scores <= 1).all()
    losses = cross_val_score(classifier, texts, labels, cv=2, scoring="neg_log_loss", error_score="raise")
    assert np.isfinite(losses).all()
    search = GridSearchCV(classifier, {"method": ["training_code", "bitwise_search"]}, cv=2, error_score="raise")
    assert search.fit(texts, labels).best_params_["method"] in ("training_code", "bitwise_search")


def test_clones_share_the_weights(classifier, solver):
    copied = clone(classifier)
    assert copied.model is solver and copied.get_params() == classifier.get_params()


def test_from_a_folder(solver, reviews, tmp_path):
    solver.save_pretrained(tmp_path)
    classifier = TaskClassifier(str(tmp_path), method="training_code").fit(*reviews)
    assert classifier.score(*reviews) >= 0.0


def test_not_fitted(classifier):
    with pytest.raises(NotFittedError):
        classifier.predict(["w3"])


class NumbersAsTexts(TaskClassifier):
    """Takes what scikit-learn's checks make, matrices and any labels, for texts and answers of the tiny tokenizer."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        words = {label.item(): f"w{3 + i}" for i, label in enumerate(self.classes_)}
        solver = self.model.copy()
        self.result_ = solver.fit(
            as_texts(X), y, name="task", answers=words, method="training_code", folds=0, progress=False
        )
        self.solver_ = solver
        return self

    def predict(self, X):
        return super().predict(as_texts(X))

    def predict_proba(self, X):
        return super().predict_proba(as_texts(X))


def as_texts(X):
    return [" ".join(f"w{3 + int(abs(value) * 10) % 60}" for value in row) for row in np.asarray(X)]


@pytest.mark.parametrize(
    "check",
    [
        "do_not_raise_errors_in_init_or_set_params",
        "estimator_cloneable",
        "estimator_repr",
        "estimator_tags_renamed",
        "get_params_invariance",
        "mixin_order",
        "no_attributes_set_in_init",
        "set_params",
        "valid_tag_types",
        "dict_unchanged",
        "dont_overwrite_parameters",
        "estimators_fit_returns_self",
        "estimators_unfitted",
        "fit_check_is_fitted",
        "fit_idempotent",
        "fit_score_takes_y",
        "methods_sample_order_invariance",
        "methods_subset_invariance",
    ],
)
def test_scikit_learns_own_checks(solver, check):
    getattr(estimator_checks, f"check_{check}")("NumbersAsTexts", NumbersAsTexts(solver))
