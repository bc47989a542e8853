"""Perturbed copies of examples, for robustness and fairness (Liang et al. 2022, "HELM", sections 4.5 and 4.6).

One file for each perturbation; `perturbation` says what one is, `named` which there are.
"""
