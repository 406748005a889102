"""Streams by key, and states that come back."""

import torch

from utils.seeding import get_random_state, restore_random_state, seeded_rng, stream_seed


def test_seeds_depend_on_keys_and_their_order() -> None:
    assert stream_seed(1, 2) == stream_seed(1, 2)
    assert len({stream_seed(*keys) for keys in ((0,), (1,), (1, 2), (2, 1), (1, 2, 0))}) == 5


def test_a_seeded_block_repeats_and_restores() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    with seeded_rng(4, 2):
        first = torch.rand(3)
    assert torch.equal(torch.rand(2), expected)
    with seeded_rng(4, 2):
        assert torch.equal(torch.rand(3), first)


def test_the_state_comes_back() -> None:
    state = get_random_state()
    expected = torch.rand(3)
    restore_random_state(state)
    assert torch.equal(torch.rand(3), expected)
