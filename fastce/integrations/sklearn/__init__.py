"""Classifiers in the manner of scikit-learn, with the losses of fastce.

SoftmaxRegression   logistic regression of two or more classes, fitted by L-BFGS or Newton-CG
SigmoidNetwork      layers of sigmoid neurons, fitted by gradient descent in mini-batches
TemperatureScaling  calibrates the logits of any classifier by one number

They need scikit-learn and SciPy: ``pip install "fastce[sklearn]"``.
"""

from importlib.util import find_spec

if find_spec("sklearn") is None or find_spec("scipy") is None:
    raise ImportError(
        "fastce.integrations.sklearn needs scikit-learn and SciPy: "
        'pip install "fastce[sklearn]" brings them'
    )

from fastce.integrations.sklearn._network import SigmoidNetwork
from fastce.integrations.sklearn._regression import SoftmaxRegression
from fastce.integrations.sklearn._temperature import TemperatureScaling

__all__ = ["SigmoidNetwork", "SoftmaxRegression", "TemperatureScaling"]
