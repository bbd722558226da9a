"""The native readers of JSON and of bytes to hash against Python's own."""

from __future__ import annotations

import hashlib
import json
import re
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltaport.runtime import _native
from deltaport.strict_json import JsonProblem, parse_object

DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)

INVALID = [
    *(b"", b" ", b"nul", b"nulll", b"True", b"NaN", b"Infinity", b"-Infinity", b"-", b"+1", b"--1"),
    *(b"[1,]", b"[,1]", b"[1 2]", b"[", b"]", b"[1", b"[1}", b"[]]", b"[1],", b"1 2", b"[1,,2]"),
    *(b'{"a":1,}', b'{"a"}', b'{"a":}', b'{"a" 1}', b"{a:1}", b"{1:1}", b"{'a':1}", b'{"a":1'),
    *(b'{"a":1 "b":2}', b'{,"a":1}', b"{]", b"{", b'{"a":1}}', b'{"a":1}//', b"/**/1", b"[1]#"),
    *(b"01", b"-01", b"00", b"1.", b".5", b"-.5"),
    *(b"1e", b"1e+", b"1.e5", b"0x10", b"1_000", b"1E-"),
    *(b"1e400", b"-1e400", b"9" * 400, b"1.5f", b"\xd9\xa1", b"- 1", b"1 .5"),
    *(b'"', b'"a', b'"\\"', b'"\\', b'"\\x41"'),
    *(b'"\\u12"', b'"\\u 123"', b'"\\u+123"', b'"\\U0041"'),
    *(b'"\\u', b'"\\u00g0"', b'"\\a"', b'"\\0"', b"'a'", b'"\n"', b'"\x00"', b'"\t"', b'"\x1f"'),
    *(b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\ud800"'),
    *(b'"\\ud800x"', b'"\\ud800\\n"', b'"\\udc00\\ud800"'),
    *(b'"\xff"', b'"\xc0\x80"', b'"\xc1\xbf"'),
    *(b'"\xe0\x80\x80"', b'"\xed\xa0\x80"', b'"\xf5\x80\x80\x80"'),
    *(b'"\xf0\x80\x80\x80"', b'"\xf4\x90\x80\x80"', b'"\xc3"', b'"\xe2\x82"', b'"\x80"', b"\xc3"),
    *(b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"\x00", b"{}\x00"),
    *(b"1\x00", b"\xa01", b"\x0c1", b"\x0b1"),
    *(b"[" * 65 + b"]" * 65, b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' * 65 + b"1" + b"}" * 65),
    *(b'{"a":1,"a":1}', b'{"a":1,"\\u0061":2}', b'[{"b":{"a":1,"c":2,"a":3}}]', b'{"":1,"":2}'),
]  # fmt: skip

VALID = [
    *(b"0", b"-0", b"-0.0", b"1e5", b"1E+05"),
    *(b"0e0", b"0.10", b"5e-324", b"2.2250738585072011e-308"),
    *(b"9223372036854775807", b"-9223372036854775808"),
    *(b'"\\u0000\\/\\b\\f\\n\\r\\t\\"\\\\"', b'"\x7f"'),
    *(b'"\\ud83e\\udd8a"', b'"\\uDBFF\\uDFFF"', b'"\xf0\x9f\xa6\x8a"'),
    *(b'"\xf4\x8f\xbf\xbf"', b'"\xee\x80\x80"'),
    *(b" \t\r\n[ \t\r\n] \t\r\n", b'{ "b" : 1 , "a" : { } }'),
    *(b"[" * 64 + b"]" * 64, b'{"":{"":0}}'),
]  # fmt: skip


def exactly(value: Any) -> str:
    """Tells 1 from 1.0 and True, and -0.0 from 0.0; not one order of keys from another."""
    return json.dumps(value, sort_keys=True)


@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 0, 3]))
def test_reads_what_python_reads(document: Any, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert exactly(_native.parse_json(text.encode())) == exactly(document)


@pytest.mark.parametrize("text", VALID, ids=lambda text: repr(text[:30]))
def test_reads_what_is_at_the_edge(text: bytes) -> None:
    assert exactly(_native.parse_json(text)) == exactly(json.loads(text))


@pytest.mark.parametrize("text", INVALID, ids=lambda text: repr(text[:30]))
def test_refuses_what_is_not_json(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\A[ -~]{10,200}\Z"):
        _native.parse_json(text)


@given(st.binary(max_size=12) | st.text('[]{}",:0123456789.eE+-\\untrfals \n', max_size=12))
def test_refuses_whatever_python_refuses(noise: bytes | str) -> None:
    text = b'{"a":' + (noise if isinstance(noise, bytes) else noise.encode()) + b"}"
    try:
        expected = parse_object(text)
    except JsonProblem:
        with pytest.raises(ValueError, match=r"is not |names |nested"):
            _native.parse_json(text)
        return
    if not re.search(
        "Infinity|[0-9]{19}", exactly(expected)
    ):  # those the native one treats otherwise
        assert exactly(_native.parse_json(text)) == exactly(expected)


def test_large_integers_become_the_nearest_double() -> None:
    for number in (2**63, -(2**63) - 1, 2**64 + 1, 10**300):
        found = _native.parse_json(str(number).encode())
        assert type(found) is float
        assert found == float(number)


def test_says_where_as_python_does() -> None:
    for text in (
        b'{"a": 1,\n "\xc3\xa9": x}',
        b"[1\n2]",
        b'{"a" 1}',
        b"{1}",
        b'\n"a',
        b'"\\x"',
        b"{} 1",
    ):
        with pytest.raises(json.JSONDecodeError) as python:
            json.loads(text)
        with pytest.raises(ValueError, match="line") as native:
            _native.parse_json(text)
        error = python.value
        place = f"(line {error.lineno}, column {error.colno})"
        assert str(native.value) == f"is not valid JSON: {error.msg} {place}"


@pytest.mark.parametrize(
    "size", [0, 1, 3, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 10**6]
)
def test_sha256(size: int) -> None:
    data = Random(size).randbytes(size)
    assert _native.sha256(data) == hashlib.sha256(data).hexdigest()
