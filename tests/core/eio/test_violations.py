from stretto_core.eio.violations import Reason, Violation


def test_reasons_are_stable() -> None:
    assert [str(reason) for reason in Reason] == [
        "empty",
        "unknown_type",
        "unexpected_type",
        "unexpected_data",
        "too_large",
        "invalid_utf8",
        "invalid_base64",
        "unmasked",
        "invalid_frame",
        "invalid_deflate",
        "invalid_attachments",
        "too_many_attachments",
        "invalid_placeholder",
        "unexpected_binary",
        "missing_binary",
        "invalid_id",
        "invalid_json",
        "too_deep",
        "not_finite",
        "invalid_payload",
        "reserved_event",
    ]


def test_a_violation_is_a_value() -> None:
    assert Violation(Reason.EMPTY) == Violation(Reason.EMPTY)
