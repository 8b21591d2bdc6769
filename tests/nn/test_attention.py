"""Attention from one head to windows, against torch's own and by hand."""

import pytest
import torch

from moereg.nn.attention import (
    AttentionHead,
    MultiHeadAttention,
    MutualAttention,
    Windows,
    attend,
    attention_at,
)


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


def full_attention(features, context, size, query, key):
    """Weights of all voxels on all voxels, `(head, *S, *S)`: one softmax over those of the same window."""
    space = features.shape[2:]
    tokens, others = features[0].flatten(1).T, context[0].flatten(1).T
    window = torch.stack(
        torch.meshgrid(*(torch.arange(n) // s for n, s in zip(space, size, strict=True)), indexing="ij")
    )
    window = window.flatten(1).T
    same = (window[:, None] == window[None]).all(-1)
    scores = torch.stack([(tokens @ q) @ (others @ k).T / q.shape[1] ** 0.5 for q, k in zip(query, key, strict=True)])
    return scores.masked_fill(~same, -torch.inf).softmax(-1).unflatten(2, space).unflatten(1, space)


@pytest.mark.parametrize(
    ("shape", "window", "size"),
    [((5, 7), 4, (3, 4)), ((4, 6), 3, (2, 3)), ((3, 2, 3), 2, (2, 2, 2)), ((3, 3), 8, (3, 3))],
)
@pytest.mark.parametrize("own", [True, False])
def test_attention_of_one_voxel_is_its_row_of_the_full_attention(shape, window, size, own, generator):
    """Every voxel, also in windows that are padded, looking at its own map or at another one."""
    features, other = torch.randn(2, 1, 4, *shape, generator=generator, dtype=torch.float64).unbind()
    query, key = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).unbind()
    context = features if own else other
    expected = full_attention(features, context, size, query, key)
    for voxel in torch.cartesian_prod(*(torch.arange(n) for n in shape)).tolist():
        found = attention_at(features, context, tuple(voxel), window=window, query=query, key=key)
        torch.testing.assert_close(found, expected[(slice(None), *voxel)])


def test_windows_of_a_padded_map_are_blocks_of_voxels():
    features = torch.arange(35.0).view(1, 1, 5, 7)
    windows = Windows.of(features, 4)
    assert (windows.batch, windows.space, windows.size, windows.counts) == (1, (5, 7), (3, 4), (2, 2))
    assert windows.padding == [0, 1, 0, 1]
    tokens = windows.split(features)[..., 0]
    assert tokens[0].tolist() == [0, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 17]
    assert tokens[3].tolist() == [25, 26, 27, 0, 32, 33, 34, 0, 0, 0, 0, 0]
    assert windows.valid(features.device)[3].tolist() == [True] * 3 + [False] + [True] * 3 + [False] * 5
    assert Windows.of(torch.zeros(1, 1, 4, 8), 4).valid(features.device) is None


def test_a_padded_window_is_attention_among_its_own_voxels(generator):
    """In the corner window of a 5 x 7 map, 2 x 3 voxels without any padding, looked at as a map of its own."""
    layer = MutualAttention(4, heads=2, head_dim=3, window=4)
    first, second = torch.randn(2, 1, 4, 5, 7, generator=generator).unbind()
    whole = layer(first, second)
    corner = layer(first[..., 3:, 4:], second[..., 3:, 4:])
    for found, expected in zip(whole, corner, strict=True):
        torch.testing.assert_close(found[..., 3:, 4:], expected)


def test_mutual_attention_adds_what_each_takes_from_the_other(generator):
    layer = MutualAttention(4, heads=2, head_dim=3, window=8)
    first, second = torch.randn(2, 1, 4, 3, 5, generator=generator).unbind()
    a, b = (image.flatten(2).mT for image in (first, second))
    torch.testing.assert_close(layer(first, second)[0], first + layer.attention(a, b).mT.view_as(first))
    torch.testing.assert_close(layer(first, second)[1], second + layer.attention(b, a).mT.view_as(first))


@pytest.mark.parametrize("shared", [False, True])
def test_multi_head_attention_starts_with_outputs_as_large_as_its_tokens(shared):
    torch.manual_seed(0)
    layer = MultiHeadAttention(64, heads=4, head_dim=32, shared_keys=shared)
    assert layer.query.shape == (4, 64, 32)
    assert layer.key.shape == layer.value.shape == ((1 if shared else 4), 64, 32)
    for projection, spread in (
        (layer.query, 1 / 8),
        (layer.key, 1 / 8),
        (layer.value, 1 / 8),
        (layer.output, 128**-0.5),
    ):
        assert float(projection.detach().std()) == pytest.approx(spread, rel=0.05)


def test_shared_keys_are_the_same_keys_for_every_head(generator):
    shared = MultiHeadAttention(4, heads=3, head_dim=2, shared_keys=True)
    own = MultiHeadAttention(4, heads=3, head_dim=2)
    own.load_state_dict(
        shared.state_dict() | {name: getattr(shared, name).expand(3, 4, 2) for name in ("key", "value")}
    )
    tokens = torch.randn(2, 5, 4, generator=generator)
    torch.testing.assert_close(shared(tokens), own(tokens))
    # keys that are padding change nothing, in a mask per sequence
    valid = torch.tensor([[True] * 5, [True, True, True, False, False]])
    torch.testing.assert_close(own(tokens, valid=valid)[0], own(tokens)[0])
    torch.testing.assert_close(own(tokens, valid=valid)[1:], own(tokens[1:], tokens[1:, :3]))


def test_mutual_attention_by_default_has_four_heads_of_sixteen_in_windows_of_eight():
    layer = MutualAttention(5)
    assert layer.attention.query.shape == (4, 5, 16)
    assert layer.window == 8


def test_a_head_looks_at_its_own_tokens_by_default(generator):
    head = AttentionHead(6, 3)
    tokens, context = torch.randn(2, 2, 5, 6, generator=generator)
    torch.testing.assert_close(head(tokens), head(tokens, tokens))
    assert not torch.allclose(head(tokens), head(tokens, context))
    assert [layer.bias for layer in (head.query, head.key, head.value)] == [None] * 3
