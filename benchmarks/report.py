"""What the results look like: a table for the terminal, one for the docs, and plots."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter
from rich.table import Table

from benchmarks.peers import AS_IS, BOUND, DOCUMENT, FAN_OUT, FASTER_LAYER

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
COLORS = {
    DOCUMENT: "#D55E00",
    AS_IS: "#E69F00",
    FASTER_LAYER: "#56B4E9",
    FAN_OUT: "#0072B2",
    BOUND: "#6B7280",
}
MARKERS = {DOCUMENT: "s", AS_IS: "o", FASTER_LAYER: "^", FAN_OUT: "D", BOUND: "v"}
STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.size": 11,
    "grid.color": "#E5E7EB",
    "legend.frameon": False,
    "svg.hashsalt": "benchmarks",
}
COLUMNS = (
    "server",
    "µs of processor per delivery",
    "deliveries/s",
    "latency p50 (ms)",
    "p99 (ms)",
    "broker's µs per delivery",
    "lost",
)


def rows(results: dict) -> list[tuple[str, ...]]:
    """Return the comparison of the servers as cells of text; a server that was left out has its reason."""
    table = []
    for name in results["order"]:
        if name in results["gaps"]:
            table.append((name, f"not measured: {results['gaps'][name]}", *["–"] * 5))
            continue
        row = results["servers"][name]
        cost = row["server_time"]
        table.append(
            (
                name,
                f"{1e6 * cost['median']:.1f} ({1e6 * cost['low']:.1f} to {1e6 * cost['high']:.1f})",
                f"{row['rate']['median']:,.0f}" + ("*" if row["load_too_busy"] else ""),
                f"{1e3 * row['p50']['median']:.1f}",
                f"{1e3 * row['p99']['median']:.1f}",
                f"{1e6 * row['broker_time']['median']:.1f}",
                str(row["lost"]),
            )
        )
    return table


def caption(results: dict) -> str:
    """Return in a sentence what was measured on."""
    machine, plan = results["machine"], results["plan"]
    return (
        f"One process, one room of {plan['clients']} clients; medians of {plan['rounds']} rounds, "
        f"the lowest and the highest in brackets. "
        f"{machine['cores']} cores, Python {machine['python']}, {machine['date']}."
    )


def terminal(results: dict) -> Table:
    """Return the comparison as a table for the terminal."""
    table = Table(title=caption(results), title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if number else "left")
    for row in rows(results):
        table.add_row(*row)
    return table


def markdown(results: dict) -> str:
    """Return the comparison as a table for the docs."""
    lines = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *rows(results)]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    busy = any(row["load_too_busy"] for row in results["servers"].values())
    star = "\n\\* The load generator was the bottleneck: the server could deliver more.\n" if busy else ""
    notes = "".join(f"\n- {note}" for note in results["notes"])
    return f"{caption(results)}\n\n{body}\n{star}{notes}\n"


def cost(results: dict, name: str) -> float | None:
    """Return a server's microseconds per delivery in the comparison, or None if it was not measured."""
    row = results["servers"].get(name)
    return row and 1e6 * row["server_time"]["median"]


def figures(results: dict) -> dict[str, str]:
    """Return the figures that the docs name in sentences, as text by the name of the substitution."""
    document, fan_out, bound = (cost(results, name) for name in (DOCUMENT, FAN_OUT, BOUND))
    most = max(
        (row for row in results["clients"] if row["server"] == FAN_OUT), key=lambda row: row["clients"]
    )
    queue = results["queue"]
    return {
        "load_document": f"{document:.0f} µs",
        "load_layer": f"{cost(results, FASTER_LAYER):.0f} µs",
        "load_step": f"{cost(results, AS_IS):.0f} µs",
        "load_tuned": f"{fan_out:.1f} µs",
        "load_limit": f"{bound:.1f} µs",
        "load_gain": f"{document / fan_out:.0f}",
        "load_distance": f"{fan_out / bound:.1f}",
        "load_held": f"{most['held']:,}",
        "load_memory": f"{most['memory'] / 1000:.0f} kB",
        "load_with_queue": f"{1e3 * queue['publish']['with']['median']:.0f} ms",
        "load_without_queue": f"{1e3 * queue['publish']['without']['median']:.0f} ms",
        "load_enqueuing": f"{1e6 * queue['enqueuing']['median']:.0f} µs",
        "load_tasks": f"{queue['task_rate']['median']:.0f}",
        "load_million_memory": f"{1e6 * most['memory'] / 1e9:.0f} GB",
        "load_million_cores": f"{1e6 / 60 * fan_out / 1e6 * 50:.1f}",
        "load_million_cores_document": f"{1e6 / 60 * document / 1e6 * 50:.0f}",
    }


def draw_costs(results: dict, path: Path) -> None:
    """Draw what a delivery costs each server."""
    names = [name for name in reversed(results["order"]) if name in results["servers"]]
    values = [results["servers"][name]["server_time"] for name in names]
    medians = [1e6 * value["median"] for value in values]
    reach = [
        [1e6 * (value["median"] - value["low"]) for value in values],
        [1e6 * (value["high"] - value["median"]) for value in values],
    ]
    figure, axes = plt.subplots(figsize=(9.5, 0.42 * len(names) + 1.6), layout="constrained")
    colors = [COLORS[BOUND] if "limit" in name else COLORS[FAN_OUT] for name in names]
    axes.barh(names, medians, xerr=reach, color=colors, ecolor="#111827", capsize=3, height=0.66)
    right = max(1e6 * value["high"] for value in values)
    for position, (median, value) in enumerate(zip(medians, values, strict=True)):
        axes.text(1e6 * value["high"] + right / 60, position, f"{median:.1f}", va="center")
    axes.set(
        title="What one delivery costs",
        xlabel=f"processor time per delivery (µs), one room of {results['plan']['clients']} clients",
        xlim=(0, 1.1 * right),
    )
    axes.grid(axis="y", visible=False)
    save(figure, path)


def draw_sweep(results: dict, part: str, across: str, labels: dict[str, str], path: Path) -> None:
    """Draw the cost of a delivery against what was varied, a line for each server.

    Args:
        results: The results.
        part: The part of the results: clients, rooms or sizes.
        across: The name of what was varied.
        labels: The title and the label of the axis.
        path: Where the picture goes.
    """
    figure, axes = plt.subplots(figsize=(8.5, 4.4), layout="constrained")
    ends = []
    for name, color in COLORS.items():
        chosen = [row for row in results[part] if row["server"] == name]
        if not chosen:
            continue
        xs = [row[across] for row in chosen]
        ys = [1e6 * row["server_time"]["median"] for row in chosen]
        low = [1e6 * row["server_time"]["low"] for row in chosen]
        high = [1e6 * row["server_time"]["high"] for row in chosen]
        axes.fill_between(xs, low, high, color=color, alpha=0.15, lw=0)
        axes.plot(xs, ys, marker=MARKERS[name], color=color, lw=2, label=name)
        ends += xs
    axes.set(
        xscale="log",
        yscale="log",
        title=labels["title"],
        xlabel=labels["x"],
        ylabel="processor time per delivery (µs)",
        xticks=sorted(set(ends)),
    )
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_yticks([tick for tick in (2, 5, 10, 20, 50, 100, 200, 500, 1000) if in_view(axes, tick)])
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    save(figure, path)


def in_view(axes: plt.Axes, tick: float) -> bool:
    """Tell whether a value stands within the axes."""
    low, high = axes.get_ylim()
    return low <= tick <= high


def save(figure: plt.Figure, path: Path) -> None:
    """Write a picture without the time at which it was made, and forget it."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def draw(results: dict, directory: Path) -> list[Path]:
    """Draw all plots.

    Args:
        results: The results.
        directory: Where the pictures go.

    Returns:
        Their paths.
    """
    paths = [directory / f"load-{name}.svg" for name in ("costs", "clients", "rooms", "sizes")]
    with plt.rc_context(STYLE):
        draw_costs(results, paths[0])
        for part, across, title, x, path in (
            ("clients", "clients", "A larger room", "clients in one room", paths[1]),
            (
                "rooms",
                "rooms",
                "More and smaller rooms",
                f"rooms for {results['plan']['room_clients']} clients",
                paths[2],
            ),
            ("sizes", "size", "Longer messages", "bytes of a message", paths[3]),
        ):
            draw_sweep(results, part, across, {"title": title, "x": x}, path)
    return paths
