"""The report of a comparison: one self-contained HTML page, Markdown, figures, and what a notebook shows.

``pages`` renders; ``panels`` says what each chart shows, ``tables`` and ``glance`` what each table and tile does, all as plain
values; ``charts`` of the package above draws. Data flows one way: a comparison knows its report only by asking for it when it is shown.
"""

from .pages import figures, html_fragment, index, index_of, page, report, report_markdown

__all__ = ["figures", "html_fragment", "index", "index_of", "page", "report", "report_markdown"]
