"""What a pair costs, drawn: every size can be seen, and what does nothing has no row."""

from matplotlib.colors import to_hex

from moereg.viz.comparison import draw_pair_costs


def test_every_size_of_a_pair_can_be_seen_and_read_back():
    names = ("shmoareg", "identity", "greedy")
    costs = [
        {"method": name, "edge": edge, "pair_seconds": edge * (place + 1.0), "pair_bytes": edge * 2**20}
        for place, name in enumerate(names)
        for edge in (16, 32, 48, 64)
    ]
    seconds, memory = draw_pair_costs(costs).axes
    assert [label.get_text() for label in seconds.get_yticklabels()] == ["shmoareg", "greedy"]
    dots = {line.get_label(): line for line in seconds.lines if line.get_marker() == "o"}
    assert list(dots) == ["32³", "48³", "64³"]
    colours = {to_hex(line.get_color()) for line in dots.values()}
    assert len(colours) == 3
    assert "#ffffff" not in colours
    assert dots["48³"].get_xdata().tolist() == [48, 144]
    assert [line.get_xdata().tolist() for line in memory.lines if line.get_label() == "64³"] == [[64, 64]]
