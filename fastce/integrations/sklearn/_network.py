"""Networks of sigmoid neurons."""

from sklearn.base import BaseEstimator, ClassifierMixin


class SigmoidNetwork(ClassifierMixin, BaseEstimator):
    """Layers of sigmoid neurons, a softmax output and the cross-entropy as cost."""
