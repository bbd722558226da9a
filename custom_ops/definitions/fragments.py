"""Pieces of ONNX text that several op bodies share."""

__all__ = ["VALID_TOKENS"]

VALID_TOKENS = """
    zero = Constant<value_int = 0>()
    one = Constant<value_int = 1>()
    f_zero = Constant<value_float = 0.0>()
    axis_0 = Constant<value_ints = [0]>()
    axis_1 = Constant<value_ints = [1]>()
    axis_2 = Constant<value_ints = [2]>()
    axis_last = Constant<value_ints = [-1]>()
    n_tokens = Shape<start = 1, end = 2>({activation})
    n_tokens_scalar = Squeeze(n_tokens)
    token = Range(zero, n_tokens_scalar, one)
    lengths_column = Unsqueeze(lengths, axis_1)
    valid = Less(token, lengths_column)
    valid_3d = Unsqueeze(valid, axis_2)
"""
"""Defines ``valid`` [B,T] and ``valid_3d`` [B,T,1]: which tokens of ``{activation}`` are real.

Padded tokens are replaced with ``Where``, never by multiplying, so that NaN in them cannot
leak. Also defines the small constants the bodies use."""
