"""A picture made to fit: never larger, still the same street, and untouched if it fits."""

import cv2
import numpy as np
import pytest

from edge_agent import vision
from edge_agent.capture.shrink import fit
from edge_agent.demo_pictures import STREETS


def decoded(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def street() -> bytes:
    """A street in a resolution that cameras have, with their noise."""
    small = decoded(STREETS[0].commission[0].read_bytes())
    picture = cv2.resize(small, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(1).normal(0, 6, picture.shape)
    noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


@pytest.mark.parametrize("share", [1.0, 0.8, 0.4, 0.1, 0.03])
def test_a_picture_fits_and_is_as_large_as_it_may_be(share):
    picture = street()
    most = int(len(picture) * share)
    fitted = fit(picture, most)
    assert len(fitted) <= most
    assert (fitted is picture) is (share == 1.0)
    # No more is taken away than has to be: the steps are far less than a factor of four apart.
    assert len(fitted) > most / 4
    assert vision.jpeg_size(fitted) is not None
    before, after = (
        cv2.cvtColor(cv2.resize(decoded(jpeg), (160, 90)), cv2.COLOR_BGR2GRAY)
        for jpeg in (picture, fitted)
    )
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.97


def test_what_nothing_can_make_fit_comes_out_small_and_whole():
    fitted = fit(street(), 100)
    assert 100 < len(fitted) < 40_000
    assert vision.jpeg_size(fitted) == (480, 270)


def test_what_is_no_picture_is_passed_on():
    assert fit(b"\xff\xd8 none \xff\xd9" * 50, 100) == b"\xff\xd8 none \xff\xd9" * 50
