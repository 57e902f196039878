"""Softmax regression on handwritten digits by Newton's method, without forming a Hessian.

``python -m fastce digits`` does the same with L-BFGS, which needs the gradient only.  Here
`scipy.optimize` also asks for products of the Hessian with a vector: with logits Z = X W and a
direction V, the product is X^T H(X V), H being the Hessian of the loss with respect to the logits,
which `cross_entropy.hvp` applies in one pass.

    pip install "fastce[examples]"
    python examples/digits.py
"""

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastce import cross_entropy

L2 = 1e-4

pixels, digits = load_digits(return_X_y=True)
x = np.column_stack([pixels / 16, np.ones(len(pixels))])
x_train, x_test, y_train, y_test = train_test_split(x, digits, stratify=digits, random_state=0)
shape = (x.shape[1], 10)


def objective(w):
    """Give the regularised loss and its gradient."""
    w = w.reshape(shape)
    loss, d_logits = cross_entropy.value_and_grad(x_train @ w, y_train)
    return loss + L2 / 2 * np.sum(w * w), (x_train.T @ d_logits + L2 * w).ravel()


def hessian_product(w, v):
    """Apply the Hessian of `objective` at `w` to the direction `v`."""
    w, v = w.reshape(shape), v.reshape(shape)
    d_logits = cross_entropy.hvp(x_train @ w, y_train, x_train @ v)
    return (x_train.T @ d_logits + L2 * v).ravel()


found = minimize(
    objective, np.zeros(shape).ravel(), jac=True, hessp=hessian_product, method="trust-ncg"
)
correct = np.argmax(x_test @ found.x.reshape(shape), axis=-1) == y_test
print(f"{found.nit} Newton steps, objective {found.fun:.4f}")
print(f"held-out accuracy {np.mean(correct):.1%}")
