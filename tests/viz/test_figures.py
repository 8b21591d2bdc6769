"""Figures show the right slices in the right colours, and say in words what is on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from moereg.data import Pair
from moereg.models.registration import Registration
from moereg.nn.observe import observe
from moereg.nn.routing import Routing
from moereg.viz import palette
from moereg.viz.figures import (
    expert_legend,
    heads_at,
    overview,
    show_arrows,
    show_experts,
    show_grid,
    show_image,
    show_lengths,
    show_load,
    slice_of,
)
from moereg.viz.palette import expert_colours
from tests.viz.reading import bars_of, key_of, size_of, ticks_of, titles_of


@pytest.fixture
def ax():
    return Figure().subplots()


def test_slice_of_a_volume_and_of_an_image(pair3, pair2):
    fixed = pair3.fixed[0]
    assert np.array_equal(slice_of(fixed), fixed[6].numpy())
    assert np.array_equal(slice_of(fixed, axis=2, index=3), fixed[:, :, 3].numpy())
    assert slice_of(pair2.fixed[0]).shape == pair2.shape


def test_a_map_of_experts_has_their_colours(ax, result3):
    routing = result3.routing["decoder.0.shmoe"]
    show_experts(ax, routing, router=1)
    picture = ax.images[0]
    first = slice_of(routing.first()[0, 1])
    shown = picture.to_rgba(picture.get_array())
    assert to_hex(shown[2, 3]) == expert_colours(routing.experts)[first[2, 3]]


def test_bars_of_the_load_have_its_lengths(ax, result3):
    routing = result3.routing["decoder.0.shmoe"]
    show_load(ax, routing)
    widths = np.array([bar.get_width() for bar in ax.patches]).reshape(4, 3).T  # experts are drawn one after the other
    assert np.allclose(widths, routing.load().numpy(), atol=1e-6)


def test_the_grid_passes_through_the_moved_points(ax, result3):
    displacement = result3.displacement[0]
    show_grid(ax, displacement, every=2, axis=0, index=4)
    x, y = ax.lines[0].get_data()
    assert np.allclose(y, displacement[1, 4, 0].numpy(), atol=1e-5)
    assert np.allclose(x, np.arange(14) + displacement[2, 4, 0].numpy(), atol=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_overview_has_a_sentence(dims, request):
    pair, model = request.getfixturevalue(f"pair{dims}"), request.getfixturevalue(f"model{dims}")
    figure, text = overview(pair, model(pair.moving[None], pair.fixed[None]))
    assert len(figure.axes) == 3 + dims
    assert "first expert in decoder.0.shmoe" in text
    assert text.endswith("%.")


@pytest.mark.parametrize("dims", [2, 3])
def test_heads_are_those_of_the_token_and_of_the_fixed_image(dims, request):
    pair, model = request.getfixturevalue(f"pair{dims}"), request.getfixturevalue(f"model{dims}")
    with torch.no_grad(), observe(model) as seen:
        model(pair.moving[None], pair.fixed[None])
    one = seen["encoder.1.moa"]
    voxel = (9, 6, 5)[-dims:]
    place = tuple(v // one.routing.stride for v in voxel)
    figure, text = heads_at(pair, one, voxel)
    looks = one.layer.attention_from(one.features[1:], place)
    shown = [ax for ax in figure.axes if ax.images and ax.get_title().startswith("head")]
    assert len(shown) == len(looks) == 4
    for ax, look, gate in zip(shown, looks, one.routing.gates[(1, 0, slice(None), *place)], strict=True):
        assert np.allclose(ax.images[0].get_array(), slice_of(look, index=place[0]))
        assert ax.get_title().endswith(f"gate {gate:.2f}")
        assert ax.lines[0].get_xydata().tolist() == [[place[-1], place[-2]]]
    assert f"head 0 {looks[0].max():.0%}" in text


# ------------------------------------------------------------------------------- drawn data, with every axis its own


def volume() -> torch.Tensor:
    """`(5, 6, 8)`, every voxel its own value: 100 z + 10 y + x."""
    z, y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (5, 6, 8)), indexing="ij")
    return 100 * z + 10 * y + x


def moved(z: float, y: float, x: float) -> torch.Tensor:
    """A displacement `(3, 5, 6, 8)` that is the same everywhere but in slice z = 0."""
    field = torch.tensor([z, y, x]).view(3, 1, 1, 1).expand(3, 5, 6, 8).clone()
    field[:, 0] = 0
    return field


@pytest.mark.parametrize(
    ("axis", "index", "corner"),
    [(0, None, 211.0), (0, 3, 311.0), (1, None, 131.0), (1, 4, 141.0), (2, None, 114.0), (2, 5, 115.0)],
)
def test_a_slice_is_cut_across_its_axis(axis, index, corner):
    """Row 1, column 1 of the slice: rows and columns are the other axes, in their order."""
    cut = slice_of(volume(), axis=axis, index=index)
    assert cut[1, 1] == corner
    assert cut.shape == tuple(n for d, n in enumerate((5, 6, 8)) if d != axis)


def test_a_slice_leaves_the_graph():
    assert slice_of(volume().requires_grad_())[0, 1] == 201


def test_an_image_is_grey_upright_and_windowed(ax):
    values = volume()
    returned = show_image(ax, values, title="fixed", axis=1, index=2)
    picture = ax.images[0]
    assert returned is ax
    assert np.array_equal(picture.get_array(), values[:, 2].numpy())
    assert picture.origin == "upper"  # row 0 is up
    assert picture.get_cmap().name == "gray"
    low, high = np.quantile(values.numpy(), [0.001, 0.999])
    assert picture.get_clim() == (pytest.approx(low), pytest.approx(high))
    assert (ax.get_title(), ax.title.get_fontsize()) == ("fixed", 9)
    assert (list(ax.get_xticks()), list(ax.get_yticks())) == ([], [])
    assert not any(spine.get_visible() for spine in ax.spines.values())


def test_a_constant_image_has_a_window_too(ax):
    show_image(ax, torch.full((4, 5), 2.0))
    low, high = ax.images[0].get_clim()
    assert (low, high) == (2.0, pytest.approx(2.0 + 1e-6))
    assert high > low
    assert ax.get_title() == ""


@pytest.mark.parametrize(("axis", "down", "right"), [(0, 2.0, 3.0), (1, 1.0, 3.0), (2, 1.0, 2.0)])
def test_a_grid_goes_to_x_plus_u(ax, axis, down, right):
    """u = (1, 2, 3): of it the slice across z shows (2, 3) as down and right, across y (1, 3), across x (1, 2)."""
    assert show_grid(ax, moved(1.0, 2.0, 3.0), every=2, axis=axis, index=2) is ax
    rows, columns = (n for d, n in enumerate((5, 6, 8)) if d != axis)
    along_x = ax.lines[1 : -(-rows // 2)]  # row 0 is slice z = 0 where the cut is across y or x
    for number, line in enumerate(along_x, start=1):
        assert line.get_ydata().tolist() == [2 * number + down] * columns
        assert line.get_xdata().tolist() == [right + column for column in range(columns)]
    first_down = ax.lines[-(-rows // 2)]
    assert first_down.get_ydata().tolist()[1:] == [down + row for row in range(1, rows)]
    assert first_down.get_xdata().tolist()[1:] == [right] * (rows - 1)
    assert len(ax.lines) == -(-rows // 2) + -(-columns // 2)
    assert {(line.get_color(), line.get_linewidth()) for line in ax.lines} == {(palette.MOTION, 0.7)}


def test_a_grid_and_arrows_take_the_middle_unless_told(ax):
    field = moved(0.0, 1.0, 0.0)
    field[:, 2] *= 3
    show_grid(ax, field)
    assert ax.lines[0].get_ydata()[0] == 3
    assert len(ax.lines) == 2 + 2  # every fourth of 6 rows and of 8 columns
    other = Figure().subplots()
    show_arrows(other, field)
    assert set(other.collections[0].V.tolist()) == {3.0}


def test_a_flat_grid_keeps_both_directions(ax):
    field = torch.stack([torch.full((6, 8), 2.0), torch.full((6, 8), -1.0)])
    show_grid(ax, field, every=4)
    assert ax.lines[0].get_ydata().tolist() == [2.0] * 8
    assert ax.lines[0].get_xdata().tolist() == [column - 1.0 for column in range(8)]


@pytest.mark.parametrize(("axis", "down", "right"), [(0, 2.0, -3.0), (1, 1.0, -3.0), (2, 1.0, 2.0)])
def test_arrows_point_along_the_displacement(ax, axis, down, right):
    assert show_arrows(ax, moved(1.0, 2.0, -3.0), every=2, axis=axis, index=2) is ax
    arrows = ax.collections[0]
    rows, columns = (n for d, n in enumerate((5, 6, 8)) if d != axis)
    places = [(x, y) for y in range(1, rows, 2) for x in range(1, columns, 2)]
    assert arrows.get_offsets().tolist() == [list(place) for place in places]
    assert set(arrows.U.tolist()) == {right}  # U is to the right, V is down: the rows of an image grow downwards
    assert set(arrows.V.tolist()) == {down}
    assert (arrows.angles, arrows.scale_units, arrows.scale, arrows.width) == ("xy", "xy", 1, 0.006)
    assert to_hex(arrows.get_facecolor()[0]) == palette.MOTION


def test_lengths_are_coloured_as_they_are_and_drawn_longer(ax):
    """Their colours count voxels of the field, whatever the stretch; the arrows point along it."""
    field = torch.stack([torch.full((6, 8), 3.0), torch.full((6, 8), -4.0)])
    arrows = show_lengths(ax, field, longest=10.0, every=4, stretch=2.0)
    assert arrows.get_offsets().tolist() == [[2, 2], [6, 2]]
    assert arrows.get_array().tolist() == [5.0, 5.0]
    assert (arrows.U.tolist(), arrows.V.tolist()) == ([-4.0, -4.0], [3.0, 3.0])
    assert arrows.get_clim() == (0, 10)
    assert arrows.scale == 0.5  # units of data per unit of the arrow: drawn twice as long


def test_arrows_start_at_their_own_voxel(ax):
    """Each arrow has the displacement of the voxel where it starts."""
    field = torch.stack([volume()[0], -volume()[0]])
    show_arrows(ax, field, every=4)
    arrows = ax.collections[0]
    assert arrows.get_offsets().tolist() == [[2, 2], [6, 2]]
    assert arrows.V.tolist() == [22.0, 26.0]
    assert arrows.U.tolist() == [-22.0, -26.0]


@pytest.fixture
def routing() -> Routing:
    """Two items, two routers, four experts on a 3 x 4 x 5 grid; the first expert counts places."""
    count = torch.arange(60).view(3, 4, 5)
    first = torch.stack([torch.stack([(count + 2 * item + router) % 4 for router in (0, 1)]) for item in (0, 1)])
    indices = torch.stack([first, (first + 1) % 4], 2)
    gates = torch.zeros(2, 2, 4, 3, 4, 5).scatter(
        2, indices, torch.tensor([0.75, 0.25]).view(1, 1, 2, 1, 1, 1).expand(2, 2, 2, 3, 4, 5)
    )
    return Routing(gates.clone(), gates, indices, ("1³", "3³", "5³", "7³"), ("z", "y"))


def test_a_map_shows_the_item_router_and_slice_that_were_asked_for(ax, routing):
    assert show_experts(ax, routing, router=1, item=1, axis=2, index=3, title="y") is ax
    picture = ax.images[0]
    expected = (torch.arange(60).view(3, 4, 5) + 3) % 4
    assert np.array_equal(picture.get_array(), expected[:, :, 3].numpy())
    assert picture.get_clim() == (-0.5, 3.5)
    assert [to_hex(colour) for colour in picture.get_cmap().colors] == list(palette.EXPERTS[:4])
    assert picture.get_interpolation() == "nearest"
    assert ax.get_title() == "y"


def test_a_map_shows_the_first_item_and_router_in_the_middle(ax, routing):
    show_experts(ax, routing)
    assert np.array_equal(ax.images[0].get_array(), (torch.arange(60).view(3, 4, 5) % 4)[1].numpy())
    assert ax.get_title() == ""


def test_bars_of_the_load_stand_at_their_router_in_their_colour(ax):
    """Of four voxels the router z gives 3 first places to 1³ and 1 to 5³, the router y 2 to each of 3³ and 7³."""
    indices = torch.tensor([[0, 0, 0, 2], [1, 3, 3, 1]]).view(1, 2, 1, 2, 2)
    gates = torch.zeros(1, 2, 4, 2, 2).scatter(2, indices, 1.0)
    returned = show_load(ax, Routing(gates, gates, indices, ("1³", "3³", "5³", "7³"), ("z", "y")), title="load")
    one, three, five, seven = palette.EXPERTS[:4]
    assert returned is ax
    assert [bar for bar in bars_of(ax) if bar[2] > 0] == [
        (0.0, -0.4, 0.75, 0.8, one), (0.0, 0.6, 0.5, 0.8, three),
        (0.75, -0.4, 0.25, 0.8, five), (0.5, 0.6, 0.5, 0.8, seven),
    ]  # fmt: skip
    assert {(to_hex(bar.get_edgecolor()), bar.get_linewidth()) for bar in ax.patches} == {("#ffffff", 0.5)}
    assert ticks_of(ax, "y") == [(0, "z"), (1, "y")]
    assert ax.yaxis_inverted()  # the first router on top
    assert ax.get_xlim() == (0, 1)
    assert (ax.get_title(loc="left"), ax._left_title.get_fontsize()) == ("load", 9)


def test_a_legend_names_the_colours():
    figure = Figure()
    expert_legend(figure, ["5³", "1³", "head 0"], fontsize=7)
    assert key_of(figure) == [("5³", palette.EXPERTS[2]), ("1³", palette.EXPERTS[0]), ("head 0", palette.EXPERTS[4])]
    (legend,) = figure.legends
    assert (legend._ncols, legend.get_frame_on(), legend._loc) == (3, False, 8)  # 8 is "lower center"
    assert {to_hex(patch.get_edgecolor(), keep_alpha=True) for patch in legend.get_patches()} == {palette.PATCH_EDGE}
    assert {text.get_fontsize() for text in legend.get_texts()} == {7}


@pytest.fixture
def registered(routing):
    """A pair `(6, 8, 10)`, fixed, moving, warped counted from 0, 1000, 2000, moved by (1, 2, 3), routed as above."""
    count = torch.arange(480, dtype=torch.float32).view(1, 6, 8, 10)
    pair = Pair(count + 1000, count, name="phantom 7")
    one = replace(routing, logits=routing.logits[:1], gates=routing.gates[:1], indices=routing.indices[:1])
    proposals = torch.zeros(1, 2, 4, 3, 4, 5)
    layers = {
        "encoder.0.moa": one,
        "decoder.1.shmoe": replace(one, routers=("a", "b"), proposals=proposals),
        "decoder.0.shmoe": replace(one, proposals=proposals),
    }
    displacement = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1, 1).expand(1, 3, 6, 8, 10)
    return pair, Registration(displacement, count[None] + 2000, (), layers)


@pytest.mark.parametrize(
    ("axis", "index", "cut"), [(0, None, (3,)), (0, 1, (1,)), (1, None, (slice(None), 4)), (2, 7, (..., 7))]
)
def test_the_overview_shows_fixed_moving_warped_in_this_order(registered, axis, index, cut):
    pair, result = registered
    figure, _ = overview(pair, result, axis=axis, index=index)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    for array, image in zip(shown, (pair.fixed[0], pair.moving[0], result.warped[0, 0]), strict=False):
        assert np.array_equal(array, image[cut].numpy())
    assert titles_of(figure) == ["fixed", "moving", "warped, with its grid", "first expert, z", "first expert, y"]


def test_the_overview_has_the_grid_over_the_warped_image_and_inside_it(registered):
    figure, _ = overview(*registered, axis=1, index=2)
    fixed, moving, warped = figure.axes[:3]
    assert (len(fixed.lines), len(moving.lines)) == (0, 0)
    assert warped.lines[0].get_ydata().tolist() == [1.0] * 10  # z and x of the displacement
    assert warped.lines[0].get_xdata().tolist() == [3.0 + column for column in range(10)]
    assert (warped.get_xlim(), warped.get_ylim()) == ((-0.5, 9.5), (5.5, -0.5))


@pytest.mark.parametrize(("index", "level"), [(None, 1), (0, 0), (3, 2), (5, 2)])
def test_the_overviews_maps_are_cut_at_the_same_height(registered, index, level):
    """The finest routed decoder layer; voxel i of six is voxel i / 2 of three, to the nearest."""
    figure, _ = overview(*registered, index=index)
    count = torch.arange(60).view(3, 4, 5)
    for router, axes in enumerate(figure.axes[3:]):
        assert np.array_equal(axes.images[0].get_array(), ((count + router) % 4)[level].numpy())


def test_the_overview_says_what_it_shows(registered):
    pair, result = registered
    figure, text = overview(pair, result)
    assert text == (
        "Fixed, moving and warped slice of phantom 7, the warped one with the deformed grid; "
        "maps of the first expert in decoder.0.shmoe for z, y. Mean load: 1³ 25%, 3³ 25%, 5³ 25%, 7³ 25%."
    )
    assert key_of(figure) == list(zip(("1³", "3³", "5³", "7³"), palette.EXPERTS, strict=False))
    assert {label.get_fontsize() for label in figure.legends[0].get_texts()} == {9}
    assert size_of(figure) == (11.5, 2.9)
    assert figure.get_dpi() == 90
    assert to_hex(figure.get_facecolor()) == "#ffffff"
    assert figure.get_layout_engine().get()["rect"] == (0, 0.1, 1, 0.9)


def test_an_overview_without_proposals_or_without_routing(registered):
    pair, result = registered
    bare = Pair(pair.moving, pair.fixed)
    encoder = Registration(result.displacement, result.warped, (), {"encoder.0.moa": result.routing["encoder.0.moa"]})
    figure, text = overview(bare, encoder)
    assert "first expert in encoder.0.moa for" in text
    assert len(figure.axes) == 5
    figure, text = overview(bare, Registration(result.displacement, result.warped))
    assert text == "Fixed, moving and warped slice of a pair, the warped one with the deformed grid."
    assert (len(figure.axes), figure.legends, size_of(figure)) == (3, [], (6.9, 2.9))


def test_an_overview_in_two_dimensions(registered):
    pair, result = registered
    flat = Pair(pair.moving[:, 2], pair.fixed[:, 2])
    figure, _ = overview(flat, Registration(result.displacement[:, 1:, 2], result.warped[:, :, 2]), index=0)
    warped = figure.axes[2]
    assert np.array_equal(figure.axes[0].images[0].get_array(), flat.fixed[0].numpy())
    assert warped.lines[0].get_ydata().tolist() == [2.0] * 10
    assert (warped.get_xlim(), warped.get_ylim()) == ((-0.5, 9.5), (7.5, -0.5))
