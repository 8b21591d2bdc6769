"""The page for an address that leads nowhere: hosts of static sites show `404.html`, however deep it lies."""

from html import escape

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{base}<title>Not here: moereg</title>
<link rel="icon" href="_static/favicon.svg">
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 38rem; margin: 12vh auto; padding: 0 1.25rem; font: 1.1rem/1.6 system-ui, sans-serif; }}
a {{ color: light-dark(#0b5ed7, #7db4ff); }}
</style>
</head>
<body>
<main><article>
<h1>Not here</h1>
<p>No page of moereg lies at this address. It may have been renamed, or a letter is missing from the link.</p>
<ul>
<li><a href="index.html">The first page</a>, with all chapters</li>
<li><a href="search.html">Search</a></li>
<li><a href="api/index.html">Every module of the library</a></li>
</ul>
</article></main>
</body>
</html>
"""


def page(address: str = "") -> str:
    """`address` is where the site lies; links start there. Without it they lead on from the site's root only."""
    return PAGE.format(base=f'<base href="{escape(address.rstrip("/"))}/">\n' if address else "")
