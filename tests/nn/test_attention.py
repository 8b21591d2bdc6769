"""Attention from one head to windows, against torch's own and by hand."""

import pytest
import torch

from moereg.nn.attention import AttentionHead, MultiHeadAttention, MutualAttention, Windows, attend


def test_attend_by_hand():
    queries = torch.tensor([[[1.0]]])
    keys = torch.tensor([[[0.0], [torch.log(torch.tensor(3.0))]]])
    values = torch.tensor([[[0.0], [8.0]]])
    mixed, weights = attend(queries, keys, values)
    torch.testing.assert_close(weights, torch.tensor([[[0.25, 0.75]]]))
    torch.testing.assert_close(mixed, torch.tensor([[[6.0]]]))


def test_padding_gets_no_weight(generator):
    q, k, v = (torch.randn(2, 5, 4, generator=generator) for _ in range(3))
    valid = torch.tensor([True, True, True, False, False]).expand(2, 1, 5)
    mixed, weights = attend(q, k, v, valid)
    assert (weights[..., 3:] == 0).all()
    torch.testing.assert_close(mixed, attend(q, k[:, :3], v[:, :3])[0])


def test_multi_head_attention_is_a_sum_of_heads(generator):
    layer = MultiHeadAttention(6, heads=3, head_dim=4).double()
    tokens, context = (torch.randn(2, n, 6, generator=generator, dtype=torch.float64) for n in (5, 7))
    total = 0
    for i in range(3):
        head = AttentionHead(6, 4).double()
        for name in ("query", "key", "value"):
            getattr(head, name).weight.data = getattr(layer, name)[i].T
        total = total + head(tokens, context) @ layer.output[i]
    torch.testing.assert_close(layer(tokens, context), total)


def test_multi_head_attention_equals_torchs(generator):
    """Value and gradient of torch.nn.MultiheadAttention with the same weights."""
    channels, heads = 8, 2
    ours = MultiHeadAttention(channels, heads=heads, head_dim=4).double()
    theirs = torch.nn.MultiheadAttention(channels, heads, bias=False, batch_first=True).double()
    with torch.no_grad():
        stacked = [w.permute(0, 2, 1).reshape(channels, channels) for w in (ours.query, ours.key, ours.value)]
        theirs.in_proj_weight.copy_(torch.cat(stacked))
        theirs.out_proj.weight.copy_(ours.output.reshape(channels, channels).T)
    tokens = torch.randn(3, 6, channels, generator=generator, dtype=torch.float64, requires_grad=True)
    results = [ours(tokens), theirs(tokens, tokens, tokens)[0]]
    torch.testing.assert_close(*results)
    torch.testing.assert_close(*(torch.autograd.grad(r.square().sum(), tokens)[0] for r in results))


@pytest.mark.parametrize("shape", [(8, 8), (7, 5), (6, 5, 9), (1, 1, 3)])
@pytest.mark.parametrize("window", [1, 3, 4, 20])
def test_windows_split_and_join(shape, window, generator):
    features = torch.randn(2, 3, *shape, generator=generator)
    windows = Windows.of(features, window)
    tokens = windows.split(features)
    assert all(size <= window for size in windows.size)
    assert torch.equal(windows.join(tokens), features)
    valid = windows.valid(features.device)
    inside = tokens.shape[0] * tokens.shape[1] if valid is None else int(valid.sum())
    assert inside == 2 * torch.Size(shape).numel()


def test_windows_are_even():
    assert Windows.of(torch.zeros(1, 1, 12, 9, 16), 8).size == (6, 5, 8)


def test_a_token_sees_its_own_window_only(generator):
    layer = MutualAttention(4, heads=2, head_dim=4, window=3)
    first, second = (torch.randn(1, 4, 6, 6, generator=generator) for _ in range(2))
    before = layer(first, second)[0]
    second[..., 4, 4] += 1
    changed = (layer(first, second)[0] != before).any(1)[0]
    assert changed[3:, 3:].all()
    changed[3:, 3:] = False
    assert not changed.any()


def test_mutual_attention_treats_both_alike(generator):
    layer = MutualAttention(4, heads=2, head_dim=4, window=4)
    first, second = (torch.randn(1, 4, 5, 6, 7, generator=generator) for _ in range(2))
    a, b = layer(first, second)
    c, d = layer(second, first)
    assert torch.equal(a, d)
    assert torch.equal(b, c)
