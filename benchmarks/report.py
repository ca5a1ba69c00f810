"""The results as a table for the terminal, one for the docs, and plots."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter
from rich.table import Table

from benchmarks.peers import AS_IS, BOUND, DOCUMENT, FAN_OUT, FASTER_LAYER, NODE_IO, NODE_WS

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
COLORS = {
    DOCUMENT: "#D55E00",
    AS_IS: "#E69F00",
    FASTER_LAYER: "#56B4E9",
    FAN_OUT: "#0072B2",
    BOUND: "#6B7280",
}
OTHER = "#9CA3AF"
# From outside Python; only in the comparisons.
OUTSIDE = {NODE_WS: "#009E73", NODE_IO: "#CC79A7"}
CHOICES = COLORS | OUTSIDE
MARKERS = dict(zip(COLORS, "so^Dv", strict=True))
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.facecolor": "white",
    "figure.facecolor": "white",
    "font.size": 12,
    "grid.color": "#D1D5DB",
    "svg.hashsalt": "benchmarks",
}
LIGHT_INK = "#E5E7EB"
INKS = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
DARK = dict.fromkeys(INKS, LIGHT_INK)
DARK |= {"grid.color": "#4B5563"} | dict.fromkeys(("axes.facecolor", "figure.facecolor"), "#131416")
COLUMNS = (
    "server",
    "µs of processor per delivery",
    "deliveries/s",
    "latency p50 (ms)",
    "p99 (ms)",
    "broker's µs per delivery",
    "lost",
)
# For each sweep the name of its variable, and what that counts.
SWEEPS = {
    "clients": ("clients", "clients in one room"),
    "rooms": ("rooms", "rooms"),
    "sizes": ("size", "bytes of a message"),
}
COST = "processor time per delivery (µs)"
# Clients in a room, in the comparison with other stacks, and their marks.
ROOMS = {50: "o", 500: "D"}
Results = dict[str, Any]  # as in results.json


def span(values: dict[str, float], factor: float, unit: str = "") -> str:
    """Return a median with the lowest and the highest value in brackets."""
    median, low, high = (factor * values[name] for name in ("median", "low", "high"))
    return f"{median:.1f}{unit} ({low:.1f} to {high:.1f})"


def rows(results: Results) -> list[tuple[str, ...]]:
    """Return the comparison of the servers as cells of text; a server that was left out has its reason."""
    table = []
    for name in results["order"]:
        if name in results["gaps"]:
            table.append((name, f"not measured: {results['gaps'][name]}", *["–"] * 5))
            continue
        row = results["servers"][name]
        rate = f"{row['rate']['median']:,.0f}" + ("*" if row["load_too_busy"] else "")
        late = [f"{1e3 * row[percentile]['median']:.1f}" for percentile in ("p50", "p99")]
        broker, lost = f"{1e6 * row['broker_time']:.1f}", str(row["lost"])
        table.append((name, span(row["server_time"], 1e6), rate, *late, broker, lost))
    return table


def caption(results: Results) -> str:
    """Return a sentence about the measurement and its machine."""
    machine, plan = results["machine"], results["plan"]
    node = f" Node {machine['node']['node']}," if machine["node"] else ""
    return (
        f"One process, one room of {plan['clients']} clients; medians of {plan['rounds']} rounds, "
        f"the lowest and the highest in brackets. "
        f"{machine['cores']} cores, Python {machine['python']},{node} {machine['date']}."
    )


def terminal(results: Results) -> Table:
    table = Table(title=caption(results), title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if number else "left")
    for row in rows(results):
        table.add_row(*row)
    return table


def listing(columns: Sequence[str], cells: Iterable[Sequence[str]], numbers: int) -> str:
    """Return a table for the docs, whose last `numbers` columns are numbers."""
    rules = ["---"] * (len(columns) - numbers) + ["---:"] * numbers
    return "".join(f"| {' | '.join(line)} |\n" for line in (columns, rules, *cells))


def markdown(results: Results) -> str:
    """Return the comparison as a table for the docs."""
    busy = any(row["load_too_busy"] for row in results["servers"].values())
    star = "\n\\* The load generator was the bottleneck: the server could deliver more.\n" if busy else ""
    notes = "".join(f"\n- {note}" for note in results["notes"])
    return f"{caption(results)}\n\n{listing(COLUMNS, rows(results), 6)}{star}{notes}\n"


def cost(results: Results, name: str) -> float | None:
    """Return a server's seconds of processor time per delivery, or None if it was not measured."""
    median: float | None = results["servers"].get(name, {}).get("server_time", {}).get("median")
    return median


def idle(results: Results, name: str) -> Results | None:
    """Return the row of a server's idle sockets, or None if they were not weighed."""
    return next((row for row in results["idle"] if row["server"] == name), None)


def gains(results: Results) -> str:
    """Return a table for the docs: the gain of each change, one after the other."""
    steps = (
        ("the stack of the Channels tutorial", DOCUMENT),
        ("this course's step 5 under uvicorn", AS_IS),
        ("and the pub/sub layer", FASTER_LAYER),
        ("and local fan-out, the tuned consumer", FAN_OUT),
        ("the limit", BOUND),
    )
    first, last = cost(results, DOCUMENT), cost(results, BOUND)
    lines: list[tuple[str, ...]] = []
    for what, name in steps:
        if (each := cost(results, name)) is None:
            lines.append((what, "not measured", "–", "–"))
            continue
        shares = [f"{100 * each / first:.0f} %" if first else "–", f"{each / last:.1f} ×" if last else "–"]
        lines.append((what, f"{1e6 * each:.1f}", *shares))
    return listing(("what serves", "µs per delivery", "of the first", "of the limit"), lines, 3)


def sockets(results: Results) -> str:
    """Return a table for the docs: what an idle socket weighs and what a handshake costs."""
    lines = []
    for name in CHOICES:
        if row := idle(results, name):
            memory, handshakes = f"{row['memory'] / 1000:.0f}", f"{row['handshakes']:,.0f}"
            lines.append((name, f"{row['held']:,}", str(row["refused"]), memory, handshakes))
    return listing(("server", "sockets held", "refused", "kB for an idle one", "handshakes/s"), lines, 4)


def queue(results: Results) -> str:
    """Return a table for the docs: what the queue costs and gains."""
    row = results["queue"]
    workers = f"mails a second, a worker of {row['processes']} processes"
    lines = (
        ("publishing a post, mail in the request", span(row["publish"]["without"], 1e3, " ms")),
        ("publishing a post, mail queued", span(row["publish"]["with"], 1e3, " ms")),
        ("one `.delay()`", f"{1e6 * row['enqueuing']['median']:.0f} µs"),
        (workers, f"{row['task_rate']['median']:.0f}"),
    )
    return listing(("what", "measured"), lines, 1)


def million(results: Results) -> str:
    """Return a table for the docs: the arithmetic for a million sockets, from the measured figures."""
    row, document, each = idle(results, FAN_OUT), cost(results, DOCUMENT), cost(results, FAN_OUT)
    if row is None or document is None or each is None:
        return "There are no figures of the servers that this arithmetic needs.\n"
    people, room, pause, process = 1_000_000, 50, 600, 20_000
    messages = people / pause
    heard = messages * room
    memory, handshakes = row["memory"], row["handshakes"]
    stack = "the same with the stack of the Channels tutorial"
    pings = "cores for a ping to each socket every 5 s"
    back = "time until all are back after a restart of everything"
    lines = (
        ("messages a second", f"{people:,} / {pause}", f"{messages:,.0f}"),
        ("deliveries a second", f"{messages:,.0f} × {room}", f"{heard:,.0f}"),
        ("cores to deliver them, tuned", f"{heard:,.0f} × {1e6 * each:.1f} µs", f"{heard * each:.1f}"),
        (stack, f"{heard:,.0f} × {1e6 * document:.0f} µs", f"{heard * document:.1f}"),
        (pings, f"{people:,} / 5 × {1e6 * each:.1f} µs", f"{people / 5 * each:.1f}"),
        ("memory for idle sockets", f"{people:,} × {memory / 1e3:.0f} kB", f"{people * memory / 1e9:.0f} GB"),
        ("processes", f"{people:,} / {process:,}", f"{people / process:.0f}"),
        (back, f"{process:,} / {handshakes:.0f} handshakes/s", f"{process / handshakes:.0f} s"),
    )
    return listing(("what", "from", "result"), lines, 1)


def choice_rows(results: Results) -> list[tuple[str, dict[int, Results]]]:
    """Return each swept server with its rows of the rooms that a choice is shown for, by their clients."""
    found = []
    for name in CHOICES:
        rows = {row["clients"]: row for row in results["clients"] if row["server"] == name}
        if shown := {count: rows[count] for count in ROOMS if count in rows}:
            found.append((name, shown))
    return found


def canvas(height: float, title: str, **labels: Any) -> tuple[Figure, Axes]:
    """Return a picture and its axes. Not pyplot's: the importing program chooses its backend.

    It is as narrow as a phone, so that its text keeps its size there.
    """
    figure = Figure(figsize=(4.8, height), layout="constrained")
    axes = figure.subplots()
    axes.set(**labels)
    figure.suptitle(fill(title, 46), x=0.02, ha="left", fontsize=13, fontweight="bold")
    return figure, axes


def costs_found(results: Results) -> str:
    """Return what the comparison of the servers says, in a sentence."""
    document, tuned, limit = (cost(results, name) for name in (DOCUMENT, FAN_OUT, BOUND))
    if not (document and tuned and limit):
        return "What one delivery costs each server"
    return (
        f"Tuned, a delivery costs {document / tuned:.0f} times less than in the tutorial's stack, "
        f"and {tuned / limit:.1f} times as much as the limit"
    )


def choice_found(results: Results) -> str:
    """Return what the comparison with other stacks says, in a sentence."""
    shown = {name: next(iter(rows.values()))["server_time"]["median"] for name, rows in choice_rows(results)}
    if not shown.keys() >= {FASTER_LAYER, FAN_OUT, NODE_IO}:
        return "What a delivery costs with other stacks"
    step, tuned, other = (1e6 * shown[name] for name in (FASTER_LAYER, FAN_OUT, NODE_IO))
    return (
        f"Socket.IO delivers for {other:.1f} µs, the tuned consumer for {tuned:.1f}, "
        f"step 5 with the pub/sub layer for {step:.0f}"
    )


def sweep_found(results: Results, part: str, name: str = FAN_OUT) -> str:
    """Return what a sweep says about a server, in a sentence.

    Args:
        results: The results.
        part: The part of the results: clients, rooms or sizes.
        name: The server.
    """
    across, what = SWEEPS[part]
    chosen = [row for row in results[part] if row["server"] == name]
    if not chosen:
        return f"What a delivery costs, by {what}"
    (first, before), (last, after) = (
        (row[across], 1e6 * row["server_time"]["median"]) for row in (chosen[0], chosen[-1])
    )
    whose = "a tuned delivery" if name == FAN_OUT else name
    return f"From {first:,} to {last:,} {what}, {whose} goes from {before:.1f} to {after:.1f} µs"


def pictures(results: Results) -> dict[str, str]:
    """Return the docs' pictures by name, with the figures they show in words for those who don't see them."""
    costs = [f"{name} {1e6 * row['server_time']['median']:.1f}" for name, row in results["servers"].items()]
    texts = {"costs": f"{costs_found(results)}. {COST}: {', '.join(costs)}."}
    said = []
    for name, rows in choice_rows(results):
        figures = [f"{1e6 * row['server_time']['median']:.1f}" for row in rows.values()]
        said.append(f"{name} {' and '.join(figures)}")
    counts = " and ".join(map(str, ROOMS))
    texts["choice"] = f"{choice_found(results)}. {COST} in rooms of {counts}: {', '.join(said)}."
    for part in SWEEPS:
        measured = {row["server"] for row in results[part]}
        found = [sweep_found(results, part, name) for name in COLORS if name in measured]
        texts[part] = f"{'. '.join(found)}."
    return {name: f"![{text}](load/load-{name}.svg)\n" for name, text in texts.items()}


def draw_costs(results: Results) -> Figure:
    names = [name for name in reversed(results["order"]) if name in results["servers"]]
    costs = [results["servers"][name]["server_time"] for name in names]
    low, medians, high = ([1e6 * each[part] for each in costs] for part in ("low", "median", "high"))
    reach = [[middle - end for middle, end in zip(medians, low, strict=True)]]
    reach += [[end - middle for middle, end in zip(medians, high, strict=True)]]
    across = f"{COST},\none room of {results['plan']['clients']} clients"
    figure, axes = canvas(0.62 * len(names) + 1.6, costs_found(results), xlabel=across)
    colors = [CHOICES.get(name, OTHER) for name in names]
    ink = matplotlib.rcParams["text.color"]
    axes.barh(names, medians, xerr=reach, color=colors, ecolor=ink, capsize=3, height=0.4)
    for position, (name, median, end) in enumerate(zip(names, medians, high, strict=True)):
        axes.text(0, position + 0.26, name, va="bottom", fontweight="bold" if name in CHOICES else "normal")
        axes.text(end + max(high) / 60, position, f"{median:.1f}", va="center")
    axes.set(xlim=(0, 1.15 * max(high)), ylim=(-0.5, len(names) - 0.2))
    axes.yaxis.set_visible(False)
    return figure


def draw_choice(results: Results) -> Figure:
    """Draw what a delivery costs in a small and in a large room, for our servers and for others."""
    chosen = choice_rows(results)[::-1]
    figure, axes = canvas(0.62 * len(chosen) + 1.8, choice_found(results), xscale="log", xlabel=COST)
    for position, (name, rows) in enumerate(chosen):
        axes.text(0, position + 0.28, name, va="bottom", transform=axes.get_yaxis_transform())
        costs = {count: 1e6 * row["server_time"]["median"] for count, row in rows.items()}
        axes.plot(list(costs.values()), [position] * len(costs), color=CHOICES[name], lw=2)
        far = max(costs, key=lambda count: costs[count])
        for count, each in costs.items():
            axes.plot(each, position, ROOMS[count], color=CHOICES[name], markersize=8)
            away, side = (9, "left") if count == far else (-9, "right")
            axes.annotate(
                f"{each:.1f}", (each, position), (away, 0), textcoords="offset points", ha=side, va="center"
            )
    ink = matplotlib.rcParams["text.color"]
    for count, mark in ROOMS.items():
        axes.plot([], [], mark, color=ink, label=f"a room of {count}")
    figure.legend(loc="outside lower left", ncols=2, frameon=False)
    low, high = axes.get_xlim()
    axes.set(xlim=(low / 1.6, high * 1.6), ylim=(-0.5, len(chosen) - 0.1))
    axes.set_xticks([tick for tick in (5, 10, 20, 50, 100, 200, 500) if low / 1.6 <= tick <= high * 1.6])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.minorticks_off()
    axes.yaxis.set_visible(False)
    return figure


def draw_sweep(results: Results, part: str) -> Figure:
    """Draw the cost of a delivery against one variable, a line for each server with its name at it.

    Args:
        results: The results.
        part: The part of the results: clients, rooms or sizes.
    """
    across, label = SWEEPS[part]
    label += f" for {results['plan']['room_clients']} clients" if part == "rooms" else ""
    title = sweep_found(results, part)
    figure, axes = canvas(5.4, title, xscale="log", yscale="log", xlabel=label, ylabel=COST)
    ends: set[int] = set()
    for name, color in COLORS.items():
        chosen = [row for row in results[part] if row["server"] == name]
        if not chosen:
            continue
        xs = [row[across] for row in chosen]
        low, ys, high = (
            [1e6 * row["server_time"][end] for row in chosen] for end in ("low", "median", "high")
        )
        thick = 3.5 if name in (DOCUMENT, FAN_OUT) else 1.5
        axes.fill_between(xs, low, high, color=color, alpha=0.15, lw=0)
        axes.plot(xs, ys, marker=MARKERS[name], color=color, lw=thick)
        # Where no other line is: the second and third come closely below the first, and steep ones meet.
        second, steep = name in (AS_IS, FASTER_LAYER), ys[-1] > 2 * ys[0]
        middle = len(xs) // 2
        if second or (steep and name == DOCUMENT):
            at, side, away = 0, "left", (0, -16 if second else 7)
        elif name == BOUND:  # the lowest
            at, side, away = middle, "center", (0, -20)
        else:
            at, side, away = (middle, "right", (-8, 5)) if steep else (-1, "right", (0, 7))
        text = axes.annotate(name, (xs[at], ys[at]), away, textcoords="offset points", ha=side)
        text.set_path_effects([withStroke(linewidth=4, foreground=axes.get_facecolor())])
        ends |= set(xs)
    ticks: list[int] = []
    for end in sorted(ends):
        if not ticks or end > 2 * ticks[-1]:
            ticks.append(end)
    axes.set(xticks=ticks)
    axes.margins(y=0.12)
    axes.minorticks_off()
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    bottom, top = axes.get_ylim()
    axes.set_yticks([tick for tick in (2, 5, 10, 20, 50, 100, 200, 500, 1000) if bottom <= tick <= top])
    return figure


def write(results: Results, directory: Path) -> None:
    """Write the tables that the docs include, and all plots."""
    for table in (markdown, gains, sockets, queue, million):
        (directory / f"{table.__name__}.txt").write_text(table(results))
    for name, picture in pictures(results).items():
        (directory / f"load-{name}.txt").write_text(picture)
    for ending, style in ("", STYLE), ("-dark", STYLE | DARK):
        with matplotlib.rc_context(style):
            drawn = {"costs": draw_costs(results), "choice": draw_choice(results)}
            drawn |= {part: draw_sweep(results, part) for part in SWEEPS}
            for name, figure in drawn.items():
                # Without a date.
                figure.savefig(directory / f"load-{name}{ending}.svg", metadata={"Date": None})
