"""Tables of pages in docs/reference that are written from what the cases saw, so that they cannot say anything else."""
import os

from lakeward import REPOSITORY


def check_page(page, part, source, head, lines):
    """A table of a page is as the case saw it; with UPDATE_EXPECT=1 it is written anew."""
    page = REPOSITORY / "docs/reference" / page
    begin, end = f"<!-- {part}: from tests/e2e/{source} -->\n", "<!-- end -->"
    before, rest = page.read_text().split(begin)
    rows = ["| " + " | ".join(cells) + " |" for cells in [head, *lines]]
    table = "\n".join([rows[0], "|" + "---|" * len(head), *rows[1:]])
    written = before + begin + table + "\n" + end + rest.split(end, 1)[1]
    if os.environ.get("UPDATE_EXPECT") == "1":
        page.write_text(written)
    assert page.read_text() == written, f"{page.name} says otherwise; UPDATE_EXPECT=1 writes it anew:\n{table}"
