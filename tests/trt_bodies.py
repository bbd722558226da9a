"""What TensorRT's own ops compute, in standard ONNX: stand-ins where there is no TensorRT."""

from __future__ import annotations

import onnx
import onnx.parser

from deltaport.custom_ops.definitions import BODY_OPSET
from deltaport.graph_passes.lower.expand.value_types import TENSORRT

__all__ = ["trt_bodies"]

KV_CACHE_UPDATE = """
TRT_KVCacheUpdate (past_cache, update, write_indices) => (y)
{
    first = Cast<to = 7>(write_indices)
    y = TensorScatter<axis = 2>(past_cache, update, first)
}
"""

# Nothing at or beyond a row's kv_lengths is looked at: what lies there may be anything.
ATTENTION = """
TRT_Attention <causal_kind, TRT_decomposable> (q, k, v, attn_mask, query_lengths, kv_lengths) => (y)
{
    zero = Constant<value_int = 0>()
    one = Constant<value_int = 1>()
    f_zero = Constant<value_float = 0.0>()
    none = Constant<value_ints = [0]>()
    axis_1 = Constant<value_ints = [1]>()
    axis_2 = Constant<value_ints = [2]>()
    beside = Constant<value_ints = [1, 3]>()
    columns = Cast<to = 7>(kv_lengths)
    most = ReduceMax(columns)
    keys = Slice(k, none, most, axis_2)
    values_raw = Slice(v, none, most, axis_2)
    n_columns = Squeeze(most)
    column = Range(zero, n_columns, one)
    columns_of = Unsqueeze(columns, axis_1)
    is_there = Less(column, columns_of)
    is_there_4d = Unsqueeze(is_there, beside)
    no_value = CastLike(f_zero, values_raw)
    values = Where(is_there_4d, values_raw, no_value)
    n_queries_1 = Shape<start = 2, end = 3>(q)
    n_queries = Squeeze(n_queries_1)
    query = Range(zero, n_queries, one)
    query_off = Sub(query, n_queries)
    last_of = Add(columns_of, query_off)
    last_3d = Unsqueeze(last_of, axis_2)
    visible = LessOrEqual(column, last_3d)
    visible_4d = Unsqueeze(visible, axis_1)
    y = Attention<scale = 1.0>(q, keys, values, visible_4d)
}
"""


def trt_bodies() -> list[onnx.FunctionProto]:
    """One function for each op: give them to a model that calls these ops."""
    opsets = f'<domain: "{TENSORRT}", opset_import: ["": {BODY_OPSET}]>'
    return [onnx.parser.parse_function(opsets + text) for text in (KV_CACHE_UPDATE, ATTENTION)]
