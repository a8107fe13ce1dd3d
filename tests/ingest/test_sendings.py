"""A file's lines are cut into requests, and each answer finds its line again."""

from services.ingest.sendings import BATCH_EVENTS, Sending, cut_lines

ACCEPTED = {"status": "accepted", "index": 0, "id": "a", "source": "s"}
REJECTED = {
    "status": "rejected",
    "index": 0,
    "id": "a",
    "source": "s",
    "code": "not_bound",
    "pointer": "/data/firm_id",
    "detail": "no",
}


def test_lines_keep_their_bytes_and_numbers_and_blank_ones_are_left_out():
    [batch] = cut_lines([b' {"a":1}\r\n', b"\n", b"  \n", b"{}"])
    assert (batch.body, batch.numbers) == (b' {"a":1}\n{}', [1, 4])
    assert batch.size_bytes == 16


def test_nothing_gives_no_batch():
    assert list(cut_lines([])) == []


def test_batches_are_bounded_in_events_and_in_bytes():
    many = list(cut_lines([b"{}\n"] * (2 * BATCH_EVENTS + 1)))
    assert [len(batch.lines) for batch in many] == [BATCH_EVENTS, BATCH_EVENTS, 1]
    assert many[2].numbers == [2 * BATCH_EVENTS + 1]
    wide = list(cut_lines([b"x" * 60_000 + b"\n"] * 100))
    assert [len(batch.lines) for batch in wide] == [34, 34, 32]
    assert all(len(batch.body) < 4 * 1024 * 1024 for batch in wide)


def test_a_line_that_no_event_can_be_is_told_and_not_sent():
    [batch] = cut_lines([b"{}\n", b"x" * 65_537 + b"\n", b"x" * 65_536])
    assert (batch.numbers, batch.too_large) == ([1, 3], [2])
    sending = Sending()
    assert sending.take(batch, 202, {"results": [ACCEPTED, REJECTED]})
    sending.refuse_locally(batch)
    assert [(r["line"], r["code"]) for r in sending.rejections] == [
        (2, "event_too_large"),
        (3, "not_bound"),
    ]
    report = sending.report()
    assert (report["events"], report["accepted"], report["rejected"]) == (3, 1, 2)


def test_a_batch_of_which_nothing_was_taken_is_told_line_by_line():
    [batch] = cut_lines([b"\n", b"{}\n"])
    sending = Sending()
    assert sending.take(batch, 422, {"code": "none_accepted", "errors": [REJECTED]})
    assert sending.rejections == [
        {
            "line": 2,
            "id": "a",
            "source": "s",
            "code": "not_bound",
            "pointer": "/data/firm_id",
            "detail": "no",
        }
    ]


def test_a_refused_request_is_no_answer_to_its_events():
    [batch] = cut_lines([b"{}\n"])
    sending = Sending()
    assert not sending.take(batch, 401, {"code": "unauthorized"})
    assert sending == Sending()
