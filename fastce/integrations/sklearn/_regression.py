"""Softmax regression: logistic regression of two or more classes."""

from sklearn.base import BaseEstimator, ClassifierMixin


class SoftmaxRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression of two or more classes with an L2 penalty."""
