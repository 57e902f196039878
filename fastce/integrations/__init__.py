"""fastce in other libraries: each a package of its own, which needs that library.

``fastce.integrations.sklearn`` has estimators in the manner of scikit-learn.
"""
