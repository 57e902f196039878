"""The command line: ``python -m fastce`` with ``info``, ``check``, ``bench`` and ``digits``.

Each command is a module with ``run``, which measures and returns a document (a dict that goes to
JSON as it is, with ``"ok"`` in it), and ``render``, which turns that document into text.  Nothing
here is imported by ``import fastce``.
"""
