"""The models that the field trains, each as a spec with the user's own code, in plain JAX and in plain PyTorch.

specs/ holds what a user of tmsjax writes: a TOML file and, where the model is their own, a Python file. plain_jax.py
and plain_torch.py hold the same models as a researcher writes them. measure.py compares speed and lines, published.py
the results with numbers that others published.
"""
