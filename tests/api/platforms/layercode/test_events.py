"""What api.events promises: the bodies that are webhooks (protocol sheet §2), an answer's bytes (§4.2)."""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import uuid
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.json_values import MAX_DEPTH
from api.platforms.layercode.events import (
    BadWebhook,
    Data,
    Interruption,
    Message,
    SessionEnd,
    SessionStart,
    SessionUpdate,
    TranscriptLine,
    Unknown,
    Webhook,
    parse,
)
from api.platforms.layercode.sse import data, end, tts

MESSAGE = """{"type":"message","session_id":"sess_a1","conversation_id":"conv_b2","turn_id":"turn_c3",
 "text":"What is my balance?",
 "from_phone_number":"+14155550123","to_phone_number":"+14155559876","custom_metadata":{"tenant":"acme"},
 "interruption_context":{"previous_turn_interrupted":true,"words_heard":4,"text_heard":"Your order is on",
 "assistant_turn_id":"turn_c2"}}"""
START = """{"type":"session.start","session_id":"sess_a1","conversation_id":"conv_b2","turn_id":"turn_w0",
 "custom_metadata":{"tenant":"acme"}}"""
DATA = """{"type":"data","session_id":"sess_a1","conversation_id":"conv_b2","turn_id":"turn_c3",
 "data":{"action":"add_to_cart","sku":"A-17"}}"""
RECORDED = """{"type":"session.update","session_id":"sess_a1","conversation_id":"conv_b2",
 "recording_status":"completed",
 "recording_url":"https://api.layercode.com/v1/agents/ag_1/sessions/sess_a1/recording",
 "recording_duration":42.3,"metadata":{"userId":"u_1"}}"""
NOT_RECORDED = """{"type":"session.update","session_id":"sess_a1","conversation_id":"conv_b2",
 "recording_status":"failed","error_message":"no audio","metadata":{}}"""
END = """{"type":"session.end","session_id":"sess_a1","conversation_id":"conv_b2","agent_id":"ag_1",
 "started_at":"2026-01-05T10:00:00.000Z","ended_at":"2026-01-05T10:03:00.000Z","duration":180000,
 "transcription_duration_seconds":20.1,"tts_duration_seconds":19.8,"latency":null,"ip_address":"203.0.113.10",
 "country_code":"US","recording_status":"enabled",
 "transcript":[{"role":"user","text":"Hello","timestamp":1767607200000},
 {"role":"assistant","text":"Hi there!","timestamp":1767607205000}]}"""
EXAMPLES = [MESSAGE, START, DATA, RECORDED, NOT_RECORDED, END]

SESSION = {"conversation_id": "conv_b2", "session_id": "sess_a1"}


def webhook(kind: str = "message", **fields: Any) -> Webhook:
    turn = {"text": "Hi", "turn_id": "turn_c3"} if kind == "message" else {}
    return parse(json.dumps({"type": kind, **SESSION, **turn, **fields}).encode())


def message(**fields: Any) -> Message:
    parsed = webhook(**fields)
    assert isinstance(parsed, Message)
    return parsed


def fault(body: bytes | str | dict[str, Any]) -> str:
    raw = json.dumps(body) if isinstance(body, dict) else body
    with pytest.raises(BadWebhook) as caught:
        parse(raw if isinstance(raw, bytes) else raw.encode())
    return str(caught.value)


# --- the documented bodies


def test_the_documented_message() -> None:
    assert parse(MESSAGE.encode()) == Message(
        type="message",
        session_id="sess_a1",
        conversation_id="conv_b2",
        turn_id="turn_c3",
        text="What is my balance?",
        from_phone_number="+14155550123",
        to_phone_number="+14155559876",
        custom_metadata={"tenant": "acme"},
        interruption_context=Interruption(
            previous_turn_interrupted=True,
            words_heard=4,
            text_heard="Your order is on",
            assistant_turn_id="turn_c2",
        ),
    )


def test_the_documented_session_start() -> None:
    assert parse(START.encode()) == SessionStart(
        type="session.start",
        session_id="sess_a1",
        conversation_id="conv_b2",
        turn_id="turn_w0",
        custom_metadata={"tenant": "acme"},
    )


def test_welcome_is_a_session_start_under_another_name() -> None:
    parsed = parse(START.replace("session.start", "welcome").encode())
    assert isinstance(parsed, SessionStart)
    assert (parsed.type, parsed.turn_id) == ("welcome", "turn_w0")


def test_the_documented_data() -> None:
    assert parse(DATA.encode()) == Data(
        type="data",
        session_id="sess_a1",
        conversation_id="conv_b2",
        turn_id="turn_c3",
        data={"action": "add_to_cart", "sku": "A-17"},
    )


def test_the_documented_session_update_of_a_recording() -> None:
    assert parse(RECORDED.encode()) == SessionUpdate(
        type="session.update",
        session_id="sess_a1",
        conversation_id="conv_b2",
        recording_status="completed",
        recording_url="https://api.layercode.com/v1/agents/ag_1/sessions/sess_a1/recording",
        recording_duration=42.3,
        metadata={"userId": "u_1"},
    )


def test_the_documented_session_update_of_a_failed_recording() -> None:
    assert parse(NOT_RECORDED.encode()) == SessionUpdate(
        type="session.update",
        session_id="sess_a1",
        conversation_id="conv_b2",
        recording_status="failed",
        error_message="no audio",
    )


def test_the_documented_session_end() -> None:
    assert parse(END.encode()) == SessionEnd(
        type="session.end",
        session_id="sess_a1",
        conversation_id="conv_b2",
        agent_id="ag_1",
        started_at="2026-01-05T10:00:00.000Z",
        ended_at="2026-01-05T10:03:00.000Z",
        duration=180000,
        transcription_duration_seconds=20.1,
        tts_duration_seconds=19.8,
        ip_address="203.0.113.10",
        country_code="US",
        recording_status="enabled",
        transcript=[
            TranscriptLine(role="user", text="Hello", timestamp=1767607200000),
            TranscriptLine(role="assistant", text="Hi there!", timestamp=1767607205000),
        ],
    )


# --- generation 1


@pytest.mark.parametrize("kind", ["MESSAGE", "message"])
def test_a_generation_1_message_has_its_stable_id_under_session_id(kind: str) -> None:
    body = {"type": kind, "text": "Hello", "session_id": "stable", "connection_id": "conn", "turn_id": "t"}
    assert parse(json.dumps(body).encode()) == Message(
        type="message", conversation_id="stable", session_id="conn", turn_id="t", text="Hello"
    )


def test_a_generation_1_session_start_is_a_session_start() -> None:
    body = {"type": "SESSION_START", "session_id": "stable", "connection_id": "conn", "turn_id": "t"}
    assert parse(json.dumps(body).encode()) == SessionStart(
        type="session.start", conversation_id="stable", session_id="conn", turn_id="t"
    )


def test_a_generation_1_type_without_connection_id_still_has_the_stable_id() -> None:
    parsed = parse(b'{"type":"MESSAGE","text":"Hello","session_id":"stable","turn_id":"t"}')
    assert isinstance(parsed, Message)
    assert (parsed.conversation_id, parsed.session_id) == ("stable", None)


def test_a_conversation_id_is_never_overruled_by_a_connection_id() -> None:
    assert message(connection_id="conn").conversation_id == "conv_b2"
    assert message(connection_id="conn").session_id == "sess_a1"


def test_a_session_id_alone_is_not_taken_for_a_conversation() -> None:
    assert fault({"type": "message", "session_id": "s", "turn_id": "t", "text": ""}) == (
        "conversation_id: field required"
    )


# --- tolerance


def test_an_unknown_type_is_not_an_error() -> None:
    assert parse(b'{"type":"call.transferred","conversation_id":{}}') == Unknown(type="call.transferred")


@pytest.mark.parametrize("kind", ["session.start", "welcome", "data", "session.update", "session.end"])
def test_only_a_message_needs_a_turn(kind: str) -> None:
    parsed = parse(json.dumps({"type": kind, "conversation_id": "c"}).encode())
    assert not isinstance(parsed, Unknown)
    assert parsed.type == kind
    assert parsed.turn_id is parsed.session_id is None


@pytest.mark.parametrize("value", [None, {}, {"a": [1, None]}])
@pytest.mark.parametrize("field", ["metadata", "custom_metadata"])
def test_metadata_is_an_object_that_may_be_null(field: str, value: Any) -> None:
    assert getattr(message(**{field: value}), field) == (value or {})


@pytest.mark.parametrize(
    "context",
    [None, {}, {"previous_turn_interrupted": False, "text_heard": "x"}, {"previous_turn_interrupted": None}],
)
def test_no_interruption_has_several_spellings(context: Any) -> None:
    assert message(interruption_context=context).interruption_context is None


@pytest.mark.parametrize("heard", [None, "", "Your order"])
@pytest.mark.parametrize("words", [None, 0, 2, 2.0, "2"])
def test_an_interruption_may_have_heard_nothing(heard: str | None, words: Any) -> None:
    context = {"previous_turn_interrupted": True, "text_heard": heard, "words_heard": words}
    interruption = message(interruption_context=context).interruption_context
    assert interruption is not None
    assert interruption.text_heard == heard
    assert interruption.assistant_turn_id is None


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), (1.5, 1.5), (None, None), ("2.5", 2.5)])
@pytest.mark.parametrize("field", ["duration", "latency", "tts_duration_seconds"])
def test_a_number_may_be_int_float_null_or_text(field: str, value: Any, number: float | None) -> None:
    assert getattr(webhook("session.end", **{field: value}), field) == number


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("message", "interruption_context", "s3cret"),
        ("message", "interruption_context", {"previous_turn_interrupted": "s3cret"}),
        ("message", "custom_metadata", "s3cret"),
        ("message", "from_phone_number", {"s3cret": 1}),
        ("session.end", "duration", "s3cret"),
        ("session.end", "duration", "nan"),
        ("session.end", "latency", 10**400),
        ("session.end", "transcript", {"s3cret": "s3cret"}),
        ("session.end", "transcript", [{"text": {"s3cret": 1}}]),
        ("session.update", "recording_duration", ["s3cret"]),
    ],
)
def test_an_extra_of_an_odd_shape_counts_as_absent(kind: str, field: str, value: Any) -> None:
    """It must not cost the caller the turn, nor us the transcript."""
    assert not getattr(webhook(kind, **{field: value}), field) or field == "transcript"


@pytest.mark.parametrize("value", [None, 0, False, "", "text", [], [1, {"a": None}], {"a": 1}])
def test_data_is_any_json(value: Any) -> None:
    parsed = webhook("data", data=value)
    assert isinstance(parsed, Data)
    assert parsed.data == value
    assert type(parsed.data) is type(value)


def test_transcript_items_that_say_nothing_are_skipped() -> None:
    parsed = webhook("session.end", transcript=[None, "x", {"role": None, "more": 1}, 7, {"text": "Hi"}])
    assert isinstance(parsed, SessionEnd)
    assert parsed.transcript == [TranscriptLine(text="Hi")]
    assert webhook("session.end", transcript=None).model_dump()["transcript"] == []


def test_a_number_as_an_id_is_taken_as_its_text() -> None:
    assert message(conversation_id=17, turn_id=0).conversation_id == "17"


def test_an_empty_optional_id_is_an_absent_one() -> None:
    assert message(session_id="").session_id is None


def test_an_id_is_opaque_and_has_up_to_200_characters() -> None:
    assert message(turn_id="☕ " * 100).turn_id == "☕ " * 100


def test_lone_surrogates_are_replaced_so_that_the_text_can_be_stored() -> None:
    body = rb'{"type":"message","conversation_id":"c\udc00","turn_id":"t","text":"\ud83d\ude00 \ud83d!"}'
    parsed = parse(body)
    assert isinstance(parsed, Message)
    assert (parsed.conversation_id, parsed.text) == ("c\ufffd", "😀 \ufffd!")


def test_what_is_private_is_not_in_the_repr() -> None:
    for body in EXAMPLES:
        shown = repr(parse(body.encode()))
        for private in ["+1415", "balance", "order", "acme", "A-17", "u_1", "203.0", "Hello", "https:"]:
            assert private not in shown


# --- what is refused


@pytest.mark.parametrize(
    ("missing", "kind"),
    [("type", "message"), ("conversation_id", "message"), ("turn_id", "message"), ("text", "message")]
    + [("conversation_id", kind) for kind in ("session.start", "data", "session.update", "session.end")],
)
def test_a_missing_field_is_named(missing: str, kind: str) -> None:
    body = {"type": kind, "conversation_id": "c", "turn_id": "t", "text": "Hi"}
    del body[missing]
    assert fault(body) == f"{missing}: field required"


def test_all_fields_at_fault_are_named() -> None:
    assert fault({"type": "message", "turn_id": []}) == (
        "conversation_id: field required; turn_id: input should be a valid string; text: field required"
    )


@pytest.mark.parametrize("value", ["", "x" * 201, None, True, 1.5, [], {}])
@pytest.mark.parametrize("field", ["conversation_id", "turn_id"])
def test_an_id_is_text_of_1_to_200_characters(field: str, value: Any) -> None:
    body = {"type": "message", "conversation_id": "c", "turn_id": "t", "text": "", field: value}
    assert fault(body).startswith(f"{field}: ")


@pytest.mark.parametrize("kind", ["", None, 5, [], {}, "x" * 201])
def test_a_type_is_text(kind: Any) -> None:
    assert fault({"type": kind, "conversation_id": "c"}).startswith("type: ")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("message", "text", None),
        ("message", "text", ["s3cret"]),
    ],
)
def test_a_fault_names_the_field_and_never_its_value(kind: str, field: str, value: Any) -> None:
    body = {"type": kind, "conversation_id": "c", "turn_id": "t", "text": "Hi", field: value}
    text = fault(body)
    assert text.startswith(field)
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"{'type': 'message'}", "the body is not JSON"),
        (b'{"type":"message"} x', "the body is not JSON"),
        (b'{"type":' + b"1" * 5000 + b"}", "the body is not JSON"),
        (b'{"type":"\xff"}', "the body is not UTF-8"),
        ('{"type":"message"}'.encode("utf-16"), "the body is not UTF-8"),
        (b"[]", "the body is not a JSON object"),
        (b'"message"', "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b'{"type":"x","a":NaN}', "the body is not JSON: NaN and Infinity are no JSON numbers"),
        (b'{"type":"x","a":-Infinity}', "the body is not JSON: NaN and Infinity are no JSON numbers"),
        (b'{"type":"x","a":[1e999]}', "the body holds a number that is out of range"),
        (b'{"a":' * 100_000, "the body is nested too deeply"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the body is nested too deeply"),
        (b'{"a":' + b"[" * MAX_DEPTH + b"0" + b"]" * MAX_DEPTH + b"}", "the body is nested too deeply"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes, text: str) -> None:
    assert fault(body) == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
known_keys = st.sampled_from(sorted(set().union(*(json.loads(body) for body in EXAMPLES))))
kinds = st.sampled_from(
    [
        "message",
        "session.start",
        "welcome",
        "data",
        "session.update",
        "session.end",
        "MESSAGE",
        "SESSION_START",
    ]
)


def parses_or_is_refused(body: bytes) -> None:
    with contextlib.suppress(BadWebhook):
        assert isinstance(parse(body), Webhook)


@given(st.binary())
def test_any_bytes_are_a_webhook_or_refused(body: bytes) -> None:
    parses_or_is_refused(body)


@given(json_values)
def test_any_json_is_a_webhook_or_refused(value: Any) -> None:
    parses_or_is_refused(json.dumps(value).encode())


@given(kinds, st.dictionaries(known_keys, json_values))
def test_any_values_in_known_fields_are_a_webhook_or_refused(kind: str, fields: dict[str, Any]) -> None:
    body = {"conversation_id": "c", "turn_id": "t", "text": "", **fields, "type": kind}
    parses_or_is_refused(json.dumps(body).encode())


@given(st.sampled_from(EXAMPLES), st.dictionaries(st.text(), json_values))
def test_unknown_keys_change_nothing(body: str, extra: dict[str, Any]) -> None:
    fields = json.loads(body)
    more = {f"x-{key}": json.loads(data(value, None)[6:])["content"] for key, value in extra.items()}
    assert parse(json.dumps({**more, **fields}).encode()) == parse(body.encode())


@given(st.text(), st.text(min_size=1, max_size=200))
def test_text_and_ids_arrive_as_they_were_sent(text: str, identifier: str) -> None:
    parsed = message(text=text, conversation_id=identifier)
    assert (parsed.text, parsed.conversation_id) == (text, identifier)


# --- answers


def test_the_framing_is_that_of_the_node_sdk() -> None:
    assert tts("Hi there.", "turn_c3") == (
        b'data: {"type":"response.tts","content":"Hi there.","turn_id":"turn_c3"}\n\n'
    )
    assert data({"k": 1}, "turn_c3") == (b'data: {"type":"response.data","content":{"k":1},"turn_id":"turn_c3"}\n\n')
    assert end("turn_c3") == b'data: {"type":"response.end","turn_id":"turn_c3"}\n\n'


def test_without_a_turn_id_the_key_is_absent() -> None:
    assert tts("", None) == b'data: {"type":"response.tts","content":""}\n\n'
    assert data(None, None) == b'data: {"type":"response.data","content":null}\n\n'
    assert end(None) == b'data: {"type":"response.end"}\n\n'


def test_text_is_raw_utf_8_and_line_breaks_are_escaped() -> None:
    assert tts("Café ☕\r\n\x07", "t") == (
        'data: {"type":"response.tts","content":"Café ☕\\r\\n\\u0007","turn_id":"t"}\n\n'.encode()
    )


def test_lone_surrogates_are_replaced_and_pairs_are_joined() -> None:
    assert tts("a\ud800b\ud83d\ude00", "\udfff") == (
        'data: {"type":"response.tts","content":"a\ufffdb😀","turn_id":"\ufffd"}\n\n'.encode()
    )


class Shape:
    def __str__(self) -> str:
        return "a shape"


CYCLE: list[Any] = [1]
CYCLE += [CYCLE, CYCLE]
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]
NIL = uuid.UUID(int=0)


@pytest.mark.parametrize(
    ("content", "arrives"),
    [
        ([math.nan, math.inf, -math.inf, 1.5], [None, None, None, 1.5]),
        ({"at": datetime.date(2026, 1, 5)}, {"at": "2026-01-05"}),
        ([Shape(), NIL], ["a shape", str(NIL)]),
        ((1, (2,)), [1, [2]]),
        ({1: True, False: 2, (3, 4): 5, math.nan: 6}, {"1": True, "false": 2, "(3, 4)": 5, "null": 6}),
        (10**400, None),
        (CYCLE, [1, None, None]),
        ("\ud800", "\ufffd"),
    ],
)
def test_data_is_always_json(content: Any, arrives: Any) -> None:
    assert json.loads(data(content, "t")[6:])["content"] == arrives


def test_an_integer_of_more_digits_than_python_writes_is_null() -> None:
    assert data(10**5000, None) == data(None, None)


def test_data_that_is_nested_without_end_is_cut() -> None:
    line = data(DEEP, "t")
    assert line.count(b"[") == MAX_DEPTH
    assert json.loads(line[6:])


@given(st.text(), st.none() | st.text(min_size=1))
@example("\u2028\x85\n\n", "data: ")
def test_any_text_is_one_event_and_arrives_whole(text: str, turn_id: str | None) -> None:
    line = tts(text, turn_id)
    assert line.startswith(b"data: ")
    assert line.endswith(b"\n\n")
    assert line.count(b"\n") == 2
    assert b"\r" not in line
    turn = {} if turn_id is None else {"turn_id": turn_id}
    assert json.loads(line[6:]) == {"type": "response.tts", "content": text, **turn}


@given(st.text(st.characters(exclude_categories=())))
def test_text_with_any_code_points_is_encodable(text: str) -> None:
    assert json.loads(tts(text, text)[6:])["type"] == "response.tts"


@given(json_values)
def test_any_json_arrives_whole_but_for_nan_and_infinity(value: Any) -> None:
    line = data(value, "t")
    assert line.count(b"\n") == 2
    expected = json.loads(json.dumps(value), parse_constant=lambda _: None)
    assert json.loads(line[6:], parse_constant=pytest.fail)["content"] == expected


@given(st.dictionaries(st.integers() | st.floats() | st.booleans() | st.none() | st.tuples(), json_values))
def test_any_keys_make_json(content: dict[Any, Any]) -> None:
    json.loads(data(content, "t")[6:], parse_constant=pytest.fail)
