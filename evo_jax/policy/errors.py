"""The one error a user of the policy package can meet."""


class PolicyError(Exception):
    """A model, weight file or tokenizer that can't be used; names the file, the tensor or key, and what to do."""
