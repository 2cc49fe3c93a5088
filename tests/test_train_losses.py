"""The terms of the training loss against NumPy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyserini_ext.train import losses

SEEDS = st.integers(0, 2**32 - 1)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_teachers_are_put_on_one_scale_and_averaged():
    scores = np.array([[3.0, 1.0, 2.0], [-10.0, 10.0, 0.0], [5.0, 5.0, 5.0]])
    # (1, 0, 1/2), (0, 1, 1/2) and a teacher without an opinion
    np.testing.assert_allclose(losses.ensemble(scores, 30), 30 * np.array([1, 1, 1]) / 3)
    np.testing.assert_allclose(losses.ensemble(scores[:1], 30), [30, 0, 15])


@given(SEEDS, st.floats(0.1, 100), st.floats(-50, 50))
@settings(max_examples=30, deadline=None)
def test_the_mix_does_not_depend_on_the_units_of_a_teacher(seed, factor, shift):
    scores = np.random.default_rng(seed).normal(size=(2, 7))
    other = scores.copy()
    other[1] = other[1] * factor + shift
    np.testing.assert_allclose(losses.ensemble(scores), losses.ensemble(other), atol=1e-9)


@given(SEEDS)
@settings(max_examples=30, deadline=None)
def test_distillation_is_kl_of_the_softmaxes(seed):
    numbers = np.random.default_rng(seed)
    student, teacher = numbers.normal(size=(2, 4, 6)) * 10
    p, q = softmax(teacher), softmax(student)
    expected = np.sum(p * (np.log(p) - np.log(q)), axis=1).mean()
    found = losses.distillation(torch.tensor(student), torch.tensor(teacher))
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    same = losses.distillation(torch.tensor(teacher + 3), torch.tensor(teacher))
    assert float(same) == pytest.approx(0, abs=1e-9)


def test_contrastive_is_infonce_without_further_relevant_documents():
    scores = np.array([[2.0, 1.0, 0.5], [0.0, 3.0, 1.0]])
    known = np.array([[False, False, True], [False, False, False]])
    expected = -(np.log(softmax(scores[0, :2])[0]) + np.log(softmax(scores[1])[1])) / 2
    found = losses.contrastive(torch.tensor(scores), torch.tensor([0, 1]), torch.tensor(known))
    assert float(found) == pytest.approx(expected, rel=1e-12)


@given(SEEDS, st.integers(0, 12))
@settings(max_examples=30, deadline=None)
def test_flops_squares_the_mean_of_documents_above_the_mask(seed, least):
    numbers = np.random.default_rng(seed)
    weights = np.maximum(0, numbers.normal(size=(5, 20)) - numbers.normal(size=(5, 1)))
    shares = numbers.integers(1, 4, 20).astype(float)
    counts = ((weights > 0) * shares).sum(1)
    kept = np.where(counts[:, None] > least, weights, 0) if least else weights
    expected = (kept.mean(0) ** 2 * shares).sum()
    found = losses.flops(torch.tensor(weights), torch.tensor(shares), least)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    counted = losses.nonzeros(torch.tensor(weights), torch.tensor(shares))
    np.testing.assert_allclose(counted.numpy(), counts)


def test_lambda_grows_with_the_square():
    assert [losses.ramp(step, 4) for step in (0, 1, 2, 4, 9)] == [0, 1 / 16, 1 / 4, 1, 1]
    assert losses.ramp(0, 0) == 1
