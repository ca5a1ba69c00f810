"""What the results look like: a table for the terminal, one for the docs, and plots."""

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
                f"{1e6 * row['broker_time']:.1f}",
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
    """Return a server's seconds of processor time per delivery, or None if it was not measured."""
    row = results["servers"].get(name)
    return row and row["server_time"]["median"]


def largest(results: dict, name: str) -> dict | None:
    """Return a server's row with the most clients in the sweep, or None if it was not measured."""
    chosen = [row for row in results["clients"] if row["server"] == name]
    return max(chosen, key=lambda row: row["clients"], default=None)


def gains(results: dict) -> str:
    """Return as a table for the docs what each change buys, one after the other."""
    steps = (
        ("the stack of the Channels tutorial", DOCUMENT),
        ("this course's step 5 under uvicorn", AS_IS),
        ("and the pub/sub layer", FASTER_LAYER),
        ("and local fan-out, the tuned consumer", FAN_OUT),
        ("the limit", BOUND),
    )
    lines = [
        "| what serves | µs per delivery | of the first | of the limit |",
        "| --- | ---: | ---: | ---: |",
    ]
    first, last = cost(results, DOCUMENT), cost(results, BOUND)
    for what, name in steps:
        if (each := cost(results, name)) is None:
            lines.append(f"| {what} | not measured | – | – |")
            continue
        shares = [f"{100 * each / first:.0f} %" if first else "–", f"{each / last:.1f} ×" if last else "–"]
        lines.append(f"| {what} | {1e6 * each:.1f} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def sockets(results: dict) -> str:
    """Return as a table for the docs what the swept servers held, and what a socket weighs and costs."""
    lines = [
        "| server | sockets held | refused | kB for an idle one | handshakes/s |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in COLORS:
        if row := largest(results, name):
            memory = f"{row['memory'] / 1000:.0f}"
            lines.append(
                f"| {name} | {row['held']:,} | {row['refused']} | {memory} | {row['handshakes']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def queue(results: dict) -> str:
    """Return as a table for the docs what the queue costs and buys."""
    row = results["queue"]
    publish = {
        way: f"{1e3 * each['median']:.1f} ms ({1e3 * each['low']:.1f} to {1e3 * each['high']:.1f})"
        for way, each in row["publish"].items()
    }
    return (
        "| what | measured |\n| --- | ---: |\n"
        f"| publishing a post, mail in the request | {publish['without']} |\n"
        f"| publishing a post, mail queued | {publish['with']} |\n"
        f"| one `.delay()` | {1e6 * row['enqueuing']['median']:.0f} µs |\n"
        f"| mails a second, a worker of {row['processes']} processes | {row['task_rate']['median']:.0f} |\n"
    )


def million(results: dict) -> str:
    """Return as a table for the docs the arithmetic for a million sockets, from the measured figures."""
    row, document = largest(results, FAN_OUT), cost(results, DOCUMENT)
    if row is None or document is None:
        return "There are no figures of the servers that this arithmetic needs.\n"
    each, people, room, pause, process = cost(results, FAN_OUT), 1_000_000, 50, 600, 20_000
    messages = people / pause
    lines = (
        ("messages a second", f"{people:,} / {pause}", f"{messages:,.0f}"),
        ("deliveries a second", f"{messages:,.0f} × {room}", f"{messages * room:,.0f}"),
        (
            "cores to deliver them, tuned",
            f"{messages * room:,.0f} × {1e6 * each:.1f} µs",
            f"{messages * room * each:.1f}",
        ),
        (
            "the same with the stack of the Channels tutorial",
            f"{messages * room:,.0f} × {1e6 * document:.0f} µs",
            f"{messages * room * document:.1f}",
        ),
        (
            "cores for a ping to each socket every 5 s",
            f"{people:,} / 5 × {1e6 * each:.1f} µs",
            f"{people / 5 * each:.1f}",
        ),
        (
            "memory for idle sockets",
            f"{people:,} × {row['memory'] / 1000:.0f} kB",
            f"{people * row['memory'] / 1e9:.0f} GB",
        ),
        ("processes", f"{people:,} / {process:,}", f"{people / process:.0f}"),
        (
            "time until all are back after a restart of everything",
            f"{process:,} / {row['handshakes']:.0f} handshakes/s",
            f"{process / row['handshakes']:.0f} s",
        ),
    )
    body = "".join(f"| {what} | {how} | {value} |\n" for what, how, value in lines)
    return f"| what | from | result |\n| --- | --- | ---: |\n{body}"


def write_tables(results: dict, directory: Path) -> None:
    """Write the tables that the docs include."""
    for table in (markdown, gains, sockets, queue, million):
        (directory / f"{table.__name__}.txt").write_text(table(results))


def draw_costs(results: dict, path: Path) -> None:
    """Draw what a delivery costs each server."""
    names = [name for name in reversed(results["order"]) if name in results["servers"]]
    values = [results["servers"][name]["server_time"] for name in names]
    medians = [1e6 * value["median"] for value in values]
    reach = [
        [1e6 * (value["median"] - value["low"]) for value in values],
        [1e6 * (value["high"] - value["median"]) for value in values],
    ]
    # Not pyplot, whose choice of a backend belongs to whoever imports this, such as a notebook.
    figure = Figure(figsize=(9.5, 0.42 * len(names) + 1.6), layout="constrained")
    axes = figure.subplots()
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
    figure = Figure(figsize=(8.5, 4.4), layout="constrained")
    axes = figure.subplots()
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


def in_view(axes: Axes, tick: float) -> bool:
    """Tell whether a value stands within the axes."""
    low, high = axes.get_ylim()
    return low <= tick <= high


def save(figure: Figure, path: Path) -> None:
    """Write a picture without the time at which it was made."""
    figure.savefig(path, metadata={"Date": None})


def draw(results: dict, directory: Path) -> list[Path]:
    """Draw all plots.

    Args:
        results: The results.
        directory: Where the pictures go.

    Returns:
        Their paths.
    """
    paths = [directory / f"load-{name}.svg" for name in ("costs", "clients", "rooms", "sizes")]
    with matplotlib.rc_context(STYLE):
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
