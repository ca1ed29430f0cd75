"""What may become of a request, as those who ask tell it apart."""

from __future__ import annotations

from nearhit.proxy.loading.http_errors import CodingError, HttpError, TooLarge, Unanswered


def test_no_whole_answer_is_one_kind_and_a_large_body_another() -> None:
    assert issubclass(Unanswered, HttpError)
    assert issubclass(CodingError, HttpError)
    assert not issubclass(TooLarge, HttpError)
    assert not issubclass(HttpError, OSError | ValueError)  # whose words may quote the URL
