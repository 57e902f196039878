"""Temperature scaling: calibration of logits by one number."""

from sklearn.base import BaseEstimator, ClassifierMixin


class TemperatureScaling(ClassifierMixin, BaseEstimator):
    """Calibrate logits by one temperature that divides them."""
