"""`make docs`: writes the generated parts of docs/ anew."""

import sys

from tests.docs.pages import ROOT, pages

for page, make in pages().items():
    path = ROOT / page
    text = make()
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
        sys.stdout.write(f"written: {page}\n")
