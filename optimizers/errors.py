"""Errors of optimizers.

OptimizerError
├── ModelError          the user's model, its samples or its model.yaml cannot be used
│   └── UnsupportedModel  the model is valid, but this pass or metric cannot handle it: says why
├── RecipeError         a recipe names an unknown pass or a wrong parameter
└── PassFailed          a pass broke its own promise (outputs changed, an invalid graph came out)
"""

from __future__ import annotations


class OptimizerError(Exception):
    """Root of the errors of optimizers. The message is one paragraph for a person."""


class ModelError(OptimizerError):
    """The user's model, its samples or its model.yaml cannot be used."""


class UnsupportedModel(ModelError):
    """The model is valid, but this pass, metric or runtime cannot handle it; the message says why."""


class RecipeError(OptimizerError):
    """A recipe names an unknown pass or a wrong parameter."""


class PassFailed(OptimizerError):
    """A pass broke its own promise: outputs changed, or an invalid graph came out."""
