"""The gated delta rule of many tokens: a scan over chunks in WY form, as ONNX text.

Source of the maths: Yang et al., "Gated Delta Networks" (arXiv 2412.06464).
"""

__all__ = ["CHUNK", "CHUNK_SCAN", "doubling_masks"]

CHUNK = 64
"""Tokens solved together; the semantics do not depend on it."""


def _solve_unit_lower(chunk: int) -> str:
    """X = (I + A)^-1 for strictly lower triangular A [...,C,C], by block doubling.

    The inverse of a 2s-block follows from those of its two s-blocks: subtract X (A o M_s) X, where
    M_s selects the lower-left s x s block of every diagonal 2s-block. Never the product form
    (I-A)(I+A^2)(I+A^4)...: its terms explode when keys are correlated.
    """
    lines = ["A_1 = Where(half_1, A, f_zero)", "X_1 = Sub(identity, A_1)"]
    size = 2
    while size < chunk:
        half = size // 2
        lines += [
            f"A_{size} = Where(half_{size}, A, f_zero)",
            f"XA_{size} = MatMul(X_{half}, A_{size})",
            f"XAX_{size} = MatMul(XA_{size}, X_{half})",
            f"X_{size} = Sub(X_{half}, XAX_{size})",
        ]
        size *= 2
    lines.append(f"X = Identity(X_{size // 2})")
    return "\n            ".join(lines)


def doubling_masks(chunk: int) -> str:
    """The masks M_s of the solve: row in an odd s-block, column just left of it."""
    lines = []
    size = 1
    while size < chunk:
        lines += [
            f"size_{size} = Constant<value_int = {size}>()",
            f"row_block_{size} = Div(row, size_{size})",
            f"col_block_{size} = Div(col, size_{size})",
            f"row_odd_{size} = Mod(row_block_{size}, two)",
            f"odd_{size} = Equal(row_odd_{size}, one_1)",
            f"left_{size} = Sub(row_block_{size}, one_1)",
            f"beside_{size} = Equal(col_block_{size}, left_{size})",
            f"half_{size} = And(odd_{size}, beside_{size})",
        ]
        size *= 2
    return "\n        ".join(lines)


# Log-decays between two tokens, and from a token to the chunk's end, are sums over just the tokens
# between them (masked before the sum), not differences of one running sum: those cancel when strong
# and weak decays meet in a chunk.
CHUNK_SCAN = f"""
        S_many, o_scan = Scan(S, q_scan, k_scan, v_scan, g_scan, beta_scan) <
            num_scan_inputs = 5,
            body = one_chunk (
                float[bb, hk, r, dk, dv] S_in, float[bb, hk, c, dk] q_c, float[bb, hk, c, dk] k_c,
                float[bb, hk, r, c, dv] v_c, float[bb, hk, r, c] g_c, float[bb, hk, r, c] beta_c
            ) => (float[bb, hk, r, dk, dv] S_out, float[bb, hk, r, c, dv] o_c)
        {{
            g_col = Unsqueeze(g_c, axis_last)
            g_after = Where(below, g_col, f_zero)
            between = CumSum(g_after, row_axis)
            between_exp = Exp(between)
            D = Where(upto, between_exp, f_zero)
            since_start = CumSum(g_c, last_axis)
            since_start_exp = Exp(since_start)
            from_start = Unsqueeze(since_start_exp, axis_last)
            to_end_row = Gather<axis = -2>(between_exp, last_axis)
            to_end = Unsqueeze(to_end_row, axis_last)
            whole = Gather<axis = -2>(from_start, last_axis)
            whole_chunk = Unsqueeze(whole, axis_last)

            q_g = Unsqueeze(q_c, axis_2)
            k_g = Unsqueeze(k_c, axis_2)
            k_t = Transpose<perm = [0, 1, 2, 4, 3]>(k_g)
            kk = MatMul(k_g, k_t)
            qk = MatMul(q_g, k_t)
            beta_col = Unsqueeze(beta_c, axis_last)
            kk_decayed = Mul(kk, D)
            kk_beta = Mul(kk_decayed, beta_col)
            A = Where(below, kk_beta, f_zero)
            {_solve_unit_lower(CHUNK)}

            read = MatMul(k_g, S_in)
            read_decayed = Mul(from_start, read)
            error_c = Sub(v_c, read_decayed)
            error_beta = Mul(beta_col, error_c)
            v_new = MatMul(X, error_beta)

            o_state = MatMul(q_g, S_in)
            o_inter = Mul(from_start, o_state)
            qk_decayed = Mul(qk, D)
            o_intra = MatMul(qk_decayed, v_new)
            o_c = Add(o_inter, o_intra)

            k_kept = Mul(k_g, to_end)
            k_kept_t = Transpose<perm = [0, 1, 2, 4, 3]>(k_kept)
            S_update = MatMul(k_kept_t, v_new)
            S_kept = Mul(whole_chunk, S_in)
            S_out = Add(S_kept, S_update)
        }}>
"""
"""``S_many``, ``o_scan``: the state after, the read-out of, ``{q,k,v,g,beta}_scan`` from ``S``.

Reads of a chunk's square of tokens ``below`` and ``upto`` the diagonal, its ``identity``, and the
masks of :func:`doubling_masks`; the axes ``axis_2`` [1], ``axis_last`` [1], ``row_axis``, -2, and
``last_axis``, -1; ``f_zero``.
"""
