"""Benchmarks of fastce beside its peers: ``python -m bench`` runs all and writes the report."""
