"""Draws the average departure delay of each week and airport as an SVG.

    lakeward sql -f weekly.sql -o csv | python chart.py > chart.svg
"""
import csv
import sys
from datetime import date

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 300, 40, 60, 34, 28
COLOURS = ("#1f77b4", "#d95f02", "#2a9d5c")


def series(file):
    """airport → [(day of the week's begin, minutes)]"""
    found = {}
    for row in csv.DictReader(file):
        found.setdefault(row["origin"], []).append((date.fromisoformat(row["week"][:10]), float(row["delay"])))
    return found


def chart(lines):
    days = [day for line in lines.values() for day, _ in line]
    begin, span = min(days), max((max(days) - min(days)).days, 1)
    top = max(delay for line in lines.values() for _, delay in line)
    x = lambda day: LEFT + (day - begin).days / span * (WIDTH - LEFT - RIGHT)  # noqa: E731
    y = lambda delay: HEIGHT - BOTTOM - max(delay, 0) / top * (HEIGHT - TOP - BOTTOM)  # noqa: E731
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11" fill="#555">'
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    yield f'<text x="{LEFT}" y="18" font-size="13" fill="#222">Average departure delay by week, minutes</text>'
    for delay in range(0, int(top) + 1, 10):
        yield f'<path d="M{LEFT} {y(delay):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/><text x="{LEFT - 6}" y="{y(delay) + 4:.1f}" text-anchor="end">{delay}</text>'
    for first in sorted({day.replace(day=1) for day in days}):
        if first >= begin:
            yield f'<text x="{x(first):.1f}" y="{HEIGHT - 8}">{first:%b}</text>'
    for (name, line), colour in zip(sorted(lines.items()), COLOURS):
        points = " ".join(f"{x(day):.1f},{y(delay):.1f}" for day, delay in line)
        yield f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
    for (name, line), colour, at in zip(sorted(lines.items()), COLOURS, range(3)):
        yield f'<text x="{WIDTH - RIGHT + 8}" y="{TOP + 14 + 16 * at}" fill="{colour}" font-weight="bold">{name}</text>'
    yield "</svg>"


print("\n".join(chart(series(sys.stdin))))
