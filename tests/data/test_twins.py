from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranzcr.data import twins
from ranzcr.data.folds import assign_folds
from ranzcr.labels import PATIENT

pytestmark = pytest.mark.slow


@st.composite
def collections(draw):
    """Images (N, 32, 32), their studies, and which of the studies' pictures are the same."""
    count = draw(st.integers(4, 700))  # above 512, more than one block is compared
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    picture = rng.integers(0, draw(st.integers(count // 2, 40 * count)), count)
    patient = rng.integers(0, draw(st.integers(count // 2, 40 * count)), count)
    drawn = rng.integers(0, 255, (picture.max() + 1, 32, 32), np.uint8)
    fades = rng.integers(1, 3, count)[:, None, None]  # the same with other greys: another file
    copied = np.char.add(picture.astype(str), np.char.add("/", fades.ravel().astype(str)))
    encoded_again = np.char.add("study ", np.arange(count).astype(str))
    sha256 = np.where(rng.random(count) < 0.5, copied, encoded_again)
    studies = pd.DataFrame({PATIENT: patient.astype(str), "sha256": sha256})
    return drawn[picture] // fades, studies, picture


def closure(patients: pd.Series, picture: np.ndarray) -> pd.Series:
    """The least id that a chain of shared patients and pictures leads to."""
    person, before = patients, None
    while before is None or (person != before).any():
        before = person
        person = person.groupby(picture).transform("min")
        person = person.groupby(patients.to_numpy()).transform("min")
    return person


@settings(max_examples=40, deadline=None)
@given(collections())
def test_patients_are_joined_where_a_chain_of_twins_leads_and_only_there(collection):
    images, studies, picture = collection
    person = twins.joined_patients(images, studies)
    assert list(person) == list(closure(studies[PATIENT], picture))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("apart", [1, 550])
def test_twins_are_found_wherever_the_blocks_of_the_comparison_begin_and_end(first, apart):
    count = 1100
    ids = np.array([f"{number:04}" for number in range(count)])
    twin_of = np.arange(count)
    ones = np.arange(first, count - apart, 2 if apart == 1 else 1)
    twin_of[ones + apart] = ones
    images = np.random.default_rng(0).integers(0, 255, (count, 32, 32), np.uint8)[twin_of]
    person = twins.joined_patients(images, pd.DataFrame({PATIENT: ids, "sha256": ids}))
    assert list(person) == list(ids[twin_of])


@settings(max_examples=20, deadline=None)
@given(collections(), st.integers(0, 9))
def test_no_deal_of_joined_patients_parts_twins_or_a_patient(collection, seed):
    images, studies, picture = collection
    person = twins.joined_patients(images, studies)
    labels = np.random.default_rng(seed).integers(0, 2, (len(studies), 2))
    folds = min(3, len(set(person)))
    if folds > 1:
        fold = pd.Series(assign_folds(labels, person, folds, seed))
        assert fold.groupby(picture).nunique().max() == 1
        assert fold.groupby(studies[PATIENT].to_numpy()).nunique().max() == 1


@settings(max_examples=10, deadline=None)
@given(collections())
def test_who_is_joined_does_not_depend_on_the_order_of_rows(collection):
    images, studies, _ = collection
    person = twins.joined_patients(images, studies)
    shuffled = studies.sample(frac=1, random_state=0)  # its index still says which image
    assert list(twins.joined_patients(images, shuffled)) == list(person[shuffled.index])


@pytest.mark.parametrize(("size", "joined"), [(31, False), (32, True)])
def test_in_a_cache_too_small_to_compare_equal_files_alone_are_twins(size, joined):
    images = np.random.default_rng(0).integers(0, 255, (4, size, size), np.uint8)
    images[1] = images[0]
    studies = pd.DataFrame({PATIENT: list("abcd"), "sha256": ["1", "2", "3", "3"]})
    assert list(twins.joined_patients(images, studies)) == ["a", "a" if joined else "b", "c", "c"]


def test_blank_images_join_nobody():
    images = np.repeat(np.arange(4, dtype=np.uint8), 32 * 32).reshape(4, 32, 32)
    studies = pd.DataFrame({PATIENT: list("abcd"), "sha256": list("1234")})
    assert list(twins.joined_patients(images, studies)) == list("abcd")


def test_the_images_of_other_splits_are_not_looked_at():
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32), np.uint8)
    images[1] = images[2]
    studies = pd.DataFrame({PATIENT: list("abcd"), "sha256": list("1234")})
    assert list(twins.joined_patients(images, studies.drop(index=1))) == list("acd")
