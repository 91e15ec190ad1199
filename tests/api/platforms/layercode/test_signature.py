"""What api.signature promises. The vectors are the protocol sheet's (§3), made with Layercode's Node SDK."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.platforms.layercode.signature import HEADER, BadSignature, sign, verify

SECRET = "whsec_test_7f3a"
T = 1760000000
HELLO = b'{"type":"message","session_id":"sess_1","conversation_id":"conv_1","turn_id":"turn_1","text":"Hello"}'
CAFE = '{"type":"message","session_id":"sess_1","conversation_id":"conv_1","turn_id":"turn_2","text":"Café ☕"}'
ESCAPED = CAFE.replace("é", r"\u00e9").replace("☕", r"\u2615")
HELLO_HEX = "22d5b863c6ce415ab60b92ebda58fd023cb23083126e3fc78e696abb96ab54ac"
VECTORS = [
    (HELLO, 101, HELLO_HEX),
    (CAFE.encode(), 105, "f5cfa98b8adbd3778cabe7069b401eecf4393d7d39d57a69b1cbfdf5859ef879"),
    (ESCAPED.encode(), 112, "34383f6a3b8570c1d967653c29b6d1b43feb99445ffe1fa6ad8879ba9ed56279"),
]
HEADER_VALUE = f"t={T},v1={HELLO_HEX}"


def reason(header: str | None, body: bytes = HELLO, now: float = T, secret: str = SECRET) -> str:
    with pytest.raises(BadSignature) as caught:
        verify(secret, header, body, now)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


def test_the_header_has_layercodes_name() -> None:
    assert HEADER == "layercode-signature"


@pytest.mark.parametrize(("body", "size", "digest"), VECTORS)
def test_the_vectors_of_the_node_sdk_verify_and_are_what_sign_makes(body: bytes, size: int, digest: str) -> None:
    assert len(body) == size
    assert sign(SECRET, body, T) == f"t={T},v1={digest}"
    verify(SECRET, f"t={T},v1={digest}", body, T)


@pytest.mark.parametrize("age", [-300, -299, 0, 299, 300, 300.9])
def test_up_to_300_whole_seconds_either_way_are_tolerated(age: float) -> None:
    verify(SECRET, HEADER_VALUE, HELLO, T + age)


@pytest.mark.parametrize("age", [-100_000, -301, -300.1, 301, 100_000])
def test_more_than_300_seconds_are_stale(age: float) -> None:
    assert reason(HEADER_VALUE, now=T + age) == "stale"


def test_the_tolerance_can_be_chosen() -> None:
    verify(SECRET, HEADER_VALUE, HELLO, T + 5, tolerance=5)
    with pytest.raises(BadSignature, match="stale"):
        verify(SECRET, HEADER_VALUE, HELLO, T + 6, tolerance=5)


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_is_missing(header: str | None) -> None:
    assert reason(header) == "missing"


@pytest.mark.parametrize(
    "header",
    [
        "nonsense",
        HELLO_HEX,
        f"v1={HELLO_HEX},t={T}",
        f"t={T}, v1={HELLO_HEX}",
        f"t=-{T},v1={HELLO_HEX}",
        f"t={T}.0,v1={HELLO_HEX}",
        f"t={T},v1=",
        f"t=,v1={HELLO_HEX}",
        f"t={T},v0={HELLO_HEX}",
        f"t=\u0661\u0662,v1={HELLO_HEX}",  # digits, but not ASCII ones
        f"t={T},v1=éà",
        "☕",
    ],
)
def test_what_the_node_sdk_cannot_read_is_malformed(header: str) -> None:
    assert reason(header) == "malformed"


@pytest.mark.parametrize("header", [f"t=000{T},v1={HELLO_HEX}", f"v=1 t={T},v1={HELLO_HEX}", f"{HEADER_VALUE},v2=☕"])
def test_leading_zeros_and_text_around_are_accepted_as_by_the_node_sdk(header: str) -> None:
    verify(SECRET, header, HELLO, T)


@pytest.mark.parametrize(
    "header",
    [
        f"t={T},v1={HELLO_HEX.upper()}",
        f"t={T},v1={HELLO_HEX[:-1]}",
        f"t={T},v1={HELLO_HEX}0",
        f"t={T},v1=0",
        f"t={T + 1},v1={HELLO_HEX}",
        f"t={T},v1={'0' * 64} t={T},v1={HELLO_HEX}",
    ],
)
def test_any_other_digest_is_a_mismatch(header: str) -> None:
    assert reason(header) == "mismatch"


def test_another_secret_is_a_mismatch() -> None:
    assert reason(HEADER_VALUE, secret="whsec_test_7f3b") == "mismatch"


def test_a_body_parsed_and_written_again_is_a_mismatch() -> None:
    assert reason(sign(SECRET, ESCAPED.encode(), T), body=CAFE.encode()) == "mismatch"


@pytest.mark.parametrize("digits", ["9" * 16, "9" * 400, "9" * 100_000])
def test_a_time_of_many_digits_is_stale(digits: str) -> None:
    assert reason(f"t={digits},v1={HELLO_HEX}") == "stale"


def test_many_leading_zeros_are_only_zeros() -> None:
    verify(SECRET, f"t={'0' * 100_000}{T},v1={HELLO_HEX}", HELLO, T)


def test_an_empty_secret_is_refused_before_anything_else() -> None:
    with pytest.raises(ValueError, match="secret is empty"):
        sign("", HELLO, T)
    with pytest.raises(ValueError, match="secret is empty"):
        verify("", None, HELLO, T)


headers = st.one_of(
    st.text(),
    st.from_regex(r"t=[0-9]+,v1=[a-fA-F0-9]+"),
    st.builds("t={},v1={}".format, st.integers() | st.text(), st.text()),
)


@given(header=st.none() | headers, body=st.binary(), now=st.floats(-1e12, 1e12))
@example(header="t=1,v1=\ud800", body=b"", now=0.0)
def test_no_header_whatever_gets_in_or_raises_anything_but_bad_signature(
    header: str | None, body: bytes, now: float
) -> None:
    assert reason(header, body, now) in {"missing", "malformed", "stale", "mismatch"}


@given(
    secret=st.text(min_size=1),
    body=st.binary(),
    now=st.integers(0, 10**12),
    drift=st.integers(-300, 300),
)
def test_what_sign_made_verifies(secret: str, body: bytes, now: int, drift: int) -> None:
    verify(secret, sign(secret, body, now), body, now + drift)


@given(body=st.binary(min_size=1), position=st.integers(0), change=st.integers(1, 255))
def test_one_changed_byte_is_a_mismatch(body: bytes, position: int, change: int) -> None:
    changed = bytearray(body)
    changed[position % len(body)] ^= change
    assert reason(sign(SECRET, body, T), body=bytes(changed)) == "mismatch"


@given(body=st.binary(), cut=st.integers(1, 8))
def test_a_longer_body_is_a_mismatch(body: bytes, cut: int) -> None:
    assert reason(sign(SECRET, body, T), body=body + b"\0" * cut) == "mismatch"
